/* The fastest of several ways is found, and never at the price of a long start. */
#include "backend/race.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/near.h"

enum { ENTRANTS = 16 };

/* Seconds of a lap; more the first time; how often each has run. */
typedef struct Track {
    double time[ENTRANTS], loading;
    int laps[ENTRANTS];
} Track;

static double lap(void *context, int entrant) {
    Track *track = context;
    return track->time[entrant] + (track->laps[entrant]++ ? 0 : track->loading);
}

static Track track_of(double time) {
    Track track = {.loading = 0};
    for (int i = 0; i < ENTRANTS; i++) track.time[i] = time;
    return track;
}

static int run(Track *track, RaceBudget *budget) {
    return race_run(&(Race){.entrants = ENTRANTS, .lap = lap, .context = track}, budget);
}

static RaceBudget unlimited(void) {
    return (RaceBudget){.each = INFINITY, .all = INFINITY};
}

static void the_fastest_is_found_behind_its_loading(void **state) {
    (void)state;
    RaceBudget budget = unlimited();
    Track track = track_of(1e-3);
    track.time[13] = 9e-4;
    track.loading = 0.015;
    assert_int_equal(run(&track, &budget), 13);
    for (int i = 0; i < ENTRANTS; i++) assert_true(track.laps[i] >= 2);
    assert_int_equal(budget.races, 1);
}

static void close_ones_run_more_often(void **state) {
    (void)state;
    RaceBudget budget = unlimited();
    Track track = track_of(2e-3);
    track.time[3] = 1e-3;
    track.time[9] = 1.05e-3;
    assert_int_equal(run(&track, &budget), 3);
    assert_int_equal(track.laps[9], 4);
    assert_int_equal(track.laps[10], 2);
}

static void what_is_hopeless_runs_once(void **state) {
    (void)state;
    RaceBudget budget = unlimited();
    Track track = track_of(1e-3);
    track.time[5] = 0.5;
    assert_int_equal(run(&track, &budget), 0);
    assert_int_equal(track.laps[5], 1);
}

static void those_that_cannot_run_are_passed_over(void **state) {
    (void)state;
    RaceBudget budget = unlimited();
    Track track = track_of(INFINITY);
    assert_int_equal(run(&track, &budget), -1);
    NEAR(budget.spent, 0, 0);
    track = track_of(INFINITY);
    track.time[7] = 1;
    assert_int_equal(run(&track, &budget), 7);
    NEAR(budget.spent, 2, 1e-9);
}

/* A slow first one does not end the race before the next two have had their turn. */
static void the_first_three_always_run(void **state) {
    (void)state;
    RaceBudget budget = {.each = 0.25, .all = 8, .spent = 8};
    Track track = track_of(1e-3);
    track.time[0] = 0.4;
    track.time[1] = INFINITY; /* does not count */
    track.time[3] = 5e-4;
    track.time[4] = 1e-4;
    assert_int_equal(run(&track, &budget), 3);
    assert_int_equal(track.laps[4], 0);
}

static void a_race_ends_in_time(void **state) {
    (void)state;
    RaceBudget budget = {.each = 0.25, .all = INFINITY};
    Track track = track_of(0.05);
    run(&track, &budget);
    assert_true(budget.spent >= 0.25 && budget.spent < 0.25 + 4 * 0.05);
    assert_int_equal(track.laps[ENTRANTS - 1], 0);
}

/* As many as ImageNet-64's network has, each of a millisecond: whatever they load, all of them together take
 * the budget and little more than what is sure to run. */
static void many_races_share_a_budget(void **state) {
    (void)state;
    enum { RACES = 82 };
    RaceBudget budget = {.each = 0.25, .all = 8};
    for (int i = 0; i < RACES; i++) {
        Track track = track_of(1e-3);
        track.loading = 0.018;
        assert_true(run(&track, &budget) >= 0);
    }
    assert_int_equal(budget.races, RACES);
    assert_true(budget.spent > 8 && budget.spent < 8 + RACES * RACE_SURE * (0.018 + 4e-3));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fastest_is_found_behind_its_loading),
        cmocka_unit_test(close_ones_run_more_often),
        cmocka_unit_test(what_is_hopeless_runs_once),
        cmocka_unit_test(those_that_cannot_run_are_passed_over),
        cmocka_unit_test(the_first_three_always_run),
        cmocka_unit_test(a_race_ends_in_time),
        cmocka_unit_test(many_races_share_a_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
