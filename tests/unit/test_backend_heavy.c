/* Linear layers, attention, and the matrix product and the exponential under them, each against its formula
 * in double; gradients of attention against central differences of that formula. And devices by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "arrays.h"
#include "backend/cpu/gemm.h"
#include "backend/cpu/simd.h"

/* ---- exponential ---- */

/* Distance to the exact value in units in the last place of the nearest float. */
static double ulps(float got, double want) {
    const float near = (float)want;
    return fabs(got - want) / (nextafterf(fabsf(near), INFINITY) - fabsf(near));
}

static void test_exponential(void **state) {
    (void)state;
    double worst_exp = 0.0, worst_sigmoid = 0.0;
    for (int i = -870000; i <= 880000; i += 7) {
        const float x = (float)i * 1e-4f;
        worst_exp = fmax(worst_exp, ulps(simd_exp(x), exp((double)x)));
        worst_sigmoid = fmax(worst_sigmoid, ulps(simd_sigmoid(x), 1.0 / (1.0 + exp(-(double)x))));
    }
    assert_true(worst_exp <= 1.0);
    assert_true(worst_sigmoid <= 3.0);
    assert_true(simd_exp(0.0f) == 1.0f && simd_sigmoid(0.0f) == 0.5f);
    assert_true(simd_exp(-INFINITY) == 0.0f && isinf(simd_exp(INFINITY)) && isinf(simd_exp(89.0f)));
    assert_true(simd_sigmoid(-INFINITY) < 2e-38f && simd_sigmoid(INFINITY) == 1.0f);
    assert_true(isnan(simd_exp(NAN)) && isnan(simd_sigmoid(NAN)));
}

/* ---- matrix product ---- */

/* Every height of a tile, both widths of a panel and their remainders, plain and transposed; depths of one
 * piece and of three. */
static void test_product(void **state) {
    (void)state;
    for (int rows = 1; rows <= 2 * GEMM_ROWS + 1; rows++) {
        for (int n = 1; n <= 3 * GEMM_PANEL; n += n % GEMM_LANES ? 5 : 1) {
            const int depth = 1 + (rows * 7 + n) % 23 + (n % 3 ? 0 : 256);
            const Tensor a = tensor_random(1, 1, rows, depth), b = tensor_random(1, 1, depth, n);
            float *packed = floats_poisoned(gemm_packed_size(depth, n)), *c = floats_poisoned(rows * n);
            float *turned = floats_poisoned(rows * depth), *d = floats_random(rows * n);
            double *want = doubles_zero(rows * n), *added = doubles_zero(rows * n);
            gemm_pack(packed, b.data, n, 1, depth, n);
            for (int i = 0; i < rows * n; i++) {
                for (int k = 0; k < depth; k++)
                    want[i] +=
                        (double)((float *)a.data)[i / n * depth + k] * ((float *)b.data)[k * n + i % n];
                added[i] = 0.5 * want[i] - 2.0 * d[i];
            }
            for (int i = 0; i < rows * depth; i++)
                turned[i % depth * rows + i / depth] = ((float *)a.data)[i];
            const GemmTerm term = {a.data, depth, depth};
            gemm_run(&term, 1, packed, rows, n, &(GemmResult){.c = c, .stride = n, .scale = 1.0f});
            check_near(c, want, rows * n, 2e-6, "product");
            gemm_run_transposed(turned, rows, depth, packed, rows, n,
                                &(GemmResult){d, n, 0.5f, NULL, d, n, -2.0f});
            check_near(d, added, rows * n, 2e-6, "transposed product, added to what is there");
        }
        arrays_release();
    }
}

/* ---- linear ---- */

typedef struct LinearCase {
    const char *name;
    int n, h, w, c0, c1, outputs; /* c1 0: one source */
    bool bias, residual;
    float scale;
} LinearCase;

static const LinearCase linear_cases[] = {
    {"one row", 1, 1, 1, 7, 0, 5, true, false, 1.0f},
    {"embedding", 64, 1, 1, 128, 0, 256, true, false, 1.0f},
    {"shortcut", 3, 8, 8, 64, 32, 64, true, true, 0.70710678f},
    {"odd", 2, 5, 3, 9, 14, 19, false, true, 0.3f},
    {"many rows", 5, 16, 16, 32, 0, 96, false, false, 1.0f},
    {"wide", 2, 4, 4, 600, 500, 520, true, true, 1.0f},
    {"classes", 40, 1, 1, 96, 0, 10, true, false, 1.0f},
};

