/* What tables and figures must not do: leave an arm out because it has no finished run, put runs of different
 * scales into one number, show a published number without its source, call a distance FID that is not. */
#include "store_fixture.h"

#include "answers/answers.h"

static const Paths here = {.root = "."};

/* A run of experiment `name` at scale and data set, with one tick and one evaluation if it is done. */
typedef struct Made {
    const char *id, *name, *file, *arm, *scale, *data, *state, *metric;
    int seed;
    double value;
    const char *lines; /* more of its configuration */
} Made;

static void make_experiment(Store *store, const Made *m) {
    Error error;
    must(store_execute(
             store, &error,
             "INSERT OR IGNORE INTO experiment(name, file, yaml, created) VALUES(?, ?, 'arms: {}', 0)", "tt",
             m->name, m->file),
         &error);
}

static void make_numbers(Store *store, const Made *m) {
    static const char *const metrics[] = {"loss",
                                          "gradient_norm",
                                          "N",
                                          "learning_rate",
                                          "update_norm_mean",
                                          "update_norm_variance",
                                          "images_per_second"};
    const Evaluation evaluation = {.metric = "", .value = m->value, .samples = 100, .protocol = "round"};
    Evaluation named = evaluation;
    Error error;
    snprintf(named.metric, sizeof named.metric, "%s", m->metric);
    must(store_evaluation(store, m->id, 10, "raw", 1, &named, &error), &error);
    for (int i = 0; i < 7; i++)
        must(store_execute(
                 store, &error,
                 "INSERT INTO metric(run_id, step, images, name, value, wall) VALUES(?, 10, 80, ?, 2, 1)",
                 "tt", m->id, metrics[i]),
             &error);
}

static void make(Store *store, Made m) {
    Error error;
    char *config = text_format("data.name: %s\ntrain.steps: 10\ntrain.batch: 8\nevaluation.weights: raw\n"
                               "evaluation.samples: 100\nevaluation.rounding: round\n%s",
                               m.data, m.lines ? m.lines : "");
    make_experiment(store, &m);
    must(
        store_execute(
            store, &error,
            "INSERT INTO run(id, experiment_id, arm, seed, scale, config, data_hash, state, created, device, "
            "git_commit) SELECT ?, id, ?, ?, ?, ?, 'd', ?, 0, 'cpu', 'c0ffee00' FROM experiment WHERE name = "
            "?",
            "ttitttt", m.id, m.arm, (int64_t)m.seed, m.scale, config, m.state, m.name),
        &error);
    must(store_execute(
             store, &error,
             "INSERT INTO plan(experiment_id, run_id, arm, created) SELECT id, ?, ?, 0 FROM experiment "
             "WHERE name = ?",
             "ttt", m.id, m.arm, m.name),
         &error);
    if (!strcmp(m.state, "done")) make_numbers(store, &m);
    free(config);
}

static void make_arm(Store *store, const char *id, const char *arm, const char *scale, const char *run_state,
                     double value) {
    make(store,
         (Made){id, "q", "ablations/q.yaml", arm, scale, "shapes", run_state, "fd-random", 0, value, NULL});
}

/* Rows as "value|value|...\n" of the columns given, -1 terminated. */
typedef struct Rows {
    const int *columns;
    Text text;
} Rows;

static void row_keep(void *context, int columns, const char *const *names, const char *const *values) {
    Rows *rows = context;
    (void)names;
    for (const int *c = rows->columns; *c >= 0; c++) {
        assert_true(*c < columns);
        text_append(&rows->text, "%s%s", c == rows->columns ? "" : "|", values[*c] ? values[*c] : "");
    }
    text_append(&rows->text, "\n");
}

static char *answer(Store *store, const char *name, const int *columns) {
    const char *const parameters[] = {"experiment", "q", "run", "r"};
    Rows rows = {.columns = columns};
    Question question;
    Error error = {0};
    must(question_read(&here, name, &question, &error), &error);
    must(store_query(store, question.sql, parameters, question_parameter(&question) ? 2 : 0, row_keep, &rows,
                     &error),
         &error);
    question_free(&question);
    char *text = text_copy(text_view(&rows.text));
    text_free(&rows.text);
    return text;
}

static void answer_is(Store *store, const char *name, const int *columns, const char *expected) {
    char *found = answer(store, name, columns);
    assert_string_equal(found, expected);
    free(found);
}

static void answer_has(Store *store, const char *name, const char *line, bool has) {
    char *found = answer(store, name, (const int[]){0, -1});
    if ((strstr(found, line) != NULL) != has) fail_msg("%s: '%s' in\n%s", name, line, found);
    free(found);
}

/* ---- arms ---- */

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

/* ---- beside the paper ---- */

static void make_ours(Store *store, const char *id, const char *scale, const char *data, const char *metric,
                      double value) {
    make(store, (Made){id, "main", "experiments/main.yaml", "", scale, data, "done", metric, 0, value, NULL});
}

