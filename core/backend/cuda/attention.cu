/* Self-attention. In 16 bits, with heads of 64 channels and whole tiles of 64 pixels, which is what ADM's
 * networks have, scores never leave the registers (attention_fused.h). Everything else, fp32 above all, is
 * done here: products of cuBLAS around a softmax: scores, softmax, values; backward computes the scores
 * again. With dP = dy v^T and r = sum_j P dP of every row,
 *
 *     dS = P (dP - r),   dq = dS k / sqrt(d),   dk = dS^T q / sqrt(d),   dv = P^T dy.
 *
 * The scores of a chunk, some heads of some images, lie in the workspace, [head][image][query][key], in the
 * type of the network. Short sequences take all heads and as many images as fit into SCORES_BYTES, because
 * large batches of small products are fast and chunks that would stay in the L2 cache gain nothing (README of
 * core/backend). Of LONG ones a few scores fill the card, and moving them is what takes time: one head, and
 * as many images as stay in the L2 cache from product to softmax to product.
 */
#include "backend/cuda/attention_fused.h"
#include "backend/cuda/elements.cuh"
#include "backend/cuda/product.h"
#include <cublas_v2.h>
#include <type_traits>

enum { LONG = 1024 };
static const size_t SCORES_BYTES = (size_t)512 << 20, CACHE_BYTES = (size_t)24 << 20;

typedef struct Heads {
    int heads, images;      /* at a time */
    int width, length;      /* channels of a head, pixels */
    int stride, out_stride; /* elements from pixel to pixel in qkv and y */
    DType dtype;
    float scale;
} Heads;

typedef struct Chunk {
    int head, first, count; /* its first head and image, its images */
} Chunk;

/* Of one array of scores. */
static size_t image_bytes(const Heads &h) {
    return (size_t)h.heads * h.length * h.length * dtype_size(h.dtype);
}

/* `arrays`: how many of scores there are. */
static Heads heads_make(const Tensor *qkv, int heads, int arrays) {
    CHECK(heads > 0 && qkv->c % (3 * heads) == 0, "attention: %d channels do not make q, k and v of %d heads",
          qkv->c, heads);
    Heads h = {heads, 1, qkv->c / 3 / heads, qkv->h * qkv->w, qkv->c, qkv->c / 3, qkv->dtype, 0.0f};
    h.scale = (float)(1.0 / sqrt((double)h.width));
    if (h.length >= LONG) h.heads = 1;
    const size_t fit = (h.length >= LONG ? CACHE_BYTES / (size_t)arrays : SCORES_BYTES) / image_bytes(h);
    h.images = fit < 1 ? 1 : fit < (size_t)qkv->n ? (int)fit : qkv->n;
    return h;
}

size_t cuda_attention_workspace(Device *device, const Tensor *qkv, int heads, bool backward) {
    (void)device;
    if (attention_fused_fits(qkv, heads)) return attention_fused_workspace(qkv, heads, backward);
    const int arrays = backward ? 2 : 1;
    const Heads h = heads_make(qkv, heads, arrays);
    return (size_t)arrays * (size_t)h.images * image_bytes(h);
}

/* ---- products ---- */

/* A stack of matrices, one an image, as cuBLAS sees them (by columns). */
typedef struct Stack {
    const void *data;
    int stride;
    int64_t image_stride;
    cublasOperation_t operation;
} Stack;

static void products(Device *device, const Heads &h, const Stack &a, const Stack &b, const Stack &c, int m,
                     int n, int depth, float alpha, int count) {
    const cudaDataType_t type = (cudaDataType_t)cuda_blas_type(h.dtype);
    const cublasComputeType_t compute = (cublasComputeType_t)cuda_blas_compute(device, h.dtype);
    const float zero = 0.0f;
    BLAS_CHECK(cublasGemmStridedBatchedEx(cuda_context(device)->blas, a.operation, b.operation, m, n, depth,
                                          &alpha, a.data, type, a.stride, a.image_stride, b.data, type,
                                          b.stride, b.image_stride, &zero, (void *)c.data, type, c.stride,
                                          c.image_stride, count, compute, CUBLAS_GEMM_DEFAULT));
}

