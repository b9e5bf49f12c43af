/* Elementary functions that gcc vectorises: short, without branches or tables, so that a loop with `#pragma
 * omp simd` around them becomes AVX2 or AVX-512 code. The C library's expf is one value at a time; here e^x
 * is within 1 unit in the last place of the exact value and the sigmoid within 3
 * (tests/unit/test_backend_heavy.c measures it), without -ffast-math.
 */
#ifndef ICT_BACKEND_CPU_SIMD_H
#define ICT_BACKEND_CPU_SIMD_H

#include <stdint.h>
#include <string.h>

static inline float simd_from_bits(int32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* e^x. x = k ln2 + r with |r| <= ln2 / 2; e^r by its minimax polynomial of degree 6, 2^k in two factors so
 * that results near the ends of the range round once. Saturates: 0 below -104, infinity above 89; NaN stays
 * NaN. */
static inline float simd_exp(float x) {
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    const float low = x < -104.0f ? -104.0f : x;
    const float clamped = low > 89.0f ? 89.0f : low;
    const float shifted = __builtin_fmaf(clamped, 1.44269504f, magic);
    const float k = shifted - magic;
    float r = __builtin_fmaf(k, -0.693145752f, clamped);
    r = __builtin_fmaf(k, -1.42860677e-6f, r);
    float p = 1.38314734e-3f;
    p = __builtin_fmaf(p, r, 8.37481178e-3f);
    p = __builtin_fmaf(p, r, 4.16686982e-2f);
    p = __builtin_fmaf(p, r, 1.66664705e-1f);
    p = __builtin_fmaf(p, r, 4.99999911e-1f);
    p = __builtin_fmaf(p, r, 1.0f);
    p = __builtin_fmaf(p, r, 1.0f);
    const int32_t whole = (int32_t)k, half = whole >> 1;
    /* `whole` means nothing when x is NaN (p is NaN then): shifted as unsigned, because that is always
     * defined. */
    const uint32_t first = (uint32_t)(half + 127) << 23, second = (uint32_t)(whole - half + 127) << 23;
    return p * simd_from_bits((int32_t)first) * simd_from_bits((int32_t)second);
}

/* 1 / (1 + e^-x) */
static inline float simd_sigmoid(float x) {
    return 1.0f / (1.0f + simd_exp(-x));
}

#endif
