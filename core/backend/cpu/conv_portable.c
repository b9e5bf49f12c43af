/* Convolutions in plain C, for machines without oneDNN. An image is copied into a frame of zeros (the
 * padding); then the pixels that one row of the kernel meets lie side by side in memory, so one output row is
 * a matrix product of depth kernel_w * c_in per kernel row, straight from the frame: no matrix of patches is
 * built.
 *
 * The gradient with respect to x is the same convolution of dy, spread out by the stride, with the mirrored
 * weights. The gradient with respect to the weight is a product over all pixels; it does build patches, a few
 * rows at a time.
 */
#include "backend/cpu/conv.h"
#include "backend/cpu/gemm.h"
#include <stdlib.h>
#include <string.h>

/* A convolution of stride `step` over framed images: both directions are one. */
typedef struct Frame {
    int source_h, source_w, channels; /* what is copied into the frame */
    int spread;                       /* distance of its pixels in the frame */
    int top, left, h, w;              /* where its first pixel stands; size of the frame */
    int kernel_h, kernel_w, step;
    int out_h, out_w, outputs;
} Frame;

typedef struct Plan {
    ConvPlan base;
    Frame frame;
    int64_t frame_floats, depth;
    int threads, patch_rows; /* output rows whose patches are built at once */
    /* Where things lie in the workspace; of those that have a size here, every thread has one. */
    size_t frame_at, packed_at, turned_at, patch_at, gradient_at;
    int64_t packed_floats, patch_floats, gradient_floats;
} Plan;

static Frame frame_forward(const ConvShape *s) {
    return (Frame){s->h,
                   s->w,
                   s->c_in,
                   1,
                   s->pad_h,
                   s->pad_w,
                   s->h + 2 * s->pad_h,
                   s->w + 2 * s->pad_w,
                   s->kernel_h,
                   s->kernel_w,
                   s->stride,
                   conv_out_h(s),
                   conv_out_w(s),
                   s->c_out};
}

static Frame frame_backward(const ConvShape *s) {
    return (Frame){conv_out_h(s),
                   conv_out_w(s),
                   s->c_out,
                   s->stride,
                   s->kernel_h - 1 - s->pad_h,
                   s->kernel_w - 1 - s->pad_w,
                   s->h + s->kernel_h - 1,
                   s->w + s->kernel_w - 1,
                   s->kernel_h,
                   s->kernel_w,
                   1,
                   s->h,
                   s->w,
                   s->c_in};
}

static ConvPlan *plan_prepare(Device *device, const ConvShape *shape, ConvPass pass) {
    Plan *plan = calloc(1, sizeof *plan);
    CHECK(plan, "conv: out of memory");
    plan->base = (ConvPlan){.method = &conv_portable, .shape = *shape, .pass = pass};
    plan->frame = pass == CONV_BACKWARD_DATA ? frame_backward(shape) : frame_forward(shape);
    const Frame *f = &plan->frame;
    const int threads = plan->threads = device->threads;
    plan->frame_floats = (int64_t)f->h * f->w * f->channels;
    plan->depth = (int64_t)f->kernel_h * f->kernel_w * f->channels;
    plan->frame_at = conv_reserve(&plan->base, threads * plan->frame_floats);
    if (pass != CONV_BACKWARD_WEIGHT) {
        plan->packed_at = conv_reserve(&plan->base, gemm_packed_size(plan->depth, f->outputs));
        plan->turned_at = conv_reserve(&plan->base, conv_weight_count(shape));
        return &plan->base;
    }
    plan->patch_rows = f->out_w < 64 ? 64 / f->out_w : 1;
    const int64_t pixels = (int64_t)plan->patch_rows * f->out_w;
    plan->patch_floats = pixels * plan->depth;
    plan->packed_floats = gemm_packed_size(pixels, plan->depth);
    plan->gradient_floats = conv_weight_count(shape) + f->outputs;
    plan->patch_at = conv_reserve(&plan->base, threads * plan->patch_floats);
    plan->packed_at = conv_reserve(&plan->base, threads * plan->packed_floats);
    plan->gradient_at = conv_reserve(&plan->base, threads * plan->gradient_floats);
    return &plan->base;
}

static void plan_release(ConvPlan *base) {
    free(base);
}

/* ---- forward and gradient with respect to x ---- */

