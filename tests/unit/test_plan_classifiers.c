/* What a plan says of the classifiers that its runs need, and how the runs that train them are asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/mentions.h"
#include "tests/unit/scratch.h"
#include "plan/plan.h"
#include "train/features.h"

#include <string.h>

static PlanRequest request_make(const char *const *file) {
    static char weights[1024];
    snprintf(weights, sizeof weights, "%s/weights", scratch_folder);
    return (PlanRequest){
        .files = file, .file_count = 1, .scale = "smoke", .data_folder = "data", .weights_folder = weights};
}

static Plan planned(const PlanRequest *request) {
    Plan plan;
    Error error = {0};
    if (!plan_make(request, &plan, &error)) fail_msg("%s", error.text);
    return plan;
}

static void needs_are_noted_once(void **state) {
    (void)state;
    const char *file = "ablations/judges.yaml";
    PlanRequest request = request_make(&file);
    Error error = {0};
    Plan plan;
    assert_false(plan_make(&request, &plan, &error));
    assert_mentions(&error, "judges.yaml");
    assert_mentions(&error,
                    "experiments/classifier_shapes.yaml data.resolution=16 data.count=2048` trains them");
    request.classifiers_later = true;
    plan = planned(&request);
    assert_int_equal(plan.run_count, 9);
    assert_int_equal(plan.need_count, 2);
    for (int i = 0; i < 9; i++) assert_true(plan.runs[i].waits); /* all are judged */
    assert_string_not_equal(plan.needs[0].name, plan.needs[1].name);
    plan_free(&plan);
}

static void only_runs_that_need_one_wait(void **state) {
    (void)state;
    const char *file = "ablations/loss.yaml";
    PlanRequest request = request_make(&file);
    request.classifiers_later = true;
    Plan plan = planned(&request);
    assert_int_equal(plan.need_count, 1);
    assert_string_equal(plan.needs[0].name, "classifier-loss-shapes-16-2048");
    for (int i = 0; i < plan.run_count; i++)
        assert_int_equal(plan.runs[i].waits, !strcmp(plan.runs[i].arm, "perceptual-classifier"));
    plan_free(&plan);
}

/* Runs with LPIPS's network must not carry the name of the arm that has another. */
static void another_network_is_said_in_the_name(void **state) {
    (void)state;
    const char *file = "ablations/loss.yaml";
    const char *const overrides[] = {"ct.perceptual=narrow", "ct.perceptual_size=16", "seed=0"};
    PlanRequest request = request_make(&file);
    Error error = {0};
    if (!features_import("narrow", "tests/golden/vgg16-narrow.safetensors", request.weights_folder, &error))
        fail_msg("%s", error.text);
    request.overrides = overrides, request.override_count = 3;
    Plan plan = planned(&request);
    assert_string_equal(plan.runs[0].arm, "squared l2");
    assert_string_equal(plan.runs[plan.run_count - 1].arm, "perceptual-classifier, ct.perceptual=narrow");
    plan_free(&plan);
}

static void some_arms_at_a_scale_that_the_file_names(void **state) {
    (void)state;
    const char *file = "experiments/classifier_shapes.yaml";
    const char *const arms[] = {"loss"};
    PlanRequest request = request_make(&file);
    request.arms = arms, request.arm_count = 1;
    request.scale_where_named = true;
    for (int i = 0; i < 2; i++) {
        request.scale = i ? "desk" : "smoke";
        Plan plan = planned(&request);
        assert_int_equal(plan.run_count, 1);
        assert_string_equal(plan.runs[0].arm, "loss");
        assert_string_equal(plan.runs[0].scale, i ? "quickstart" : "smoke");
        assert_int_equal(plan.runs[0].config.data.count, i ? 50000 : 2048);
        plan_free(&plan);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(needs_are_noted_once),
        cmocka_unit_test(only_runs_that_need_one_wait),
        cmocka_unit_test(another_network_is_said_in_the_name),
        cmocka_unit_test(some_arms_at_a_scale_that_the_file_names),
    };
    return cmocka_run_group_tests_name("plan_classifiers", tests, scratch_make, scratch_remove);
}
