/* The verdict on a question: paired by seed and grid point, an interval by Student's t, and no verdict where
 * there is none to give. */
#include "store_fixture.h"

#include "answers/answers.h"

static const char *const yaml = "arms: {none: {}, EMA: {}, other: {}}\ngrid: {ct.s1: [40, 80]}\n"
                                "paper: {best: none, worse: [EMA]}\n";

/* A run at scale desk, without an evaluation. */
static void store_run(Store *store, const char *id, const char *arm, int seed, const char *run_state) {
    Error error = {0};
    must(store_execute(
             store, &error,
             "INSERT OR IGNORE INTO experiment(id, name, file, yaml, created) VALUES(1, 'q', '', ?, 0)", "t",
             yaml),
         &error);
    must(store_execute(
             store, &error,
             "INSERT INTO run(id, experiment_id, arm, seed, scale, config, data_hash, state, created) "
             "VALUES(?, 1, ?, ?, 'desk', '', 'd', ?, 0)",
             "ttit", id, arm, (int64_t)seed, run_state),
         &error);
    must(store_execute(store, &error,
                       "INSERT INTO plan(experiment_id, run_id, arm, created) VALUES(1, ?, ?, 0)", "tt", id,
                       arm),
         &error);
}

static void store_value(Store *store, const char *arm, int seed, double value) {
    char id[64];
    Error error = {0};
    snprintf(id, sizeof id, "%s %d", arm, seed);
    store_run(store, id, arm, seed, "done");
    const Evaluation evaluation = {.metric = "fd-random", .value = value, .samples = 100};
    must(store_evaluation(store, id, 10, "raw", 1, &evaluation, &error), &error);
}

typedef struct Rows {
    char text[4096];
} Rows;

static void row_keep(void *context, int columns, const char *const *names, const char *const *values) {
    Rows *rows = context;
    const size_t length = strlen(rows->text);
    assert_int_equal(columns, 13);
    assert_string_equal(names[6], "verdict");
    snprintf(rows->text + length, sizeof rows->text - length, "%s|%s|%s|%s|%s\n", values[2], values[3],
             values[4] ? values[4] : "", values[5] ? values[5] : "", values[6]);
}

static void verdict_is(Store *store, const char *expected) {
    const char *const parameters[] = {"experiment", "q"};
    const Paths paths = {.root = "."};
    Rows rows = {""};
    Question question;
    Error error = {0};
    must(question_read(&paths, "verdict", &question, &error), &error);
    must(store_query(store, question.sql, parameters, 1, row_keep, &rows, &error), &error);
    assert_string_equal(rows.text, expected);
    question_free(&question);
}

/* Differences of 1, 2 and 3: mean 2, deviation 1, half-width 4.30265 / sqrt(3) = 2.484; of 11, 12 and 13:
 * mean 12. */
static void an_interval_without_zero_decides(void **state) {
    Store *store = ((Fixture *)*state)->store;
    for (int seed = 0; seed < 3; seed++) {
        store_value(store, "none, ct.s1=40", seed, 5 * seed);
        store_value(store, "EMA, ct.s1=40", seed, 5 * seed + 11 + seed);
        store_value(store, "other, ct.s1=40", seed, 5 * seed + 11 + seed);
        store_value(store, "none, ct.s1=80", seed, 100 - 5 * seed);
        store_value(store, "EMA, ct.s1=80", seed, 100 - 5 * seed + 1 + seed);
        store_value(store, "other, ct.s1=80", seed, 100 - 5 * seed - 11 - seed);
    }
    verdict_is(store, "EMA, ct.s1=40|3|+12|+9.516 to +14.48|agrees\n"
                      "EMA, ct.s1=80|3|+2|-0.4841 to +4.484|undecided\n"
                      "other, ct.s1=40|3|+12|+9.516 to +14.48|no claim\n"
                      "other, ct.s1=80|3|-12|-14.48 to -9.516|no claim\n");
}

