/* A run's rows as a TensorBoard event file. */
#include "export/export.h"
#include "export/tensorboard.h"
#include "base/file.h"
#include "base/log.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Bins of ln(sigma) are a group of their own; evaluations are grouped by metric. */
static const char scalars_sql[] =
    "SELECT wall, step, CASE WHEN name GLOB '*_sigma_[0-9]' "
    "  THEN replace(name, '_sigma_', ' by noise level/') ELSE 'training/' || name END, value FROM metric "
    "WHERE run_id = :run "
    "UNION ALL SELECT created, step, metric || '/' || CASE nfe WHEN 0 THEN 'reference' ELSE nfe || '-step ' "
    "  || weights || ' ' || samples END, value FROM evaluation WHERE run_id = :run AND value IS NOT NULL "
    "ORDER BY 2, 3, 1";

/* A picture has no time of its own: that of its step's row of metrics. */
static const char pictures_sql[] =
    "SELECT coalesce((SELECT max(wall) FROM metric WHERE run_id = :run AND metric.step <= artifact.step), "
    "run.created), artifact.step, kind, path FROM artifact JOIN run ON run.id = run_id "
    "WHERE run_id = :run AND kind = 'samples' ORDER BY artifact.step";

typedef struct EventWriter {
    Store *store;
    Text bytes;
} EventWriter;

static EventPlace place_of(const char *const *values) {
    return (EventPlace){strtod(values[0], NULL), strtoll(values[1], NULL, 10), values[2]};
}

static void scalar_take(void *context, int columns, const char *const *names, const char *const *values) {
    EventWriter *writer = context;
    (void)columns, (void)names;
    event_scalar(&writer->bytes, place_of(values), strtod(values[3], NULL));
}

static int big_endian(const char *bytes) {
    int value = 0;
    for (int i = 0; i < 4; i++) value = value << 8 | (uint8_t)bytes[i];
    return value;
}

/* A PNG says its width and height in its first 24 bytes. */
static void picture_take(void *context, int columns, const char *const *names, const char *const *values) {
    EventWriter *writer = context;
    char path[1024], *png;
    size_t size;
    Error error;
    (void)columns, (void)names;
    if (!file_read(store_locate(writer->store, values[3], path), &png, &size, &error)) {
        log_warn("left out: %s", error.text);
        return;
    }
    if (size > 24 && !memcmp(png + 1, "PNG", 3))
        event_image(&writer->bytes, place_of(values), big_endian(png + 16), big_endian(png + 20), png, size);
    free(png);
}

static void configuration_write(EventWriter *writer, const RunRow *row) {
    Text page = {0};
    text_append(&page, "run %s of %s, commit %s, on %s\n\n", row->id, row->experiment, row->commit,
                row->device);
    for (const char *line = row->config; line && *line;
         line = strchr(line, '\n'), line = line ? line + 1 : NULL)
        text_append(&page, "    %.*s\n", (int)strcspn(line, "\n"), line);
    event_text(&writer->bytes, (EventPlace){row->created, 0, "configuration"}, text_view(&page));
    text_free(&page);
}

/* What TensorBoard shows as the run's name; '/' would make another folder. */
static char *folder_of(const RunRow *row, const char *folder) {
    char *name = text_format("%s%s%s-seed%lld-%s", row->experiment, *row->arm ? "-" : "", row->arm,
                             (long long)row->seed, row->id);
    for (char *at = name; *at; at++)
        if (!isalnum((unsigned char)*at) && !strchr("._+-=", *at)) *at = '-';
    char *path = text_format("%s/%s", folder, name);
    free(name);
    return path;
}

static bool file_place(const RunRow *row, const char *folder, const Text *bytes, Error *error) {
    char name[64], path[1024], *place = folder_of(row, folder);
    snprintf(name, sizeof name, "events.out.tfevents.%010lld.ict", (long long)row->created);
    const bool done = folder_make(place, error) &&
                      file_write_atomic(path_join(path, place, name), text_view(bytes), bytes->length, error);
    free(place);
    return done;
}

static bool run_write(Store *store, const RunRow *row, const char *folder, Error *error) {
    const char *const parameters[] = {"run", row->id};
    EventWriter writer = {.store = store};
    event_version(&writer.bytes, row->created);
    configuration_write(&writer, row);
    const bool done = store_query(store, scalars_sql, parameters, 1, scalar_take, &writer, error) &&
                      store_query(store, pictures_sql, parameters, 1, picture_take, &writer, error) &&
                      file_place(row, folder, &writer.bytes, error);
    text_free(&writer.bytes);
    return done;
}

static bool all_write(Store *store, const char *folder, int *written, Error *error) {
    RunRow *rows;
    int count;
    if (!store_list_runs(store, &rows, &count, error)) return false;
    bool done = true;
    for (int i = 0; i < count && done; i++) {
        if (!rows[i].step) continue;
        done = run_write(store, &rows[i], folder, error);
        *written += done;
    }
    run_rows_free(rows, count);
    return done;
}

bool export_tensorboard(Store *store, const char *folder, char *const *ids, int count, int *written,
                        Error *error) {
    *written = 0;
    if (!count) return all_write(store, folder, written, error);
    for (int i = 0; i < count; i++) {
        RunRow row;
        if (!store_get_run(store, ids[i], &row, error)) return false;
        const bool done = run_write(store, &row, folder, error);
        run_row_free(&row);
        if (!done) return false;
        ++*written;
    }
    return true;
}
