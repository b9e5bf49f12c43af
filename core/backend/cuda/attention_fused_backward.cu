/* Attention backward in two kernels, without atomics. With the weights P = exp(s - l), where l was kept by
 * the forward pass, dP = dy v^T and r = sum_j P dP of every row, which is the product of the row's dy and y,
 *
 *     dS = P (dP - r),   dq = dS k / sqrt(d),   dk = dS^T q / sqrt(d),   dv = P^T dy.
 *
 * Sums over keys (dq) and sums over queries (dk, dv) want blocks of queries and blocks of keys. Making s and
 * dP in both costs two products of seven and saves writing parts of dq to memory, or adding them in an order
 * that varies. The first kernel leaves r to the second.
 *
 * dy_scale multiplies the results, not dS, which is rounded to 16 bits.
 */
#include "backend/cuda/attention_fused.cuh"

enum {
    PART = 32,
    PARTS = PART / 8
}; /* of a tile at a time, so that scores and their gradients fit into registers */

size_t attention_fused_workspace(const Tensor *qkv, int heads, bool backward) {
    return backward ? (size_t)qkv->n * (size_t)heads * (size_t)(qkv->h * qkv->w) * sizeof(float) : 0;
}

namespace {

/* What the two kernels read besides q, k and v. */
template <typename T> struct Given {
    const T *y, *dy;
    const float *statistics;
    float *r;
    float dy_scale;
};

/* ---- queries ---- */

/* A row's r, in the four lanes that share the row: each reads sixteen channels. */
template <typename T> __device__ __forceinline__ float row_product(const T *y, const T *dy, int lane) {
    float a[8], b[8], sum = 0.0f;
#pragma unroll
    for (int part = 0; part < 2; part++) {
        pack_load<T, 8>(y + lane % 4 * 16 + part * 8, a);
        pack_load<T, 8>(dy + lane % 4 * 16 + part * 8, b);
#pragma unroll
        for (int i = 0; i < 8; i++) sum = fmaf(a[i], b[i], sum);
    }
    return row_sum(sum);
}

/* A warp's 16 M queries. */
template <typename T, int M> struct Queries {
    uint32_t q[M][4][4], dy[M][4][4];
    float dq[M][8][4];
    float kept[M][2], r[M][2]; /* of rows g and g + 8 */

    __device__ __forceinline__ void begin(const char *tiles, int warp, int lane) {
#pragma unroll
        for (int m = 0; m < M; m++) {
            left_load(q[m], tiles + (warp * M + m) * STEP * TILE_ROW, lane);
            left_load(dy[m], tiles + M * TILE_BYTES + (warp * M + m) * STEP * TILE_ROW, lane);
#pragma unroll
            for (int i = 0; i < 32; i++) dq[m][i / 4][i % 4] = 0.0f;
        }
    }

    /* `row`: the warp's first */
    __device__ __forceinline__ void rows_read(const Heads<T> &h, const Given<T> &given, const Place<T> &place,
                                              int row, int lane) {
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int at = row + m * STEP + half * 8 + lane / 4;
                const int64_t out = place.out + (int64_t)at * h.inner, kept_at = place.head * h.length + at;
                r[m][half] = row_product(given.y + out, given.dy + out, lane);
                kept[m][half] = given.statistics[kept_at];
                if (lane % 4 == 0) given.r[kept_at] = r[m][half];
            }
    }

    __device__ __forceinline__ void pass(const char *keys, const char *values, float powers, int lane) {
        float s[M][PARTS][4] = {}, ds[M][PARTS][4] = {};
        uint32_t left[M][PARTS / 2][4];
        multiply_rows<T>(s, q, keys, lane);
        multiply_rows<T>(ds, dy, values, lane);
#pragma unroll
        for (int m = 0; m < M; m++) {
#pragma unroll
            for (int i = 0; i < 4 * PARTS; i++) {
                const float weight = exp2_fast(fmaf(powers, s[m][i / 4][i % 4], -kept[m][i % 4 / 2]));
                ds[m][i / 4][i % 4] = weight * (ds[m][i / 4][i % 4] - r[m][i % 4 / 2]);
            }
            left_from<T>(left[m], ds[m]);
        }
        multiply_columns<T>(dq, left, keys, lane);
    }
};

