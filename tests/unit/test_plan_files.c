/* Every experiment and every question of this repository can be planned at every scale. */
#include "plan/plan.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/scratch.h"

/* The number of runs that files mean at a scale (NULL: their own). With data, data and network must fit each
 * other, too. */
static int runs_of(char *const *files, size_t count, const char *scale, bool with_data) {
    Plan plan;
    Error error = {0};
    const PlanRequest request = {.files = (const char *const *)files,
                                 .file_count = (int)count,
                                 .scale = scale,
                                 .data_folder = scratch("data"),
                                 .classifiers_later = true,
                                 .without_data = !with_data};
    if (!plan_make(&request, &plan, &error)) fail_msg("%s", error.text);
    const int runs = plan.run_count;
    plan_free(&plan);
    return runs;
}

static void every_experiment_is_good_at_every_scale(void **state) {
    (void)state;
    static char *const files[] = {"experiments/quickstart.yaml",     "experiments/cifar10_main.yaml",
                                  "experiments/cifar10_deep.yaml",   "experiments/cifar10_ct.yaml",
                                  "experiments/imagenet64_ct.yaml",  "experiments/imagenet64_main.yaml",
                                  "experiments/imagenet64_deep.yaml"};
    static const char *const scales[] = {NULL, "smoke", "desk", "hour"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        for (size_t j = 0; j < 4; j++) assert_true(runs_of(&files[i], 1, scales[j], false) >= 1);
        runs_of(&files[i], 1, "smoke", true);
    }
}

/* All of them in one request, so that their names differ, too; smoke and desk have built-in data. */
static void every_question_is_good_at_every_scale(void **state) {
    (void)state;
    static const char *const scales[] = {"smoke", "desk", "hour", "paper"};
    glob_t found;
    assert_int_equal(glob("ablations/*.yaml", 0, NULL, &found), 0);
    for (size_t i = 0; i < 4; i++)
        assert_true(runs_of(found.gl_pathv, found.gl_pathc, scales[i], i < 2) >= 2 * (int)found.gl_pathc);
    globfree(&found);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_experiment_is_good_at_every_scale),
        cmocka_unit_test(every_question_is_good_at_every_scale),
    };
    return cmocka_run_group_tests_name("plan_files", tests, scratch_make, scratch_remove);
}