/* The frame's border is zero before and stays zero: only pixels inside are written. */
static void frame_fill(const Frame *f, const float *image, float *frame) {
    const size_t pixel = (size_t)f->channels * sizeof(float);
    for (int y = 0; y < f->source_h; y++) {
        float *row = frame + ((int64_t)(f->top + y * f->spread) * f->w + f->left) * f->channels;
        const float *from = image + (int64_t)y * f->source_w * f->channels;
        if (f->spread == 1)
            memcpy(row, from, pixel * (size_t)f->source_w);
        else
            for (int x = 0; x < f->source_w; x++)
                memcpy(row + (int64_t)x * f->spread * f->channels, from + (int64_t)x * f->channels, pixel);
    }
}

/* Terms of output row y: one per kernel row. */
static void row_terms(const Frame *f, const float *frame, int y, GemmTerm *term) {
    for (int k = 0; k < f->kernel_h; k++)
        term[k] = (GemmTerm){frame + (int64_t)(y * f->step + k) * f->w * f->channels,
                             (int64_t)f->step * f->channels, f->kernel_w * f->channels};
}

/* Panel by panel, so that a panel of the weights is fetched once per image. */
static void image_convolve(const Plan *plan, const float *frame, const float *packed,
                           const GemmResult *result) {
    const Frame *f = &plan->frame;
    enum { KERNEL_ROWS = 16 };
    GemmTerm term[KERNEL_ROWS];
    CHECK(f->kernel_h <= KERNEL_ROWS, "conv: a kernel of %d rows", f->kernel_h);
    for (int first = 0; first < f->outputs; first += GEMM_PANEL) {
        const int columns = f->outputs - first < GEMM_PANEL ? f->outputs - first : GEMM_PANEL;
        for (int y = 0; y < f->out_h; y++) {
            GemmResult r = *result;
            r.c += (int64_t)y * f->out_w * r.stride + first;
            if (r.bias) r.bias += first;
            if (r.add) r.add += (int64_t)y * f->out_w * r.add_stride + first;
            row_terms(f, frame, y, term);
            gemm_run(term, f->kernel_h, packed + first * plan->depth, f->out_w, columns, &r);
        }
    }
}

/* weight: [outputs, kernel_h, kernel_w, channels] of the frame. `result` is for the first image. */
static void frames_convolve(const Plan *plan, const float *source, const float *weight,
                            const GemmResult *result, void *workspace) {
    const Frame *f = &plan->frame;
    const int images = plan->base.shape.n, parts = plan->threads;
    const int64_t in = (int64_t)f->source_h * f->source_w * f->channels,
                  out = (int64_t)f->out_h * f->out_w * f->outputs;
    float *packed = conv_memory(workspace, plan->packed_at);
#pragma omp parallel num_threads(parts)
    {
#pragma omp for schedule(static)
        for (int first = 0; first < f->outputs; first += GEMM_PANEL) {
            const int columns = f->outputs - first < GEMM_PANEL ? f->outputs - first : GEMM_PANEL;
            gemm_pack(packed + first * plan->depth, weight + first * plan->depth, 1, plan->depth,
                      (int)plan->depth, columns);
        }
#pragma omp for schedule(static, 1)
        for (int part = 0; part < parts; part++) {
            const Range r = range_part(images, part, parts);
            float *frame = conv_memory(workspace, plan->frame_at) + part * plan->frame_floats;
            memset(frame, 0, (size_t)plan->frame_floats * sizeof(float));
            for (int64_t n = r.begin; n < r.end; n++) {
                GemmResult one = *result;
                one.c += n * out;
                if (one.add) one.add += n * out;
                frame_fill(f, source + n * in, frame);
                image_convolve(plan, frame, packed, &one);
            }
        }
    }
}

static void forward_run(Device *device, const ConvPlan *base, const ConvForward *a) {
    (void)device;
    const Plan *plan = (const Plan *)base;
    const GemmResult r = {a->y.data, a->y.c, a->scale, a->bias, a->residual.data, a->y.c, a->scale};
    frames_convolve(plan, a->x.data, a->weight, &r, a->workspace);
}

/* OHWI -> [i, mirrored h, mirrored w, o] */
static void weight_turn(const ConvShape *s, const float *weight, float *turned) {
    const int taps = s->kernel_h * s->kernel_w;
    for (int o = 0; o < s->c_out; o++)
        for (int t = 0; t < taps; t++)
            for (int i = 0; i < s->c_in; i++)
                turned[((int64_t)i * taps + (taps - 1 - t)) * s->c_out + o] =
                    weight[((int64_t)o * taps + t) * s->c_in + i];
}

static void backward_data_run(Device *device, const ConvPlan *base, const ConvBackwardData *a) {
    (void)device;
    const Plan *plan = (const Plan *)base;
    float *turned = conv_memory(a->workspace, plan->turned_at);
    weight_turn(&base->shape, a->weight, turned);
    const GemmResult r = {a->dx.data, a->dx.c, a->dy_scale, NULL, a->add.data, a->dx.c, a->add_scale};
    frames_convolve(plan, a->dy.data, turned, &r, a->workspace);
}

