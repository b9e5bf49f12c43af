/* Ops of the network that move much memory and compute little: resampling, activations, sums, pooling and the
 * noise embedding. Each against a plain statement of its formula in double, and against PyTorch
 * (tests/golden/ops_light.npz, made by scripts/golden_light.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "golden.h"

/* ---- resample ---- */

/* The operator along one axis as a matrix [outputs][inputs], by the definition of the (transposed)
 * convolution. */
static double *axis_matrix(const Resample *op, int inputs, int outputs) {
    const bool forward = !op->adjoint;
    const int from = forward ? inputs : outputs, to = forward ? outputs : inputs;
    double *matrix = array_poisoned((size_t)inputs * outputs * sizeof(double));
    for (int i = 0; i < inputs * outputs; i++) matrix[i] = 0.0;
    const int small = op->up ? from : to, step = op->smooth ? 1 : 2;
    for (int s = 0; s < small; s++) {
        for (int t = 0; t < op->tap_count; t++) {
            const int large = step * s + t - op->pad, i = op->up ? s : large, o = op->up ? large : s;
            if (large < 0 || large >= (op->up ? to : from)) continue;
            matrix[forward ? o * inputs + i : i * inputs + o] += (op->up ? 2.0 : 1.0) * op->taps[t];
        }
    }
    return matrix;
}

/* scale * V x H^T + add_scale * add, with the dense matrices of both axes. */
static double *resample_plain(const Resample *op, const float *add) {
    const Tensor *x = &op->x, *y = &op->y;
    const double *v = axis_matrix(op, x->h, y->h), *h = axis_matrix(op, x->w, y->w);
    double *out = array_poisoned((size_t)tensor_count(y) * sizeof(double));
    for (int64_t at = 0; at < tensor_count(y); at++) {
        const int c = (int)(at % y->c), ox = (int)(at / y->c % y->w), oy = (int)(at / y->c / y->w % y->h);
        const int n = (int)(at / y->c / y->w / y->h);
        double sum = 0.0;
        for (int iy = 0; iy < x->h; iy++)
            for (int ix = 0; ix < x->w; ix++)
                sum += v[oy * x->h + iy] * h[ox * x->w + ix] *
                       ((float *)x->data)[((n * x->h + iy) * x->w + ix) * x->c + c];
        out[at] = op->scale * sum + (add ? op->add_scale * (double)add[at] : 0.0);
    }
    return out;
}

typedef struct FilterCase {
    int count;
    float taps[8];
} FilterCase;

static const FilterCase filters[] = {
    {1, {1.0f}},
    {2, {0.5f, 0.5f}},
    {3, {0.25f, 0.5f, 0.25f}},
    {4, {0.125f, 0.375f, 0.375f, 0.125f}},
    {5, {0.1f, 0.2f, 0.4f, 0.25f, 0.05f}},
    {8, {0.3f, -0.2f, 0.15f, 0.05f, 0.35f, 0.25f, -0.1f, 0.2f}},
};

/* The six variants of one filter, size and padding; false when the sizes allow none. */
static bool resample_make(Resample *op, const FilterCase *filter, int pad, int variant, int h, int w, int c) {
    *op = (Resample){.tap_count = filter->count,
                     .pad = pad,
                     .up = variant == 1 || variant == 3,
                     .smooth = variant >= 4,
                     .adjoint = variant == 2 || variant == 3 || variant == 5,
                     .scale = 1.0f};
    memcpy(op->taps, filter->taps, sizeof op->taps);
    const int border = 2 * pad - filter->count;
    const int step = op->smooth ? 1 : 2;
    const int small_h = op->up ? h : (h + border) / step + 1, small_w = op->up ? w : (w + border) / step + 1;
    const int large_h = op->up ? 2 * (h - 1) - border : h, large_w = op->up ? 2 * (w - 1) - border : w;
    if (h + border < 0 || w + border < 0 || large_h < 1 || large_w < 1) return false;
    const bool grows = op->up != op->adjoint;
    op->x = tensor_random(2, grows ? small_h : large_h, grows ? small_w : large_w, c);
    op->y = tensor_poisoned(2, grows ? large_h : small_h, grows ? large_w : small_w, c);
    return true;
}

