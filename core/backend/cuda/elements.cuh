/* Reading and writing tensors of any float type in kernels: 32-bit values in registers, 16-byte accesses
 * where the channels allow it; and sums over a block of threads whose order never varies. */
#ifndef ICT_BACKEND_CUDA_ELEMENTS_CUH
#define ICT_BACKEND_CUDA_ELEMENTS_CUH

#include "backend/cuda/cuda.h"
#include <cuda_bf16.h>
#include <cuda_fp16.h>

enum { BLOCK = 256 }; /* threads of a block, where nothing else is said */

/* Calls body(T{}) for the tensor's element type T. */
template <typename Body> static void dtype_dispatch(DType dtype, Body body) {
    if (dtype == DTYPE_F32)
        body(float{});
    else if (dtype == DTYPE_F16)
        body(__half{});
    else if (dtype == DTYPE_BF16)
        body(__nv_bfloat16{});
    else
        die(__FILE__, __LINE__, "a kernel met a tensor of whole numbers");
}

/* V neighbouring elements, moved in one access. */
template <typename T, int V> struct alignas(sizeof(T) * V) Pack { T lane[V]; };

template <typename T, int V> __device__ __forceinline__ void pack_load(const T *from, float (&to)[V]) {
    const Pack<T, V> pack = *reinterpret_cast<const Pack<T, V> *>(from);
#pragma unroll
    for (int i = 0; i < V; i++) to[i] = (float)pack.lane[i];
}

template <typename T, int V> __device__ __forceinline__ void pack_store(T *to, const float (&from)[V]) {
    Pack<T, V> pack;
#pragma unroll
    for (int i = 0; i < V; i++) pack.lane[i] = (T)from[i];
    *reinterpret_cast<Pack<T, V> *>(to) = pack;
}

/* Elements a thread takes at once: 16 bytes where `count` is a multiple of that, else one. */
template <typename T> struct Wide { static constexpr int value = 16 / (int)sizeof(T); };

/* One element of a small per-channel array whose type need not be that of the images. */
__device__ __forceinline__ float element_load(const Tensor &tensor, int64_t i) {
    if (tensor.dtype == DTYPE_F16) return (float)((const __half *)tensor.data)[i];
    if (tensor.dtype == DTYPE_BF16) return (float)((const __nv_bfloat16 *)tensor.data)[i];
    return ((const float *)tensor.data)[i];
}

__device__ __forceinline__ void element_store(const Tensor &tensor, int64_t i, float value) {
    if (tensor.dtype == DTYPE_F16)
        ((__half *)tensor.data)[i] = (__half)value;
    else if (tensor.dtype == DTYPE_BF16)
        ((__nv_bfloat16 *)tensor.data)[i] = (__nv_bfloat16)value;
    else
        ((float *)tensor.data)[i] = value;
}

/* Sum over all threads of the block, in every thread; `memory` holds a value a thread, and is free again
 * afterwards. blockDim.x is a power of two. */
template <typename T> __device__ __forceinline__ T block_sum(T value, T *memory) {
    memory[threadIdx.x] = value;
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.x < half) memory[threadIdx.x] += memory[threadIdx.x + half];
    }
    __syncthreads();
    const T sum = memory[0];
    __syncthreads();
    return sum;
}

__device__ __forceinline__ float activation_sigmoid(float v) {
    return 1.0f / (1.0f + expf(-v));
}

__device__ __forceinline__ float activation_value(Activation activation, float v) {
    if (activation == ACT_SILU) return v * activation_sigmoid(v);
    if (activation == ACT_RELU) return v < 0.0f ? 0.0f : v; /* NaN stays NaN */
    return v;
}

__device__ __forceinline__ float activation_slope(Activation activation, float v) {
    if (activation == ACT_RELU) return v > 0.0f ? 1.0f : 0.0f;
    if (activation == ACT_NONE) return 1.0f;
    const float s = activation_sigmoid(v);
    return s * (1.0f + v * (1.0f - s));
}

/* Blocks for `count` elements, one a thread. */
static inline unsigned blocks_for(int64_t count, int block) {
    return (unsigned)((count + block - 1) / block);
}

static inline bool same_dtype(const Tensor &a, const Tensor &b) {
    return !a.data || !b.data || a.dtype == b.dtype;
}

#endif
