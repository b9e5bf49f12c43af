/* Every op that networks are made of, on CUDA against the CPU. Skipped where there is no card.
 * PARITY_VERBOSE=1 prints how far apart they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "sides.h"

#define LENGTH(array) ((int)(sizeof(array) / sizeof *(array)))

/* The type of this pass of a test, and its bound: the largest difference relative to the largest value. fp32
 * differs by the order of sums; the others are rounded to 11 and 8 bits once or twice. */
static DType dtype;
static const struct {
    DType dtype;
    const char *name;
    double bound;
} types[] = {{DTYPE_F32, "fp32", 2e-5}, {DTYPE_F16, "fp16", 4e-3}, {DTYPE_BF16, "bf16", 3e-2}};
static double bound;
static const char *type_name;

static void each_type(void (*body)(void)) {
    if (!sides[CUDA]) skip();
    for (int i = 0; i < LENGTH(types); i++) {
        dtype = types[i].dtype, bound = types[i].bound, type_name = types[i].name;
        body();
        sides_release();
    }
}

static void near_check(const Both *b, const char *what, int number) {
    char text[128];
    snprintf(text, sizeof text, "%s, %s, case %d", what, type_name, number);
    both_check(b, bound, text);
}

static Tensor none(void) {
    return (Tensor){0};
}

/* ---- convolutions ---- */

static const ConvShape conv_shapes[] = {
    {4, 16, 16, 3, 32, 3, 3, 1, 1, 1, 0}, {3, 8, 8, 32, 64, 3, 3, 1, 1, 1, 0},
    {2, 9, 7, 16, 24, 3, 3, 2, 1, 1, 0},  {2, 8, 8, 40, 3, 3, 3, 1, 1, 1, 0},
    {2, 8, 8, 16, 16, 5, 5, 1, 2, 2, 0},  {2, 17, 17, 16, 16, 1, 7, 1, 0, 3, 0},
};

static Both conv_x(const ConvShape *s) {
    return both_random(dtype, s->n, s->h, s->w, s->c_in);
}

static Both conv_y(const ConvShape *s) {
    return both_random(dtype, s->n, conv_out_h(s), conv_out_w(s), s->c_out);
}

static Both conv_weight(const ConvShape *s) {
    return both_random(dtype, s->c_out, s->kernel_h, s->kernel_w, s->c_in);
}

static OpPlan *conv_plan(int side, ConvShape shape, ConvPass pass, void **workspace) {
    shape.dtype = side == CPU ? DTYPE_F32 : dtype;
    OpPlan *plan = sides[side]->ops->conv_prepare(sides[side], &shape, pass);
    *workspace = side_memory(side, plan->workspace);
    return plan;
}

static void conv_forward_case(const ConvShape *shape, int number, bool plain) {
    const Both x = conv_x(shape), weight = conv_weight(shape), residual = conv_y(shape),
               bias = both_floats(shape->c_out);
    const Tensor like = residual.at[CUDA];
    const Both y = both_poisoned(dtype, like.n, like.h, like.w, like.c);
    for (int s = 0; s < SIDES; s++) {
        void *workspace;
        OpPlan *plan = conv_plan(s, *shape, CONV_FORWARD, &workspace);
        ConvForward op = {plan,    x.at[s],  y.at[s], residual.at[s], weight.at[s].data, bias.at[s].data,
                          0.7071f, workspace};
        if (plain) op.residual = none(), op.bias = NULL, op.scale = 1;
        sides[s]->ops->conv_forward(sides[s], &op);
        sides[s]->ops->plan_release(sides[s], plan);
    }
    near_check(&y, plain ? "conv_forward plain" : "conv_forward", number);
}

/* `way` 0: nothing to add; 1: another tensor; 2: dx itself. */
static void conv_data_case(const ConvShape *shape, int number, int way) {
    const Both dy = conv_y(shape), weight = conv_weight(shape), add = conv_x(shape);
    const Both dx =
        way == 2 ? both_copy(&add) : both_poisoned(dtype, shape->n, shape->h, shape->w, shape->c_in);
    for (int s = 0; s < SIDES; s++) {
        void *workspace;
        OpPlan *plan = conv_plan(s, *shape, CONV_BACKWARD_DATA, &workspace);
        const Tensor added = way == 0 ? none() : way == 1 ? add.at[s] : dx.at[s];
        sides[s]->ops->conv_backward_data(
            sides[s],
            &(ConvBackwardData){plan, dy.at[s], dx.at[s], added, weight.at[s].data, 0.3f, 1.7f, workspace});
        sides[s]->ops->plan_release(sides[s], plan);
    }
    near_check(&dx, "conv_backward_data", 10 * number + way);
}