static void resample_check(Resample *op) {
    device->ops->resample(device, op);
    check_near(op->y.data, resample_plain(op, NULL), tensor_count(&op->y), 1e-6, "resample");
    op->scale = 0.7f;
    op->add_scale = -1.5f;
    op->add = tensor_random(op->y.n, op->y.h, op->y.w, op->y.c);
    const double *expected = resample_plain(op, op->add.data);
    device->ops->resample(device, op);
    check_near(op->y.data, expected, tensor_count(&op->y), 1e-6, "resample with add");
    op->y = op->add;
    device->ops->resample(device, op);
    check_near(op->y.data, expected, tensor_count(&op->y), 1e-6, "resample with add in place");
}

static void test_resample(void **state) {
    const int sizes[][3] = {{6, 6, 16}, {7, 5, 3}, {2, 9, 37}};
    int run = 0;
    for (int f = 0; f < LENGTH(filters); f++) {
        for (int pad = 0; pad < 4; pad++) {
            arrays_teardown(state);
            arrays_setup(state);
            for (int i = 0; i < 6 * LENGTH(sizes); i++) {
                const int *size = sizes[i / 6];
                Resample op;
                if (!resample_make(&op, &filters[f], pad, i % 6, size[0], size[1], size[2])) continue;
                resample_check(&op);
                run++;
            }
        }
    }
    assert_true(run > 250);
}

static void test_resample_is_adjoint(void **state) {
    (void)state;
    const int variants[] = {0, 1, 4};
    for (int v = 0; v < LENGTH(variants); v++) {
        for (int f = 0; f < LENGTH(filters); f++) {
            Resample op;
            assert_true(resample_make(&op, &filters[f], (filters[f].count - 1) / 2, variants[v], 8, 6, 20));
            device->ops->resample(device, &op);
            Resample back = op;
            back.adjoint = true;
            back.x = tensor_random(op.y.n, op.y.h, op.y.w, op.y.c);
            back.y = tensor_like(op.x);
            device->ops->resample(device, &back);
            const double left = dot(op.y, back.x), right = dot(op.x, back.y);
            const double size = sqrt(dot(op.y, op.y) * dot(back.x, back.x));
            assert_true(fabs(left - right) <= 1e-6 * size);
        }
    }
}

static void test_resample_golden(void **state) {
    (void)state;
    const FilterCase *box = &filters[1], *smooth = &filters[3];
    const struct {
        const char *name;
        const FilterCase *filter;
        int pad;
        bool up;
    } cases[] = {{"resample.11.down.0", box, 0, false},      {"resample.11.up.0", box, 0, true},
                 {"resample.11.up.1", box, 1, true},         {"resample.1331.down.1", smooth, 1, false},
                 {"resample.1331.down.0", smooth, 0, false}, {"resample.1331.up.1", smooth, 1, true},
                 {"resample.1331.up.2", smooth, 2, true}};
    for (int i = 0; i < LENGTH(cases); i++) {
        Resample op = {
            .tap_count = cases[i].filter->count, .pad = cases[i].pad, .up = cases[i].up, .scale = 1.0f};
        memcpy(op.taps, cases[i].filter->taps, sizeof op.taps);
        op.x = golden_tensor(cases[i].name, "x");
        op.y = tensor_like(golden_tensor(cases[i].name, "y"));
        device->ops->resample(device, &op);
        check_golden(op.y, cases[i].name, "y", 1e-6);
        op.adjoint = true;
        op.x = golden_tensor(cases[i].name, "dy");
        op.y = tensor_like(golden_tensor(cases[i].name, "dx"));
        device->ops->resample(device, &op);
        check_golden(op.y, cases[i].name, "dx", 1e-6);
    }
}

/* ---- activations and sums ---- */

