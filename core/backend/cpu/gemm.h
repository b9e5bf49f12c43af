/* A matrix product for one thread, C = A B in fp32 with everything that usually follows it done while the
 * result is still in registers. Linear layers, attention and convolutions without oneDNN are loops around it.
 *
 * Why not a BLAS: products here are small and skinny, many run at once on one thread each, the bias, the
 * residual and the gradient that is already there must not cost another pass over memory, and OpenBLAS 0.3.21
 * takes processors that it does not know (Intel's Emerald Rapids) for a Pentium 4 of 2004, at a fifth of what
 * is reached here (measured in core/backend/README.md).
 *
 * A tile of C is held in registers (12 x 32 floats with AVX-512, 6 x 16 with AVX2) while the kernel walks
 * along the depth, some of it at a time so that long sums round less. The sum over the depth runs in an order
 * that the depth alone decides, so a row's result depends neither on threads nor on its neighbours.
 */
#ifndef ICT_BACKEND_CPU_GEMM_H
#define ICT_BACKEND_CPU_GEMM_H

#include "backend/cpu/vector.h"
#include <stdbool.h>
#include <stdint.h>

/* Columns of B are packed into panels this wide; the last one is half as wide where that suffices. */
#if defined(__AVX512F__)
#define GEMM_ROWS 12
#elif defined(__AVX2__) && defined(__FMA__)
#define GEMM_ROWS 6
#else
#define GEMM_ROWS 4
#endif
enum { GEMM_LANES = VECTOR_LANES, GEMM_PANEL = 2 * GEMM_LANES };

/* Floats that B [depth, n] takes when packed. */
static inline int64_t gemm_packed_size(int64_t depth, int64_t n) {
    return depth * ((n + GEMM_LANES - 1) / GEMM_LANES * GEMM_LANES);
}

/* Packs B, whose element (k, j) is b[k * depth_stride + j * column_stride]; one stride is 1. Missing columns
 * become zeros. */
void gemm_pack(float *packed, const float *b, int64_t depth_stride, int64_t column_stride, int depth, int n);

/* A, as matrices side by side: A(i, k) of a term is a[i * row_stride + k]. */
typedef struct GemmTerm {
    const float *a;
    int64_t row_stride;
    int depth;
} GemmTerm;

/* C(i, j) = scale * (sum_k A(i, k) B(k, j) + bias[j]) + add_scale * add(i, j). `add` may be C itself. */
typedef struct GemmResult {
    float *c;
    int64_t stride;
    float scale;
    const float *bias; /* or NULL */
    const float *add;  /* or NULL */
    int64_t add_stride;
    float add_scale;
} GemmResult;

/* B, of as many rows as the terms have together, is packed. */
void gemm_run(const GemmTerm *term, int terms, const float *packed, int rows, int n,
              const GemmResult *result);

/* The same with one term and A transposed: A(i, k) is a[i + k * depth_stride]. */
void gemm_run_transposed(const float *a, int64_t depth_stride, int depth, const float *packed, int rows,
                         int n, const GemmResult *result);

#endif