static void conv_weight_case(const ConvShape *shape, int number, bool accumulate) {
    const Both x = conv_x(shape), dy = conv_y(shape), dbias = both_floats(shape->c_out);
    const Both dweight = both_random(DTYPE_F32, shape->c_out, shape->kernel_h, shape->kernel_w, shape->c_in);
    for (int s = 0; s < SIDES; s++) {
        void *workspace;
        OpPlan *plan = conv_plan(s, *shape, CONV_BACKWARD_WEIGHT, &workspace);
        sides[s]->ops->conv_backward_weight(
            sides[s], &(ConvBackwardWeight){plan, x.at[s], dy.at[s], dweight.at[s].data, dbias.at[s].data,
                                            0.3f, accumulate, workspace});
        sides[s]->ops->plan_release(sides[s], plan);
    }
    near_check(&dweight, "conv_backward_weight", number);
    near_check(&dbias, "conv_backward_weight bias", number);
}

static void conv_body(void) {
    for (int i = 0; i < LENGTH(conv_shapes); i++) {
        for (int plain = 0; plain < 2; plain++) conv_forward_case(&conv_shapes[i], i, plain);
        for (int way = 0; way < 3; way++) conv_data_case(&conv_shapes[i], i, way);
        for (int accumulate = 0; accumulate < 2; accumulate++)
            conv_weight_case(&conv_shapes[i], i, accumulate);
    }
}

static void test_conv(void **state) {
    (void)state;
    each_type(conv_body);
}

/* ---- linear ---- */

static const struct {
    int n, h, w, c0, c1, out;
} linear_shapes[] = {
    {3, 8, 8, 32, 0, 96}, {2, 4, 4, 40, 24, 16}, {5, 1, 1, 64, 0, 128}, {7, 1, 1, 24, 8, 10}};

static void linear_case(int number) {
    const int n = linear_shapes[number].n, h = linear_shapes[number].h, w = linear_shapes[number].w;
    const int c0 = linear_shapes[number].c0, c1 = linear_shapes[number].c1, out = linear_shapes[number].out;
    const Both x0 = both_random(dtype, n, h, w, c0), x1 = both_random(dtype, n, h, w, c1 ? c1 : 1);
    const Both weight = both_random(dtype, out, 1, 1, c0 + c1), bias = both_floats(out);
    const Both residual = both_random(dtype, n, h, w, out), dy = both_random(dtype, n, h, w, out);
    const Both y = both_poisoned(dtype, n, h, w, out), plain = both_poisoned(dtype, n, h, w, out);
    const Both dx0 = both_random(dtype, n, h, w, c0), dx1 = both_poisoned(dtype, n, h, w, c1 ? c1 : 1);
    const Both dweight = both_random(DTYPE_F32, out, 1, 1, c0 + c1), dbias = both_floats(out);
    for (int s = 0; s < SIDES; s++) {
        Device *d = sides[s];
        const Tensor second = c1 ? x1.at[s] : none(), dsecond = c1 ? dx1.at[s] : none();
        LinearForward op = {{x0.at[s], second}, y.at[s],         residual.at[s],
                            weight.at[s].data,  bias.at[s].data, 0.7f};
        d->ops->linear_forward(d, &op);
        op.y = plain.at[s], op.residual = none(), op.bias = NULL;
        d->ops->linear_forward(d, &op);
        d->ops->linear_backward_data(d, &(LinearBackwardData){dy.at[s],
                                                              {dx0.at[s], dsecond},
                                                              {dx0.at[s], c1 ? x1.at[s] : none()},
                                                              weight.at[s].data,
                                                              {c0, c1},
                                                              0.3f,
                                                              {1.7f, -0.5f}});
        d->ops->linear_backward_weight(
            d,
            &(LinearBackwardWeight){
                {x0.at[s], second}, dy.at[s], dweight.at[s].data, dbias.at[s].data, 0.3f, number % 2 == 0});
    }
    near_check(&y, "linear_forward", number);
    near_check(&plain, "linear_forward plain", number);
    near_check(&dx0, "linear_backward_data", number);
    if (c1) near_check(&dx1, "linear_backward_data second", number);
    near_check(&dweight, "linear_backward_weight", number);
    near_check(&dbias, "linear_backward_weight bias", number);
}