static void only_fid_on_the_data_set_is_fid(void **state) {
    Store *store = ((Fixture *)*state)->store;
    make_ours(store, "a", "desk", "cifar10", "fid", 3);
    make_ours(store, "b", "desk", "cifar10-jpeg", "fid", 4);
    make_ours(store, "c", "hour", "cifar10", "fd-random", 5);
    make_ours(store, "d", "hour", "shapes", "fid", 6);
    make_arm(store, "e", "x", "desk", "done", 7); /* a question's arm: not for this table */
    make(store, (Made){"f", "rate", "experiments/calibration/hour.yaml", "", "hour", "cifar10", "done", "fid",
                       1000, 8, NULL}); /* nor what chose a rate */
    answer_is(store, "cifar10", (const int[]){0, 2, 4, 6, 7, 8, 11, -1},
              "ours: main|3.00||desk|cifar10|80|c0ffee00\nours: main||fid 4|desk|cifar10-jpeg|80|c0ffee00\n"
              "ours: main||fd-random 5|hour|cifar10|80|c0ffee00\n");
    answer_is(store, "imagenet64", (const int[]){0, -1}, "");
}

/* Judged again with other weights or repeats: the row stays what the run's settings ask for. Of two networks
 * called so neither is hidden. */
static void ours_are_judged_as_they_ask(void **state) {
    Store *store = ((Fixture *)*state)->store;
    const Evaluation
        again = {.metric = "fid", .value = 9, .samples = 100, .protocol = "round; mean of 3 repeats"},
        other = {.metric = "fid", .value = 4, .samples = 100, .protocol = "round", .features_hash = "g"};
    Error error;
    make_ours(store, "a", "desk", "cifar10", "fid", 3);
    must(store_evaluation(store, "a", 10, "raw", 1, &again, &error), &error);
    must(store_evaluation(store, "a", 10, "ema:0.05", 1, &other, &error), &error);
    answer_is(store, "cifar10", (const int[]){0, 2, 4, -1}, "ours: main|3.00|\n");
    must(store_evaluation(store, "a", 10, "raw", 1, &other, &error), &error);
    answer_is(store, "cifar10", (const int[]){0, 2, 4, -1}, "ours: main|3.00, 4.00|\n");
}

static void ours_say_what_was_changed(void **state) {
    Store *store = ((Fixture *)*state)->store;
    const char *file = "experiments/main.yaml";
    make(store, (Made){"a", "main", file, "", "desk", "cifar10", "done", "fid", 0, 1, ""});
    make(store, (Made){"b", "main", file, "", "desk", "cifar10", "done", "fid", 0, 2, "ct.s1: 20\n"});
    answer_is(store, "cifar10", (const int[]){0, 2, -1},
              "ours: main, ct.s1=1280|1.00\nours: main, ct.s1=20|2.00\n");
}

static bool load(Fixture *fixture, const char *text, Error *error) {
    char path[128];
    snprintf(path, sizeof path, "%s/published.csv", fixture->folder);
    must(file_write_atomic(path, text, strlen(text), error), error);
    return store_load_published(fixture->store, path, error);
}

static void a_published_number_needs_a_source(void **state) {
    Fixture *fixture = *state;
    Error error;
    must(load(fixture, "source,dataset,method,nfe,metric,value\n\"X, table 2\",CIFAR-10,iCT,1,FID,2.83\n",
              &error),
         &error);
    assert_false(load(fixture, "Y,CIFAR-10,CT,1,FID,8.7\n ,CIFAR-10,iCT,1,FID,2.83\n", &error));
    assert_non_null(
        strstr(error.text, "published.csv:2: FID 2.83 of iCT: a published number without its source"));
    answer_is(fixture->store, "cifar10", (const int[]){0, 1, 2, 5, -1},
              "iCT|1|2.83|X, table 2\n"); /* as before */
}

static void ours_stand_below_theirs(void **state) {
    Fixture *fixture = *state;
    Error error;
    make_ours(fixture->store, "a", "desk", "cifar10", "fid", 1);
    must(load(fixture, "X,CIFAR-10,zeta,2,FID,3\nX (from memory),CIFAR-10,alpha,1,FID,2\n", &error), &error);
    answer_is(fixture->store, "cifar10", (const int[]){0, 2, 5, -1},
              "zeta|3.00|X\nalpha|2.00*|X\nours: main|1.00|this database\n");
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
        STORE_TEST(only_fid_on_the_data_set_is_fid),
        STORE_TEST(ours_are_judged_as_they_ask),
        STORE_TEST(ours_say_what_was_changed),
        STORE_TEST(a_published_number_needs_a_source),
        STORE_TEST(ours_stand_below_theirs),
    };
    return cmocka_run_group_tests_name("answers", tests, NULL, NULL);
}
