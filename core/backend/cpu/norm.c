/* Group normalisation with all that follows it, forward. One sample is one task: its slab (64 KiB for 16x16
 * images with 64 channels) stays in the second-level cache between the three passes (means, variances,
 * result), so that memory sees one read and one write. Sums run over pixels for many channels at once and are
 * folded into groups at the end, so neither the group size nor a group that straddles the two sources matters
 * to the inner loops. */
#include "backend/cpu/norm.h"
#include <math.h>
#include <string.h>

void norm_check(const NormForward *op) {
    const int64_t rows = tensor_rows(&op->x[0]);
    const int channels = op->x[0].c + (op->x[1].data ? op->x[1].c : 0);
    for (int i = 0; i < 2; i++) CHECK_F32(op->x[i]);
    CHECK(!op->x[1].data || tensor_rows(&op->x[1]) == rows, "norm: the two sources differ in size");
    CHECK(op->groups > 0 && channels % op->groups == 0, "norm: %d channels do not make %d groups", channels,
          op->groups);
    CHECK(op->gamma && op->beta && op->statistics, "norm: gamma, beta and statistics must be there");
    CHECK(!op->bias.data || op->bias.c == channels, "norm: bias has %d channels, x %d", op->bias.c, channels);
    CHECK(!op->scale_shift.data || op->scale_shift.c == 2 * channels,
          "norm: scale_shift has %d channels, x %d", op->scale_shift.c, channels);
    CHECK(op->dropout.rate >= 0.0f && op->dropout.rate < 1.0f, "norm: dropout rate %g",
          (double)op->dropout.rate);
    CHECK(channels <= SCRATCH_FLOATS / 32, "norm: %d channels are more than the CPU's scratch memory holds",
          channels);
}

#define NORM_INLINE static inline __attribute__((always_inline))

/* sum[c] += sum over `count` pixels of (x - pivot[c]), squared when asked. `count` is a constant, so that a
 * sum is loaded and stored once for all of them. */
NORM_INLINE void pixels_add(const float *x, int channels, int count, const float *pivot, float *sum,
                            bool squared) {
#pragma omp simd
    for (int c = 0; c < channels; c++) {
        float part[2] = {0.0f, 0.0f};
#pragma GCC unroll 8
        for (int p = 0; p < count; p++) {
            const float d = x[p * channels + c] - pivot[c];
            part[p % 2] = squared ? __builtin_fmaf(d, d, part[p % 2]) : part[p % 2] + d;
        }
        sum[c] += part[0] + part[1];
    }
}

/* sum[c] = sum over all pixels. The pivot is near the mean, so nothing is lost even when the mean is a
 * thousand deviations. */
NORM_INLINE void pixels_sum(const NormSample *s, const float *pivot, float *sum, bool squared) {
    memset(sum, 0, (size_t)s->channels * sizeof *sum);
    for (int i = 0, offset = 0; i < 2; offset += s->c[i], i++) {
        const int channels = s->c[i];
        if (channels == 0) continue;
        int p = 0;
        for (; p + PIXELS <= s->pixels; p += PIXELS)
            pixels_add(s->x[i] + (int64_t)p * channels, channels, PIXELS, pivot + offset, sum + offset,
                       squared);
        for (; p < s->pixels; p++)
            pixels_add(s->x[i] + (int64_t)p * channels, channels, 1, pivot + offset, sum + offset, squared);
    }
}

static const float *sample_bias(const NormSample *s) {
    return s->op->bias.data ? (const float *)s->op->bias.data + (int64_t)s->sample * s->channels : NULL;
}

/* Mean and 1 / std of every group of the sample, by two passes. */
static void statistics_make(const NormSample *s, float *pivot, float *sum) {
    const int size = s->channels / s->op->groups;
    const float *bias = sample_bias(s);
    float *out = s->op->statistics + (int64_t)s->sample * s->op->groups * 2;
    memcpy(pivot, s->x[0], (size_t)s->c[0] * sizeof *pivot);
    if (s->c[1]) memcpy(pivot + s->c[0], s->x[1], (size_t)s->c[1] * sizeof *pivot);
    pixels_sum(s, pivot, sum, false);
    for (int g = 0; g < s->op->groups; g++) {
        double mean = 0.0;
        for (int c = g * size; c < (g + 1) * size; c++)
            mean += (double)pivot[c] + (double)sum[c] / s->pixels + (bias ? (double)bias[c] : 0.0);
        mean /= size;
        out[2 * g] = (float)mean;
        for (int c = g * size; c < (g + 1) * size; c++)
            pivot[c] = (float)(mean - (bias ? (double)bias[c] : 0.0));
    }
    pixels_sum(s, pivot, sum, true);
    for (int g = 0; g < s->op->groups; g++) {
        double square = 0.0;
        for (int c = g * size; c < (g + 1) * size; c++) square += (double)sum[c];
        out[2 * g + 1] = (float)(1.0 / sqrt(square / ((double)size * s->pixels) + (double)s->op->epsilon));
    }
}

