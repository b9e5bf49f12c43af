/* The whole contract with a device: tensors, two structs of function pointers (Device, Ops), and the
 * arguments of every op. `cpu/` and `cuda/` implement it, one file per op family; nobody else knows how a
 * device works.
 *
 * Conventions
 *  - Tensors are NHWC and own nothing. Matrices are tensors with h = w = 1 or with rows = n*h*w.
 *  - Ops neither allocate nor synchronise. What an op needs (a library's plan, scratch memory) is made by its
 *    `prepare` once per graph node; the graph owns the scratch memory and passes it as `workspace`.
 *  - What is absent (bias, residual, mask, statistics) is NULL or a tensor without data: never another entry.
 *  - Every op is deterministic: same device kind, same thread count, same plan, same bits.
 *  - Gradients: backward ops compute  out = gradient * dy_scale (+ add_scale * add);  `add` may be `out`
 *    itself, which is how gradients accumulate.
 *  - Per-step numbers (rates, decays, N) are read from device memory, so that a captured step stays valid.
 */
#ifndef ICT_BACKEND_BACKEND_H
#define ICT_BACKEND_BACKEND_H

#include "backend/parts.h"
#include "backend/race.h"
#include "backend/step.h"
#include "backend/tensor.h"
#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

/* ---- arguments ---- */

/* Convolution, weights OHWI, `pad` on every side. */
typedef struct ConvShape {
    int n, h, w, c_in, c_out, kernel_h, kernel_w, stride, pad_h, pad_w;
    DType dtype;
    bool wide; /* y, dy, residual and weight are fp32, whatever x's dtype is */
} ConvShape;
static inline int conv_out_h(const ConvShape *s) {
    return (s->h + 2 * s->pad_h - s->kernel_h) / s->stride + 1;
}
static inline int conv_out_w(const ConvShape *s) {
    return (s->w + 2 * s->pad_w - s->kernel_w) / s->stride + 1;
}

typedef enum ConvPass { CONV_FORWARD, CONV_BACKWARD_DATA, CONV_BACKWARD_WEIGHT } ConvPass;

/* What the forward pass will be asked to do behind the convolution, so that a library can do it in the same
 * kernel: ConvForward's bias and residual, present or not, and its scale. */
typedef struct ConvEpilogue {
    bool bias, residual;
    float scale;
} ConvEpilogue;

/* y = scale * (conv(x, weight) + bias + residual) */
typedef struct ConvForward {
    OpPlan *plan;
    Tensor x, y, residual;
    const void *weight;
    const float *bias;
    float scale;
    void *workspace;
} ConvForward;

/* dx = dy_scale * conv_transposed(dy, weight) + add_scale * add */
typedef struct ConvBackwardData {
    OpPlan *plan;
    Tensor dy, dx, add;
    const void *weight;
    float dy_scale, add_scale;
    void *workspace;
} ConvBackwardData;

/* dweight, dbias = dy_scale * gradient, added to what is there when `accumulate`. dy_sums: the sums of dy
 * over the pixels of each sample, [n,1,1,c], where somebody has made them; dbias may be made of them then. */
typedef struct ConvBackwardWeight {
    OpPlan *plan;
    Tensor x, dy, dy_sums;
    float *dweight, *dbias;
    float dy_scale;
    bool accumulate;
    void *workspace;
} ConvBackwardWeight;

/* y[rows, out] = scale * (x0 W0^T + x1 W1^T + bias + residual), W = [W0 | W1] row-major [out, c0 + c1]: the
 * 1x1 convolution, over a concatenation that is never made when there is a second source. */
typedef struct LinearForward {
    Tensor x[2], y, residual;
    const void *weight;
    const float *bias;
    float scale;
} LinearForward;

/* dx[i] = dy_scale * dy W_i + add_scale[i] * add[i]; a source whose dx has no data is skipped */
typedef struct LinearBackwardData {
    Tensor dy, dx[2], add[2];
    const void *weight;
    int c[2]; /* channels of the two sources, also of one that is skipped */
    float dy_scale, add_scale[2];
} LinearBackwardData;