/* ---- gradient with respect to the weight ---- */

/* What one thread works with. */
typedef struct Gradient {
    float *frame, *patch, *packed, *dweight, *dbias;
} Gradient;

static void bias_add(float *dbias, const float *dy, int64_t pixels, int channels) {
    for (int64_t p = 0; p < pixels; p++) {
#pragma omp simd
        for (int c = 0; c < channels; c++) dbias[c] += dy[p * channels + c];
    }
}

/* Adds what `count` output rows from `y` on contribute. */
static void rows_gradient(const Plan *plan, const Gradient *g, const float *dy, int y, int count) {
    const Frame *f = &plan->frame;
    const int64_t line = (int64_t)f->kernel_w * f->channels;
    float *to = g->patch;
    for (int row = y; row < y + count; row++)
        for (int x = 0; x < f->out_w; x++)
            for (int k = 0; k < f->kernel_h; k++, to += line)
                memcpy(to, g->frame + ((int64_t)(row * f->step + k) * f->w + x * f->step) * f->channels,
                       (size_t)line * sizeof(float));
    const int pixels = count * f->out_w, depth = (int)plan->depth;
    const float *first = dy + (int64_t)y * f->out_w * f->outputs;
    gemm_pack(g->packed, g->patch, depth, 1, pixels, depth);
    const GemmResult r = {g->dweight, depth, 1.0f, NULL, g->dweight, depth, 1.0f};
    gemm_run_transposed(first, f->outputs, pixels, g->packed, f->outputs, depth, &r);
    bias_add(g->dbias, first, pixels, f->outputs);
}

static void images_gradient(const Plan *plan, const Gradient *g, const ConvBackwardWeight *a, Range images) {
    const Frame *f = &plan->frame;
    memset(g->frame, 0, (size_t)plan->frame_floats * sizeof(float));
    memset(g->dweight, 0, (size_t)plan->gradient_floats * sizeof(float));
    for (int64_t n = images.begin; n < images.end; n++) {
        const float *dy = (const float *)a->dy.data + n * f->out_h * f->out_w * f->outputs;
        frame_fill(f, (const float *)a->x.data + n * f->source_h * f->source_w * f->channels, g->frame);
        for (int y = 0; y < f->out_h; y += plan->patch_rows)
            rows_gradient(plan, g, dy, y, f->out_h - y < plan->patch_rows ? f->out_h - y : plan->patch_rows);
    }
}

/* to = (to +) dy_scale * the threads' sums, in the order of the threads. */
static void sums_add(const Plan *plan, float *to, const float *sums, int64_t offset, int64_t count,
                     const ConvBackwardWeight *a) {
    for (int64_t i = 0; i < count; i++) {
        float sum = 0.0f;
        for (int part = 0; part < plan->threads; part++)
            sum += sums[part * plan->gradient_floats + offset + i];
        to[i] = a->dy_scale * sum + (a->accumulate ? to[i] : 0.0f);
    }
}

static void backward_weight_run(Device *device, const ConvPlan *base, const ConvBackwardWeight *a) {
    (void)device;
    const Plan *plan = (const Plan *)base;
    const int parts = plan->threads;
    const int64_t weights = conv_weight_count(&base->shape);
    float *sums = conv_memory(a->workspace, plan->gradient_at);
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int part = 0; part < parts; part++) {
        Gradient g = {.frame = conv_memory(a->workspace, plan->frame_at) + part * plan->frame_floats,
                      .patch = conv_memory(a->workspace, plan->patch_at) + part * plan->patch_floats,
                      .packed = conv_memory(a->workspace, plan->packed_at) + part * plan->packed_floats,
                      .dweight = sums + part * plan->gradient_floats};
        g.dbias = g.dweight + weights;
        images_gradient(plan, &g, a, range_part(base->shape.n, part, parts));
    }
    sums_add(plan, a->dweight, sums, 0, weights, a);
    if (a->dbias) sums_add(plan, a->dbias, sums, weights, a->dy.c, a);
}

static bool suits_all(const ConvShape *shape, ConvPass pass) {
    (void)pass;
    return shape->n > 0;
}

const ConvMethod conv_portable = {.name = "portable",
                                  .suits = suits_all,
                                  .prepare = plan_prepare,
                                  .release = plan_release,
                                  .forward = forward_run,
                                  .backward_data = backward_data_run,
                                  .backward_weight = backward_weight_run};
