/* Convolutions: the ops around cuDNN's. Scale, residual and bias of the forward pass are part of its plan
 * where cuDNN has a kernel for them, and else one elementwise pass behind the plain convolution; backward
 * results that are to be scaled or added take a pass of their own; the bias gradient is a sum over the rows
 * of dy, or of the sums that a norm made of it. */
#include "backend/cuda/conv.h"
#include "backend/cuda/conv_wide.h"
#include <stdlib.h>

/* `raw` bytes of the workspace hold what is ours: the bias as the plan wants it, or a result that is then
 * combined with what is there already. cuDNN has the rest. */
typedef struct ConvPlan {
    OpPlan plan;
    ConvProblem problem;
    bool fused; /* the epilogue is the plan's */
    const ConvKernel *kernel;
    size_t raw;
} ConvPlan;

/* Backward results go through the workspace where they may have to be added to: dx when `add` is dx itself,
 * and always dW, which cuDNN makes in the network's type. */
static size_t raw_bytes(const ConvProblem *problem) {
    const ConvShape *shape = &problem->shape;
    const Tensor x = conv_tensor_x(shape);
    const size_t element = dtype_size(shape->dtype);
    const size_t bytes = problem->pass == CONV_FORWARD         ? (size_t)shape->c_out * element
                         : problem->pass == CONV_BACKWARD_DATA ? tensor_bytes(&x)
                                                               : (size_t)conv_weight_count(shape) * element;
    return (bytes + 255) / 256 * 256;
}

OpPlan *cuda_conv_prepare(Device *device, const ConvShape *shape, ConvPass pass,
                          const ConvEpilogue *epilogue) {
    CHECK(shape->stride > 0 && conv_out_h(shape) > 0 && conv_out_w(shape) > 0,
          "conv: the kernel is larger than the padded image");
    ConvPlan *plan = malloc(sizeof *plan);
    CHECK(plan, "out of memory");
    if (conv_is_wide(shape)) {
        CHECK(shape->stride == 1, "conv: to fp32 with stride %d", shape->stride);
        *plan = (ConvPlan){.plan = {cuda_wide_workspace(shape, pass)},
                           .problem = {*shape, pass, {.scale = 1}, false}};
        return &plan->plan;
    }
    *plan = (ConvPlan){.problem = {*shape, pass, {.scale = 1}, shape->dtype == DTYPE_F32 && device->tf32}};
    if (pass == CONV_FORWARD && epilogue) {
        plan->problem.epilogue = *epilogue;
        plan->kernel = conv_kernel_find(device, &plan->problem);
        plan->fused = plan->kernel;
    }
    if (!plan->kernel) {
        plan->problem.epilogue = (ConvEpilogue){.scale = 1};
        plan->kernel = conv_kernel_find(device, &plan->problem);
    }
    CHECK(plan->kernel,
          "cuDNN has no deterministic plan for the %dx%d convolution of %d to %d channels, pass %d",
          shape->kernel_h, shape->kernel_w, shape->c_in, shape->c_out, pass);
    plan->raw = raw_bytes(&plan->problem);
    plan->plan.workspace = plan->raw + plan->kernel->workspace;
    return &plan->plan;
}

void cuda_plan_release(Device *device, OpPlan *plan) {
    (void)device;
    free(plan);
}

static const ConvPlan *plan_of(const OpPlan *op_plan, ConvPass pass, const Tensor *x, const Tensor *y) {
    const ConvPlan *plan = (const ConvPlan *)op_plan;
    const Tensor want_x = conv_tensor_x(&plan->problem.shape), want_y = conv_tensor_y(&plan->problem.shape);
    CHECK(plan->problem.pass == pass, "conv: the plan is for another pass");
    CHECK(x->n == want_x.n && x->h == want_x.h && x->w == want_x.w && x->c == want_x.c &&
              x->dtype == want_x.dtype,
          "conv: x differs from the plan's");
    CHECK(y->n == want_y.n && y->h == want_y.h && y->w == want_y.w && y->c == want_y.c &&
              y->dtype == want_y.dtype,
          "conv: y differs from the plan's");
    return plan;
}

