/* Published numbers: the rows of a CSV file, each with its source. */
#include "base/file.h"
#include "store/store_internal.h"

#include <stdlib.h>
#include <string.h>

enum { PUBLISHED_COLUMNS = 6, CSV_FIELD = 256 };

typedef struct CsvLine {
    char field[PUBLISHED_COLUMNS][CSV_FIELD];
    int count;
} CsvLine;

/* One field, with or without quotes ("" inside quotes is one quote); returns what follows its comma, NULL at
 * the end. */
static const char *field_read(const char *at, char out[CSV_FIELD]) {
    const bool quoted = *at == '"';
    size_t length = 0;
    for (at += quoted; *at; at++) {
        if (quoted && *at == '"' && *++at != '"') break;
        if (!quoted && *at == ',') break;
        if (length + 1 < CSV_FIELD) out[length++] = *at;
    }
    out[length] = 0;
    return *at == ',' ? at + 1 : NULL;
}

static CsvLine line_read(const char *text) {
    CsvLine line = {.count = 0};
    for (const char *at = text; at && line.count < PUBLISHED_COLUMNS; line.count++)
        at = field_read(at, line.field[line.count]);
    return line;
}

static bool published_insert(Store *store, const char *path, int number, const char *text, Error *error) {
    const CsvLine line = line_read(text);
    char *end = NULL;
    const double value = line.count == PUBLISHED_COLUMNS ? strtod(line.field[5], &end) : 0;
    if (!end || end == line.field[5] || *end)
        return error_set(error,
                         "%s:%d: a line is source,dataset,method,nfe,metric,value with a number at the end",
                         path, number);
    if (!line.field[0][strspn(line.field[0], " ")])
        return error_set(error, "%s:%d: %s %s of %s: a published number without its source is not taken",
                         path, number, line.field[4], line.field[5], line.field[2]);
    return store_execute(store, error,
                         "INSERT INTO published(source, dataset, method, nfe, metric, value) "
                         "VALUES(?, ?, ?, cast(nullif(?, '') AS INTEGER), ?, ?)",
                         "tttttd", line.field[0], line.field[1], line.field[2], line.field[3], line.field[4],
                         value);
}

/* Lines that begin with # and the line of names are skipped. */
static bool published_replace(Store *store, const char *path, char *text, Error *error) {
    if (!store_execute(store, error, "DELETE FROM published", "")) return false;
    int number = 1;
    for (char *line = text, *next; line && *line; line = next, number++) {
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        line[strcspn(line, "\r")] = 0;
        if (!*line || *line == '#' || !strncmp(line, "source,", 7)) continue;
        if (!published_insert(store, path, number, line, error)) return false;
    }
    return true;
}

bool store_load_published(Store *store, const char *path, Error *error) {
    char *text;
    size_t size;
    if (!file_read(path, &text, &size, error)) return false;
    const bool done = transaction_begin(store, error) &&
                      transaction_end(store, published_replace(store, path, text, error), error);
    free(text);
    return done;
}
