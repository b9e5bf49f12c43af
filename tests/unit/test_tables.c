/* Tables never mean over numbers that are not of one kind: sample counts, protocols, feature networks and
 * references stay apart. */
#include "store_fixture.h"

#include "answers/answers.h"

static void run_store(Store *store, const char *arm, int seed, char id[64]) {
    Error error = {0};
    snprintf(id, 64, "%s %d", arm, seed);
    must(store_execute(store, &error,
                       "INSERT OR IGNORE INTO experiment(id, name, file, yaml, created) VALUES(1, 'q', '', "
                       "'paper: {best: none}', 0)",
                       ""),
         &error);
    must(store_execute(
             store, &error,
             "INSERT INTO run(id, experiment_id, arm, seed, scale, config, data_hash, state, created) "
             "VALUES(?, 1, ?, ?, 'desk', '', 'd', 'done', 0)",
             "tti", id, arm, (int64_t)seed),
         &error);
    must(store_execute(store, &error,
                       "INSERT INTO plan(experiment_id, run_id, arm, created) VALUES(1, ?, ?, 0)", "tt", id,
                       arm),
         &error);
}

/* Every combination of two counts, two protocols, two networks and two references. */
static void run_evaluate(Store *store, const char *id) {
    Error error = {0};
    for (int i = 0; i < 16; i++) {
        Evaluation evaluation = {.metric = "fd-random", .value = 1 + i, .samples = i % 2 ? 100 : 200};
        strcpy(evaluation.protocol, i / 2 % 2 ? "round" : "trunc");
        strcpy(evaluation.features_hash, i / 4 % 2 ? "f" : "g");
        strcpy(evaluation.reference_hash, i / 8 % 2 ? "r" : "s");
        must(store_evaluation(store, id, 10, "raw", 1, &evaluation, &error), &error);
    }
}

typedef struct Rows {
    int count;
    const char *seeds; /* what column `n` must say */
} Rows;

static void row_check(void *context, int columns, const char *const *names, const char *const *values) {
    Rows *rows = context;
    rows->count++;
    for (int i = 0; i < columns; i++)
        if (!strcmp(names[i], "n")) assert_string_equal(values[i], rows->seeds);
}

static void rows_are(Store *store, const char *table, int count, const char *seeds) {
    const char *const parameters[] = {"experiment", "q"};
    const Paths paths = {.root = "."};
    Rows rows = {0, seeds};
    Question question;
    Error error = {0};
    must(question_read(&paths, table, &question, &error), &error);
    must(store_query(store, question.sql, parameters, question_parameter(&question) ? 1 : 0, row_check, &rows,
                     &error),
         &error);
    if (rows.count != count) fail_msg("%s: %d rows, not %d", table, rows.count, count);
    question_free(&question);
}

static void no_table_mixes(void **state) {
    Store *store = ((Fixture *)*state)->store;
    for (int seed = 0; seed < 3; seed++)
        for (int arm = 0; arm < 2; arm++) {
            char id[64];
            run_store(store, arm ? "EMA" : "none", seed, id);
            run_evaluate(store, id);
        }
    rows_are(store, "ablation", 32, "3");
    rows_are(store, "runs", 32, "3");
    rows_are(store, "verdict", 16, "3"); /* the other arm against the best */
}

/* A database of before the protocol was stored: its samples' rounding was the run's, its floors had none. */
static void older_evaluations_get_their_rounding(void **state) {
    Fixture *fixture = *state;
    Error error = {0};
    run_add(fixture->store, "aa10", "");
    static const char older[] =
        "DROP TABLE rounding; DROP TABLE bench_op; DROP TABLE bench_value; DROP TABLE bench; "
        "DROP TABLE evaluation; CREATE TABLE evaluation(run_id TEXT NOT NULL REFERENCES run(id) ON DELETE "
        "CASCADE, step INTEGER NOT NULL, weights TEXT NOT NULL, nfe INTEGER NOT NULL, metric TEXT NOT NULL, "
        "value REAL, samples INTEGER NOT NULL, features_hash TEXT NOT NULL, reference_hash TEXT NOT NULL, "
        "created REAL NOT NULL, PRIMARY KEY(run_id, step, weights, nfe, metric, samples, features_hash, "
        "reference_hash)) WITHOUT ROWID;"
        "INSERT INTO evaluation VALUES('aa10', 5, 'raw', 1, 'fd-random', 2, 512, 'f', 'r', 0);"
        "INSERT INTO evaluation VALUES('aa10', 0, 'reference', 0, 'fd-random-floor', 1, 512, 'f', 'r', 0);"
        "UPDATE run SET config = 'evaluation.rounding: trunc' || char(10); PRAGMA user_version = 2";
    assert_int_equal(sqlite3_exec(fixture->store->db, older, NULL, NULL, NULL), SQLITE_OK);
    store_close(fixture->store);
    must(store_open(fixture->path, &fixture->store, &error), &error);
    assert_sql(
        fixture->store,
        "SELECT group_concat(metric || ':' || protocol || ':' || value) FROM (SELECT * FROM evaluation "
        "ORDER BY step)",
        "fd-random-floor::1.0,fd-random:trunc:2.0");
}