/* q, k or v (`part` 0, 1, 2) of the chunk's head `head`; [width, length] to cuBLAS. */
static Stack part_stack(const Heads &h, const void *qkv, int part, const Chunk &chunk, int head,
                        cublasOperation_t operation) {
    const int64_t image = (int64_t)h.length * h.stride,
                  offset = chunk.first * image + part * h.out_stride + (chunk.head + head) * h.width;
    return Stack{(const char *)qkv + offset * dtype_size(h.dtype), h.stride, image, operation};
}

static Stack out_stack(const Heads &h, const void *y, const Chunk &chunk, int head) {
    const int64_t image = (int64_t)h.length * h.out_stride,
                  offset = chunk.first * image + (chunk.head + head) * h.width;
    return Stack{(const char *)y + offset * dtype_size(h.dtype), h.out_stride, image, CUBLAS_OP_N};
}

/* Scores of the chunk's head `head`; [key, query] to cuBLAS. */
static Stack score_stack(const Heads &h, const void *scores, const Chunk &chunk, int head,
                         cublasOperation_t operation) {
    const int64_t image = (int64_t)h.length * h.length;
    return Stack{(const char *)scores + head * chunk.count * image * dtype_size(h.dtype), h.length, image,
                 operation};
}

/* ---- softmax ---- */

/* Sums and maxima over `lanes` neighbouring threads, a power of two. */
__device__ __forceinline__ float lanes_max(float value, int lanes) {
    for (int mask = lanes / 2; mask > 0; mask /= 2) value = fmaxf(value, __shfl_xor_sync(~0u, value, mask));
    return value;
}

__device__ __forceinline__ float lanes_sum(float value, int lanes) {
    for (int mask = lanes / 2; mask > 0; mask /= 2) value += __shfl_xor_sync(~0u, value, mask);
    return value;
}

/* A row lies in the registers of 1 to 32 neighbouring threads, N elements each, in packs of V. All threads
 * take part in the sums; those beyond the last row have no numbers. */
template <typename T, int V, int N> struct Row {
    int64_t first;
    bool there;
    int step;

    __device__ __forceinline__ Row(int64_t rows, int length, int lanes) {
        const int64_t i = (int64_t)blockIdx.x * BLOCK + threadIdx.x, row = i / lanes;
        there = row < rows;
        first = row * length + i % lanes * V;
        step = lanes * V;
    }
    __device__ __forceinline__ void load(const T *from, float (&to)[N]) const {
#pragma unroll
        for (int k = 0; k < N; k += V) {
            float(&part)[V] = *reinterpret_cast<float(*)[V]>(to + k);
            if (there) pack_load<T, V>(from + first + k / V * step, part);
        }
    }
    __device__ __forceinline__ void store(T *to, const float (&from)[N]) const {
#pragma unroll
        for (int k = 0; k < N; k += V) {
            const float(&part)[V] = *reinterpret_cast<const float(*)[V]>(from + k);
            if (there) pack_store<T, V>(to + first + k / V * step, part);
        }
    }
};

template <typename T, int V, int N>
__global__ void softmax_kernel(T *scores, int64_t rows, int length, int lanes) {
    const Row<T, V, N> row(rows, length, lanes);
    float s[N] = {}, top = -INFINITY, sum = 0.0f;
    row.load(scores, s);
#pragma unroll
    for (int k = 0; k < N; k++) top = fmaxf(top, s[k]);
    top = lanes_max(top, lanes);
#pragma unroll
    for (int k = 0; k < N; k++) sum += s[k] = expf(s[k] - top);
    const float inverse = 1.0f / lanes_sum(sum, lanes);
#pragma unroll
    for (int k = 0; k < N; k++) s[k] *= inverse;
    row.store(scores, s);
}

/* gradient: dP on entry, dS on return */
template <typename T, int V, int N>
__global__ void softmax_backward_kernel(const T *weights, T *gradient, int64_t rows, int length, int lanes) {
    const Row<T, V, N> row(rows, length, lanes);
    float p[N] = {}, d[N] = {}, sum = 0.0f;
    row.load(weights, p);
    row.load(gradient, d);
#pragma unroll
    for (int k = 0; k < N; k++) sum = fmaf(p[k], d[k], sum);
    sum = lanes_sum(sum, lanes);
#pragma unroll
    for (int k = 0; k < N; k++) d[k] = p[k] * (d[k] - sum);
    row.store(gradient, d);
}

