/* __half; see cuda_runtime_api.h. */
#ifndef ICT_TESTS_EMULATE_CUDA_FP16_H
#define ICT_TESTS_EMULATE_CUDA_FP16_H

#include "cuda_runtime_api.h"

struct __half {
    _Float16 value;
    __half() = default;
    __half(float wide) : value((_Float16)wide) {}
    operator float() const {
        return (float)value;
    }
};
struct alignas(4) __half2 {
    __half x, y;
};

static inline __half2 __floats2half2_rn(float a, float b) {
    return __half2{a, b};
}

static inline float2 __half22float2(__half2 pair) {
    return float2{pair.x, pair.y};
}

#endif
