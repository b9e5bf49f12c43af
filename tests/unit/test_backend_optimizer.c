/* The optimiser pass: RAdam and Adam over fifty steps against torch.optim in double
 * (scripts/golden_light.py), moving averages, the report, steps that must be skipped, and the same bits for
 * any number of threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "golden.h"

static const double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;

/* Numbers of step t = 1, 2, ... as torch.optim.RAdam computes them: not adaptive while rho_t <= 5, which is
 * the first five steps. */
static StepRow radam_row(int t) {
    const double correction1 = 1 - pow(beta1, t), correction2 = 1 - pow(beta2, t);
    const double limit = 2 / (1 - beta2) - 1, rho = limit - 2 * t * pow(beta2, t) / correction2;
    StepRow row = {.step = (uint32_t)t - 1, .learning_rate = 1e-3f, .beta1 = beta1, .beta2 = beta2};
    row.epsilon = (float)epsilon;
    row.momentum_correction = (float)(1 / correction1);
    if (rho > 5) {
        const double rectification = sqrt((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho));
        row.adaptive = (float)(rectification * sqrt(correction2));
    }
    return row;
}

/* Adam divides by sqrt(v / correction2) + epsilon. */
static StepRow adam_row(int t) {
    StepRow row = radam_row(t);
    const double root = sqrt(1 - pow(beta2, t));
    row.adaptive = (float)root;
    row.epsilon = (float)(epsilon * root);
    return row;
}

/* Fresh state of `count` parameters; everything that a step may touch. */
static OptimizerStep step_make(const StepRow *row, size_t count, int emas) {
    const int64_t n = (int64_t)count;
    OptimizerStep op = {
        .count = count, .row = row, .gradient = floats_random(n), .gradient_scale = 1.0f, .emas = emas};
    op.weight = floats_random(n);
    op.momentum = floats_random(n);
    op.variance = floats_random(n);
    for (int64_t i = 0; i < n; i++) op.variance[i] *= op.variance[i];
    op.teacher = floats_random(n);
    for (int i = 0; i < emas; i++) op.ema[i] = floats_random(n);
    op.report = array_poisoned(sizeof(UpdateReport));
    op.workspace = array_poisoned(device->ops->optimizer_workspace(device, count));
    return op;
}

/* ---- against PyTorch ---- */

static void check_doubles(const float *x, const char *name, const char *key, double tolerance, bool each) {
    char full[64];
    snprintf(full, sizeof full, "optimizer.%s.%s", name, key);
    const NpyArray *expected = npz_find(golden, golden_count, full);
    if (!expected) fail_msg("no %s in the golden file", full);
    const double *y = expected->data;
    double largest = 0.0;
    for (int64_t i = 0; i < npy_count(expected); i++) largest = fmax(largest, fabs(y[i]));
    for (int64_t i = 0; i < npy_count(expected); i++)
        NEAR(x[i], y[i], tolerance * (each ? fabs(y[i]) : largest));
}

static void check_golden_run(const char *name, StepRow (*make_row)(int), float decay, float scale) {
    const Tensor start = golden_tensor("optimizer", "start"),
                 gradients = golden_tensor("optimizer", "gradients");
    StepRow row;
    OptimizerStep op = step_make(&row, (size_t)start.c, 0);
    float *gradient = floats_poisoned(start.c);
    op.gradient = gradient;
    op.gradient_scale = 1.0f / scale;
    memcpy(op.weight, start.data, tensor_bytes(&start));
    memset(op.momentum, 0, tensor_bytes(&start));
    memset(op.variance, 0, tensor_bytes(&start));
    for (int t = 1; t <= 50; t++) {
        row = make_row(t);
        row.weight_decay = decay;
        for (int i = 0; i < start.c; i++)
            gradient[i] = scale * ((float *)gradients.data)[(t - 1) * start.c + i];
        device->ops->optimizer_step(device, &op);
        char key[16];
        snprintf(key, sizeof key, "%d", t);
        if (t == 1 || t == 5 || t == 6 || t == 50) check_doubles(op.weight, name, key, 1e-6, true);
    }
    check_doubles(op.momentum, name, "momentum", 1e-6, false);
    check_doubles(op.variance, name, "variance", 1e-6, true);
}