/* Rows of any length: a warp takes one, and reads it again. */
template <typename T> __global__ void softmax_any_kernel(T *scores, int64_t rows, int length) {
    const int64_t row = (int64_t)blockIdx.x * (BLOCK / 32) + threadIdx.x / 32;
    if (row >= rows) return;
    T *s = scores + row * length;
    const int lane = threadIdx.x % 32;
    float top = -INFINITY, sum = 0.0f;
    for (int j = lane; j < length; j += 32) top = fmaxf(top, (float)s[j]);
    top = lanes_max(top, 32);
    for (int j = lane; j < length; j += 32) sum += expf((float)s[j] - top);
    const float inverse = 1.0f / lanes_sum(sum, 32);
    for (int j = lane; j < length; j += 32) s[j] = (T)(expf((float)s[j] - top) * inverse);
}

template <typename T>
__global__ void softmax_backward_any_kernel(const T *weights, T *gradient, int64_t rows, int length) {
    const int64_t row = (int64_t)blockIdx.x * (BLOCK / 32) + threadIdx.x / 32;
    if (row >= rows) return;
    const T *p = weights + row * length;
    T *d = gradient + row * length;
    float sum = 0.0f;
    for (int j = threadIdx.x % 32; j < length; j += 32) sum = fmaf((float)p[j], (float)d[j], sum);
    sum = lanes_sum(sum, 32);
    for (int j = threadIdx.x % 32; j < length; j += 32) d[j] = (T)((float)p[j] * ((float)d[j] - sum));
}

/* Calls body(N) with the elements a thread takes as a constant, or 0 where a row does not fit. */
template <int V, typename Body> static void row_dispatch(int length, Body body) {
    const int packs = length / V;
    const bool fits = length % V == 0 && (packs & (packs - 1)) == 0;
    if (fits && packs <= 32)
        body(std::integral_constant<int, V>{});
    else if (fits && packs == 64)
        body(std::integral_constant<int, 2 * V>{});
    else if (fits && packs == 128)
        body(std::integral_constant<int, 4 * V>{});
    else
        body(std::integral_constant<int, 0>{});
}

/* The scores' softmax; or, with a gradient, that one's. */
static void softmax_run(Device *device, DType dtype, void *scores, void *gradient, int64_t rows, int length) {
    const cudaStream_t stream = cuda_stream(device);
    dtype_dispatch(dtype, [&](auto type) {
        using T = decltype(type);
        constexpr int V = Wide<T>::value;
        T *s = (T *)scores, *d = (T *)gradient;
        row_dispatch<V>(length, [&](auto elements) {
            constexpr int N = decltype(elements)::value;
            if constexpr (N > 0) {
                const int lanes = length / N;
                const unsigned blocks = blocks_for(rows * lanes, BLOCK);
                if (d)
                    softmax_backward_kernel<T, V, N><<<blocks, BLOCK, 0, stream>>>(s, d, rows, length, lanes);
                else
                    softmax_kernel<T, V, N><<<blocks, BLOCK, 0, stream>>>(s, rows, length, lanes);
            } else {
                const unsigned blocks = blocks_for(rows, BLOCK / 32);
                if (d)
                    softmax_backward_any_kernel<T><<<blocks, BLOCK, 0, stream>>>(s, d, rows, length);
                else
                    softmax_any_kernel<T><<<blocks, BLOCK, 0, stream>>>(s, rows, length);
            }
        });
    });
    CUDA_LAUNCHED("softmax");
}

static void weights_make(Device *device, const Heads &h, const void *qkv, void *scores, const Chunk &chunk) {
    const int64_t rows = (int64_t)h.heads * chunk.count * h.length;
    for (int head = 0; head < h.heads; head++)
        products(device, h, part_stack(h, qkv, 1, chunk, head, CUBLAS_OP_T),
                 part_stack(h, qkv, 0, chunk, head, CUBLAS_OP_N),
                 score_stack(h, scores, chunk, head, CUBLAS_OP_N), h.length, h.length, h.width, h.scale,
                 chunk.count);
    softmax_run(device, h.dtype, scores, NULL, rows, h.length);
}

