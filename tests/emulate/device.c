/* The device that runs our kernels on the processor (cuda_runtime_api.h says why): memory, and what
 * core/backend/cuda/device.c gives otherwise. It is opened as "cuda". EMULATE_CLUSTERS=0 in the environment
 * makes it a card of compute capability 8, without clusters of blocks. */
#include "backend/cuda/cuda.h"
#include "backend/kinds.h"
#include <stdio.h>
#include <stdlib.h>

void cuda_check(const char *file, int line, const char *call, cudaError_t status) {
    if (status != cudaSuccess) die(file, line, "%s", call);
}

void cuda_check_blas(const char *file, int line, const char *call, int status) {
    if (status) die(file, line, "%s", call);
}

/* So few that blocks that walk over their work have several pieces each. */
enum { MULTIPROCESSORS = 4 };

static bool has_clusters(void) {
    const char *asked = getenv("EMULATE_CLUSTERS");
    return !asked || strcmp(asked, "0") != 0;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device) {
    const bool clusters = has_clusters();
    const int values[] = {[cudaDevAttrClusterLaunch] = clusters,
                          [cudaDevAttrMultiProcessorCount] = MULTIPROCESSORS,
                          [cudaDevAttrMaxSharedMemoryPerBlockOptin] = (clusters ? 227 : 163) << 10,
                          [cudaDevAttrComputeCapabilityMajor] = clusters ? 9 : 8,
                          [cudaDevAttrComputeCapabilityMinor] = 0};
    (void)device;
    *value = values[attribute];
    return cudaSuccess;
}

/* Exactly as many bytes as were asked for, so that a sanitizer sees the first one behind them. */
static void *memory_allocate(Device *device, size_t bytes) {
    void *memory;
    (void)device;
    CHECK(posix_memalign(&memory, 256, bytes ? bytes : 1) == 0, "out of memory");
    return memory;
}

static void memory_release(Device *device, void *memory) {
    (void)device;
    free(memory);
}

static void memory_copy(Device *device, void *to, const void *from, size_t bytes, CopyKind kind) {
    (void)device, (void)kind;
    memmove(to, from, bytes);
}

static void memory_fill(Device *device, void *memory, int byte, size_t bytes) {
    (void)device;
    memset(memory, byte, bytes);
}

static void device_synchronise(Device *device) {
    (void)device;
}

static void device_remember(Device *device, const char *path) {
    choices_remember(&cuda_context(device)->choices, path);
}

static void device_shut(Device *device) {
    free(cuda_context(device)->scratch);
    cuda_products_release(cuda_context(device));
    choices_release(&cuda_context(device)->choices);
    free(device->context);
    free(device);
}

bool cuda_open(int index, int threads, Device **device, Error *error) {
    Device *d = calloc(1, sizeof *d);
    CudaContext *context = calloc(1, sizeof *context);
    (void)index, (void)error;
    CHECK(d && context, "out of memory");
    context->scratch = memory_allocate(d, SCRATCH_FLOATS * sizeof(float));
    memset(context->scratch, 0xFF, SCRATCH_FLOATS * sizeof(float));
    choices_open(&context->choices, "kernels on the processor", "");
    *d = (Device){.ops = &cuda_ops,
                  .kind = "cuda",
                  .name = "kernels on the processor",
                  .threads = threads,
                  .context = context,
                  .allocate = memory_allocate,
                  .release = memory_release,
                  .copy = memory_copy,
                  .fill = memory_fill,
                  .synchronise = device_synchronise,
                  .host_allocate = memory_allocate,
                  .host_release = memory_release,
                  .remember = device_remember,
                  .races = {.each = 1, .all = 1},
                  .close = device_shut};
    *device = d;
    return true;
}

void cuda_versions(const Device *device, char *out, size_t size) {
    snprintf(out, size, "%s", device->name);
}

/* Its products are PTX: only a card runs them. */
OpPlan *cuda_conv_parts_prepare(Device *device, const ConvShape *shape, const int *c_out, int parts) {
    (void)device, (void)shape, (void)c_out, (void)parts;
    CHECK(false, "conv_parts is not emulated");
}

void cuda_conv_parts(Device *device, const ConvParts *op) {
    (void)device, (void)op;
    CHECK(false, "conv_parts is not emulated");
}
