/* __nv_bfloat16: the upper half of a float, rounded to nearest even; see cuda_runtime_api.h. */
#ifndef ICT_TESTS_EMULATE_CUDA_BF16_H
#define ICT_TESTS_EMULATE_CUDA_BF16_H

#include "cuda_runtime_api.h"

struct __nv_bfloat16 {
    uint16_t bits;
    __nv_bfloat16() = default;
    __nv_bfloat16(float wide) {
        uint32_t word;
        memcpy(&word, &wide, sizeof word);
        bits = wide != wide ? 0x7fff : (uint16_t)((word + 0x7fff + (word >> 16 & 1)) >> 16);
    }
    operator float() const {
        return __uint_as_float((uint32_t)bits << 16);
    }
};
struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};

static inline __nv_bfloat162 __floats2bfloat162_rn(float a, float b) {
    return __nv_bfloat162{a, b};
}

#endif
