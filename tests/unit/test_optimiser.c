/* RAdam against torch.optim.RAdam, EMAs against their definition.
 *
 * Goldens: PyTorch 1.13.0, torch.optim.RAdam(lr=1e-2, betas=(0.9, 0.999), eps=1e-8) in float64 on the
 * gradients below. */
#include "train/optimiser.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/near.h"

static const OptimiserConfig radam = {.rectified = true,
                                      .learning_rate = 1e-2,
                                      .beta1 = 0.9,
                                      .beta2 = 0.999,
                                      .epsilon = 1e-8,
                                      .ema = {0.05, 0.1, 0.99993},
                                      .emas = 3};

/* One weight from 0.5 on, driven by the rows alone. */
static void ten_rows_give_the_steps_of_torch(void **state) {
    (void)state;
    const double gradient[10] = {0.1, -0.25, 0.4, 0.05, -0.3, 0.2, 0.15, -0.1, 0.35, 0.02};
    const double expected[10] = {0.499,
                                 0.4998421052631579,
                                 0.49889745581666345,
                                 0.49808210251628543,
                                 0.4981984366717395,
                                 0.4981633324012063,
                                 0.4980855998476549,
                                 0.4980360700468864,
                                 0.49788749699430146,
                                 0.49773364820659965};
    double weight = 0.5, momentum = 0, variance = 0;
    for (int k = 0; k < 10; k++) {
        const StepRow row = optimiser_row(&radam, k, 0);
        assert_int_equal(row.step, k);
        assert_true((row.adaptive == 0) == (k < 5)); /* rectified from the sixth step on */
        momentum = row.beta1 * momentum + (1 - row.beta1) * gradient[k];
        variance = row.beta2 * variance + (1 - row.beta2) * gradient[k] * gradient[k];
        const double step = row.learning_rate * momentum * row.momentum_correction;
        weight -= row.adaptive > 0 ? step * row.adaptive / (sqrt(variance) + row.epsilon) : step;
        NEAR(weight, expected[k], 1e-9);
    }
}

static void adam_corrects_both_moments_from_the_first_step(void **state) {
    (void)state;
    OptimiserConfig adam = radam;
    adam.rectified = false;
    /* torch.optim.Adam adds epsilon after the correction: m_hat / (sqrt(v_hat) + epsilon). */
    NEAR(optimiser_row(&adam, 9, 0).epsilon / (1e-8 * sqrt(1 - pow(0.999, 10))), 1, 1e-6);
    NEAR(optimiser_row(&radam, 9, 0).epsilon / 1e-8, 1, 1e-6);
    for (int k = 0; k < 3000; k += 500) {
        NEAR(optimiser_row(&adam, k, 0).adaptive, sqrt(1 - pow(0.999, k + 1)), 1e-6);
        NEAR(optimiser_row(&adam, k, 0).momentum_correction * (1 - pow(0.9, k + 1)), 1, 1e-6);
    }
}

/* The first five updates grow with the gradient; from the sixth on its size hardly matters (it would not at
 * all without epsilon). So the scale of a loss counts at the very start. */
static void only_the_first_five_steps_see_the_scale(void **state) {
    (void)state;
    double weight[2] = {0, 0}, momentum[2] = {0, 0}, variance[2] = {0, 0};
    for (int k = 0; k < 10; k++) {
        const StepRow row = optimiser_row(&radam, k, 0);
        double update[2];
        for (int i = 0; i < 2; i++) {
            const double gradient = (i ? 8 : 1) * (0.1 + 0.01 * k);
            momentum[i] = row.beta1 * momentum[i] + (1 - row.beta1) * gradient;
            variance[i] = row.beta2 * variance[i] + (1 - row.beta2) * gradient * gradient;
            update[i] = row.learning_rate * momentum[i] * row.momentum_correction;
            if (row.adaptive > 0) update[i] *= row.adaptive / (sqrt(variance[i]) + row.epsilon);
            weight[i] -= update[i];
        }
        NEAR(update[1] / update[0], k < 5 ? 8 : 1, 1e-4);
    }
    assert_true(weight[1] < 2 * weight[0]);
}

