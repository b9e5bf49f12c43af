/* Products of small matrices by a warp, in registers and shared memory: what attention's fused kernels are
 * made of. How operands and sums are spread over a warp's lanes stands in warp_products.cuh. The sums of two
 * neighbouring products, rounded to 16 bits, are a left operand as they stand (left_from): what a softmax
 * makes of scores never leaves the registers.
 */
#ifndef ICT_BACKEND_CUDA_FRAGMENTS_CUH
#define ICT_BACKEND_CUDA_FRAGMENTS_CUH

#include "backend/cuda/elements.cuh"
#include "backend/cuda/warp_products.cuh"

enum {
    TILE = 64,           /* rows of a tile, and numbers of 16 bits in each: the width of a head */
    TILE_ROW = 2 * TILE, /* bytes */
    TILE_BYTES = TILE * TILE_ROW,
    TILE_THREADS = 128, /* of the blocks that use tiles: four warps */
    STEP = 16           /* terms of a left operand; STEP rows of a tile lie beside each other */
};

/* ---- tiles in shared memory ---- */

/* Of 16 bytes, numbered `pack`, of a row. A row fills all banks, so the packs of each row change places by
 * its number: then eight rows' packs of the same number, which is what the loads of matrices read, lie in
 * different banks. Within eight rows, place(row, pack ^ x) = place(row, pack) ^ (16 x). */
__device__ __forceinline__ int tile_place(int row, int pack) {
    return row * TILE_ROW + ((pack ^ (row & 7)) << 4);
}

/* Asks for a tile's rows, `stride` elements apart in `from`; all threads of the block together. */
template <typename T> __device__ __forceinline__ void tile_fetch(char *tile, const T *from, int stride) {
    const int row = threadIdx.x / 8, pack = threadIdx.x % 8, step = TILE_THREADS / 8;
    char *to = tile + tile_place(row, pack);
    from += row * stride + 8 * pack;
#pragma unroll
    for (int i = 0; i < TILE / step; i++)
        __pipeline_memcpy_async(to + i * step * TILE_ROW, from + i * step * stride, 16);
}

/* A lane's place in the sixteen rows and two packs that it loads as a left operand, or, transposed, as the
 * right operands of two neighbouring columns of products (terms are rows). */
__device__ __forceinline__ int lane_place(int lane) {
    return tile_place(lane % 16, lane / 16);
}

/* The same for right operands of two neighbouring columns where columns are rows of the tile. */
__device__ __forceinline__ int lane_place_columns(int lane) {
    return tile_place(lane / 16 * 8 + lane % 8, lane / 8 % 2);
}

/* Left operands of sixteen rows of a tile, all 64 terms. */
__device__ __forceinline__ void left_load(uint32_t (&left)[4][4], const char *rows, int lane) {
#pragma unroll
    for (int k = 0; k < 4; k++) matrices_load(left[k], rows + (lane_place(lane) ^ (32 * k)));
}

/* Of the sums of 2 K products beside each other. */
template <typename T, int K>
__device__ __forceinline__ void left_from(uint32_t (&left)[K][4], const float (&sum)[2 * K][4]) {
#pragma unroll
    for (int k = 0; k < K; k++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            pair_round(sum[2 * k + i / 2][i % 2 * 2], sum[2 * k + i / 2][i % 2 * 2 + 1],
                       reinterpret_cast<T *>(&left[k][i]));
}

/* sum[m] += left[m] rows^T: M times 16 x 64 against 8 N rows of a tile. */
template <typename T, int M, int N>
__device__ __forceinline__ void multiply_rows(float (&sum)[M][N][4], const uint32_t (&left)[M][4][4],
                                              const char *rows, int lane) {
#pragma unroll
    for (int k = 0; k < 4; k++)
#pragma unroll
        for (int j = 0; j < N / 2; j++) {
            uint32_t right[4];
            matrices_load(right, rows + j * STEP * TILE_ROW + (lane_place_columns(lane) ^ (32 * k)));
#pragma unroll
            for (int m = 0; m < M; m++) {
                multiply<T>(sum[m][2 * j], left[m][k], right[0], right[1]);
                multiply<T>(sum[m][2 * j + 1], left[m][k], right[2], right[3]);
            }
        }
}

/* sum[m] += left[m] rows: M times 16 x 16 K against 16 K rows of a tile. */
template <typename T, int M, int K>
__device__ __forceinline__ void multiply_columns(float (&sum)[M][8][4], const uint32_t (&left)[M][K][4],
                                                 const char *rows, int lane) {
#pragma unroll
    for (int k = 0; k < K; k++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            uint32_t right[4];
            matrices_load_transposed(right, rows + k * STEP * TILE_ROW + (lane_place(lane) ^ (32 * j)));
#pragma unroll
            for (int m = 0; m < M; m++) {
                multiply<T>(sum[m][2 * j], left[m][k], right[0], right[1]);
                multiply<T>(sum[m][2 * j + 1], left[m][k], right[2], right[3]);
            }
        }
}

/* Writes factor * sum, rounded, as 16 rows of 64 numbers, `stride` elements apart in `to`; `rows` are sixteen
 * rows of shared memory for this warp alone, through which neighbouring lanes get neighbouring 16 bytes.
 * `low` and `high` are the factors of the lane's rows g and g + 8. */
template <typename T>
__device__ __forceinline__ void rows_store(T *to, int stride, const float (&sum)[8][4], float low, float high,
                                           char *rows, int lane) {
    const int g = lane / 4, t = lane % 4;
#pragma unroll
    for (int n = 0; n < 8; n++) {
        pair_round(low * sum[n][0], low * sum[n][1], reinterpret_cast<T *>(rows + tile_place(g, n) + 4 * t));
        pair_round(high * sum[n][2], high * sum[n][3],
                   reinterpret_cast<T *>(rows + tile_place(g + 8, n) + 4 * t));
    }
    __syncwarp();
#pragma unroll
    for (int row = lane / 8; row < STEP; row += 4)
        *reinterpret_cast<uint4 *>(to + (int64_t)row * stride + lane % 8 * 8) =
            *reinterpret_cast<const uint4 *>(rows + tile_place(row, lane % 8));
    __syncwarp();
}

#endif
