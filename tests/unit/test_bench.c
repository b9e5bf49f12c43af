/* What bench keeps: sessions, the best turn of each program, peers' lines, and how they come into another
 * database and into answers. */
#include "command/bench_record.h"

#include "answers/answers.h"
#include "tests/unit/store_fixture.h"

static BenchPlace place_make(Store *store, const Config *config, const Device *device, const Paths *paths) {
    return (BenchPlace){.store = store,
                        .paths = paths,
                        .session = "s1",
                        .experiment = "quickstart",
                        .config = config,
                        .device = device};
}

static bool config_record(Store *store, const Config *config, double rate, double first_step, Error *error) {
    const Paths paths = {.root = "."};
    const GraphOpTime ops[2] = {{"conv", false, 3, 0.5, 1e6, 1e9}, {"conv", true, 3, 1.5, 2e6, 2e9}};
    const BenchResult result = {.batch = 64,
                                .micro_batch = 16,
                                .rate = rate,
                                .sample_rate = 1000,
                                .flops = 2e9,
                                .matrix = 8e9,
                                .ready = 1,
                                .first_step = first_step,
                                .memory = 1 << 30};
    Device *device;
    must(device_open("cpu", 1, &device, error), error);
    const BenchPlace place = place_make(store, config, device, &paths);
    const bool done = bench_record(&place, &result, ops, 2, error);
    device_close(device);
    return done;
}

static void ours_record(Store *store, double rate, double first_step) {
    const Config config = config_default();
    Error error;
    must(config_record(store, &config, rate, first_step, &error), &error);
}

static bool peer_record(Fixture *fixture, const char *text, Error *error) {
    char path[160];
    snprintf(path, sizeof path, "%s/peer.txt", fixture->folder);
    must(file_write_atomic(path, text, strlen(text), error), error);
    return bench_record_peer(fixture->store, "s1", path, error);
}

#define PEER "peer\tprogram\tPyTorch eager\npeer\tprecision\tfp32\n"

static void the_best_turn_counts(void **state) {
    Store *store = ((Fixture *)*state)->store;
    ours_record(store, 90, 9);
    ours_record(store, 110, 4);
    ours_record(store, 100, 3);
    assert_sql(store, "SELECT count(*) FROM bench", "1");
    assert_sql(store, "SELECT value FROM bench_value WHERE name = 'training images/s'", "110");
    assert_sql(store, "SELECT value FROM bench_value WHERE name = 'first step s, first start'", "9");
    assert_sql(store, "SELECT value FROM bench_value WHERE name = 'first step s, later starts'", "3");
    assert_sql(store, "SELECT group_concat(pass || seconds, ' ') FROM bench_op", "backward1.5 forward0.5");
}

static void peers_join_a_session(void **state) {
    Fixture *fixture = *state;
    Error error;
    assert_false(peer_record(fixture, PEER "peer\ttraining images/s\t10\n", &error));
    assert_non_null(strstr(error.text, "no session 's1'"));
    ours_record(fixture->store, 90, 9);
    must(peer_record(
             fixture,
             "noise\n" PEER
             "peer\tbatch\t64\npeer\ttraining images/s\t30\r\npeer\tbatch\t32\npeer\ttraining images/s\t45\n",
             &error),
         &error);
    assert_sql(
        fixture->store,
        "SELECT group_concat(batch || ':' || value, ' ') FROM bench_value WHERE program = 'PyTorch eager'",
        "32:45.0 64:30.0");
    assert_false(peer_record(fixture, "nothing\n", &error));
    assert_non_null(strstr(error.text, "no line begins with 'peer'"));
    assert_false(peer_record(fixture, PEER "peer\ttraining images/s\tnan\n", &error));
    assert_non_null(strstr(error.text, "not a finite number"));
    assert_false(peer_record(fixture, PEER "peer\ttraining images/s\n", &error));
    assert_non_null(strstr(error.text, "has no value after a tab"));
    assert_false(peer_record(fixture, "peer\ttraining images/s\t1\n", &error));
}

typedef struct Seen {
    int rows;
    char times[32]; /* of the peer, in the table */
} Seen;

static void row_see(void *context, int columns, const char *const *names, const char *const *values) {
    Seen *seen = context;
    seen->rows++;
    for (int i = 0; i < columns; i++)
        if (!strcmp(names[i], "times"))
            snprintf(seen->times, sizeof seen->times, "%s", values[i] ? values[i] : "");
}

static Seen answer_see(Store *store, const char *name) {
    const char *const parameters[] = {"session", "s1"};
    const Paths paths = {.root = "."};
    Question question;
    Error error;
    Seen seen = {0};
    must(question_read(&paths, name, &question, &error), &error);
    must(store_query(store, question.sql, parameters, 1, row_see, &seen, &error), &error);
    question_free(&question);
    return seen;
}