typedef struct LinearBackwardWeight {
    Tensor x[2], dy;
    float *dweight, *dbias;
    float dy_scale;
    bool accumulate;
} LinearBackwardWeight;

/* Dropout with a mask that is a pure function of (draw, layer, sample, element): student and teacher share it
 * because they ask for the same numbers. rate 0: none. Kept values are divided by (1 - rate). */
typedef struct Dropout {
    float rate;
    uint32_t layer; /* stream = STREAM_DROPOUT + layer */
    DrawKey draw;
} Dropout;

/* y = dropout(act(group_norm(concat(x0, x1) + bias) * (1 + scale) + shift)).
 * `bias` is per sample and channel [n,1,1,c], added before the statistics; `scale_shift` is [n,1,1,2c]
 * (scale, then shift). Variance is exact, two-pass, in fp32. `statistics` receives mean and 1/std, [n,
 * groups, 2]. */
typedef struct NormForward {
    Tensor x[2], y, bias, scale_shift;
    const float *gamma, *beta;
    int groups;
    float epsilon;
    Activation activation;
    Dropout dropout;
    float *statistics;
    uint8_t *mask; /* norm_mask_bytes() bytes that keep the dropout mask for the backward pass, or NULL */
} NormForward;

/* Recomputes what it needs from x and the statistics. dgamma and dbeta accumulate when asked; the per-sample
 * gradients (dbias, dscale_shift) are written. Workspace: norm_backward_workspace() bytes. */
typedef struct NormBackward {
    NormForward forward; /* as it was; y may be absent */
    Tensor dy, dx[2], add[2], dbias, dscale_shift;
    float dy_scale, add_scale[2];
    float *dgamma, *dbeta; /* NULL: not wanted */
    bool accumulate;
    void *workspace;
} NormBackward;

/* Separable FIR resampling by 2 with the normalised filter `taps` (EDM's order and padding): `up` multiplies
 * the image size by two and carries gain 4, otherwise it is halved, or with `smooth` filtered at every pixel.
 * `adjoint` runs the transposed operator (dy -> dx). `pad` is the zero padding of the corresponding
 * convolution. y = scale * op(x) + add_scale * add. */
typedef struct Resample {
    Tensor x, y, add;
    int tap_count;
    float taps[8]; /* one dimension, sum 1 */
    int pad;
    bool up, smooth, adjoint;
    float scale, add_scale;
} Resample;

/* Bilinear interpolation of x to y's size, weights by `grid` (backend/bilinear.h): HALF_PIXEL puts the
 * centres of the outer pixels' outer edges together, as PyTorch's interpolate(align_corners=False) does; TF1
 * puts the centres of the first pixels together, as TensorFlow 1's resize_bilinear did, for which Inception
 * was trained. Nothing is smoothed before an image shrinks. `adjoint` runs the transposed operator (dy ->
 * dx). y = scale * op(x) + add_scale * add. */
typedef enum BilinearGrid { BILINEAR_HALF_PIXEL, BILINEAR_TF1 } BilinearGrid;
typedef struct Bilinear {
    Tensor x, y, add;
    BilinearGrid grid;
    bool adjoint;
    float scale, add_scale;
    const float *values; /* x of bytes: what each of the 256 stands for */
} Bilinear;

/* Multi-head self-attention on qkv = [q | k | v] along channels, each [heads, d]: softmax(q k^T / sqrt(d)) v.
 * `statistics` is what the device keeps of each row's softmax for the backward pass, a float at most, [n,
 * heads, h w]; NULL where none follows. */
typedef struct AttentionForward {
    Tensor qkv, y;
    int heads;
    float *statistics;
    void *workspace;
} AttentionForward;

typedef struct AttentionBackward {
    Tensor qkv, y, dy, dqkv; /* y and statistics are the forward pass's */
    int heads;
    const float *statistics;
    float dy_scale;
    void *workspace;
} AttentionBackward;

typedef struct ActForward {
    Tensor x, y;
    Activation activation;
} ActForward;

typedef struct ActBackward {
    Tensor x, dy, dx, add;
    Activation activation;
    float dy_scale, add_scale;
} ActBackward;