/* Student's own example ("The probable error of a mean", 1908, after Cushny and Peebles): hours of sleep that
 * ten patients gained by two drugs; 1.58 hours between them, 95 % from 0.7001 to 2.46 (R's t.test, paired).
 */
static void the_interval_is_the_textbook_s(void **state) {
    static const double one[] = {0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0},
                        two[] = {1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4};
    Store *store = ((Fixture *)*state)->store;
    for (int seed = 0; seed < 10; seed++) {
        store_value(store, "none", seed, one[seed]);
        store_value(store, "EMA", seed, two[seed]);
    }
    verdict_is(store, "EMA|10|+1.58|+0.7001 to +2.46|agrees\n");
}

static void the_paper_may_be_contradicted(void **state) {
    Store *store = ((Fixture *)*state)->store;
    for (int seed = 0; seed < 3; seed++) {
        store_value(store, "none", seed, 20 + seed);
        store_value(store, "EMA", seed, 10 + 1.1 * seed);
    }
    verdict_is(store, "EMA|3|-9.9|-10.15 to -9.652|disagrees\n");
}

static void few_seeds_decide_nothing(void **state) {
    Store *store = ((Fixture *)*state)->store;
    for (int seed = 0; seed < 2; seed++) {
        store_value(store, "none", seed, 1);
        store_value(store, "EMA", seed, 2);
    }
    store_value(store, "EMA", 7, 9); /* has nobody to be compared with */
    store_value(store, "other", 0, 2);
    verdict_is(store, "EMA|2 of 3|+1|+1 to +1|undecided (n = 2)\nother|1|+1||no claim\n");
}

/* Nor must a run that was never made look as if nobody had asked for it. */
static void an_arm_without_a_finished_run_is_named(void **state) {
    Store *store = ((Fixture *)*state)->store;
    for (int seed = 0; seed < 3; seed++) {
        store_value(store, "none", seed, 20 + seed);
        store_value(store, "other", seed, 20 + seed);
    }
    store_run(store, "e0", "EMA", 0, "failed");
    store_run(store, "e1", "EMA", 1, "queued");
    store_run(store, "e2", "EMA", 2, "queued");
    Error error = {0};
    must(store_put_off(store, "e1", "no such device", &error), &error);
    verdict_is(store, "other|3|+0|+0 to +0|no claim\nEMA|0|||missing: 1 failed, 2 queued: no such device\n");
}

static void where_the_best_is_missing_there_is_no_verdict(void **state) {
    Store *store = ((Fixture *)*state)->store;
    store_run(store, "n0", "none", 0, "queued");
    store_value(store, "EMA", 0, 1);
    verdict_is(store, "EMA|1|||nothing to compare it with\nnone|0|||missing: 1 queued\n");
}

static void a_claim_is_read_from_the_text(void **state) {
    Store *store = ((Fixture *)*state)->store;
    assert_sql(store, "SELECT claim_best('paper: {best: a b}')", "a b");
    assert_sql(store, "SELECT claim_best('arms: {}') IS NULL", "1");
    assert_sql(store, "SELECT claim_best('[') IS NULL", "1");
    assert_sql(store, "SELECT claim_worse('paper: {best: a}', 'b')", "1");
    assert_sql(store, "SELECT claim_worse('paper: {best: a}', 'a')", "0");
    assert_sql(store, "SELECT claim_worse('paper: {best: a, worse: [c]}', 'b')", "0");
    assert_sql(store, "SELECT claim_worse('', 'b')", "0");
    assert_sql(store, "SELECT claim_worse('paper: {best: [a]}', 'b')", "0");
    assert_sql(store, "SELECT claim_worse('paper: {best: a, worse: [[b]]}', 'b')", "0");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(an_interval_without_zero_decides),
        STORE_TEST(the_interval_is_the_textbook_s),
        STORE_TEST(the_paper_may_be_contradicted),
        STORE_TEST(few_seeds_decide_nothing),
        STORE_TEST(an_arm_without_a_finished_run_is_named),
        STORE_TEST(where_the_best_is_missing_there_is_no_verdict),
        STORE_TEST(a_claim_is_read_from_the_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
