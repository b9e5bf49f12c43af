/* Sums over steps: means, the update's variance, and loss and residual by noise level. */
#include "train/meter.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/unit/near.h"

static const CtConfig levels = {.sigma_min = 0.002, .sigma_max = 80};

/* Bin b is from sigma_min (sigma_max / sigma_min)^(b / 8) to the next. */
static void bins_are_equal_parts_of_the_logarithm(void **state) {
    (void)state;
    const double part = pow(levels.sigma_max / levels.sigma_min, 1.0 / SIGMA_BINS);
    for (int b = 0; b < SIGMA_BINS; b++) {
        const double low = levels.sigma_min * pow(part, b);
        assert_int_equal(meter_bin(&levels, low * 1.0001), b);
        assert_int_equal(meter_bin(&levels, low * part / 1.0001), b);
    }
    assert_int_equal(meter_bin(&levels, levels.sigma_min), 0);
    assert_int_equal(meter_bin(&levels, levels.sigma_max), SIGMA_BINS - 1);
    assert_int_equal(meter_bin(&levels, 1e-9), 0);
    assert_int_equal(meter_bin(&levels, 1e9), SIGMA_BINS - 1);
}

static void images_are_counted_in_the_bins_of_their_pairs(void **state) {
    (void)state;
    const float loss[3] = {1, 2, 6}, residual[3] = {10, 20, 60};
    const int32_t pair[3] = {1, 0, 1};
    const int bin_of_pair[2] = {2, 7};
    const StepRecord step = {
        .batch = 3, .loss = loss, .residual = residual, .pair = pair, .bin_of_pair = bin_of_pair};
    Meter meter = {0};
    meter_add(&meter, &step);
    meter_add(&meter, &step);
    NEAR(meter.loss, 2 * 3, 1e-12);
    NEAR(meter.residual, 2 * 30, 1e-12);
    for (int b = 0; b < SIGMA_BINS; b++) {
        NEAR(meter.bin_images[b], b == 7 ? 4 : b == 2 ? 2 : 0, 0);
        NEAR(meter.bin_loss[b], b == 7 ? 2 * (1 + 6) : b == 2 ? 2 * 2 : 0, 1e-12);
        NEAR(meter.bin_residual[b], b == 7 ? 2 * (10 + 60) : b == 2 ? 2 * 20 : 0, 1e-12);
    }
}

static void means_and_variance_are_over_the_steps(void **state) {
    (void)state;
    const float loss[1] = {1};
    const double update[5] = {3, 1, 4, 1, 5}, gradient = 7;
    const double mean = 14.0 / 5, variance = (9 + 1 + 16 + 1 + 25) / 5.0 - mean * mean;
    Meter meter = {0};
    for (int k = 0; k < 5; k++) {
        StepRecord step = {.batch = 1, .loss = loss};
        step.report.update_square = update[k] * update[k];
        step.report.gradient_square = gradient * gradient;
        meter_add(&meter, &step);
    }
    NEAR(meter.update_mean, mean, 1e-12);
    NEAR(meter.update_spread / meter.steps, variance, 1e-12);
    NEAR(meter.gradient_norm / meter.steps, gradient, 1e-12);
}

/* Its gradient is no number; what it measured before counts. */
static void a_skipped_step_is_counted(void **state) {
    (void)state;
    const float loss[1] = {1};
    StepRecord step = {.batch = 1, .loss = loss};
    step.report.gradient_square = INFINITY, step.report.non_finite = 3;
    Meter meter = {0};
    meter_add(&meter, &step);
    NEAR(meter.non_finite, 3, 0);
    NEAR(meter.gradient_norm, 0, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bins_are_equal_parts_of_the_logarithm),
        cmocka_unit_test(images_are_counted_in_the_bins_of_their_pairs),
        cmocka_unit_test(means_and_variance_are_over_the_steps),
        cmocka_unit_test(a_skipped_step_is_counted),
    };
    return cmocka_run_group_tests_name("meter", tests, NULL, NULL);
}
