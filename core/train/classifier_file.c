/* Names, shares of a data set, and the metadata of a classifier's file. */
#include "train/classifier_file.h"

#include "base/text.h"
#include "train/checkpoint.h"

#include <stdio.h>
#include <string.h>

const char *classifier_role_name(ClassifierRole role) {
    return role == CLASSIFIER_JUDGE ? "judge" : "loss";
}

const char *classifier_name(ClassifierRole role, const Dataset *data, char out[64]) {
    const char *name = classifier_role_name(role);
    if (strcmp(data->name, "shapes"))
        snprintf(out, 64, "classifier-%s-%.44s", name, data->name);
    else
        snprintf(out, 64, "classifier-%s-shapes-%d-%d", name, data->height, data->count);
    return out;
}

const char *image_range_name(ImageRange range, char out[32]) {
    snprintf(out, 32, "%d-%d", range.first, range.first + range.count - 1);
    return out;
}

static ImageRange range_between(int first, int end) {
    return (ImageRange){first, end - first};
}

static int share(int count, int tenths) {
    return (int)((int64_t)count * tenths / 10);
}

ImageRange classifier_train_range(ClassifierRole role, int count) {
    return role == CLASSIFIER_LOSS ? range_between(0, share(count, 5))
                                   : range_between(share(count, 5), share(count, 9));
}

ImageRange classifier_held_out(int count) {
    return range_between(share(count, 9), count);
}

/* ---- the file ---- */

bool classifier_file_write(const char *path, const ParamSet *params, const float *values,
                           const ClassifierFacts *facts, Error *error) {
    char resolution[16], trained[32], held_out[32], accuracy[32];
    snprintf(resolution, sizeof resolution, "%d", facts->data->height);
    const char *const metadata[] = {"kind",       "classifier",
                                    "role",       classifier_role_name(facts->role),
                                    "dataset",    facts->data->name,
                                    "data_hash",  facts->data->hash.hex,
                                    "resolution", resolution,
                                    "trained_on", image_range_name(facts->trained, trained),
                                    "held_out",   image_range_name(facts->held_out, held_out),
                                    "accuracy",   format_double(accuracy, facts->accuracy),
                                    "run",        facts->run ? facts->run : "",
                                    "commit",     facts->commit ? facts->commit : ""};
    return weights_write(path, params, values, metadata, (int)(sizeof metadata / sizeof *metadata) / 2,
                         error);
}
