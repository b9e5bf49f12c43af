/* Reading and writing tensors of any float type in kernels: 32-bit values in registers, 16-byte accesses
 * where the channels allow it; and sums over a block of threads whose order never varies. */
#ifndef ICT_BACKEND_CUDA_ELEMENTS_CUH
#define ICT_BACKEND_CUDA_ELEMENTS_CUH

#include "backend/cuda/cuda.h"
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_pipeline.h>

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

/* Two at a time where T is 16 bits wide: bfloat16 is the upper half of a float, and one instruction rounds or
 * widens a pair. */
__device__ __forceinline__ void pair_widen(const __half *from, float &a, float &b) {
    const float2 pair = __half22float2(*reinterpret_cast<const __half2 *>(from));
    a = pair.x, b = pair.y;
}
__device__ __forceinline__ void pair_widen(const __nv_bfloat16 *from, float &a, float &b) {
    const uint32_t word = *reinterpret_cast<const uint32_t *>(from);
    a = __uint_as_float(word << 16), b = __uint_as_float(word & 0xffff0000u);
}
__device__ __forceinline__ void pair_widen(const float *from, float &a, float &b) {
    a = from[0], b = from[1];
}

template <typename T, int V>
__device__ __forceinline__ void pack_widen(const Pack<T, V> &pack, float (&to)[V]) {
    if constexpr (V % 2 == 0) {
#pragma unroll
        for (int i = 0; i < V; i += 2) pair_widen(pack.lane + i, to[i], to[i + 1]);
    } else {
#pragma unroll
        for (int i = 0; i < V; i++) to[i] = (float)pack.lane[i];
    }
}

template <typename T, int V> __device__ __forceinline__ void pack_load(const T *from, float (&to)[V]) {
    pack_widen<T, V>(*reinterpret_cast<const Pack<T, V> *>(from), to);
}

__device__ __forceinline__ void pair_round(float a, float b, __half *to) {
    *reinterpret_cast<__half2 *>(to) = __floats2half2_rn(a, b);
}
__device__ __forceinline__ void pair_round(float a, float b, __nv_bfloat16 *to) {
    *reinterpret_cast<__nv_bfloat162 *>(to) = __floats2bfloat162_rn(a, b);
}
__device__ __forceinline__ void pair_round(float a, float b, float *to) {
    to[0] = a, to[1] = b;
}

