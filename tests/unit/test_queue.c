/* The queue with workers that do no work: this program starts itself as `worker` and then dies, fails,
 * finishes or waits, as the run's id says. What counts is which state and which exit code come of it. */
#include "store_fixture.h"

#include "command/cli.h"
#include "worker/queue.h"

#include <signal.h>

/* ---- the workers ---- */

static volatile sig_atomic_t asked_to_stop;

static void stop_note(int number) {
    (void)number;
    asked_to_stop = 1;
}

static int wait_for_signal(void) {
    signal(SIGTERM, stop_note);
    while (!asked_to_stop) usleep(10000);
    return EXIT_STOPPED;
}

/* The first letters of the id say what becomes of the run. */
static int worker_behave(Store *store, const char *id, bool limited) {
    if (!strncmp(id, "crash", 5)) fprintf(stderr, "fatal: core/x.c:12: sigma is negative\n"), abort();
    if (!strncmp(id, "kill", 4)) raise(SIGKILL);
    if (!strncmp(id, "usage", 5)) return fprintf(stderr, "error: no such device\n"), EXIT_USAGE;
    if (!strncmp(id, "wait", 4)) return wait_for_signal();
    if (!strncmp(id, "limit", 5)) return limited ? EXIT_STOPPED : EXIT_RUN_FAILED;
    if (!strncmp(id, "silent", 6)) return EXIT_DONE; /* without having written its state */
    const bool fails = !strncmp(id, "fail", 4);
    if (!store_end_run(store, id, 0, fails ? RUN_DIVERGED : RUN_DONE, fails ? "loss is NaN" : NULL, NULL))
        return 9;
    return fails ? EXIT_RUN_FAILED : EXIT_DONE;
}

static const char *argument_after(int argc, char **argv, const char *name) {
    for (int i = 2; i + 1 < argc; i++)
        if (!strcmp(argv[i], name)) return argv[i + 1];
    return "";
}

static int worker_main(int argc, char **argv) {
    const char *id = argv[2];
    Store *store;
    Error error;
    if (!store_open(argument_after(argc, argv, "--db"), &store, &error)) return 8;
    Provenance from = provenance_make(store);
    char config[1100];
    snprintf(config, sizeof config, "%s/config.yaml", argument_after(argc, argv, "--run-folder"));
    if (!file_exists(config) || !store_start_run(store, id, &from, 0, &error)) return 7;
    const int code = worker_behave(store, id, strcmp(argument_after(argc, argv, "--max-wall"), "0") != 0);
    store_close(store);
    return code;
}

/* ---- plans ---- */

typedef struct Trial {
    Fixture *fixture;
    Plan plan;
    Paths paths;
    QueueRequest request;
} Trial;

static Trial trial_make(Fixture *fixture, const char *const *ids) {
    Trial trial = {.fixture = fixture};
    int count = 0;
    while (ids[count]) count++;
    trial.plan = (Plan){.runs = calloc((size_t)count, sizeof(RunSpec)), .run_count = count};
    for (int i = 0; i < count; i++) {
        trial.plan.runs[i] = spec_make(ids[i], "");
        strcpy(trial.plan.runs[i].experiment, experiment.name);
        run_add(fixture->store, ids[i], "");
    }
    trial.paths = (Paths){.root = "."};
    strcpy(trial.paths.results, fixture->folder);
    strcpy(trial.paths.database, fixture->path);
    trial.request = (QueueRequest){.store = fixture->store, .device = "cpu", .jobs = 1, .command = "test"};
    return trial;
}

static int trial_run(Trial *trial) {
    trial->request.plan = &trial->plan;
    trial->request.paths = &trial->paths;
    const int code = queue_run(&trial->request);
    free(trial->plan.runs);
    return code;
}

static void assert_state(const Trial *trial, const char *id, RunState state, const char *error) {
    const RunRow row = run_get(trial->fixture->store, id);
    assert_string_equal(run_state_name(row.state), run_state_name(state));
    if (!strstr(row.error, error)) fail_msg("'%s' is not in '%s'", error, row.error);
}

/* ---- tests ---- */

