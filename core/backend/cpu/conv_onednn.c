/* Convolutions through oneDNN. Tensors are NHWC as everywhere; only the weights are turned into the blocked
 * layout that oneDNN's kernels like (0.2 to 2 % of the convolution's time), so every activation is read and
 * written once.
 *
 * What surrounds the convolution is done where it is cheapest (measured in core/backend/README.md): the bias
 * inside the kernel, gradient scales on the weights, residuals and added gradients in one pass afterwards,
 * while the result is warm. Residuals as oneDNN's own "binary" step would switch to a kernel that is up to a
 * quarter slower on small images.
 *
 * The interfaces of oneDNN 2 and 3 differ in how descriptors are held and how a convolution is described. The
 * difference is kept in the first part of this file.
 */
#include "backend/cpu/conv.h"

#if ICT_ONEDNN
#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK_DNNL(call)                                                                \
    do {                                                                                \
        const dnnl_status_t status = (call);                                            \
        CHECK(status == dnnl_success, "oneDNN: status %d from %s", (int)status, #call); \
    } while (0)

/* ---- oneDNN 2 or 3 ---- */

typedef struct Layout {
    dnnl_memory_desc_t held;
} Layout;

/* The description of one convolution: x, weights, bias, y. */
typedef struct Description {
    Layout x, weight, bias, y;
    dnnl_dims_t strides, pads;
} Description;

#if DNNL_VERSION_MAJOR >= 3

typedef const_dnnl_memory_desc_t LayoutRef;
static LayoutRef layout_ref(const Layout *layout) {
    return layout->held;
}

static Layout layout_make(int rank, const dnnl_dims_t dims, dnnl_format_tag_t tag) {
    Layout layout;
    CHECK_DNNL(dnnl_memory_desc_create_with_tag(&layout.held, rank, dims, dnnl_f32, tag));
    return layout;
}

static void layout_release(Layout *layout) {
    dnnl_memory_desc_destroy(layout->held);
}

static dnnl_primitive_desc_t description_forward(const Description *d, dnnl_engine_t engine,
                                                 const_dnnl_primitive_attr_t attributes) {
    const dnnl_dims_t dilation = {0, 0};
    dnnl_primitive_desc_t result;
    CHECK_DNNL(dnnl_convolution_forward_primitive_desc_create(
        &result, engine, dnnl_forward_training, dnnl_convolution_direct, d->x.held, d->weight.held,
        d->bias.held, d->y.held, d->strides, dilation, d->pads, d->pads, attributes));
    return result;
}

static dnnl_primitive_desc_t description_backward(const Description *d, ConvPass pass, dnnl_engine_t engine,
                                                  const_dnnl_primitive_attr_t attributes,
                                                  const_dnnl_primitive_desc_t forward) {
    const dnnl_dims_t dilation = {0, 0};
    dnnl_primitive_desc_t result;
    if (pass == CONV_BACKWARD_DATA)
        CHECK_DNNL(dnnl_convolution_backward_data_primitive_desc_create(
            &result, engine, dnnl_convolution_direct, d->x.held, d->weight.held, d->y.held, d->strides,
            dilation, d->pads, d->pads, forward, attributes));
    else
        CHECK_DNNL(dnnl_convolution_backward_weights_primitive_desc_create(
            &result, engine, dnnl_convolution_direct, d->x.held, d->weight.held, d->bias.held, d->y.held,
            d->strides, dilation, d->pads, d->pads, forward, attributes));
    return result;
}

#else

typedef const dnnl_memory_desc_t *LayoutRef;
static LayoutRef layout_ref(const Layout *layout) {
    return &layout->held;
}

static Layout layout_make(int rank, const dnnl_dims_t dims, dnnl_format_tag_t tag) {
    Layout layout;
    CHECK_DNNL(dnnl_memory_desc_init_by_tag(&layout.held, rank, dims, dnnl_f32, tag));
    return layout;
}

static void layout_release(Layout *layout) {
    (void)layout;
}

static dnnl_primitive_desc_t description_forward(const Description *d, dnnl_engine_t engine,
                                                 const_dnnl_primitive_attr_t attributes) {
    dnnl_convolution_desc_t convolution;
    dnnl_primitive_desc_t result;
    CHECK_DNNL(dnnl_convolution_forward_desc_init(&convolution, dnnl_forward_training,
                                                  dnnl_convolution_direct, &d->x.held, &d->weight.held,
                                                  &d->bias.held, &d->y.held, d->strides, d->pads, d->pads));
    CHECK_DNNL(dnnl_primitive_desc_create(&result, &convolution, attributes, engine, NULL));
    return result;
}

static dnnl_primitive_desc_t description_backward(const Description *d, ConvPass pass, dnnl_engine_t engine,
                                                  const_dnnl_primitive_attr_t attributes,
                                                  const_dnnl_primitive_desc_t forward) {
    dnnl_convolution_desc_t convolution;
    dnnl_primitive_desc_t result;
    if (pass == CONV_BACKWARD_DATA)
        CHECK_DNNL(dnnl_convolution_backward_data_desc_init(&convolution, dnnl_convolution_direct, &d->x.held,
                                                            &d->weight.held, &d->y.held, d->strides, d->pads,
                                                            d->pads));
    else
        CHECK_DNNL(dnnl_convolution_backward_weights_desc_init(&convolution, dnnl_convolution_direct,
                                                               &d->x.held, &d->weight.held, &d->bias.held,
                                                               &d->y.held, d->strides, d->pads, d->pads));
    CHECK_DNNL(dnnl_primitive_desc_create(&result, &convolution, attributes, engine, forward));
    return result;
}

#endif

void conv_onednn_version(char out[64]) {
    const dnnl_version_t *version = dnnl_version();
    snprintf(out, 64, "oneDNN %d.%d.%d", version->major, version->minor, version->patch);
}

/* ---- plans ---- */

/* What a primitive reads and writes; each pass names to oneDNN those that it uses. */
typedef struct Arguments {
    dnnl_memory_t x, y, weight, bias, scratch;
} Arguments;

typedef struct Plan {
    ConvPlan base;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t convolution, reorder; /* reorder: weights between OHWI and oneDNN's layout */
    Arguments memory;
    dnnl_memory_t ohwi;
    /* Offsets into the workspace in bytes: weights in oneDNN's layout, its scratch memory, weights (or their
     * gradient) in OHWI, the gradient of the bias, and dx where the result must not be written at once. */
    size_t weight_at, scratch_at, ohwi_at, bias_at, result_at;
} Plan;

static Description description_make(const ConvShape *s) {
    const dnnl_dims_t x = {s->n, s->c_in, s->h, s->w}, weight = {s->c_out, s->c_in, s->kernel_h, s->kernel_w};
    const dnnl_dims_t y = {s->n, s->c_out, conv_out_h(s), conv_out_w(s)}, bias = {s->c_out};
    return (Description){layout_make(4, x, dnnl_nhwc), layout_make(4, weight, dnnl_format_tag_any),
                         layout_make(1, bias, dnnl_x), layout_make(4, y, dnnl_nhwc),
                         {s->stride, s->stride},       {s->pad_h, s->pad_w}};
}

static void description_release(Description *d) {
    layout_release(&d->x);
    layout_release(&d->weight);
    layout_release(&d->bias);
    layout_release(&d->y);
}

static dnnl_memory_t memory_make(const Plan *plan, LayoutRef layout) {
    dnnl_memory_t memory;
    CHECK_DNNL(dnnl_memory_create(&memory, layout, plan->engine, DNNL_MEMORY_NONE));
    return memory;
}

static void plan_reorder(Plan *plan, LayoutRef blocked) {
    const ConvShape *s = &plan->base.shape;
    const dnnl_dims_t dims = {s->c_out, s->c_in, s->kernel_h, s->kernel_w};
    Layout ohwi = layout_make(4, dims, dnnl_ohwi);
    const LayoutRef plain = layout_ref(&ohwi);
    const bool gradient = plan->base.pass == CONV_BACKWARD_WEIGHT;
    dnnl_primitive_desc_t description;
    CHECK_DNNL(dnnl_reorder_primitive_desc_create(&description, gradient ? blocked : plain, plan->engine,
                                                  gradient ? plain : blocked, plan->engine, NULL));
    CHECK_DNNL(dnnl_primitive_create(&plan->reorder, description));
    dnnl_primitive_desc_destroy(description);
    plan->ohwi = memory_make(plan, plain);
    layout_release(&ohwi);
}

/* The primitive, its arguments' layouts and the workspace they need. */
static void plan_build(Plan *plan, const Description *d, dnnl_primitive_desc_t description) {
    const bool gradient = plan->base.pass == CONV_BACKWARD_WEIGHT;
    const dnnl_query_t which = gradient ? dnnl_query_diff_weights_md : dnnl_query_weights_md;
    const LayoutRef blocked = dnnl_primitive_desc_query_md(description, which, 0);
    const LayoutRef scratch = dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0);
    CHECK_DNNL(dnnl_primitive_create(&plan->convolution, description));
    plan->memory = (Arguments){memory_make(plan, layout_ref(&d->x)), memory_make(plan, layout_ref(&d->y)),
                               memory_make(plan, blocked), memory_make(plan, layout_ref(&d->bias)),
                               memory_make(plan, scratch)};
    plan_reorder(plan, blocked);
    const ConvShape *s = &plan->base.shape;
    plan->weight_at = conv_reserve(&plan->base, (int64_t)dnnl_memory_desc_get_size(blocked) / 4);
    plan->scratch_at = conv_reserve(&plan->base, (int64_t)dnnl_memory_desc_get_size(scratch) / 4 + 1);
    if (plan->base.pass != CONV_FORWARD) plan->ohwi_at = conv_reserve(&plan->base, conv_weight_count(s));
    plan->bias_at = conv_reserve(&plan->base, s->c_out);
    if (plan->base.pass == CONV_BACKWARD_DATA)
        plan->result_at = conv_reserve(&plan->base, (int64_t)s->n * s->h * s->w * s->c_in);
}