template <typename T, int V> __device__ __forceinline__ void pack_store(T *to, const float (&from)[V]) {
    Pack<T, V> pack;
    if constexpr (V % 2 == 0) {
#pragma unroll
        for (int i = 0; i < V; i += 2) pair_round(from[i], from[i + 1], pack.lane + i);
    } else {
#pragma unroll
        for (int i = 0; i < V; i++) pack.lane[i] = (T)from[i];
    }
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

/* The same in two steps, so that loads of several arrays are under way together: there is no branch between
 * them. */
__device__ __forceinline__ uint32_t element_bits(const Tensor &tensor, int64_t i) {
    uint32_t bits;
    if (tensor.dtype == DTYPE_F32)
        bits = ((const uint32_t *)tensor.data)[i];
    else
        bits = ((const uint16_t *)tensor.data)[i];
    return bits;
}
__device__ __forceinline__ float element_value(const Tensor &tensor, uint32_t bits) {
    const uint16_t half = (uint16_t)bits;
    const float narrow = (float)reinterpret_cast<const __half &>(half);
    if (tensor.dtype == DTYPE_F16) return narrow;
    return __uint_as_float(tensor.dtype == DTYPE_BF16 ? bits << 16 : bits);
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

/* Sum over the rows of partial[rows][stride] in column blockIdx.x * 32 + threadIdx.x, in double: 32 threads a
 * column take rows in turn, then their sums in order. For blocks of 32 x 32 threads; right where threadIdx.y
 * is 0. */
__device__ __forceinline__ double column_total(const float *partial, int rows, int stride, int columns) {
    __shared__ double memory[32][33];
    const int column = blockIdx.x * 32 + threadIdx.x;
    double sum = 0.0;
    if (column < columns)
#pragma unroll 8
        for (int row = threadIdx.y; row < rows; row += 32)
            sum += (double)partial[(int64_t)row * stride + column];
    memory[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0)
        for (int row = 1; row < 32; row++) sum += memory[row][threadIdx.x];
    return sum;
}

/* The special functions of the hardware, good to 2^-22; those of the C library where there is none (the
 * tests' emulation). */
__device__ __forceinline__ float exp2_fast(float x) {
#ifdef __CUDACC__
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
    return power;
#else
    return exp2f(x);
#endif
}

__device__ __forceinline__ float reciprocal_fast(float x) {
#ifdef __CUDACC__
    float reciprocal;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(reciprocal) : "f"(x));
    return reciprocal;
#else
    return 1.0f / x;
#endif
}

/* Each half of the word all ones where the highest bit of byte FIRST, or of the one above it, is set. */
template <int FIRST> __device__ __forceinline__ uint32_t byte_signs(uint32_t word) {
    uint32_t mask;
#ifdef __CUDACC__
    asm("prmt.b32 %0, %1, 0, %2;" : "=r"(mask) : "r"(word), "n"(0x9988 + FIRST * 0x1111));
#else
    mask = (word >> (8 * FIRST + 7) & 1) * 0xffffu | (word >> (8 * FIRST + 15) & 1) * 0xffff0000u;
#endif
    return mask;
}

/* Eight elements of 16 bits: those whose bit is not set become 0. The product puts four bits into the highest
 * places of four bytes. */
template <typename T> __device__ __forceinline__ void pack_keep(Pack<T, 8> &pack, uint32_t bits) {
    uint32_t *words = reinterpret_cast<uint32_t *>(pack.lane);
    const uint32_t low = (bits & 15) * 0x10204080u, high = (bits >> 4) * 0x10204080u;
    words[0] &= byte_signs<0>(low), words[1] &= byte_signs<2>(low);
    words[2] &= byte_signs<0>(high), words[3] &= byte_signs<2>(high);
}

/* Into the L2 cache. */
__device__ __forceinline__ void cache_prefetch(const void *from) {
#ifdef __CUDACC__
    asm volatile("prefetch.global.L2 [%0];" ::"l"(from));
#endif
}

/* Reads 16 bytes. The 128 bytes around them come to the L2 cache: what a block has of a pixel lies beside
 * what its neighbour has, and reads soon. */
template <typename T, int V> __device__ __forceinline__ Pack<T, V> pack_fetch(const T *from) {
    static_assert(sizeof(Pack<T, V>) == 16, "one access of 16 bytes");
#ifdef __CUDACC__
    Pack<T, V> pack;
    uint4 &words = reinterpret_cast<uint4 &>(pack);
    asm volatile("ld.global.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
                 : "l"(from));
    return pack;
#else
    return *reinterpret_cast<const Pack<T, V> *>(from);
#endif
}

/* Starts to copy 16 bytes into shared memory, with the 128 bytes around them as above. */
__device__ __forceinline__ void copy_begin(void *to, const void *from) {
#ifdef __CUDACC__
    asm volatile(
        "cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"((unsigned)__cvta_generic_to_shared(to)),
        "l"(from)
        : "memory");
#else
    __pipeline_memcpy_async(to, from, 16);
#endif
}

/* Until at most PENDING groups of the thread's copies are under way. The compiler moves no access across it,
 * as it may across the toolkit's function, behind which a barrier is expected. */
template <int PENDING> __device__ __forceinline__ void copies_wait() {
#ifdef __CUDACC__
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
#else
    __pipeline_wait_prior(PENDING);
#endif
}

/* Of values that are rounded to T afterwards: for 16-bit types the hardware's functions take the place of 25
 * instructions. */
template <typename T> __device__ __forceinline__ float activation_sigmoid(float v) {
    if (sizeof(T) == 4) return 1.0f / (1.0f + expf(-v));
    return reciprocal_fast(1.0f + exp2_fast(-1.4426950409f * v));
}

template <typename T> __device__ __forceinline__ float activation_value(Activation activation, float v) {
    if (activation == ACT_SILU) return v * activation_sigmoid<T>(v);
    if (activation == ACT_RELU) return v < 0.0f ? 0.0f : v; /* NaN stays NaN */
    return v;
}

template <typename T> __device__ __forceinline__ float activation_slope(Activation activation, float v) {
    if (activation == ACT_RELU) return v > 0.0f ? 1.0f : 0.0f;
    if (activation == ACT_NONE) return 1.0f;
    const float s = activation_sigmoid<T>(v);
    return s * fmaf(v, 1.0f - s, 1.0f);
}

/* Blocks for `count` elements, one a thread. */
static inline unsigned blocks_for(int64_t count, int block) {
    return (unsigned)((count + block - 1) / block);
}

static inline bool same_dtype(const Tensor &a, const Tensor &b) {
    return !a.data || !b.data || a.dtype == b.dtype;
}

#endif
