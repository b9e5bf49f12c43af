/* What a scale does: what stands instead of single values, that both methods' curricula shrink alike, and
 * that rates are chosen by plain runs on a seed of their own. That each question can be planned at each scale
 * is test_plan_files.c's affair. */
#include "plan/plan.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/near.h"
#include "tests/unit/scratch.h"

/* Scales of the repository, or of `folder`. */
static Plan planned_from(const char *folder, const char *file, const char *scale, const char *override) {
    Plan plan;
    Error error = {0};
    const PlanRequest request = {.files = &file,
                                 .file_count = 1,
                                 .overrides = &override,
                                 .override_count = override != NULL,
                                 .scale = scale,
                                 .scale_folder = folder,
                                 .without_data = true};
    if (!plan_make(&request, &plan, &error)) fail_msg("%s", error.text);
    return plan;
}

static Plan planned(const char *file, const char *scale) {
    return planned_from(NULL, file, scale, NULL);
}

/* ---- instead ---- */

static const char *written(const char *name, const char *text) {
    static char paths[4][1024];
    static int next;
    const char *path = path_join(paths[next++ % 4], scratch_folder, name);
    assert_true(file_write_atomic(path, text, strlen(text), NULL));
    return path;
}

/* The s1 of one run of a file whose arms are iCT, CT and other. */
static void s1_is(const char *file, const char *scale, const char *override, int run, int s1) {
    Plan plan = planned_from(scratch("scales"), file, scale, override);
    assert_in_range(run, 0, plan.run_count - 1);
    assert_int_equal(plan.runs[run].config.ct.s1, s1);
    plan_free(&plan);
}

/* Original CT's own number shrinks too, wherever a file asks for it; a question about the number, and the
 * command line, get what they ask for. What stands instead of one value is no further value to stand instead
 * of. */
static void a_scale_has_other_values_instead(void **state) {
    (void)state;
    assert_true(folder_make(scratch("scales"), NULL));
    written("scales/paper.yaml", "notes: nothing changes\n");
    written("scales/short.yaml", "ct: {s1: 16}\ninstead: {ct.s1: {150: 3, 3: 2}}\n");
    const char *arms =
                   written("arms.yaml", "ct.s0: 2\narms: {iCT: {}, CT: {ct.s1: 150}, other: {ct.s1: 9}}\n"),
               *grid = written("grid.yaml", "ct.s0: 2\ngrid: {ct.s1: [20, 150]}\n");
    s1_is(arms, "short", NULL, 0, 16);
    s1_is(arms, "short", NULL, 1, 3);
    s1_is(arms, "short", NULL, 2, 9);
    s1_is(grid, "short", NULL, 1, 150);
    s1_is(grid, "short", "ct.s1=150", 0, 150);
    s1_is(arms, "paper", NULL, 1, 150);
}

/* ---- the repository's scales ---- */

/* A rate is chosen by the plain runs of both methods: each arm of a calibration is one of them but for its
 * rate and seed, for its length, and for being judged at its end only, by as many samples as usual. */
static void calibration_is_plain(const char *scale, int share) {
    char file[64];
    snprintf(file, sizeof file, "experiments/calibration/%s.yaml", scale);
    Plan plan = planned(file, scale), ict = planned("experiments/cifar10_main.yaml", scale),
         ct = planned("experiments/cifar10_ct.yaml", scale);
    assert_int_equal(plan.run_count, 6);
    for (int i = 0; i < plan.run_count; i++) {
        const RunSpec *run = &plan.runs[i];
        Config plain = strncmp(run->arm, "CT,", 3) ? ict.runs[0].config : ct.runs[0].config;
        Text found = {0}, expected = {0};
        plain.seed = 1000;
        plain.train.optimiser.learning_rate = run->config.train.optimiser.learning_rate;
        plain.train.steps /= share;
        plain.train.evaluations = 1;
        plain.train.evaluate_at[0] = 1;
        plain.evaluation.samples_last = 0;
        config_print(&run->config, CONFIG_ALL, &found);
        config_print(&plain, CONFIG_ALL, &expected);
        assert_string_equal(text_view(&found), text_view(&expected));
        text_free(&found);
        text_free(&expected);
    }
    plan_free(&plan);
    plan_free(&ict);
    plan_free(&ct);
}

static void a_rate_is_chosen_by_plain_runs(void **state) {
    (void)state;
    calibration_is_plain("desk", 1);
    calibration_is_plain("hour", 2);
}

/* A scale shortens both curricula by one factor, in every question that has original CT's as in plain CT: no
 * arm is left with the 150 levels of a run that is a thousand times as long. */
static void both_curricula_shrink_alike(void **state) {
    (void)state;
    static const struct {
        const char *scale;
        int factor;
    } rows[] = {{"desk", 16}, {"hour", 8}, {"paper", 1}};
    static const char *const files[] = {"experiments/cifar10_ct.yaml", "ablations/ema.yaml",
                                        "ablations/weighting.yaml",    "ablations/loss_ct.yaml",
                                        "ablations/ladder.yaml",       "ablations/leave_one_out.yaml"};
    for (size_t r = 0; r < 3; r++)
        for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
            Plan plan = planned(files[f], rows[r].scale);
            int original = 0;
            for (int i = 0; i < plan.run_count; i++) {
                const CtConfig *c = &plan.runs[i].config.ct;
                const double published = c->s0 == 2 ? 150 : 1280;
                original += c->s0 == 2;
                NEAR(c->s1, published / rows[r].factor, 0.65);
            }
            assert_true(original > 0);
            plan_free(&plan);
        }
    Plan plan = planned("experiments/imagenet64_ct.yaml", "hour");
    assert_int_equal(plan.runs[0].config.ct.s1, 200 / 8);
    plan_free(&plan);
}

static void no_question_has_the_calibrations_seed(void **state) {
    (void)state;
    glob_t found;
    assert_int_equal(glob("ablations/*.yaml", 0, NULL, &found), 0);
    for (size_t f = 0; f < found.gl_pathc; f++) {
        Plan plan = planned(found.gl_pathv[f], "hour");
        for (int i = 0; i < plan.run_count; i++) assert_true(plan.runs[i].config.seed < 1000);
        plan_free(&plan);
    }
    globfree(&found);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_scale_has_other_values_instead),
        cmocka_unit_test(both_curricula_shrink_alike),
        cmocka_unit_test(a_rate_is_chosen_by_plain_runs),
        cmocka_unit_test(no_question_has_the_calibrations_seed),
    };
    return cmocka_run_group_tests_name("scales", tests, scratch_make, scratch_remove);
}
