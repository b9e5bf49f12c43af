/* The tables, as a list of steps from one layout to the next. PRAGMA user_version says how many of them a
 * file has seen; a new table or column is a new step at the end, never a change to an old one. */
#include "store/store_internal.h"

/* A run's id is the hash of what decides its numbers, so experiments that ask for the same numbers share the
 * run: `run` keeps who asked first, `plan` everybody who asks, under which arm. `metric` is read in ranges of
 * steps of one run, hence its key. */
static const char *const steps[] = {
    "CREATE TABLE experiment(id INTEGER PRIMARY KEY, name TEXT NOT NULL, file TEXT NOT NULL, yaml TEXT NOT "
    "NULL,"
    "  created REAL NOT NULL, UNIQUE(name, yaml));"
    "CREATE TABLE run(id TEXT PRIMARY KEY, experiment_id INTEGER NOT NULL REFERENCES experiment(id), arm "
    "TEXT NOT NULL,"
    "  seed INTEGER NOT NULL, scale TEXT NOT NULL, config TEXT NOT NULL, data_hash TEXT NOT NULL,"
    "  state TEXT NOT NULL CHECK(state IN ('queued','running','done','failed','interrupted','diverged')),"
    "  device TEXT, git_commit TEXT, git_diff TEXT, versions TEXT, host TEXT, pid INTEGER, heartbeat REAL,"
    "  created REAL NOT NULL, started REAL, ended REAL, error TEXT);"
    "CREATE TABLE plan(experiment_id INTEGER NOT NULL REFERENCES experiment(id),"
    "  run_id TEXT NOT NULL REFERENCES run(id) ON DELETE CASCADE, arm TEXT NOT NULL, created REAL NOT NULL,"
    "  PRIMARY KEY(experiment_id, run_id)) WITHOUT ROWID;"
    "CREATE TABLE metric(run_id TEXT NOT NULL REFERENCES run(id) ON DELETE CASCADE, step INTEGER NOT NULL,"
    "  images INTEGER NOT NULL, name TEXT NOT NULL, value REAL NOT NULL, wall REAL NOT NULL,"
    "  PRIMARY KEY(run_id, step, name)) WITHOUT ROWID;"
    "CREATE TABLE evaluation(run_id TEXT NOT NULL REFERENCES run(id) ON DELETE CASCADE, step INTEGER NOT "
    "NULL,"
    "  weights TEXT NOT NULL, nfe INTEGER NOT NULL, metric TEXT NOT NULL, value REAL, samples INTEGER NOT "
    "NULL,"
    "  features_hash TEXT NOT NULL, reference_hash TEXT NOT NULL, created REAL NOT NULL,"
    "  PRIMARY KEY(run_id, step, weights, nfe, metric, samples, features_hash, reference_hash)) WITHOUT "
    "ROWID;"
    "CREATE TABLE artifact(run_id TEXT NOT NULL REFERENCES run(id) ON DELETE CASCADE, kind TEXT NOT NULL,"
    "  step INTEGER NOT NULL, path TEXT NOT NULL, sha256 TEXT NOT NULL, bytes INTEGER NOT NULL,"
    "  PRIMARY KEY(run_id, kind, step, path)) WITHOUT ROWID;"
    "CREATE TABLE event(run_id TEXT NOT NULL REFERENCES run(id) ON DELETE CASCADE, wall REAL NOT NULL,"
    "  level TEXT NOT NULL, text TEXT NOT NULL);"
    "CREATE TABLE published(source TEXT NOT NULL, dataset TEXT NOT NULL, method TEXT NOT NULL, nfe INTEGER,"
    "  metric TEXT NOT NULL, value REAL NOT NULL);"
    "CREATE INDEX run_experiment ON run(experiment_id);"
    "CREATE INDEX plan_run ON plan(run_id);"
    "CREATE INDEX event_run ON event(run_id, wall);",
    /* Beside the process id, which other processes get after a reboot: process_mark(). */
    "ALTER TABLE run ADD COLUMN process TEXT;",
    /* What else decides a number: rounding to bytes, subsets, parts, neighbours. It belongs to the key, hence
     * the new table. Until then there were only Frechet distances and classifiers on rounded samples. */
    "CREATE TABLE evaluation_now(run_id TEXT NOT NULL REFERENCES run(id) ON DELETE CASCADE, step INTEGER NOT "
    "NULL,"
    "  weights TEXT NOT NULL, nfe INTEGER NOT NULL, metric TEXT NOT NULL, value REAL, samples INTEGER NOT "
    "NULL,"
    "  features_hash TEXT NOT NULL, reference_hash TEXT NOT NULL, protocol TEXT NOT NULL, created REAL NOT "
    "NULL,"
    "  PRIMARY KEY(run_id, step, weights, nfe, metric, samples, features_hash, reference_hash, protocol)) "
    "WITHOUT ROWID;"
    "INSERT INTO evaluation_now SELECT run_id, step, weights, nfe, metric, value, samples, features_hash, "
    "reference_hash, iif(nfe > 0, coalesce((SELECT setting(config, 'evaluation.rounding') FROM run WHERE id "
    "= "
    "run_id), 'round'), ''), created FROM evaluation;"
    "DROP TABLE evaluation; ALTER TABLE evaluation_now RENAME TO evaluation;",
    /* What low precision does to a run's network; and how fast machines were, by session of `bench`. */
    "CREATE TABLE rounding(run_id TEXT NOT NULL REFERENCES run(id) ON DELETE CASCADE, step INTEGER NOT NULL,"
    "  N INTEGER NOT NULL, precision TEXT NOT NULL, images INTEGER NOT NULL, device TEXT NOT NULL,"
    "  median REAL NOT NULL, upper REAL NOT NULL, cosine REAL, rate REAL NOT NULL, created REAL NOT NULL,"
    "  PRIMARY KEY(run_id, step, N, precision, images, device)) WITHOUT ROWID;"
    "CREATE TABLE bench(session TEXT PRIMARY KEY, experiment TEXT NOT NULL, config TEXT NOT NULL,"
    "  device TEXT NOT NULL, git_commit TEXT NOT NULL, versions TEXT NOT NULL, created REAL NOT NULL)"
    "  WITHOUT ROWID;"
    "CREATE TABLE bench_value(session TEXT NOT NULL REFERENCES bench(session) ON DELETE CASCADE,"
    "  program TEXT NOT NULL, precision TEXT NOT NULL, batch INTEGER NOT NULL, name TEXT NOT NULL,"
    "  value REAL NOT NULL, PRIMARY KEY(session, program, precision, batch, name)) WITHOUT ROWID;"
    "CREATE TABLE bench_op(session TEXT NOT NULL REFERENCES bench(session) ON DELETE CASCADE,"
    "  precision TEXT NOT NULL, images INTEGER NOT NULL, op TEXT NOT NULL, pass TEXT NOT NULL,"
    "  calls INTEGER NOT NULL, seconds REAL NOT NULL, bytes REAL NOT NULL, flops REAL NOT NULL,"
    "  PRIMARY KEY(session, precision, images, op, pass)) WITHOUT ROWID;",
};