static void test_radam(void **state) {
    (void)state;
    check_golden_run("radam", radam_row, 0.0f, 1.0f);
}

static void test_radam_with_loss_scale(void **state) {
    (void)state;
    check_golden_run("radam", radam_row, 0.0f, 4096.0f);
}

static void test_radam_with_weight_decay(void **state) {
    (void)state;
    check_golden_run("radam_decay", radam_row, 0.01f, 1.0f);
}

static void test_adam(void **state) {
    (void)state;
    check_golden_run("adam", adam_row, 0.0f, 1.0f);
}

/* The gradients of the golden run span ten orders of magnitude, so that a misplaced epsilon would be seen:
 * check that the difference between RAdam's and Adam's placement is larger than the tolerance. */
static void test_epsilon_matters(void **state) {
    (void)state;
    StepRow row = radam_row(50), shifted = row;
    shifted.epsilon *= (float)sqrt(1 - pow(beta2, 50));
    OptimizerStep a = step_make(&row, 1, 0), b = step_make(&shifted, 1, 0);
    const float tiny = 1e-9f;
    a.gradient = b.gradient = &tiny;
    *a.weight = *b.weight = 1.0f;
    *a.momentum = *b.momentum = tiny;
    *a.variance = *b.variance = tiny * tiny;
    device->ops->optimizer_step(device, &a);
    device->ops->optimizer_step(device, &b);
    assert_true(fabsf(*a.weight - *b.weight) > 1e-6f);
}

/* ---- averages and report ---- */

static double squares(const float *x, size_t count) {
    double sum = 0.0;
    for (size_t i = 0; i < count; i++) sum += (double)x[i] * x[i];
    return sum;
}

static void check_average(const float *before, const float *after, const float *weight, double decay,
                          size_t count) {
    for (size_t i = 0; i < count; i++)
        NEAR(after[i], decay * before[i] + (1 - decay) * weight[i],
             2e-7 * (fabs(before[i]) + fabs(weight[i])));
}

static void test_averages(void **state) {
    (void)state;
    const size_t count = 20011; /* several chunks, the last one odd */
    StepRow row = radam_row(9);
    row.teacher_decay = 0.95;
    row.ema_decay[0] = 0.99993;
    row.ema_decay[1] = 0.0;
    OptimizerStep op = step_make(&row, count, 2);
    const OptimizerStep before = step_make(&row, count, 2);
    memcpy(before.weight, op.weight, count * sizeof(float));
    memcpy(before.teacher, op.teacher, count * sizeof(float));
    memcpy(before.ema[0], op.ema[0], count * sizeof(float));
    memset(op.ema[1], 0xFF, count * sizeof(float));
    device->ops->optimizer_step(device, &op);
    check_average(before.teacher, op.teacher, op.weight, 0.95, count);
    check_average(before.ema[0], op.ema[0], op.weight, 0.99993, count);
    assert_memory_equal(op.ema[1], op.weight, count * sizeof(float)); /* decay 0 copies, whatever was there */
    double moved = 0.0;
    for (size_t i = 0; i < count; i++) moved += pow((double)before.weight[i] - op.weight[i], 2);
    NEAR(op.report->update_square / moved, 1.0, 1e-3); /* the difference of two floats knows few digits */
    NEAR(op.report->gradient_square / squares(op.gradient, count), 1.0, 1e-9);
    NEAR(op.report->weight_square / squares(op.weight, count), 1.0, 1e-12);
    assert_int_equal(op.report->non_finite, 0);
    memcpy(op.teacher, before.weight, count * sizeof(float));
    row.teacher_decay = 0.0;
    device->ops->optimizer_step(device, &op);
    assert_memory_equal(op.teacher, op.weight, count * sizeof(float));
}

/* A small rate of an average must arrive in full: a float decay of 0.99993 would be off by 5e-4
 * of 1 - decay. */
