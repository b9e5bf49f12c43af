/* How all runs stand: the list of `ls` and the live board of `ls --watch`. */
#ifndef ICT_COMMAND_BOARD_H
#define ICT_COMMAND_BOARD_H

#include "store/store.h"

/* What is shown beside the run itself: of its newest tick and newest evaluation. */
typedef struct BoardRun {
    RunRow row;
    char loss[32], evaluation[64];
    double rate;         /* images/s, 0: not known */
    double seconds_left; /* 0: nothing is left; NAN: not known */
} BoardRun;

typedef struct Board {
    BoardRun *runs; /* oldest first */
    int count;
} Board;

/* Those runs in whose id, experiment, arm, scale or state each word occurs (a list that ends with NULL). */
bool board_read(Store *, char *const *words, Board *, Error *);
void board_free(Board *);

/* Seconds until everything is done when as many runs as now go on side by side; `unknown` counts the runs
 * that could not be estimated. What a run that has not begun will take is taken from finished runs of the
 * same experiment and scale, evaluations included. */
double board_seconds_left(const Board *, int *unknown);

/* One line a run, in the order of the runs. */
void board_list(const Board *, FILE *);
/* A summary and as many runs as fit into `lines` lines, what happens now first; lines are cut at `width`
 * letters. 0: no limit. */
void board_show(const Board *, int width, int lines, Text *out);

#endif