static double act_plain(Activation activation, double x) {
    return activation == ACT_SILU ? x / (1.0 + exp(-x)) : activation == ACT_RELU ? fmax(x, 0.0) : x;
}

static void test_activations(void **state) {
    (void)state;
    const int64_t count = 4099;
    for (int activation = ACT_NONE; activation <= ACT_RELU; activation++) {
        ActForward op = {tensor_random(1, 1, 1, (int)count), tensor_poisoned(1, 1, 1, (int)count),
                         activation};
        float *x = op.x.data;
        for (int64_t i = 0; i < count; i++) x[i] *= 5.0f;
        device->ops->act_forward(device, &op);
        double *expected = doubles_of(x, count), *slope = doubles_of(x, count);
        const Tensor dy = tensor_random(1, 1, 1, (int)count);
        for (int64_t i = 0; i < count; i++) {
            expected[i] = act_plain(activation, x[i]);
            const double step = 1e-6, up = act_plain(activation, x[i] + step);
            slope[i] = -0.3 * ((float *)dy.data)[i] * (up - act_plain(activation, x[i] - step)) / (2 * step);
        }
        check_near(op.y.data, expected, count, 1e-6, "activation");
        ActBackward back = {op.x, dy, tensor_like(dy), {0}, activation, -0.3f, 2.0f};
        device->ops->act_backward(device, &back);
        check_near(back.dx.data, slope, count, 1e-6, "slope of the activation");
        back.add = back.dx;
        device->ops->act_backward(device, &back);
        for (int64_t i = 0; i < count; i++) slope[i] *= 3.0;
        check_near(back.dx.data, slope, count, 1e-6, "slope added to what was there twice");
    }
}

static void test_activations_golden(void **state) {
    (void)state;
    const char *names[] = {"relu", "silu"};
    const Activation kinds[] = {ACT_RELU, ACT_SILU};
    for (int i = 0; i < 2; i++) {
        ActForward op = {golden_tensor(names[i], "x"), tensor_like(golden_tensor(names[i], "y")), kinds[i]};
        device->ops->act_forward(device, &op);
        check_golden(op.y, names[i], "y", 5e-7);
        ActBackward back = {op.x, golden_tensor(names[i], "dy"), tensor_like(op.x), {0}, kinds[i], 1.0f,
                            0.0f};
        device->ops->act_backward(device, &back);
        check_golden(back.dx, names[i], "dx", 5e-7);
    }
}

/* All aliases, and every length around a vector and a cut between threads. */
static void test_add_scale(void **state) {
    (void)state;
    const int lengths[] = {1, 15, 16, 17, 8191, 16385};
    for (int i = 0; i < 4 * LENGTH(lengths); i++) {
        const int n = lengths[i / 4], kind = i % 4;
        const Tensor a = tensor_random(1, 1, 1, n);
        Tensor b = tensor_random(1, 1, 1, n);
        if (kind == 3) b.data = NULL;
        const Tensor y = kind == 1 ? a : kind == 2 ? b : tensor_like(a);
        double *expected = doubles_of(a.data, n);
        for (int k = 0; k < n; k++)
            expected[k] = 0.6f * expected[k] + (b.data ? -1.7f * (double)((float *)b.data)[k] : 0);
        device->ops->add_scale(device, &(AddScale){a, b, y, 0.6f, -1.7f});
        check_near(y.data, expected, n, 2e-7, "add_scale");
    }
}

/* ---- pooling ---- */