static void test_good_runs_end_with_0(void **state) {
    Trial trial = trial_make(*state, (const char *[]){"good1", "good2", "good1", NULL});
    assert_int_equal(trial_run(&trial), EXIT_DONE);
    assert_state(&trial, "good1", RUN_DONE, "");
    assert_state(&trial, "good2", RUN_DONE, "");
    assert_sql(trial.fixture->store, "SELECT count(*) FROM event",
               "2"); /* good1 was asked for twice, run once */
}

static void test_a_crash_is_isolated(void **state) {
    Trial trial = trial_make(*state, (const char *[]){"crash", "fail", "silent", "good", NULL});
    assert_int_equal(trial_run(&trial), EXIT_RUN_FAILED);
    assert_state(&trial, "crash", RUN_FAILED, "signal 6");
    assert_state(&trial, "crash", RUN_FAILED, "sigma is negative"); /* the child's own last words */
    assert_state(&trial, "fail", RUN_DIVERGED, "loss is NaN");
    assert_state(&trial, "silent", RUN_FAILED, "exit status 0");
    assert_state(&trial, "good", RUN_DONE, "");
}

static void test_failed_runs_wait_for_retry(void **state) {
    Trial trial = trial_make(*state, (const char *[]){"fail", NULL});
    assert_int_equal(trial_run(&trial), EXIT_RUN_FAILED);
    trial = trial_make(*state, (const char *[]){"fail", "good", NULL});
    assert_int_equal(trial_run(&trial), EXIT_RUN_FAILED);
    assert_sql(trial.fixture->store, "SELECT count(*) FROM event WHERE run_id = 'fail'", "1");
    trial = trial_make(*state, (const char *[]){"fail", NULL});
    trial.request.retry = true;
    assert_int_equal(trial_run(&trial), EXIT_RUN_FAILED);
    assert_sql(trial.fixture->store, "SELECT count(*) FROM event WHERE run_id = 'fail'", "2");
}

static void test_what_cannot_start_keeps_its_state(void **state) {
    Trial trial = trial_make(*state, (const char *[]){"usage", NULL});
    assert_int_equal(trial_run(&trial), EXIT_USAGE);
    assert_state(&trial, "usage", RUN_QUEUED, "no such device");
}

static void test_a_precision_that_the_device_lacks_is_left_out(void **state) {
    Trial trial = trial_make(*state, (const char *[]){"half1", "good", "half2", NULL});
    trial.plan.runs[0].config.precision = trial.plan.runs[2].config.precision = PRECISION_FP16;
    assert_int_equal(trial_run(&trial), EXIT_DONE);
    assert_state(&trial, "half1", RUN_QUEUED, "the CPU computes in fp32 only");
    assert_state(&trial, "half2", RUN_QUEUED, "the CPU computes in fp32 only");
    assert_state(&trial, "good", RUN_DONE, "");
    trial = trial_make(*state, (const char *[]){"half1", NULL});
    trial.plan.runs[0].config.precision = PRECISION_BF16;
    assert_int_equal(trial_run(&trial), EXIT_USAGE); /* nothing else was asked for */
}

static void test_killed_from_outside_counts_as_interrupted(void **state) {
    Trial trial = trial_make(*state, (const char *[]){"kill", NULL});
    assert_int_equal(trial_run(&trial), EXIT_RUN_FAILED);
    assert_state(&trial, "kill", RUN_INTERRUPTED, "signal 9");
}

static void test_the_time_limit_is_passed_on(void **state) {
    Trial trial = trial_make(*state, (const char *[]){"limit", NULL});
    trial.request.max_wall = 100;
    assert_int_equal(trial_run(&trial), EXIT_STOPPED);
    assert_state(&trial, "limit", RUN_INTERRUPTED, "");
}

static void test_the_time_limit_ends_children_that_do_not_look(void **state) {
    Trial trial = trial_make(*state, (const char *[]){"wait1", "wait2", "wait3", NULL});
    trial.request.max_wall = 0.5;
    trial.request.jobs = 2;
    assert_int_equal(trial_run(&trial), EXIT_STOPPED);
    assert_state(&trial, "wait1", RUN_INTERRUPTED, "");
    assert_state(&trial, "wait2", RUN_INTERRUPTED, "");
    assert_state(&trial, "wait3", RUN_QUEUED, "");
}