static ConvPlan *plan_prepare(Device *device, const ConvShape *shape, ConvPass pass) {
    Plan *plan = calloc(1, sizeof *plan);
    CHECK(plan, "conv: out of memory");
    plan->base = (ConvPlan){.method = &conv_onednn, .shape = *shape, .pass = pass};
    omp_set_num_threads(device->threads); /* the plan is for this many */
    CHECK_DNNL(dnnl_engine_create(&plan->engine, dnnl_cpu, 0));
    CHECK_DNNL(dnnl_stream_create(&plan->stream, plan->engine, dnnl_stream_default_flags));
    dnnl_primitive_attr_t attributes;
    CHECK_DNNL(dnnl_primitive_attr_create(&attributes));
    CHECK_DNNL(dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user));
    Description d = description_make(shape);
    dnnl_primitive_desc_t forward = description_forward(&d, plan->engine, attributes);
    if (pass == CONV_FORWARD) {
        plan_build(plan, &d, forward);
    } else {
        dnnl_primitive_desc_t backward = description_backward(&d, pass, plan->engine, attributes, forward);
        plan_build(plan, &d, backward);
        dnnl_primitive_desc_destroy(backward);
    }
    dnnl_primitive_desc_destroy(forward);
    dnnl_primitive_attr_destroy(attributes);
    description_release(&d);
    return &plan->base;
}

