/* Products of matrices on cuBLASLt: the same problem gives the same bits, in every process that takes the
 * same algorithm for it (product_search.c). What was found is kept for the life of the device.
 */
#include "backend/cuda/product_search.h"
#include <stdlib.h>

int cuda_blas_type(DType dtype) {
    CHECK(dtype == DTYPE_F32 || dtype == DTYPE_F16 || dtype == DTYPE_BF16, "products: floats only");
    return dtype == DTYPE_F32 ? CUDA_R_32F : dtype == DTYPE_F16 ? CUDA_R_16F : CUDA_R_16BF;
}

int cuda_blas_compute(const Device *device, DType dtype) {
    return dtype == DTYPE_F32 && device->tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
}

/* The largest power of two that divides the address, as far as cuBLASLt looks. */
static int alignment_of(const void *data) {
    const uintptr_t bits = (uintptr_t)data | 256;
    return (int)(bits & -bits);
}

/* Unused bytes are zero too, so that two can be compared as a whole. */
static void problem_make(const Device *device, const Product *p, ProductProblem *problem) {
    const Matrix *matrices[4] = {&p->a, &p->b, &p->c, &p->d};
    memset(problem, 0, sizeof *problem);
    problem->m = p->m, problem->n = p->n, problem->depth = p->depth;
    for (int i = 0; i < 4; i++) {
        problem->strides[i] = matrices[i]->stride;
        problem->types[i] = cuda_blas_type(matrices[i]->dtype);
        problem->alignment[i] = alignment_of(matrices[i]->data);
    }
    problem->a_transposed = p->a.transposed, problem->b_transposed = p->b.transposed;
    problem->adds = p->beta != 0.0f, problem->bias = p->bias != NULL;
    problem->tf32 = cuda_blas_compute(device, p->a.dtype) == CUBLAS_COMPUTE_32F_FAST_TF32;
}

static void attribute_set(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t name, const void *value,
                          size_t size) {
    BLAS_CHECK(cublasLtMatmulDescSetAttribute(d, name, value, size));
}

static cublasLtMatmulDesc_t operation_describe(const ProductProblem *p) {
    cublasLtMatmulDesc_t d;
    const cublasOperation_t a = p->a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N,
                            b = p->b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    BLAS_CHECK(cublasLtMatmulDescCreate(&d, p->tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F,
                                        CUDA_R_32F));
    attribute_set(d, CUBLASLT_MATMUL_DESC_TRANSA, &a, sizeof a);
    attribute_set(d, CUBLASLT_MATMUL_DESC_TRANSB, &b, sizeof b);
    if (p->bias) attribute_set(d, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
    return d;
}

static void layouts_describe(const ProductProblem *p, cublasLtMatrixLayout_t layout[4]) {
    const int rows[4] = {p->a_transposed ? p->depth : p->m, p->b_transposed ? p->n : p->depth, p->m, p->m};
    const int columns[4] = {p->a_transposed ? p->m : p->depth, p->b_transposed ? p->depth : p->n, p->n, p->n};
    for (int i = 0; i < 4; i++)
        BLAS_CHECK(cublasLtMatrixLayoutCreate(&layout[i], (cudaDataType_t)p->types[i], (uint64_t)rows[i],
                                              (uint64_t)columns[i], p->strides[i]));
}

static ProductFound *product_describe(const ProductProblem *problem, const void *bias) {
    ProductFound *found = malloc(sizeof *found);
    CHECK(found, "out of memory");
    memcpy(&found->problem, problem, sizeof *problem); /* unused bytes too */
    found->operation = operation_describe(problem);
    layouts_describe(problem, found->layout);
    if (bias) attribute_set(found->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
    return found;
}

static ProductFound *algorithm_find(Device *device, const Product *product) {
    CudaContext *context = cuda_context(device);
    ProductProblem problem;
    problem_make(device, product, &problem);
    for (ProductFound *found = context->products; found; found = found->next)
        if (memcmp(&found->problem, &problem, sizeof problem) == 0) return found;
    ProductFound *found = product_describe(&problem, product->bias);
    product_algorithm_choose(device, found, product);
    found->next = context->products;
    return context->products = found;
}

int product_launch(Device *device, const ProductFound *found, const Product *p,
                   const cublasLtMatmulAlgo_t *algorithm) {
    return (int)cublasLtMatmul(cuda_context(device)->blas_lt, found->operation, &p->alpha, p->a.data,
                               found->layout[0], p->b.data, found->layout[1], &p->beta, p->c.data,
                               found->layout[2], (void *)p->d.data, found->layout[3], algorithm,
                               cuda_context(device)->blas_workspace, BLAS_WORKSPACE, cuda_stream(device));
}

void cuda_product(Device *device, const Product *p) {
    if (cuda_product_small(device, p)) return;
    const ProductFound *found = algorithm_find(device, p);
    if (p->bias) attribute_set(found->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &p->bias, sizeof p->bias);
    BLAS_CHECK(product_launch(device, found, p, &found->algorithm));
}

void cuda_products_release(CudaContext *context) {
    while (context->products) {
        ProductFound *found = context->products;
        context->products = found->next;
        BLAS_CHECK(cublasLtMatmulDescDestroy(found->operation));
        for (int i = 0; i < 4; i++) BLAS_CHECK(cublasLtMatrixLayoutDestroy(found->layout[i]));
        free(found);
    }
}
