/* The board: what is left, what is shown first, and what fits. */
#include "store_fixture.h"
#include "command/board.h"

static char *no_words[] = {NULL};

/* A run of 400 steps that is at `step`, at `rate` images/s (batch 1024, the default). */
static void run_at(Store *store, const char *id, int64_t step, double rate) {
    Tick tick = tick_make(step);
    Error error;
    run_add(store, id, "arm");
    run_claim(store, id, false, false);
    run_start(store, id, 0);
    tick.images_per_second = rate;
    must(store_tick(store, id, &tick, &error), &error);
}

static void run_done(Store *store, const char *id, double seconds) {
    Error error;
    run_at(store, id, 400, 4096);
    must(store_end_run(store, id, 0, RUN_DONE, NULL, &error), &error);
    must(store_execute(store, &error, "UPDATE run SET ended = started + ? WHERE id = ?", "dt", seconds, id),
         &error);
}

static Board board(Store *store) {
    Board board;
    Error error;
    must(board_read(store, no_words, &board, &error), &error);
    return board;
}

static void assert_left(Store *store, double seconds, int unknown_runs) {
    Board b = board(store);
    int unknown;
    assert_true(fabs(board_seconds_left(&b, &unknown) - seconds) < 1e-6 * (1 + seconds));
    assert_int_equal(unknown, unknown_runs);
    board_free(&b);
}

static void test_what_is_left_is_estimated(void **state) {
    Store *store = ((Fixture *)*state)->store;
    run_add(store, "q0", "");
    assert_left(store, 0, 1); /* nothing to judge by */
    run_at(store, "r0", 100, 1024);
    assert_left(store, 300 + 400, 0); /* 300 steps, one a second; what waits goes as fast as what runs */
    run_done(store, "d0", 800);       /* two seconds a step, evaluations included */
    assert_left(store, 600 + 800, 0);
    run_at(store, "r1", 300, 512);                  /* its own rate */
    assert_left(store, (600 + 800 + 200) / 2.0, 0); /* two side by side */
    run_at(store, "r2", 0, 102.4);
    assert_left(store, 4000, 0); /* never less than the longest */
}

/* By another question at the same scale, until there is one of its own. Another scale says nothing. */
static void test_what_is_left_is_estimated_by_like_runs(void **state) {
    Store *store = ((Fixture *)*state)->store;
    Error error;
    run_add(store, "q0", "");
    run_done(store, "d0", 800);
    must(store_execute(store, &error,
                       "INSERT INTO experiment(id, name, file, yaml, created) VALUES(7, 'other', '', '', 0)",
                       ""),
         &error);
    must(store_execute(store, &error, "UPDATE run SET experiment_id = 7 WHERE id = 'd0'", ""), &error);
    assert_left(store, 800, 0);
    must(store_execute(store, &error, "UPDATE run SET scale = 'hour' WHERE id = 'd0'", ""), &error);
    assert_left(store, 0, 1);
}

static void test_failed_and_finished_runs_leave_nothing(void **state) {
    Store *store = ((Fixture *)*state)->store;
    Error error;
    run_done(store, "d0", 800);
    run_at(store, "f0", 100, 1024);
    must(store_end_run(store, "f0", 0, RUN_FAILED, "boom", &error), &error);
    assert_left(store, 0, 0);
}

static void test_what_runs_comes_first_and_lines_are_cut(void **state) {
    Store *store = ((Fixture *)*state)->store;
    Text page = {0};
    run_done(store, "d0", 800);
    run_done(store, "d1", 800);
    run_add(store, "q0", "");
    run_add(store, "q1", "");
    run_at(store, "r0", 100, 1024);
    Board b = board(store);
    board_show(&b, 0, 0, &page);
    assert_memory_equal(page.text, "5 runs, 1 running, 2 queued, 2 done; about ", 43);
    const char *const order[] = {" r0 ", " q0 ", " q1 ", " d1 ", " d0 "};
    const char *at = page.text;
    for (int i = 0; i < 5; i++) {
        at = strstr(at, order[i]);
        assert_non_null(at);
    }
    assert_non_null(strstr(page.text, "━━━━············   25%"));
    text_clear(&page);
    board_show(&b, 30, 5, &page); /* summary, titles, two runs, how many more */
    int lines = 0;
    for (const char *line = page.text; *line; line = strchr(line, '\n') + 1, lines++) {
        int letters = 0;
        for (const char *c = line; *c != '\n'; c++) letters += (*c & 0xC0) != 0x80;
        assert_true(letters <= 30);
    }
    assert_int_equal(lines, 5);
    assert_non_null(strstr(page.text, "... and 3 more\n"));
    text_free(&page);
    board_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_what_is_left_is_estimated),
        STORE_TEST(test_what_is_left_is_estimated_by_like_runs),
        STORE_TEST(test_failed_and_finished_runs_leave_nothing),
        STORE_TEST(test_what_runs_comes_first_and_lines_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
