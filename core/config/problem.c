/* The list of problems behind problem.h: lines of text, each once, and the one message that is
 * made of them. */
#include "config/problem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LINE_LONGEST = 1024 }; /* one endless value must not push the other problems out of the message */

static bool has_line(const Text *text, const char *line, size_t length) {
    for (const char *at = text_view(text); *at; at = strchr(at, '\n') + 1)
        if (strncmp(at, line, length) == 0) return true;
    return false;
}

/* Values come from files: a line break or an escape code in one must not break the list or the terminal. */
static void line_clean(char *line) {
    char *to = line;
    for (const char *from = line; *from; from++) {
        const bool gap = *from == '\n' || *from == '\t';
        if (gap) from += strspn(from + 1, " \n\t");
        *to++ = gap ? ' ' : (unsigned char)*from < ' ' || *from == 0x7f ? '?' : *from;
    }
    *to = 0;
}

void problem_add(Problems *problems, const char *where, const char *format, ...) {
    char line[LINE_LONGEST];
    const int used = snprintf(line, sizeof line - 1, "%s: ", where);
    if (used < (int)sizeof line - 1) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(line + used, sizeof line - 1 - (size_t)used, format, arguments);
        va_end(arguments);
    }
    line_clean(line);
    strcat(line, "\n");
    const size_t length = strlen(line);
    problems->found++;
    if (has_line(&problems->text, line, length)) return;
    text_append_bytes(&problems->text, line, length);
    problems->count++;
}

bool problems_none(const Problems *problems, Error *error) {
    if (!problems->count) return true;
    const size_t room = sizeof error->text - sizeof "... and 2147483647 more";
    const char *text = text_view(&problems->text);
    size_t used = 0;
    int shown = 0;
    while (shown < problems->count) {
        const size_t line = (size_t)(strchr(text + used, '\n') + 1 - (text + used));
        if (used + line > room) break;
        used += line;
        shown++;
    }
    if (shown == problems->count) return error_set(error, "%.*s", (int)used - 1, text);
    return error_set(error, "%.*s... and %d more", (int)used, text, problems->count - shown);
}

void problems_free(Problems *problems) {
    text_free(&problems->text);
    *problems = (Problems){0};
}
