/* safetensors: header, tensors, checksum, and the weights of a small network out of them. */
#include "tests/fuzz/fuzz.h"

#include "train/checkpoint.h"

FUZZ_REPAIR(repair_safetensors);

static void tensors_touch(const SafeTensors *file) {
    for (int i = 0; i < file->count; i++) {
        const SafeTensor *tensor = &file->tensors[i];
        CHECK((size_t)safetensor_count(tensor) * safetensor_dtype_size(tensor->dtype) == tensor->bytes,
              "a tensor of another size than its shape's");
        fuzz_touch(tensor->data, tensor->bytes);
        CHECK(safetensors_find(file, tensor->name) == tensor, "a tensor that is not found by its name");
    }
}

static void weights_try(const SafeTensors *file) {
    Error error;
    ParamSet params = {0};
    param_declare(&params, (Param){.name = "w", .rank = 2, .shape = {2, 3}, .in_file = true});
    param_declare(&params, (Param){.name = "b", .rank = 1, .shape = {3}, .in_file = true});
    float *values = calloc((size_t)params.total, sizeof *values);
    if (!weights_load(file, &params, "", values, &error)) fuzz_refused(&error);
    fuzz_touch(values, (size_t)params.total * sizeof *values);
    free(values);
    param_free(&params);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    SafeTensors file;
    Error error;
    const char *path = fuzz_file(bytes, size);
    if (!safetensors_open(path, &file, &error)) {
        fuzz_refused(&error);
        return 0;
    }
    tensors_touch(&file);
    if (!safetensors_verify(&file, path, &error)) fuzz_refused(&error);
    weights_try(&file);
    safetensors_close(&file);
    return 0;
}
