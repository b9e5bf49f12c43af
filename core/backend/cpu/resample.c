/* Resampling by two with a short separable filter, as in EDM's Conv2d: halving is a convolution of stride 2,
 * doubling its transpose with gain 2 per axis. Per axis with filter f of T taps and padding p:
 *
 *     halving    y[o] = sum_t f[t] x[2o + t - p]                      (also the adjoint of doubling)
 *     doubling   y[o] = sum_t f[t] x[i]  over all  2i + t - p = o     (also the adjoint of halving)
 *     smoothing  y[o] = sum_t f[t] x[o + t - p]          (its own adjoint, with f reversed and T - 1 - p)
 *
 * Either way an output reads a few neighbouring inputs with fixed weights, its footprint. So all these
 * operators are one loop: add the rows of the vertical footprint into a buffer that stays in the cache, then
 * for each column the pixels of the horizontal footprint. Both steps are the same weighted sum of equally
 * spaced pieces of memory.
 */
#include "backend/cpu/cpu.h"
#include <omp.h>

enum { TAPS = 8 };

/* What one output reads along one axis: `count` inputs from `first` on; none when the filter sees only
 * padding. */
typedef struct Footprint {
    int first, count;
    float weight[TAPS];
} Footprint;

static bool resample_doubles(const Resample *op) {
    return !op->smooth && op->up != op->adjoint;
}

static Footprint footprint_smooth(const Resample *op, int o) {
    const int last = op->tap_count - 1;
    Footprint f = {.first = o - (op->adjoint ? last - op->pad : op->pad), .count = op->tap_count};
    for (int k = 0; k <= last; k++) f.weight[k] = op->taps[op->adjoint ? last - k : k];
    return f;
}

/* Footprint of output `o` before the borders are cut off. Of a doubled axis every other tap
 * meets an input. */
static Footprint footprint_whole(const Resample *op, int o) {
    if (op->smooth) return footprint_smooth(op, o);
    const bool doubles = resample_doubles(op);
    const int phase = doubles ? (o + op->pad) % 2 : 0, stride = doubles ? 2 : 1;
    const float gain = op->up ? 2.0f : 1.0f;
    Footprint f = {.count = (op->tap_count - phase + stride - 1) / stride};
    f.first = doubles ? (o + op->pad) / 2 - f.count + 1 : 2 * o - op->pad;
    for (int k = 0; k < f.count; k++) {
        const int tap = doubles ? phase + 2 * (f.count - 1 - k) : k;
        f.weight[k] = gain * op->taps[tap];
    }
    return f;
}

/* The same within inputs 0 .. inputs-1: the padding is zero, so what reaches into it is dropped. */
static Footprint footprint_make(const Resample *op, int o, int inputs) {
    const Footprint whole = footprint_whole(op, o);
    Footprint f = {.first = whole.first < 0 ? 0 : whole.first};
    for (int k = f.first - whole.first; k < whole.count && whole.first + k < inputs; k++)
        f.weight[f.count++] = whole.weight[k];
    return f;
}

/* out[j] = sum_k weight[k] in[j + k stride] + add_scale add[j], j < n */
typedef struct WeightedSum {
    float *out;
    const float *in, *add;
    int64_t stride, n;
    const float *weight;
    float add_scale;
} WeightedSum;

/* `count` and `with_add` are constants wherever this is inlined, which leaves one vectorised loop. `out` may
 * be `add`. */
static inline __attribute__((always_inline)) void sum_run(const WeightedSum *s, int count, bool with_add) {
    float *out = s->out;
    const float *in = s->in, *add = s->add;
    const int64_t stride = s->stride, n = s->n;
    float weight[TAPS];
    for (int k = 0; k < count; k++) weight[k] = s->weight[k];
    const float add_scale = s->add_scale;
#pragma omp simd
    for (int64_t j = 0; j < n; j++) {
        float sum = with_add ? add_scale * add[j] : 0.0f;
        for (int k = 0; k < count; k++) sum = __builtin_fmaf(weight[k], in[j + k * stride], sum);
        out[j] = sum;
    }
}

static inline __attribute__((always_inline)) void sum_dispatch(const WeightedSum *s, int count,
                                                               bool with_add) {
    switch (count) {
    case 1:
        sum_run(s, 1, with_add);
        break;
    case 2:
        sum_run(s, 2, with_add);
        break;
    case 3:
        sum_run(s, 3, with_add);
        break;
    case 4:
        sum_run(s, 4, with_add);
        break;
    default:
        sum_run(s, count, with_add);
    }
}

