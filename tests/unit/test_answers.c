/* What tables and figures about arms must not do: leave an arm out because it has no finished run, put runs
 * of different scales, settings or feature networks into one number. */
#include "answers_fixture.h"

static void an_arm_without_a_finished_run_is_in_the_table(void **state) {
    Store *store = ((Fixture *)*state)->store;
    Error error;
    make_arm(store, "a", "good", "desk", "done", 1);
    make_arm(store, "b", "half", "desk", "queued", 0);
    must(store_put_off(store, "b", "the CPU cannot: try another", &error), &error);
    answer_is(store, "ablation", (const int[]){0, 1, 3, 5, 9, -1},
              "good|fd-random|1|1|desk\nhalf|||missing: 1 queued: the CPU cannot|desk\n");
}

static void an_arm_without_a_finished_run_is_in_every_figure(void **state) {
    Store *store = ((Fixture *)*state)->store;
    static const char *const lines[] = {"arms", "arms_time", "loss", "update_norm"};
    make_arm(store, "a", "good", "desk", "done", 1);
    make_arm(store, "b", "half", "desk", "queued", 0);
    for (int i = 0; i < 4; i++) answer_has(store, lines[i], "lack: half: 1 queued\n", true);
    answer_has(store, "bars", "arm: half: 1 queued\n", true);
    make(store,
         (Made){"c", "q", "ablations/q.yaml", "half", "desk", "shapes", "done", "fd-random", 1, 2, NULL});
    for (int i = 0; i < 4; i++) answer_has(store, lines[i], "lack: ", false);
    answer_has(store, "bars", "arm: half [1 of 2]\n", true); /* a seed fewer is said, too */
}

static void nothing_finished_is_no_figure(void **state) {
    Store *store = ((Fixture *)*state)->store;
    static const char *const figures[] = {"arms", "arms_time", "loss", "update_norm", "bars", "samples_arms"};
    make_arm(store, "b", "half", "desk", "queued", 0);
    for (int i = 0; i < 6; i++) answer_is(store, figures[i], (const int[]){0, -1}, "");
}

static void arms_of_an_older_text_are_forgotten_unless_they_ran(void **state) {
    Store *store = ((Fixture *)*state)->store;
    Error error;
    make_arm(store, "a", "old", "desk", "done", 1);
    make_arm(store, "b", "never", "desk", "queued", 0);
    must(store_execute(
             store, &error,
             "INSERT INTO experiment(id, name, file, yaml, created) VALUES(9, 'q', '', 'arms: {new: {}}', 1)",
             ""),
         &error);
    must(store_execute(store, &error,
                       "INSERT INTO plan(experiment_id, run_id, arm, created) VALUES(9, 'a', 'renamed', 1)",
                       ""),
         &error);
    answer_is(store, "ablation", (const int[]){0, 3, 5, -1}, "renamed|1|1\n"); /* and the run counts once */
}

static void scales_do_not_mix(void **state) {
    Store *store = ((Fixture *)*state)->store;
    make_arm(store, "a", "x", "desk", "done", 1);
    make_arm(store, "b", "x", "hour", "done", 3);
    answer_is(store, "ablation", (const int[]){0, 3, 9, -1}, "x|1|desk\nx|3|hour\n");
    answer_has(store, "bars", "arm: x (desk, shapes, 0.08k images)\narm: x (hour, shapes, 0.08k images)\n",
               true);
    answer_has(store, "arms", "arm: x (desk, shapes, 0.08k images)\n", true);
}

static void make_variant(Store *store, const char *id, int seed, const char *lines, double value) {
    make(store,
         (Made){id, "q", "ablations/q.yaml", "x", "desk", "shapes", "done", "fd-random", seed, value, lines});
}

