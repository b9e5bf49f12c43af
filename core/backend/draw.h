/* What the images of a training step draw: the key of each draw, and the two decisions made from integers.
 * Every device includes this file, because equal draws are what makes a run on one comparable with a run on
 * another. Compiled by gcc and nvcc alike.
 */
#ifndef ICT_BACKEND_DRAW_H
#define ICT_BACKEND_DRAW_H

#include "backend/backend.h"
#include "backend/order.h"

/* Key of image `image` of the micro-batch: its sample number is its place in the global batch. */
PHILOX_FUNCTION RandomKey draw_key(const DrawKey *draw, uint32_t stream, uint32_t image) {
    const RandomKey key = {draw->seed, stream, draw->row->step, draw->first_sample + image};
    return key;
}

/* Whether the image is mirrored: the top bit of its first word. */
PHILOX_FUNCTION bool draw_flip(const DrawKey *draw, uint32_t image) {
    return random_block(draw_key(draw, STREAM_FLIP, image), 0).x[0] >> 31;
}

/* Rows and columns by which the image is moved, each of -shift .. shift equally likely. */
typedef struct Shift {
    int y, x;
} Shift;
PHILOX_FUNCTION Shift draw_shift(const DrawKey *draw, int shift, uint32_t image) {
    Shift by = {0, 0};
    if (!shift) return by;
    const Random4 random = random_block(draw_key(draw, STREAM_SHIFT, image), 0);
    const uint64_t steps = 2 * (uint64_t)shift + 1;
    by.y = (int)(random.x[0] * steps >> 32) - shift;
    by.x = (int)(random.x[1] * steps >> 32) - shift;
    return by;
}

/* Where place `at`, which may lie outside, is found in a row of `size` that is mirrored at its first and last
 * element. */
PHILOX_FUNCTION int reflect_place(int at, int size) {
    at = at < 0 ? -at : at;
    return at < size ? at : 2 * (size - 1) - at;
}

/* Whether the image's class is hidden from the network: its 16-bit lane is below the rate. */
PHILOX_FUNCTION bool draw_hides_label(const DrawKey *draw, float rate, uint32_t image) {
    const uint32_t lane = random_block(draw_key(draw, STREAM_LABEL, image), 0).x[0] >> 16;
    return lane < (uint32_t)(rate * 65536.0f + 0.5f);
}

/* Index of the image's noise level pair (0 .. N-2): the first i with u <= threshold[i]. The last pair takes
 * what is left, whatever rounding made of the last threshold. */
PHILOX_FUNCTION int32_t draw_pair(const DrawKey *draw, const LevelTable *table, uint32_t image) {
    const uint32_t u = random_block(draw_key(draw, STREAM_LEVEL, image), 0).x[0];
    int32_t low = 0, high = table->levels - 2;
    while (low < high) {
        const int32_t middle = (low + high) / 2;
        if (u <= table->threshold[middle])
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

#endif