/* y = a_scale * a + b_scale * b; b may be absent; y may be a or b; converts between dtypes. */
typedef struct AddScale {
    Tensor a, b, y;
    float a_scale, b_scale;
} AddScale;

typedef enum PoolKind { POOL_MEAN, POOL_MAX } PoolKind;

/* Window `size`, stride, zero padding that does not count in the mean. size 0: over the whole image. For
 * networks that only judge, y may be wider than x: x's channels go to first ... of it; and activation(value +
 * bias) is written. */
typedef struct PoolForward {
    PoolKind kind;
    int size, stride, pad;
    Tensor x, y;
    int first;
    const float *bias; /* a channel each */
    Activation activation;
} PoolForward;

typedef struct PoolBackward {
    PoolForward forward; /* x and y as they were */
    Tensor dy, dx, add;
    float dy_scale, add_scale;
} PoolBackward;

typedef enum EmbeddingKind { EMBED_FOURIER, EMBED_POSITIONAL } EmbeddingKind;

/* Noise embedding of c_noise * noise_scale, [n,1,1,channels] in fp32, in the order of EDM's SongUNet after
 * its swap: sines first, then cosines; DhariwalUNet does not swap (`cosine_first`). Fourier: angle = 2 pi f c
 * with frequencies `frequency` [channels/2]; positional: angle = f c. */
typedef struct NoiseEmbed {
    Tensor level; /* n x LEVEL_FIELDS, Level per sample */
    const float *frequency;
    EmbeddingKind kind;
    bool cosine_first;
    float noise_scale;
    Tensor y;
} NoiseEmbed;

/* x0 = images of the step in [-1, 1], at random flipped, and moved by up to `shift` pixels, edges mirrored.
 * Place b of the global batch has image order(step * batch + b) of the epoch's permutation (order.h). */
typedef struct BatchGather {
    const uint8_t *images; /* count x h x w x c */
    const int32_t *labels; /* NULL without labels */
    uint32_t count, batch; /* images in the set; size of the global batch */
    bool gathered;         /* images and labels are the global batch already, in its order */
    bool flip;
    int shift;
    float label_dropout; /* share of the one-hot rows that are left zero: the class is hidden */
    DrawKey draw;
    Tensor y;       /* n x h x w x c, fp32 */
    int32_t *label; /* n, or NULL */
    Tensor one_hot; /* n x classes fp32, the network's label input (1 at the label, else 0), or absent */
} BatchGather;

/* Draws the pair index of every sample and gathers its levels: teacher = level[i], student = level[i + 1]. */
typedef struct LevelDraw {
    const LevelTable *table;
    DrawKey draw;
    int n;
    Level *student, *teacher;
    int32_t *index;
} LevelDraw;

/* noisy = x0 + sigma z (fp32), input = c_in * noisy (in the network's dtype); student and teacher share z. */
typedef struct NoisePair {
    Tensor x0;
    const Level *student, *teacher;
    DrawKey draw;
    Tensor noisy_student, noisy_teacher, input_student, input_teacher;
} NoisePair;

/* What a sampling step starts from: x = scale * z, or x + scale * z when it goes on from x (fp32); input =
 * c_in * x (in the network's dtype). z of image i belongs to its own seed, first + i, and to the number of
 * the sampling step: seed 0, stream LATENT, sample first + i (CM algorithm 1). */
typedef struct LatentNoise {
    Tensor x, input;
    const Level *level;
    uint32_t first, step;
    float scale;
    bool go_on, clip; /* clip: x to [-1, 1] before it goes on */
} LatentNoise;

/* f = c_skip * noisy + c_out * F */
typedef struct Precondition {
    Tensor noisy, network, f;
    const Level *level;
} Precondition;

typedef enum Distance { DISTANCE_PSEUDO_HUBER, DISTANCE_L2, DISTANCE_L1, DISTANCE_PERCEPTUAL } Distance;

/* Per sample: distance of the two outputs, loss = weight * distance, and the gradient of (1/batch) sum(loss)
 * with respect to the network's output F of the student: c_out * weight / batch * d distance. Pseudo-Huber
 * acts on the norm of the whole image; squared l2 and l1 are means over its elements. A perceptual distance
 * has been measured before (FeatureDistance): it comes with the gradient of (gradient_scale/batch) sum(loss)
 * with respect to f_student, to which only c_out is missing. */
