/* Group normalisation of the CPU backend against its formula in double, and its gradients against central
 * differences of that formula: one and two sources, groups that straddle the seam, and every option. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "arrays.h"
#include <stdio.h>

typedef struct NormCase {
    const char *name;
    int n, h, w, c0, c1, groups;
    bool bias, scale_shift;
    Activation activation;
    float dropout, mean; /* mean of x, whose deviation is 1 */
} NormCase;

static const NormCase cases[] = {
    {"plain", 2, 4, 4, 8, 0, 4, false, false, ACT_NONE, 0.0f, 0.0f},
    {"one image, bias, SiLU", 1, 5, 3, 12, 0, 3, true, false, ACT_SILU, 0.0f, 0.5f},
    {"straddling groups", 3, 4, 4, 16, 8, 2, true, true, ACT_SILU, 0.0f, 0.0f},
    {"odd channels, ReLU", 2, 3, 5, 5, 10, 5, false, true, ACT_RELU, 0.0f, 0.2f},
    {"one channel a group", 2, 4, 3, 7, 0, 7, false, true, ACT_SILU, 0.0f, 0.0f},
    {"dropout", 2, 5, 5, 10, 8, 6, true, true, ACT_SILU, 0.25f, 0.0f},
    {"dropout without activation", 3, 3, 3, 3, 0, 1, false, false, ACT_NONE, 0.1f, 0.0f},
    {"mean of a thousand deviations", 2, 8, 8, 16, 16, 8, false, false, ACT_SILU, 0.0f, 1000.0f},
    {"large image", 1, 16, 16, 40, 24, 8, true, true, ACT_SILU, 0.5f, 1.0f},
};

/* Inputs as doubles, so that differences can be taken. */
typedef struct Inputs {
    double *x[2], *bias, *scale_shift, *gamma, *beta;
} Inputs;

typedef struct Data {
    const NormCase *c;
    int channels, pixels;
    StepRow row;
    NormForward forward;
    Tensor dy;
    Inputs in;
    double *keep; /* the dropout mask: 0 or 1 / (1 - rate) */
} Data;

static const float epsilon = 1e-5f;

/* Straight from the contract, one element at a time. */
static void mask_make(Data *d) {
    const int64_t slab = (int64_t)d->pixels * d->channels;
    const Dropout *p = &d->forward.dropout;
    d->keep = doubles_zero(d->c->n * slab);
    for (int64_t i = 0; i < d->c->n * slab; i++) {
        const RandomKey key = {p->draw.seed, STREAM_DROPOUT + p->layer, d->row.step,
                               p->draw.first_sample + (uint32_t)(i / slab)};
        const uint32_t element = (uint32_t)(i % slab), lane = element % 8;
        const uint32_t word = random_block(key, element / 8).x[lane / 2];
        const uint32_t value = lane % 2 ? word >> 16 : word & 0xffff;
        d->keep[i] = value >= lrint(p->rate * 65536.0) ? (float)(1.0 / (1.0 - (double)p->rate)) : 0.0;
    }
}

static Data *data_make(const NormCase *c) {
    Data *d = array_poisoned(sizeof *d);
    *d = (Data){.c = c, .channels = c->c0 + c->c1, .pixels = c->h * c->w, .row = {.step = 77}};
    NormForward *f = &d->forward;
    f->x[0] = tensor_random(c->n, c->h, c->w, c->c0);
    if (c->c1) f->x[1] = tensor_random(c->n, c->h, c->w, c->c1);
    for (int s = 0; s < 2; s++)
        for (int64_t i = 0; f->x[s].data && i < tensor_count(&f->x[s]); i++)
            ((float *)f->x[s].data)[i] += c->mean;
    if (c->bias) f->bias = tensor_random(c->n, 1, 1, d->channels);
    if (c->scale_shift) f->scale_shift = tensor_random(c->n, 1, 1, 2 * d->channels);
    f->gamma = floats_random(d->channels);
    f->beta = floats_random(d->channels);
    f->groups = c->groups;
    f->epsilon = epsilon;
    f->activation = c->activation;
    f->dropout = (Dropout){c->dropout, 3, {0x123456789abcdefull, &d->row, 1000}};
    f->statistics = floats_poisoned(c->n * c->groups * 2);
    f->y = tensor_poisoned(c->n, c->h, c->w, d->channels);
    d->dy = tensor_random(c->n, c->h, c->w, d->channels);
    for (int s = 0; s < 2; s++)
        d->in.x[s] = f->x[s].data ? doubles_of(f->x[s].data, tensor_count(&f->x[s])) : NULL;
    d->in.bias = c->bias ? doubles_of(f->bias.data, tensor_count(&f->bias)) : NULL;
    d->in.scale_shift =
        c->scale_shift ? doubles_of(f->scale_shift.data, tensor_count(&f->scale_shift)) : NULL;
    d->in.gamma = doubles_of(f->gamma, d->channels);
    d->in.beta = doubles_of(f->beta, d->channels);
    mask_make(d);
    return d;
}

