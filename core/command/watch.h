/* A terminal that is redrawn: what `ls --watch` needs. */
#ifndef ICT_COMMAND_WATCH_H
#define ICT_COMMAND_WATCH_H

#include "base/text.h"

/* Appends what is to be seen; 0 for width and lines: no limit. False ends the watching. */
typedef bool WatchDraw(void *context, int width, int lines, Text *out, Error *);

/* On a terminal: draws again every `seconds`, until q or Ctrl-C, and leaves the terminal as it was. Elsewhere
 * (a pipe, a file): draws once. */
bool watch_run(WatchDraw *draw, void *context, double seconds, Error *error);

#endif
