/* Bringing in the runs of another database, made on another machine or on a node's local disk: the file
 * itself, or its dump as SQL text (results/recorded/).
 *
 * The other file is only read. What is brought in comes from a copy, whose tables are brought up to date
 * first. A run's id is a hash of what decides its numbers, so the same id here and there is the same run, and
 * the one that is further along is kept: a finished one beats all others, and ours stays where neither is
 * further or ours is running. Importing the same file again changes nothing.
 */
#include "base/file.h"
#include "store/store_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- a copy of the other ---- */

static bool is_function_of_dumps(const char *name) {
    static const char *const functions[] = {"replace", "char", "unistr"}; /* how line breaks are written */
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (strcmp(name, functions[i]) == 0) return true;
    return false;
}

/* A dump is a program in SQL: it may make and fill tables. It may reach no other file, and select nothing,
 * because a recursive query need never end. */
static int only_tables(void *context, int action, const char *a, const char *b, const char *c,
                       const char *d) {
    (void)context, (void)a, (void)c, (void)d;
    switch (action) {
    case SQLITE_ATTACH:
    case SQLITE_DETACH:
    case SQLITE_SELECT:
    case SQLITE_CREATE_VIEW:
    case SQLITE_CREATE_TEMP_VIEW:
    case SQLITE_CREATE_TRIGGER:
    case SQLITE_CREATE_TEMP_TRIGGER:
    case SQLITE_CREATE_VTABLE:
        return SQLITE_DENY;
    case SQLITE_FUNCTION:
        return is_function_of_dumps(b) ? SQLITE_OK : SQLITE_DENY;
    default:
        return SQLITE_OK;
    }
}

static bool version_is_said(sqlite3 *copy) {
    sqlite3_stmt *statement = NULL;
    bool said = false;
    if (sqlite3_prepare_v2(copy, "PRAGMA user_version", -1, &statement, NULL) == SQLITE_OK)
        said = sqlite3_step(statement) == SQLITE_ROW && sqlite3_column_int(statement, 0) > 0;
    sqlite3_finalize(statement);
    return said;
}

static bool dump_run(sqlite3 *copy, const char *path, const char *sql, Error *error) {
    sqlite3_set_authorizer(copy, only_tables, NULL);
    if (sqlite3_exec(copy, sql, NULL, NULL, NULL) != SQLITE_OK)
        return error_set(error, "%s: neither a database nor the dump of one: %s", path, sqlite3_errmsg(copy));
    return version_is_said(copy) ||
           error_set(
               error,
               "%s: the dump does not say its layout: add the line `PRAGMA user_version = N;` with the N of "
               "`sqlite3 FILE.db 'PRAGMA user_version'`",
               path);
}

