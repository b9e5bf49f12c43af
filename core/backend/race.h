/* The fastest of several ways to compute the same thing, found by running them.
 *
 * They come best guess first, as whoever lists them recommends them, and a start must not wait for the last
 * few percent: a race gets RACE_SECONDS, and a budget all races of a process together. When either is used up
 * only the first RACE_SURE still run, which keeps out the bad surprises (a first recommendation can be forty
 * times slower than the second) at the price of a few runs each.
 *
 * A sprint is not a training run: a card that draws all the power it may have lowers its clock, and of two
 * ways that take equally long when it is cool, the one that moves fewer bits is then the faster. So where
 * time is no object (budget.slot) those that came in close run again, long and in turns, on a card kept busy.
 */
#ifndef ICT_BACKEND_RACE_H
#define ICT_BACKEND_RACE_H

enum { RACE_SURE = 3, RACE_MOST = 64 };
#define RACE_SECONDS 0.25
#define RACE_SLOT 0.04

typedef struct RaceBudget {
    double each, all; /* seconds for a race, for all races; INFINITY: what it takes */
    double slot;      /* seconds that a way runs at a time, under load; 0: no such laps */
    double spent;     /* in all so far */
    int races;
} RaceBudget;

typedef struct Race {
    int entrants; /* at most RACE_MOST */
    /* Runs one of them so many times in a row: seconds of one time; INFINITY: it cannot run. Its first lap
     * may contain what is done once, like loading its code. */
    double (*lap)(void *context, int entrant, int times);
    void *context;
} Race;

/* The place of the fastest, or -1 when none can run; adds to the budget's `spent` and `races`. */
int race_run(const Race *race, RaceBudget *budget);

#endif