/* x + bias at (sample, pixel, channel of the concatenation). */
static double value_at(const Data *d, int n, int p, int c) {
    const int c0 = d->c->c0, source = c >= c0, width = source ? d->c->c1 : c0;
    const double x = d->in.x[source][((int64_t)n * d->pixels + p) * width + c - source * c0];
    return x + (d->in.bias ? d->in.bias[n * d->channels + c] : 0.0);
}

static double activate(Activation activation, double v) {
    if (activation == ACT_SILU) return v / (1.0 + exp(-v));
    return activation == ACT_RELU ? fmax(v, 0.0) : v;
}

static void group_plain(const Data *d, int n, int g, double *y) {
    const int size = d->channels / d->c->groups;
    double mean = 0.0, variance = 0.0;
    for (int p = 0; p < d->pixels; p++)
        for (int c = g * size; c < (g + 1) * size; c++) mean += value_at(d, n, p, c) / (size * d->pixels);
    for (int p = 0; p < d->pixels; p++)
        for (int c = g * size; c < (g + 1) * size; c++)
            variance += pow(value_at(d, n, p, c) - mean, 2.0) / (size * d->pixels);
    for (int p = 0; p < d->pixels; p++)
        for (int c = g * size; c < (g + 1) * size; c++) {
            const double *s = d->in.scale_shift ? d->in.scale_shift + (int64_t)n * 2 * d->channels : NULL;
            double v =
                (value_at(d, n, p, c) - mean) / sqrt(variance + epsilon) * d->in.gamma[c] + d->in.beta[c];
            if (s) v = v * (1.0 + s[c]) + s[d->channels + c];
            const int64_t at = ((int64_t)n * d->pixels + p) * d->channels + c;
            y[at] = activate(d->c->activation, v) * d->keep[at];
        }
}

static void norm_plain(const Data *d, double *y) {
    for (int n = 0; n < d->c->n; n++)
        for (int g = 0; g < d->c->groups; g++) group_plain(d, n, g, y);
}

static void test_forward(void **state) {
    (void)state;
    for (int i = 0; i < LENGTH(cases); i++) {
        Data *d = data_make(&cases[i]);
        const int64_t count = tensor_count(&d->dy);
        double *want = doubles_zero(count);
        norm_plain(d, want);
        device->ops->norm_forward(device, &d->forward);
        const float *first = d->forward.y.data, *y;
        /* x itself is rounded: at a mean of a thousand deviations its last place is 6e-5 of a deviation */
        check_near(first, want, count, d->c->mean > 100.0f ? 5e-5 : 2e-6, d->c->name);
        d->forward.y = tensor_like(d->forward.y);
        device->ops->norm_forward(device, &d->forward);
        y = d->forward.y.data;
        check_same_bits(first, y, count, d->c->name);
        for (int64_t e = 0; e < count; e++)
            if (d->keep[e] == 0.0) assert_true(y[e] == 0.0f);
    }
}

/* ---- gradients ---- */

static double loss(const Data *d, double *y) {
    double sum = 0.0;
    norm_plain(d, y);
    for (int64_t i = 0; i < tensor_count(&d->dy); i++) sum += y[i] * ((float *)d->dy.data)[i];
    return sum;
}

/* Compares `got` with central differences of dy_scale * loss over `values`, at sixty places, after what was
 * added to got (add_scale * add) is taken away. */
static void gradient_check(const Data *d, double dy_scale, double *values, int64_t count, const float *got,
                           const float *add, double add_scale, const char *what) {
    const int64_t step = count / 60 * 2 + 1;
    double *y = doubles_zero(tensor_count(&d->dy)), *want = doubles_zero(count);
    float *places = floats_poisoned(count);
    int64_t n = 0;
    char name[128];
    for (int64_t i = 0; i < count; i += step, n++) {
        const double old = values[i], h = 1e-5;
        values[i] = old + h;
        const double above = loss(d, y);
        values[i] = old - h;
        const double below = loss(d, y);
        values[i] = old;
        want[n] = dy_scale * (above - below) / (2.0 * h) + (add ? add_scale * add[i] : 0.0);
        places[n] = got[i];
    }
    snprintf(name, sizeof name, "%s, %s", d->c->name, what);
    check_near(places, want, n, d->c->mean > 100.0f ? 3e-4 : 1e-5, name);
}