template <typename T, int M>
__global__ void __launch_bounds__(TILE_THREADS, M == 1 ? 3 : 2)
    attention_backward_queries_kernel(Heads<T> h, Given<T> given, T *dqkv) {
    alignas(128) __shared__ char memory[2][2][TILE_BYTES]; /* keys and values; one tile and the next */
    const Place<T> place(h, M * TILE);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = place.first + warp * M * STEP;
    const int64_t first = place.pixel + (int64_t)place.first * h.stride;
    const T *dy = given.dy + place.out + (int64_t)place.first * h.inner,
            *keys = h.qkv + place.pixel + h.inner, *values = keys + h.inner;
    Queries<T, M> own;
    for (int m = 0; m < M; m++) {
        tile_fetch(memory[0][0] + m * TILE_BYTES, h.qkv + first + (int64_t)m * TILE * h.stride, h.stride);
        tile_fetch(memory[0][0] + (M + m) * TILE_BYTES, dy + (int64_t)m * TILE * h.inner, h.inner);
    }
    __pipeline_commit();
    own.rows_read(h, given, place, row, lane);
    copies_wait<0>();
    __syncthreads();
    own.begin(memory[0][0], warp, lane);
    __syncthreads();
    tile_fetch(memory[0][0], keys, h.stride);
    tile_fetch(memory[0][1], values, h.stride);
    __pipeline_commit();
    for (int i = 0; i < h.tiles; i++) {
        copies_wait<0>();
        __syncthreads(); /* this tile is there, and nobody reads the one before any more */
        if (i + 1 < h.tiles) {
            const int64_t next = (int64_t)(i + 1) * TILE * h.stride;
            tile_fetch(memory[(i + 1) % 2][0], keys + next, h.stride);
            tile_fetch(memory[(i + 1) % 2][1], values + next, h.stride);
            __pipeline_commit();
        }
#pragma unroll 1
        for (int part = 0; part < TILE_BYTES; part += PART * TILE_ROW)
            own.pass(memory[i % 2][0] + part, memory[i % 2][1] + part, h.scale * LOG2_E, lane);
    }
    __syncthreads();
    const float factor = h.scale * given.dy_scale;
#pragma unroll
    for (int m = 0; m < M; m++)
        rows_store(dqkv + place.pixel + (int64_t)(row + m * STEP) * h.stride, h.stride, own.dq[m], factor,
                   factor, memory[0][0] + warp * STEP * TILE_ROW, lane);
}

/* ---- keys ---- */

/* A tile of queries: what stands in shared memory of it. */
struct QueryTile {
    char q[TILE_BYTES], dy[TILE_BYTES];
    float kept[TILE], r[TILE];
};

template <typename T>
__device__ __forceinline__ void queries_fetch(QueryTile *tile, const Heads<T> &h, const Given<T> &given,
                                              const Place<T> &place, int first) {
    tile_fetch(tile->q, h.qkv + place.pixel + (int64_t)first * h.stride, h.stride);
    tile_fetch(tile->dy, given.dy + place.out + (int64_t)first * h.inner, h.inner);
    const int64_t at = place.head * h.length + first;
    const int i = threadIdx.x % 16 * 4;
    if (threadIdx.x < 16)
        __pipeline_memcpy_async(tile->kept + i, given.statistics + at + i, 16);
    else if (threadIdx.x < 32)
        __pipeline_memcpy_async(tile->r + i, given.r + at + i, 16);
    __pipeline_commit();
}

