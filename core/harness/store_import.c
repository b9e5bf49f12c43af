/* Bringing rows in: runs from another database (made on another machine, or on a node's local disk), and
 * published numbers from a CSV file. */
#include "base/file.h"
#include "harness/store_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- another database ---- */

/* Opening it as a store of its own brings its tables up to date and says what is wrong with it. */
static bool other_prepare(const char *path, Error *error) {
    if (!file_exists(path)) return error_set(error, "%s: there is no such database to import", path);
    Store *other;
    if (!store_open(path, &other, error)) return false;
    store_close(other);
    return true;
}

/* Rows come over by the runs that are new here; experiments are matched by name and text, because their
 * numbers differ from file to file. A run that was running over there is not running here. */
static const char *const import_steps[] = {
    "CREATE TEMP TABLE incoming AS SELECT id FROM other.run WHERE id NOT IN (SELECT id FROM main.run)",
    "INSERT OR IGNORE INTO main.experiment(name, file, yaml, created) SELECT name, file, yaml, created FROM "
    "other.experiment "
    "WHERE id IN (SELECT experiment_id FROM other.plan)",
    "INSERT INTO main.run SELECT r.id, mine.id, r.arm, r.seed, r.scale, r.config, r.data_hash, "
    "CASE r.state WHEN 'running' THEN 'interrupted' ELSE r.state END, r.device, r.git_commit, r.git_diff, "
    "r.versions, r.host, "
    "r.pid, r.heartbeat, r.created, r.started, r.ended, r.error, NULL FROM other.run r "
    "JOIN other.experiment theirs ON theirs.id = r.experiment_id "
    "JOIN main.experiment mine ON mine.name = theirs.name AND mine.yaml = theirs.yaml "
    "WHERE r.id IN (SELECT id FROM incoming)",
    "INSERT OR IGNORE INTO main.plan SELECT mine.id, p.run_id, p.arm, p.created FROM other.plan p "
    "JOIN other.experiment theirs ON theirs.id = p.experiment_id "
    "JOIN main.experiment mine ON mine.name = theirs.name AND mine.yaml = theirs.yaml",
    "INSERT INTO main.metric SELECT * FROM other.metric WHERE run_id IN (SELECT id FROM incoming)",
    "INSERT INTO main.evaluation SELECT * FROM other.evaluation WHERE run_id IN (SELECT id FROM incoming)",
    "INSERT INTO main.artifact SELECT * FROM other.artifact WHERE run_id IN (SELECT id FROM incoming)",
    "INSERT INTO main.event SELECT * FROM other.event WHERE run_id IN (SELECT id FROM incoming)",
};

static bool rows_import(Store *store, int *added, Error *error) {
    for (size_t i = 0; i < sizeof import_steps / sizeof *import_steps; i++)
        if (sqlite3_exec(store->db, import_steps[i], NULL, NULL, NULL) != SQLITE_OK)
            return store_error(store, "importing failed", error);
    int64_t count = 0;
    const bool counted = store_integer(store, error, &count, 0, "SELECT count(*) FROM temp.incoming", "");
    *added = (int)count;
    return counted && store_execute(store, error, "DROP TABLE temp.incoming", "");
}

bool store_import(Store *store, const char *other, int *added, Error *error) {
    *added = 0;
    if (!other_prepare(other, error) || !store_execute(store, error, "ATTACH ? AS other", "t", other))
        return false;
    const bool done =
        transaction_begin(store, error) && transaction_end(store, rows_import(store, added, error), error);
    return store_execute(store, done ? error : NULL, "DETACH other", "") && done;
}

/* ---- published numbers ---- */

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
