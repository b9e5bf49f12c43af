/* Every way runs a lap or more, and the shortest lap counts, since all that can disturb a lap makes it
 * longer. Where there is time, the close ones then run a final under load; race.h says why. */
#include "backend/race.h"

#include "base/error.h"
#include <math.h>
#include <stdbool.h>

enum { LAPS_MOST = 4, FINALISTS = 4, ROUNDS = 3 };
static const double HOPELESS = 4, CLOSE = 1.1; /* times the best so far */
static const double LOADING = 0.02; /* seconds: a slower first lap is slow by itself, whatever it loads */
static const double LONG = 0.004;   /* seconds: two laps measure it well enough */
static const double SHORT = 5e-5;   /* seconds: what is over sooner has nothing to gain under load */

typedef struct Clock {
    const Race *race;
    double spent;
} Clock;

static double lap_run(Clock *clock, int entrant, int times) {
    const double seconds = clock->race->lap(clock->race->context, entrant, times);
    if (isfinite(seconds)) clock->spent += times * seconds;
    return seconds;
}

/* The shortest of its laps. What is hopeless gets one, most get two, and those near the best more. */
static double entrant_time(Clock *clock, int entrant, double best) {
    double shortest = lap_run(clock, entrant, 1);
    if (!isfinite(shortest) || (shortest > HOPELESS * best && shortest > LOADING)) return shortest;
    for (int lap = 1; lap < LAPS_MOST && (lap == 1 || (shortest < CLOSE * best && shortest < LONG)); lap++)
        shortest = fmin(shortest, lap_run(clock, entrant, 1));
    return shortest;
}

/* -1 when none is finite. */
static int place_of_least(const double *time, int count) {
    int least = -1;
    for (int i = 0; i < count; i++)
        if (isfinite(time[i]) && (least < 0 || time[i] < time[least])) least = i;
    return least;
}

/* Each one's time; INFINITY: it cannot run, or the budget was used up. */
static void sprint(Clock *clock, const RaceBudget *budget, double *time) {
    const int entrants = clock->race->entrants;
    double best = INFINITY;
    int ran = 0;
    for (int i = 0; i < entrants; i++) time[i] = INFINITY;
    for (int i = 0; i < entrants; i++) {
        const bool over = clock->spent >= budget->each || budget->spent + clock->spent >= budget->all;
        if (over && ran >= RACE_SURE) break;
        time[i] = entrant_time(clock, i, best);
        ran += isfinite(time[i]) != 0;
        best = fmin(best, time[i]);
    }
}

/* The places of the shortest times that are close to the best, taken out of `time`. */
static int finalists_take(double *time, int entrants, int *places) {
    const double limit = CLOSE * time[place_of_least(time, entrants)];
    int count = 0;
    while (count < FINALISTS) {
        const int next = place_of_least(time, entrants);
        if (next < 0 || time[next] > limit) break;
        places[count++] = next;
        time[next] = INFINITY;
    }
    return count;
}

/* In turns, so that a card that grows hot does so for all of them alike; of each turn the second half counts,
 * when the clock has settled. */
static int final_run(Clock *clock, double slot, double lap_seconds, const int *places, int count) {
    const int times = (int)ceil(slot / 2 / lap_seconds);
    double sums[FINALISTS] = {0};
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < count; i++) {
            lap_run(clock, places[i], times);
            sums[i] += lap_run(clock, places[i], times);
        }
    return places[place_of_least(sums, count)];
}

int race_run(const Race *race, RaceBudget *budget) {
    double time[RACE_MOST];
    int places[FINALISTS];
    Clock clock = {.race = race};
    CHECK(race->entrants <= RACE_MOST, "%d ways in one race", race->entrants);
    sprint(&clock, budget, time);
    int best = place_of_least(time, race->entrants);
    if (best >= 0 && budget->slot > 0 && time[best] >= SHORT) {
        const double lap_seconds = time[best];
        const int count = finalists_take(time, race->entrants, places);
        if (count > 1) best = final_run(&clock, budget->slot, lap_seconds, places, count);
    }
    budget->spent += clock.spent;
    budget->races++;
    return best;
}
