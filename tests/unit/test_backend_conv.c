/* Convolutions of the CPU backend against a loop nest in double that says what they mean. Every method of
 * convolving runs every case: odd sizes, strides, kernels that are not square, three channels, one image. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "arrays.h"
#include "backend/cpu/conv.h"
#include <stdio.h>

typedef struct ConvCase {
    const char *name;
    ConvShape s;
    bool bias, residual;
    float scale;
} ConvCase;

/* n, h, w, c_in, c_out, kernel_h, kernel_w, stride, pad_h, pad_w */
static const ConvCase cases[] = {
    {"one small image", {1, 5, 7, 3, 8, 3, 3, 1, 1, 1, DTYPE_F32, false}, true, true, 0.7f},
    {"image in", {3, 16, 16, 3, 32, 3, 3, 1, 1, 1, DTYPE_F32, false}, true, false, 1.0f},
    {"image out", {3, 16, 16, 32, 3, 3, 3, 1, 1, 1, DTYPE_F32, false}, true, false, 1.0f},
    {"residual", {5, 16, 16, 32, 32, 3, 3, 1, 1, 1, DTYPE_F32, false}, true, true, 0.70710678f},
    {"no bias", {2, 8, 8, 48, 64, 3, 3, 1, 1, 1, DTYPE_F32, false}, false, true, 1.0f},
    {"small images", {8, 4, 4, 64, 32, 3, 3, 1, 1, 1, DTYPE_F32, false}, true, false, 0.5f},
    {"odd channels", {2, 9, 6, 5, 13, 3, 3, 1, 1, 1, DTYPE_F32, false}, false, false, 1.0f},
    {"odd image, even channels", {3, 7, 10, 32, 48, 3, 3, 1, 1, 1, DTYPE_F32, false}, true, true, 1.0f},
    {"more tiles than pass at once", {9, 20, 20, 64, 48, 3, 3, 1, 1, 1, DTYPE_F32, false}, true, false, 1.0f},
    {"stride 2", {2, 9, 6, 5, 3, 3, 3, 2, 1, 1, DTYPE_F32, false}, true, false, 1.0f},
    {"stride 2, no padding", {1, 11, 11, 3, 16, 3, 3, 2, 0, 0, DTYPE_F32, false}, true, true, 1.0f},
    {"1x1", {2, 4, 4, 32, 64, 1, 1, 1, 0, 0, DTYPE_F32, false}, true, true, 1.0f},
    {"1x7", {2, 7, 9, 4, 6, 1, 7, 1, 0, 3, DTYPE_F32, false}, true, false, 1.0f},
    {"5x5 on one channel", {2, 12, 10, 1, 4, 5, 5, 1, 2, 2, DTYPE_F32, false}, true, false, 1.0f},
};

/* One case's data, what each pass should make of it, and the label for messages. */
typedef struct Data {
    const ConvMethod *method;
    const ConvCase *c;
    double tolerance;
    Tensor x, weight, bias, residual, dy, old;
    double *y, *dx, *dweight, *dbias;
} Data;

/* One loop nest: every (output, input, weight) that meet give their share to y and to all gradients. */
static void reference_make(const ConvShape *s, Data *d) {
    const float *x = d->x.data, *weight = d->weight.data, *dy = d->dy.data;
    for (int64_t at = 0; at < tensor_count(&d->dy); at++) {
        const int o = (int)(at % d->dy.c), ox = (int)(at / d->dy.c % d->dy.w);
        const int oy = (int)(at / d->dy.c / d->dy.w % d->dy.h), n = (int)(at / d->dy.c / d->dy.w / d->dy.h);
        d->dbias[o] += dy[at];
        for (int k = 0; k < s->kernel_h * s->kernel_w; k++) {
            const int iy = oy * s->stride - s->pad_h + k / s->kernel_w;
            const int ix = ox * s->stride - s->pad_w + k % s->kernel_w;
            if (iy < 0 || iy >= s->h || ix < 0 || ix >= s->w) continue;
            const int64_t xi = ((int64_t)(n * s->h + iy) * s->w + ix) * s->c_in;
            const int64_t wi = ((int64_t)o * s->kernel_h * s->kernel_w + k) * s->c_in;
            for (int i = 0; i < s->c_in; i++) {
                d->y[at] += (double)x[xi + i] * weight[wi + i];
                d->dx[xi + i] += (double)dy[at] * weight[wi + i];
                d->dweight[wi + i] += (double)dy[at] * x[xi + i];
            }
        }
    }
}

static Data data_make(const ConvMethod *method, const ConvCase *c, double tolerance) {
    const ConvShape *s = &c->s;
    Data d = {.method = method, .c = c, .tolerance = tolerance};
    d.x = tensor_random(s->n, s->h, s->w, s->c_in);
    d.weight = tensor_random(s->c_out, s->kernel_h, s->kernel_w, s->c_in);
    d.old = tensor_random(s->c_out, s->kernel_h, s->kernel_w, s->c_in);
    d.bias = tensor_random(1, 1, 1, s->c_out);
    d.residual = tensor_random(s->n, conv_out_h(s), conv_out_w(s), s->c_out);
    d.dy = tensor_random(s->n, conv_out_h(s), conv_out_w(s), s->c_out);
    d.y = doubles_zero(tensor_count(&d.dy));
    d.dx = doubles_zero(tensor_count(&d.x));
    d.dweight = doubles_zero(tensor_count(&d.weight));
    d.dbias = doubles_zero(s->c_out);
    reference_make(s, &d);
    return d;
}

static const char *label(const Data *d, const char *what) {
    static char text[128];
    snprintf(text, sizeof text, "%s, %s, %s", d->method->name, d->c->name, what);
    return text;
}