int schema_version(void) {
    return (int)(sizeof steps / sizeof *steps);
}

static bool version_read(Store *store, int64_t *version, Error *error) {
    return store_integer(store, error, version, 0, "PRAGMA user_version", "");
}

static bool steps_run(Store *store, Error *error) {
    int64_t version;
    if (!version_read(store, &version, error)) return false; /* again: another process may have been first */
    for (; version < schema_version(); version++) {
        char mark[48];
        snprintf(mark, sizeof mark, "PRAGMA user_version = %d", (int)version + 1);
        if (sqlite3_exec(store->db, steps[version], NULL, NULL, NULL) != SQLITE_OK ||
            sqlite3_exec(store->db, mark, NULL, NULL, NULL) != SQLITE_OK)
            return store_error(store, "making the tables", error);
    }
    return true;
}

bool schema_migrate(Store *store, Error *error) {
    int64_t version;
    if (!version_read(store, &version, error)) return false;
    if (version == schema_version()) return true;
    if (version < 0)
        return error_set(
            error,
            "%s: says layout %d, which no version of this program writes: it is damaged or another "
            "program's; name another file with --db",
            store->path, (int)version);
    if (version > schema_version())
        return error_set(
            error,
            "%s: made by a newer version of this program (layout %d, this one knows %d): update with git "
            "pull, or name another file with --db",
            store->path, (int)version, schema_version());
    return transaction_begin(store, error) && transaction_end(store, steps_run(store, error), error);
}
