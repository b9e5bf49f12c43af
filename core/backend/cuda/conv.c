/* Convolutions: the ops around cuDNN's plain convolution. Scale, bias, residual and accumulation are one
 * elementwise pass behind it; the bias gradient is a sum over the rows of dy. */
#include "backend/cuda/conv.h"
#include <stdlib.h>

/* `raw` bytes of the workspace hold a result that is then combined with what is there already; cuDNN has the
 * rest. */
typedef struct ConvPlan {
    OpPlan plan;
    ConvShape shape;
    ConvPass pass;
    const ConvKernel *kernel;
    size_t raw;
} ConvPlan;

/* Backward results go through the workspace where they may have to be added to: dx when `add` is dx itself,
 * and always dW, which cuDNN makes in the network's type. */
static size_t raw_bytes(const ConvShape *shape, ConvPass pass) {
    const Tensor x = conv_tensor_x(shape);
    const size_t bytes = pass == CONV_FORWARD ? 0
                         : pass == CONV_BACKWARD_DATA
                             ? tensor_bytes(&x)
                             : (size_t)conv_weight_count(shape) * dtype_size(shape->dtype);
    return (bytes + 255) / 256 * 256;
}

OpPlan *cuda_conv_prepare(Device *device, const ConvShape *shape, ConvPass pass) {
    CHECK(shape->stride > 0 && conv_out_h(shape) > 0 && conv_out_w(shape) > 0,
          "conv: the kernel is larger than the padded image");
    ConvPlan *plan = malloc(sizeof *plan);
    CHECK(plan, "out of memory");
    *plan = (ConvPlan){.shape = *shape, .pass = pass, .raw = raw_bytes(shape, pass)};
    plan->kernel = conv_kernel_find(device, shape, pass);
    plan->plan.workspace = plan->raw + plan->kernel->workspace;
    return &plan->plan;
}

void cuda_plan_release(Device *device, OpPlan *plan) {
    (void)device;
    free(plan);
}

static const ConvPlan *plan_of(const OpPlan *op_plan, ConvPass pass, const Tensor *x, const Tensor *y) {
    const ConvPlan *plan = (const ConvPlan *)op_plan;
    const Tensor want_x = conv_tensor_x(&plan->shape), want_y = conv_tensor_y(&plan->shape);
    CHECK(plan->pass == pass, "conv: the plan is for another pass");
    CHECK(x->n == want_x.n && x->h == want_x.h && x->w == want_x.w && x->c == want_x.c &&
              x->dtype == want_x.dtype,
          "conv: x differs from the plan's");
    CHECK(y->n == want_y.n && y->h == want_y.h && y->w == want_y.w && y->c == want_y.c &&
              y->dtype == want_y.dtype,
          "conv: y differs from the plan's");
    return plan;
}

static void *library_workspace(const ConvPlan *plan, void *workspace) {
    return plan->kernel->workspace ? (char *)workspace + plan->raw : NULL;
}

void cuda_conv_forward(Device *device, const ConvForward *a) {
    const ConvPlan *plan = plan_of(a->plan, CONV_FORWARD, &a->x, &a->y);
    CHECK(a->residual.data != a->y.data, "conv: the residual is overwritten");
    conv_kernel_run(device, plan->kernel, a->x.data, a->weight, a->y.data,
                    library_workspace(plan, a->workspace));
    if (a->bias || a->residual.data || a->scale != 1.0f)
        cuda_epilogue(device, &a->y, a->bias, &a->residual, a->scale, a->scale);
}

void cuda_conv_backward_data(Device *device, const ConvBackwardData *a) {
    const ConvPlan *plan = plan_of(a->plan, CONV_BACKWARD_DATA, &a->dx, &a->dy);
    Tensor made = a->dx;
    if (a->add.data == a->dx.data) made.data = a->workspace;
    conv_kernel_run(device, plan->kernel, made.data, a->weight, a->dy.data,
                    library_workspace(plan, a->workspace));
    if (a->add.data || a->dy_scale != 1.0f)
        cuda_add_scale(
            device,
            &(AddScale){.a = made, .b = a->add, .y = a->dx, .a_scale = a->dy_scale, .b_scale = a->add_scale});
}

void cuda_conv_backward_weight(Device *device, const ConvBackwardWeight *a) {
    const ConvPlan *plan = plan_of(a->plan, CONV_BACKWARD_WEIGHT, &a->x, &a->dy);
    conv_kernel_run(device, plan->kernel, a->x.data, a->workspace, a->dy.data,
                    library_workspace(plan, a->workspace));
    const Tensor made = {a->workspace, plan->shape.dtype, 1, 1, 1, (int)conv_weight_count(&plan->shape)};
    cuda_accumulate(device, &made, a->dweight, a->dy_scale, a->accumulate);
    if (a->dbias) cuda_column_sums(device, &a->dy, a->dbias, a->dy_scale, a->accumulate);
}