/* `./run ablations/q.yaml` and again with train.lr=0.002: a mean over both would be of no run there is. */
static void an_override_makes_arms_of_its_own(void **state) {
    Store *store = ((Fixture *)*state)->store;
    make_variant(store, "a", 0, "seed: 0\n", 1);
    make_variant(store, "b", 1, "seed: 1\ntrain.lr: 0.0001\n", 2); /* the default, in other words */
    make_variant(store, "c", 0, "seed: 0\ntrain.lr: 0.002\n", 5);
    make_variant(store, "d", 0, "seed: 0\ntrain.lr: 0.002\nevaluation.sigma_mid: 1\n", 7);
    answer_is(store, "ablation", (const int[]){0, 3, 5, -1},
              "x, train.lr=0.0001, evaluation.sigma_mid=0.821|1.5|2\nx, train.lr=0.002, "
              "evaluation.sigma_mid=0.821|5|1\n"
              "x, train.lr=0.002, evaluation.sigma_mid=1|7|1\n");
    answer_is(store, "runs", (const int[]){1, 7, 9, -1},
              "x, train.lr=0.0001, evaluation.sigma_mid=0.821|1.5|2\nx, train.lr=0.002, "
              "evaluation.sigma_mid=0.821|5|1\n"
              "x, train.lr=0.002, evaluation.sigma_mid=1|7|1\n");
    answer_has(store, "bars", "arm: x, train.lr=0.002, evaluation.sigma_mid=1\n", true);
}

/* The same seed at the same settings, numbered anew since (another numerics version): the newest is meant. */
static void a_seed_counts_once(void **state) {
    Store *store = ((Fixture *)*state)->store;
    Error error;
    make_variant(store, "a", 0, "", 1);
    make_variant(store, "b", 0, "train.tick: 5\nevaluation.grid: 0\n", 3); /* decides no number */
    make_variant(store, "c", 1, "", 5);
    must(store_execute(store, &error, "UPDATE run SET created = 9 WHERE id = 'b'", ""), &error);
    answer_is(store, "ablation", (const int[]){0, 3, 5, -1}, "x|4|2\n");
    answer_is(store, "runs", (const int[]){1, 7, 9, -1}, "x|4|2\n");
}

/* A single arm has no other to differ from; what its file asks for otherwise is not that arm. */
static void an_arm_says_what_was_changed(void **state) {
    Store *store = ((Fixture *)*state)->store;
    Error error;
    make(store, (Made){"a", "q", "ablations/noise.yaml", "uniform (CT)", "desk", "shapes", "done",
                       "fd-random", 0, 1, ""});
    must(
        store_execute(store, &error,
                      "UPDATE run SET config = replace(config_asked('', 'ablations/noise.yaml', arm, scale), "
                      "'train.lr: 0.002', 'train.lr: 0.004')",
                      ""),
        &error);
    must(store_execute(store, &error, "UPDATE evaluation SET weights = 'ema:0.05', samples = 1000", ""),
         &error);
    answer_is(store, "ablation", (const int[]){0, -1}, "uniform (CT), train.lr=0.004\n");
    answer_has(store, "arms", "arm: uniform (CT), train.lr=0.004\n", true);
}

/* ---- a distance by another network is another distance ---- */

static void judge_again(Store *store, const char *id, const char *network, const char *reference,
                        double value, double when) {
    Evaluation evaluation = {.metric = "fd-random", .value = value, .samples = 100, .protocol = "round"};
    Error error;
    snprintf(evaluation.features_hash, sizeof evaluation.features_hash, "%s", network);
    snprintf(evaluation.reference_hash, sizeof evaluation.reference_hash, "%s", reference);
    must(store_evaluation(store, id, 10, "raw", 1, &evaluation, &error), &error);
    must(store_execute(store, &error,
                       "UPDATE evaluation SET created = ? WHERE run_id = ? AND features_hash = ?", "dtt",
                       when, id, network),
         &error);
}

/* Three seeds, of which one another network judged, too, higher and later. An arm that only the other one has
 * judged, and one half of which it has. */
