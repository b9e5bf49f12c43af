/* A classifier with random weights in a file, as a feature network. Include it after <cmocka.h>. */
#ifndef ICT_TESTS_CLASSIFIER_FILE_H
#define ICT_TESTS_CLASSIFIER_FILE_H

#include "model/classifier.h"
#include "tests/unit/scratch.h"
#include "train/safetensors.h"

#include <string.h>

/* Into the scratch folder, for images of three channels; says that it is of this kind, and of this resolution
 * unless that is NULL. */
static inline const char *classifier_write(const char *name, const char *kind, const char *resolution) {
    ParamSet params = {0};
    Graph *graph = graph_create();
    Error error;
    const char *metadata[] = {"kind", kind, "resolution", resolution}, *path = scratch(name);
    classifier_record(&params, graph, 1, 8, 3, 4);
    float *values = calloc((size_t)params.total, sizeof *values),
          *file = calloc((size_t)params.total, sizeof *file);
    SafeTensor tensors[32];
    param_initialise(&params, 9, values);
    for (int i = 0; i < params.count; i++) {
        const Param *p = &params.params[i];
        tensors[i] = (SafeTensor){.dtype = "F32",
                                  .rank = p->rank,
                                  .data = file + p->offset,
                                  .bytes = (size_t)p->count * sizeof(float)};
        strcpy(tensors[i].name, p->name);
        for (int k = 0; k < p->rank; k++) tensors[i].shape[k] = p->shape[k];
        param_to_file(p, values, file + p->offset);
    }
    if (!safetensors_write(path, tensors, params.count, metadata, resolution ? 2 : 1, &error))
        fail_msg("%s", error.text);
    free(values);
    free(file);
    graph_free(graph);
    param_free(&params);
    return path;
}

#endif
