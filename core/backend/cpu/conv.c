/* Convolutions: which method a shape gets, and the checks that all methods share. */
#include "backend/cpu/conv.h"
#include <stdio.h>

/* In order of preference; the last one suits everything. */
static const ConvMethod *const methods[] = {
    &conv_winograd,
#if ICT_ONEDNN
    &conv_onednn,
#endif
    &conv_portable,
};
enum { METHODS = sizeof methods / sizeof *methods };

const char *cpu_conv_library(char out[64]) {
#if ICT_ONEDNN
    conv_onednn_version(out);
#else
    snprintf(out, 64, "portable convolution");
#endif
    return out;
}

OpPlan *conv_prepare_with(Device *device, const ConvMethod *method, const ConvShape *shape, ConvPass pass) {
    CHECK(shape->dtype == DTYPE_F32, "conv: the CPU computes in fp32 only");
    CHECK(shape->pad_h < shape->kernel_h && shape->pad_w < shape->kernel_w && shape->stride > 0,
          "conv: a padding of %d x %d is not smaller than the kernel", shape->pad_h, shape->pad_w);
    CHECK(conv_out_h(shape) > 0 && conv_out_w(shape) > 0, "conv: the kernel is larger than the padded image");
    ConvPlan *plan = method->prepare(device, shape, pass);
    return &plan->plan;
}

OpPlan *cpu_conv_prepare(Device *device, const ConvShape *shape, ConvPass pass,
                         const ConvEpilogue *epilogue) {
    int m = 0;
    (void)epilogue; /* every method adds and scales where it writes */
    while (m < METHODS - 1 && !methods[m]->suits(shape, pass)) m++;
    return conv_prepare_with(device, methods[m], shape, pass);
}

void cpu_plan_release(Device *device, OpPlan *op_plan) {
    (void)device;
    ConvPlan *plan = (ConvPlan *)op_plan;
    if (plan) plan->method->release(plan);
}

static const ConvPlan *plan_of(const OpPlan *op_plan, ConvPass pass, const Tensor *x, const Tensor *y) {
    const ConvPlan *plan = (const ConvPlan *)op_plan;
    const ConvShape *s = &plan->shape;
    CHECK(plan->pass == pass, "conv: the plan is for another pass");
    CHECK_F32(*x);
    CHECK_F32(*y);
    CHECK(x->n == s->n && x->h == s->h && x->w == s->w && x->c == s->c_in, "conv: x differs from the plan's");
    CHECK(y->n == s->n && y->h == conv_out_h(s) && y->w == conv_out_w(s) && y->c == s->c_out,
          "conv: y differs from the plan's");
    return plan;
}

void cpu_conv_forward(Device *device, const ConvForward *a) {
    const ConvPlan *plan = plan_of(a->plan, CONV_FORWARD, &a->x, &a->y);
    CHECK_F32(a->residual);
    plan->method->forward(device, plan, a);
}

void cpu_conv_backward_data(Device *device, const ConvBackwardData *a) {
    const ConvPlan *plan = plan_of(a->plan, CONV_BACKWARD_DATA, &a->dx, &a->dy);
    CHECK_F32(a->add);
    plan->method->backward_data(device, plan, a);
}

void cpu_conv_backward_weight(Device *device, const ConvBackwardWeight *a) {
    const ConvPlan *plan = plan_of(a->plan, CONV_BACKWARD_WEIGHT, &a->x, &a->dy);
    plan->method->backward_weight(device, plan, a);
}

void conv_sum_scaled(const Device *device, float *y, const float *a, float a_scale, const float *b,
                     float b_scale, int64_t count) {
    const int parts = cpu_parts(device, count);
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int part = 0; part < parts; part++) {
        const Range r = range_part_step(count, 16, part, parts);
        if (b) {
#pragma omp simd
            for (int64_t i = r.begin; i < r.end; i++) y[i] = a_scale * a[i] + b_scale * b[i];
        } else {
#pragma omp simd
            for (int64_t i = r.begin; i < r.end; i++) y[i] = a_scale * a[i];
        }
    }
}
