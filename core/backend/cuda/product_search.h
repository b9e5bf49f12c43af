/* Which of cuBLASLt's algorithms makes a product, found once per device and problem (product_search.c). */
#ifndef ICT_BACKEND_CUDA_PRODUCT_SEARCH_H
#define ICT_BACKEND_CUDA_PRODUCT_SEARCH_H

#include "backend/cuda/product.h"
#include <cublasLt.h>

/* All that an algorithm may depend on. */
typedef struct ProductProblem {
    int m, n, depth, strides[4], types[4], alignment[4];
    bool a_transposed, b_transposed, adds, bias, tf32;
} ProductProblem;

struct ProductFound {
    ProductProblem problem;
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t layout[4]; /* a, b, c, d */
    cublasLtMatmulAlgo_t algorithm;
    ProductFound *next;
};

/* Makes `found`, whose problem is described, ready: with the algorithm that was chosen before, or the
 * fastest, or, where the product is small or being recorded, the first. May run the product, which must be
 * about to be computed: d is overwritten, or left as it was where the product adds to itself. */
void product_algorithm_choose(Device *device, ProductFound *found, const Product *product);

/* 0: done. */
int product_launch(Device *device, const ProductFound *found, const Product *product,
                   const cublasLtMatmulAlgo_t *algorithm);

#endif
