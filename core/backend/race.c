/* Every way runs a lap or more, and the shortest lap counts, since all that can disturb a lap makes it
 * longer. */
#include "backend/race.h"

#include <math.h>
#include <stdbool.h>

enum { LAPS_MOST = 4 };
static const double HOPELESS = 4, CLOSE = 1.1; /* times the best so far */
static const double LOADING = 0.02; /* seconds: a slower first lap is slow by itself, whatever it loads */
static const double LONG = 0.004;   /* seconds: two laps measure it well enough */

typedef struct Clock {
    const Race *race;
    double spent;
} Clock;

static double lap_run(Clock *clock, int entrant) {
    const double seconds = clock->race->lap(clock->race->context, entrant);
    if (isfinite(seconds)) clock->spent += seconds;
    return seconds;
}

/* The shortest of its laps. What is hopeless gets one, most get two, and those near the best more. */
static double entrant_time(Clock *clock, int entrant, double best) {
    double shortest = lap_run(clock, entrant);
    if (!isfinite(shortest) || (shortest > HOPELESS * best && shortest > LOADING)) return shortest;
    for (int lap = 1; lap < LAPS_MOST && (lap == 1 || (shortest < CLOSE * best && shortest < LONG)); lap++)
        shortest = fmin(shortest, lap_run(clock, entrant));
    return shortest;
}

int race_run(const Race *race, RaceBudget *budget) {
    Clock clock = {.race = race};
    double best_time = INFINITY;
    int best = -1, ran = 0;
    for (int i = 0; i < race->entrants; i++) {
        const bool over = clock.spent >= budget->each || budget->spent + clock.spent >= budget->all;
        if (over && ran >= RACE_SURE) break;
        const double time = entrant_time(&clock, i, best_time);
        ran += isfinite(time) != 0;
        if (time < best_time) best = i, best_time = time;
    }
    budget->spent += clock.spent;
    budget->races++;
    return best;
}
