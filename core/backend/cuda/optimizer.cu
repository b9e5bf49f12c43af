/* One step of RAdam with all moving averages, over flat arrays; core/backend/cpu/optimizer.c says why the
 * gradient is read twice: a step that met a gradient which is not finite must change nothing.
 *
 * A block takes CHUNK elements and writes their sums into the workspace; one more block adds those up. The
 * second pass asks the first one's total in device memory whether to update at all, so the host never waits.
 */
#include "backend/cuda/elements.cuh"
#include "backend/loss_scale.h"
#include <float.h>

enum { CHUNK = 8192, TOTAL_THREADS = 1024 };

static int64_t chunk_count(size_t count) {
    return (int64_t)((count + CHUNK - 1) / CHUNK);
}

/* One report a chunk, and the total of the first pass. */
size_t cuda_optimizer_workspace(Device *device, size_t count) {
    (void)device;
    return (size_t)(chunk_count(count) + 1) * sizeof(UpdateReport);
}

/* The report's fields added over the block's threads, in thread 0's copy. */
__device__ __forceinline__ void report_block_sum(UpdateReport *report) {
    __shared__ double memory[TOTAL_THREADS];
    report->gradient_square = block_sum(report->gradient_square, memory);
    report->update_square = block_sum(report->update_square, memory);
    report->weight_square = block_sum(report->weight_square, memory);
    report->non_finite = (uint64_t)block_sum((double)report->non_finite, memory); /* exact: far below 2^53 */
}

__global__ void __launch_bounds__(TOTAL_THREADS)
    reports_total_kernel(const UpdateReport *reports, int64_t chunks, UpdateReport *total,
                         LossScale *loss_scale) {
    UpdateReport sum = {};
    for (int64_t i = threadIdx.x; i < chunks; i += TOTAL_THREADS) {
        sum.gradient_square += reports[i].gradient_square;
        sum.update_square += reports[i].update_square;
        sum.weight_square += reports[i].weight_square;
        sum.non_finite += reports[i].non_finite;
    }
    report_block_sum(&sum);
    if (threadIdx.x) return;
    *total = sum;
    if (loss_scale) *loss_scale = loss_scale_next(*loss_scale, sum.non_finite > 0);
}

/* What multiplies the gradient. The scale is advanced by the step's last kernel, so all see the same one. */
__device__ __forceinline__ float gradient_factor(const OptimizerStep &op) {
    return op.loss_scale ? op.gradient_scale / op.loss_scale->scale : op.gradient_scale;
}

/* A finite gradient whose square overflows counts as well: it would make the variance infinite for good. The
 * sum of squares is over the others, so that it stays a number that can be reported. */
template <int V> __global__ void gradient_measure_kernel(OptimizerStep op, UpdateReport *reports) {
    UpdateReport report = {};
    const float factor = gradient_factor(op);
    const int64_t begin = (int64_t)blockIdx.x * CHUNK, end = min(begin + CHUNK, (int64_t)op.count);
    for (int64_t i = begin + threadIdx.x * V; i < end; i += BLOCK * V) {
        float gradient[V];
        pack_load<float, V>(op.gradient + i, gradient);
#pragma unroll
        for (int k = 0; k < V; k++) {
            const double g = (double)(factor * gradient[k]), square = g * g;
            const bool fits = square <= (double)FLT_MAX;
            report.gradient_square += fits ? square : 0.0;
            report.non_finite += !fits;
        }
    }
    report_block_sum(&report);
    if (threadIdx.x == 0) reports[blockIdx.x] = report;
}

/* What a step's row means for every element. */
typedef struct Rates {
    float beta1, rest1, beta2, rest2, rate, decay, epsilon, factor, teacher_rest, ema_rest[MAX_EMAS];
    bool adaptive;
} Rates;

__device__ __forceinline__ Rates rates_make(const OptimizerStep &op) {
    const StepRow *row = op.row;
    Rates r;
    r.factor = gradient_factor(op);
    r.adaptive = row->adaptive > 0.0f;
    r.beta1 = (float)row->beta1;
    r.rest1 = (float)(1.0 - row->beta1);
    r.beta2 = (float)row->beta2;
    r.rest2 = (float)(1.0 - row->beta2);
    r.rate = row->learning_rate * row->momentum_correction * (r.adaptive ? row->adaptive : 1.0f);
    r.decay = row->weight_decay;
    r.epsilon = row->epsilon;
    r.teacher_rest = (float)(1.0 - row->teacher_decay);
    for (int i = 0; i < MAX_EMAS; i++) r.ema_rest[i] = (float)(1.0 - row->ema_decay[i]);
    return r;
}

/* Weights in the network's own type, for the passes of the next step. */
template <int V>
__device__ __forceinline__ void cast_store(void *to, DType dtype, int64_t i, const float (&weight)[V]) {
    if (!to) return;
    if (dtype == DTYPE_F16)
        pack_store<__half, V>((__half *)to + i, weight);
    else
        pack_store<__nv_bfloat16, V>((__nv_bfloat16 *)to + i, weight);
}

