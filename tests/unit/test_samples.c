/* What evaluations and `sample` ask for: the noise levels of any number of steps, and the labels of seeds. */
#include "harness/samples.h"
#include "harness/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "near.h"

static void test_levels_of_any_number_of_steps(void **state) {
    (void)state;
    Config config = config_default();
    EvaluationConfig *evaluation = &config.evaluation;
    SamplerConfig one = sampler_levels(&config.ct, evaluation, 1),
                  two = sampler_levels(&config.ct, evaluation, 2);
    assert_true(one.nfe == 1 && two.nfe == 2 && two.sigmas[0] == 0.821);
    evaluation->sigma_count = 2, evaluation->sigmas[0] = 5, evaluation->sigmas[1] = 0.5;
    const SamplerConfig three = sampler_levels(&config.ct, evaluation, 3);
    assert_true(three.nfe == 3 && three.sigmas[0] == 5 && three.sigmas[1] == 0.5);
    assert_true(sampler_levels(&config.ct, evaluation, 2).sigmas[0] == 0.821);
    /* None are given for 16 steps: the inner points of the grid of 17, from above. */
    const SamplerConfig most = sampler_levels(&config.ct, evaluation, MOST_NFE);
    for (int i = 0; i < MOST_NFE - 1; i++)
        NEAR(most.sigmas[i], ct_sigma(&config.ct, MOST_NFE - 1 - i, MOST_NFE + 1), 0);
    assert_true(most.sigmas[0] < 80 && most.sigmas[MOST_NFE - 2] > 0.002);
}

static void test_labels_in_turn(void **state) {
    (void)state;
    const int32_t some[3] = {4, 9, 4};
    const LabelSource named = {LABELS_IN_TURN, some, 3}, all = {.rule = LABELS_IN_TURN};
    for (uint32_t seed = 0; seed < 20; seed++) {
        assert_int_equal(label_of_seed(&named, 10, seed), some[seed % 3]);
        assert_int_equal(label_of_seed(&all, 10, seed), seed % 10);
    }
}

/* A data set of 60 %, 30 %, 10 % and a class that never comes: drawn labels are as frequent, within four
 * standard deviations, and no seed's label depends on another's. */
static void test_labels_by_frequency(void **state) {
    (void)state;
    enum { DRAWS = 20000 };
    int32_t labels[10] = {0, 0, 0, 0, 0, 0, 1, 1, 1, 2};
    const LabelSource source = {LABELS_DRAWN, labels, 10};
    int found[4] = {0};
    for (uint32_t seed = 0; seed < DRAWS; seed++) found[label_of_seed(&source, 4, seed)]++;
    assert_in_range(found[0], 12000 - 277, 12000 + 277);
    assert_in_range(found[1], 6000 - 259, 6000 + 259);
    assert_in_range(found[2], 2000 - 170, 2000 + 170);
    assert_int_equal(found[3], 0);
}

/* What reaches the network, and that pieces of a request draw as the whole does. */
static int32_t seen[600];
static bool record(void *context, const SamplerConfig *sampler, uint32_t first, int count,
                   const int32_t *labels, float *images, Error *error) {
    (void)context, (void)sampler, (void)error;
    memset(images, 0, (size_t)count * sizeof *images);
    for (int i = 0; i < count; i++) seen[first + (uint32_t)i] = labels ? labels[i] : -1;
    return true;
}

static void test_requests_carry_labels(void **state) {
    (void)state;
    int32_t labels[100];
    Error error;
    for (int i = 0; i < 100; i++) labels[i] = i % 7;
    SampleRequest request = {.sampler = {.nfe = 1}, .first = 5, .count = 590, .classes = 7, .image_size = 1};
    request.labels = (LabelSource){LABELS_DRAWN, labels, 100};
    free(samples_draw(&request, record, NULL, &error));
    for (uint32_t seed = 5; seed < 595; seed++)
        assert_int_equal(seen[seed], label_of_seed(&request.labels, 7, seed));
    request.classes = 0;
    free(samples_draw(&request, record, NULL, &error));
    for (int seed = 5; seed < 595; seed++) assert_int_equal(seen[seed], -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels_of_any_number_of_steps),
        cmocka_unit_test(test_labels_in_turn),
        cmocka_unit_test(test_labels_by_frequency),
        cmocka_unit_test(test_requests_carry_labels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
