/* Element by element: activations, weighted sums, copies of channels. Nothing here computes much, so each op
 * is one loop that reads every input once and writes the output once; `add` may be the output, because
 * element i depends on elements i alone. The loops are always inlined with constant options, which leaves one
 * vectorised loop per combination.
 */
#include "backend/cpu/cpu.h"
#include "backend/cpu/simd.h"
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { LINE = 16 }; /* floats of a cache line: no two threads write the same one */

static void check_same_size(const char *op, const Tensor *tensor, int64_t count) {
    CHECK_F32(*tensor);
    CHECK(!tensor->data || tensor_count(tensor) == count, "%s: sizes differ", op);
}

/* ---- activations ---- */

INLINE float act_value(Activation activation, float x) {
    if (activation == ACT_SILU) return x * simd_sigmoid(x);
    if (activation == ACT_RELU) return x < 0.0f ? 0.0f : x; /* NaN stays NaN */
    return x;
}

INLINE float act_slope(Activation activation, float x) {
    if (activation == ACT_RELU) return x > 0.0f ? 1.0f : 0.0f;
    if (activation == ACT_NONE) return 1.0f;
    const float s = simd_sigmoid(x);
    return s * (1.0f + x * (1.0f - s));
}

INLINE void act_forward_run(const ActForward *op, Range range, Activation activation) {
    const float *x = op->x.data;
    float *y = op->y.data;
#pragma omp simd
    for (int64_t i = range.begin; i < range.end; i++) y[i] = act_value(activation, x[i]);
}

static void act_forward_range(const ActForward *op, Range range) {
    switch (op->activation) {
    case ACT_SILU:
        act_forward_run(op, range, ACT_SILU);
        break;
    case ACT_RELU:
        act_forward_run(op, range, ACT_RELU);
        break;
    case ACT_NONE:
        act_forward_run(op, range, ACT_NONE);
        break;
    }
}

void cpu_act_forward(Device *device, const ActForward *op) {
    const int64_t count = tensor_count(&op->y);
    check_same_size("act_forward", &op->x, count);
    check_same_size("act_forward", &op->y, count);
    const int parts = cpu_parts(device, count);
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int part = 0; part < parts; part++) act_forward_range(op, range_part_step(count, LINE, part, parts));
}

INLINE void act_backward_run(const ActBackward *op, Range range, Activation activation, bool with_add) {
    const float *x = op->x.data, *dy = op->dy.data, *add = op->add.data;
    float *dx = op->dx.data;
    const float dy_scale = op->dy_scale, add_scale = op->add_scale;
#pragma omp simd
    for (int64_t i = range.begin; i < range.end; i++) {
        const float gradient = dy_scale * dy[i] * act_slope(activation, x[i]);
        dx[i] = with_add ? __builtin_fmaf(add_scale, add[i], gradient) : gradient;
    }
}

INLINE void act_backward_any(const ActBackward *op, Range range, bool with_add) {
    switch (op->activation) {
    case ACT_SILU:
        act_backward_run(op, range, ACT_SILU, with_add);
        break;
    case ACT_RELU:
        act_backward_run(op, range, ACT_RELU, with_add);
        break;
    case ACT_NONE:
        act_backward_run(op, range, ACT_NONE, with_add);
        break;
    }
}

static void act_backward_range(const ActBackward *op, Range range) {
    if (op->add.data)
        act_backward_any(op, range, true);
    else
        act_backward_any(op, range, false);
}

void cpu_act_backward(Device *device, const ActBackward *op) {
    const int64_t count = tensor_count(&op->dx);
    const Tensor *tensors[] = {&op->x, &op->dy, &op->dx, &op->add};
    for (int i = 0; i < 4; i++) check_same_size("act_backward", tensors[i], count);
    const int parts = cpu_parts(device, count);
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int part = 0; part < parts; part++)
        act_backward_range(op, range_part_step(count, LINE, part, parts));
}

/* ---- weighted sums ---- */

INLINE void add_scale_run(const AddScale *op, Range range, bool two) {
    const float *a = op->a.data, *b = op->b.data;
    float *y = op->y.data;
    const float a_scale = op->a_scale, b_scale = op->b_scale;
#pragma omp simd
    for (int64_t i = range.begin; i < range.end; i++)
        y[i] = two ? __builtin_fmaf(a_scale, a[i], b_scale * b[i]) : a_scale * a[i];
}

static void add_scale_range(const AddScale *op, Range range) {
    if (op->b.data)
        add_scale_run(op, range, true);
    else
        add_scale_run(op, range, false);
}

void cpu_add_scale(Device *device, const AddScale *op) {
    const int64_t count = tensor_count(&op->y);
    check_same_size("add_scale", &op->a, count);
    check_same_size("add_scale", &op->b, count);
    check_same_size("add_scale", &op->y, count);
    const int parts = cpu_parts(device, count);
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int part = 0; part < parts; part++) add_scale_range(op, range_part_step(count, LINE, part, parts));
}
