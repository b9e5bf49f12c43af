/* cuBLASLt over the plain loops of products.c, with algorithms that make the same bits and differ by a clock
 * of ours: of those that may be taken the second is the fastest; before and between them stand ones that may
 * not. */
#include "products.h"
#include <cublasLt.h>
#include <stdlib.h>

struct EmulatedOperation {
    cublasOperation_t transposed[2];
    cublasLtEpilogue_t epilogue;
    const void *bias;
};

struct EmulatedLayout {
    cudaDataType_t dtype;
    int rows, columns, stride;
};

static const struct {
    uint32_t reduction;
    size_t workspace;
    float milliseconds;
} algorithms[] = {{CUBLASLT_REDUCTION_SCHEME_INPLACE, 0, 1},
                  {CUBLASLT_REDUCTION_SCHEME_NONE, 0, 20},
                  {CUBLASLT_REDUCTION_SCHEME_NONE, (size_t)1 << 40, 1},
                  {CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE, BLAS_WORKSPACE, 10},
                  {CUBLASLT_REDUCTION_SCHEME_NONE, 0, 30}};
enum { ALGORITHMS = sizeof algorithms / sizeof *algorithms };

static float last_milliseconds;

/* ---- the clock; nothing is ever recorded ---- */

cudaError_t cudaEventCreate(cudaEvent_t *event) {
    *event = NULL;
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    (void)event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    (void)event, (void)stream;
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    (void)event;
    return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t begin, cudaEvent_t end) {
    (void)begin, (void)end;
    *milliseconds = last_milliseconds;
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status) {
    (void)stream;
    *status = cudaStreamCaptureStatusNone;
    return cudaSuccess;
}

/* ---- descriptions ---- */

size_t cublasLtGetVersion(void) {
    return 1;
}

const char *cublasGetStatusString(cublasStatus_t status) {
    return status ? "not supported" : "success";
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
    (void)compute, (void)scale;
    *d = calloc(1, sizeof **d);
    return *d ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t name,
                                              const void *value, size_t size) {
    void *const to[] = {&d->transposed[0], &d->transposed[1], &d->epilogue, &d->bias};
    memcpy(to[name], value, size);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) {
    free(d);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType_t dtype, uint64_t rows,
                                          uint64_t columns, int64_t stride) {
    *layout = malloc(sizeof **layout);
    CHECK(*layout, "out of memory");
    **layout = (struct EmulatedLayout){dtype, (int)rows, (int)columns, (int)stride};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    free(layout);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference) {
    *preference = NULL;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t name,
                                                    const void *value, size_t size) {
    (void)preference, (void)name, (void)value, (void)size;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    (void)preference;
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- algorithms ---- */

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *algorithm,
                                                    cublasLtMatmulAlgoConfigAttributes_t name, void *value,
                                                    size_t size, size_t *written) {
    const uint32_t number = (uint32_t)algorithm->data[0];
    const bool reduction = name == CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME;
    memcpy(value, reduction ? &algorithms[number].reduction : &number, size);
    *written = size;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t blas, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int asked,
                                              cublasLtMatmulHeuristicResult_t *results, int *count) {
    (void)blas, (void)operation, (void)a, (void)b, (void)c, (void)d, (void)preference;
    *count = asked < ALGORITHMS ? asked : ALGORITHMS;
    for (int i = 0; i < *count; i++)
        results[i] = (cublasLtMatmulHeuristicResult_t){
            {{(uint64_t)i}}, algorithms[i].workspace, CUBLAS_STATUS_SUCCESS};
    return CUBLAS_STATUS_SUCCESS;
}

static Matrix matrix_of(const void *data, const struct EmulatedLayout *layout, cublasOperation_t operation) {
    return (Matrix){data, (DType)layout->dtype, layout->stride, operation == CUBLAS_OP_T};
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t blas, cublasLtMatmulDesc_t operation, const float *alpha,
                              const void *a, cublasLtMatrixLayout_t a_layout, const void *b,
                              cublasLtMatrixLayout_t b_layout, const float *beta, const void *c,
                              cublasLtMatrixLayout_t c_layout, void *d, cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t *algorithm, void *workspace, size_t size,
                              cudaStream_t stream) {
    (void)blas, (void)workspace, (void)size, (void)stream;
    CHECK(algorithm->data[0] % 2 == 1 || algorithm->data[0] == 4, "an algorithm that may not be taken");
    last_milliseconds = algorithms[algorithm->data[0]].milliseconds;
    product_run(
        &(Product){.a = matrix_of(a, a_layout, operation->transposed[0]),
                   .b = matrix_of(b, b_layout, operation->transposed[1]),
                   .c = matrix_of(c, c_layout, CUBLAS_OP_N),
                   .d = matrix_of(d, d_layout, CUBLAS_OP_N),
                   .m = d_layout->rows,
                   .n = d_layout->columns,
                   .depth = operation->transposed[0] == CUBLAS_OP_T ? a_layout->rows : a_layout->columns,
                   .alpha = *alpha,
                   .beta = *beta,
                   .bias = operation->epilogue == CUBLASLT_EPILOGUE_BIAS ? operation->bias : NULL});
    return CUBLAS_STATUS_SUCCESS;
}