static void plan_run(Device *device, const ConvPlan *plan, const ConvPointers *at, void *workspace) {
    conv_kernel_run(device, plan->kernel, at, plan->kernel->workspace ? (char *)workspace + plan->raw : NULL);
}

/* The plan's bias is scaled and of the network's type: a small pass over the channels. */
static void forward_fused(Device *device, const ConvPlan *plan, const ConvForward *a) {
    const ConvEpilogue *e = &plan->problem.epilogue;
    const int channels = plan->problem.shape.c_out;
    CHECK(e->bias == (a->bias != NULL) && e->residual == (a->residual.data != NULL) && e->scale == a->scale,
          "conv: the plan has another epilogue");
    const Tensor bias = {(void *)a->bias, DTYPE_F32, 1, 1, 1, channels};
    const Tensor scaled = {a->workspace, plan->problem.shape.dtype, 1, 1, 1, channels};
    if (e->bias) cuda_add_scale(device, &(AddScale){.a = bias, .y = scaled, .a_scale = a->scale});
    plan_run(device, plan,
             &(ConvPointers){a->x.data, a->weight, a->y.data, a->residual.data, e->bias ? scaled.data : NULL},
             a->workspace);
}

void cuda_conv_forward(Device *device, const ConvForward *a) {
    const ConvPlan *plan = plan_of(a->plan, CONV_FORWARD, &a->x, &a->y);
    CHECK(a->residual.data != a->y.data, "conv: the residual is overwritten");
    if (conv_is_wide(&plan->problem.shape)) {
        cuda_wide_forward(device, &plan->problem.shape, a);
        return;
    }
    if (plan->fused) {
        forward_fused(device, plan, a);
        return;
    }
    plan_run(device, plan, &(ConvPointers){.x = a->x.data, .weight = a->weight, .y = a->y.data},
             a->workspace);
    if (a->bias || a->residual.data || a->scale != 1.0f)
        cuda_epilogue(device, &a->y, a->bias, &a->residual, a->scale, a->scale);
}

void cuda_conv_backward_data(Device *device, const ConvBackwardData *a) {
    const ConvPlan *plan = plan_of(a->plan, CONV_BACKWARD_DATA, &a->dx, &a->dy);
    if (conv_is_wide(&plan->problem.shape)) {
        cuda_wide_backward_data(device, &plan->problem.shape, a);
        return;
    }
    Tensor made = a->dx;
    if (a->add.data == a->dx.data) made.data = a->workspace;
    plan_run(device, plan, &(ConvPointers){.x = made.data, .weight = a->weight, .y = a->dy.data},
             a->workspace);
    if (a->add.data || a->dy_scale != 1.0f)
        cuda_add_scale(
            device,
            &(AddScale){.a = made, .b = a->add, .y = a->dx, .a_scale = a->dy_scale, .b_scale = a->add_scale});
}

void cuda_conv_backward_weight(Device *device, const ConvBackwardWeight *a) {
    const ConvPlan *plan = plan_of(a->plan, CONV_BACKWARD_WEIGHT, &a->x, &a->dy);
    const ConvShape *shape = &plan->problem.shape;
    if (conv_is_wide(shape)) {
        cuda_wide_backward_weight(device, shape, a);
    } else {
        plan_run(device, plan, &(ConvPointers){.x = a->x.data, .weight = a->workspace, .y = a->dy.data},
                 a->workspace);
        const Tensor made = {a->workspace, shape->dtype, 1, 1, 1, (int)conv_weight_count(shape)};
        cuda_accumulate(device, &made, a->dweight, a->dy_scale, a->accumulate);
    }
    if (a->dbias)
        cuda_column_sums(device, a->dy_sums.data ? &a->dy_sums : &a->dy, a->dbias, a->dy_scale,
                         a->accumulate);
}