static void two_networks_make(Store *store, const char *network, const char *reference) {
    make_variant(store, "a", 0, NULL, 1);
    make_variant(store, "b", 1, NULL, 3);
    make_variant(store, "f", 2, NULL, 2);
    judge_again(store, "b", network, reference, 100, 9e9);
    static const char *const arms[] = {"y", "z", "z"}, *const ids[] = {"c", "d", "e"};
    for (int i = 0; i < 3; i++)
        make(store, (Made){ids[i], "q", "ablations/q.yaml", arms[i], "desk", "shapes", "done", "fd-random", i,
                           5, NULL});
    Error error;
    must(store_execute(
             store, &error,
             "UPDATE evaluation SET features_hash = ?, reference_hash = ? WHERE run_id IN ('c', 'e')", "tt",
             network, reference),
         &error);
}

static void figures_show_one_network(Store *store) {
    answer_is(
        store, "arms", (const int[]){0, 2, 3, 4, -1},
        "note: scale desk; data shapes; 0.08k images; commit c0ffee00; 3 seeds; cpu|0|0|0\n"
        "arm: x|2|1|3\narm: z [1 of 2 judged]|5|5|5\nlack: y: no such number|||\nmetric: fd-random|0|0|0\n");
    answer_has(store, "arms_time", "arm: x\narm: z [1 of 2 judged]\nlack: y: no such number\n", true);
    answer_is(
        store, "bars", (const int[]){0, 2, 3, -1},
        "note: scale desk; data shapes; 0.08k images; commit c0ffee00; 3 seeds; cpu|0|0\n"
        "metric: fd-random|0|0\narm: x|1|2\narm: x|3|2\narm: x|2|2\narm: y: no such number||\narm: z [1 of 2 "
        "judged]|5|5\n");
}

static void no_curve_mixes_networks(void **state) {
    Store *store = ((Fixture *)*state)->store;
    two_networks_make(store, "0123456789", "");
    figures_show_one_network(store);
    answer_is(store, "ablation", (const int[]){0, 1, 3, 5, -1},
              "x|fd-random by |2|3\nz|fd-random by |5|1 of 2\nx|fd-random by 01234567|100|1 of 3\n"
              "y|fd-random by 01234567|5|1\nz|fd-random by 01234567|5|1 of 2\n");
}

static void no_curve_mixes_references(void **state) {
    Store *store = ((Fixture *)*state)->store;
    two_networks_make(store, "", "89abcdef01");
    figures_show_one_network(store);
}

/* Judged twice at one step: the second network's numbers would send the curve up and down again. */
static void training_shows_one_network(void **state) {
    Store *store = ((Fixture *)*state)->store;
    static const char *const floors[] = {"", "g"};
    Error error;
    make_variant(store, "r", 0, NULL, 3);
    judge_again(store, "r", "g", "", 100, 1);
    for (int i = 0; i < 2; i++) {
        Evaluation floor = {.metric = "fd-random-floor", .value = 1 + i, .samples = 100};
        strcpy(floor.features_hash, floors[i]);
        must(store_evaluation(store, "r", 0, "reference", 0, &floor, &error), &error);
    }
    char *rows = answer(store, "training", (const int[]){0, 2, -1});
    assert_non_null(strstr(rows, "quality fd-random, 1 step|3\n"));
    assert_non_null(strstr(rows, "reference real against real|1\n"));
    assert_null(strstr(rows, "|100\n"));
    assert_null(strstr(rows, "real|2\n"));
    free(rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(an_arm_without_a_finished_run_is_in_the_table),
        STORE_TEST(an_arm_without_a_finished_run_is_in_every_figure),
        STORE_TEST(nothing_finished_is_no_figure),
        STORE_TEST(arms_of_an_older_text_are_forgotten_unless_they_ran),
        STORE_TEST(scales_do_not_mix),
        STORE_TEST(an_override_makes_arms_of_its_own),
        STORE_TEST(a_seed_counts_once),
        STORE_TEST(no_curve_mixes_networks),
        STORE_TEST(no_curve_mixes_references),
        STORE_TEST(training_shows_one_network),
        STORE_TEST(an_arm_says_what_was_changed),
    };
    return cmocka_run_group_tests_name("answers", tests, NULL, NULL);
}