typedef struct ConsistencyLoss {
    Distance distance;
    float huber_c;
    uint32_t batch; /* global batch */
    float gradient_scale;
    const LossScale *loss_scale; /* multiplies the gradient too; NULL: 1 */
    Tensor f_student, f_teacher, dnetwork;
    const Level *student;
    float *loss, *residual;  /* n each: weighted loss, norm of f_student - f_teacher */
    const float *perceptual; /* DISTANCE_PERCEPTUAL: n distances, */
    Tensor df_student;       /* and the gradient; absent when dnetwork is */
} ConsistencyLoss;

/* A share of a perceptual distance (LPIPS, Zhang et al. 2018): the features a, b of each position are divided
 * by their norms over the channels (+ 1e-10);
 * distance = mean over positions of sum_c weight_c (a_c/|a| - b_c/|b|)^2, added to what is there when
 * `accumulate`. da = gradient of sum_i scale level_i.weight distance_i. Where all of a is 0 it has no
 * direction, and its gradient is defined as 0. */
typedef struct FeatureDistance {
    Tensor a, b, da;     /* da may be absent */
    const float *weight; /* a channel each; NULL: 1 */
    const Level *level;  /* a sample each; NULL: weight 1 */
    float scale;
    float *distance; /* n */
    bool accumulate;
} FeatureDistance;

/* Mean cross-entropy with label smoothing; dlogits = gradient of the mean over `batch`. */
typedef struct CrossEntropy {
    Tensor logits, dlogits;
    const int32_t *label;
    float smoothing;
    uint32_t batch;
    float *loss;      /* n */
    int32_t *correct; /* n: 1 where the largest logit is the label's */
} CrossEntropy;

/* What one optimiser pass reports; sums are deterministic. */
typedef struct UpdateReport {
    double gradient_square, update_square, weight_square;
    uint64_t non_finite;
} UpdateReport;

/* RAdam (Adam when row->adaptive is never 0), teacher EMA and sampling EMAs in one pass over flat parameter
 * arrays. */
typedef struct OptimizerStep {
    size_t count;
    const StepRow *row;
    const float *gradient;
    float gradient_scale;  /* multiplies the gradient */
    LossScale *loss_scale; /* divides it, and is advanced; NULL: 1 */
    float *weight, *momentum, *variance;
    void *weight_cast, *teacher_cast; /* copies in the network's dtype, NULL when that is fp32 */
    DType cast_dtype;
    float *teacher; /* NULL without a teacher EMA */
    float *ema[MAX_EMAS];
    int emas;
    UpdateReport *report; /* device memory */
    void *workspace;      /* optimizer_workspace() bytes */
} OptimizerStep;

/* ---- the device ---- */

typedef struct Device Device;