typedef struct LinearData {
    const LinearCase *c;
    Tensor x[2], weight, bias, residual, dy, add[2], old;
    int inputs;
} LinearData;

static LinearData linear_data(const LinearCase *c) {
    LinearData d = {.c = c, .inputs = c->c0 + c->c1};
    d.x[0] = tensor_random(c->n, c->h, c->w, c->c0);
    d.add[0] = tensor_random(c->n, c->h, c->w, c->c0);
    if (c->c1) d.x[1] = tensor_random(c->n, c->h, c->w, c->c1);
    if (c->c1) d.add[1] = tensor_random(c->n, c->h, c->w, c->c1);
    d.weight = tensor_random(1, 1, c->outputs, d.inputs);
    d.old = tensor_random(1, 1, c->outputs, d.inputs);
    d.bias = tensor_random(1, 1, 1, c->outputs);
    d.residual = tensor_random(c->n, c->h, c->w, c->outputs);
    d.dy = tensor_random(c->n, c->h, c->w, c->outputs);
    return d;
}

/* Element (row, k) of the concatenation. */
static double joined(const LinearData *d, int64_t row, int k) {
    const int c0 = d->x[0].c;
    return k < c0 ? ((float *)d->x[0].data)[row * c0 + k] : ((float *)d->x[1].data)[row * d->x[1].c + k - c0];
}

static void linear_forward_check(const LinearData *d) {
    const LinearCase *c = d->c;
    const int64_t count = tensor_count(&d->dy);
    LinearForward a = {{d->x[0], d->x[1]}, tensor_like(d->dy), {0}, d->weight.data, NULL, c->scale};
    if (c->residual) a.residual = d->residual;
    if (c->bias) a.bias = d->bias.data;
    device->ops->linear_forward(device, &a);
    double *want = doubles_zero(count);
    for (int64_t i = 0; i < count; i++) {
        const int o = (int)(i % c->outputs);
        for (int k = 0; k < d->inputs; k++)
            want[i] += joined(d, i / c->outputs, k) * ((float *)d->weight.data)[o * d->inputs + k];
        if (c->bias) want[i] += ((float *)d->bias.data)[o];
        if (c->residual) want[i] += ((float *)d->residual.data)[i];
        want[i] *= c->scale;
    }
    check_near(a.y.data, want, count, 3e-6, c->name);
    const Tensor first = a.y;
    a.y = tensor_like(first);
    device->ops->linear_forward(device, &a);
    check_same_bits(first.data, a.y.data, count, c->name);
}

/* Both sources at once; source 0 accumulates into itself, source 1 has another tensor added. */
static void linear_backward_data_check(const LinearData *d) {
    const LinearCase *c = d->c;
    LinearBackwardData a = {
        .dy = d->dy, .weight = d->weight.data, .dy_scale = c->scale, .add_scale = {1.0f, -0.5f}};
    a.dx[0] = tensor_copy(d->add[0]);
    a.add[0] = a.dx[0];
    if (c->c1) a.dx[1] = tensor_like(d->add[1]);
    a.add[1] = d->add[1];
    device->ops->linear_backward_data(device, &a);
    for (int s = 0, offset = 0; s < (c->c1 ? 2 : 1); offset += d->x[s].c, s++) {
        double *want = doubles_zero(tensor_count(&d->x[s]));
        for (int64_t i = 0; i < tensor_count(&d->x[s]); i++) {
            const int64_t row = i / d->x[s].c, k = offset + i % d->x[s].c;
            for (int o = 0; o < c->outputs; o++)
                want[i] += (double)((float *)d->dy.data)[row * c->outputs + o] *
                           ((float *)d->weight.data)[o * d->inputs + k];
            want[i] = c->scale * want[i] + a.add_scale[s] * (double)((float *)d->add[s].data)[i];
        }
        check_near(a.dx[s].data, want, tensor_count(&d->x[s]), 3e-6, c->name);
    }
}