static void plan_release(ConvPlan *base) {
    Plan *plan = (Plan *)base;
    const dnnl_memory_t memory[] = {plan->memory.x,    plan->memory.y,       plan->memory.weight,
                                    plan->memory.bias, plan->memory.scratch, plan->ohwi};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++) dnnl_memory_destroy(memory[i]);
    dnnl_primitive_destroy(plan->convolution);
    dnnl_primitive_destroy(plan->reorder);
    dnnl_stream_destroy(plan->stream);
    dnnl_engine_destroy(plan->engine);
    free(plan);
}

/* ---- runs ---- */

static void bind(dnnl_memory_t memory, const void *data) {
    CHECK_DNNL(dnnl_memory_set_data_handle(memory, (void *)(uintptr_t)data));
}

/* weight -> oneDNN's layout in the workspace, or the gradient from there to `ohwi`. */
static void reorder_run(const Plan *plan, const float *ohwi) {
    const bool gradient = plan->base.pass == CONV_BACKWARD_WEIGHT;
    bind(plan->ohwi, ohwi);
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, gradient ? plan->memory.weight : plan->ohwi},
                                         {DNNL_ARG_TO, gradient ? plan->ohwi : plan->memory.weight}};
    CHECK_DNNL(dnnl_primitive_execute(plan->reorder, plan->stream, 2, arguments));
}

