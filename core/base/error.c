/* Errors: how messages are put together (Error) and how the program ends when its own arithmetic is wrong
 * (die). */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OUT_OF_MEMORY "out of memory"

static char die_context[256];

bool error_set(Error *error, const char *format, ...) {
    if (!error) return false;
    /* Formatted aside first: callers may pass the old text as an argument. */
    char text[sizeof error->text];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    memcpy(error->text, text, sizeof text);
    return false;
}

bool error_wrap(Error *error, const char *format, ...) {
    if (!error) return false;
    char text[sizeof error->text];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    /* Of a message that has become too long the end is cut: the prefix says where to look. */
    const int used = (int)strlen(text), room = (int)sizeof text - 3 - used;
    char whole[sizeof error->text];
    snprintf(whole, sizeof whole, "%.*s: %.*s", used, text, room > 0 ? room : 0, error->text);
    memcpy(error->text, whole, sizeof whole);
    return false;
}

void die_set_context(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(die_context, sizeof die_context, format, arguments);
    va_end(arguments);
}

void die(const char *file, int line, const char *format, ...) {
    fflush(stdout);
    fprintf(stderr, "fatal: %s:%d: ", file, line);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    if (die_context[0]) fprintf(stderr, " (%s)", die_context);
    fputc('\n', stderr);
    fflush(stderr);
    if (strncmp(format, OUT_OF_MEMORY, strlen(OUT_OF_MEMORY)) == 0) _exit(1);
    abort();
}
