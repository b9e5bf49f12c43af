/* `show`: all that is known about one run. `diff`: what differs between two. */
#include "base/log.h"
#include "command/cli.h"
#include "base/columns.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *time_text(double seconds, char out[32]) {
    const time_t whole = (time_t)seconds;
    struct tm broken;
    if (seconds <= 0 || !localtime_r(&whole, &broken)) return strcpy(out, "-");
    strftime(out, 32, "%Y-%m-%d %H:%M:%S", &broken);
    return out;
}

/* Prints a query's rows as columns under a heading; nothing when there are none. */
typedef struct Section {
    const char *heading;
    Columns table;
} Section;

static void section_row(void *context, int columns, const char *const *names, const char *const *values) {
    Section *section = context;
    const char *cells[MOST_COLUMNS];
    for (int i = 0; i < columns; i++) cells[i] = values[i] ? values[i] : "";
    if (!section->table.rows) section->table = columns_begin(columns, names);
    columns_add(&section->table, cells);
}

static bool section_print(Store *store, const char *heading, const char *sql, const char *id, Error *error) {
    Section section = {.heading = heading};
    const bool done = store_query(store, sql, (const char *[]){"id", id}, 1, section_row, &section, error);
    if (done && section.table.rows) {
        printf("\n%s\n", heading);
        columns_print(&section.table, stdout);
    }
    columns_free(&section.table);
    return done;
}

/* ---- show ---- */

static void one_text(void *context, int columns, const char *const *names, const char *const *values) {
    (void)columns, (void)names;
    text_append(context, "%s", values[0] ? values[0] : "");
}

static bool field_get(Store *store, const char *sql, const char *id, Text *out, Error *error) {
    return store_query(store, sql, (const char *[]){"id", id}, 1, one_text, out, error);
}

static void versions_print(const char *json) {
    cJSON *object = cJSON_Parse(json), *item;
    cJSON_ArrayForEach(item, object) {
        char *value = cJSON_IsString(item) ? NULL : cJSON_PrintUnformatted(item);
        printf("  %-12s %s\n", item->string, value ? value : cJSON_GetStringValue(item));
        free(value);
    }
    cJSON_Delete(object);
}

static int lines_in(const char *text) {
    int lines = 0;
    for (; *text; text++) lines += *text == '\n';
    return lines;
}

static bool provenance_print(Store *store, const RunRow *row, Error *error) {
    Text versions = {0}, diff = {0};
    const bool done =
        field_get(store, "SELECT versions FROM run WHERE id = :id", row->id, &versions, error) &&
        field_get(store, "SELECT git_diff FROM run WHERE id = :id", row->id, &diff, error);
    if (done) {
        printf("  %-12s %s", "commit", *row->commit ? row->commit : "-");
        if (diff.length)
            printf(" with uncommitted changes (%d lines: ./run show %s --patch)", lines_in(diff.text),
                   row->id);
        puts("");
        versions_print(text_view(&versions));
    }
    text_free(&versions);
    text_free(&diff);
    return done;
}

static void run_print(const RunRow *row, const Paths *paths) {
    char folder[1024], text[32];
    printf("run %s: %s%s%s, scale %s, seed %lld\n", row->id, row->experiment, *row->arm ? ", " : "", row->arm,
           row->scale, (long long)row->seed);
    printf("  %-12s %s, step %lld of %lld\n", "state", run_state_name(row->state), (long long)row->step,
           (long long)row->steps);
    if (*row->error) printf("  %-12s %s\n", "error", row->error);
    printf("  %-12s %s\n", "folder", paths_run_folder(paths->results, row->id, row->experiment, folder));
    printf("  %-12s %s\n", "started", time_text(row->started, text));
    printf("  %-12s %s\n", row->state == RUN_RUNNING ? "last sign" : "ended",
           time_text(row->state == RUN_RUNNING ? row->heartbeat : row->ended, text));
    printf("  %-12s process %d on %s\n", "last run by", row->pid, *row->host ? row->host : "-");
    printf("  %-12s %s\n  %-12s %s\n", "device", *row->device ? row->device : "-", "data hash",
           row->data_hash);
}

static const char evaluations_sql[] = "SELECT step AS \">step\", weights, nfe AS \">nfe\", metric, "
                                      "printf('%.5g', value) AS \">value\", samples AS \">samples\", "
                                      "substr(features_hash, 1, 8) AS features, substr(reference_hash, 1, 8) "
                                      "AS reference FROM evaluation WHERE run_id = :id "
                                      "AND metric NOT LIKE '%-class-%' ORDER BY step, nfe, metric";
static const char metrics_sql[] =
    "SELECT name, step AS \">step\", printf('%.5g', value) AS \">value\" FROM metric WHERE run_id = :id AND "
    "step = "
    "(SELECT max(step) FROM metric WHERE run_id = :id) AND name NOT LIKE '%_sigma_%' ORDER BY name";
static const char artifacts_sql[] = "SELECT kind, step AS \">step\", path, bytes AS \">bytes\", "
                                    "substr(sha256, 1, 12) AS sha256 FROM artifact "
                                    "WHERE run_id = :id ORDER BY kind, step";
static const char events_sql[] = "SELECT datetime(wall, 'unixepoch', 'localtime') AS \"when\", level, text "
                                 "FROM event WHERE run_id = :id ORDER BY rowid";
static const char plans_sql[] =
    "SELECT name AS experiment, arm, file FROM plan JOIN experiment ON id = experiment_id "
    "WHERE run_id = :id ORDER BY plan.created";

