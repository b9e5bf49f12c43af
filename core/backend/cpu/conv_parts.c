/* Convolutions side by side: one after the other by the method that suits its shape, 1x1 as products of
 * matrices. What is to be rectified or to lie within a wider tensor passes through the workspace first. */
#include "backend/cpu/conv.h"
#include <stdlib.h>

typedef struct PartsPlan {
    ConvPlan base;
    OpPlan *part[CONV_PARTS]; /* NULL: a product */
    size_t image[CONV_PARTS]; /* bytes of the convolution's result; the plan's own workspace follows */
} PartsPlan;

static void parts_release(ConvPlan *plan) {
    PartsPlan *parts = (PartsPlan *)plan;
    for (int i = 0; i < CONV_PARTS; i++) cpu_plan_release(NULL, parts->part[i]);
    free(parts);
}

static const ConvMethod conv_parts = {.name = "parts", .release = parts_release};

static bool is_product(const ConvShape *s) {
    return s->kernel_h == 1 && s->kernel_w == 1 && s->stride == 1 && !s->pad_h && !s->pad_w;
}

OpPlan *cpu_conv_parts_prepare(Device *device, const ConvShape *shape, const int *c_out, int parts) {
    PartsPlan *plan = calloc(1, sizeof *plan);
    CHECK(plan && parts <= CONV_PARTS, "out of memory");
    plan->base = (ConvPlan){.method = &conv_parts, .shape = *shape, .pass = CONV_FORWARD};
    for (int i = 0; i < parts; i++) {
        ConvShape one = *shape;
        one.c_out = c_out[i];
        if (!is_product(shape)) plan->part[i] = cpu_conv_prepare(device, &one, CONV_FORWARD, NULL);
        const int64_t count = (int64_t)one.n * conv_out_h(&one) * conv_out_w(&one) * one.c_out;
        plan->image[i] = ((size_t)count * sizeof(float) + 63) / 64 * 64;
        const size_t bytes = plan->image[i] + (plan->part[i] ? plan->part[i]->workspace : 0);
        if (bytes > plan->base.plan.workspace) plan->base.plan.workspace = bytes;
    }
    return &plan->base.plan;
}

static void part_convolve(Device *device, const ConvParts *op, int i, Tensor y, void *workspace) {
    const PartsPlan *plan = (const PartsPlan *)op->plan;
    const ConvPart *part = &op->part[i];
    if (plan->part[i])
        cpu_conv_forward(device, &(ConvForward){.plan = plan->part[i],
                                                .x = op->x,
                                                .y = y,
                                                .weight = part->weight,
                                                .bias = part->bias,
                                                .scale = 1,
                                                .workspace = workspace});
    else
        cpu_linear_forward(
            device,
            &(LinearForward){.x = {op->x}, .y = y, .weight = part->weight, .bias = part->bias, .scale = 1});
}

/* Rows of `made` into their channels of y. */
static void part_place(const Device *device, const ConvPart *part, const Tensor *made) {
    const int64_t rows = tensor_rows(made);
    const int channels = made->c, parts = cpu_parts(device, rows * channels);
    const bool rectify = part->activation == ACT_RELU;
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int p = 0; p < parts; p++) {
        const Range range = range_part(rows, p, parts);
        for (int64_t row = range.begin; row < range.end; row++) {
            const float *from = (const float *)made->data + row * channels;
            float *to = (float *)part->y.data + row * part->y.c + part->first;
#pragma omp simd
            for (int c = 0; c < channels; c++) to[c] = rectify && from[c] < 0.0f ? 0.0f : from[c];
        }
    }
}

void cpu_conv_parts(Device *device, const ConvParts *op) {
    const PartsPlan *plan = (const PartsPlan *)op->plan;
    for (int i = 0; i < op->parts; i++) {
        const ConvPart *part = &op->part[i];
        Tensor made = part->y;
        CHECK(part->activation != ACT_SILU, "conv_parts: no activation but the rectifier");
        CHECK(part->first >= 0 && part->first + part->c_out <= part->y.c, "conv_parts: channels of part %d",
              i);
        made.c = part->c_out;
        const bool plain = part->y.c == part->c_out && part->activation == ACT_NONE;
        if (!plain) made.data = op->workspace;
        part_convolve(device, op, i, made, (char *)op->workspace + plan->image[i]);
        if (!plain) part_place(device, part, &made);
    }
}