static void linear_body(void) {
    for (int i = 0; i < LENGTH(linear_shapes); i++) linear_case(i);
}

static void test_linear(void **state) {
    (void)state;
    each_type(linear_body);
}

/* ---- attention ---- */

static void attention_case(int n, int h, int w, int heads, int width) {
    const int inner = heads * width;
    const Both qkv = both_random(dtype, n, h, w, 3 * inner), dy = both_random(dtype, n, h, w, inner);
    const Both y = both_poisoned(dtype, n, h, w, inner), dqkv = both_poisoned(dtype, n, h, w, 3 * inner);
    for (int s = 0; s < SIDES; s++) {
        Device *d = sides[s];
        void *forward = side_memory(s, d->ops->attention_workspace(d, &qkv.at[s], heads, false));
        void *backward = side_memory(s, d->ops->attention_workspace(d, &qkv.at[s], heads, true));
        d->ops->attention_forward(d, &(AttentionForward){qkv.at[s], y.at[s], heads, forward});
        d->ops->attention_backward(
            d, &(AttentionBackward){qkv.at[s], dy.at[s], dqkv.at[s], heads, 0.4f, backward});
    }
    near_check(&y, "attention_forward", heads);
    near_check(&dqkv, "attention_backward", heads);
}

static void attention_body(void) {
    attention_case(3, 8, 8, 1, 32);
    attention_case(2, 5, 7, 2, 16);
    attention_case(2, 16, 16, 4, 64);
}

static void test_attention(void **state) {
    (void)state;
    each_type(attention_body);
}

/* ---- element by element, resampling, pooling ---- */

static void act_case(Activation activation, int channels) {
    const Both x = both_random(dtype, 2, 3, 5, channels), dy = both_random(dtype, 2, 3, 5, channels);
    const Both y = both_poisoned(dtype, 2, 3, 5, channels), plain = both_poisoned(dtype, 2, 3, 5, channels);
    const Both dx = both_random(dtype, 2, 3, 5, channels);
    for (int s = 0; s < SIDES; s++) {
        Device *d = sides[s];
        d->ops->act_forward(d, &(ActForward){x.at[s], y.at[s], activation});
        d->ops->act_backward(d, &(ActBackward){x.at[s], dy.at[s], plain.at[s], none(), activation, 0.7f, 1});
        d->ops->act_backward(d,
                             &(ActBackward){x.at[s], dy.at[s], dx.at[s], dx.at[s], activation, 0.7f, -0.3f});
    }
    near_check(&y, "act_forward", activation);
    near_check(&plain, "act_backward", activation);
    near_check(&dx, "act_backward, added", activation);
}

static void add_case(int channels, DType to) {
    const Both a = both_random(dtype, 2, 3, 5, channels), b = both_random(dtype, 2, 3, 5, channels);
    const Both sum = both_poisoned(to, 2, 3, 5, channels), copy = both_poisoned(to, 2, 3, 5, channels);
    const Both self = both_copy(&a);
    for (int s = 0; s < SIDES; s++) {
        Device *d = sides[s];
        d->ops->add_scale(d, &(AddScale){a.at[s], b.at[s], sum.at[s], 0.3f, -1.4f});
        d->ops->add_scale(d, &(AddScale){a.at[s], none(), copy.at[s], 2.5f, 0});
        d->ops->add_scale(d, &(AddScale){self.at[s], b.at[s], self.at[s], 0.5f, 0.5f});
    }
    near_check(&sum, "add_scale", channels);
    near_check(&copy, "add_scale of one", channels);
    near_check(&self, "add_scale in place", channels);
}

static void pointwise_body(void) {
    for (Activation a = ACT_NONE; a <= ACT_RELU; a++) {
        act_case(a, 24);
        act_case(a, 7);
    }
    add_case(16, dtype);
    add_case(3, DTYPE_F32);
    if (dtype == DTYPE_F32) return;
    const DType from = dtype;
    dtype = DTYPE_F32;
    add_case(16, from);
    dtype = from;
}

static void test_pointwise(void **state) {
    (void)state;
    each_type(pointwise_body);
}

