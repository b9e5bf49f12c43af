#include "train/classifier_file.h"

#include "base/text.h"
#include "train/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *classifier_role_name(ClassifierRole role) {
    return role == CLASSIFIER_JUDGE ? "judge" : "loss";
}

const char *classifier_name(ClassifierRole role, const Dataset *data, char out[64]) {
    char size[16] = "";
    if (!strcmp(data->name, "shapes")) snprintf(size, sizeof size, "-%d", data->height);
    snprintf(out, 64, "classifier-%s-%.40s%s", classifier_role_name(role), data->name, size);
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

static SafeTensor tensor_of(const Param *p, const float *values, float *file) {
    SafeTensor tensor = {
        .dtype = "F32", .rank = p->rank, .data = file + p->offset, .bytes = (size_t)p->count * sizeof(float)};
    snprintf(tensor.name, sizeof tensor.name, "%s", p->name);
    for (int k = 0; k < p->rank; k++) tensor.shape[k] = p->shape[k];
    param_to_file(p, values, file + p->offset);
    return tensor;
}

static bool tensors_write(const char *path, const ParamSet *params, const float *values,
                          const char *const *metadata, int pairs, Error *error) {
    SafeTensor *tensors = calloc((size_t)params->count, sizeof *tensors);
    float *file = calloc((size_t)params->total, sizeof *file);
    CHECK(tensors && file, "out of memory for %lld parameters", (long long)params->total);
    for (int i = 0; i < params->count; i++) tensors[i] = tensor_of(&params->params[i], values, file);
    const bool written = safetensors_write(path, tensors, params->count, metadata, pairs, error);
    free(tensors);
    free(file);
    return written;
}

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
    return tensors_write(path, params, values, metadata, (int)(sizeof metadata / sizeof *metadata) / 2,
                         error);
}
