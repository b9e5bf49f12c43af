/* Attention forward in one kernel (FlashAttention-2, arXiv:2307.08691): a warp keeps its queries, a tile of
 * scores and its part of y in registers, and the scores of a row are never there all at once. Their softmax
 * is made as the keys pass by: with the largest score m so far, l = sum exp(s - m) and y = sum exp(s - m) v,
 * a tile with a larger m' first multiplies l and y by exp(m - m'). In the end y / l is the result, and m +
 * log l is what the backward pass needs to have the weights again, exp(s - m - log l), without another pass
 * over the row. It is kept in base 2, because the hardware's exponential is.
 */
#include "backend/cuda/attention_fused.cuh"

bool attention_fused_fits(const Tensor *qkv, int heads) {
    return (qkv->dtype == DTYPE_F16 || qkv->dtype == DTYPE_BF16) && qkv->c == 3 * heads * TILE &&
           qkv->h * qkv->w % TILE == 0;
}

namespace {

/* A warp's 16 M queries on their way over the keys. */
template <typename T, int M> struct Queries {
    uint32_t q[M][4][4];
    float y[M][8][4];
    float top[M][2], sum[M][2]; /* of rows g and g + 8; each lane sums its own columns */

    __device__ __forceinline__ void begin(const char *tiles, int warp, int lane) {
#pragma unroll
        for (int m = 0; m < M; m++) {
            left_load(q[m], tiles + (warp * M + m) * STEP * TILE_ROW, lane);
#pragma unroll
            for (int i = 0; i < 32; i++) y[m][i / 4][i % 4] = 0.0f;
            top[m][0] = top[m][1] = -INFINITY;
            sum[m][0] = sum[m][1] = 0.0f;
        }
    }

    /* s becomes exp(s - top) of row g + 8 half, where top is the largest so far. */
    __device__ __forceinline__ void softmax(float (&s)[8][4], int m, int half, float powers) {
        float largest = top[m][half];
#pragma unroll
        for (int n = 0; n < 8; n++) largest = fmaxf(largest, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
        largest = row_max(largest);
        const float factor = exp2_fast(powers * (top[m][half] - largest)), offset = -powers * largest;
        float total = 0.0f;
#pragma unroll
        for (int n = 0; n < 8; n++)
#pragma unroll
            for (int i = 2 * half; i < 2 * half + 2; i++) {
                s[n][i] = exp2_fast(fmaf(powers, s[n][i], offset));
                total += s[n][i];
                y[m][n][i] *= factor;
            }
        sum[m][half] = fmaf(sum[m][half], factor, total);
        top[m][half] = largest;
    }

    __device__ __forceinline__ void pass(const char *keys, const char *values, float powers, int lane) {
        float s[M][8][4] = {};
        uint32_t weights[M][4][4];
        multiply_rows<T>(s, q, keys, lane);
#pragma unroll
        for (int m = 0; m < M; m++) {
            softmax(s[m], m, 0, powers);
            softmax(s[m], m, 1, powers);
            left_from<T>(weights[m], s[m]);
        }
        multiply_columns<T>(y, weights, values, lane);
    }
};

/* statistics: [image][head][query], or NULL */
template <typename T, int M>
__global__ void __launch_bounds__(TILE_THREADS, M == 1 ? 3 : 2)
    attention_forward_kernel(Heads<T> h, T *y, float *statistics) {
    alignas(128) __shared__ char memory[2][2][TILE_BYTES]; /* keys and values; one tile and the next */
    const Place<T> place(h, M * TILE);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const T *queries = h.qkv + place.pixel + (int64_t)place.first * h.stride,
            *keys = h.qkv + place.pixel + h.inner, *values = keys + h.inner;
    const float powers = h.scale * LOG2_E;
    Queries<T, M> own;
    for (int m = 0; m < M; m++) tile_fetch(memory[1][m], queries + (int64_t)m * TILE * h.stride, h.stride);
    tile_fetch(memory[0][0], keys, h.stride);
    tile_fetch(memory[0][1], values, h.stride);
    __pipeline_commit();
    copies_wait<0>();
    __syncthreads();
    own.begin(memory[1][0], warp, lane);
    for (int i = 0; i < h.tiles; i++) {
        copies_wait<0>();
        __syncthreads(); /* this tile is there, and nobody reads the one before any more */
        if (i + 1 < h.tiles) {
            const int64_t next = (int64_t)(i + 1) * TILE * h.stride;
            tile_fetch(memory[(i + 1) % 2][0], keys + next, h.stride);
            tile_fetch(memory[(i + 1) % 2][1], values + next, h.stride);
            __pipeline_commit();
        }
        own.pass(memory[i % 2][0], memory[i % 2][1], powers, lane);
    }
    __syncthreads();
#pragma unroll
    for (int m = 0; m < M; m++) {
        const int row = place.first + (warp * M + m) * STEP, g = lane / 4;
        const float low = row_sum(own.sum[m][0]), high = row_sum(own.sum[m][1]);
        rows_store(y + place.out + (int64_t)row * h.inner, h.inner, own.y[m], 1.0f / low, 1.0f / high,
                   memory[0][0] + warp * STEP * TILE_ROW, lane);
        if (!statistics || lane % 4) continue;
        float *kept = statistics + place.head * h.length + row;
        kept[g] = fmaf(powers, own.top[m][0], log2f(low));
        kept[g + 8] = fmaf(powers, own.top[m][1], log2f(high));
    }
}

} // namespace

void attention_fused_forward(Device *device, const AttentionForward *op) {
    CHECK(op->y.dtype == op->qkv.dtype && op->y.c * 3 == op->qkv.c, "attention_forward: y");
    half_dispatch(op->qkv.dtype, [&](auto type) {
        using T = decltype(type);
        const Heads<T> h = heads_make<T>(op->qkv, op->heads);
        const unsigned tiles = (unsigned)(op->qkv.n * op->heads * h.tiles);
        const cudaStream_t stream = cuda_stream(device);
        T *y = (T *)op->y.data;
        if (h.tiles % 2 == 0)
            attention_forward_kernel<T, 2><<<tiles / 2, TILE_THREADS, 0, stream>>>(h, y, op->statistics);
        else
            attention_forward_kernel<T, 1><<<tiles, TILE_THREADS, 0, stream>>>(h, y, op->statistics);
    });
    CUDA_LAUNCHED("attention_forward");
}