static void weighted_sum(const WeightedSum *s, int count) {
    if (s->add)
        sum_dispatch(s, count, true);
    else
        sum_dispatch(s, count, false);
}

/* The input rows under output row `y` added up. A single row needs no copy: its weight goes into `scale`. */
static const float *row_combine(const Resample *op, int image, int y, float *buffer, float *scale) {
    const Tensor *x = &op->x;
    const int64_t row = (int64_t)x->w * x->c;
    const Footprint f = footprint_make(op, y, x->h);
    const float *in = (const float *)x->data + ((int64_t)image * x->h + f.first) * row;
    if (f.count == 1) {
        *scale *= f.weight[0];
        return in;
    }
    const WeightedSum s = {.out = buffer, .in = in, .stride = row, .n = row, .weight = f.weight};
    weighted_sum(&s, f.count);
    return buffer;
}

/* One output row from the combined input row. */
static void row_write(const Resample *op, int64_t row, const float *in, const Footprint *columns,
                      float scale) {
    const int channels = op->x.c, width = op->y.w;
    for (int x = 0; x < width; x++) {
        const int64_t at = (row * width + x) * channels;
        float weight[TAPS];
        for (int k = 0; k < columns[x].count; k++) weight[k] = scale * columns[x].weight[k];
        const WeightedSum s = {.out = (float *)op->y.data + at,
                               .in = in + (int64_t)columns[x].first * channels,
                               .add = op->add.data ? (const float *)op->add.data + at : NULL,
                               .stride = channels,
                               .n = channels,
                               .weight = weight,
                               .add_scale = op->add_scale};
        weighted_sum(&s, columns[x].count);
    }
}

/* Sizes along one axis, by the formulas of a convolution and its transpose. */
static void check_axis(const Resample *op, int x, int y) {
    const int large = resample_doubles(op) ? y : x, small = resample_doubles(op) ? x : y;
    const int span = large + 2 * op->pad - op->tap_count;
    const bool fits = op->smooth ? op->adjoint ? x == y + 2 * op->pad - op->tap_count + 1
                                               : y == x + 2 * op->pad - op->tap_count + 1
                                 : span >= 0 && small == span / 2 + 1 && !(op->up && span % 2);
    CHECK(fits, "resample: %d does not become %d with %d taps and padding %d", x, y, op->tap_count, op->pad);
}

static void check_resample(const Resample *op) {
    const Tensor *x = &op->x, *y = &op->y;
    CHECK_F32(op->x);
    CHECK_F32(op->y);
    CHECK_F32(op->add);
    CHECK(op->tap_count >= 1 && op->tap_count <= TAPS && op->pad >= 0, "resample: %d taps", op->tap_count);
    CHECK(x->n == y->n && x->c == y->c, "resample: images or channels differ");
    CHECK(!op->add.data || tensor_count(&op->add) == tensor_count(y), "resample: size of add");
    check_axis(op, x->h, y->h);
    check_axis(op, x->w, y->w);
    const size_t floats = (size_t)y->w * sizeof(Footprint) / sizeof(float) + (size_t)x->w * x->c;
    CHECK(floats <= SCRATCH_FLOATS, "resample: a row of %d x %d does not fit into the scratch memory", x->w,
          x->c);
}

void cpu_resample(Device *device, const Resample *op) {
    check_resample(op);
    const int64_t rows = (int64_t)op->y.n * op->y.h;
    const int parts = cpu_parts(device, tensor_count(&op->x) + tensor_count(&op->y));
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int part = 0; part < parts; part++) {
        Footprint *columns = (Footprint *)cpu_scratch(device, omp_get_thread_num());
        float *buffer = (float *)(columns + op->y.w);
        for (int x = 0; x < op->y.w; x++) columns[x] = footprint_make(op, x, op->x.w);
        const Range range = range_part(rows, part, parts);
        for (int64_t row = range.begin; row < range.end; row++) {
            float scale = op->scale;
            const float *in = row_combine(op, (int)(row / op->y.h), (int)(row % op->y.h), buffer, &scale);
            row_write(op, row, in, columns, scale);
        }
    }
}
