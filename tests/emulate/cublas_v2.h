/* The one function of cuBLAS that our code calls (products.c). Types are those of tensors. */
#ifndef ICT_TESTS_EMULATE_CUBLAS_V2_H
#define ICT_TESTS_EMULATE_CUBLAS_V2_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef int cudaDataType_t, cublasComputeType_t;
typedef enum cublasOperation_t { CUBLAS_OP_N, CUBLAS_OP_T } cublasOperation_t;
enum { CUBLAS_GEMM_DEFAULT };
struct cublasContext;

int cublasGemmStridedBatchedEx(struct cublasContext *, cublasOperation_t a_operation,
                               cublasOperation_t b_operation, int m, int n, int depth, const float *alpha,
                               const void *a, cudaDataType_t a_type, int a_stride, int64_t a_image,
                               const void *b, cudaDataType_t b_type, int b_stride, int64_t b_image,
                               const float *beta, void *c, cudaDataType_t c_type, int c_stride,
                               int64_t c_image, int count, cublasComputeType_t, int algorithm);

#ifdef __cplusplus
}
#endif

#endif
