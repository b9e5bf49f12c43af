/* Runs in the database: adding, finding, claiming, losing them; ticks; and what resume deletes. */
#include "store_fixture.h"

static void test_run_is_added_once_and_described(void **state) {
    Store *store = ((Fixture *)*state)->store;
    run_add(store, "1f3a9c02", "no EMA");
    run_add(store, "1f3a9c02", "no EMA");
    const RunRow row = run_get(store, "1f3a");
    assert_string_equal(row.id, "1f3a9c02");
    assert_string_equal(row.experiment, "ema");
    assert_string_equal(row.arm, "no EMA");
    assert_string_equal(row.scale, "smoke");
    assert_int_equal(row.steps, 400);
    assert_int_equal(row.state, RUN_QUEUED);
    assert_sql(store, "SELECT count(*) FROM run", "1");
    assert_sql(store, "SELECT count(*) FROM experiment", "1");
}

static void test_two_experiments_share_a_run(void **state) {
    Store *store = ((Fixture *)*state)->store;
    const Experiment other = {.name = "distance", .file = "ablations/distance.yaml", .yaml = "arms: {}\n"};
    const RunSpec spec = spec_make("1f3a9c02", "pseudo-Huber");
    Error error;
    run_add(store, "1f3a9c02", "no EMA");
    must(store_add_run(store, &other, &spec, &error), &error);
    assert_sql(store, "SELECT count(*) FROM run", "1");
    assert_sql(store,
               "SELECT group_concat(name || ':' || arm, ' ') FROM (SELECT name, arm FROM plan JOIN "
               "experiment ON id = "
               "experiment_id ORDER BY name)",
               "distance:pseudo-Huber ema:no EMA");
}

static void test_ambiguous_and_unknown_prefixes(void **state) {
    Store *store = ((Fixture *)*state)->store;
    RunRow row;
    Error error;
    run_add(store, "aa10", "one");
    run_add(store, "aa20", "two");
    run_add(store, "aa2", "exact");
    assert_false(store_get_run(store, "aa", &row, &error));
    assert_non_null(strstr(error.text, "several runs"));
    assert_non_null(strstr(error.text, "aa10 (ema, one)"));
    assert_false(store_get_run(store, "ff", &row, &error));
    assert_non_null(strstr(error.text, "ls"));
    assert_false(store_get_run(store, "", &row, &error));
    assert_false(store_get_run(store, "%", &row, &error));
    assert_string_equal(run_get(store, "aa2").arm, "exact");
    assert_string_equal(run_get(store, "aa1").arm, "one");
    assert_string_equal(run_get(store, "aa20-ema").arm, "two"); /* as its folder is called */
}

static void test_claims(void **state) {
    Store *store = ((Fixture *)*state)->store;
    Error error;
    run_add(store, "aa10", "");
    assert_int_equal(run_claim(store, "aa10", false, false), CLAIM_TAKEN);
    assert_int_equal(run_claim(store, "aa10", true, true),
                     CLAIM_RUNNING); /* alive: nobody else may have it */
    must(store_end_run(store, "aa10", 0, RUN_INTERRUPTED, NULL, &error), &error);
    assert_int_equal(run_claim(store, "aa10", false, false), CLAIM_TAKEN);
    must(store_end_run(store, "aa10", 0, RUN_FAILED, "boom", &error), &error);
    assert_string_equal(run_get(store, "aa10").error, "boom");
    assert_int_equal(run_claim(store, "aa10", false, false), CLAIM_FAILED);
    assert_int_equal(run_claim(store, "aa10", true, false), CLAIM_TAKEN);
    assert_string_equal(run_get(store, "aa10").error, "");
    run_start(store, "aa10", 0);
    ticks_write(store, "aa10", 50, 100, 50);
    must(store_end_run(store, "aa10", 0, RUN_DONE, NULL, &error), &error);
    assert_int_equal(run_claim(store, "aa10", true, false), CLAIM_DONE);
    assert_int_equal(run_get(store, "aa10").step, 100);
    assert_int_equal(run_claim(store, "aa10", false, true), CLAIM_TAKEN);
    assert_sql(store, "SELECT count(*) FROM metric", "0"); /* forced: from the beginning */
}

/* A child that ends without a word is what a crash looks like: its process id is free again. */
static int dead_process(void) {
    const int pid = fork();
    if (!pid) _exit(0);
    waitpid(pid, NULL, 0);
    return pid;
}