/* A warp's 16 keys; s and its gradient are transposed here, [key][query]. */
template <typename T> struct Keys {
    uint32_t k[1][4][4], v[1][4][4];
    float dk[1][8][4], dv[1][8][4];

    __device__ __forceinline__ void begin(const char *keys, const char *values, int lane) {
        left_load(k[0], keys, lane);
        left_load(v[0], values, lane);
#pragma unroll
        for (int i = 0; i < 32; i++) dk[0][i / 4][i % 4] = dv[0][i / 4][i % 4] = 0.0f;
    }

    /* PART queries of the tile, from `first` on. */
    __device__ __forceinline__ void pass(const QueryTile &tile, int first, float powers, int lane) {
        const char *q = tile.q + first * TILE_ROW, *dy = tile.dy + first * TILE_ROW;
        float s[1][PARTS][4] = {}, ds[1][PARTS][4] = {};
        uint32_t left[1][PARTS / 2][4];
        multiply_rows<T>(s, k, q, lane);
        multiply_rows<T>(ds, v, dy, lane);
#pragma unroll
        for (int n = 0; n < PARTS; n++) {
            const int query = first + 8 * n + lane % 4 * 2;
            const float2 kept = *reinterpret_cast<const float2 *>(tile.kept + query),
                         r = *reinterpret_cast<const float2 *>(tile.r + query);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float weight = exp2_fast(fmaf(powers, s[0][n][i], i % 2 ? -kept.y : -kept.x));
                s[0][n][i] = weight;
                ds[0][n][i] = weight * (ds[0][n][i] - (i % 2 ? r.y : r.x));
            }
        }
        left_from<T>(left[0], s[0]);
        multiply_columns<T>(dv, left, dy, lane);
        left_from<T>(left[0], ds[0]);
        multiply_columns<T>(dk, left, q, lane);
    }
};

template <typename T>
__global__ void __launch_bounds__(TILE_THREADS, 3)
    attention_backward_keys_kernel(Heads<T> h, Given<T> given, T *dqkv) {
    alignas(128) __shared__ QueryTile memory[2]; /* one tile and the next */
    const Place<T> place(h, TILE);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, mine = warp * STEP * TILE_ROW;
    const int64_t first = place.pixel + h.inner + (int64_t)place.first * h.stride;
    Keys<T> own;
    tile_fetch(memory[1].q, h.qkv + first, h.stride);
    tile_fetch(memory[1].dy, h.qkv + first + h.inner, h.stride);
    queries_fetch(&memory[0], h, given, place, 0);
    copies_wait<0>();
    __syncthreads();
    own.begin(memory[1].q + mine, memory[1].dy + mine, lane);
    for (int i = 0; i < h.tiles; i++) {
        copies_wait<0>();
        __syncthreads(); /* this tile is there, and nobody reads the one before any more */
        if (i + 1 < h.tiles) queries_fetch(&memory[(i + 1) % 2], h, given, place, (i + 1) * TILE);
#pragma unroll 1
        for (int part = 0; part < TILE; part += PART) own.pass(memory[i % 2], part, h.scale * LOG2_E, lane);
    }
    __syncthreads();
    T *dk = dqkv + first + (int64_t)warp * STEP * h.stride;
    rows_store(dk, h.stride, own.dk[0], h.scale * given.dy_scale, h.scale * given.dy_scale,
               memory[0].q + mine, lane);
    rows_store(dk + h.inner, h.stride, own.dv[0], given.dy_scale, given.dy_scale, memory[0].q + mine, lane);
}

} // namespace

void attention_fused_backward(Device *device, const AttentionBackward *op) {
    const DType dtype = op->qkv.dtype;
    CHECK(op->dy.dtype == dtype && op->dqkv.dtype == dtype, "attention_backward: types differ");
    CHECK(op->statistics && op->y.data && op->y.dtype == dtype, "attention_backward: y and its statistics");
    half_dispatch(dtype, [&](auto type) {
        using T = decltype(type);
        const Heads<T> h = heads_make<T>(op->qkv, op->heads);
        const Given<T> given = {(const T *)op->y.data, (const T *)op->dy.data, op->statistics,
                                (float *)op->workspace, op->dy_scale};
        const unsigned tiles = (unsigned)(op->qkv.n * op->heads * h.tiles);
        const cudaStream_t stream = cuda_stream(device);
        T *dqkv = (T *)op->dqkv.data;
        if (h.tiles % 2 == 0)
            attention_backward_queries_kernel<T, 2><<<tiles / 2, TILE_THREADS, 0, stream>>>(h, given, dqkv);
        else
            attention_backward_queries_kernel<T, 1><<<tiles, TILE_THREADS, 0, stream>>>(h, given, dqkv);
        CUDA_LAUNCHED("attention_backward_queries");
        attention_backward_keys_kernel<T><<<tiles, TILE_THREADS, 0, stream>>>(h, given, dqkv);
        CUDA_LAUNCHED("attention_backward_keys");
    });
}
