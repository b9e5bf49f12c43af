/* The ops of networks that multiply no matrices, on CUDA against the CPU: element by element, resampling,
 * pooling, normalisation. Skipped where there is no card. PARITY_VERBOSE=1 prints how far apart they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "types.h"

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

static void resample_case(int number, bool up, bool smooth, bool adjoint) {
    const int taps = filters[number].taps, pad = filters[number].pad, c = filters[number].channels;
    const bool doubles = up != adjoint;
    const int small = smooth ? 8 + 2 * pad - taps + 1 : 4;
    const int x_size = doubles ? small : 8, y_size = doubles ? 8 : small;
    const Both x = both_random(dtype, 2, x_size, x_size, c), y = both_random(dtype, 2, y_size, y_size, c);
    for (int s = 0; s < SIDES; s++) {
        Resample op = {.x = x.at[s],
                       .y = y.at[s],
                       .tap_count = taps,
                       .pad = pad,
                       .up = up,
                       .smooth = smooth,
                       .adjoint = adjoint};
        op.scale = 0.8f, op.add_scale = -0.6f;
        if (number != 1) op.add = y.at[s];
        memcpy(op.taps, filters[number].tap, sizeof op.taps);
        sides[s]->ops->resample(sides[s], &op);
    }
    near_check(&y, "resample", 100 * number + 20 * smooth + 10 * up + adjoint);
}

static void resample_body(void) {
    for (int i = 0; i < LENGTH(filters); i++)
        for (int way = 0; way < 6; way++)
            resample_case(i, way < 4 && way & 1, way >= 4, way >= 4 ? way & 1 : way & 2);
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
        const PoolForward forward = {
            .kind = kind, .size = size, .stride = stride, .pad = pad, .x = x.at[s], .y = y.at[s]};
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
    {3, 8, 32, 0, 8, false, false, ACT_SILU, 0, 0},      {2, 16, 64, 0, 16, true, false, ACT_SILU, 0.13f, 0},
    {2, 8, 40, 24, 8, false, true, ACT_SILU, 0.3f, 0},   {2, 4, 20, 10, 5, true, true, ACT_NONE, 0.1f, 0},
    {2, 32, 64, 0, 32, false, false, ACT_RELU, 0, 0},    {2, 8, 96, 0, 8, true, false, ACT_SILU, 0, 1000},
    {1, 64, 32, 0, 4, false, false, ACT_SILU, 0, 0},     {2, 1, 16, 0, 4, false, false, ACT_NONE, 0, 0},
    {2, 32, 256, 0, 32, true, false, ACT_SILU, 0.1f, 0}, {2, 32, 256, 128, 32, false, false, ACT_SILU, 0, 0},
    {1, 64, 192, 0, 32, false, true, ACT_SILU, 0.1f, 0}, {3, 7, 48, 0, 12, true, true, ACT_SILU, 0.2f, 3},
    {1, 48, 20, 0, 5, true, false, ACT_SILU, 0.1f, 0},   {3, 8, 256, 0, 32, true, false, ACT_SILU, 0.13f, 0},
    {3, 16, 256, 256, 32, false, false, ACT_SILU, 0, 0}, {2, 16, 256, 0, 32, true, true, ACT_SILU, 0.3f, 0},
    {5, 8, 64, 0, 2, false, false, ACT_NONE, 0, 0},      {3, 8, 128, 64, 24, true, true, ACT_RELU, 0.2f, 0},
    {2, 8, 128, 0, 8, true, false, ACT_SILU, 0, 1000},   {2, 16, 64, 0, 4, false, false, ACT_SILU, 0, 1000},
    {2, 32, 256, 256, 32, false, false, ACT_SILU, 0, 0}, {1, 32, 128, 0, 8, true, true, ACT_SILU, 0.2f, 0},
    {2, 32, 64, 0, 4, true, false, ACT_NONE, 0, 1000},   {2, 32, 40, 24, 16, true, true, ACT_SILU, 0.3f, 0},
    {3, 8, 96, 48, 6, true, true, ACT_SILU, 0.2f, 0},    {2, 16, 72, 0, 3, true, false, ACT_SILU, 0, 0},
    {3, 32, 48, 24, 3, true, true, ACT_SILU, 0.1f, 0},   {2, 32, 72, 0, 6, false, false, ACT_NONE, 0, 1000},
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

/* ReLU's slope jumps at 0, and what lies within rounding of it may be on either side: no gradient comes from
 * there. */
static void kink_avoid(const NormCase *c, NormTensors *t) {
    if (c->activation != ACT_RELU) return;
    NormForward before = norm_forward_op(c, t, CPU);
    before.activation = ACT_NONE;
    sides[CPU]->ops->norm_forward(sides[CPU], &before);
    float *v = side_host(CPU, &t->y.at[CPU]), *dy = side_host(CPU, &t->dy.at[CPU]);
    for (int64_t i = 0; i < tensor_count(&t->dy.at[CPU]); i++)
        if (fabsf(v[i]) < 1e-4f) dy[i] = 0;
    both_upload(&t->dy, dy);
    free(v);
    free(dy);
}

static void norm_run(const NormCase *c, const NormTensors *t, int s, bool accumulate, bool keep) {
    Device *d = sides[s];
    NormForward forward = norm_forward_op(c, t, s);
    const size_t mask = keep ? d->ops->norm_mask_bytes(d, &forward) : 0;
    if (mask) forward.mask = side_memory(s, mask);
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

/* `keep`: the dropout mask, where the device can. */
static void norm_case(const NormCase *c, int number, bool keep) {
    const double usual = bound;
    NormTensors t = norm_make(c);
    kink_avoid(c, &t);
    for (int s = 0; s < SIDES; s++) norm_run(c, &t, s, number % 2, keep);
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
        for (int keep = 0; keep <= (norm_cases[i].dropout > 0); keep++)
            if (norm_cases[i].mean == 0 || dtype == DTYPE_F32) norm_case(&norm_cases[i], i, keep);
}

static void test_norm(void **state) {
    (void)state;
    each_type(norm_body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pointwise),
        cmocka_unit_test(test_resample),
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_norm),
    };
    return SIDES_RUN(tests);
}