static void gamma_is_the_root_of_its_cubic(void **state) {
    (void)state;
    NEAR(ema_gamma(0.05), 16.972198602303447, 1e-9); /* numpy.roots, as Karras et al. 2024 do */
    NEAR(ema_gamma(0.1), 6.937203937601809, 1e-9);
    NEAR(ema_gamma(0.2), 1.8262137798958404, 1e-9);
}

/* The weights of a power-function average over t = 0..1 follow t^gamma; their relative width is sigma_rel. */
static void decays_make_an_average_of_the_wanted_width(void **state) {
    (void)state;
    const int K = 20000;
    for (int e = 0; e < 2; e++) {
        double mean = 0, square = 0;
        for (int k = 0; k < K; k++) {
            const double decay = ema_decay(&radam, e, k), t = (k + 0.5) / K;
            mean = decay * mean + (1 - decay) * t;
            square = decay * square + (1 - decay) * t * t;
        }
        NEAR(sqrt(square - mean * mean), radam.ema[e], 1e-4);
    }
    NEAR(ema_decay(&radam, 0, 0), 0, 0);
    NEAR(ema_decay(&radam, 2, 0), 0.99993, 0);
    NEAR(ema_decay(&radam, 2, 123456), 0.99993, 0);
    NEAR(log(0.5) / log(ema_decay(&radam, 2, 0)), 9902, 0.5); /* half-life in steps: useless in short runs */
}

static void rows_carry_teacher_and_ema_decays(void **state) {
    (void)state;
    const StepRow row = optimiser_row(&radam, 41, 0.95873);
    NEAR(row.teacher_decay, 0.95873, 0);
    NEAR(row.ema_decay[0], pow(1 - 1 / 42.0, 17.972198602303447), 1e-12);
    NEAR(row.ema_decay[2], 0.99993, 0);
}

static void emas_are_called_by_their_number(void **state) {
    (void)state;
    char name[32];
    assert_string_equal(ema_name(&radam, 0, name), "ema:0.05");
    assert_string_equal(ema_name(&radam, 1, name), "ema:0.1");
    assert_string_equal(ema_name(&radam, 2, name), "ema:0.99993");
}

/* ---- on a device ---- */

enum { WEIGHTS = 9 };

typedef struct Bench {
    Device *device;
    ParamSet params;
    Optimiser optimiser;
    StepRow *row;
    int64_t first; /* place of the trained parameter; a frozen one comes before */
    float *host;
} Bench;

static Bench bench_make(bool teacher) {
    Bench b = {0};
    Error error;
    if (!device_open("cpu", 2, &b.device, &error)) fail_msg("%s", error.text);
    param_declare(&b.params, (Param){.name = "frozen", .rank = 1, .shape = {3}, .in_file = true});
    b.first =
        param_declare(&b.params, (Param){.name = "w", .rank = 1, .shape = {WEIGHTS}, .trainable = true});
    b.optimiser = optimiser_create(b.device, &b.params, &radam, teacher);
    b.row = b.device->allocate(b.device, sizeof(StepRow));
    b.host = calloc((size_t)b.params.total, sizeof(float));
    for (int64_t i = 0; i < b.params.total; i++) b.host[i] = 7;
    for (int i = 0; i < WEIGHTS; i++) b.host[b.first + i] = (float)i / 8 - 0.5f;
    optimiser_set_weights(&b.optimiser, b.host);
    memset(b.host, 0, (size_t)b.params.total * sizeof(float)); /* from now on it holds gradients */
    return b;
}

static void bench_free(Bench *b) {
    optimiser_free(&b->optimiser);
    b->device->release(b->device, b->row);
    device_close(b->device);
    param_free(&b->params);
    free(b->host);
}

/* Gradients that floats hold exactly: ((37 i + 101 k) mod 23 - 11) / 16 * (i + 1). */
static void bench_step(Bench *b, int k, double teacher_decay) {
    const StepRow row = optimiser_row(&radam, k, teacher_decay);
    for (int i = 0; i < WEIGHTS; i++) {
        b->host[b->first + i] = (float)((37 * i + 101 * k) % 23 - 11) / 16 * (float)(i + 1);
    }
    b->device->copy(b->device, b->row, &row, sizeof row, COPY_TO_DEVICE);
    b->device->copy(b->device, b->optimiser.gradient, b->host, (size_t)b->params.total * sizeof(float),
                    COPY_TO_DEVICE);
    optimiser_step(&b->optimiser, b->row, 1);
}

