/* What the forward and the backward pass of group normalisation share. Within one sample the whole layer is
 * one affine map per channel followed by the activation,
 *
 *     v = (x - centre[c]) * slope[c] + offset[c],     y = dropout(act(v)),
 *
 * where centre = group mean - bias, slope = gamma (1 + scale) / std, offset = beta (1 + scale) + shift.
 * Subtracting before multiplying keeps the digits when the mean is much larger than the deviation.
 */
#ifndef ICT_BACKEND_CPU_NORM_H
#define ICT_BACKEND_CPU_NORM_H

#include "backend/cpu/cpu.h"
#include "backend/cpu/simd.h"

/* Channels of the (virtual) concatenation, and one sample's share of the tensors. */
typedef struct NormSample {
    const NormForward *op;
    const float *x[2];
    int c[2], channels, pixels, sample;
} NormSample;

static inline NormSample norm_sample(const NormForward *op, int n) {
    const int pixels = op->x[0].h * op->x[0].w;
    NormSample s = {
        .op = op, .c = {op->x[0].c, op->x[1].data ? op->x[1].c : 0}, .pixels = pixels, .sample = n};
    s.channels = s.c[0] + s.c[1];
    for (int i = 0; i < 2; i++)
        s.x[i] = op->x[i].data ? (const float *)op->x[i].data + (int64_t)n * pixels * s.c[i] : NULL;
    return s;
}

/* Pixels that the loops over channels take at once. */
enum { PIXELS = 4 };

/* Sizes fit together, dtypes are fp32. */
void norm_check(const NormForward *op);

/* Fills centre, slope and offset [channels] from the statistics of the sample's groups. */
void norm_affine(const NormSample *s, float *centre, float *slope, float *offset);

/* mask[i] = 0 or 1 / (1 - rate) for the sample's elements first .. first + count - 1; first is a multiple of
 * 8, and mask has room for a multiple of DROPOUT_STEP. */
enum { DROPOUT_STEP = 128 };
void dropout_mask(const Dropout *dropout, int sample, int64_t first, int count, float *mask);

static inline float norm_activate(Activation activation, float v) {
    if (activation == ACT_SILU) return v * simd_sigmoid(v);
    if (activation == ACT_RELU) return v < 0.0f ? 0.0f : v;
    return v;
}

static inline float norm_slope(Activation activation, float v) {
    if (activation == ACT_RELU) return v > 0.0f ? 1.0f : 0.0f;
    if (activation == ACT_NONE) return 1.0f;
    const float s = simd_sigmoid(v);
    return s * (1.0f + v * (1.0f - s));
}

#endif