static void answers_have_both_programs(void **state) {
    Fixture *fixture = *state;
    Error error;
    ours_record(fixture->store, 90, 9);
    must(peer_record(
             fixture,
             PEER
             "peer\tbatch\t64\npeer\ttraining images/s\t30\npeer\tbatch\t32\npeer\ttraining images/s\t45\n",
             &error),
         &error);
    const Seen table = answer_see(fixture->store, "speed");
    assert_int_equal(table.rows, 2); /* the peer's better batch */
    assert_string_equal(table.times, "2.00");
    must(peer_record(fixture, "peer\tprogram\tother\npeer\tprecision\tbf16\npeer\ttraining images/s\t1\n",
                     &error),
         &error);
    assert_string_equal(answer_see(fixture->store, "speed").times, ""); /* nothing of ours in bf16 */
    assert_int_equal(answer_see(fixture->store, "bench").rows,
                     1 + 3 + 1); /* note, programs, one kind of op */
    assert_int_equal(answer_see(fixture->store, "bench_ops").rows, 2);
}

/* Precision and batch stand with each number; what does not would be said wrongly of the later ones. */
static void other_work_needs_another_session(void **state) {
    Store *store = ((Fixture *)*state)->store;
    Config config = config_default();
    Error error;
    ours_record(store, 90, 9);
    config.precision = PRECISION_BF16;
    config.train.batch = 8;
    must(config_record(store, &config, 200, 9, &error), &error);
    assert_sql(store, "SELECT group_concat(value, ' ') FROM bench_value WHERE name = 'training images/s'",
               "200.0 90.0");
    config.model.channels = 8;
    assert_false(config_record(store, &config, 900, 9, &error));
    assert_non_null(strstr(error.text, "another configuration"));
    config = config_default();
    must(store_execute(store, &error, "UPDATE bench SET device = 'cuda: other'", ""), &error);
    assert_false(config_record(store, &config, 900, 9, &error));
    assert_non_null(strstr(error.text, "of another experiment, device or commit"));
    assert_sql(store, "SELECT max(value) FROM bench_value WHERE name = 'training images/s'", "200");
}

static void another_database_takes_sessions_over(void **state) {
    Fixture *fixture = *state;
    char path[160];
    Store *other;
    Error error;
    ImportCount count;
    ours_record(fixture->store, 90, 9);
    snprintf(path, sizeof path, "%s/other.db", fixture->folder);
    must(store_open(path, &other, &error), &error);
    for (int again = 0; again < 2; again++) {
        must(store_import(other, fixture->path, &count, &error), &error);
        assert_int_equal(count.sessions, !again);
        assert_sql(other, "SELECT count(*) FROM bench_value", "7");
        assert_sql(other, "SELECT count(*) FROM bench_op", "2");
    }
    ours_record(fixture->store, 110, 4); /* measured on over there */
    must(peer_record(fixture, PEER "peer\tbatch\t64\npeer\ttraining images/s\t30\n", &error), &error);
    must(store_import(other, fixture->path, &count, &error), &error);
    assert_int_equal(count.sessions, 1);
    assert_sql(other,
               "SELECT group_concat(program || value, ' ') FROM bench_value WHERE name = 'training images/s'",
               "PyTorch eager30.0 ict110.0");
    /* The quicker profile stays, whole, whichever comes first. */
    must(store_execute(fixture->store, &error, "UPDATE bench_op SET seconds = 3 * seconds, calls = 7", ""),
         &error);
    must(store_import(other, fixture->path, &count, &error), &error);
    assert_sql(other, "SELECT count(*) FROM bench_op WHERE calls = 7", "0");
    must(store_execute(fixture->store, &error, "UPDATE bench_op SET seconds = seconds / 9", ""), &error);
    must(store_import(other, fixture->path, &count, &error), &error);
    assert_sql(other, "SELECT count(*) || ' ' || min(calls) || ' ' || max(calls) FROM bench_op", "2 7 7");
    must(store_execute(other, &error, "UPDATE bench SET device = 'cuda: other'", ""), &error);
    ours_record(fixture->store, 150, 4);
    must(store_import(other, fixture->path, &count, &error), &error);
    assert_true(count.sessions == 0 && count.other_sessions == 1);
    store_close(other);
}

int main(void) {
    const struct CMUnitTest tests[] = {STORE_TEST(the_best_turn_counts), STORE_TEST(peers_join_a_session),
                                       STORE_TEST(answers_have_both_programs),
                                       STORE_TEST(other_work_needs_another_session),
                                       STORE_TEST(another_database_takes_sessions_over)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
