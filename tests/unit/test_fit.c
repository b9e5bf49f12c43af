/* What fits into a card's memory, computed without a card. */
#include "train/fit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "plan/plan.h"

#define CARD 80e9 /* bytes of an 80 GB card that are free when a run begins */

static Config paper(const char *file, Precision precision) {
    Plan plan;
    Error error;
    const PlanRequest request = {.files = &file, .file_count = 1, .without_data = true};
    if (!plan_make(&request, &plan, &error)) fail_msg("%s", error.text);
    Config config = plan.runs[0].config;
    config.precision = precision;
    plan_free(&plan);
    return config;
}

static FitRequest request_make(const Config *config, int resolution) {
    return (FitRequest){.model = &config->model,
                        .train = &config->train,
                        .teacher = config->ct.teacher_ema != 0,
                        .precision = config->precision,
                        .resolution = resolution,
                        .channels = 3};
}

/* The paper's CIFAR-10 network trains its whole batch at once: no recomputation, nothing accumulated. */
static void cifar10_fits_at_once_in_16_bits(void **state) {
    (void)state;
    for (Precision precision = PRECISION_BF16; precision <= PRECISION_FP16; precision++) {
        const Config config = paper("experiments/cifar10_main.yaml", precision);
        const FitRequest request = request_make(&config, 32);
        const FitNeeds needs = fit_needs(&request, 1024);
        printf("# arena %.2f GB, state %.2f GB\n", 1e-9 * (double)needs.arena, 1e-9 * (double)needs.state);
        assert_true(needs.arena <= 45e9);
        assert_int_equal(fit_micro_batch(&request, (size_t)CARD), 1024);
    }
}

/* 32 bits need twice the arena, so they take half of the batch at a time. */
static void what_does_not_fit_is_divided(void **state) {
    (void)state;
    const Config wide = paper("experiments/cifar10_main.yaml", PRECISION_TF32),
                 narrow = paper("experiments/cifar10_main.yaml", PRECISION_BF16);
    const FitRequest tf32 = request_make(&wide, 32), bf16 = request_make(&narrow, 32);
    const FitNeeds whole = fit_needs(&tf32, 1024), half = fit_needs(&tf32, 512);
    const double ratio = (double)whole.arena / (double)fit_needs(&bf16, 1024).arena;
    assert_true(ratio > 1.8 && ratio < 2.05);
    assert_true(half.arena < 0.51 * (double)whole.arena && half.state == whole.state);
    assert_int_equal(fit_micro_batch(&tf32, fit_total(&whole)), 1024);
    assert_int_equal(fit_micro_batch(&tf32, fit_total(&whole) - 1), 512);
    assert_int_equal(fit_micro_batch(&tf32, (size_t)1 << 30), 0);
}

static void adm_finds_its_largest_batch(void **state) {
    (void)state;
    Config config = paper("experiments/imagenet64_main.yaml", PRECISION_FP16);
    config.model.classes = 1000;
    const FitRequest request = request_make(&config, 64);
    const int micro = fit_micro_batch(&request, (size_t)CARD);
    const FitNeeds needs = fit_needs(&request, micro), next = fit_needs(&request, 2 * micro);
    printf("# ADM: %d at a time, arena %.2f GB, state %.2f GB\n", micro, 1e-9 * (double)needs.arena,
           1e-9 * (double)needs.state);
    assert_true(micro >= 64 && 4096 % micro == 0);
    assert_true(fit_total(&needs) <= CARD && fit_total(&next) > CARD);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cifar10_fits_at_once_in_16_bits),
        cmocka_unit_test(what_does_not_fit_is_divided),
        cmocka_unit_test(adm_finds_its_largest_batch),
    };
    return cmocka_run_group_tests_name("fit", tests, NULL, NULL);
}
