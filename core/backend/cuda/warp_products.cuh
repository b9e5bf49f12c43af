/* The instructions by which a warp multiplies matrices of 16-bit numbers, those that every card since compute
 * capability 8.0 has (ldmatrix, mma.sync).
 *
 * A warp's operands are spread over its 32 lanes as PTX prescribes ("Matrix Fragments for mma.m16n8k16").
 * With g = lane / 4 and t = lane % 4, words being pairs of neighbours,
 *
 *     left, 16 x 16:   words (g, 2t), (g + 8, 2t), (g, 2t + 8), (g + 8, 2t + 8)      of (row, term)
 *     right, 16 x 8:   words (2t, g), (2t + 8, g)                                    of (term, column)
 *     sum, 16 x 8:     (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)            of (row, column)
 */
#ifndef ICT_BACKEND_CUDA_WARP_PRODUCTS_CUH
#define ICT_BACKEND_CUDA_WARP_PRODUCTS_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>
#include <type_traits>
#ifndef __CUDACC__
#include "warp_products_emulated.h" /* of the tests, for machines without a card */
#endif

#ifdef __CUDACC__
/* Four matrices of 8 x 8 numbers of 16 bits; lane i names a row of matrix i / 8. */
__device__ __forceinline__ void matrices_load(uint32_t (&to)[4], const char *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(row)));
}

/* The same, each of the four transposed. */
__device__ __forceinline__ void matrices_load_transposed(uint32_t (&to)[4], const char *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(row)));
}

/* sum += left right */
template <typename T>
__device__ __forceinline__ void multiply(float (&sum)[4], const uint32_t (&left)[4], uint32_t right0,
                                         uint32_t right1) {
    if constexpr (std::is_same_v<T, __half>)
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
            "{%0, %1, %2, %3};"
            : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
            : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right0), "r"(right1));
    else
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, "
            "%9}, {%0, %1, %2, %3};"
            : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
            : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right0), "r"(right1));
}
#endif

#endif
