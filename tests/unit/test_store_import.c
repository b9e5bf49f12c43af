/* Bringing in runs from elsewhere: what is new, what is further along there, and what stays as it is here. */
#include "store_fixture.h"
#include "mentions.h"

/* Another database, as another machine leaves it: every run says that it comes from there. */
typedef struct Other {
    char folder[200], path[256];
    Store *store;
} Other;

static Other other_open(const Fixture *fixture) {
    Other other;
    Error error;
    snprintf(other.folder, sizeof other.folder, "%s/elsewhere", fixture->folder);
    snprintf(other.path, sizeof other.path, "%s/other.db", other.folder);
    must(store_open(other.path, &other.store, &error), &error);
    return other;
}

static void other_close(Other *other) {
    Error error;
    must(store_execute(other->store, &error, "UPDATE run SET host = 'elsewhere', process = NULL", ""),
         &error);
    store_close(other->store);
}

static void run_to(Store *store, const char *id, int64_t step) {
    run_add(store, id, "an arm");
    if (!step) return;
    run_claim(store, id, false, false);
    run_start(store, id, 0);
    ticks_write(store, id, 1, step, 1);
}

static void run_end(Store *store, const char *id, RunState state) {
    Error error;
    must(store_end_run(store, id, 0, state, NULL, &error), &error);
}

static ImportCount import(Store *store, const char *path) {
    ImportCount count;
    Error error;
    must(store_import(store, path, &count, &error), &error);
    return count;
}

static void assert_counts(ImportCount count, int added, int advanced, int kept) {
    assert_int_equal(count.added, added);
    assert_int_equal(count.advanced, advanced);
    assert_int_equal(count.kept, kept);
}

/* How many rows there are of everything. */
static char *everything(Store *store) {
    char value[256] = "";
    Error error;
    must(
        store_query(store,
                    "SELECT (SELECT count(*) FROM run) || ' ' || (SELECT count(*) FROM experiment) || ' ' || "
                    "(SELECT count(*) FROM plan) || ' ' || (SELECT count(*) FROM metric) || ' ' || "
                    "(SELECT count(*) FROM evaluation) || ' ' || (SELECT count(*) FROM artifact) || ' ' || "
                    "(SELECT count(*) FROM event)",
                    NULL, 0, first_value, value, &error),
        &error);
    return text_copy(value);
}

static void test_new_runs_come_over_and_the_second_time_nothing_happens(void **state) {
    Fixture *fixture = *state;
    Other other = other_open(fixture);
    Error error;
    run_to(other.store, "bb20", 3);
    must(store_event(other.store, "bb20", "info", "hello", &error), &error);
    other_close(&other);
    assert_counts(import(fixture->store, other.path), 1, 0, 0);
    const RunRow theirs = run_get(fixture->store, "bb20");
    assert_string_equal(theirs.experiment, "ema");
    assert_int_equal(theirs.step, 3);
    assert_int_equal(theirs.state, RUN_INTERRUPTED); /* it does not run here */
    char *before = everything(fixture->store);
    assert_counts(import(fixture->store, other.path), 0, 0, 1);
    char *after = everything(fixture->store);
    assert_string_equal(before, after);
    free(before);
    free(after);
}