/* Calls body(chunk) for all heads of all images. */
template <typename Body> static void each_chunk(const Heads &h, int heads, int images, Body body) {
    for (int head = 0; head < heads; head += h.heads)
        for (int first = 0; first < images; first += h.images)
            body(Chunk{head, first, images - first < h.images ? images - first : h.images});
}

/* ---- the ops ---- */

void cuda_attention_forward(Device *device, const AttentionForward *op) {
    if (attention_fused_fits(&op->qkv, op->heads)) return attention_fused_forward(device, op);
    const Heads h = heads_make(&op->qkv, op->heads, 1);
    CHECK(op->y.dtype == h.dtype && op->y.c == h.out_stride, "attention_forward: y");
    each_chunk(h, op->heads, op->qkv.n, [&](const Chunk &chunk) {
        weights_make(device, h, op->qkv.data, op->workspace, chunk);
        for (int head = 0; head < h.heads; head++)
            products(device, h, part_stack(h, op->qkv.data, 2, chunk, head, CUBLAS_OP_N),
                     score_stack(h, op->workspace, chunk, head, CUBLAS_OP_N),
                     out_stack(h, op->y.data, chunk, head), h.width, h.length, h.length, 1.0f, chunk.count);
    });
}

static void scores_gradient(Device *device, const Heads &h, const AttentionBackward *op, void *gradient,
                            const Chunk &chunk) {
    const int64_t rows = (int64_t)h.heads * chunk.count * h.length;
    for (int head = 0; head < h.heads; head++)
        products(device, h, part_stack(h, op->qkv.data, 2, chunk, head, CUBLAS_OP_T),
                 out_stack(h, op->dy.data, chunk, head), score_stack(h, gradient, chunk, head, CUBLAS_OP_N),
                 h.length, h.length, h.width, op->dy_scale, chunk.count);
    softmax_run(device, h.dtype, op->workspace, gradient, rows, h.length);
}

static void head_gradients(Device *device, const Heads &h, const AttentionBackward *op, const void *gradient,
                           const Chunk &chunk, int head) {
    const void *qkv = op->qkv.data, *dqkv = op->dqkv.data;
    const Stack weights = score_stack(h, op->workspace, chunk, head, CUBLAS_OP_T);
    Stack scores = score_stack(h, gradient, chunk, head, CUBLAS_OP_N);
    products(device, h, part_stack(h, qkv, 1, chunk, head, CUBLAS_OP_N), scores,
             part_stack(h, dqkv, 0, chunk, head, CUBLAS_OP_N), h.width, h.length, h.length, h.scale,
             chunk.count);
    scores.operation = CUBLAS_OP_T;
    products(device, h, part_stack(h, qkv, 0, chunk, head, CUBLAS_OP_N), scores,
             part_stack(h, dqkv, 1, chunk, head, CUBLAS_OP_N), h.width, h.length, h.length, h.scale,
             chunk.count);
    products(device, h, out_stack(h, op->dy.data, chunk, head), weights,
             part_stack(h, dqkv, 2, chunk, head, CUBLAS_OP_N), h.width, h.length, h.length, op->dy_scale,
             chunk.count);
}

void cuda_attention_backward(Device *device, const AttentionBackward *op) {
    if (attention_fused_fits(&op->qkv, op->heads)) return attention_fused_backward(device, op);
    const Heads h = heads_make(&op->qkv, op->heads, 2);
    CHECK(op->dy.dtype == h.dtype && op->dqkv.dtype == h.dtype, "attention_backward: types differ");
    char *gradient = (char *)op->workspace + (size_t)h.images * image_bytes(h);
    each_chunk(h, op->heads, op->qkv.n, [&](const Chunk &chunk) {
        weights_make(device, h, op->qkv.data, op->workspace, chunk);
        scores_gradient(device, h, op, gradient, chunk);
        for (int head = 0; head < h.heads; head++) head_gradients(device, h, op, gradient, chunk, head);
    });
}