static bool all_print(Store *store, const Paths *paths, const RunRow *row, Error *error) {
    run_print(row, paths);
    const bool done = provenance_print(store, row, error) &&
                      section_print(store, "asked for by", plans_sql, row->id, error) &&
                      section_print(store, "newest metrics", metrics_sql, row->id, error) &&
                      section_print(store, "evaluations", evaluations_sql, row->id, error) &&
                      section_print(store, "artifacts", artifacts_sql, row->id, error) &&
                      section_print(store, "events", events_sql, row->id, error);
    if (done) printf("\nconfiguration\n%s", row->config);
    return done;
}

static bool patch_print(Store *store, const RunRow *row, Error *error) {
    Text diff = {0};
    const bool done = field_get(store, "SELECT git_diff FROM run WHERE id = :id", row->id, &diff, error);
    fputs(text_view(&diff), stdout);
    text_free(&diff);
    return done;
}

static int show_run(int argc, char **argv) {
    bool patch = false;
    Paths paths;
    RunRow row;
    Error error;
    const Option list[] = {
        {"patch", 0, OPTION_FLAG, &patch, NULL, "the uncommitted changes of the source that made the run"}};
    Store *store = cli_open_run(&command_show, argc, argv, list, 1, &paths, &row);
    if (!store) return EXIT_USAGE;
    const bool done = patch ? patch_print(store, &row, &error) : all_print(store, &paths, &row, &error);
    run_row_free(&row);
    store_close(store);
    return done ? EXIT_DONE : cli_fail(EXIT_USAGE, &error);
}

const Command command_show = {"show", "show ID [--patch]",
                              "all that is known about a run (an id may be shortened, as in git)", show_run};

/* ---- diff ---- */

static void difference_add(Columns *table, const char *what, const char *a, const char *b) {
    if (strcmp(a, b)) columns_add(table, (const char *[]){what, a, b});
}

/* Both configurations have the table's keys in the table's order; a key that only one version of the program
 * knew is "-". */
static void configs_compare(Columns *table, const char *a, const char *b) {
    for (int side = 0; side < 2; side++) {
        const char *text = side ? b : a;
        for (const char *line = text; line && *line;
             line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
            char key[128], mine[256] = "-", theirs[256] = "-";
            snprintf(key, sizeof key, "%.*s", (int)strcspn(line, ":\n"), line);
            config_text_get(a, key, mine, sizeof mine);
            const bool in_b = config_text_get(b, key, theirs, sizeof theirs);
            if (side == 0 || (in_b && !strcmp(mine, "-"))) difference_add(table, key, mine, theirs);
        }
    }
}

static void numbers_row(void *context, int columns, const char *const *names, const char *const *values) {
    (void)columns, (void)names;
    columns_add(context,
                (const char *[]){values[0], values[1] ? values[1] : "-", values[2] ? values[2] : "-"});
}

/* The newest of everything that either run has measured. */
static const char numbers_sql[] =
    "WITH number(run_id, what, step, value) AS ("
    " SELECT run_id, name, step, value FROM metric WHERE name NOT LIKE '%_sigma_%'"
    "  AND step = (SELECT max(step) FROM metric m WHERE m.run_id = metric.run_id)"
    " UNION ALL SELECT run_id, metric || ' ' || weights || ' ' || nfe || '-step', max(step), value FROM "
    "evaluation"
    "  WHERE nfe > 0 GROUP BY run_id, metric, weights, nfe)"
    "SELECT what, max(CASE run_id WHEN :a THEN printf('%.5g @ %d', value, step) END),"
    " max(CASE run_id WHEN :b THEN printf('%.5g @ %d', value, step) END) "
    "FROM number WHERE run_id IN (:a, :b) GROUP BY what ORDER BY what";

static bool runs_compare(Store *store, const RunRow *a, const RunRow *b, Error *error) {
    Columns table = columns_begin(3, (const char *[]){"", a->id, b->id});
    difference_add(&table, "experiment", a->experiment, b->experiment);
    difference_add(&table, "arm", a->arm, b->arm);
    difference_add(&table, "scale", a->scale, b->scale);
    difference_add(&table, "state", run_state_name(a->state), run_state_name(b->state));
    difference_add(&table, "device", a->device, b->device);
    difference_add(&table, "commit", a->commit, b->commit);
    difference_add(&table, "data hash", a->data_hash, b->data_hash);
    configs_compare(&table, a->config, b->config);
    columns_add(&table, (const char *[]){"", "", ""});
    const bool done = store_query(store, numbers_sql, (const char *[]){"a", a->id, "b", b->id}, 2,
                                  numbers_row, &table, error);
    if (done) columns_print(&table, stdout);
    columns_free(&table);
    return done;
}

static int diff_run(int argc, char **argv) {
    Paths paths;
    RunRow a, b;
    Error error;
    int count;
    char **words = options_parse(&command_diff, argc, argv, NULL, 0, &paths, &count);
    if (count != 2) {
        log_error("diff compares two runs: ./run diff A B");
        return EXIT_USAGE;
    }
    Store *store = cli_store(&paths);
    if (!store) return EXIT_USAGE;
    bool done = store_get_run(store, words[0], &a, &error);
    if (done) {
        done = store_get_run(store, words[1], &b, &error);
        if (done) {
            done = runs_compare(store, &a, &b, &error);
            run_row_free(&b);
        }
        run_row_free(&a);
    }
    store_close(store);
    return done ? EXIT_DONE : cli_fail(EXIT_USAGE, &error);
}

const Command command_diff = {"diff", "diff A B", "what differs between two runs, and their newest numbers",
                              diff_run};
