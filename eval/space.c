/* The table of feature spaces: random features, classifiers, VGG-16, and Inception in both conventions of
 * input. */
#include "eval/space.h"

#include "base/text.h"
#include "eval/extractor.h"
#include "train/classifier_file.h"
#include "train/features.h"
#include "train/features_inception.h"

#include <stdio.h>
#include <string.h>

typedef struct SpaceKind SpaceKind;
struct SpaceKind {
    const char *name;
    bool (*open)(const SpaceKind *, Space *, const Dataset *like, Device *, const SpaceFolders *, Error *);
    const char
        *weights; /* as `weights import` knows them; NULL: it needs none, or each data set has its own */
    InceptionInput input; /* of an Inception */
    bool classifier;      /* the data set's, in this role */
    ClassifierRole role;
};

/* ---- random features ---- */

static void extractor_features(void *network, const uint8_t *images, int count, float *features,
                               float *logits) {
    (void)logits; /* it has none */
    extractor_run(network, images, count, features);
}

static void extractor_end(void *network) {
    extractor_close(network);
}

/* NULL: it could not be opened, which has been said. */
static bool space_extractor(Space *space, Extractor *extractor) {
    if (!extractor) return false;
    space->dimension = extractor->dimension;
    space->hash = extractor->hash;
    space->network = extractor;
    space->run = extractor_features;
    space->close = extractor_end;
    return true;
}

static bool random_open(const SpaceKind *kind, Space *space, const Dataset *like, Device *device,
                        const SpaceFolders *folders, Error *error) {
    (void)kind, (void)folders, (void)error; /* its weights come from a seed */
    return space_extractor(space, extractor_random(like, device));
}

/* ---- VGG-16, classifiers ---- */

static bool vgg16_open(const SpaceKind *kind, Space *space, const Dataset *like, Device *device,
                       const SpaceFolders *folders, Error *error) {
    char path[1024];
    Hash weights;
    return features_find(kind->weights, folders->weights, path, &weights, error) &&
           space_extractor(space, extractor_open(like, device, FEATURES_VGG16_FC2, path, &weights, error));
}

/* A file in the other role would turn "judged by another network" into its opposite. */
static bool role_check(const SpaceKind *kind, const char *path, ClassifierRecord *record, Error *error) {
    return classifier_file_read(path, record, error) &&
           (record->role == kind->role ||
            error_set(error, "%s: was trained as %s network, metrics on '%s' take the %s network", path,
                      classifier_role_name(record->role), kind->name, classifier_role_name(kind->role)));
}

static bool classifier_find(const SpaceKind *kind, const Dataset *like, const char *folder, char path[1024],
                            Hash *hash, ClassifierRecord *record, Error *error) {
    char name[64];
    return features_find(classifier_name(kind->role, like, name), folder, path, hash, error) &&
           role_check(kind, path, record, error);
}

static bool classifier_open(const SpaceKind *kind, Space *space, const Dataset *like, Device *device,
                            const SpaceFolders *folders, Error *error) {
    char path[1024], seen[32];
    ClassifierRecord record;
    Hash weights;
    if (!classifier_find(kind, like, folders->weights, path, &weights, &record, error) ||
        !space_extractor(space, extractor_open(like, device, FEATURES_CLASSIFIER, path, &weights, error)))
        return false;
    snprintf(space->note, sizeof space->note, "trained on %s", image_range_name(record.trained, seen));
    return true;
}

/* ---- Inception ---- */

/* The logits of an inception score are those without the last layer's bias. */
static void inception_features(void *network, const uint8_t *images, int count, float *features,
                               float *logits) {
    inception_run(network, images, count, (InceptionResult){.features = features, .scores = logits});
}

static void inception_end(void *network) {
    inception_close(network);
}

/* Hash of "inception <input> <SHA-256 of the weights' file>". */
static Hash inception_hash(InceptionInput input, const Hash *weights) {
    Text text = {0};
    text_append(&text, "inception %s %s", inception_input_name(input), weights->hex);
    const Hash hash = hash_bytes(text.text, text.length);
    text_free(&text);
    return hash;
}

static bool inception_space_open(const SpaceKind *kind, Space *space, const Dataset *like, Device *device,
                                 const SpaceFolders *folders, Error *error) {
    char path[1024];
    Hash weights;
    if (like->channels != 3)
        return error_set(error, "Inception takes images of 3 channels, these have %d", like->channels);
    if (!features_find(kind->weights, folders->weights, path, &weights, error)) return false;
    const InceptionRequest request = {like->height, like->width, kind->input, false};
    InceptionNetwork *network = inception_open(path, weights.hex, &request, device, error);
    if (!network) return false;
    space->dimension = inception_dimension(network);
    space->classes = inception_classes(network);
    space->hash = inception_hash(kind->input, &weights);
    space->network = network;
    space->run = inception_features;
    space->close = inception_end;
    return true;
}

/* ---- the table ---- */

/* Only weights/inception, which takes nothing but the published weights, gives numbers the name FID; weights
 * that one has made oneself are inception-own and vgg16-own. */
static const SpaceKind kinds[] = {
    {.name = "random", .open = random_open},
    {.name = "classifier", .open = classifier_open, .classifier = true, .role = CLASSIFIER_JUDGE},
    {.name = "classifier-loss", .open = classifier_open, .classifier = true, .role = CLASSIFIER_LOSS},
    {.name = "inception", .open = inception_space_open, .weights = "inception", .input = INCEPTION_TF1},
    {.name = "pytorch-fid",
     .open = inception_space_open,
     .weights = "inception",
     .input = INCEPTION_PYTORCH_FID},
    {.name = "inception-own",
     .open = inception_space_open,
     .weights = "inception-own",
     .input = INCEPTION_TF1},
    {.name = "vgg16", .open = vgg16_open, .weights = "vgg16"},
    {.name = "vgg16-own", .open = vgg16_open, .weights = "vgg16-own"},
};

static const SpaceKind *kind_find(const char *name, Error *error) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kinds[i].name, name)) return &kinds[i];
    error_set(error, "there is no feature space '%s'", name);
    return NULL;
}

bool space_available(const char *name, const Dataset *like, const char *weights_folder, Error *error) {
    const SpaceKind *kind = kind_find(name, error);
    ClassifierRecord record;
    char path[1024];
    Hash hash;
    if (!kind) return false;
    if (kind->classifier)
        return !like || classifier_find(kind, like, weights_folder, path, &hash, &record, error);
    return !kind->weights || features_find(kind->weights, weights_folder, path, &hash, error);
}

bool space_open(const char *name, const Dataset *like, Device *device, const SpaceFolders *folders,
                Space *space, Error *error) {
    const SpaceKind *kind = kind_find(name, error);
    *space = (Space){0};
    if (!kind) return false;
    space->name = kind->name;
    return kind->open(kind, space, like, device, folders, error);
}

void space_close(Space *space) {
    if (space->network) space->close(space->network);
    *space = (Space){0};
}