/* Output pixel of the plain statement, and with `gradient` the share of every input pixel in it. */
static double pool_plain(const PoolForward *op, int n, int oy, int ox, int c, double dy, double *gradient) {
    const int size = op->size ? op->size : 1000, top = oy * op->stride - op->pad,
              left = ox * op->stride - op->pad;
    const Tensor *x = &op->x;
    double sum = 0.0, best = -INFINITY;
    int64_t area = 0, place = -1;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < x->h * x->w; i++) {
            const int y = i / x->w, column = i % x->w;
            if (y < top || y >= top + size || column < left || column >= left + size) continue;
            const int64_t at = ((int64_t)n * x->h * x->w + i) * x->c + c;
            const double value = ((float *)x->data)[at];
            if (pass == 1 && gradient && op->kind == POOL_MEAN) gradient[at] += dy / (double)area;
            if (pass == 1) continue;
            sum += value;
            area++;
            if (value > best) place = at;
            best = fmax(best, value);
        }
    }
    if (gradient && op->kind == POOL_MAX) gradient[place] += dy;
    return op->kind == POOL_MAX ? best : sum / (double)area;
}

static void pool_check(PoolForward *op) {
    device->ops->pool_forward(device, op);
    const int64_t outputs = tensor_count(&op->y), inputs = tensor_count(&op->x);
    PoolBackward back = {*op,
                         tensor_random(op->y.n, op->y.h, op->y.w, op->y.c),
                         tensor_like(op->x),
                         tensor_random(op->x.n, op->x.h, op->x.w, op->x.c),
                         0.5f,
                         -2.0f};
    double *expected = doubles_of(back.dy.data, outputs), *gradient = doubles_of(back.add.data, inputs);
    double *alone = doubles_of(back.add.data, inputs);
    for (int64_t i = 0; i < inputs; i++) {
        gradient[i] *= -2.0;
        alone[i] = 0.0;
    }
    for (int64_t at = 0; at < outputs; at++) {
        const int c = (int)(at % op->y.c), x = (int)(at / op->y.c % op->y.w),
                  y = (int)(at / op->y.c / op->y.w % op->y.h);
        const int n = (int)(at / op->y.c / op->y.w / op->y.h);
        const double dy = 0.5 * expected[at];
        pool_plain(op, n, y, x, c, dy, alone);
        expected[at] = pool_plain(op, n, y, x, c, dy, gradient);
    }
    check_near(op->y.data, expected, outputs, 1e-6, "pool");
    device->ops->pool_backward(device, &back);
    check_near(back.dx.data, gradient, inputs, 1e-6, "pool_backward");
    back.dx = back.add;
    device->ops->pool_backward(device, &back);
    check_near(back.dx.data, gradient, inputs, 1e-6, "pool_backward in place");
    back.add.data = NULL;
    device->ops->pool_backward(device, &back);
    check_near(back.dx.data, alone, inputs, 1e-6, "pool_backward without add");
}

static void test_pool(void **state) {
    const int windows[][3] = {{2, 2, 0}, {3, 2, 0}, {3, 2, 1}, {3, 1, 1}, {5, 3, 2}, {1, 1, 0}, {0, 0, 0}};
    const int shapes[][4] = {{2, 8, 6, 70}, {1, 9, 7, 3}, {3, 5, 5, 64}};
    for (int i = 0; i < 2 * LENGTH(windows) * LENGTH(shapes); i++) {
        arrays_teardown(state);
        arrays_setup(state);
        const int *w = windows[i / 2 % LENGTH(windows)], *s = shapes[i / 2 / LENGTH(windows)];
        PoolForward op = {.kind = i % 2 ? POOL_MAX : POOL_MEAN, .size = w[0], .stride = w[1], .pad = w[2]};
        op.x = tensor_random(s[0], s[1], s[2], s[3]);
        op.y = w[0] ? tensor_poisoned(s[0], (s[1] + 2 * w[2] - w[0]) / w[1] + 1,
                                      (s[2] + 2 * w[2] - w[0]) / w[1] + 1, s[3])
                    : tensor_poisoned(s[0], 1, 1, s[3]);
        pool_check(&op);
    }
}

