/* One step of RAdam (Liu et al. 2020; as torch.optim.RAdam computes it) with all moving averages, over flat
 * arrays.
 *
 * A step that met a gradient which is not finite must change nothing, and that is known only after the whole
 * gradient has been read. So there are two passes: the first reads the gradient alone, counts and adds up;
 * the second, skipped when anything was counted, updates. The first costs one read of the gradient where the
 * second moves thirteen arrays' worth.
 *
 * The arrays are cut into chunks of fixed size that stay in a core's cache from the update to the last moving
 * average. A chunk writes its own sums into the workspace and one thread adds those up in order: the same
 * bits for any number of threads.
 */
#include "backend/cpu/cpu.h"
#include "backend/cpu/lanes.h"
#include "backend/loss_scale.h"
#include <float.h>
#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { CHUNK = 8192 };

static int64_t chunk_count(size_t count) {
    return (int64_t)((count + CHUNK - 1) / CHUNK);
}

/* Elements of chunk `index`. */
static Range chunk_range(size_t count, int64_t index) {
    const int64_t begin = index * CHUNK, end = begin + CHUNK;
    return (Range){begin, end < (int64_t)count ? end : (int64_t)count};
}

size_t cpu_optimizer_workspace(Device *device, size_t count) {
    (void)device;
    return (size_t)chunk_count(count) * sizeof(UpdateReport);
}

/* A finite gradient whose square overflows counts as well: it would make the variance infinite for good, and
 * its weight would never move again. The sum of squares is over the others, so that it stays a number that
 * can be reported. */
INLINE void gradient_block(const OptimizerStep *op, int64_t begin, int count, Lanes *square_sum,
                           int32_t *non_finite) {
    const float *gradient = op->gradient + begin, scale = op->gradient_scale;
#pragma omp simd
    for (int i = 0; i < count; i++) {
        const double g = scale * gradient[i], square = g * g;
        const int32_t fits = square <= (double)FLT_MAX;
        square_sum->lane[i] += fits ? square : 0.0;
        non_finite[i] += 1 - fits;
    }
}

static void gradient_measure(const OptimizerStep *op, Range range, UpdateReport *report) {
    Lanes square_sum = {{0}};
    int32_t non_finite[LANES] = {0};
    int64_t i = range.begin;
    for (; i + LANES <= range.end; i += LANES) gradient_block(op, i, LANES, &square_sum, non_finite);
    gradient_block(op, i, (int)(range.end - i), &square_sum, non_finite);
    *report = (UpdateReport){.gradient_square = lanes_total(&square_sum)};
    for (int lane = 0; lane < LANES; lane++) report->non_finite += (uint64_t)non_finite[lane];
}

INLINE void weight_block(const OptimizerStep *op, int64_t begin, int count, Lanes *square_sum) {
    const float *weight = op->weight + begin;
    for (int i = 0; i < count; i++) square_sum->lane[i] += (double)weight[i] * weight[i];
}

static void weight_measure(const OptimizerStep *op, Range range, UpdateReport *report) {
    Lanes square_sum = {{0}};
    int64_t i = range.begin;
    for (; i + LANES <= range.end; i += LANES) weight_block(op, i, LANES, &square_sum);
    weight_block(op, i, (int)(range.end - i), &square_sum);
    report->weight_square = lanes_total(&square_sum);
}

/* What a step's row means for every element. */
typedef struct Rates {
    float beta1, rest1, beta2, rest2, rate, decay, epsilon;
} Rates;

static Rates rates_make(const StepRow *row) {
    const float adaptive = row->adaptive > 0.0f ? row->adaptive : 1.0f;
    return (Rates){.beta1 = (float)row->beta1,
                   .rest1 = (float)(1.0 - row->beta1),
                   .beta2 = (float)row->beta2,
                   .rest2 = (float)(1.0 - row->beta2),
                   .rate = row->learning_rate * row->momentum_correction * adaptive,
                   .decay = row->weight_decay,
                   .epsilon = row->epsilon};
}

/* The moments and the weights. `adaptive`: whether RAdam divides by the root of the variance yet. epsilon is
 * added to the root, outside; weight decay is added to the gradient. */
