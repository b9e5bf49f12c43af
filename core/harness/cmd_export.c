/* `export`: the database's rows for other programs. `import`: runs of another database. */
#include "base/log.h"
#include "harness/cli.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *sql;
} tables[] = {
    {"runs", "SELECT run.id, experiment.name AS experiment, run.arm, run.scale, run.seed, run.state, "
             "run.device, run.git_commit, "
             "run.git_diff <> '' AS changed, run.host, run.started, run.ended, run.error FROM run "
             "JOIN experiment ON experiment.id = experiment_id ORDER BY run.created, run.id"},
    {"metrics", "SELECT run_id, step, images, name, value, wall FROM metric ORDER BY run_id, step, name"},
    {"evaluations",
     "SELECT run_id, step, weights, nfe, metric, value, samples, features_hash, reference_hash, created "
     "FROM evaluation ORDER BY run_id, step, weights, nfe, metric"},
    {"artifacts", "SELECT run_id, kind, step, path, sha256, bytes FROM artifact ORDER BY run_id, kind, step"},
    {"published", "SELECT source, dataset, method, nfe, metric, value FROM published"},
};

/* ---- formats ---- */

typedef struct Export {
    int rows;
} Export;

static void csv_field(const char *text) {
    if (!strpbrk(text, ",\"\r\n")) {
        fputs(text, stdout);
        return;
    }
    putchar('"');
    for (; *text; text++) {
        if (*text == '"') putchar('"');
        putchar(*text);
    }
    putchar('"');
}

static void csv_row(int columns, const char *const *cells) {
    for (int i = 0; i < columns; i++) {
        if (i) putchar(',');
        csv_field(cells[i] ? cells[i] : "");
    }
    putchar('\n');
}

static void row_to_csv(void *context, int columns, const char *const *names, const char *const *values) {
    Export *export = context;
    if (!export->rows++) csv_row(columns, names);
    csv_row(columns, values);
}

/* As JSON writes numbers: no hexadecimal, no leading zeros, nothing behind. */
static bool is_number(const char *text) {
    const char *at = text + (*text == '-');
    size_t digits = strspn(at, "0123456789");
    if (!digits || (*at == '0' && digits > 1)) return false;
    at += digits;
    if (*at == '.') {
        digits = strspn(at + 1, "0123456789");
        if (!digits) return false;
        at += 1 + digits;
    }
    if (*at == 'e' || *at == 'E') {
        at += 1 + (at[1] == '-' || at[1] == '+');
        digits = strspn(at, "0123456789");
        if (!digits) return false;
        at += digits;
    }
    return !*at;
}

/* Names stay text, also when they happen to look like a number (an id of digits only). */
static bool is_name(const char *column) {
    static const char *const names[] = {"id",         "run_id", "arm",           "experiment",     "sha256",
                                        "git_commit", "host",   "features_hash", "reference_hash", "source",
                                        "method"};
    bool found = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) found = found || !strcmp(column, names[i]);
    return found;
}

static void row_to_json(void *context, int columns, const char *const *names, const char *const *values) {
    Export *export = context;
    cJSON *object = cJSON_CreateObject();
    for (int i = 0; i < columns; i++) {
        if (!values[i])
            cJSON_AddNullToObject(object, names[i]);
        else if (is_number(values[i]) && !is_name(names[i]))
            cJSON_AddRawToObject(object, names[i], values[i]);
        else
            cJSON_AddStringToObject(object, names[i], values[i]);
    }
    char *text = cJSON_PrintUnformatted(object);
    printf("%s\n%s", export->rows++ ? "," : "[", text);
    free(text);
    cJSON_Delete(object);
}

/* ---- commands ---- */

static const char *sql_of(const char *name) {
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        if (!strcmp(name, tables[i].name)) return tables[i].sql;
    log_error(
        "'%s' cannot be exported; there are runs, metrics, evaluations, artifacts and published, or --sql",
        name);
    return NULL;
}

static bool export_print(Store *store, const char *sql, bool json, Error *error) {
    Export export = {0};
    const bool done = store_query(store, sql, NULL, 0, json ? row_to_json : row_to_csv, &export, error);
    if (json && done) puts(export.rows ? "\n]" : "[]");
    return done;
}

static int export_run(int argc, char **argv) {
    bool csv = false, json = false;
    const char *sql = NULL;
    Paths paths;
    Error error;
    int count;
    const Option list[] = {
        {"csv", 0, OPTION_FLAG, &csv, NULL, "comma-separated values (default)"},
        {"json", 0, OPTION_FLAG, &json, NULL, "a JSON array of objects"},
        {"sql", 0, OPTION_TEXT, &sql, "SELECT", "the rows of this query instead"},
    };
    char **words =
        options_parse(&command_export, argc, argv, list, sizeof list / sizeof *list, &paths, &count);
    if (count > 1 || (csv && json)) {
        log_error("usage: ./run %s", command_export.usage);
        return EXIT_USAGE;
    }
    if (!sql) sql = sql_of(count ? words[0] : "runs");
    Store *store = sql ? cli_store(&paths) : NULL;
    if (!store) return EXIT_USAGE;
    const bool done = export_print(store, sql, json, &error);
    store_close(store);
    return done ? EXIT_DONE : cli_fail(EXIT_USAGE, &error);
}

const Command command_export = {
    "export", "export [runs|metrics|evaluations|artifacts|published] [--csv|--json] [--sql SELECT]",
    "rows of the database, for other programs", export_run};

static int import_run(int argc, char **argv) {
    Paths paths;
    Error error;
    int count, added;
    char **words = options_parse(&command_import, argc, argv, NULL, 0, &paths, &count);
    if (count != 1) {
        log_error("usage: ./run %s", command_import.usage);
        return EXIT_USAGE;
    }
    Store *store = cli_store(&paths);
    if (!store) return EXIT_USAGE;
    const bool done = store_import(store, words[0], &added, &error);
    store_close(store);
    if (!done) return cli_fail(EXIT_USAGE, &error);
    log_info("%d run%s added to %s (checkpoints and pictures stay where they are)", added,
             added == 1 ? "" : "s", paths.database);
    return EXIT_DONE;
}

const Command command_import = {"import", "import OTHER.db",
                                "add the runs of another database (made on another machine)", import_run};
