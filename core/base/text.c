/* Growable strings, human-readable numbers and the nearest of several names. Running out of memory ends the
 * program: no caller could do better with a string it did not get. */
#include "base/text.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void text_reserve(Text *text, size_t extra) {
    const size_t needed = text->length + extra + 1;
    if (needed <= text->capacity) return;
    size_t capacity = text->capacity ? text->capacity : 64;
    while (capacity < needed) capacity *= 2;
    char *grown = realloc(text->text, capacity);
    CHECK(grown, "out of memory for a text of %zu bytes", capacity);
    text->text = grown;
    text->capacity = capacity;
}

void text_append_bytes(Text *text, const void *bytes, size_t count) {
    text_reserve(text, count);
    if (count) memcpy(text->text + text->length, bytes, count);
    text->length += count;
    text->text[text->length] = 0;
}

__attribute__((nonnull))
PRINTF_LIKE(2, 0) static void text_append_list(Text *text, const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    const int count = vsnprintf(NULL, 0, format, again);
    va_end(again);
    CHECK(count >= 0, "the text format '%s' cannot be printed", format);
    text_reserve(text, (size_t)count);
    vsnprintf(text->text + text->length, (size_t)count + 1, format, arguments);
    text->length += (size_t)count;
}

void text_append(Text *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    text_append_list(text, format, arguments);
    va_end(arguments);
}

void text_append_csv(Text *text, const char *field) {
    if (!strpbrk(field, ",\"\r\n")) {
        text_append_bytes(text, field, strlen(field));
        return;
    }
    text_append_bytes(text, "\"", 1);
    for (; *field; field++) {
        if (*field == '"') text_append_bytes(text, "\"", 1);
        text_append_bytes(text, field, 1);
    }
    text_append_bytes(text, "\"", 1);
}

const char *text_view(const Text *text) {
    return text->text ? text->text : "";
}

void text_clear(Text *text) {
    text->length = 0;
    if (text->text) text->text[0] = 0;
}

void text_free(Text *text) {
    free(text->text);
    *text = (Text){0};
}

char *text_copy(const char *text) {
    char *copy = strdup(text);
    CHECK(copy, "out of memory for a text of %zu bytes", strlen(text));
    return copy;
}

char *text_format(const char *format, ...) {
    Text text = {0};
    va_list arguments;
    va_start(arguments, format);
    text_append_list(&text, format, arguments);
    va_end(arguments);
    return text.text;
}

/* Case, '-' and '_' are not what people mean by a different name. */
static int letter_fold(char letter) {
    return letter == '-' ? '_' : tolower((unsigned char)letter);
}

enum { NEAREST_LONGEST = 63 };

/* Edit distance where swapping two neighbouring letters counts as one edit (optimal string alignment). */
static int edit_distance(const char *a, const char *b) {
    const int rows = (int)strlen(a), columns = (int)strlen(b);
    if (rows > NEAREST_LONGEST || columns > NEAREST_LONGEST) return strcmp(a, b) ? NEAREST_LONGEST : 0;
    int cost[NEAREST_LONGEST + 1][NEAREST_LONGEST + 1];
    for (int i = 0; i <= rows; i++) cost[i][0] = i;
    for (int j = 0; j <= columns; j++) cost[0][j] = j;
    for (int i = 1; i <= rows; i++) {
        for (int j = 1; j <= columns; j++) {
            const int x = letter_fold(a[i - 1]), y = letter_fold(b[j - 1]);
            int best = cost[i - 1][j - 1] + (x != y);
            if (cost[i - 1][j] + 1 < best) best = cost[i - 1][j] + 1;
            if (cost[i][j - 1] + 1 < best) best = cost[i][j - 1] + 1;
            const bool swapped = i > 1 && j > 1 && x == letter_fold(b[j - 2]) && y == letter_fold(a[i - 2]);
            if (swapped && cost[i - 2][j - 2] + 1 < best) best = cost[i - 2][j - 2] + 1;
            cost[i][j] = best;
        }
    }
    return cost[rows][columns];
}

/* An edit adds or removes one letter at most, so names of very different lengths need no table. */
static int distance_within(const char *a, const char *b, int most) {
    const int longer = abs((int)strlen(a) - (int)strlen(b));
    return longer > most ? longer : edit_distance(a, b);
}

/* The last part of a dotted name alone ("batch" for "train.batch") is as good as one edit. Exact up to
 * `most`.
 */
static int name_distance(const char *name, const char *candidate, int most) {
    const int distance = distance_within(name, candidate, most);
    const char *last = strrchr(candidate, '.');
    if (!last || strchr(name, '.')) return distance;
    const int short_distance = 1 + distance_within(name, last + 1, most);
    return short_distance < distance ? short_distance : distance;
}

int text_nearest(const char *name, const char *const *candidates, int count) {
    int nearest = -1,
        best = 1 + ((int)strlen(name) + 2) / 4; /* a third to a quarter of the letters may be wrong */
    for (int i = 0; i < count; i++) {
        const int distance = name_distance(name, candidates[i], best);
        if (distance >= best + (nearest < 0)) continue;
        best = distance;
        nearest = i;
    }
    return nearest;
}

const char *format_bytes(char out[32], double bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    int unit = 0;
    while (fabs(bytes) >= 1024 && unit < 5) bytes /= 1024, unit++;
    snprintf(out, 32, unit ? "%.3g %s" : "%.0f %s", bytes, units[unit]);
    if (fabs(bytes) >= 1000) snprintf(out, 32, "%.0f %s", bytes, units[unit]); /* %.3g would write 1.02e+03 */
    return out;
}

const char *format_duration(char out[32], double seconds) {
    if (!isfinite(seconds) || seconds < 0 || seconds > 1e11) {
        snprintf(out, 32, "unknown");
        return out;
    }
    const long long whole = llround(seconds);
    if (seconds < 9.95)
        snprintf(out, 32, "%.2gs", seconds);
    else if (whole < 60)
        snprintf(out, 32, "%llds", whole);
    else if (whole < 3600)
        snprintf(out, 32, "%lldm %02llds", whole / 60, whole % 60);
    else if (whole < 86400)
        snprintf(out, 32, "%lldh %02lldm", whole / 3600, whole / 60 % 60);
    else
        snprintf(out, 32, "%lldd %02lldh", whole / 86400, whole / 3600 % 24);
    return out;
}

const char *format_count(char out[32], double count) {
    static const char *const units[] = {"", "k", "M", "G", "T", "P"};
    int unit = 0;
    while (fabs(count) >= 999.5 && unit < 5) count /= 1000, unit++;
    snprintf(out, 32, "%.3g%s", count, units[unit]);
    return out;
}

const char *format_double(char out[32], double value) {
    int digits = 1;
    for (; digits <= 17; digits++) {
        snprintf(out, 32, "%.*g", digits, value);
        if (strtod(out, NULL) == value) break;
    }
    /* With fewer digits than the number has before its point, %g turns to 8e+01: whole numbers are written
     * out. */
    const double size = fabs(value);
    if (size >= 10 && size < 1e16 && size >= pow(10, digits)) snprintf(out, 32, "%.17g", value);
    return out;
}