static float bench_read(Bench *b, const float *array, int64_t i) {
    float value;
    b->device->copy(b->device, &value, array + i, sizeof value, COPY_TO_HOST);
    return value;
}

static void fifty_steps_on_a_device_agree_with_torch(void **state) {
    (void)state;
    const double expected[WEIGHTS] = {-0.485119939, -0.365969241, -0.216965839, -0.140283152, -0.00657810085,
                                      0.19424893,   0.260169148,  0.437792331,  0.438306004};
    Bench b = bench_make(false);
    for (int k = 0; k < 50; k++) bench_step(&b, k, 0);
    for (int i = 0; i < WEIGHTS; i++)
        NEAR(bench_read(&b, b.optimiser.weight, b.first + i), expected[i], 3e-7);
    NEAR(bench_read(&b, b.optimiser.weight, 0), 7, 0);
    bench_free(&b);
}

/* Everything the pass keeps beside the weights, recomputed in double from the weights that it left. */
static void averages_and_report_follow_the_weights(void **state) {
    (void)state;
    Bench b = bench_make(true);
    double teacher = -0.375, ema[3] = {-0.375, -0.375, -0.375};
    UpdateReport report = {0};
    for (int k = 0; k < 20; k++) {
        double update = 0, before[WEIGHTS];
        for (int i = 0; i < WEIGHTS; i++) before[i] = bench_read(&b, b.optimiser.weight, b.first + i);
        bench_step(&b, k, 0.9);
        for (int i = 0; i < WEIGHTS; i++) {
            update += pow(bench_read(&b, b.optimiser.weight, b.first + i) - before[i], 2);
        }
        const double weight = bench_read(&b, b.optimiser.weight, b.first + 1);
        teacher = 0.9 * teacher + 0.1 * weight;
        for (int e = 0; e < 3; e++) {
            ema[e] += (1 - ema_decay(&radam, e, k)) * (weight - ema[e]);
            NEAR(bench_read(&b, b.optimiser.ema[e], b.first + 1), ema[e], 1e-6);
        }
        NEAR(bench_read(&b, b.optimiser.teacher, b.first + 1), teacher, 1e-6);
        b.device->copy(b.device, &report, b.optimiser.report, sizeof report, COPY_TO_HOST);
        NEAR(sqrt(report.update_square), sqrt(update), 1e-6);
    }
    assert_int_equal(report.non_finite, 0);
    NEAR(bench_read(&b, b.optimiser.teacher, 2), 7, 0);
    NEAR(bench_read(&b, b.optimiser.ema[0], 2), 7, 0);
    bench_free(&b);
}

static void a_gradient_that_is_not_finite_changes_nothing(void **state) {
    (void)state;
    Bench b = bench_make(false);
    for (int k = 0; k < 3; k++) bench_step(&b, k, 0);
    const float before = bench_read(&b, b.optimiser.weight, b.first), nan = NAN;
    b.device->copy(b.device, b.optimiser.gradient + b.first + 3, &nan, sizeof nan, COPY_TO_DEVICE);
    optimiser_step(&b.optimiser, b.row, 1);
    UpdateReport report;
    b.device->copy(b.device, &report, b.optimiser.report, sizeof report, COPY_TO_HOST);
    assert_int_equal(report.non_finite, 1);
    NEAR(bench_read(&b, b.optimiser.weight, b.first), before, 0);
    bench_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_rows_give_the_steps_of_torch),
        cmocka_unit_test(adam_corrects_both_moments_from_the_first_step),
        cmocka_unit_test(only_the_first_five_steps_see_the_scale),
        cmocka_unit_test(gamma_is_the_root_of_its_cubic),
        cmocka_unit_test(decays_make_an_average_of_the_wanted_width),
        cmocka_unit_test(rows_carry_teacher_and_ema_decays),
        cmocka_unit_test(emas_are_called_by_their_number),
        cmocka_unit_test(fifty_steps_on_a_device_agree_with_torch),
        cmocka_unit_test(averages_and_report_follow_the_weights),
        cmocka_unit_test(a_gradient_that_is_not_finite_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