static void forward_check(const Data *d) {
    const ConvCase *c = d->c;
    OpPlan *plan = conv_prepare_with(device, d->method, &c->s, CONV_FORWARD);
    ConvForward a = {
        .plan = plan, .x = d->x, .y = tensor_like(d->dy), .weight = d->weight.data, .scale = c->scale};
    if (c->residual) a.residual = d->residual;
    if (c->bias) a.bias = d->bias.data;
    a.workspace = array_poisoned(plan->workspace);
    device->ops->conv_forward(device, &a);
    const int64_t count = tensor_count(&a.y);
    const float *bias = d->bias.data, *residual = d->residual.data, *y = a.y.data;
    double *want = doubles_zero(count);
    for (int64_t i = 0; i < count; i++)
        want[i] =
            c->scale * (d->y[i] + (c->bias ? bias[i % a.y.c] : 0.0) + (c->residual ? residual[i] : 0.0));
    check_near(y, want, count, d->tolerance, label(d, "y"));
    a.y = tensor_like(a.y);
    device->ops->conv_forward(device, &a);
    check_same_bits(y, a.y.data, count, label(d, "y"));
    device->ops->plan_release(device, plan);
}

typedef enum AddKind { ADD_NOTHING, ADD_OTHER, ADD_SELF, ADD_KINDS } AddKind;

static void backward_data_check(const Data *d, AddKind kind) {
    OpPlan *plan = conv_prepare_with(device, d->method, &d->c->s, CONV_BACKWARD_DATA);
    const Tensor old = tensor_random(d->x.n, d->x.h, d->x.w, d->x.c);
    ConvBackwardData a = {.plan = plan, .dy = d->dy, .weight = d->weight.data, .dy_scale = d->c->scale};
    a.dx = kind == ADD_SELF ? tensor_copy(old) : tensor_like(old);
    a.add = kind == ADD_SELF ? a.dx : old;
    if (kind == ADD_NOTHING) a.add.data = NULL;
    a.add_scale = 0.25f;
    a.workspace = array_poisoned(plan->workspace);
    device->ops->conv_backward_data(device, &a);
    const int64_t count = tensor_count(&old);
    double *want = doubles_zero(count);
    for (int64_t i = 0; i < count; i++)
        want[i] = d->c->scale * d->dx[i] + (kind == ADD_NOTHING ? 0.0 : 0.25 * ((float *)old.data)[i]);
    check_near(a.dx.data, want, count, d->tolerance, label(d, "dx"));
    device->ops->plan_release(device, plan);
}

/* want = scale * gradient (+ old), and the same bits twice. */
static void gradient_check(const Data *d, float *const got[2], const double *gradient, int64_t count,
                           bool accumulate, const char *what) {
    double *want = doubles_zero(count);
    for (int64_t i = 0; i < count; i++)
        want[i] = d->c->scale * gradient[i] + (accumulate ? ((float *)d->old.data)[i] : 0.0);
    check_near(got[0], want, count, d->tolerance, label(d, what));
    check_same_bits(got[0], got[1], count, label(d, what));
}

static void backward_weight_check(const Data *d, bool accumulate) {
    OpPlan *plan = conv_prepare_with(device, d->method, &d->c->s, CONV_BACKWARD_WEIGHT);
    const int outputs = d->c->s.c_out;
    float *dweight[2], *dbias[2];
    for (int run = 0; run < 2; run++) {
        dweight[run] = floats_poisoned(tensor_count(&d->old));
        dbias[run] = floats_poisoned(outputs);
        if (accumulate) memcpy(dweight[run], d->old.data, tensor_bytes(&d->old));
        if (accumulate) memcpy(dbias[run], d->old.data, (size_t)outputs * sizeof(float));
        const ConvBackwardWeight a = {plan,        d->x,         d->dy,
                                      (Tensor){0}, dweight[run], dbias[run],
                                      d->c->scale, accumulate,   array_poisoned(plan->workspace)};
        device->ops->conv_backward_weight(device, &a);
    }
    gradient_check(d, dweight, d->dweight, tensor_count(&d->old), accumulate, "dweight");
    gradient_check(d, dbias, d->dbias, outputs, accumulate, "dbias");
    device->ops->plan_release(device, plan);
}

static void method_check(const ConvMethod *method, double tolerance) {
    for (int i = 0; i < LENGTH(cases); i++) {
        const ConvShape *s = &cases[i].s;
        const Data d = data_make(method, &cases[i], tolerance);
        if (method->suits(s, CONV_FORWARD)) forward_check(&d);
        for (AddKind kind = 0; kind < ADD_KINDS; kind++)
            if (method->suits(s, CONV_BACKWARD_DATA)) backward_data_check(&d, kind);
        for (int accumulate = 0; accumulate < 2; accumulate++)
            if (method->suits(s, CONV_BACKWARD_WEIGHT)) backward_weight_check(&d, accumulate);
    }
}

static void test_portable(void **state) {
    (void)state;
    method_check(&conv_portable, 3e-6);
}

static void test_winograd(void **state) {
    (void)state;
    method_check(&conv_winograd, 4e-6);
}

static void test_onednn(void **state) {
    (void)state;
#if ICT_ONEDNN
    method_check(&conv_onednn, 3e-6);
#else
    skip();
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_portable, arrays_setup, arrays_teardown),
        cmocka_unit_test_setup_teardown(test_winograd, arrays_setup, arrays_teardown),
        cmocka_unit_test_setup_teardown(test_onednn, arrays_setup, arrays_teardown),
    };
    return cmocka_run_group_tests_name("backend: convolutions", tests, NULL, NULL);
}
