/* The fastest of several ways to compute the same thing, found by running them.
 *
 * They come best guess first, as whoever lists them recommends them, and a start must not wait for the last
 * few percent: a race gets RACE_SECONDS, and a budget all races of a process together. When either is used up
 * only the first RACE_SURE still run, which keeps out the bad surprises (a first recommendation can be forty
 * times slower than the second) at the price of a few runs each.
 */
#ifndef ICT_BACKEND_RACE_H
#define ICT_BACKEND_RACE_H

enum { RACE_SURE = 3 };
#define RACE_SECONDS 0.25

typedef struct RaceBudget {
    double each, all; /* seconds for a race, for all races; INFINITY: what it takes */
    double spent;     /* in all so far */
    int races;
} RaceBudget;

typedef struct Race {
    int entrants;
    /* Runs one of them: seconds; INFINITY: it cannot run. Its first lap may contain what is done once, like
     * loading its code. */
    double (*lap)(void *context, int entrant);
    void *context;
} Race;

/* The place of the fastest, or -1 when none can run; adds to the budget's `spent` and `races`. */
int race_run(const Race *race, RaceBudget *budget);

#endif