static void convolution_run(const Device *device, const Plan *plan, const float *x, const float *y,
                            const float *bias, void *workspace) {
    static const int names[][4] = {
        {DNNL_ARG_SRC, DNNL_ARG_DST, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS},
        {DNNL_ARG_DIFF_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS, 0},
        {DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_BIAS}};
    const int *name = names[plan->base.pass];
    const Arguments *m = &plan->memory;
    bind(m->x, x);
    bind(m->y, y);
    bind(m->bias, bias);
    bind(m->scratch, conv_memory(workspace, plan->scratch_at));
    const dnnl_exec_arg_t arguments[] = {{name[0], m->x},
                                         {name[1], m->y},
                                         {name[2], m->weight},
                                         {DNNL_ARG_SCRATCHPAD, m->scratch},
                                         {name[3], m->bias}};
    omp_set_num_threads(device->threads);
    CHECK_DNNL(dnnl_primitive_execute(plan->convolution, plan->stream, name[3] ? 5 : 4, arguments));
}

static void forward_run(Device *device, const ConvPlan *base, const ConvForward *a) {
    const Plan *plan = (const Plan *)base;
    float *none = conv_memory(a->workspace, plan->bias_at), *y = a->y.data;
    if (!a->bias)
        for (int c = 0; c < a->y.c; c++) none[c] = 0.0f;
    bind(plan->memory.weight, conv_memory(a->workspace, plan->weight_at));
    reorder_run(plan, a->weight);
    convolution_run(device, plan, a->x.data, y, a->bias ? a->bias : none, a->workspace);
    if (a->residual.data || a->scale != 1.0f)
        conv_sum_scaled(device, y, y, a->scale, a->residual.data, a->scale, tensor_count(&a->y));
}

static void backward_data_run(Device *device, const ConvPlan *base, const ConvBackwardData *a) {
    const Plan *plan = (const Plan *)base;
    const float *weight = a->weight, *add = a->add.data;
    float *scaled = conv_memory(a->workspace, plan->ohwi_at), *dx = a->dx.data;
    float *result = add == dx ? conv_memory(a->workspace, plan->result_at) : dx;
    if (a->dy_scale != 1.0f) {
        conv_sum_scaled(device, scaled, weight, a->dy_scale, NULL, 0.0f,
                        conv_weight_count(&plan->base.shape));
        weight = scaled;
    }
    bind(plan->memory.weight, conv_memory(a->workspace, plan->weight_at));
    reorder_run(plan, weight);
    convolution_run(device, plan, result, a->dy.data, NULL, a->workspace);
    if (add) conv_sum_scaled(device, dx, result, 1.0f, add, a->add_scale, tensor_count(&a->dx));
}

static void backward_weight_run(Device *device, const ConvPlan *base, const ConvBackwardWeight *a) {
    const Plan *plan = (const Plan *)base;
    float *bias = conv_memory(a->workspace, plan->bias_at),
          *weight = conv_memory(a->workspace, plan->ohwi_at);
    bind(plan->memory.weight, conv_memory(a->workspace, plan->weight_at));
    convolution_run(device, plan, a->x.data, a->dy.data, bias, a->workspace);
    const bool direct = !a->accumulate && a->dy_scale == 1.0f;
    reorder_run(plan, direct ? a->dweight : weight);
    if (!direct)
        conv_sum_scaled(device, a->dweight, weight, a->dy_scale, a->accumulate ? a->dweight : NULL, 1.0f,
                        conv_weight_count(&plan->base.shape));
    if (a->dbias)
        conv_sum_scaled(device, a->dbias, bias, a->dy_scale, a->accumulate ? a->dbias : NULL, 1.0f, a->dy.c);
}

static bool suits_all(const ConvShape *shape, ConvPass pass) {
    (void)shape;
    (void)pass;
    return true;
}

const ConvMethod conv_onednn = {.name = "oneDNN",
                                .suits = suits_all,
                                .prepare = plan_prepare,
                                .release = plan_release,
                                .forward = forward_run,
                                .backward_data = backward_data_run,
                                .backward_weight = backward_weight_run};

#endif
