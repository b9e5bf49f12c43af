/* Text: a growable string, human-readable numbers, and the nearest of several names (for misspelt keys). */
#ifndef ICT_BASE_TEXT_H
#define ICT_BASE_TEXT_H

#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

/* Zero-initialise; `text` is NULL until something is appended (text_view never returns NULL). */
typedef struct Text {
    char *text;
    size_t length, capacity;
} Text;

void text_append(Text *text, const char *format, ...) PRINTF_LIKE(2, 3);
void text_append_bytes(Text *text, const void *bytes, size_t count);
const char *text_view(const Text *text);
void text_clear(Text *text); /* keeps the memory */
/* One field of comma-separated values (RFC 4180): in quotes where it holds a comma, a quote or
 * a line's end. */
void text_append_csv(Text *text, const char *field);
void text_free(Text *text);

/* malloc'ed strings; die when memory is out. */
char *text_copy(const char *text);
char *text_format(const char *format, ...) PRINTF_LIKE(1, 2);

/* Index of the candidate nearest to `name` by edit distance, or -1 when none is near enough to be a likely
 * typo. */
int text_nearest(const char *name, const char *const *candidates, int count);

/* "1.21 GiB", "3m 12s", "56.4M"; written to `out` and returned. */
const char *format_bytes(char out[32], double bytes);
const char *format_duration(char out[32], double seconds);
const char *format_count(char out[32], double count);

/* Shortest decimal text that reads back as the same double ("0.1", "1e-08"): used for hashes and
 * YAML output. */
const char *format_double(char out[32], double value);

#endif