static bool pages_copy(sqlite3 *copy, const char *path, Error *error) {
    sqlite3 *from = NULL;
    bool done = sqlite3_open_v2(path, &from, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK;
    sqlite3_busy_timeout(from, 30000);
    sqlite3_backup *backup = done ? sqlite3_backup_init(copy, "main", from, "main") : NULL;
    done = backup && sqlite3_backup_step(backup, -1) == SQLITE_DONE;
    if (backup) done = sqlite3_backup_finish(backup) == SQLITE_OK && done;
    if (!done)
        database_error(backup ? copy : from, path,
                       backup ? "cannot be copied" : "cannot be read as a database", error);
    sqlite3_close(from);
    return done;
}

/* A view in place of a table, or a trigger on one, would run in our statements, for as long as it likes; they
 * have no pages of their own. A file that cannot be asked is refused by store_open, which says more. */
static bool schema_is_tables(sqlite3 *copy, const char *path, Error *error) {
    sqlite3_stmt *odd = NULL;
    bool good = true;
    if (sqlite3_prepare_v2(copy, "SELECT type, name FROM sqlite_schema WHERE coalesce(rootpage, 0) = 0", -1,
                           &odd, NULL) == SQLITE_OK &&
        sqlite3_step(odd) == SQLITE_ROW)
        good = error_set(error, "%s: has the %s %s; only tables are imported: DROP it in a copy of the file",
                         path, sqlite3_column_text(odd, 0), sqlite3_column_text(odd, 1));
    sqlite3_finalize(odd);
    return good;
}

static bool copy_fill(const char *path, const char *copy_path, Error *error) {
    static const char magic[] = "SQLite format 3";
    char *bytes;
    size_t size;
    sqlite3 *copy;
    if (!file_read(path, &bytes, &size, error)) return false;
    bool done = sqlite3_open(copy_path, &copy) == SQLITE_OK ||
                database_error(copy, copy_path, "cannot be made", error);
    if (done && (size < sizeof magic || memcmp(bytes, magic, sizeof magic) != 0))
        done = dump_run(copy, path, bytes, error);
    else if (done)
        done = pages_copy(copy, path, error) && schema_is_tables(copy, path, error);
    sqlite3_close(copy);
    free(bytes);
    return done;
}

/* An open store on a copy of the file, beside our own database, where there is room. */
static bool copy_make(const Store *store, const char *path, char copy_path[1100], Error *error) {
    Store *copy;
    if (!file_exists(path)) return error_set(error, "%s: there is no such database to import", path);
    snprintf(copy_path, 1100, "%s.import-XXXXXX", store->path);
    const int descriptor = mkstemp(copy_path);
    if (descriptor < 0) return file_error(error, copy_path, "cannot be made", errno);
    close(descriptor);
    const bool done = copy_fill(path, copy_path, error) &&
                      (store_open(copy_path, &copy, error) || error_wrap(error, "a copy of %s", path));
    if (done) store_close(copy);
    return done;
}

static void copy_remove(const char *copy_path) {
    static const char *const ends[] = {"", "-wal", "-shm", "-journal"};
    for (int i = 0; i < 4; i++) {
        char *path = text_format("%s%s", copy_path, ends[i]);
        unlink(path);
        free(path);
    }
}

/* ---- rows ---- */

#define PROGRESS(database, run)                                                                            \
    "CASE " run                                                                                            \
    ".state WHEN 'done' THEN 1 << 60 WHEN 'failed' THEN -1 ELSE coalesce((SELECT max(step) FROM " database \
    ".metric WHERE run_id = " run ".id), -1) END"
#define TAKEN "(SELECT id FROM temp.incoming WHERE why IN ('new', 'further'))"

/* Experiments are matched by name and text, because their numbers differ from file to file. A run that was
 * running over there is not running here. What both have of the same origin (same machine, same start,
 * equally far) is completed by the evaluations made since. ?1 is what artifacts' paths are relative to. */
static const char *const import_steps[] = {
    "CREATE TEMP TABLE incoming AS SELECT theirs.id AS id, CASE WHEN mine.id IS NULL THEN 'new' "
    "WHEN mine.state = 'running' THEN 'kept' "
    "WHEN " PROGRESS("other", "theirs") " > " PROGRESS(
        "main", "mine") " THEN 'further' "
                        "WHEN mine.host IS theirs.host AND mine.started IS theirs.started AND " PROGRESS(
                            "other", "theirs") " = " PROGRESS("main",
                                                              "mine") " THEN 'same' ELSE 'kept' END AS why "
                                                                      "FROM other.run theirs LEFT JOIN "
                                                                      "main.run mine ON mine.id = theirs.id",

    "INSERT OR IGNORE INTO main.experiment(name, file, yaml, created) SELECT name, file, yaml, created FROM "
    "other.experiment WHERE id IN (SELECT experiment_id FROM other.plan UNION SELECT experiment_id FROM "
    "other.run)",

    "INSERT INTO main.run SELECT r.id, mine.id, r.arm, r.seed, r.scale, r.config, r.data_hash, r.state, "
    "r.device, "
    "r.git_commit, r.git_diff, r.versions, r.host, r.pid, r.heartbeat, r.created, r.started, r.ended, "
    "r.error, NULL "
    "FROM other.run r JOIN other.experiment theirs ON theirs.id = r.experiment_id "
    "JOIN main.experiment mine ON mine.name = theirs.name AND mine.yaml = theirs.yaml "
    "WHERE r.id IN (SELECT id FROM temp.incoming WHERE why = 'new')",

    "UPDATE main.run SET (state, device, git_commit, git_diff, versions, host, pid, heartbeat, started, "
    "ended, error, "
    "process) = (SELECT state, device, git_commit, git_diff, versions, host, pid, heartbeat, started, ended, "
    "error, "
    "NULL FROM other.run r WHERE r.id = main.run.id) "
    "WHERE id IN (SELECT id FROM temp.incoming WHERE why = 'further')",

    "UPDATE main.run SET state = 'interrupted' WHERE state = 'running' AND id IN " TAKEN,

    "INSERT OR IGNORE INTO main.plan SELECT mine.id, p.run_id, p.arm, p.created FROM other.plan p "
    "JOIN other.experiment theirs ON theirs.id = p.experiment_id "
    "JOIN main.experiment mine ON mine.name = theirs.name AND mine.yaml = theirs.yaml",

    "DELETE FROM main.metric WHERE run_id IN " TAKEN,
    "DELETE FROM main.evaluation WHERE run_id IN " TAKEN,
    "DELETE FROM main.artifact WHERE run_id IN " TAKEN,
    "DELETE FROM main.rounding WHERE run_id IN " TAKEN,
    "INSERT INTO main.metric SELECT * FROM other.metric WHERE run_id IN " TAKEN,
    "INSERT OR IGNORE INTO main.evaluation SELECT * FROM other.evaluation WHERE run_id IN "
    "(SELECT id FROM temp.incoming WHERE why <> 'kept')",
    /* A session may be measured in parts, each brought here by itself: numbers join those that are here when
     * both are of the same experiment, device and commit; the best is kept, as in store_bench_value(). */
    "INSERT OR IGNORE INTO main.bench SELECT * FROM other.bench",
    "CREATE TEMP TABLE joining AS SELECT v.*, m.value AS mine FROM other.bench_value v "
    "JOIN other.bench theirs USING (session) JOIN main.bench USING (session, experiment, device, git_commit) "
    "LEFT JOIN main.bench_value m USING (session, program, precision, batch, name) "
    "WHERE mine IS NULL OR iif(name LIKE '%/s', v.value > mine, v.value < mine)",
    "INSERT OR REPLACE INTO main.bench_value SELECT session, program, precision, batch, name, value "
    "FROM temp.joining",
    /* A profile is of one turn, so it is taken whole: the quicker one, whichever comes first. */
    "CREATE TEMP TABLE profiles AS SELECT session, precision, images FROM other.bench_op o "
    "JOIN other.bench USING (session) JOIN main.bench USING (session, experiment, device, git_commit) "
    "GROUP BY session, precision, images HAVING sum(seconds) < ifnull((SELECT sum(seconds) FROM "
    "main.bench_op "
    "m WHERE m.session = o.session AND m.precision = o.precision AND m.images = o.images), 9e999)",
    "DELETE FROM main.bench_op WHERE (session, precision, images) IN (SELECT * FROM temp.profiles)",
    "INSERT INTO main.bench_op SELECT * FROM other.bench_op "
    "WHERE (session, precision, images) IN (SELECT * FROM temp.profiles)",
    "DROP TABLE temp.profiles",
    "INSERT OR IGNORE INTO main.rounding SELECT * FROM other.rounding WHERE run_id IN "
    "(SELECT id FROM temp.incoming WHERE why <> 'kept')",
    "INSERT OR IGNORE INTO main.artifact SELECT run_id, kind, step, iif(substr(path, 1, 1) = '/', '', ?1) || "
    "path, "
    "sha256, bytes FROM other.artifact WHERE run_id IN (SELECT id FROM temp.incoming WHERE why <> 'kept')",
    "INSERT INTO main.event SELECT * FROM other.event e WHERE run_id IN (SELECT id FROM temp.incoming WHERE "
    "why <> "
    "'kept') AND NOT EXISTS (SELECT 1 FROM main.event m WHERE m.run_id = e.run_id AND m.wall = e.wall AND "
    "m.text = "
    "e.text)",
};

/* What has to stand before an artifact's relative path over there to find it from here: nothing when both
 * databases lie in one folder. */
static bool path_prefix(const Store *store, const char *other, char prefix[PATH_MAX + 1], Error *error) {
    char theirs[1024], ours[1024], full[PATH_MAX], here[PATH_MAX];
    path_folder(theirs, other);
    path_folder(ours, store->path);
    if (!realpath(theirs, full) || !realpath(ours, here))
        return error_set(error, "%s: its folder cannot be found", other);
    snprintf(prefix, PATH_MAX + 1, "%s/", strcmp(full, here) ? full : "");
    if (!strcmp(full, here)) *prefix = 0;
    return true;
}

static bool count_take(Store *store, const char *why, int *count, Error *error) {
    int64_t value = 0;
    const bool done =
        store_integer(store, error, &value, 0, "SELECT count(*) FROM temp.incoming WHERE why = ?", "t", why);
    *count = (int)value;
    return done;
}

/* Sessions whose numbers came, and those that are here already as other work's. */
static bool sessions_count(Store *store, ImportCount *count, Error *error) {
    int64_t joined = 0, others = 0;
    const bool done =
        store_integer(store, error, &joined, 0, "SELECT count(DISTINCT session) FROM temp.joining", "") &&
        store_integer(store, error, &others, 0,
                      "SELECT count(*) FROM other.bench t JOIN main.bench m USING (session) WHERE "
                      "(t.experiment, t.device, t.git_commit) <> (m.experiment, m.device, m.git_commit)",
                      "") &&
        store_execute(store, error, "DROP TABLE temp.joining", "");
    count->sessions = (int)joined, count->other_sessions = (int)others;
    return done;
}

static bool rows_import(Store *store, const char *prefix, ImportCount *count, Error *error) {
    for (size_t i = 0; i < sizeof import_steps / sizeof *import_steps; i++) {
        const bool takes = strstr(import_steps[i], "?1") != NULL;
        if (!store_execute(store, error, import_steps[i], takes ? "t" : "", prefix))
            return error_wrap(error, "importing");
    }
    int same, kept;
    if (!count_take(store, "new", &count->added, error) ||
        !count_take(store, "further", &count->advanced, error) || !count_take(store, "same", &same, error) ||
        !count_take(store, "kept", &kept, error))
        return false;
    count->kept = same + kept;
    return sessions_count(store, count, error) && store_execute(store, error, "DROP TABLE temp.incoming", "");
}

static bool copy_import(Store *store, const char *other, const char *copy_path, ImportCount *count,
                        Error *error) {
    char prefix[PATH_MAX + 1];
    if (!path_prefix(store, other, prefix, error) ||
        !store_execute(store, error, "ATTACH ? AS other", "t", copy_path))
        return false;
    const bool done = transaction_begin(store, error) &&
                      transaction_end(store, rows_import(store, prefix, count, error), error);
    return store_execute(store, done ? error : NULL, "DETACH other", "") && done;
}

bool store_import(Store *store, const char *other, ImportCount *count, Error *error) {
    char copy_path[1100];
    *count = (ImportCount){0};
    *copy_path = 0;
    const bool done =
        copy_make(store, other, copy_path, error) && copy_import(store, other, copy_path, count, error);
    if (*copy_path) copy_remove(copy_path);
    return done;
}
