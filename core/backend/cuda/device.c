/* One CUDA card as a device: memory, copies, library handles. */
#include "backend/card.h"
#include "backend/cuda/conv.h"
#include "backend/kinds.h"
#include <cublasLt.h>
#include <cublas_v2.h>
#include <cudnn_graph.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- checks ---- */

void cuda_check(const char *file, int line, const char *call, cudaError_t status) {
    if (status != cudaSuccess) die(file, line, "CUDA: %s: %s", call, cudaGetErrorString(status));
}

void cuda_check_blas(const char *file, int line, const char *call, int status) {
    if (status != CUBLAS_STATUS_SUCCESS)
        die(file, line, "cuBLAS: %s: %s", call, cublasGetStatusString((cublasStatus_t)status));
}

void cuda_check_dnn(const char *file, int line, const char *call, int status) {
    if (status == CUDNN_STATUS_SUCCESS) return;
    char detail[512] = "";
    cudnnGetLastErrorString(detail, sizeof detail);
    die(file, line, "cuDNN: %s: %s %s", call, cudnnGetErrorString((cudnnStatus_t)status), detail);
}

/* ---- memory ---- */

static void *memory_allocate(Device *device, size_t bytes) {
    void *memory = NULL;
    const cudaError_t status = cudaMalloc(&memory, bytes ? bytes : 1);
    if (status == cudaErrorMemoryAllocation) {
        size_t free_bytes = 0, total = 0;
        cudaMemGetInfo(&free_bytes, &total);
        CHECK(false,
              "%s: out of memory: could not get %.2f GiB, %.2f of %.2f GiB are free; use a smaller batch or "
              "network",
              device->name, (double)bytes / (1 << 30), (double)free_bytes / (1 << 30),
              (double)total / (1 << 30));
    }
    CUDA_CHECK(status);
    return memory;
}

/* cudaFree waits for everything that runs, so nothing can still be reading. */
static void memory_release(Device *device, void *memory) {
    (void)device;
    CUDA_CHECK(cudaFree(memory));
}

/* From ordinary (pageable) memory of the host a copy to the device returns when the host's bytes have been
 * taken; a copy to the host returns when they have arrived. Copies on the device, and from host_allocate()'s
 * memory to it, are asynchronous. */
static void memory_copy(Device *device, void *to, const void *from, size_t bytes, CopyKind kind) {
    static const enum cudaMemcpyKind kinds[] = {[COPY_TO_DEVICE] = cudaMemcpyHostToDevice,
                                                [COPY_TO_HOST] = cudaMemcpyDeviceToHost,
                                                [COPY_ON_DEVICE] = cudaMemcpyDeviceToDevice};
    CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, kinds[kind], cuda_stream(device)));
    if (kind == COPY_TO_HOST) CUDA_CHECK(cudaStreamSynchronize(cuda_stream(device)));
}

static void memory_fill(Device *device, void *memory, int byte, size_t bytes) {
    CUDA_CHECK(cudaMemsetAsync(memory, byte, bytes, cuda_stream(device)));
}

/* Pinned, so that copies from there are asynchronous. */
static void *host_allocate(Device *device, size_t bytes) {
    void *memory = NULL;
    (void)device;
    CUDA_CHECK(cudaMallocHost(&memory, bytes ? bytes : 1));
    return memory;
}

static void host_release(Device *device, void *memory) {
    (void)device;
    CUDA_CHECK(cudaFreeHost(memory));
}

static void memory_ask(Device *device, size_t *available, size_t *total) {
    (void)device;
    CUDA_CHECK(cudaMemGetInfo(available, total));
}

static void device_synchronise(Device *device) {
    CUDA_CHECK(cudaStreamSynchronize(cuda_stream(device)));
}

/* ---- opening and closing ---- */

static void context_close(Device *device) {
    CudaContext *context = cuda_context(device);
    CUDA_CHECK(cudaStreamSynchronize(context->stream));
    cuda_convolutions_release(context);
    cuda_products_release(context);
    choices_release(&context->choices);
    DNN_CHECK(cudnnDestroy(context->dnn));
    BLAS_CHECK(cublasLtDestroy(context->blas_lt));
    BLAS_CHECK(cublasDestroy(context->blas));
    CUDA_CHECK(cudaFree(context->blas_workspace));
    CUDA_CHECK(cudaFree(context->scratch));
    CUDA_CHECK(cudaStreamDestroy(context->stream));
    free(context);
    free(device);
}

/* Handles on a stream of their own. cuBLAS gives the same bits run after run when it works in
 * memory of ours. */