static void test_the_run_that_is_further_along_is_kept(void **state) {
    Fixture *fixture = *state;
    Store *store = fixture->store;
    Other other = other_open(fixture);
    static const struct {
        const char *id;
        int64_t here, there;
        RunState state_here, state_there;
        int64_t kept; /* the step afterwards */
        RunState state;
    } cases[] = {
        {"a0", 5, 9, RUN_INTERRUPTED, RUN_INTERRUPTED, 9, RUN_INTERRUPTED},
        {"a1", 9, 5, RUN_INTERRUPTED, RUN_INTERRUPTED, 9, RUN_INTERRUPTED},
        {"a2", 9, 5, RUN_INTERRUPTED, RUN_DONE, 5, RUN_DONE},
        {"a3", 5, 9, RUN_DONE, RUN_DONE, 5, RUN_DONE},       /* both finished: ours */
        {"a4", 5, 9, RUN_RUNNING, RUN_DONE, 5, RUN_RUNNING}, /* hands off what runs */
        {"a5", 0, 4, RUN_QUEUED, RUN_DIVERGED, 4, RUN_DIVERGED},
        {"a6", 0, 4, RUN_QUEUED, RUN_FAILED, 0,
         RUN_QUEUED}, /* a crash over there is no reason not to try here */
    };
    enum { CASES = sizeof cases / sizeof *cases };
    for (int i = 0; i < CASES; i++) {
        run_to(store, cases[i].id, cases[i].here);
        run_to(other.store, cases[i].id, cases[i].there);
        if (cases[i].here && cases[i].state_here != RUN_RUNNING)
            run_end(store, cases[i].id, cases[i].state_here);
        run_end(other.store, cases[i].id, cases[i].state_there);
    }
    other_close(&other);
    assert_counts(import(store, other.path), 0, 3, CASES - 3);
    for (int i = 0; i < CASES; i++) {
        const RunRow row = run_get(store, cases[i].id);
        assert_int_equal(row.step, cases[i].kept);
        assert_int_equal(row.state, cases[i].state);
    }
    assert_sql(store, "SELECT count(*) FROM metric WHERE run_id = 'a2' AND name = 'loss'",
               "5"); /* none of ours left */
    assert_sql(store, "SELECT host FROM run WHERE id = 'a0'", "elsewhere");
    assert_counts(import(store, other.path), 0, 0, CASES);
}

/* A run that was imported once and evaluated over there since. */
static void test_later_evaluations_of_the_same_run_come_over(void **state) {
    Fixture *fixture = *state;
    Other other = other_open(fixture);
    const Evaluation evaluation = {.metric = "fd-random", .value = 3, .samples = 64};
    char png[256];
    Error error;
    run_to(other.store, "bb20", 3);
    run_end(other.store, "bb20", RUN_DONE);
    other_close(&other);
    import(fixture->store, other.path);
    other = other_open(fixture);
    must(store_evaluation(other.store, "bb20", 3, "raw", 1, &evaluation, &error), &error);
    snprintf(png, sizeof png, "%s/samples-3.png", other.folder);
    must(file_write_atomic(png, "x", 1, &error), &error);
    must(store_artifact(other.store, "bb20", "samples", 3, png, &error), &error);
    other_close(&other);
    assert_counts(import(fixture->store, other.path), 0, 0, 1);
    assert_sql(fixture->store, "SELECT value FROM evaluation WHERE run_id = 'bb20'", "3");
    /* found from here, although it is stored relative to its own database over there */
    char stored[256] = "", located[1024];
    must(store_query(fixture->store, "SELECT path FROM artifact", NULL, 0, first_value, stored, &error),
         &error);
    assert_true(file_exists(store_locate(fixture->store, stored, located)));
}

static void test_a_dump_is_as_good_as_the_file(void **state) {
    Fixture *fixture = *state;
    ImportCount count;
    char path[256], sql[128];
    Error error;
    assert_counts(import(fixture->store, "results/recorded/quickstart-2cores.sql"), 1, 0,
                  0); /* of an older layout */
    assert_sql(fixture->store, "SELECT max(step) FROM metric", "2300");
    assert_sql(fixture->store, "SELECT name FROM experiment", "quickstart");
    snprintf(path, sizeof path, "%s/bad.sql", fixture->folder);
    snprintf(sql, sizeof sql, "ATTACH '%s/stolen.db' AS stolen;", fixture->folder);
    must(file_write_atomic(path, sql, strlen(sql), &error), &error);
    assert_false(store_import(fixture->store, path, &count, &error));
    assert_mentions(&error, "not authorized");
    snprintf(sql, sizeof sql, "CREATE TABLE run(id TEXT);");
    must(file_write_atomic(path, sql, strlen(sql), &error), &error);
    assert_false(store_import(fixture->store, path, &count, &error));
    assert_mentions(&error, "user_version");
}

