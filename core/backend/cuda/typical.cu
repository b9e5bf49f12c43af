/* Numbers to time with. Not zeros, nor all the same: what a card may draw in power is shared by the bits that
 * change, and with few of them every way to compute runs at the full clock. */
#include "backend/cuda/elements.cuh"
#include "base/philox.h"

enum { AT_ONCE = 4 };

template <typename T> __global__ void typical_kernel(T *out, int64_t count) {
    const int64_t first = ((int64_t)blockIdx.x * BLOCK + threadIdx.x) * AT_ONCE;
    const RandomKey key = {1, STREAM_NOISE, (uint32_t)(first >> 32), 0};
    const Random4 block = random_block(key, (uint32_t)first);
    for (int k = 0; k < AT_ONCE && first + k < count; k++)
        out[first + k] = (T)(2 * random_uniform(block.x[k]) - 1);
}

void cuda_typical_numbers(Device *device, void *out, DType dtype, int64_t count) {
    dtype_dispatch(dtype, [&](auto type) {
        using T = decltype(type);
        typical_kernel<T>
            <<<blocks_for(count, BLOCK * AT_ONCE), BLOCK, 0, cuda_stream(device)>>>((T *)out, count);
    });
    CUDA_LAUNCHED("typical_numbers");
}