/* ---- two judges ---- */

static void judged_store(Store *store, const char *arm, int seed, const char *distance, double by_j,
                         double by_p) {
    Error error = {0};
    char id[64], *config = text_format("ct.distance: %s\nevaluation.rounding: round\n", distance);
    run_store(store, arm, seed, id);
    must(store_execute(store, &error, "UPDATE run SET config = ? WHERE id = ?", "tt", config, id), &error);
    free(config);
    for (int i = 0; i < 2; i++) {
        Evaluation evaluation = {.value = i ? by_p : by_j, .samples = 100};
        strcpy(evaluation.metric, i ? "fd-classifier-loss" : "fd-classifier");
        strcpy(evaluation.protocol, i ? "round; trained on 0-24999" : "round; trained on 25000-44999");
        strcpy(evaluation.features_hash, i ? "p" : "j");
        must(store_evaluation(store, id, 10, "raw", 1, &evaluation, &error), &error);
        strcpy(evaluation.features_hash,
               "another"); /* which would be mixed in if hashes were not kept apart */
        evaluation.value *= i ? 100 : 1;
        if (i) must(store_evaluation(store, id, 10, "raw", 1, &evaluation, &error), &error);
    }
}

static void judged_check(void *context, int columns, const char *const *names, const char *const *values) {
    const bool perceptual = !strcmp(values[0], "perceptual-classifier");
    static const char *const expected[][3] = {{"relative by J", "1.000", "0.500"},
                                              {"relative by P", "1.000", "0.250"},
                                              {"flattery", "1.000", "0.500"},
                                              {"95 %", "1.000 to 1.000", "0.500 to 0.500"},
                                              {"n", "3", "3"}};
    for (int i = 0; i < columns; i++)
        for (size_t k = 0; k < sizeof expected / sizeof *expected; k++)
            if (!strcmp(names[i], expected[k][0]))
                assert_string_equal(values[i], expected[k][1 + perceptual]);
    ++*(int *)context;
}

/* Halved by the judge, quartered by the network that the arm was trained against: half of it is flattery. */
static void judges_tell_progress_from_flattery(void **state) {
    Store *store = ((Fixture *)*state)->store;
    const char *const parameters[] = {"experiment", "q"};
    const Paths paths = {.root = "."};
    Question question;
    Error error = {0};
    int rows = 0;
    for (int seed = 0; seed < 3; seed++) {
        judged_store(store, "squared l2", seed, "l2", 10 + seed, 20);
        judged_store(store, "perceptual-classifier", seed, "perceptual", 5 + 0.5 * seed, 5);
    }
    must(question_read(&paths, "judges", &question, &error), &error);
    must(store_query(store, question.sql, parameters, 1, judged_check, &rows, &error), &error);
    assert_int_equal(rows, 4); /* two arms, two loss networks */
    question_free(&question);
}

static void alone_check(void *context, int columns, const char *const *names, const char *const *values) {
    for (int i = 0; i < columns; i++)
        if (!strncmp(names[i], "relative", 8) || !strcmp(names[i], "flattery") || !strcmp(names[i], "95 %"))
            assert_null(values[i]);
    ++*(int *)context;
}

/* Without an arm that knows neither network there is nothing to be relative to: no number, not 0. */
static void without_others_there_is_no_flattery(void **state) {
    Store *store = ((Fixture *)*state)->store;
    const char *const parameters[] = {"experiment", "q"};
    const Paths paths = {.root = "."};
    Question question;
    Error error = {0};
    int rows = 0;
    for (int seed = 0; seed < 3; seed++)
        judged_store(store, "perceptual-classifier", seed, "perceptual", 5 + 0.5 * seed, 5);
    must(question_read(&paths, "judges", &question, &error), &error);
    must(store_query(store, question.sql, parameters, 1, alone_check, &rows, &error), &error);
    assert_int_equal(rows, 2);
    question_free(&question);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(no_table_mixes),
        STORE_TEST(judges_tell_progress_from_flattery),
        STORE_TEST(without_others_there_is_no_flattery),
        STORE_TEST(older_evaluations_get_their_rounding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
