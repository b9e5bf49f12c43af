/* Data order: one keyed permutation of the data set per epoch, computed and not stored. A four-round Feistel
 * network over the next even number of bits, walked along its cycle until it lands inside the set. Compiled
 * by gcc and nvcc alike. */
#ifndef ICT_BACKEND_ORDER_H
#define ICT_BACKEND_ORDER_H

#include "base/philox.h"

/* Place of item `position` (< count) in epoch `epoch`. */
PHILOX_FUNCTION uint32_t order_permute(uint64_t seed, uint32_t epoch, uint32_t position, uint32_t count) {
    uint32_t half = 1;
    while (half < 16 && (1u << (2 * half)) < count) half++;
    const uint32_t mask = (1u << half) - 1;
    uint32_t x = position;
    do {
        uint32_t left = x >> half, right = x & mask;
        for (uint32_t round = 0; round < 4; round++) {
            const RandomKey key = {seed, STREAM_ORDER, epoch, round};
            const uint32_t mixed = left ^ (random_block(key, right).x[0] & mask);
            left = right;
            right = mixed;
        }
        x = (left << half) | right;
    } while (x >= count);
    return x;
}

/* Index of the image at place `place` of step `step`, batches of `batch`. Epochs are runs of `count`
 * consecutive images and do not have to end at the end of a batch. */
PHILOX_FUNCTION uint32_t order_image(uint64_t seed, uint32_t step, uint32_t batch, uint32_t place,
                                     uint32_t count) {
    const uint64_t seen = (uint64_t)step * batch + place;
    return order_permute(seed, (uint32_t)(seen / count), (uint32_t)(seen % count), count);
}

#endif
