/* The warp's instructions of backend/cuda/warp_products.cuh, which says where the operands lie, in plain
 * loops. All 32 lanes come here together and see each other's words; sums are in fp32, term by term. */
#ifndef ICT_TESTS_EMULATE_WARP_PRODUCTS_EMULATED_H
#define ICT_TESTS_EMULATE_WARP_PRODUCTS_EMULATED_H

#include "cuda_runtime_api.h"

static inline unsigned emulate_lane() {
    return threadIdx.x % 32;
}

/* Word (row, 2 t) of matrix i, or of its transpose. */
static inline void emulate_matrices(uint32_t (&to)[4], const char *row, bool transposed) {
    const char *rows[32];
    const unsigned g = emulate_lane() / 4, t = emulate_lane() % 4;
    emulate_gather(&row, sizeof row, rows);
    for (unsigned i = 0; i < 4; i++) {
        uint16_t half[2];
        for (unsigned k = 0; k < 2; k++) {
            const unsigned from = transposed ? 2 * t + k : g, column = transposed ? g : 2 * t + k;
            memcpy(&half[k], rows[8 * i + from] + 2 * column, 2);
        }
        memcpy(&to[i], half, 4);
    }
    emulate_gather(&row, sizeof row, rows); /* all have read before anybody writes again */
}

static inline void matrices_load(uint32_t (&to)[4], const char *row) {
    emulate_matrices(to, row, false);
}

static inline void matrices_load_transposed(uint32_t (&to)[4], const char *row) {
    emulate_matrices(to, row, true);
}

template <typename T> float emulate_number(uint32_t word, unsigned half) {
    T value[2];
    memcpy((void *)value, &word, 4);
    return (float)value[half];
}

template <typename T>
void multiply(float (&sum)[4], const uint32_t (&left)[4], uint32_t right0, uint32_t right1) {
    const uint32_t mine[6] = {left[0], left[1], left[2], left[3], right0, right1};
    uint32_t all[32][6];
    const unsigned g = emulate_lane() / 4, t = emulate_lane() % 4;
    emulate_gather(mine, sizeof mine, all);
    for (unsigned i = 0; i < 4; i++) {
        const unsigned column = 2 * t + i % 2;
        for (unsigned k = 0; k < 16; k++) { /* row g + 8 (i / 2) */
            const float a = emulate_number<T>(all[g * 4 + k % 8 / 2][i / 2 + k / 8 * 2], k % 2),
                        b = emulate_number<T>(all[column * 4 + k % 8 / 2][4 + k / 8], k % 2);
            sum[i] += a * b;
        }
    }
}

#endif