static void test_lost_run_is_taken_over(void **state) {
    Store *store = ((Fixture *)*state)->store;
    Error error;
    run_add(store, "aa10", "");
    run_claim(store, "aa10", false, false);
    must(store_execute(store, &error, "UPDATE run SET pid = ?", "i", (int64_t)dead_process()), &error);
    assert_int_equal(run_get(store, "aa10").state, RUN_LOST);
    assert_int_equal(run_claim(store, "aa10", false, false), CLAIM_TAKEN);
    must(store_execute(store, &error, "UPDATE run SET host = 'elsewhere', pid = 1, process = 'boot/space/1'",
                       ""),
         &error);
    assert_int_equal(run_get(store, "aa10").state, RUN_RUNNING);
    must(store_execute(store, &error, "UPDATE run SET heartbeat = heartbeat - 3600", ""), &error);
    assert_int_equal(run_get(store, "aa10").state, RUN_LOST);
}

/* Its clock was moved, in either direction: the process is there, so the run is not lost. */
static void test_a_clock_that_moves_loses_no_run(void **state) {
    Store *store = ((Fixture *)*state)->store;
    Error error;
    run_add(store, "aa10", "");
    run_claim(store, "aa10", false, false);
    must(store_execute(store, &error, "UPDATE run SET heartbeat = heartbeat - 86400", ""), &error);
    assert_int_equal(run_claim(store, "aa10", false, false), CLAIM_RUNNING);
    must(store_execute(store, &error, "UPDATE run SET heartbeat = heartbeat + 2 * 86400", ""), &error);
    assert_int_equal(run_claim(store, "aa10", false, false), CLAIM_RUNNING);
}

/* The process id of a run that was lost belongs to another process now: on this boot, or after a reboot. */
static void test_a_reused_process_id_deceives_nobody(void **state) {
    Store *store = ((Fixture *)*state)->store;
    Error error;
    run_add(store, "aa10", "");
    run_claim(store, "aa10", false, false);
    must(store_execute(store, &error, "UPDATE run SET pid = 1", ""), &error);
    assert_int_equal(run_get(store, "aa10").state, RUN_LOST);
    must(store_execute(store, &error, "UPDATE run SET pid = ?, process = 'boot' || substr(process, 5)", "i",
                       (int64_t)getpid()),
         &error);
    assert_int_equal(run_get(store, "aa10").state,
                     RUN_RUNNING); /* perhaps another machine's: its heartbeat is fresh */
    must(store_execute(store, &error, "UPDATE run SET heartbeat = heartbeat - 3600", ""), &error);
    assert_int_equal(run_claim(store, "aa10", false, false), CLAIM_TAKEN);
}

static void test_writes_are_refused_once_another_process_has_the_run(void **state) {
    Store *store = ((Fixture *)*state)->store;
    const Tick tick = tick_make(1);
    Error error;
    run_add(store, "aa10", "");
    run_claim(store, "aa10", false, false);
    run_start(store, "aa10", 0);
    must(store_execute(store, &error, "UPDATE run SET host = 'elsewhere'", ""), &error);
    assert_false(store_tick(store, "aa10", &tick, &error));
    assert_non_null(strstr(error.text, "taken"));
    must(store_end_run(store, "aa10", 0, RUN_DONE, NULL, &error), &error);
    assert_int_equal(run_get(store, "aa10").state, RUN_RUNNING); /* not ours to end */
    const Provenance provenance = provenance_make(store);
    assert_false(store_start_run(store, "aa10", &provenance, 0, &error));
    assert_sql(store, "SELECT count(*) FROM metric", "0");
}

/* ---- metrics ---- */

static void test_tick_stores_what_exists(void **state) {
    Store *store = ((Fixture *)*state)->store;
    run_add(store, "aa10", "");
    run_claim(store, "aa10", false, false);
    run_start(store, "aa10", 0);
    ticks_write(store, "aa10", 7, 7, 1);
    assert_sql(store, "SELECT value FROM metric WHERE name = 'loss' AND step = 7 AND images = 224", "7.5");
    assert_sql(store, "SELECT count(*) FROM metric WHERE name = 'gradient_norm'", "0"); /* NaN */
    assert_sql(store, "SELECT count(*) FROM metric WHERE name GLOB 'loss_sigma_*'", "4");
    assert_sql(store, "SELECT value FROM metric WHERE name = 'residual_sigma_7'", "7");
    assert_sql(store, "SELECT value FROM metric WHERE name = 'N'", "11");
}

