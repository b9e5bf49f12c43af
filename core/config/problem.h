/* Everything that is wrong with what the user wrote, collected before anything starts. A reader who has three
 * misspelt keys wants to hear of all three; so whoever checks adds a line here and goes on. */
#ifndef ICT_CONFIG_PROBLEM_H
#define ICT_CONFIG_PROBLEM_H

#include "base/text.h"

/* Zero-initialise. */
typedef struct Problems {
    Text text; /* one problem a line */
    int count;
    int found; /* repetitions included: has anything been found since? */
} Problems;

/* Adds "where: message". A line that is there already is not added again: a base file is read once for each
 * of its users. */
void problem_add(Problems *, const char *where, const char *format, ...) PRINTF_LIKE(3, 4);

/* True when there is none; otherwise all of them as one message (whole lines; "... and 7 more" when they are
 * too many). */
bool problems_none(const Problems *, Error *);
void problems_free(Problems *);

#endif
