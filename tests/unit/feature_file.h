/* Feature networks with random weights in files. Include it after <cmocka.h>. */
#ifndef ICT_TESTS_FEATURE_FILE_H
#define ICT_TESTS_FEATURE_FILE_H

#include "model/features.h"
#include "tests/unit/scratch.h"
#include "train/safetensors.h"

#include <string.h>

/* What the file holds of a parameter. */
static inline SafeTensor feature_tensor(const Param *p, const float *values, float *file) {
    SafeTensor tensor = {
        .dtype = "F32", .rank = p->rank, .data = file + p->offset, .bytes = (size_t)p->count * sizeof(float)};
    strcpy(tensor.name, p->name);
    for (int k = 0; k < p->rank; k++) tensor.shape[k] = p->shape[k];
    param_to_file(p, values, file + p->offset);
    return tensor;
}

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
    float *values = calloc((size_t)params.total, sizeof *values),
          *file = calloc((size_t)params.total, sizeof *file);
    SafeTensor tensors[64];
    int count = 0;
    param_initialise(&params, 9, values);
    for (int i = 0; i < params.count; i++)
        if (params.params[i].in_file) tensors[count++] = feature_tensor(&params.params[i], values, file);
    if (!safetensors_write(path, tensors, count, metadata, resolution ? 2 : 1, &error))
        fail_msg("%s", error.text);
    free(values);
    free(file);
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
    const ClassifierConfig config = {CLASSIFIER_RESIDUAL, 3, {8, 16, 32}, 1};
    const FeatureSpec spec = {.kind = FEATURES_CLASSIFIER, .channels = 3, .classes = 4, .classifier = config};
    return feature_file_write(name, spec, "classifier", resolution);
}

#endif
