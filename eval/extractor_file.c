/* Extractors from the files of weights/. */
#include "base/text.h"
#include "eval/extractor_internal.h"
#include "train/features.h"

#include <stdlib.h>
#include <string.h>

enum { BATCH = 64, VGG_BATCH_CPU = 4 }; /* VGG-16 sees 224 x 224 pixels */

static bool spec_fits(const FeatureSpec *spec, FeatureKind kind, const Dataset *like, Error *error) {
    if (spec->kind != kind)
        return error_set(error, "holds a %s, not a %s", feature_kind_name(spec->kind),
                         feature_kind_name(kind));
    if (spec->channels != like->channels)
        return error_set(error, "it takes images of %d channels, these have %d", spec->channels,
                         like->channels);
    return kind != FEATURES_CLASSIFIER || spec->resolution == like->height ||
           error_set(error, "it was trained on images of %d x %d pixels, these have %d x %d",
                     spec->resolution, spec->resolution, like->height, like->width);
}

/* Records the network that the file describes and reads its weights, malloc'ed; NULL on error. */
static float *network_read(Extractor *extractor, const SafeTensors *file, const FeatureSpec *spec,
                           Error *error) {
    FeatureNet constants = {.scaling = NO_PARAM, .shift = NO_PARAM, .lift = NO_PARAM};
    extractor_set_output(
        extractor,
        spec->kind == FEATURES_VGG16_FC2
            ? vgg16_fc2_record(spec, &extractor->params, extractor->graph, extractor->images, &constants)
            : classifier_record(&spec->classifier, &extractor->params, extractor->graph, extractor->images,
                                spec->classes, PRECISION_FP32)
                  .features);
    return features_parameters(file, &extractor->params, &constants, error);
}

/* Hash of "<kind> features <SHA-256 of the file>". */
static Hash features_hash(FeatureKind kind, const Hash *file) {
    Text text = {0};
    text_append(&text, "%s features %s", feature_kind_name(kind), file->hex);
    const Hash hash = hash_bytes(text.text, text.length);
    text_free(&text);
    return hash;
}

static Extractor *file_open(const SafeTensors *file, const Dataset *like, Device *device, FeatureKind kind,
                            Error *error) {
    FeatureSpec spec;
    const bool small = kind == FEATURES_VGG16_FC2 && !strcmp(device->kind, "cpu");
    if (!features_describe(file, &spec, error) || !spec_fits(&spec, kind, like, error)) return NULL;
    Extractor *extractor = extractor_create(like, device, small ? VGG_BATCH_CPU : BATCH);
    float *weights = network_read(extractor, file, &spec, error);
    if (weights) {
        extractor_prepare(extractor, weights);
    } else {
        extractor_close(extractor);
        extractor = NULL;
    }
    free(weights);
    return extractor;
}

Extractor *extractor_open(const Dataset *like, Device *device, FeatureKind kind, const char *path,
                          const Hash *hash, Error *error) {
    SafeTensors file;
    if (!features_unchanged(path, hash->hex, error) || !safetensors_open(path, &file, error)) return NULL;
    Extractor *extractor = file_open(&file, like, device, kind, error);
    if (extractor)
        extractor->hash = features_hash(kind, hash);
    else
        error_wrap(error, "%s", path);
    safetensors_close(&file);
    return extractor;
}