static void context_open(CudaContext *context, int index) {
    context->index = index;
    CUDA_CHECK(cudaStreamCreateWithFlags(&context->stream, cudaStreamNonBlocking));
    CUDA_CHECK(cudaMalloc(&context->blas_workspace, BLAS_WORKSPACE));
    CUDA_CHECK(cudaMalloc((void **)&context->scratch, SCRATCH_FLOATS * sizeof(float)));
    BLAS_CHECK(cublasLtCreate(&context->blas_lt));
    BLAS_CHECK(cublasCreate(&context->blas));
    BLAS_CHECK(cublasSetStream(context->blas, context->stream));
    BLAS_CHECK(cublasSetWorkspace(context->blas, context->blas_workspace, BLAS_WORKSPACE));
    BLAS_CHECK(cublasSetMathMode(context->blas, CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION));
    DNN_CHECK(cudnnCreate(&context->dnn));
    DNN_CHECK(cudnnSetStream(context->dnn, context->stream));
}

/* What the runtime can say; in its own words what it cannot. */
static CardFacts card_facts(int index) {
    CardFacts facts = {.index = index, .cudnn = cudnnGetVersion()};
    struct cudaDeviceProp properties = {.major = 0};
    cudaDriverGetVersion(&facts.driver);
    cudaRuntimeGetVersion(&facts.runtime);
    cudaError_t status = cudaGetDeviceCount(&facts.cards);
    if (status == cudaErrorNoDevice) status = cudaSuccess;
    if (status == cudaSuccess && index < facts.cards) {
        status = cudaSetDevice(index);
        if (status == cudaSuccess) status = cudaGetDeviceProperties(&properties, index);
        facts.kernels = cuda_has_kernels();
    }
    if (status != cudaSuccess)
        snprintf(facts.problem, sizeof facts.problem, "%s", cudaGetErrorString(status));
    snprintf(facts.name, sizeof facts.name, "%.*s", (int)sizeof facts.name - 1, properties.name);
    facts.major = properties.major;
    facts.minor = properties.minor;
    return facts;
}

/* Of a start on a card, or with a network, that no table knows: what is left of the twenty seconds until its
 * first step goes to the driver, the libraries and the weights. */
static const double SEARCH_SECONDS = 8;

static int threads_default(void) {
    const char *asked = getenv("OMP_NUM_THREADS");
    const int number = asked ? atoi(asked) : 0;
    return number > 0 ? number : omp_get_num_procs();
}

bool cuda_open(int index, int threads, Device **device, Error *error) {
    const CardFacts facts = card_facts(index);
    if (!card_judge(&facts, error)) return false;
    Device *d = calloc(1, sizeof *d);
    CudaContext *context = calloc(1, sizeof *context);
    CHECK(d && context, "out of memory");
    context_open(context, index);
    *d = (Device){.ops = &cuda_ops,
                  .kind = "cuda",
                  .threads = threads > 0 ? threads : threads_default(),
                  .context = context,
                  .races = {.each = RACE_SECONDS, .all = SEARCH_SECONDS},
                  .allocate = memory_allocate,
                  .release = memory_release,
                  .copy = memory_copy,
                  .fill = memory_fill,
                  .synchronise = device_synchronise,
                  .host_allocate = host_allocate,
                  .host_release = host_release,
                  .memory = memory_ask,
                  .capture_begin = cuda_capture_begin,
                  .capture_end = cuda_capture_end,
                  .capture_replay = cuda_capture_replay,
                  .capture_release = cuda_capture_release,
                  .range = getenv("ICT_NVTX") ? cuda_range : NULL,
                  .remember = cuda_remember,
                  .tune = cuda_tune,
                  .close = context_close};
    memcpy(d->name, facts.name, sizeof d->name);
    cuda_choices_open(d, cuda_choice_tables());
    *device = d;
    return true;
}

void cuda_versions(const Device *device, char *out, size_t size) {
    int runtime = 0, driver = 0, blas = 0;
    const size_t dnn = cudnnGetVersion();
    const char *table = cuda_context(device)->choices.table_hash;
    CUDA_CHECK(cudaRuntimeGetVersion(&runtime));
    CUDA_CHECK(cudaDriverGetVersion(&driver));
    BLAS_CHECK(cublasGetVersion(cuda_context(device)->blas, &blas));
    snprintf(out, size,
             "CUDA %d.%d (driver up to %d.%d), cuDNN %zu.%zu.%zu, cuBLAS %d.%d.%d, plan table %s, gcc %s",
             runtime / 1000, runtime % 1000 / 10, driver / 1000, driver % 1000 / 10, dnn / 10000,
             dnn / 100 % 100, dnn % 100, blas / 10000, blas / 100 % 100, blas % 100, *table ? table : "none",
             __VERSION__);
}