static void linear_backward_weight_check(const LinearData *d, bool accumulate) {
    const LinearCase *c = d->c;
    const int64_t count = tensor_count(&d->weight), rows = tensor_rows(&d->dy);
    const float *dy = d->dy.data, *old = d->old.data;
    Tensor dweight = accumulate ? tensor_copy(d->old) : tensor_like(d->old);
    float *dbias = floats_poisoned(c->outputs);
    if (accumulate) memcpy(dbias, old, (size_t)c->outputs * sizeof(float));
    const LinearBackwardWeight a = {{d->x[0], d->x[1]}, d->dy, dweight.data, dbias, c->scale, accumulate};
    device->ops->linear_backward_weight(device, &a);
    double *want = doubles_zero(count), *want_bias = doubles_zero(c->outputs);
    for (int64_t row = 0; row < rows; row++)
        for (int o = 0; o < c->outputs; o++) {
            want_bias[o] += c->scale * (double)dy[row * c->outputs + o];
            for (int k = 0; k < d->inputs; k++)
                want[o * d->inputs + k] += c->scale * (double)dy[row * c->outputs + o] * joined(d, row, k);
        }
    for (int64_t i = 0; accumulate && i < count; i++) want[i] += old[i];
    for (int o = 0; accumulate && o < c->outputs; o++) want_bias[o] += old[o];
    check_near(dweight.data, want, count, 3e-6, c->name);
    check_near(dbias, want_bias, c->outputs, 3e-6, c->name);
}

static void test_linear(void **state) {
    (void)state;
    for (int i = 0; i < LENGTH(linear_cases); i++) {
        const LinearData d = linear_data(&linear_cases[i]);
        linear_forward_check(&d);
        linear_backward_data_check(&d);
        linear_backward_weight_check(&d, false);
        linear_backward_weight_check(&d, true);
    }
}

/* ---- attention ---- */

typedef struct AttentionCase {
    int n, h, w, heads, width;
} AttentionCase;

static const AttentionCase attention_cases[] = {
    {1, 1, 1, 1, 4}, {2, 3, 2, 2, 5}, {1, 4, 4, 1, 16}, {3, 8, 8, 2, 32}, {1, 11, 11, 1, 24}};

/* softmax(q k^T / sqrt(d)) v in double. */
static void attention_plain(const AttentionCase *c, const double *qkv, double *y) {
    const int length = c->h * c->w, inner = c->heads * c->width, stride = 3 * inner;
    double *p = doubles_zero(length);
    for (int t = 0; t < c->n * c->heads * length; t++) {
        const int i = t % length, head = t / length % c->heads, n = t / length / c->heads;
        const double *base = qkv + (int64_t)n * length * stride + head * c->width;
        double top = -INFINITY, sum = 0.0;
        for (int j = 0; j < length; j++) {
            p[j] = 0.0;
            for (int k = 0; k < c->width; k++) p[j] += base[i * stride + k] * base[j * stride + inner + k];
            top = fmax(top, p[j] /= sqrt(c->width));
        }
        for (int j = 0; j < length; j++) sum += p[j] = exp(p[j] - top);
        double *to = y + ((int64_t)n * length + i) * inner + head * c->width;
        for (int k = 0; k < c->width; k++) {
            to[k] = 0.0;
            for (int j = 0; j < length; j++) to[k] += p[j] / sum * base[j * stride + 2 * inner + k];
        }
    }
}

/* A gain of 20 makes logits in the hundreds. */
static void attention_forward_check(const AttentionCase *c, float gain) {
    const int inner = c->heads * c->width;
    const Tensor qkv = tensor_random(c->n, c->h, c->w, 3 * inner),
                 y = tensor_poisoned(c->n, c->h, c->w, inner);
    for (int64_t i = 0; i < tensor_count(&qkv); i++) ((float *)qkv.data)[i] *= gain;
    void *workspace = array_poisoned(device->ops->attention_workspace(device, &qkv, c->heads, false));
    AttentionForward a = {.qkv = qkv, .y = y, .heads = c->heads, .workspace = workspace};
    device->ops->attention_forward(device, &a);
    double *want = doubles_zero(tensor_count(&y));
    attention_plain(c, doubles_of(qkv.data, tensor_count(&qkv)), want);
    check_near(y.data, want, tensor_count(&y), gain > 1.0f ? 1e-4 : 3e-6, "attention");
    a.y = tensor_like(y);
    device->ops->attention_forward(device, &a);
    check_same_bits(y.data, a.y.data, tensor_count(&y), "attention");
}