static const struct {
    int taps, pad, channels;
    float tap[8];
} filters[] = {{2, 0, 16, {0.5f, 0.5f}},
               {4, 1, 24, {0.125f, 0.375f, 0.375f, 0.125f}},
               {4, 1, 3, {0.1f, 0.2f, 0.3f, 0.4f}}};

static void resample_case(int number, bool up, bool adjoint) {
    const int taps = filters[number].taps, pad = filters[number].pad, c = filters[number].channels;
    const bool doubles = up != adjoint;
    const int x_size = doubles ? 4 : 8, y_size = doubles ? 8 : 4;
    const Both x = both_random(dtype, 2, x_size, x_size, c), y = both_random(dtype, 2, y_size, y_size, c);
    for (int s = 0; s < SIDES; s++) {
        Resample op = {
            .x = x.at[s], .y = y.at[s], .tap_count = taps, .pad = pad, .up = up, .adjoint = adjoint};
        op.scale = 0.8f, op.add_scale = -0.6f;
        if (number != 1) op.add = y.at[s];
        memcpy(op.taps, filters[number].tap, sizeof op.taps);
        sides[s]->ops->resample(sides[s], &op);
    }
    near_check(&y, "resample", 100 * number + 10 * up + adjoint);
}

static void resample_body(void) {
    for (int i = 0; i < LENGTH(filters); i++)
        for (int way = 0; way < 4; way++) resample_case(i, way & 1, way & 2);
}

static void test_resample(void **state) {
    (void)state;
    each_type(resample_body);
}

static void pool_case(PoolKind kind, int size, int stride, int pad) {
    const int h = size ? (9 + 2 * pad - size) / stride + 1 : 1;
    const Both x = both_random(dtype, 2, 9, 9, 12), dy = both_random(dtype, 2, h, h, 12);
    const Both y = both_poisoned(dtype, 2, h, h, 12), dx = both_random(dtype, 2, 9, 9, 12);
    for (int s = 0; s < SIDES; s++) {
        Device *d = sides[s];
        const PoolForward forward = {kind, size, stride, pad, x.at[s], y.at[s]};
        d->ops->pool_forward(d, &forward);
        d->ops->pool_backward(d, &(PoolBackward){forward, dy.at[s], dx.at[s], dx.at[s], 0.6f, 1.3f});
    }
    near_check(&y, "pool_forward", 10 * size + stride);
    near_check(&dx, "pool_backward", 10 * size + stride);
}

static void pool_body(void) {
    for (PoolKind kind = POOL_MEAN; kind <= POOL_MAX; kind++) {
        pool_case(kind, 0, 1, 0);
        pool_case(kind, 3, 2, 0);
        pool_case(kind, 3, 1, 1);
        pool_case(kind, 2, 2, 0);
    }
}

static void test_pool(void **state) {
    (void)state;
    each_type(pool_body);
}

/* ---- group normalisation ---- */

typedef struct NormCase {
    int n, size, c0, c1, groups;
    bool bias, scale_shift;
    Activation activation;
    float dropout, mean;
} NormCase;

static const NormCase norm_cases[] = {
    {3, 8, 32, 0, 8, false, false, ACT_SILU, 0, 0},    {2, 16, 64, 0, 16, true, false, ACT_SILU, 0.13f, 0},
    {2, 8, 40, 24, 8, false, true, ACT_SILU, 0.3f, 0}, {2, 4, 20, 10, 5, true, true, ACT_NONE, 0.1f, 0},
    {2, 32, 64, 0, 32, false, false, ACT_RELU, 0, 0},  {2, 8, 96, 0, 8, true, false, ACT_SILU, 0, 1000},
    {1, 64, 32, 0, 4, false, false, ACT_SILU, 0, 0},   {2, 1, 16, 0, 4, false, false, ACT_NONE, 0, 0},
};

typedef struct NormTensors {
    Both x[2], y, bias, scale_shift, gamma, beta, statistics, row;
    Both dy, dx[2], dbias, dscale_shift, dgamma, dbeta;
} NormTensors;

