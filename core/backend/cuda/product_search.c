/* Which algorithm makes a product: of those that cuBLASLt's heuristic recommends, the ones that give the same
 * bits every time are raced (backend/race.h) when the product is first needed, on the product's own matrices.
 * A choice is kept like a convolution's (backend/choice.h); its words begin with cuBLAS's version, on which
 * the list of recommendations depends.
 *
 * Not raced, and not kept: products that are over in some twenty microseconds, where the clock says more
 * about the launch than about the algorithm. While the stream is recorded nothing may be waited for, so the
 * first is taken, and kept, for a resumed run may meet the problem elsewhere.
 */
#include "backend/cuda/product_search.h"
#include "backend/cuda/stopwatch.h"
#include "base/hash.h"
#include <stdio.h>
#include <stdlib.h>

enum { CANDIDATES = 8 };
static const double SMALL_BYTES = 64e6, SMALL_TERMS = 8e9;

/* ---- what cuBLASLt recommends ---- */

static cublasLtMatmulPreference_t preference_describe(const ProductProblem *p) {
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

static uint32_t algorithm_attribute(const cublasLtMatmulAlgo_t *algorithm,
                                    cublasLtMatmulAlgoConfigAttributes_t name, uint32_t otherwise) {
    uint32_t value = 0;
    size_t size = 0;
    const cublasStatus_t status =
        cublasLtMatmulAlgoConfigGetAttribute(algorithm, name, &value, sizeof value, &size);
    return status == CUBLAS_STATUS_SUCCESS ? value : otherwise;
}

/* Partial sums that meet in the result (IN_PLACE) come in any order, and those of the result's type are
 * rounded; through a workspace in fp32 they come in theirs. */
static bool algorithm_usable(const cublasLtMatmulHeuristicResult_t *result) {
    const uint32_t reduction = algorithm_attribute(&result->algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME,
                                                   CUBLASLT_REDUCTION_SCHEME_INPLACE);
    return result->state == CUBLAS_STATUS_SUCCESS && result->workspaceSize <= BLAS_WORKSPACE &&
           (reduction == CUBLASLT_REDUCTION_SCHEME_NONE ||
            reduction == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
}

/* Tells algorithms of one list apart. */
static int64_t algorithm_number(const cublasLtMatmulAlgo_t *algorithm) {
    static const cublasLtMatmulAlgoConfigAttributes_t names[] = {
        CUBLASLT_ALGO_CONFIG_ID,           CUBLASLT_ALGO_CONFIG_TILE_ID,
        CUBLASLT_ALGO_CONFIG_SPLITK_NUM,   CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME,
        CUBLASLT_ALGO_CONFIG_STAGES_ID,    CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING,
        CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION};
    enum { NAMES = sizeof names / sizeof *names };
    uint32_t values[NAMES];
    for (int i = 0; i < NAMES; i++) values[i] = algorithm_attribute(algorithm, names[i], 0);
    Hash hash = hash_bytes(values, sizeof values);
    hash.hex[8] = 0;
    return (int64_t)strtoll(hash.hex, NULL, 16);
}

/* Those that may be taken, best guess first. */
static int algorithms_list(Device *device, const ProductFound *f, cublasLtMatmulAlgo_t *algorithms) {
    cublasLtMatmulHeuristicResult_t results[CANDIDATES] = {0};
    const cublasLtMatmulPreference_t preference = preference_describe(&f->problem);
    int count = 0, usable = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        cuda_context(device)->blas_lt, f->operation, f->layout[0], f->layout[1], f->layout[2], f->layout[3],
        preference, CANDIDATES, results, &count);
    BLAS_CHECK(cublasLtMatmulPreferenceDestroy(preference));
    for (int i = 0; i < count; i++)
        if (algorithm_usable(&results[i])) algorithms[usable++] = results[i].algo;
    CHECK(usable > 0, "cuBLASLt has no product of %d x %d over %d%s: %s", f->problem.m, f->problem.n,
          f->problem.depth, f->problem.bias ? " with bias" : "", cublasGetStatusString(status));
    return usable;
}

/* ---- choosing among them ---- */

static int64_t matrix_elements(const Matrix *m, int rows, int columns) {
    return (int64_t)(columns - 1) * m->stride + rows;
}

static bool product_is_small(const Product *p) {
    const double m = p->m, n = p->n, depth = p->depth;
    const double bytes = m * depth * (double)dtype_size(p->a.dtype) +
                         depth * n * (double)dtype_size(p->b.dtype) + m * n * (double)dtype_size(p->d.dtype);
    return bytes < SMALL_BYTES && m * n * depth < SMALL_TERMS;
}

static bool stream_is_recorded(const Device *device) {
    enum cudaStreamCaptureStatus status;
    CUDA_CHECK(cudaStreamIsCapturing(cuda_stream(device), &status));
    return status != cudaStreamCaptureStatusNone;
}

typedef struct Bench {
    Device *device;
    const ProductFound *found;
    Product product;
    const cublasLtMatmulAlgo_t *algorithms;
    Stopwatch watch;
} Bench;

/* Race.lap */
static double algorithm_lap(void *context, int i) {
    const Bench *b = context;
    stopwatch_start(&b->watch);
    const int status = product_launch(b->device, b->found, &b->product, &b->algorithms[i]);
    const double seconds = stopwatch_stop(&b->watch);
    return status == 0 ? seconds : INFINITY;
}

/* The place of the fastest. What the product adds to itself must be added once: such a one
 * tries elsewhere. */
static int algorithm_search(Device *device, const ProductFound *found, const Product *p,
                            const cublasLtMatmulAlgo_t *algorithms, int count) {
    Bench b = {device, found, *p, algorithms, stopwatch_open(device)};
    const bool elsewhere = p->beta != 0.0f && p->c.data == p->d.data;
    void *memory = NULL;
    if (elsewhere) {
        const size_t bytes = (size_t)matrix_elements(&p->d, p->m, p->n) * dtype_size(p->d.dtype);
        memory = device->allocate(device, bytes);
        device->fill(device, memory, 0, bytes);
        b.product.c.data = b.product.d.data = memory;
    }
    const int best = race_run(&(Race){count, algorithm_lap, &b}, &device->races);
    if (memory) device->release(device, memory);
    stopwatch_close(&b.watch);
    CHECK(best >= 0, "cuBLASLt can run none of its %d algorithms for %d x %d over %d", count, p->m, p->n,
          p->depth);
    return best;
}

static void problem_write(const ProductProblem *p, char out[200]) {
    snprintf(out, 200,
             "cuBLAS %zu %dx%d>%d %c%c types %d %d %d %d strides %d %d %d %d aligned %d %d %d %d %d %d %d",
             cublasLtGetVersion(), p->m, p->n, p->depth, p->a_transposed ? 'T' : 'N',
             p->b_transposed ? 'T' : 'N', p->types[0], p->types[1], p->types[2], p->types[3], p->strides[0],
             p->strides[1], p->strides[2], p->strides[3], p->alignment[0], p->alignment[1], p->alignment[2],
             p->alignment[3], p->adds, p->bias, p->tf32);
}

/* Its place: the one chosen before if it is still the one it was, or else the fastest. */
static int place_choose(Device *device, const ProductFound *found, const Product *product,
                        const cublasLtMatmulAlgo_t *algorithms, int count) {
    Choices *choices = &cuda_context(device)->choices;
    char text[200];
    problem_write(&found->problem, text);
    const Choice *choice = choice_find(choices, text);
    if (choice && choice->place >= 0 && choice->place < count &&
        algorithm_number(&algorithms[choice->place]) == choice->number)
        return choice->place;
    const int place =
        stream_is_recorded(device) ? 0 : algorithm_search(device, found, product, algorithms, count);
    choice_add(choices, text, place, algorithm_number(&algorithms[place]));
    return place;
}

void product_algorithm_choose(Device *device, ProductFound *found, const Product *product) {
    cublasLtMatmulAlgo_t algorithms[CANDIDATES];
    const int count = algorithms_list(device, found, algorithms);
    const int place = product_is_small(product) ? 0 : place_choose(device, found, product, algorithms, count);
    found->algorithm = algorithms[place];
}