void norm_affine(const NormSample *s, float *centre, float *slope, float *offset) {
    const NormForward *op = s->op;
    const int size = s->channels / op->groups;
    const float *bias = sample_bias(s);
    const float *scale = op->scale_shift.data
                             ? (const float *)op->scale_shift.data + (int64_t)s->sample * 2 * s->channels
                             : NULL;
    const float *statistics = op->statistics + (int64_t)s->sample * op->groups * 2;
    for (int c = 0; c < s->channels; c++) {
        const float *group = statistics + c / size * 2;
        const float factor = scale ? 1.0f + scale[c] : 1.0f, shift = scale ? scale[s->channels + c] : 0.0f;
        centre[c] = group[0] - (bias ? bias[c] : 0.0f);
        slope[c] = group[1] * op->gamma[c] * factor;
        offset[c] = op->beta[c] * factor + shift;
    }
}

/* Per-channel arrays of one sample, and some of the dropout mask. */
typedef struct Lines {
    float *centre, *slope, *offset, *mask;
} Lines;

/* `count` pixels of one source; y's pixels are `stride` apart. */
NORM_INLINE void pixels_write(const float *x, float *y, int channels, int stride, int count, const Lines *l,
                              int first, Activation activation) {
    const float *centre = l->centre + first, *slope = l->slope + first, *offset = l->offset + first;
#pragma omp simd
    for (int c = 0; c < channels; c++)
#pragma GCC unroll 8
        for (int p = 0; p < count; p++)
            y[p * stride + c] = norm_activate(
                activation, __builtin_fmaf(x[p * channels + c] - centre[c], slope[c], offset[c]));
}

NORM_INLINE void pixels_apply(const NormSample *s, int first, int end, const Lines *l, float *y,
                              Activation activation) {
    for (int i = 0, offset = 0; i < 2; offset += s->c[i], i++) {
        const int channels = s->c[i];
        if (channels == 0) continue;
        const float *x = s->x[i];
        float *to = y + offset;
        int p = first;
        for (; p + PIXELS <= end; p += PIXELS)
            pixels_write(x + (int64_t)p * channels, to + (int64_t)p * s->channels, channels, s->channels,
                         PIXELS, l, offset, activation);
        for (; p < end; p++)
            pixels_write(x + (int64_t)p * channels, to + (int64_t)p * s->channels, channels, s->channels, 1,
                         l, offset, activation);
    }
}

static void pixels_activate(const NormSample *s, int first, int end, const Lines *l, float *y) {
    if (s->op->activation == ACT_SILU)
        pixels_apply(s, first, end, l, y, ACT_SILU);
    else if (s->op->activation == ACT_RELU)
        pixels_apply(s, first, end, l, y, ACT_RELU);
    else
        pixels_apply(s, first, end, l, y, ACT_NONE);
}

static void pixels_drop(const NormSample *s, int first, int end, float *mask, float *y) {
    const int64_t begin = (int64_t)first * s->channels;
    const int count = (end - first) * s->channels;
    dropout_mask(&s->op->dropout, s->sample, begin, count, mask);
#pragma omp simd
    for (int i = 0; i < count; i++) y[begin + i] *= mask[i];
}

static void sample_forward(const NormForward *op, int n, float *scratch) {
    enum {
        ROWS = 4 * PIXELS
    }; /* between two masks: their elements begin at a multiple of eight, as masks do */
    const NormSample s = norm_sample(op, n);
    const Lines l = {scratch, scratch + s.channels, scratch + 2 * s.channels, scratch + 3 * s.channels};
    float *y = (float *)op->y.data + (int64_t)n * s.pixels * s.channels;
    statistics_make(&s, l.centre, l.slope);
    norm_affine(&s, l.centre, l.slope, l.offset);
    for (int p = 0; p < s.pixels; p += ROWS) {
        const int end = p + ROWS < s.pixels ? p + ROWS : s.pixels;
        pixels_activate(&s, p, end, &l, y);
        if (op->dropout.rate > 0.0f) pixels_drop(&s, p, end, l.mask, y);
    }
}

void cpu_norm_forward(Device *device, const NormForward *op) {
    norm_check(op);
    CHECK_F32(op->y);
    const int samples = op->x[0].n, parts = cpu_parts(device, tensor_count(&op->y));
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int part = 0; part < parts; part++) {
        const Range r = range_part(samples, part, parts);
        for (int64_t n = r.begin; n < r.end; n++) sample_forward(op, (int)n, cpu_scratch(device, part));
    }
}
