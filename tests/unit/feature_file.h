/* Feature networks with random weights in files. Include it after <cmocka.h>. */
#ifndef ICT_TESTS_FEATURE_FILE_H
#define ICT_TESTS_FEATURE_FILE_H

#include "model/features.h"
#include "tests/unit/scratch.h"
#include "train/checkpoint.h"

/* Into the scratch folder: a network of this kind and width that says that it is `kind`, and of this
 * resolution unless that is NULL. */
static inline const char *feature_file_write(const char *name, FeatureSpec spec, const char *kind,
                                             const char *resolution) {
    ParamSet params = {0};
    Graph *graph = graph_create();
    Error error;
    const char *metadata[] = {"kind", kind, "resolution", resolution}, *path = scratch(name);
    spec.n = 1, spec.h = spec.w = spec.resized_h = spec.resized_w = 16;
    features_record(&spec, &params, graph);
    float *values = calloc((size_t)params.total, sizeof *values);
    param_initialise(&params, 9, values);
    if (!weights_write(path, &params, values, metadata, resolution ? 2 : 1, &error))
        fail_msg("%s", error.text);
    free(values);
    graph_free(graph);
    param_free(&params);
    return path;
}

/* A classifier of three channels and four classes. */
static inline const char *classifier_write(const char *name, const char *kind, const char *resolution) {
    const FeatureSpec spec = {
        .kind = FEATURES_CLASSIFIER, .channels = 3, .classes = 4, .classifier = classifier_small()};
    return feature_file_write(name, spec, kind, resolution);
}

/* The same, residual. */
static inline const char *residual_write(const char *name, const char *resolution) {
    const ClassifierConfig config = {CLASSIFIER_RESIDUAL, 3, {8, 16, 32}, 1, 0};
    const FeatureSpec spec = {.kind = FEATURES_CLASSIFIER, .channels = 3, .classes = 4, .classifier = config};
    return feature_file_write(name, spec, "classifier", resolution);
}

#endif