INLINE void update_block(const OptimizerStep *op, const Rates *r, bool adaptive, int64_t begin, int count,
                         Lanes *updates) {
    const float *gradient = op->gradient + begin, scale = op->gradient_scale;
    float *weight = op->weight + begin, *momentum = op->momentum + begin, *variance = op->variance + begin;
#pragma omp simd
    for (int i = 0; i < count; i++) {
        const float g = __builtin_fmaf(r->decay, weight[i], scale * gradient[i]);
        const float m = __builtin_fmaf(r->beta1, momentum[i], r->rest1 * g);
        const float v = __builtin_fmaf(r->beta2, variance[i], r->rest2 * (g * g));
        const float update = adaptive ? r->rate * m / (sqrtf(v) + r->epsilon) : r->rate * m;
        momentum[i] = m;
        variance[i] = v;
        weight[i] -= update;
        updates->lane[i] += (double)update * update;
    }
}

INLINE void update_run(const OptimizerStep *op, Range range, bool adaptive, UpdateReport *report) {
    const Rates rates = rates_make(op->row);
    Lanes updates = {{0}};
    int64_t i = range.begin;
    for (; i + LANES <= range.end; i += LANES) update_block(op, &rates, adaptive, i, LANES, &updates);
    update_block(op, &rates, adaptive, i, (int)(range.end - i), &updates);
    report->update_square = lanes_total(&updates);
}

/* average = decay * average + (1 - decay) * weight; a decay of 0 is a copy, bit for bit. */
static void average_update(float *average, const float *weight, double decay, Range range) {
    if (decay == 0.0) {
        memcpy(average + range.begin, weight + range.begin,
               (size_t)(range.end - range.begin) * sizeof(float));
        return;
    }
    const float rest = (float)(1.0 - decay);
#pragma omp simd
    for (int64_t i = range.begin; i < range.end; i++) average[i] += rest * (weight[i] - average[i]);
}

static void chunk_update(const OptimizerStep *op, Range range, UpdateReport *report) {
    if (op->row->adaptive > 0.0f)
        update_run(op, range, true, report);
    else
        update_run(op, range, false, report);
    weight_measure(op, range, report);
    if (op->teacher) average_update(op->teacher, op->weight, op->row->teacher_decay, range);
    for (int i = 0; i < op->emas; i++) average_update(op->ema[i], op->weight, op->row->ema_decay[i], range);
}

static UpdateReport report_sum(const UpdateReport *parts, int64_t count) {
    UpdateReport sum = {0};
    for (int64_t i = 0; i < count; i++) {
        sum.gradient_square += parts[i].gradient_square;
        sum.update_square += parts[i].update_square;
        sum.weight_square += parts[i].weight_square;
        sum.non_finite += parts[i].non_finite;
    }
    return sum;
}

static void measure_all(const OptimizerStep *op, UpdateReport *reports, int threads) {
    const int64_t chunks = chunk_count(op->count);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < chunks; i++) {
        gradient_measure(op, chunk_range(op->count, i), &reports[i]);
    }
}

static void update_all(const OptimizerStep *op, UpdateReport *reports, bool skip, int threads) {
    const int64_t chunks = chunk_count(op->count);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < chunks; i++) {
        const Range range = chunk_range(op->count, i);
        if (skip)
            weight_measure(op, range, &reports[i]);
        else
            chunk_update(op, range, &reports[i]);
    }
}

void cpu_optimizer_step(Device *device, const OptimizerStep *op) {
    CHECK(!op->weight_cast, "optimizer_step: the CPU computes in fp32 only");
    CHECK(op->emas >= 0 && op->emas <= MAX_EMAS, "optimizer_step: %d moving averages", op->emas);
    OptimizerStep scaled = *op;
    if (op->loss_scale) scaled.gradient_scale /= op->loss_scale->scale;
    UpdateReport *reports = op->workspace;
    const int threads = cpu_parts(device, (int64_t)op->count);
    measure_all(&scaled, reports, threads);
    const bool skip = report_sum(reports, chunk_count(op->count)).non_finite > 0;
    update_all(&scaled, reports, skip, threads);
    *op->report = report_sum(reports, chunk_count(op->count));
    if (op->loss_scale) *op->loss_scale = loss_scale_next(*op->loss_scale, skip);
}
