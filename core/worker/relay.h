/* Follows the log of a child: hands its lines to our own output as they come, remembers the newest progress
 * line and the last complaint. The child writes to the file itself, so the log is whole whatever happens to
 * us. */
#ifndef ICT_WORKER_RELAY_H
#define ICT_WORKER_RELAY_H

#include "base/text.h"

/* A child's progress lines begin with this word; all others are for keeping. */
#define RELAY_PROGRESS "step "

typedef struct Relay {
    int descriptor;
    Text partial;        /* a line whose end has not been written yet */
    char progress[320];  /* the newest progress line */
    char complaint[480]; /* the newest "error: " or "fatal: " line without its first word, else the newest
                            line */
    bool complained;
} Relay;

/* Begins at the present end of the file, which is made when it does not exist. */
bool relay_open(Relay *, const char *log, Error *);
/* Reads what is new; with `show`, lines go to the log and progress lines to the progress line. */
void relay_poll(Relay *, bool show);
void relay_close(Relay *);

/* Prints the last lines of a log, indented. */
void relay_print_tail(const char *log, int lines);

#endif