static void test_a_signal_is_passed_on(void **state) {
    Trial trial = trial_make(*state, (const char *[]){"wait", "good", NULL});
    const int pid = fork();
    if (!pid) {
        usleep(400000);
        kill(getppid(), SIGTERM);
        _exit(0);
    }
    assert_int_equal(trial_run(&trial), EXIT_STOPPED);
    waitpid(pid, NULL, 0);
    assert_state(&trial, "wait", RUN_INTERRUPTED, "");
    assert_state(&trial, "good", RUN_QUEUED, "");
}

static void test_fail_fast_stops_the_others(void **state) {
    Trial trial = trial_make(*state, (const char *[]){"wait", "crash", "good", NULL});
    trial.request.fail_fast = true;
    trial.request.jobs = 2;
    assert_int_equal(trial_run(&trial), EXIT_RUN_FAILED);
    assert_state(&trial, "wait", RUN_INTERRUPTED, "");
    assert_state(&trial, "good", RUN_QUEUED, "");
}

static void test_a_run_held_elsewhere_is_left_alone(void **state) {
    Fixture *fixture = *state;
    Trial trial = trial_make(fixture, (const char *[]){"held", "good", NULL});
    assert_int_equal(run_claim(fixture->store, "held", false, false), CLAIM_TAKEN); /* by this very process */
    assert_int_equal(trial_run(&trial), EXIT_STOPPED);
    assert_state(&trial, "held", RUN_RUNNING, "");
    assert_state(&trial, "good", RUN_DONE, "");
}

static void test_force_empties_the_folder(void **state) {
    char folder[1024], path[1024];
    Trial trial = trial_make(*state, (const char *[]){"good", NULL});
    assert_int_equal(trial_run(&trial), EXIT_DONE);
    path_join(path, paths_run_folder(trial.paths.results, "good", experiment.name, folder),
              "checkpoint-1.safetensors");
    assert_true(file_write_atomic(path, "x", 1, NULL));
    trial = trial_make(*state, (const char *[]){"good", NULL});
    trial.request.force = true;
    assert_int_equal(trial_run(&trial), EXIT_DONE);
    assert_false(file_exists(path));
}

/* ---- words of the command line ---- */

static void test_durations_and_ranges(void **state) {
    (void)state;
    double seconds;
    uint32_t first;
    int count;
    const struct {
        const char *text;
        double seconds;
    } good[] = {{"90", 90},     {"45s", 45},    {"9m", 540}, {"1h30m", 5400},
                {"1.5h", 5400}, {"2d", 172800}, {"0.5", 0.5}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(duration_parse(good[i].text, &seconds));
        assert_true(seconds == good[i].seconds);
    }
    for (const char **bad = (const char *[]){"", "m", "-5", "9x", "soon", "5 m", NULL}; *bad; bad++)
        assert_false(duration_parse(*bad, &seconds));
    assert_true(range_parse("3-6", &first, &count) && first == 3 && count == 4);
    assert_true(range_parse("7", &first, &count) && first == 7 && count == 1);
    for (const char **bad = (const char *[]){"", "6-3", "a", "1-", "-1", "1-2-3", "0-9999999999", NULL}; *bad;
         bad++)
        assert_false(range_parse(*bad, &first, &count));
}

int main(int argc, char **argv) {
    if (argc > 2 && !strcmp(argv[1], "worker")) return worker_main(argc, argv);
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_good_runs_end_with_0),
        STORE_TEST(test_a_crash_is_isolated),
        STORE_TEST(test_failed_runs_wait_for_retry),
        STORE_TEST(test_what_cannot_start_keeps_its_state),
        STORE_TEST(test_a_precision_that_the_device_lacks_is_left_out),
        STORE_TEST(test_killed_from_outside_counts_as_interrupted),
        STORE_TEST(test_the_time_limit_is_passed_on),
        STORE_TEST(test_the_time_limit_ends_children_that_do_not_look),
        STORE_TEST(test_a_signal_is_passed_on),
        STORE_TEST(test_fail_fast_stops_the_others),
        STORE_TEST(test_a_run_held_elsewhere_is_left_alone),
        STORE_TEST(test_force_empties_the_folder),
        cmocka_unit_test(test_durations_and_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
