/* fp32 products that are too small for a library's tiles to fill the card: the linear layers of the noise
 * embedding, some hundred rows and columns. A block makes 32 x 32 results; its two halves take half of the
 * terms each, and their sums are added in the end, in that order always.
 */
#include "backend/cuda/elements.cuh"
#include "backend/cuda/product.h"

enum { TILE = 32, STEP = 32, SMALL_MOST = 1 << 19 };
enum { PITCH = TILE + 4, ROWS = 4, COLUMNS = 2, HALF = BLOCK / 2 }; /* a thread makes ROWS x COLUMNS */

/* One factor, [depth][width] once it is in shared memory; `along`: neighbours in memory are neighbours along
 * the depth. */
struct Factor {
    const float *data;
    int stride;
    bool along;
};

struct SmallProduct {
    Factor a, b;
    const float *c, *bias;
    float *d;
    int c_stride, d_stride, depth;
    float alpha, beta;
};

/* The thread's 4 elements of a tile of 32 x 32, from column (or row) `begin` and term `k` on. */
__device__ __forceinline__ float4 factor_fetch(const Factor &f, int begin, int k) {
    const int row = threadIdx.x / 8, four = threadIdx.x % 8 * 4;
    const int64_t at =
        f.along ? (int64_t)(begin + row) * f.stride + k + four : (int64_t)(k + row) * f.stride + begin + four;
    return *reinterpret_cast<const float4 *>(f.data + at);
}

__device__ __forceinline__ void factor_keep(const Factor &f, float4 v, float (*tile)[PITCH]) {
    const int row = threadIdx.x / 8, four = threadIdx.x % 8 * 4;
    if (f.along) {
        tile[four][row] = v.x, tile[four + 1][row] = v.y;
        tile[four + 2][row] = v.z, tile[four + 3][row] = v.w;
    } else {
        *reinterpret_cast<float4 *>(&tile[row][four]) = v;
    }
}

/* The half's share of a step's terms. */
__device__ __forceinline__ void terms_add(const float (*a)[PITCH], const float (*b)[PITCH], int row,
                                          int column, float (&sum)[COLUMNS][ROWS]) {
    const int first = threadIdx.x / HALF * (STEP / 2);
#pragma unroll
    for (int k = first; k < first + STEP / 2; k++) {
        const float4 left = *reinterpret_cast<const float4 *>(&a[k][row]);
        const float2 right = *reinterpret_cast<const float2 *>(&b[k][column]);
        const float l[ROWS] = {left.x, left.y, left.z, left.w}, r[COLUMNS] = {right.x, right.y};
#pragma unroll
        for (int j = 0; j < COLUMNS; j++)
#pragma unroll
            for (int i = 0; i < ROWS; i++) sum[j][i] = fmaf(l[i], r[j], sum[j][i]);
    }
}

__device__ __forceinline__ void results_write(const SmallProduct &p, int m, int n,
                                              const float (&sum)[COLUMNS][ROWS]) {
#pragma unroll
    for (int j = 0; j < COLUMNS; j++) {
        float out[ROWS], before[ROWS] = {}, bias[ROWS] = {};
        if (p.beta != 0.0f) pack_load<float, ROWS>(p.c + (int64_t)(n + j) * p.c_stride + m, before);
        if (p.bias) pack_load<float, ROWS>(p.bias + m, bias);
#pragma unroll
        for (int i = 0; i < ROWS; i++) out[i] = fmaf(p.beta, before[i], fmaf(p.alpha, sum[j][i], bias[i]));
        pack_store<float, ROWS>(p.d + (int64_t)(n + j) * p.d_stride + m, out);
    }
}

__global__ void __launch_bounds__(BLOCK) product_small_kernel(SmallProduct p) {
    __shared__ float a[STEP][PITCH], b[STEP][PITCH], other[COLUMNS * ROWS][HALF];
    const int m = blockIdx.x * TILE, n = blockIdx.y * TILE, place = threadIdx.x % HALF;
    const int row = place % (TILE / ROWS) * ROWS, column = place / (TILE / ROWS) * COLUMNS;
    float sum[COLUMNS][ROWS] = {};
    float4 left = factor_fetch(p.a, m, 0), right = factor_fetch(p.b, n, 0);
    for (int k = 0; k < p.depth; k += STEP) {
        factor_keep(p.a, left, a);
        factor_keep(p.b, right, b);
        __syncthreads();
        if (k + STEP < p.depth) left = factor_fetch(p.a, m, k + STEP), right = factor_fetch(p.b, n, k + STEP);
        terms_add(a, b, row, column, sum);
        __syncthreads();
    }
    if (threadIdx.x >= HALF)
#pragma unroll
        for (int i = 0; i < COLUMNS * ROWS; i++) other[i][place] = sum[i / ROWS][i % ROWS];
    __syncthreads();
    if (threadIdx.x >= HALF) return;
#pragma unroll
    for (int i = 0; i < COLUMNS * ROWS; i++) sum[i / ROWS][i % ROWS] += other[i][place];
    results_write(p, m + row, n + column, sum);
}

/* Whole tiles, in whole 16 bytes. */
static bool matrix_fits(const Matrix &m) {
    return m.dtype == DTYPE_F32 && m.stride % 4 == 0 && (uintptr_t)m.data % 16 == 0;
}

bool cuda_product_small(Device *device, const Product *p) {
    const bool fits = matrix_fits(p->a) && matrix_fits(p->b) && matrix_fits(p->c) && matrix_fits(p->d) &&
                      (uintptr_t)p->bias % 16 == 0;
    if (!fits || device->tf32 || p->m % TILE || p->n % TILE || p->depth % STEP) return false;
    if ((int64_t)p->m * p->n > SMALL_MOST || p->depth > SMALL_MOST / TILE) return false;
    const SmallProduct small = {{(const float *)p->a.data, p->a.stride, p->a.transposed},
                                {(const float *)p->b.data, p->b.stride, !p->b.transposed},
                                (const float *)p->c.data,
                                (const float *)p->bias,
                                (float *)p->d.data,
                                p->c.stride,
                                p->d.stride,
                                p->depth,
                                p->alpha,
                                p->beta};
    product_small_kernel<<<dim3((unsigned)(p->m / TILE), (unsigned)(p->n / TILE)), BLOCK, 0,
                           cuda_stream(device)>>>(small);
    CUDA_LAUNCHED("product_small");
    return true;
}