static NormTensors norm_make(const NormCase *c) {
    const int channels = c->c0 + c->c1;
    const StepRow row = {.step = 77};
    NormTensors t = {.y = both_poisoned(dtype, c->n, c->size, c->size, channels),
                     .bias = both_random(dtype, c->n, 1, 1, channels),
                     .scale_shift = both_random(dtype, c->n, 1, 1, 2 * channels),
                     .gamma = both_floats(channels),
                     .beta = both_floats(channels),
                     .statistics = both_poisoned(DTYPE_F32, c->n, 1, c->groups, 2),
                     .row = both_bytes(&row, sizeof row),
                     .dy = both_random(dtype, c->n, c->size, c->size, channels),
                     .dbias = both_poisoned(dtype, c->n, 1, 1, channels),
                     .dscale_shift = both_poisoned(dtype, c->n, 1, 1, 2 * channels),
                     .dgamma = both_floats(channels),
                     .dbeta = both_floats(channels)};
    for (int i = 0; i < 2; i++) {
        const int width = i ? (c->c1 ? c->c1 : 1) : c->c0;
        t.x[i] = both_random_at(dtype, c->mean, c->n, c->size, c->size, width);
        t.dx[i] = both_random(dtype, c->n, c->size, c->size, width);
    }
    return t;
}

static NormForward norm_forward_op(const NormCase *c, const NormTensors *t, int s) {
    return (NormForward){.x = {t->x[0].at[s], c->c1 ? t->x[1].at[s] : none()},
                         .y = t->y.at[s],
                         .bias = c->bias ? t->bias.at[s] : none(),
                         .scale_shift = c->scale_shift ? t->scale_shift.at[s] : none(),
                         .gamma = t->gamma.at[s].data,
                         .beta = t->beta.at[s].data,
                         .groups = c->groups,
                         .epsilon = 1e-5f,
                         .activation = c->activation,
                         .dropout = {.rate = c->dropout,
                                     .layer = 3,
                                     .draw = {.seed = 5, .row = t->row.at[s].data, .first_sample = 9}},
                         .statistics = t->statistics.at[s].data};
}

static void norm_run(const NormCase *c, const NormTensors *t, int s, bool accumulate) {
    Device *d = sides[s];
    const NormForward forward = norm_forward_op(c, t, s);
    d->ops->norm_forward(d, &forward);
    const bool second = c->c1 > 0;
    NormBackward op = {.forward = forward,
                       .dy = t->dy.at[s],
                       .dx = {t->dx[0].at[s], second ? t->dx[1].at[s] : none()},
                       .add = {t->dx[0].at[s], none()},
                       .dbias = c->bias ? t->dbias.at[s] : none(),
                       .dscale_shift = c->scale_shift ? t->dscale_shift.at[s] : none(),
                       .dy_scale = 0.7f,
                       .add_scale = {1.3f, 1},
                       .dgamma = t->dgamma.at[s].data,
                       .dbeta = t->dbeta.at[s].data,
                       .accumulate = accumulate};
    op.workspace = side_memory(s, d->ops->norm_backward_workspace(d, &forward));
    d->ops->norm_backward(d, &op);
}

static void norm_case(const NormCase *c, int number) {
    const double usual = bound;
    const NormTensors t = norm_make(c);
    for (int s = 0; s < SIDES; s++) norm_run(c, &t, s, number % 2);
    if (c->mean != 0) bound *= 20; /* a mean of a thousand deviations leaves three digits fewer of 1 / std */
    near_check(&t.y, "norm_forward", number);
    near_check(&t.statistics, "norm statistics", number);
    near_check(&t.dx[0], "norm_backward", number);
    if (c->c1) near_check(&t.dx[1], "norm_backward second", number);
    near_check(&t.dgamma, "norm_backward gamma", number);
    near_check(&t.dbeta, "norm_backward beta", number);
    if (c->scale_shift) near_check(&t.dscale_shift, "norm_backward scale and shift", number);
    if (c->bias && c->mean == 0) near_check(&t.dbias, "norm_backward bias", number);
    bound = usual;
}

static void norm_body(void) {
    for (int i = 0; i < LENGTH(norm_cases); i++)
        if (norm_cases[i].mean == 0 || dtype == DTYPE_F32) norm_case(&norm_cases[i], i);
}

static void test_norm(void **state) {
    (void)state;
    each_type(norm_body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pointwise), cmocka_unit_test(test_resample), cmocka_unit_test(test_pool),
        cmocka_unit_test(test_norm),      cmocka_unit_test(test_linear),   cmocka_unit_test(test_attention),
        cmocka_unit_test(test_conv),
    };
    return cmocka_run_group_tests(tests, sides_open, sides_close);
}