/* Each would run for ever, fill the memory or reach elsewhere. */
static void test_a_dump_makes_and_fills_tables_only(void **state) {
    static const char *const bad[] = {
        "WITH RECURSIVE r(x) AS (VALUES(1) UNION ALL SELECT x FROM r) SELECT count(*) FROM r;",
        "CREATE TABLE t AS WITH RECURSIVE r(x) AS (VALUES(1) UNION ALL SELECT x FROM r) SELECT x FROM r;",
        "CREATE VIEW run AS SELECT 1;",
        "CREATE TABLE t(x); INSERT INTO t VALUES(zeroblob(900000000));",
        "CREATE TABLE t(x); CREATE TRIGGER again AFTER INSERT ON t BEGIN DELETE FROM t; END;",
    };
    Fixture *fixture = *state;
    ImportCount count;
    char path[256];
    Error error;
    snprintf(path, sizeof path, "%s/bad.sql", fixture->folder);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        must(file_write_atomic(path, bad[i], strlen(bad[i]), &error), &error);
        assert_false(store_import(fixture->store, path, &count, &error));
        assert_mentions(&error, "not authorized");
    }
}

static void test_a_view_in_a_database_is_refused(void **state) {
    Fixture *fixture = *state;
    ImportCount count;
    char path[256];
    sqlite3 *other;
    Error error;
    snprintf(path, sizeof path, "%s/view.db", fixture->folder);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other,
                                  "CREATE TABLE t(x); CREATE VIEW run AS WITH RECURSIVE r(x) AS (VALUES(1) "
                                  "UNION ALL SELECT x FROM r) SELECT x AS id FROM r",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(other);
    assert_false(store_import(fixture->store, path, &count, &error));
    assert_mentions(&error, "the view run");
}

static int folder_entries(const char *folder) {
    char command[200];
    int count = 0;
    snprintf(command, sizeof command, "ls -A %s | wc -l", folder);
    FILE *list = popen(command, "r");
    assert_int_equal(fscanf(list, "%d", &count), 1);
    pclose(list);
    return count;
}

static void test_what_cannot_be_imported_is_said_and_leaves_nothing(void **state) {
    Fixture *fixture = *state;
    ImportCount count;
    char path[256];
    Error error;
    snprintf(path, sizeof path, "%s/broken.db", fixture->folder);
    must(file_write_atomic(path, "SQLite format 3\0 and then nothing of the kind", 45, &error), &error);
    const int entries = folder_entries(fixture->folder);
    assert_false(store_import(fixture->store, "/nowhere/x.db", &count, &error));
    assert_mentions(&error, "/nowhere/x.db");
    assert_false(store_import(fixture->store, path, &count, &error));
    assert_mentions(&error, "broken.db");
    must(file_write_atomic(path, "no database", 11, &error), &error);
    assert_false(store_import(fixture->store, path, &count, &error));
    assert_mentions(&error, "neither a database nor the dump");
    assert_int_equal(folder_entries(fixture->folder), entries); /* copies are gone */
    run_to(fixture->store, "aa10", 2);
    assert_counts(import(fixture->store, fixture->path), 0, 0, 1); /* itself */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_new_runs_come_over_and_the_second_time_nothing_happens),
        STORE_TEST(test_the_run_that_is_further_along_is_kept),
        STORE_TEST(test_later_evaluations_of_the_same_run_come_over),
        STORE_TEST(test_a_dump_is_as_good_as_the_file),
        STORE_TEST(test_a_dump_makes_and_fills_tables_only),
        STORE_TEST(test_a_view_in_a_database_is_refused),
        STORE_TEST(test_what_cannot_be_imported_is_said_and_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