static void test_average_rate(void **state) {
    (void)state;
    StepRow row = radam_row(9);
    row.learning_rate = 0.0f;
    row.ema_decay[0] = 0.99993;
    OptimizerStep op = step_make(&row, 1, 1);
    *op.weight = 1.0f;
    *op.ema[0] = 0.0f;
    device->ops->optimizer_step(device, &op);
    NEAR(*op.ema[0] / 7e-5, 1.0, 1e-6);
}

/* ---- steps that must not happen ---- */

static void test_skip(void **state) {
    (void)state;
    const size_t count = 20011, bytes = count * sizeof(float);
    const float bad[] = {NAN, INFINITY, -INFINITY, 1e30f}; /* the square of the last one is infinite */
    const size_t places[] = {0, 8191, 8192, 20010};
    for (int i = 0; i < LENGTH(bad) * LENGTH(places); i++) {
        StepRow row = radam_row(9);
        OptimizerStep op = step_make(&row, count, 1), before = step_make(&row, count, 1);
        float *gradient = floats_random((int64_t)count);
        op.gradient = gradient;
        float *arrays[] = {op.weight, op.momentum, op.variance, op.teacher, op.ema[0]};
        float *copies[] = {before.weight, before.momentum, before.variance, before.teacher, before.ema[0]};
        for (int k = 0; k < LENGTH(arrays); k++) memcpy(copies[k], arrays[k], bytes);
        gradient[places[i / LENGTH(bad)]] = 0.0f;
        const double expected = squares(gradient, count);
        gradient[places[i / LENGTH(bad)]] = bad[i % LENGTH(bad)];
        device->ops->optimizer_step(device, &op);
        for (int k = 0; k < LENGTH(arrays); k++) assert_memory_equal(copies[k], arrays[k], bytes);
        assert_int_equal(op.report->non_finite, 1);
        assert_true(op.report->update_square == 0.0);
        NEAR(op.report->gradient_square / expected, 1.0, 1e-9);
        NEAR(op.report->weight_square / squares(op.weight, count), 1.0, 1e-12);
    }
}

static void test_skip_counts(void **state) {
    (void)state;
    StepRow row = radam_row(9);
    OptimizerStep op = step_make(&row, 30000, 0);
    float *gradient = floats_random(30000);
    op.gradient = gradient;
    op.teacher = NULL;
    for (int i = 7; i < 30000; i += 100) gradient[i] = i % 200 == 7 ? NAN : INFINITY;
    device->ops->optimizer_step(device, &op);
    assert_int_equal(op.report->non_finite, 300);
}

/* ---- determinism ---- */

static void test_threads_do_not_matter(void **state) {
    (void)state;
    const size_t count = 100003;
    const StepRow row = radam_row(9);
    OptimizerStep op = step_make(&row, count, 1);
    UpdateReport first = {0};
    float *weight = floats_poisoned((int64_t)count), *start = floats_poisoned((int64_t)count);
    memcpy(start, op.weight, count * sizeof(float));
    for (int threads = 1; threads <= 5; threads++) {
        OptimizerStep again = step_make(&row, count, 1);
        memcpy(again.momentum, op.momentum, count * sizeof(float));
        memcpy(again.variance, op.variance, count * sizeof(float));
        memcpy(again.weight, start, count * sizeof(float));
        again.gradient = op.gradient;
        const int had = device->threads;
        device->threads = threads;
        device->ops->optimizer_step(device, &again);
        device->threads = had;
        if (threads == 1) first = *again.report;
        if (threads == 1) memcpy(weight, again.weight, count * sizeof(float));
        assert_memory_equal(&first, again.report, sizeof first);
        assert_memory_equal(weight, again.weight, count * sizeof(float));
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, arrays_setup, arrays_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_radam),
        TEST(test_radam_with_loss_scale),
        TEST(test_radam_with_weight_decay),
        TEST(test_adam),
        TEST(test_epsilon_matters),
        TEST(test_averages),
        TEST(test_average_rate),
        TEST(test_skip),
        TEST(test_skip_counts),
        TEST(test_threads_do_not_matter),
    };
    return cmocka_run_group_tests_name("backend: optimiser", tests, golden_open, golden_close);
}
