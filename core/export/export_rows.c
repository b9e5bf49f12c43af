/* Rows of the database as CSV or JSON. Every row of a metric or an evaluation says which run it comes from
 * and what that run was, so that a file still means something when it has left its database. */
#include "export/export.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#define ORIGIN                                                                                          \
    "experiment.name AS experiment, run.arm, run.scale, run.seed, setting(run.config, 'data.name') AS " \
    "data, run.state, run.device, run.git_commit, run.git_diff <> '' AS changed"
#define RUNS "run JOIN experiment ON experiment.id = run.experiment_id"

static const struct {
    const char *name, *sql;
} tables[] = {
    {"runs", "SELECT run.id, " ORIGIN ", run.data_hash, run.host, run.created, run.started, run.ended, "
             "run.error, run.versions FROM " RUNS " ORDER BY run.created, run.id"},
    {"metrics", "SELECT run_id, step, images, metric.name, value, wall, " ORIGIN " FROM metric JOIN run ON "
                "run.id = run_id JOIN experiment ON experiment.id = run.experiment_id ORDER BY run_id, step, "
                "metric.name"},
    {"evaluations",
     "SELECT run_id, step, weights, nfe, metric, value, samples, features_hash, reference_hash, "
     "evaluation.created, " ORIGIN " FROM evaluation JOIN run ON run.id = run_id JOIN experiment ON "
     "experiment.id = run.experiment_id ORDER BY run_id, step, weights, nfe, metric"},
    {"artifacts", "SELECT run_id, kind, step, path, sha256, bytes FROM artifact ORDER BY run_id, kind, step"},
    {"events", "SELECT run_id, wall, level, text FROM event ORDER BY run_id, wall"},
    {"published", "SELECT source, dataset, method, nfe, metric, value FROM published"},
};
enum { TABLES = sizeof tables / sizeof *tables };

const char *export_query(const char *name, Error *error) {
    Text names = {0};
    for (int i = 0; i < TABLES; i++) {
        if (!strcmp(name, tables[i].name)) return text_free(&names), tables[i].sql;
        text_append(&names, "%s%s", i ? ", " : "", tables[i].name);
    }
    error_set(error, "'%s' cannot be exported; there are %s, or --sql", name, text_view(&names));
    text_free(&names);
    return NULL;
}

typedef struct RowWriter {
    FILE *out;
    Text line;
    int rows;
} RowWriter;

static void line_put(RowWriter *w) {
    fwrite(text_view(&w->line), 1, w->line.length, w->out);
    text_clear(&w->line);
}

/* Neither NULL, which is also SQLite's NaN, nor an infinity. */
static bool has_value(const StoreCell *cell) {
    return cell->type == STORE_TEXT || (cell->type == STORE_NUMBER && !strstr(cell->text, "inf"));
}

static void row_to_csv(void *context, int columns, const StoreCell *cells) {
    RowWriter *w = context;
    for (int pass = w->rows++ ? 1 : 0; pass < 2; pass++) {
        for (int i = 0; i < columns; i++) {
            if (i) text_append(&w->line, ",");
            text_append_csv(&w->line, !pass ? cells[i].name : has_value(&cells[i]) ? cells[i].text : "");
        }
        text_append(&w->line, "\n");
    }
    line_put(w);
}

static void row_to_json(void *context, int columns, const StoreCell *cells) {
    RowWriter *w = context;
    cJSON *object = cJSON_CreateObject();
    for (int i = 0; i < columns; i++) {
        if (!has_value(&cells[i]))
            cJSON_AddNullToObject(object, cells[i].name);
        else if (cells[i].type == STORE_NUMBER)
            cJSON_AddRawToObject(object, cells[i].name, cells[i].text);
        else
            cJSON_AddStringToObject(object, cells[i].name, cells[i].text);
    }
    char *text = cJSON_PrintUnformatted(object);
    CHECK(text, "out of memory for a row of JSON");
    text_append(&w->line, "%s\n%s", w->rows++ ? "," : "[", text);
    line_put(w);
    free(text);
    cJSON_Delete(object);
}

bool export_rows(Store *store, const char *sql, ExportFormat format, FILE *out, Error *error) {
    RowWriter writer = {.out = out};
    const bool json = format == EXPORT_JSON;
    const bool done = store_query_cells(store, sql, NULL, 0, json ? row_to_json : row_to_csv, &writer, error);
    if (json && done) fputs(writer.rows ? "\n]\n" : "[]\n", out);
    text_free(&writer.line);
    return done;
}
