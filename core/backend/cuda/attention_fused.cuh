/* What the fused kernels of attention share: where a block's queries, keys and values lie.
 *
 * A block takes one head of one image, and of that some rows (queries; in one kernel keys), sixteen or twice
 * sixteen for each of its four warps; the other rows pass by in tiles of 64, fetched while the tile before is
 * worked on. Blocks of the same head follow each other, so its tiles come from the L2 cache.
 */
#ifndef ICT_BACKEND_CUDA_ATTENTION_FUSED_CUH
#define ICT_BACKEND_CUDA_ATTENTION_FUSED_CUH

#include "backend/cuda/attention_fused.h"
#include "backend/cuda/fragments.cuh"

template <typename T> struct Heads {
    const T *qkv;
    int heads, length, tiles; /* pixels; in tiles */
    int stride, inner;        /* elements from pixel to pixel in qkv and in y; also from q to k to v */
    float scale;              /* 1 / sqrt(TILE) */
};

template <typename T> static Heads<T> heads_make(const Tensor &qkv, int heads) {
    const int length = qkv.h * qkv.w;
    return Heads<T>{(const T *)qkv.data, heads, length, length / TILE, qkv.c, qkv.c / 3, 0.125f};
}

/* What a block works on: `first` of its `rows` rows of head `head` (counted through all images). */
template <typename T> struct Place {
    int64_t head, pixel, out; /* pixel, out: the head's first elements in qkv and in y */
    int first;

    __device__ __forceinline__ Place(const Heads<T> &h, int rows) {
        const int blocks = h.length / rows;
        head = blockIdx.x / blocks;
        first = blockIdx.x % blocks * rows;
        const int64_t image = head / h.heads, channel = head % h.heads * TILE;
        pixel = image * h.length * h.stride + channel;
        out = image * h.length * h.inner + channel;
    }
};

/* e^s = 2^(LOG2_E s) */
static const float LOG2_E = 1.4426950408889634f;

/* Over the four lanes that share a row of sums. */
__device__ __forceinline__ float row_max(float value) {
    value = fmaxf(value, __shfl_xor_sync(~0u, value, 1));
    return fmaxf(value, __shfl_xor_sync(~0u, value, 2));
}

__device__ __forceinline__ float row_sum(float value) {
    value += __shfl_xor_sync(~0u, value, 1);
    return value + __shfl_xor_sync(~0u, value, 2);
}

/* Calls body(T{}) for the two 16-bit types. */
template <typename Body> static void half_dispatch(DType dtype, Body body) {
    if (dtype == DTYPE_F16)
        body(__half{});
    else
        body(__nv_bfloat16{});
}

#endif
