/* What a classifier's file says of itself, and whether two of them know each other. */
#include "train/classifier_file.h"

#include <stdio.h>
#include <string.h>

static bool text_take(const SafeTensors *file, const char *key, char *out, size_t size) {
    const char *value = safetensors_metadata(file, key);
    if (!value || strlen(value) >= size) return false;
    strcpy(out, value);
    return true;
}

static bool role_take(const SafeTensors *file, ClassifierRole *role) {
    char name[16];
    if (!text_take(file, "role", name, sizeof name)) return false;
    *role = strcmp(name, classifier_role_name(CLASSIFIER_JUDGE)) ? CLASSIFIER_LOSS : CLASSIFIER_JUDGE;
    return strcmp(name, classifier_role_name(*role)) == 0;
}

static bool range_take(const SafeTensors *file, ImageRange *range) {
    char text[32];
    int first, last, length = 0;
    if (!text_take(file, "trained_on", text, sizeof text)) return false;
    if (sscanf(text, "%d-%d%n", &first, &last, &length) != 2 || text[length] || first < 0 || last < first)
        return false;
    *range = (ImageRange){first, last - first + 1};
    return true;
}

bool classifier_record_read(const SafeTensors *file, ClassifierRecord *record, Error *error) {
    *record = (ClassifierRecord){.role = CLASSIFIER_LOSS};
    return (role_take(file, &record->role) && range_take(file, &record->trained) &&
            text_take(file, "dataset", record->dataset, sizeof record->dataset) &&
            text_take(file, "data_hash", record->data_hash, sizeof record->data_hash)) ||
           error_set(error,
                     "does not say what it was trained for and on (role, trained_on, dataset and data_hash "
                     "in the metadata), so it can neither judge nor be kept from it");
}

bool classifier_file_read(const char *path, ClassifierRecord *record, Error *error) {
    SafeTensors file;
    if (!safetensors_open(path, &file, error)) return false;
    const bool read = classifier_record_read(&file, record, error) || error_wrap(error, "%s", path);
    safetensors_close(&file);
    return read;
}

static bool ranges_overlap(ImageRange a, ImageRange b) {
    return a.first < b.first + b.count && b.first < a.first + a.count;
}

bool classifiers_independent(const ClassifierRecord *loss, const ClassifierRecord *judge, Error *error) {
    char seen[2][32];
    if (loss->role != CLASSIFIER_LOSS || judge->role != CLASSIFIER_JUDGE)
        return error_set(
            error,
            "the network of the perceptual distance is a %s, the one that judges is a %s: what a "
            "model is trained against must not judge it",
            classifier_role_name(loss->role), classifier_role_name(judge->role));
    const bool same_images =
        !strcmp(loss->dataset, judge->dataset) || !strcmp(loss->data_hash, judge->data_hash);
    return !same_images || !ranges_overlap(loss->trained, judge->trained) ||
           error_set(
               error,
               "the network of the perceptual distance was trained on images %s of %s, the judge on %s: "
               "they must have none in common",
               image_range_name(loss->trained, seen[0]), loss->dataset,
               image_range_name(judge->trained, seen[1]));
}
