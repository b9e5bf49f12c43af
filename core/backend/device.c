/* Opens a device by name. The only file that knows which kinds were compiled in: ICT_CUDA is set by the
 * Makefile. */
#include "backend/backend.h"
#include "backend/kinds.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef ICT_CUDA
#define ICT_CUDA 0
#endif

/* "cuda" or "cuda:3" */
static bool cuda_index(const char *spec, int *index) {
    *index = 0;
    if (strcmp(spec, "cuda") == 0) return true;
    if (strncmp(spec, "cuda:", 5) != 0 || spec[5] < '0' || spec[5] > '9') return false;
    char *end;
    const long number = strtol(spec + 5, &end, 10);
    *index = (int)number;
    return *end == '\0' && number < 1024;
}

bool device_open(const char *spec, int threads, Device **device, Error *error) {
    int index;
    *device = NULL;
    if (threads < 0) return error_set(error, "device '%s': %d threads; use 0 for all cores", spec, threads);
    if (strcmp(spec, "cpu") == 0) return cpu_open(threads, device, error);
    if (!cuda_index(spec, &index))
        return error_set(error, "device '%s' is unknown; use cpu, cuda or cuda:<number>", spec);
#if ICT_CUDA
    return cuda_open(index, threads, device, error);
#else
    return error_set(error,
                     "device '%s': this program was built without CUDA; with CUDA=1 in the environment "
                     "./run builds one that has it (needs nvcc and cuDNN); or use --device cpu",
                     spec);
#endif
}

void device_close(Device *device) {
    if (device) device->close(device);
}

void device_versions(const Device *device, char *out, size_t size) {
#if ICT_CUDA
    if (strcmp(device->kind, "cuda") == 0) {
        cuda_versions(device, out, size);
        return;
    }
#endif
    (void)device;
    cpu_versions(out, size);
}
