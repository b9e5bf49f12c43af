/* What the files of the CUDA backend share: its context, the checks of library calls, and the names of all
 * ops. device.c puts the functions into the `Ops` table; nothing outside this folder includes this header.
 *
 * Everything is enqueued on one stream and nothing waits, except copies to the host. Ops allocate nothing:
 * what the contract gives no workspace for (bias gradients, which are sums over many rows) uses the context's
 * scratch memory, which the next op on the stream may overwrite.
 *
 * Sums. No float atomics: a sum over many elements is cut into parts by arithmetic alone, every part is added
 * up in a fixed order, and one more kernel adds the parts. The same sizes give the same bits, on any card; of
 * linear_gradient.cu, on any with as many multiprocessors.
 *
 * Included by gcc (the .c files) and by nvcc, which compiles C++: hence the linkage and the spelling of
 * _Noreturn.
 */
#ifndef ICT_BACKEND_CUDA_CUDA_H
#define ICT_BACKEND_CUDA_CUDA_H

#include <cuda_runtime_api.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
#define _Noreturn [[noreturn]]
extern "C" {
#endif

#include "backend/backend.h"
#include "backend/choice.h"

typedef struct ConvFound ConvFound;
typedef struct ProductFound ProductFound;

/* device->context */
typedef struct CudaContext {
    int index;
    cudaStream_t stream;
    struct cublasContext *blas;
    struct cublasLtContext *blas_lt;
    struct cudnnContext *dnn;
    void *blas_workspace;
    float *scratch; /* SCRATCH_FLOATS, for the duration of one op */
    ConvFound *convolutions;
    ProductFound *products;
    Choices choices; /* which configurations and algorithms those are */
} CudaContext;

enum { SCRATCH_FLOATS = 5 << 20, BLAS_WORKSPACE = 32 << 20 };

static inline CudaContext *cuda_context(const Device *device) {
    return (CudaContext *)device->context;
}

static inline cudaStream_t cuda_stream(const Device *device) {
    return cuda_context(device)->stream;
}

/* Ends the program with file, line, the call and the library's own words for what went wrong. */
#define CUDA_CHECK(call) cuda_check(__FILE__, __LINE__, #call, call)
#define BLAS_CHECK(call) cuda_check_blas(__FILE__, __LINE__, #call, (int)(call))
#define DNN_CHECK(call) cuda_check_dnn(__FILE__, __LINE__, #call, (int)(call))
/* After a kernel's launch: its arguments or sizes were refused. */
#define CUDA_LAUNCHED(kernel) cuda_check(__FILE__, __LINE__, kernel, cudaGetLastError())
void cuda_check(const char *file, int line, const char *call, cudaError_t status);
void cuda_check_blas(const char *file, int line, const char *call, int status);
void cuda_check_dnn(const char *file, int line, const char *call, int status);

static inline int cuda_attribute(const Device *device, enum cudaDeviceAttr attribute) {
    int value = 0;
    CUDA_CHECK(cudaDeviceGetAttribute(&value, attribute, cuda_context(device)->index));
    return value;
}

/* ---- pieces that several ops use (columns.cu, pointwise.cu) ---- */

/* out[c] = scale * (sum over the rows of x[row][c]) (+ out[c]): how biases get their gradients. Uses the
 * scratch memory. */
void cuda_column_sums(Device *, const Tensor *x, float *out, float scale, bool accumulate);

/* y = y_scale * y + scale * (bias + residual); bias has y's channels; both may be absent. What a library's
 * product leaves to do. */
void cuda_epilogue(Device *, const Tensor *y, const float *bias, const Tensor *residual, float y_scale,
                   float scale);

/* out = scale * x (+ out), out in fp32 */
void cuda_accumulate(Device *, const Tensor *x, float *out, float scale, bool accumulate);

/* The convolutions' plans, which the context owns (conv_search.c). */
void cuda_convolutions_release(CudaContext *);

/* The products' algorithms, which the context owns (product.c). */
void cuda_products_release(CudaContext *);

/* Whether our kernels were compiled for the current card (embed.cu). */
bool cuda_has_kernels(void);

/* Device.remember, Device.tune, and what a card's choices begin with (choices.c): the tables built into the
 * program, and the line that names card and cuDNN. */
void cuda_remember(Device *, const char *path);
void cuda_tune(Device *);
void cuda_choices_open(Device *, const char *tables);
const char *cuda_choice_tables(void);
void cuda_choice_header(const Device *, char out[256]);

/* Device.capture_*, Device.range (capture.c) */
void cuda_capture_begin(Device *);
Capture *cuda_capture_end(Device *);
void cuda_capture_replay(Device *, Capture *);
void cuda_capture_release(Device *, Capture *);
void cuda_range(Device *, const char *name);

/* ---- ops; arguments and formulas stand in backend/backend.h ---- */

extern const Ops cuda_ops;

OpPlan *cuda_conv_prepare(Device *, const ConvShape *, ConvPass, const ConvEpilogue *);
OpPlan *cuda_conv_parts_prepare(Device *, const ConvShape *, const int *c_out, int parts);
void cuda_plan_release(Device *, OpPlan *);
size_t cuda_norm_backward_workspace(Device *, const NormForward *);
size_t cuda_norm_mask_bytes(Device *, const NormForward *);
size_t cuda_attention_workspace(Device *, const Tensor *qkv, int heads, bool backward);
size_t cuda_optimizer_workspace(Device *, size_t count);

void cuda_conv_forward(Device *, const ConvForward *);
void cuda_conv_backward_data(Device *, const ConvBackwardData *);
void cuda_conv_backward_weight(Device *, const ConvBackwardWeight *);
void cuda_conv_parts(Device *, const ConvParts *);
void cuda_linear_forward(Device *, const LinearForward *);
void cuda_linear_backward_data(Device *, const LinearBackwardData *);
void cuda_linear_backward_weight(Device *, const LinearBackwardWeight *);
void cuda_norm_forward(Device *, const NormForward *);
void cuda_norm_backward(Device *, const NormBackward *);
void cuda_resample(Device *, const Resample *);
void cuda_bilinear(Device *, const Bilinear *);
void cuda_attention_forward(Device *, const AttentionForward *);
void cuda_attention_backward(Device *, const AttentionBackward *);
void cuda_act_forward(Device *, const ActForward *);
void cuda_act_backward(Device *, const ActBackward *);
void cuda_add_scale(Device *, const AddScale *);
void cuda_pool_forward(Device *, const PoolForward *);
void cuda_pool_backward(Device *, const PoolBackward *);
void cuda_noise_embed(Device *, const NoiseEmbed *);
void cuda_batch_gather(Device *, const BatchGather *);
void cuda_level_draw(Device *, const LevelDraw *);
void cuda_noise_pair(Device *, const NoisePair *);
void cuda_latent_noise(Device *, const LatentNoise *);
void cuda_precondition(Device *, const Precondition *);
void cuda_consistency_loss(Device *, const ConsistencyLoss *);
void cuda_feature_distance(Device *, const FeatureDistance *);
void cuda_cross_entropy(Device *, const CrossEntropy *);
void cuda_optimizer_step(Device *, const OptimizerStep *);

#ifdef __cplusplus
}
#endif

#endif