/* average = decay * average + (1 - decay) * weight; a decay of 0 is a copy, bit for bit. */
template <int V>
__device__ __forceinline__ void average_update(float *average, const float (&weight)[V], float rest) {
    float value[V];
    pack_load<float, V>(average, value);
#pragma unroll
    for (int k = 0; k < V; k++)
        value[k] = rest == 1.0f ? weight[k] : value[k] + rest * (weight[k] - value[k]);
    pack_store<float, V>(average, value);
}

template <int V>
__device__ __forceinline__ void teacher_update(const OptimizerStep &op, int64_t i, const float (&weight)[V],
                                               float rest) {
    float value[V];
    average_update<V>(op.teacher + i, weight, rest);
    if (!op.teacher_cast) return;
    pack_load<float, V>(op.teacher + i, value);
    cast_store<V>(op.teacher_cast, op.cast_dtype, i, value);
}

/* The moments and the weights. epsilon is added to the root, outside; weight decay is added to
 * the gradient. */
template <int V>
__device__ __forceinline__ void weights_update(const OptimizerStep &op, const Rates &r, int64_t i,
                                               float (&weight)[V], UpdateReport *report) {
    float gradient[V], momentum[V], variance[V];
    pack_load<float, V>(op.gradient + i, gradient);
    pack_load<float, V>(op.momentum + i, momentum);
    pack_load<float, V>(op.variance + i, variance);
#pragma unroll
    for (int k = 0; k < V; k++) {
        const float g = fmaf(r.decay, weight[k], r.factor * gradient[k]);
        momentum[k] = fmaf(r.beta1, momentum[k], r.rest1 * g);
        variance[k] = fmaf(r.beta2, variance[k], r.rest2 * (g * g));
        const float step = r.rate * momentum[k],
                    update = r.adaptive ? step / (sqrtf(variance[k]) + r.epsilon) : step;
        weight[k] -= update;
        report->update_square += (double)update * update;
    }
    pack_store<float, V>(op.momentum + i, momentum);
    pack_store<float, V>(op.variance + i, variance);
    pack_store<float, V>(op.weight + i, weight);
    cast_store<V>(op.weight_cast, op.cast_dtype, i, weight);
    if (op.teacher) teacher_update<V>(op, i, weight, r.teacher_rest);
    for (int e = 0; e < op.emas; e++) average_update<V>(op.ema[e] + i, weight, r.ema_rest[e]);
}

template <int V>
__global__ void update_kernel(OptimizerStep op, const UpdateReport *measured, UpdateReport *reports) {
    UpdateReport report = {};
    const Rates rates = rates_make(op);
    const bool skip = measured->non_finite > 0;
    const int64_t begin = (int64_t)blockIdx.x * CHUNK, end = min(begin + CHUNK, (int64_t)op.count);
    for (int64_t i = begin + threadIdx.x * V; i < end; i += BLOCK * V) {
        float weight[V];
        pack_load<float, V>(op.weight + i, weight);
        if (!skip) weights_update<V>(op, rates, i, weight, &report);
#pragma unroll
        for (int k = 0; k < V; k++) report.weight_square += (double)weight[k] * weight[k];
    }
    report_block_sum(&report);
    if (threadIdx.x) return;
    reports[blockIdx.x].update_square = report.update_square;
    reports[blockIdx.x].weight_square = report.weight_square;
}

static bool step_wide(const OptimizerStep *op) {
    uintptr_t bits = (uintptr_t)op->gradient | (uintptr_t)op->weight | (uintptr_t)op->momentum |
                     (uintptr_t)op->variance | (uintptr_t)op->teacher | (uintptr_t)op->weight_cast |
                     (uintptr_t)op->teacher_cast;
    for (int i = 0; i < op->emas; i++) bits |= (uintptr_t)op->ema[i];
    return bits % 16 == 0 && op->count % 4 == 0;
}

template <int V> static void step_run(const OptimizerStep *op, cudaStream_t stream) {
    const int64_t chunks = chunk_count(op->count);
    UpdateReport *reports = (UpdateReport *)op->workspace, *total = reports + chunks;
    gradient_measure_kernel<V><<<(unsigned)chunks, BLOCK, 0, stream>>>(*op, reports);
    CUDA_LAUNCHED("gradient_measure");
    reports_total_kernel<<<1, TOTAL_THREADS, 0, stream>>>(reports, chunks, total, nullptr);
    CUDA_LAUNCHED("reports_total");
    update_kernel<V><<<(unsigned)chunks, BLOCK, 0, stream>>>(*op, total, reports);
    CUDA_LAUNCHED("update");
    reports_total_kernel<<<1, TOTAL_THREADS, 0, stream>>>(reports, chunks, op->report, op->loss_scale);
    CUDA_LAUNCHED("reports_total");
}

void cuda_optimizer_step(Device *device, const OptimizerStep *op) {
    CHECK(op->emas >= 0 && op->emas <= MAX_EMAS, "optimizer_step: %d moving averages", op->emas);
    CHECK((!op->weight_cast && !op->teacher_cast) || op->cast_dtype == DTYPE_F16 ||
              op->cast_dtype == DTYPE_BF16,
          "optimizer_step: type of the cast");
    if (step_wide(op))
        step_run<4>(op, cuda_stream(device));
    else
        step_run<1>(op, cuda_stream(device));
}
