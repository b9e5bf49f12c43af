/* Matrix products of cuBLASLt, with what stands around them done in the same kernel. cuBLAS stores matrices
 * by columns, so ours (by rows) are its transposes: y = x W^T is asked for as y^T = W x^T. */
#ifndef ICT_BACKEND_CUDA_PRODUCT_H
#define ICT_BACKEND_CUDA_PRODUCT_H

#include "backend/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A matrix as cuBLAS sees it: `stride` elements from column to column. */
typedef struct Matrix {
    const void *data;
    DType dtype;
    int stride;
    bool transposed; /* of factors only */
} Matrix;

/* d[m, n] = alpha a b + beta c + bias, `depth` terms a product. c has d's type and may be d; bias has that
 * type too and a value for each of the m rows, or is NULL. */
typedef struct Product {
    Matrix a, b, c, d;
    int m, n, depth;
    float alpha, beta;
    const void *bias;
} Product;

void cuda_product(Device *device, const Product *product);

/* By a kernel of our own, where a product of fp32 is too small for cuBLASLt's (product_small.cu); false: it
 * is not for that. */
bool cuda_product_small(Device *device, const Product *product);

/* What cuBLAS calls a type, and products that add up in fp32 of factors in `dtype`. */
int cuda_blas_type(DType dtype);
int cuda_blas_compute(const Device *device, DType dtype);

#ifdef __cplusplus
}
#endif

#endif
