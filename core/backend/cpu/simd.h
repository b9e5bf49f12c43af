/* Elementary functions that gcc vectorises: short, without branches or tables, so that a loop with `#pragma
 * omp simd` around them becomes AVX2 or AVX-512 code. The C library's expf is one value at a time; here e^x
 * is within 1 unit in the last place of the exact value and the sigmoid within 3
 * (tests/unit/test_backend_heavy.c measures it), without -ffast-math.
 */
#ifndef ICT_BACKEND_CPU_SIMD_H
#define ICT_BACKEND_CPU_SIMD_H

#include <stdint.h>
#include <string.h>

static inline float simd_from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t simd_to_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* x = k ln2 + r with |r| <= ln2 / 2: returns e^r by its minimax polynomial of degree 6. Adding 1.5 * 2^23
 * rounds to an integer, which then stands in the low bits of `shifted`. */
static inline float simd_exp_reduce(float x, float *shifted) {
    const float magic = 12582912.0f;
    *shifted = __builtin_fmaf(x, 1.44269504f, magic);
    const float k = *shifted - magic;
    float r = __builtin_fmaf(k, -0.693145752f, x);
    r = __builtin_fmaf(k, -1.42860677e-6f, r);
    float p = 1.38314734e-3f;
    p = __builtin_fmaf(p, r, 8.37481178e-3f);
    p = __builtin_fmaf(p, r, 4.16686982e-2f);
    p = __builtin_fmaf(p, r, 1.66664705e-1f);
    p = __builtin_fmaf(p, r, 4.99999911e-1f);
    p = __builtin_fmaf(p, r, 1.0f);
    return __builtin_fmaf(p, r, 1.0f);
}

static inline float simd_power2(int32_t k) {
    return simd_from_bits((uint32_t)(k + 127) << 23);
}

/* e^x. 2^k comes in two factors, so that results near the ends of the range round once. 0 below -104,
 * infinity above 89; NaN stays NaN. */
static inline float simd_exp(float x) {
    float shifted;
    const float low = x < -104.0f ? -104.0f : x;
    const float p = simd_exp_reduce(low > 89.0f ? 89.0f : low, &shifted);
    const int32_t whole = (int32_t)(simd_to_bits(shifted) - 0x4B400000u), half = whole >> 1;
    return p * simd_power2(half) * simd_power2(whole - half);
}

/* 1 / (1 + e^-x). With e = e^-|x| the denominator 1 + e lies in [1, 2], where a parabola and two Newton steps
 * find the reciprocal in a third of a division's time. Below -87 the result stays at 1.6e-38. */
static inline float simd_sigmoid(float x) {
    float shifted;
    const float size = -__builtin_fabsf(x);
    const float p = simd_exp_reduce(size < -87.0f ? -87.0f : size, &shifted);
    const float e = p * simd_from_bits((simd_to_bits(shifted) + 127u) << 23), d = 1.0f + e;
    float r = __builtin_fmaf(__builtin_fmaf(0.323232323f, d, -1.45454545f), d, 2.12121212f);
    r = __builtin_fmaf(r, __builtin_fmaf(-d, r, 1.0f), r);
    r = __builtin_fmaf(r, __builtin_fmaf(-d, r, 1.0f), r);
    return x < 0.0f ? e * r : r;
}

#endif
