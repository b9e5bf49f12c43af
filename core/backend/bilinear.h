/* Which pixels an output of bilinear interpolation reads along one axis, and with what weights; and back:
 * which outputs read a pixel. Two conventions exist and give visibly different feature statistics, so they
 * are stated once, for every device. Compiled by gcc and nvcc alike.
 *
 * Output o of `out` looks at place s = (o + 1/2) in/out - 1/2, not below 0 (HALF_PIXEL), or at s = o in/out
 * (TF1), and mixes the pixels floor(s) and floor(s) + 1, the last pixel standing for what lies beyond it.
 */
#ifndef ICT_BACKEND_BILINEAR_H
#define ICT_BACKEND_BILINEAR_H

#include "backend/backend.h"
#include "base/philox.h" /* PHILOX_FUNCTION: inline, on both sides */

typedef struct BilinearPair {
    int low, high;            /* pixels; the same one at the end */
    float weight, weight_low; /* of high; of low */
} BilinearPair;

PHILOX_FUNCTION BilinearPair bilinear_pair(BilinearGrid grid, int in, int out, int o) {
    const float step = (float)in / (float)out;
    float place = grid == BILINEAR_HALF_PIXEL ? fmaf((float)o + 0.5f, step, -0.5f) : (float)o * step;
    if (place < 0.0f) place = 0.0f;
    BilinearPair pair;
    pair.low = (int)place < in - 1 ? (int)place : in - 1;
    pair.high = pair.low + 1 < in ? pair.low + 1 : pair.low;
    pair.weight = place - (float)pair.low;
    if (pair.weight > 1.0f) pair.weight = 1.0f;
    pair.weight_low = 1.0f - pair.weight;
    return pair;
}

/* The weight with which the pair reads pixel `i`. */
PHILOX_FUNCTION float bilinear_weight(BilinearPair pair, int i) {
    return (pair.low == i ? pair.weight_low : 0.0f) + (pair.high == i ? pair.weight : 0.0f);
}

/* Outputs *first .. *end - 1 are all that read pixel `i`, and perhaps some around them that do not. */
PHILOX_FUNCTION void bilinear_readers(BilinearGrid grid, int in, int out, int i, int *first, int *end) {
    const float step = (float)out / (float)in, shift = grid == BILINEAR_HALF_PIXEL ? 0.5f : 0.0f;
    const int low = (int)floorf(((float)i - 1.0f + shift) * step - shift) - 1;
    const int high = (int)ceilf(((float)i + 1.0f + shift) * step - shift) + 1;
    *first = i == 0 || low < 0 ? 0 : low;
    *end = i == in - 1 || high >= out ? out : high + 1;
}

#endif
