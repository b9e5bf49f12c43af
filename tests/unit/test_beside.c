/* The tables beside published numbers: none without its source, nothing called FID that is not, and ours with
 * what was changed. */
#include "answers_fixture.h"

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

/* A single run has no other to differ from; it differs from what its file asks for at its scale. */
static void one_run_says_what_was_changed(void **state) {
    Store *store = ((Fixture *)*state)->store;
    Error error;
    const char *file = "experiments/cifar10_main.yaml", *const sets[] = {"cifar10", "cifar10-jpeg"};
    static const char
        as_asked[] = "UPDATE run SET config = (SELECT config_asked('data.name: ' || ?, x.file, '', "
                     "scale) FROM experiment x WHERE x.id = experiment_id) WHERE id = ?",
        changed[] = "UPDATE run SET config = replace(config, 'model.channels: 64', 'model.channels: 32') "
                    "WHERE id = 'b'";
    for (int i = 0; i < 2; i++) {
        const char *id = i ? "b" : "a";
        make(store, (Made){id, "cifar10_main", file, "", "hour", sets[i], "done", "fd-random", i, 1 + i, ""});
        must(store_execute(store, &error, as_asked, "tt", sets[i], id), &error);
    }
    must(store_execute(store, &error, "UPDATE evaluation SET weights = 'ema:0.05', samples = 50000", ""),
         &error);
    answer_is(store, "cifar10", (const int[]){0, 4, 7, -1},
              "ours: cifar10_main|fd-random 1|cifar10\nours: cifar10_main|fd-random 2|cifar10-jpeg\n");
    must(store_execute(store, &error, changed, ""), &error);
    answer_is(store, "cifar10", (const int[]){0, 4, 7, -1},
              "ours: cifar10_main|fd-random 1|cifar10\nours: cifar10_main, model.channels=32|fd-random "
              "2|cifar10-jpeg\n");
    answer_is(store, "runs", (const int[]){0, 1, 3, -1},
              "cifar10_main||cifar10\ncifar10_main|model.channels=32|cifar10-jpeg\n");
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

static void table_has(Store *store, TableFormat format, const char *expected) {
    Question question;
    Text text = {0};
    Error error;
    must(question_read(&here, "cifar10", &question, &error), &error);
    must(table_print(store, &question, format, NULL, 0, &text, &error), &error);
    assert_non_null(strstr(text_view(&text), expected));
    question_free(&question);
    text_free(&text);
}

/* A mark behind a number leaves it one; a word among them does not. */
static void numbers_stand_to_the_right(void **state) {
    Fixture *fixture = *state;
    Error error;
    must(load(fixture, "X,CIFAR-10,zeta,2,FID,3\nX (from memory),CIFAR-10,zeta,2,IS,9.5\n", &error), &error);
    table_has(fixture->store, TABLE_MARKDOWN, "| method | NFE | FID | IS | ");
    table_has(fixture->store, TABLE_MARKDOWN, "\n|---|---:|---:|---:|---:|---|");
    table_has(fixture->store, TABLE_LATEX, "{lrrrrl");
    table_has(fixture->store, TABLE_LATEX, "zeta & 2 & 3.00 & 9.50* & ");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(only_fid_on_the_data_set_is_fid),   STORE_TEST(ours_are_judged_as_they_ask),
        STORE_TEST(one_run_says_what_was_changed),     STORE_TEST(ours_say_what_was_changed),
        STORE_TEST(a_published_number_needs_a_source), STORE_TEST(ours_stand_below_theirs),
        STORE_TEST(numbers_stand_to_the_right),
    };
    return cmocka_run_group_tests_name("beside", tests, NULL, NULL);
}