/* Source 0 accumulates into its own gradient, another tensor is added to source 1. */
static NormBackward backward_make(const Data *d, const Tensor add[2], bool accumulate, const float *old) {
    NormBackward b = {.forward = d->forward, .dy = d->dy, .dy_scale = 0.7f, .add_scale = {1.0f, -0.5f}};
    b.forward.y.data = NULL;
    b.dx[0] = tensor_copy(add[0]);
    b.add[0] = b.dx[0];
    if (d->c->c1) b.dx[1] = tensor_like(add[1]);
    b.add[1] = add[1];
    if (d->c->bias) b.dbias = tensor_like(d->forward.bias);
    if (d->c->scale_shift) b.dscale_shift = tensor_like(d->forward.scale_shift);
    b.dgamma = floats_poisoned(d->channels);
    b.dbeta = floats_poisoned(d->channels);
    b.accumulate = accumulate;
    if (accumulate) memcpy(b.dgamma, old, (size_t)d->channels * sizeof(float));
    if (accumulate) memcpy(b.dbeta, old, (size_t)d->channels * sizeof(float));
    b.workspace = array_poisoned(device->ops->norm_backward_workspace(device, &d->forward));
    return b;
}

static void backward_check(const Data *d, bool accumulate) {
    Tensor add[2] = {tensor_random(d->c->n, d->c->h, d->c->w, d->c->c0), {0}};
    if (d->c->c1) add[1] = tensor_random(d->c->n, d->c->h, d->c->w, d->c->c1);
    const float *old = floats_random(d->channels), *kept = accumulate ? old : NULL;
    const NormBackward b = backward_make(d, add, accumulate, old),
                       twin = backward_make(d, add, accumulate, old);
    device->ops->norm_backward(device, &b);
    device->ops->norm_backward(device, &twin);
    for (int s = 0; s < (d->c->c1 ? 2 : 1); s++) {
        const int64_t count = tensor_count(&add[s]);
        gradient_check(d, 0.7, d->in.x[s], count, b.dx[s].data, add[s].data, b.add_scale[s],
                       s ? "dx1" : "dx0");
        check_same_bits(b.dx[s].data, twin.dx[s].data, count, d->c->name);
    }
    gradient_check(d, 0.7, d->in.gamma, d->channels, b.dgamma, kept, 1.0, "dgamma");
    gradient_check(d, 0.7, d->in.beta, d->channels, b.dbeta, kept, 1.0, "dbeta");
    check_same_bits(b.dgamma, twin.dgamma, d->channels, d->c->name);
    const int64_t samples = (int64_t)d->c->n * d->channels;
    if (d->c->bias) gradient_check(d, 0.7, d->in.bias, samples, b.dbias.data, NULL, 0.0, "dbias");
    if (d->c->scale_shift)
        gradient_check(d, 0.7, d->in.scale_shift, 2 * samples, b.dscale_shift.data, NULL, 0.0,
                       "dscale_shift");
}

static void test_backward(void **state) {
    (void)state;
    for (int i = 0; i < LENGTH(cases); i++) {
        Data *d = data_make(&cases[i]);
        device->ops->norm_forward(device, &d->forward);
        backward_check(d, false);
        backward_check(d, true);
    }
}

/* One source's gradient can be left out; the other one's bits do not change. */
static void test_backward_skips(void **state) {
    (void)state;
    Data *d = data_make(&cases[2]);
    const Tensor add[2] = {tensor_random(d->c->n, d->c->h, d->c->w, d->c->c0),
                           tensor_random(d->c->n, d->c->h, d->c->w, d->c->c1)};
    device->ops->norm_forward(device, &d->forward);
    const NormBackward both = backward_make(d, add, false, NULL);
    NormBackward one = backward_make(d, add, false, NULL);
    one.dx[0].data = NULL;
    one.dbias.data = NULL;
    one.dscale_shift.data = NULL;
    one.dgamma = one.dbeta = NULL;
    device->ops->norm_backward(device, &both);
    device->ops->norm_backward(device, &one);
    check_same_bits(both.dx[1].data, one.dx[1].data, tensor_count(&add[1]), "dx1 alone");
}

#define OP_TEST(name) cmocka_unit_test_setup_teardown(name, arrays_setup, arrays_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {OP_TEST(test_forward), OP_TEST(test_backward),
                                       OP_TEST(test_backward_skips)};
    return cmocka_run_group_tests_name("backend: group norm", tests, NULL, NULL);
}
