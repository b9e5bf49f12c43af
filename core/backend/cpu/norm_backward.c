/* Group normalisation, backward. With xhat = (x - centre) / std, factor = 1 + scale and dv the gradient
 * before dropout and activation, two passes over a sample suffice:
 *
 *   1. dv, and per channel  S = sum dv,  T = sum dv xhat,  U = sum xhat;
 *   2. dx = slope dv - A - B xhat,  where A and B are means over the group (count elements):
 *      A = sum_c (slope S) / count,  B = sum_c (slope T) / count.
 *
 * Everything else follows from the sums: dgamma = factor T, dbeta = factor S, dscale = gamma T + beta S,
 * dshift = S; and the gradient of the bias before the statistics, being the sum of dx over the pixels, is
 * slope S - pixels A - B U. dv is kept between the passes in the thread's slab, because exponentials and
 * random masks cost more than reading it again.
 */
#include "backend/cpu/norm.h"
#include <string.h>

/* A slab of dv for every thread, dgamma and dbeta of every sample. */
size_t cpu_norm_backward_workspace(Device *device, const NormForward *op) {
    const int64_t channels = op->x[0].c + op->x[1].c;
    const int64_t slab = (int64_t)op->x[0].h * op->x[0].w * channels;
    return (size_t)(device->threads * slab + op->x[0].n * 2 * channels) * sizeof(float);
}

size_t cpu_norm_mask_bytes(Device *device, const NormForward *op) {
    (void)device, (void)op;
    return 0;
}

/* Per-channel arrays of one sample and its slab. */
typedef struct Sums {
    float *centre, *slope, *offset, *inverse; /* inverse = 1 / std */
    float *s, *t, *u, *a, *b;
    float *mask, *dv;
} Sums;

static Sums sums_lay(float *scratch, float *slab, int channels) {
    float *line[10];
    for (int i = 0; i < 10; i++) line[i] = scratch + (int64_t)i * channels;
    return (Sums){line[0], line[1], line[2], line[3], line[4], line[5],
                  line[6], line[7], line[8], line[9], slab};
}

/* dv = dy * dy_scale * act'(v) of `count` pixels of one source, and their share of the sums. x's pixels are
 * `channels` apart, those of dy and dv `stride`. */
static inline __attribute__((always_inline)) void pixels_add(const float *x, const float *dy, float *dv,
                                                             int channels, int stride, int count,
                                                             const Sums *m, int first, float dy_scale,
                                                             Activation activation) {
    const float *centre = m->centre + first, *slope = m->slope + first, *offset = m->offset + first;
    const float *inverse = m->inverse + first;
    float *s = m->s + first, *t = m->t + first, *u = m->u + first;
#pragma omp simd
    for (int c = 0; c < channels; c++) {
        float sum_s = s[c], sum_t = t[c], sum_u = u[c];
#pragma GCC unroll 8
        for (int p = 0; p < count; p++) {
            const float d = x[p * channels + c] - centre[c], xhat = d * inverse[c];
            const float v = __builtin_fmaf(d, slope[c], offset[c]);
            const float g = dy_scale * dy[p * stride + c] * norm_slope(activation, v);
            dv[p * stride + c] = g;
            sum_s += g;
            sum_t = __builtin_fmaf(g, xhat, sum_t);
            sum_u += xhat;
        }
        s[c] = sum_s, t[c] = sum_t, u[c] = sum_u;
    }
}

static inline __attribute__((always_inline)) void pixels_gradient(const NormSample *s, const float *dy,
                                                                  int first, int end, const Sums *m,
                                                                  float dy_scale, Activation activation) {
    for (int i = 0, offset = 0; i < 2; offset += s->c[i], i++) {
        const int channels = s->c[i];
        if (channels == 0) continue;
        int p = first;
        for (; p + PIXELS <= end; p += PIXELS) {
            const int64_t at = (int64_t)p * s->channels + offset;
            pixels_add(s->x[i] + (int64_t)p * channels, dy + at, m->dv + at, channels, s->channels, PIXELS, m,
                       offset, dy_scale, activation);
        }
        for (; p < end; p++) {
            const int64_t at = (int64_t)p * s->channels + offset;
            pixels_add(s->x[i] + (int64_t)p * channels, dy + at, m->dv + at, channels, s->channels, 1, m,
                       offset, dy_scale, activation);
        }
    }
}

/* Dropout first: the masked dy replaces dy, in the place where dv will stand. */
static const float *pixels_mask(const NormSample *s, const float *dy, int first, int end, const Sums *m) {
    if (s->op->dropout.rate <= 0.0f) return dy;
    const int64_t begin = (int64_t)first * s->channels;
    const int count = (end - first) * s->channels;
    dropout_mask(&s->op->dropout, s->sample, begin, count, m->mask);
#pragma omp simd
    for (int i = 0; i < count; i++) m->dv[begin + i] = dy[begin + i] * m->mask[i];
    return m->dv;
}

static void gradient_make(const NormSample *s, const float *dy, const Sums *m, float dy_scale) {
    enum { ROWS = 4 * PIXELS };
    memset(m->s, 0, (size_t)s->channels * sizeof(float));
    memset(m->t, 0, (size_t)s->channels * sizeof(float));
    memset(m->u, 0, (size_t)s->channels * sizeof(float));
    for (int p = 0; p < s->pixels; p += ROWS) {
        const int end = p + ROWS < s->pixels ? p + ROWS : s->pixels;
        const float *masked = pixels_mask(s, dy, p, end, m);
        if (s->op->activation == ACT_SILU)
            pixels_gradient(s, masked, p, end, m, dy_scale, ACT_SILU);
        else if (s->op->activation == ACT_RELU)
            pixels_gradient(s, masked, p, end, m, dy_scale, ACT_RELU);
        else
            pixels_gradient(s, masked, p, end, m, dy_scale, ACT_NONE);
    }
}

