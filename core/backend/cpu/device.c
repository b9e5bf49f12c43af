/* The CPU as a device: memory, copies, and the table of its ops. Everything runs where it is called, so there
 * is nothing to synchronise. */
#include "backend/cpu/cpu.h"
#include "backend/kinds.h"
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const Ops cpu_ops = {
    .conv_prepare = cpu_conv_prepare,
    .conv_parts_prepare = cpu_conv_parts_prepare,
    .plan_release = cpu_plan_release,
    .norm_backward_workspace = cpu_norm_backward_workspace,
    .norm_mask_bytes = cpu_norm_mask_bytes,
    .attention_workspace = cpu_attention_workspace,
    .optimizer_workspace = cpu_optimizer_workspace,
    .conv_forward = cpu_conv_forward,
    .conv_backward_data = cpu_conv_backward_data,
    .conv_backward_weight = cpu_conv_backward_weight,
    .conv_parts = cpu_conv_parts,
    .linear_forward = cpu_linear_forward,
    .linear_backward_data = cpu_linear_backward_data,
    .linear_backward_weight = cpu_linear_backward_weight,
    .norm_forward = cpu_norm_forward,
    .norm_backward = cpu_norm_backward,
    .resample = cpu_resample,
    .bilinear = cpu_bilinear,
    .attention_forward = cpu_attention_forward,
    .attention_backward = cpu_attention_backward,
    .act_forward = cpu_act_forward,
    .act_backward = cpu_act_backward,
    .add_scale = cpu_add_scale,
    .pool_forward = cpu_pool_forward,
    .pool_backward = cpu_pool_backward,
    .noise_embed = cpu_noise_embed,
    .batch_gather = cpu_batch_gather,
    .level_draw = cpu_level_draw,
    .noise_pair = cpu_noise_pair,
    .latent_noise = cpu_latent_noise,
    .precondition = cpu_precondition,
    .consistency_loss = cpu_consistency_loss,
    .feature_distance = cpu_feature_distance,
    .cross_entropy = cpu_cross_entropy,
    .optimizer_step = cpu_optimizer_step,
};

/* Large blocks start at a huge page and ask for huge pages: fewer page faults, fewer misses of the
 * translation buffer. */
static void *memory_allocate(Device *device, size_t bytes) {
    (void)device;
    const size_t huge = (size_t)2 << 20, alignment = bytes >= 2 * huge ? huge : 256;
    void *memory = NULL;
    const int failed = posix_memalign(&memory, alignment, bytes ? bytes : 1);
    CHECK(!failed, "out of memory: could not get %.2f GiB; use a smaller batch or network",
          (double)bytes / (1 << 30));
    if (alignment == huge) madvise(memory, bytes, MADV_HUGEPAGE);
    return memory;
}

static void memory_release(Device *device, void *memory) {
    (void)device;
    free(memory);
}

static void memory_copy(Device *device, void *to, const void *from, size_t bytes, CopyKind kind) {
    (void)kind;
    const int parts = cpu_parts(device, (int64_t)bytes / 16);
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int part = 0; part < parts; part++) {
        const Range r = range_part_step((int64_t)bytes, 64, part, parts);
        if (r.end > r.begin)
            memcpy((char *)to + r.begin, (const char *)from + r.begin, (size_t)(r.end - r.begin));
    }
}

static void memory_fill(Device *device, void *memory, int byte, size_t bytes) {
    const int parts = cpu_parts(device, (int64_t)bytes / 16);
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int part = 0; part < parts; part++) {
        const Range r = range_part_step((int64_t)bytes, 64, part, parts);
        if (r.end > r.begin) memset((char *)memory + r.begin, byte, (size_t)(r.end - r.begin));
    }
}

static void cpu_synchronise(Device *device) {
    (void)device;
}

static void cpu_close(Device *device) {
    CpuContext *context = device->context;
    free(context->scratch);
    free(context);
    free(device);
}

static void processor_name(char *out, size_t size) {
    snprintf(out, size, "CPU");
    FILE *file = fopen("/proc/cpuinfo", "r");
    char line[256];
    while (file && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (!colon || strncmp(line, "model name", 10) != 0) continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(out, size, "%s", colon + 2);
        break;
    }
    if (file) fclose(file);
}

/* OMP_NUM_THREADS, else the cores in this process's affinity mask. omp_get_max_threads() would remember what
 * an earlier device asked for. */
static int threads_default(void) {
    const char *asked = getenv("OMP_NUM_THREADS");
    const int number = asked ? atoi(asked) : 0;
    return number > 0 ? number : omp_get_num_procs();
}

bool cpu_open(int threads, Device **device, Error *error) {
    Device *d = calloc(1, sizeof *d);
    CpuContext *context = calloc(1, sizeof *context);
    const int count = threads > 0 ? threads : threads_default();
    if (context) context->scratch = aligned_alloc(256, (size_t)count * SCRATCH_FLOATS * sizeof(float));
    if (!d || !context || !context->scratch) {
        if (context) free(context->scratch);
        free(context);
        free(d);
        return error_set(error, "device 'cpu': not enough memory for %d threads", count);
    }
    *d = (Device){.ops = &cpu_ops,
                  .kind = "cpu",
                  .threads = count,
                  .context = context,
                  .allocate = memory_allocate,
                  .release = memory_release,
                  .copy = memory_copy,
                  .fill = memory_fill,
                  .synchronise = cpu_synchronise,
                  .host_allocate = memory_allocate,
                  .host_release = memory_release,
                  .close = cpu_close};
    processor_name(d->name, sizeof d->name);
    *device = d;
    return true;
}

void cpu_versions(char *out, size_t size) {
    char convolution[64];
    snprintf(out, size, "%s, OpenMP %d, gcc %s", cpu_conv_library(convolution), _OPENMP, __VERSION__);
}