static double attention_loss(const AttentionCase *c, const double *qkv, Tensor dy, double *y) {
    double sum = 0.0;
    attention_plain(c, qkv, y);
    for (int64_t i = 0; i < tensor_count(&dy); i++) sum += y[i] * ((float *)dy.data)[i];
    return sum;
}

/* Central differences in double at up to a hundred places. */
static void attention_backward_check(const AttentionCase *c) {
    const int inner = c->heads * c->width;
    const Tensor qkv = tensor_random(c->n, c->h, c->w, 3 * inner),
                 dy = tensor_random(c->n, c->h, c->w, inner);
    AttentionBackward a = {
        .qkv = qkv, .dy = dy, .dqkv = tensor_like(qkv), .heads = c->heads, .dy_scale = 0.5f};
    a.workspace = array_poisoned(device->ops->attention_workspace(device, &qkv, c->heads, true));
    device->ops->attention_backward(device, &a);
    const int64_t count = tensor_count(&qkv), step = count / 100 * 2 + 1;
    double *x = doubles_of(qkv.data, count), *y = doubles_zero(tensor_count(&dy)), *want = doubles_zero(200);
    float *got = floats_poisoned(200);
    int64_t places = 0;
    for (int64_t i = 0; i < count; i += step, places++) {
        const double old = x[i], h = 1e-5;
        x[i] = old + h;
        const double above = attention_loss(c, x, dy, y);
        x[i] = old - h;
        const double below = attention_loss(c, x, dy, y);
        x[i] = old;
        want[places] = 0.5 * (above - below) / (2.0 * h);
        got[places] = ((float *)a.dqkv.data)[i];
    }
    check_near(got, want, places, 1e-5, "gradient of attention");
    const Tensor first = a.dqkv;
    a.dqkv = tensor_like(first);
    device->ops->attention_backward(device, &a);
    check_same_bits(first.data, a.dqkv.data, count, "gradient of attention");
}

static void test_attention(void **state) {
    (void)state;
    for (int i = 0; i < LENGTH(attention_cases); i++) {
        attention_forward_check(&attention_cases[i], 1.0f);
        attention_forward_check(&attention_cases[i], 20.0f);
        attention_backward_check(&attention_cases[i]);
    }
}

/* ---- devices by name ---- */

static void test_device_names(void **state) {
    (void)state;
    Device *opened;
    Error error;
    static const char *const wrong[] = {"", "gpu", "cpu:1", "cuda:", "cuda:x", "cuda:1x", "cuda:-1", "CPU"};
    for (int i = 0; i < LENGTH(wrong); i++) {
        assert_false(device_open(wrong[i], 0, &opened, &error));
        assert_null(opened);
        assert_non_null(strstr(error.text, "use cpu, cuda or cuda:<number>"));
    }
    assert_false(device_open("cpu", -1, &opened, &error));
    assert_true(device_open("cpu", 0, &opened, &error));
    assert_true(opened->threads >= 1 && strcmp(opened->kind, "cpu") == 0 && opened->name[0]);
    char versions[256];
    device_versions(opened, versions, sizeof versions);
    assert_non_null(strstr(versions, "gcc"));
    device_close(opened);
#if !ICT_CUDA
    assert_false(device_open("cuda:0", 0, &opened, &error));
    assert_non_null(strstr(error.text, "CUDA=1 in the environment"));
#endif
}

#define OP_TEST(name) cmocka_unit_test_setup_teardown(name, arrays_setup, arrays_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        OP_TEST(test_exponential),
        OP_TEST(test_product),
        OP_TEST(test_linear),
        OP_TEST(test_attention),
        cmocka_unit_test(test_device_names),
    };
    return cmocka_run_group_tests_name("backend: heavy ops", tests, NULL, NULL);
}
