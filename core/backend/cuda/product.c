/* Products of matrices on cuBLASLt. Its heuristic's first algorithm is taken, without timing, among those
 * that add partial sums in fp32 and in a fixed order: the same problem gives the same bits, in every process.
 * What was found is kept for the life of the device.
 */
#include "backend/cuda/product.h"
#include <cublasLt.h>
#include <stdlib.h>

/* All that an algorithm may depend on. */
typedef struct Problem {
    int m, n, depth, strides[4], types[4], alignment[4];
    bool a_transposed, b_transposed, adds, bias, tf32;
} Problem;

struct ProductFound {
    Problem problem;
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t layout[4]; /* a, b, c, d */
    cublasLtMatmulAlgo_t algorithm;
    ProductFound *next;
};

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
static void problem_make(const Device *device, const Product *p, Problem *problem) {
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

static cublasLtMatmulDesc_t operation_describe(const Problem *p) {
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

static void layouts_describe(const Problem *p, cublasLtMatrixLayout_t layout[4]) {
    const int rows[4] = {p->a_transposed ? p->depth : p->m, p->b_transposed ? p->n : p->depth, p->m, p->m};
    const int columns[4] = {p->a_transposed ? p->m : p->depth, p->b_transposed ? p->depth : p->n, p->n, p->n};
    for (int i = 0; i < 4; i++)
        BLAS_CHECK(cublasLtMatrixLayoutCreate(&layout[i], (cudaDataType_t)p->types[i], (uint64_t)rows[i],
                                              (uint64_t)columns[i], p->strides[i]));
}

static cublasLtMatmulPreference_t preference_describe(const Problem *p) {
    static const cublasLtMatmulPreferenceAttributes_t names[4] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    const size_t workspace = BLAS_WORKSPACE;
    const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    cublasLtMatmulPreference_t preference;
    BLAS_CHECK(cublasLtMatmulPreferenceCreate(&preference));
    BLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                    &workspace, sizeof workspace));
    BLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                                    &reductions, sizeof reductions));
    for (int i = 0; i < 4; i++) {
        const uint32_t bytes = (uint32_t)p->alignment[i];
        BLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(preference, names[i], &bytes, sizeof bytes));
    }
    return preference;
}

static ProductFound *algorithm_choose(Device *device, const Problem *problem, const void *bias) {
    ProductFound *found = malloc(sizeof *found);
    CHECK(found, "out of memory");
    memcpy(&found->problem, problem, sizeof *problem); /* unused bytes too */
    found->operation = operation_describe(problem);
    layouts_describe(problem, found->layout);
    if (bias) attribute_set(found->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
    const cublasLtMatmulPreference_t preference = preference_describe(problem);
    cublasLtMatmulHeuristicResult_t result;
    int count = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        cuda_context(device)->blas_lt, found->operation, found->layout[0], found->layout[1], found->layout[2],
        found->layout[3], preference, 1, &result, &count);
    CHECK(status == CUBLAS_STATUS_SUCCESS && count > 0, "cuBLASLt has no product of %d x %d over %d%s: %s",
          problem->m, problem->n, problem->depth, problem->bias ? " with bias" : "",
          cublasGetStatusString(status));
    BLAS_CHECK(cublasLtMatmulPreferenceDestroy(preference));
    found->algorithm = result.algo;
    return found;
}

static ProductFound *algorithm_find(Device *device, const Product *product) {
    CudaContext *context = cuda_context(device);
    Problem problem;
    problem_make(device, product, &problem);
    for (ProductFound *found = context->products; found; found = found->next)
        if (memcmp(&found->problem, &problem, sizeof problem) == 0) return found;
    ProductFound *found = algorithm_choose(device, &problem, product->bias);
    found->next = context->products;
    return context->products = found;
}

void cuda_product(Device *device, const Product *p) {
    if (cuda_product_small(device, p)) return;
    const ProductFound *found = algorithm_find(device, p);
    if (p->bias) attribute_set(found->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &p->bias, sizeof p->bias);
    BLAS_CHECK(cublasLtMatmul(cuda_context(device)->blas_lt, found->operation, &p->alpha, p->a.data,
                              found->layout[0], p->b.data, found->layout[1], &p->beta, p->c.data,
                              found->layout[2], (void *)p->d.data, found->layout[3], &found->algorithm,
                              cuda_context(device)->blas_workspace, BLAS_WORKSPACE, cuda_stream(device)));
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