/* A and B of each channel's group, B already times 1 / std, because pass 2 multiplies it with x - centre. */
static void means_make(const NormSample *s, const Sums *m) {
    const int size = s->channels / s->op->groups;
    const double count = (double)size * s->pixels;
    for (int g = 0; g < s->op->groups; g++) {
        double a = 0.0, b = 0.0;
        for (int c = g * size; c < (g + 1) * size; c++) {
            a += (double)m->slope[c] * (double)m->s[c];
            b += (double)m->slope[c] * (double)m->t[c];
        }
        for (int c = g * size; c < (g + 1) * size; c++) {
            m->a[c] = (float)(a / count);
            m->b[c] = (float)(b / count * (double)m->inverse[c]);
        }
    }
}

static void source_gradient(const NormSample *s, const NormBackward *op, int i, int offset, const Sums *m) {
    const int count = s->c[i];
    const int64_t begin = (int64_t)s->sample * s->pixels * count;
    float *dx = (float *)op->dx[i].data + begin;
    const float *add = op->add[i].data ? (const float *)op->add[i].data + begin : NULL,
                add_scale = op->add_scale[i];
    const float *centre = m->centre + offset, *slope = m->slope + offset, *a = m->a + offset,
                *b = m->b + offset;
    for (int p = 0; p < s->pixels; p++) {
        const float *x = s->x[i] + (int64_t)p * count, *dv = m->dv + (int64_t)p * s->channels + offset;
        float *to = dx + (int64_t)p * count;
        const float *from = add ? add + (int64_t)p * count : NULL;
        if (from) {
#pragma omp simd
            for (int c = 0; c < count; c++)
                to[c] = slope[c] * dv[c] - a[c] - (x[c] - centre[c]) * b[c] + add_scale * from[c];
        } else {
#pragma omp simd
            for (int c = 0; c < count; c++) to[c] = slope[c] * dv[c] - a[c] - (x[c] - centre[c]) * b[c];
        }
    }
}

static void parameters_gradient(const NormSample *s, const NormBackward *op, const Sums *m, float *partial) {
    const int channels = s->channels;
    const float *scale = op->forward.scale_shift.data;
    float *dbias = op->dbias.data, *dscale = op->dscale_shift.data;
    if (scale) scale += (int64_t)s->sample * 2 * channels;
    if (dbias) dbias += (int64_t)s->sample * channels;
    if (dscale) dscale += (int64_t)s->sample * 2 * channels;
    for (int c = 0; c < channels; c++) {
        const float factor = scale ? 1.0f + scale[c] : 1.0f;
        partial[c] = factor * m->t[c];
        partial[channels + c] = factor * m->s[c];
        if (dscale) {
            dscale[c] = op->forward.gamma[c] * m->t[c] + op->forward.beta[c] * m->s[c];
            dscale[channels + c] = m->s[c];
        }
        if (dbias)
            dbias[c] = m->slope[c] * m->s[c] - (float)s->pixels * m->a[c] - m->b[c] / m->inverse[c] * m->u[c];
    }
}

static void sample_backward(const NormBackward *op, int n, float *scratch, float *slab, float *partial) {
    const NormSample s = norm_sample(&op->forward, n);
    const Sums m = sums_lay(scratch, slab, s.channels);
    const int size = s.channels / op->forward.groups;
    const float *statistics = op->forward.statistics + (int64_t)n * op->forward.groups * 2;
    norm_affine(&s, m.centre, m.slope, m.offset);
    for (int c = 0; c < s.channels; c++) m.inverse[c] = statistics[c / size * 2 + 1];
    gradient_make(&s, (const float *)op->dy.data + (int64_t)n * s.pixels * s.channels, &m, op->dy_scale);
    means_make(&s, &m);
    for (int i = 0, offset = 0; i < 2; offset += s.c[i], i++)
        if (s.c[i] && op->dx[i].data) source_gradient(&s, op, i, offset, &m);
    parameters_gradient(&s, op, &m, partial + (int64_t)n * 2 * s.channels);
}

/* to[c] (+)= sum over the samples, in their order. */
static void samples_sum(float *to, const float *partial, int channels, int samples, bool accumulate) {
    if (!to) return;
    if (!accumulate) memset(to, 0, (size_t)channels * sizeof *to);
    for (int n = 0; n < samples; n++) {
#pragma omp simd
        for (int c = 0; c < channels; c++) to[c] += partial[(int64_t)n * 2 * channels + c];
    }
}

void cpu_norm_backward(Device *device, const NormBackward *op) {
    const NormForward *forward = &op->forward;
    norm_check(forward);
    CHECK_F32(op->dy);
    for (int i = 0; i < 2; i++) {
        CHECK_F32(op->dx[i]);
        CHECK_F32(op->add[i]);
    }
    const int samples = forward->x[0].n, channels = norm_sample(forward, 0).channels;
    const int64_t slab = (int64_t)forward->x[0].h * forward->x[0].w * channels;
    const int parts = cpu_parts(device, samples * slab);
    float *partial = (float *)op->workspace + device->threads * slab;
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int part = 0; part < parts; part++) {
        const Range r = range_part(samples, part, parts);
        for (int64_t n = r.begin; n < r.end; n++)
            sample_backward(op, (int)n, cpu_scratch(device, part), (float *)op->workspace + part * slab,
                            partial);
    }
    samples_sum(op->dgamma, partial, channels, samples, op->accumulate);
    samples_sum(op->dbeta, partial + channels, channels, samples, op->accumulate);
}