static void test_resume_deletes_what_comes_after_the_checkpoint(void **state) {
    Fixture *fixture = *state;
    Store *store = fixture->store;
    const Evaluation evaluation = {.metric = "fd-random", .value = 3, .samples = 64};
    char png[160];
    Error error;
    snprintf(png, sizeof png, "%s/samples-300.png", fixture->folder);
    must(file_write_atomic(png, "x", 1, &error), &error);
    run_add(store, "aa10", "");
    run_claim(store, "aa10", false, false);
    run_start(store, "aa10", 0);
    ticks_write(store, "aa10", 100, 300, 100);
    must(store_evaluation(store, "aa10", 200, "raw", 1, &evaluation, &error), &error);
    must(store_evaluation(store, "aa10", 300, "raw", 1, &evaluation, &error), &error);
    must(store_artifact(store, "aa10", "samples", 300, png, &error), &error);
    assert_sql(store, "SELECT path || ' ' || bytes FROM artifact",
               "samples-300.png 1"); /* relative to the database */
    must(store_end_run(store, "aa10", 0, RUN_INTERRUPTED, NULL, &error), &error);
    run_claim(store, "aa10", false, false);
    assert_sql(store, "SELECT max(step) FROM metric", "300");
    run_start(store, "aa10", 200);
    assert_sql(store, "SELECT max(step) FROM metric", "200");
    assert_sql(store, "SELECT group_concat(step) FROM evaluation", "200");
    assert_sql(store, "SELECT count(*) FROM artifact", "0");
}

static void test_artifacts_of_deleted_files_are_forgotten(void **state) {
    Fixture *fixture = *state;
    char path[2][160], located[1024];
    Error error;
    run_add(fixture->store, "aa10", "");
    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%s/checkpoint-%d.safetensors", fixture->folder, i);
        must(file_write_atomic(path[i], "x", 1, &error), &error);
        must(store_artifact(fixture->store, "aa10", "checkpoint", i, path[i], &error), &error);
    }
    unlink(path[0]);
    must(store_prune_artifacts(fixture->store, "aa10", "checkpoint", &error), &error);
    assert_sql(fixture->store, "SELECT group_concat(path) FROM artifact", "checkpoint-1.safetensors");
    assert_string_equal(store_locate(fixture->store, "checkpoint-1.safetensors", located), path[1]);
    assert_false(store_artifact(fixture->store, "aa10", "checkpoint", 0, path[0], &error));
    assert_non_null(strstr(error.text, "checkpoint-0.safetensors"));
}

enum { PROCESSES = 2, TICKS = 1000 };

/* Does not return: exit status 0 when every tick was stored. A connection must not cross a fork, hence a new
 * one. */
static _Noreturn void writer_process(const char *path, const char *id) {
    Store *store;
    Error error;
    bool ok = store_open(path, &store, &error);
    const Provenance provenance = ok ? provenance_make(store) : (Provenance){0};
    Claim claim = CLAIM_DONE;
    RunRow before = {0};
    ok = ok && store_claim_run(store, id, false, false, &provenance, &claim, &before, &error) &&
         claim == CLAIM_TAKEN && store_start_run(store, id, &provenance, 0, &error);
    for (int64_t step = 1; ok && step <= TICKS; step++) {
        const Tick tick = tick_make(step);
        ok = store_tick(store, id, &tick, &error);
    }
    if (!ok) print_message("# %s\n", error.text);
    run_row_free(&before);
    store_close(store);
    _exit(!ok);
}

static void test_two_processes_write_a_thousand_ticks_each(void **state) {
    Fixture *fixture = *state;
    const char *const ids[PROCESSES] = {"aa10", "bb20"};
    for (int i = 0; i < PROCESSES; i++) run_add(fixture->store, ids[i], "");
    store_close(fixture->store);
    fixture->store = NULL;
    int pids[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        if (!pids[i]) writer_process(fixture->path, ids[i]);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    Error error;
    must(store_open(fixture->path, &fixture->store, &error), &error);
    assert_sql(
        fixture->store,
        "SELECT group_concat(n) FROM (SELECT count(*) AS n FROM metric WHERE name = 'loss' GROUP BY run_id)",
        "1000,1000");
    assert_sql(fixture->store, "SELECT count(DISTINCT step) FROM metric WHERE run_id = 'bb20'", "1000");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_run_is_added_once_and_described),
        STORE_TEST(test_two_experiments_share_a_run),
        STORE_TEST(test_ambiguous_and_unknown_prefixes),
        STORE_TEST(test_claims),
        STORE_TEST(test_lost_run_is_taken_over),
        STORE_TEST(test_a_clock_that_moves_loses_no_run),
        STORE_TEST(test_a_reused_process_id_deceives_nobody),
        STORE_TEST(test_writes_are_refused_once_another_process_has_the_run),
        STORE_TEST(test_tick_stores_what_exists),
        STORE_TEST(test_resume_deletes_what_comes_after_the_checkpoint),
        STORE_TEST(test_artifacts_of_deleted_files_are_forgotten),
        STORE_TEST(test_two_processes_write_a_thousand_ticks_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
