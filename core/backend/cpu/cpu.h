/* What the files of the CPU backend share: its context, how a loop is cut over the threads, and the names of
 * all ops. device.c puts the functions into the `Ops` table; nothing outside this folder includes this
 * header.
 *
 * Threads. A loop is cut into `parts` ranges of nearly equal size by arithmetic alone, so the same device and
 * the same sizes always give the same ranges:
 *
 *     const int parts = cpu_parts(device, tensor_count(&y));
 *     #pragma omp parallel for num_threads(parts) schedule(static, 1)
 *     for (int part = 0; part < parts; part++) {
 *         const Range range = range_part(count, part, parts);
 *         for (int64_t i = range.begin; i < range.end; i++) ...
 *     }
 *
 * Sums. Adding floats in another order gives other bits, so no atomic and no `reduction` clause: a sum over
 * many elements is cut into ranges, every range writes its own partial sum, and one thread adds the partial
 * sums in order. Where it costs nothing, cut into a fixed number of ranges (SUM_PARTS) instead of one per
 * thread: then the result does not even depend on the number of threads.
 */
#ifndef ICT_BACKEND_CPU_CPU_H
#define ICT_BACKEND_CPU_CPU_H

#include "backend/backend.h"

/* The CPU device computes in fp32 only: ops CHECK their tensors' dtype. */
#define CHECK_F32(tensor) \
    CHECK((tensor).data == NULL || (tensor).dtype == DTYPE_F32, "%s: the CPU computes in fp32 only", #tensor)

/* device->context. `scratch` belongs to thread `omp_get_thread_num()` from scratch + thread * SCRATCH_FLOATS
 * on, for the duration of one op; for ops whose contract has no workspace. */
enum { SCRATCH_FLOATS = 1 << 18, SUM_PARTS = 64 };
typedef struct CpuContext {
    float *scratch; /* device->threads * SCRATCH_FLOATS */
} CpuContext;

static inline float *cpu_scratch(const Device *device, int thread) {
    return ((const CpuContext *)device->context)->scratch + (size_t)thread * SCRATCH_FLOATS;
}

typedef struct Range {
    int64_t begin, end;
} Range;

/* The part-th of `parts` nearly equal ranges of 0..count-1. */
static inline Range range_part(int64_t count, int part, int parts) {
    return (Range){count * part / parts, count * (part + 1) / parts};
}

/* The same with bounds at multiples of `step` (a cache line, a row), the last one cut at count. */
static inline Range range_part_step(int64_t count, int64_t step, int part, int parts) {
    const int64_t steps = (count + step - 1) / step;
    const Range r = range_part(steps, part, parts);
    return (Range){r.begin * step, r.end * step < count ? r.end * step : count};
}

/* Into how many parts to cut `work` (about one elementary operation each): waking the threads costs some
 * microseconds, so little work stays on one. Never a number in between: libgomp ends the threads that a
 * smaller team does not need, and would start them anew for the next loop. */
static inline int cpu_parts(const Device *device, int64_t work) {
    return work < 8192 ? 1 : device->threads;
}

/* ---- ops; arguments and formulas stand in backend/backend.h ---- */

OpPlan *cpu_conv_prepare(Device *, const ConvShape *, ConvPass, const ConvEpilogue *);
OpPlan *cpu_conv_parts_prepare(Device *, const ConvShape *, const int *c_out, int parts);
void cpu_plan_release(Device *, OpPlan *);
size_t cpu_norm_backward_workspace(Device *, const NormForward *);
size_t cpu_norm_mask_bytes(Device *, const NormForward *);
size_t cpu_attention_workspace(Device *, const Tensor *qkv, int heads, bool backward);
size_t cpu_optimizer_workspace(Device *, size_t count);

void cpu_conv_forward(Device *, const ConvForward *);
void cpu_conv_backward_data(Device *, const ConvBackwardData *);
void cpu_conv_backward_weight(Device *, const ConvBackwardWeight *);
void cpu_conv_parts(Device *, const ConvParts *);
void cpu_linear_forward(Device *, const LinearForward *);
void cpu_linear_backward_data(Device *, const LinearBackwardData *);
void cpu_linear_backward_weight(Device *, const LinearBackwardWeight *);
void cpu_norm_forward(Device *, const NormForward *);
void cpu_norm_backward(Device *, const NormBackward *);
void cpu_resample(Device *, const Resample *);
void cpu_bilinear(Device *, const Bilinear *);
void cpu_attention_forward(Device *, const AttentionForward *);
void cpu_attention_backward(Device *, const AttentionBackward *);
void cpu_act_forward(Device *, const ActForward *);
void cpu_act_backward(Device *, const ActBackward *);
void cpu_add_scale(Device *, const AddScale *);
void cpu_pool_forward(Device *, const PoolForward *);
void cpu_pool_backward(Device *, const PoolBackward *);
void cpu_noise_embed(Device *, const NoiseEmbed *);
void cpu_batch_gather(Device *, const BatchGather *);
void cpu_level_draw(Device *, const LevelDraw *);
void cpu_noise_pair(Device *, const NoisePair *);
void cpu_latent_noise(Device *, const LatentNoise *);
void cpu_precondition(Device *, const Precondition *);
void cpu_consistency_loss(Device *, const ConsistencyLoss *);
void cpu_feature_distance(Device *, const FeatureDistance *);
void cpu_cross_entropy(Device *, const CrossEntropy *);
void cpu_optimizer_step(Device *, const OptimizerStep *);

/* Name and version of the convolution library ("oneDNN 2.6.3", "portable convolution"). */
const char *cpu_conv_library(char out[64]);

#endif
