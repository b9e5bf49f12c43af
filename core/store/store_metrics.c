/* What a run leaves in the database while it goes on: ticks, evaluations, artifacts, events. One short
 * transaction each. */
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "store/store_internal.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct TickWriter {
    Store *store;
    const char *id;
    const Tick *tick;
    double wall;
    Error *error;
    bool ok;
} TickWriter;

/* A metric that does not exist at this tick (an empty bin of noise levels) is NaN and leaves no row. */
static void metric_write(TickWriter *writer, const char *name, double value) {
    if (!writer->ok || isnan(value)) return;
    writer->ok = store_execute(
        writer->store, writer->error,
        "INSERT OR REPLACE INTO metric(run_id, step, images, name, value, wall) VALUES(?, ?, ?, ?, ?, ?)",
        "tiitdd", writer->id, writer->tick->step, writer->tick->images, name, value, writer->wall);
}

static void bins_write(TickWriter *writer, const char *name, const double values[8]) {
    for (int i = 0; i < 8; i++) {
        char full[48];
        snprintf(full, sizeof full, "%s_sigma_%d", name, i);
        metric_write(writer, full, values[i]);
    }
}

static bool tick_write(Store *store, const char *id, const Tick *tick, Error *error) {
    TickWriter writer = {store, id, tick, clock_wall(), error, true};
    if (!store_execute(
            store, error,
            "UPDATE run SET heartbeat = ? WHERE id = ? AND state = 'running' AND host = ? AND pid = ?",
            "dtti", writer.wall, id, store->host, (int64_t)getpid()))
        return false;
    if (sqlite3_changes(store->db) != 1)
        return error_set(
            error, "%s: another process has taken run %s over (this one was silent too long); stopping here",
            store->path, id);
    metric_write(&writer, "loss", tick->loss);
    metric_write(&writer, "gradient_norm", tick->gradient_norm);
    metric_write(&writer, "residual", tick->residual);
    metric_write(&writer, "accuracy", tick->accuracy);
    if (tick->N) metric_write(&writer, "N", tick->N);
    metric_write(&writer, "learning_rate", tick->learning_rate);
    metric_write(&writer, "images_per_second", tick->images_per_second);
    metric_write(&writer, "update_norm_mean", tick->update_norm_mean);
    metric_write(&writer, "update_norm_variance", tick->update_norm_variance);
    metric_write(&writer, "non_finite", (double)tick->non_finite);
    bins_write(&writer, "loss", tick->loss_by_sigma);
    bins_write(&writer, "residual", tick->residual_by_sigma);
    return writer.ok;
}

bool store_tick(Store *store, const char *id, const Tick *tick, Error *error) {
    return transaction_begin(store, error) &&
           transaction_end(store, tick_write(store, id, tick, error), error);
}

bool store_copy_metrics(Store *store, const char *from, const char *to, Error *error) {
    return store_execute(store, error,
                         "INSERT OR REPLACE INTO metric(run_id, step, images, name, value, wall) "
                         "SELECT ?2, step, images, name, value, wall FROM metric WHERE run_id = ?1",
                         "tt", from, to);
}

bool store_evaluation(Store *store, const char *id, int64_t step, const char *weights, int nfe,
                      const Evaluation *evaluation, Error *error) {
    return store_execute(store, error,
                         "INSERT OR REPLACE INTO evaluation(run_id, step, weights, nfe, metric, value, "
                         "samples, features_hash, "
                         "reference_hash, protocol, created) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                         "tititditttd", id, step, weights, (int64_t)nfe, evaluation->metric,
                         evaluation->value, (int64_t)evaluation->samples, evaluation->features_hash,
                         evaluation->reference_hash, evaluation->protocol, clock_wall());
}

/* ---- artifacts ---- */

/* The database's folder with a slash at its end, symbolic links resolved. */
static bool store_folder(Store *store, char folder[PATH_MAX], Error *error) {
    char given[1024];
    path_folder(given, store->path);
    if (!realpath(given, folder)) return error_set(error, "%s: the folder cannot be found any more", given);
    const size_t length = strlen(folder);
    if (length + 2 > PATH_MAX) return error_set(error, "%s: the path is too long", folder);
    if (folder[length - 1] != '/') memcpy(folder + length, "/", 2);
    return true;
}

static bool path_to_store(Store *store, const char *path, char out[PATH_MAX], Error *error) {
    char folder[PATH_MAX], full[PATH_MAX];
    if (!store_folder(store, folder, error)) return false;
    if (!realpath(path, full)) return error_set(error, "%s: there is no such file to record", path);
    const bool below = !strncmp(full, folder, strlen(folder));
    snprintf(out, PATH_MAX, "%s", below ? full + strlen(folder) : full);
    return true;
}

const char *store_locate(Store *store, const char *stored, char out[1024]) {
    char folder[1024];
    if (*stored == '/')
        snprintf(out, 1024, "%s", stored);
    else
        path_join(out, path_folder(folder, store->path), stored);
    return out;
}

bool store_artifact(Store *store, const char *id, const char *kind, int64_t step, const char *path,
                    Error *error) {
    char stored[PATH_MAX];
    Hash hash;
    return path_to_store(store, path, stored, error) && hash_file(path, &hash, error) &&
           store_execute(store, error,
                         "INSERT OR REPLACE INTO artifact(run_id, kind, step, path, sha256, bytes) VALUES(?, "
                         "?, ?, ?, ?, ?)",
                         "ttitti", id, kind, step, stored, hash.hex, file_size(path));
}

/* The paths of all artifacts of one kind whose files are gone; at most `capacity`. */
static int paths_missing(Store *store, sqlite3_stmt *statement, char **paths, int capacity) {
    int count = 0;
    while (sqlite3_step(statement) == SQLITE_ROW) {
        const char *stored = (const char *)sqlite3_column_text(statement, 0);
        char path[1024];
        if (count < capacity && !file_exists(store_locate(store, stored, path)))
            paths[count++] = text_copy(stored);
    }
    sqlite3_reset(statement);
    return count;
}

bool store_prune_artifacts(Store *store, const char *id, const char *kind, Error *error) {
    enum { CAPACITY = 64 };
    char *paths[CAPACITY];
    sqlite3_stmt *statement = store_statement(
        store, error, "SELECT path FROM artifact WHERE run_id = ? AND kind = ?", "tt", id, kind);
    if (!statement) return false;
    const int count = paths_missing(store, statement, paths, CAPACITY);
    bool ok = true;
    for (int i = 0; i < count; i++) {
        ok = ok &&
             store_execute(store, error, "DELETE FROM artifact WHERE run_id = ? AND kind = ? AND path = ?",
                           "ttt", id, kind, paths[i]);
        free(paths[i]);
    }
    return ok;
}

bool store_event(Store *store, const char *id, const char *level, const char *text, Error *error) {
    return store_execute(store, error, "INSERT INTO event(run_id, wall, level, text) VALUES(?, ?, ?, ?)",
                         "tdtt", id, clock_wall(), level, text);
}