typedef struct Ops {
    /* The epilogue is read for CONV_FORWARD; NULL leaves open what will be asked for. */
    OpPlan *(*conv_prepare)(Device *, const ConvShape *, ConvPass, const ConvEpilogue *);
    /* shape.c_out: of all parts together; c_out: of each. */
    OpPlan *(*conv_parts_prepare)(Device *, const ConvShape *, const int *c_out, int parts);
    void (*plan_release)(Device *, OpPlan *);
    size_t (*norm_backward_workspace)(Device *, const NormForward *);
    size_t (*norm_mask_bytes)(Device *, const NormForward *); /* 0: the mask is drawn again */
    size_t (*attention_workspace)(Device *, const Tensor *qkv, int heads, bool backward);
    size_t (*optimizer_workspace)(Device *, size_t count);

    void (*conv_forward)(Device *, const ConvForward *);
    void (*conv_backward_data)(Device *, const ConvBackwardData *);
    void (*conv_backward_weight)(Device *, const ConvBackwardWeight *);
    void (*conv_parts)(Device *, const ConvParts *);
    void (*linear_forward)(Device *, const LinearForward *);
    void (*linear_backward_data)(Device *, const LinearBackwardData *);
    void (*linear_backward_weight)(Device *, const LinearBackwardWeight *);
    void (*norm_forward)(Device *, const NormForward *);
    void (*norm_backward)(Device *, const NormBackward *);
    void (*resample)(Device *, const Resample *);
    void (*bilinear)(Device *, const Bilinear *);
    void (*attention_forward)(Device *, const AttentionForward *);
    void (*attention_backward)(Device *, const AttentionBackward *);
    void (*act_forward)(Device *, const ActForward *);
    void (*act_backward)(Device *, const ActBackward *);
    void (*add_scale)(Device *, const AddScale *);
    void (*pool_forward)(Device *, const PoolForward *);
    void (*pool_backward)(Device *, const PoolBackward *);
    void (*noise_embed)(Device *, const NoiseEmbed *);
    void (*batch_gather)(Device *, const BatchGather *);
    void (*level_draw)(Device *, const LevelDraw *);
    void (*noise_pair)(Device *, const NoisePair *);
    void (*latent_noise)(Device *, const LatentNoise *);
    void (*precondition)(Device *, const Precondition *);
    void (*consistency_loss)(Device *, const ConsistencyLoss *);
    void (*feature_distance)(Device *, const FeatureDistance *);
    void (*cross_entropy)(Device *, const CrossEntropy *);
    void (*optimizer_step)(Device *, const OptimizerStep *);
} Ops;

typedef enum CopyKind { COPY_TO_DEVICE, COPY_TO_HOST, COPY_ON_DEVICE } CopyKind;

/* Enqueued work that was recorded once, to be replayed without the cost of enqueueing it. */
typedef struct Capture Capture;

struct Device {
    const Ops *ops;
    char kind[16];  /* "cpu", "cuda" */
    char name[128]; /* the processor's or card's own name */
    int threads;    /* CPU threads in use */
    void *context;  /* the backend's own */
    bool tf32;      /* products of fp32 tensors may round their factors to TF32: set by the graph before each
                       node is prepared and before it runs */
    RaceBudget races; /* what choosing among ways to compute may take, and has taken */

    void *(*allocate)(Device *,
                      size_t bytes); /* aligned to 256 bytes; dies when memory is out, saying how much */
    void (*release)(Device *, void *memory);
    void (*copy)(Device *, void *to, const void *from, size_t bytes, CopyKind);
    void (*fill)(Device *, void *memory, int byte, size_t bytes);
    void (*synchronise)(Device *);
    /* Memory of the host from which copies to the device return at once, so that it must stay as it is until
     * the next synchronise(). */
    void *(*host_allocate)(Device *, size_t bytes);
    void (*host_release)(Device *, void *memory);
    /* Bytes that allocate() can still give, and all that the device has; NULL: not known. */
    void (*memory)(Device *, size_t *available, size_t *total);
    /* What is enqueued between begin and end is recorded instead of run: its pointers and numbers are fixed
     * from then on, and what it reads through the pointers is not. The work must have run once before. NULL
     * where ops run when they are called. */
    void (*capture_begin)(Device *);
    Capture *(*capture_end)(Device *);
    void (*capture_replay)(Device *, Capture *);
    void (*capture_release)(Device *, Capture *);
    /* Names what is enqueued next in a profiler's time line; NULL ends the name. NULL where
     * nobody profiles. */
    void (*range)(Device *, const char *name);
    /* What is chosen by timing is read from this text file where it stands there, and appended where it is
     * new, so that a resumed run computes with the kernels it began with. NULL: nothing is timed. */
    void (*remember)(Device *, const char *path);
    /* From now on all of that is timed, though the program knows what is fastest on this device, and however
     * long it takes. NULL likewise. */
    void (*tune)(Device *);
    void (*close)(Device *);
};

/* "cpu", "cuda", "cuda:1". threads 0: all cores this process may use (OMP_NUM_THREADS is respected). */
bool device_open(const char *spec, int threads, Device **device, Error *error);
void device_close(Device *device);

/* Library versions in use, "oneDNN 2.6.3, OpenBLAS 0.3.21, ...", for provenance. */
void device_versions(const Device *device, char *out, size_t size);

#endif
