/* Errors. Two kinds, as everywhere in this project:
 *
 *  - things the world does to us (a missing file, a bad key): functions return bool, take an `Error *` last,
 *    and the text says what failed, where, and what to do about it;
 *  - mistakes of our own in the numeric core: CHECK() prints file:line and the run's context, then aborts.
 *    That is safe because each run is its own process.
 */
#ifndef ICT_BASE_ERROR_H
#define ICT_BASE_ERROR_H

#include <stdbool.h>

typedef struct Error {
    char text[2048];
} Error;

#define PRINTF_LIKE(string, first) __attribute__((format(printf, string, first)))

/* Writes the message and returns false, so that callers can `return error_set(error, ...)`. NULL error is
 * allowed. */
bool error_set(Error *error, const char *format, ...) PRINTF_LIKE(2, 3);

/* Puts "prefix: " before the message that is already there; returns false. */
bool error_wrap(Error *error, const char *format, ...) PRINTF_LIKE(2, 3);

/* What die() adds to its message, for instance "run 1f3a9c02, step 1200". */
void die_set_context(const char *format, ...) PRINTF_LIKE(1, 2);
/* "out of memory ..." ends the process with status 1: the machine has too little, not we too
 * many mistakes. */
_Noreturn void die(const char *file, int line, const char *format, ...) PRINTF_LIKE(3, 4);

#define CHECK(condition, ...)                                   \
    do {                                                        \
        if (!(condition)) die(__FILE__, __LINE__, __VA_ARGS__); \
    } while (0)

#endif