/* The first of equal values wins, and a NaN is never hidden. */
static void test_pool_max_ties(void **state) {
    (void)state;
    float x[4] = {3, 3, 1, 3}, y, dy = 1, dx[4];
    PoolForward op = {.kind = POOL_MAX,
                      .size = 2,
                      .stride = 2,
                      .x = {x, DTYPE_F32, 1, 2, 2, 1},
                      .y = {&y, DTYPE_F32, 1, 1, 1, 1}};
    PoolBackward back = {op, {&dy, DTYPE_F32, 1, 1, 1, 1}, {dx, DTYPE_F32, 1, 2, 2, 1}, {0}, 1.0f, 0.0f};
    device->ops->pool_backward(device, &back);
    const float expected[4] = {1, 0, 0, 0};
    assert_memory_equal(dx, expected, sizeof dx);
    x[1] = NAN;
    device->ops->pool_forward(device, &op);
    assert_true(isnan(y));
}

static void test_pool_golden(void **state) {
    (void)state;
    const char *names[] = {"max.3.2.0",  "max.2.2.0",  "max.3.2.1", "mean.3.1.1",
                           "mean.2.2.0", "mean.0.0.0", "max.0.0.0"};
    for (int i = 0; i < LENGTH(names); i++) {
        char kind[8], name[32];
        PoolForward op = {0};
        assert_int_equal(sscanf(names[i], "%7[a-z].%d.%d.%d", kind, &op.size, &op.stride, &op.pad), 4);
        snprintf(name, sizeof name, "pool.%s", names[i]);
        op.kind = strcmp(kind, "max") == 0 ? POOL_MAX : POOL_MEAN;
        op.x = golden_tensor(name, "x");
        op.y = tensor_like(golden_tensor(name, "y"));
        device->ops->pool_forward(device, &op);
        check_golden(op.y, name, "y", 2e-7);
        PoolBackward back = {op, golden_tensor(name, "dy"), tensor_like(op.x), {0}, 1.0f, 0.0f};
        device->ops->pool_backward(device, &back);
        check_golden(back.dx, name, "dx", 3e-7);
    }
}

/* ---- noise embedding ---- */

static void embed_check(const char *name, EmbeddingKind kind, float noise_scale) {
    const Tensor c_noise = golden_tensor("embed", "c_noise");
    const int n = c_noise.c;
    char prefix[32];
    snprintf(prefix, sizeof prefix, "embed.%s", name);
    const Tensor frequency = golden_tensor(prefix, "frequency");
    Level *levels = array_poisoned((size_t)n * sizeof(Level));
    for (int i = 0; i < n; i++) levels[i].c_noise = ((float *)c_noise.data)[i];
    NoiseEmbed op = {.level = {levels, DTYPE_F32, n, 1, 1, LEVEL_FIELDS}, .frequency = frequency.data};
    op.kind = kind;
    op.noise_scale = noise_scale;
    op.y = tensor_poisoned(n, 1, 1, 2 * frequency.c);
    device->ops->noise_embed(device, &op);
    check_golden(op.y, prefix, "y", 2e-7);
    const Tensor sines_first = op.y;
    op.y = tensor_like(op.y);
    op.cosine_first = true;
    device->ops->noise_embed(device, &op);
    const size_t half = (size_t)frequency.c * sizeof(float);
    for (int i = 0; i < n; i++) {
        const float *a = (float *)sines_first.data + (ptrdiff_t)i * op.y.c,
                    *b = (float *)op.y.data + (ptrdiff_t)i * op.y.c;
        assert_memory_equal(a, b + frequency.c, half);
        assert_memory_equal(a + frequency.c, b, half);
    }
}

static void test_noise_embed(void **state) {
    (void)state;
    embed_check("fourier", EMBED_FOURIER, 1.0f);
    embed_check("positional", EMBED_POSITIONAL, 1000.0f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, arrays_setup, arrays_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_resample),    TEST(test_resample_is_adjoint), TEST(test_resample_golden),
        TEST(test_activations), TEST(test_activations_golden),  TEST(test_add_scale),
        TEST(test_pool),        TEST(test_pool_max_ties),       TEST(test_pool_golden),
        TEST(test_noise_embed),
    };
    return cmocka_run_group_tests_name("backend: light ops", tests, golden_open, golden_close);
}
