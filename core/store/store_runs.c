/* Runs in the database: adding them, reading them, and the passage from one state to the next.
 *
 *   queued -> running -> done | failed | diverged | interrupted      interrupted -> running -> ...
 *
 * The passage to running is a claim made in one transaction. "Lost" is not stored: it is what a reader
 * concludes when a running row's process is gone, and it is claimed like an interrupted run. Of a process on
 * this machine the kernel says so, whatever clocks say; of one elsewhere (or before a reboot) only its
 * heartbeat does, and the clocks of the two machines should agree to some minutes. */
#include "base/log.h"
#include "base/process.h"
#include "store/store_internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The queue beats every 15 s for its children, so five minutes are twenty beats missed. */
enum { LOST_SECONDS = 300 };

static const char *const state_names[] = {"queued",      "running",  "done", "failed",
                                          "interrupted", "diverged", "lost"};

const char *run_state_name(RunState state) {
    return state_names[state];
}

static RunState state_from_name(const char *name) {
    for (int i = 0; i < RUN_LOST; i++)
        if (!strcmp(name, state_names[i])) return (RunState)i;
    return RUN_FAILED; /* the table's CHECK admits no other name */
}

/* ---- adding ---- */

static bool experiment_add(Store *store, const Experiment *experiment, int64_t *id, Error *error) {
    return store_execute(store, error,
                         "INSERT INTO experiment(name, file, yaml, created) VALUES(?, ?, ?, ?) "
                         "ON CONFLICT(name, yaml) DO UPDATE SET file = excluded.file",
                         "tttd", experiment->name, experiment->file, experiment->yaml ? experiment->yaml : "",
                         clock_wall()) &&
           store_integer(store, error, id, 0, "SELECT id FROM experiment WHERE name = ? AND yaml = ?", "tt",
                         experiment->name, experiment->yaml ? experiment->yaml : "");
}

static bool run_add(Store *store, const Experiment *experiment, const RunSpec *spec, const char *config,
                    Error *error) {
    int64_t id = 0;
    const double now = clock_wall();
    return experiment_add(store, experiment, &id, error) &&
           store_execute(store, error,
                         "INSERT OR IGNORE INTO run(id, experiment_id, arm, seed, scale, config, data_hash, "
                         "state, created) "
                         "VALUES(?, ?, ?, ?, ?, ?, ?, 'queued', ?)",
                         "tititttd", spec->id, id, spec->arm, spec->config.seed, spec->scale, config,
                         spec->data_hash, now) &&
           store_execute(store, error,
                         "INSERT INTO plan(experiment_id, run_id, arm, created) VALUES(?, ?, ?, ?) "
                         "ON CONFLICT DO UPDATE SET arm = excluded.arm, created = excluded.created",
                         "ittd", id, spec->id, spec->arm, now);
}

bool store_add_run(Store *store, const Experiment *experiment, const RunSpec *spec, Error *error) {
    Text config = {0};
    config_print(&spec->config, CONFIG_ALL, &config);
    const bool added =
        transaction_begin(store, error) &&
        transaction_end(store, run_add(store, experiment, spec, text_view(&config), error), error);
    text_free(&config);
    return added;
}

/* ---- reading ---- */

#define RUN_COLUMNS                                                                                         \
    "SELECT run.id, experiment.name, run.arm, run.scale, run.device, run.git_commit, run.host, run.error, " \
    "run.data_hash, run.state, run.seed, run.pid, run.created, run.started, run.ended, run.heartbeat, "     \
    "run.config, "                                                                                          \
    "(SELECT max(step) FROM metric WHERE run_id = run.id), run.process FROM run JOIN experiment ON "        \
    "experiment.id = "                                                                                      \
    "experiment_id "

bool config_text_get(const char *config, const char *key, char *value, size_t size) {
    const size_t length = strlen(key);
    for (const char *line = config; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
        if (strncmp(line, key, length) || line[length] != ':') continue;
        const char *from = line + length + 1 + strspn(line + length + 1, " ");
        snprintf(value, size, "%.*s", (int)strcspn(from, "\n"), from);
        return true;
    }
    return false;
}

static bool row_is_lost(const RunRow *row, const char *mark) {
    char now[96];
    if (row->state != RUN_RUNNING) return false;
    if (process_mark_is_near(mark)) return strcmp(process_mark(row->pid, now), mark) != 0;
    return clock_wall() - row->heartbeat > LOST_SECONDS;
}

static RunRow row_read(sqlite3_stmt *s) {
    RunRow row = {0};
    char state[16], steps[32], mark[96];
    store_column(s, 0, row.id, sizeof row.id);
    store_column(s, 1, row.experiment, sizeof row.experiment);
    store_column(s, 2, row.arm, sizeof row.arm);
    store_column(s, 3, row.scale, sizeof row.scale);
    store_column(s, 4, row.device, sizeof row.device);
    store_column(s, 5, row.commit, sizeof row.commit);
    store_column(s, 6, row.host, sizeof row.host);
    store_column(s, 7, row.error, sizeof row.error);
    store_column(s, 8, row.data_hash, sizeof row.data_hash);
    store_column(s, 9, state, sizeof state);
    row.state = state_from_name(state);
    row.seed = sqlite3_column_int64(s, 10);
    row.pid = sqlite3_column_int(s, 11);
    row.created = sqlite3_column_double(s, 12);
    row.started = sqlite3_column_double(s, 13);
    row.ended = sqlite3_column_double(s, 14);
    row.heartbeat = sqlite3_column_double(s, 15);
    row.config = text_copy((const char *)sqlite3_column_text(s, 16));
    row.step = sqlite3_column_int64(s, 17);
    if (config_text_get(row.config, "train.steps", steps, sizeof steps)) row.steps = atoll(steps);
    store_column(s, 18, mark, sizeof mark);
    if (row_is_lost(&row, mark)) row.state = RUN_LOST;
    return row;
}

void run_row_free(RunRow *row) {
    free(row->config);
    row->config = NULL;
}

void run_rows_free(RunRow *rows, int count) {
    for (int i = 0; i < count; i++) run_row_free(&rows[i]);
    free(rows);
}

static bool rows_collect(Store *store, sqlite3_stmt *statement, RunRow **rows, int *count, Error *error) {
    int code, capacity = 0;
    *rows = NULL, *count = 0;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        if (*count == capacity) {
            capacity = capacity ? 2 * capacity : 16;
            RunRow *grown = realloc(*rows, (size_t)capacity * sizeof **rows);
            CHECK(grown, "out of memory for %d runs", capacity);
            *rows = grown;
        }
        (*rows)[(*count)++] = row_read(statement);
    }
    sqlite3_reset(statement);
    if (code == SQLITE_DONE) return true;
    run_rows_free(*rows, *count);
    *rows = NULL, *count = 0;
    return store_error(store, "the runs cannot be read", error);
}

bool store_list_runs(Store *store, RunRow **rows, int *count, Error *error) {
    sqlite3_stmt *statement =
        store_statement(store, error, RUN_COLUMNS "ORDER BY run.created, run.rowid", "");
    return statement && rows_collect(store, statement, rows, count, error);
}

/* Says which runs a beginning could mean. */
static bool prefix_error(const char *prefix, const RunRow *rows, int count, Error *error) {
    if (!count) return error_set(error, "no run begins with '%s': `./run ls` lists the runs", prefix);
    Text names = {0};
    for (int i = 0; i < count; i++)
        text_append(&names, "%s%s (%s%s%s)", i ? ", " : "", rows[i].id, rows[i].experiment,
                    *rows[i].arm ? ", " : "", rows[i].arm);
    error_set(error, "'%s' is the beginning of several runs: %s%s", prefix, text_view(&names),
              count > 4 ? ", ..." : "");
    text_free(&names);
    return false;
}

bool store_get_run(Store *store, const char *prefix, RunRow *row, Error *error) {
    char begin[64];
    snprintf(begin, sizeof begin, "%.*s", (int)strcspn(prefix, "-"), prefix);
    /* substr and not LIKE: '%' and '_' mean nothing here. */
    sqlite3_stmt *statement = store_statement(
        store, error,
        RUN_COLUMNS "WHERE substr(run.id, 1, length(?1)) = ?1 ORDER BY run.id <> ?1, run.created LIMIT 5",
        "t", begin);
    RunRow *rows;
    int count;
    if (!statement || !rows_collect(store, statement, &rows, &count, error)) return false;
    const bool found = *begin && (count == 1 || (count > 1 && !strcmp(rows[0].id, begin)));
    if (found)
        *row = rows[0], rows[0].config = NULL;
    else
        prefix_error(prefix, rows, *begin ? count : 0, error);
    run_rows_free(rows, count);
    return found;
}

/* ---- from state to state ---- */

static Claim claim_decide(const RunRow *row, bool retry, bool force) {
    if (row->state == RUN_RUNNING) return CLAIM_RUNNING;
    if (row->state == RUN_DONE) return force ? CLAIM_TAKEN : CLAIM_DONE;
    if (row->state == RUN_FAILED || row->state == RUN_DIVERGED)
        return retry || force ? CLAIM_TAKEN : CLAIM_FAILED;
    return CLAIM_TAKEN;
}

static bool rows_after(Store *store, const char *id, int64_t step, Error *error) {
    return store_execute(store, error, "DELETE FROM metric WHERE run_id = ? AND step > ?", "ti", id, step) &&
           store_execute(store, error, "DELETE FROM evaluation WHERE run_id = ? AND step > ?", "ti", id,
                         step) &&
           store_execute(store, error, "DELETE FROM rounding WHERE run_id = ? AND step > ?", "ti", id,
                         step) &&
           store_execute(store, error, "DELETE FROM artifact WHERE run_id = ? AND step > ?", "ti", id, step);
}

static bool claim(Store *store, const char *id, bool retry, bool force, const Provenance *from, Claim *result,
                  RunRow *before, Error *error) {
    if (!store_get_run(store, id, before, error)) return false;
    *result = claim_decide(before, retry, force);
    if (*result != CLAIM_TAKEN) return true;
    char mark[96];
    return store_execute(store, error,
                         "UPDATE run SET state = 'running', host = ?, pid = ?, process = ?, git_commit = ?, "
                         "git_diff = ?, heartbeat = ?, error = NULL WHERE id = ?",
                         "titttdt", from->host, (int64_t)from->pid, process_mark(from->pid, mark),
                         from->commit, from->diff ? from->diff : "", clock_wall(), before->id) &&
           (!force || rows_after(store, before->id, -1, error));
}

bool store_claim_run(Store *store, const char *id, bool retry, bool force, const Provenance *from,
                     Claim *result, RunRow *before, Error *error) {
    *before = (RunRow){0};
    if (transaction_begin(store, error) &&
        transaction_end(store, claim(store, id, retry, force, from, result, before, error), error))
        return true;
    run_row_free(before);
    return false;
}

static bool changed_one(Store *store) {
    return sqlite3_changes(store->db) == 1;
}

static bool start(Store *store, const char *id, const Provenance *from, int64_t step, Error *error) {
    const double now = clock_wall();
    char mark[96];
    if (!store_execute(store, error,
                       "UPDATE run SET pid = ?1, process = ?9, device = ?2, versions = ?3, heartbeat = ?4, "
                       "ended = NULL, "
                       "started = CASE WHEN ?5 = 0 THEN ?4 ELSE coalesce(started, ?4) END "
                       "WHERE id = ?6 AND state = 'running' AND host = ?7 AND pid IN (?1, ?8)",
                       "ittdittit", (int64_t)from->pid, from->device, from->versions ? from->versions : "{}",
                       now, step, id, from->host, (int64_t)getppid(), process_mark(from->pid, mark)))
        return false;
    if (!changed_one(store))
        return error_set(error,
                         "%s: run %s is not claimed by whoever started this; start it with `./run FILE.yaml`",
                         store->path, id);
    return rows_after(store, id, step, error);
}

bool store_start_run(Store *store, const char *id, const Provenance *from, int64_t checkpoint_step,
                     Error *error) {
    return transaction_begin(store, error) &&
           transaction_end(store, start(store, id, from, checkpoint_step, error), error);
}

bool store_end_run(Store *store, const char *id, int holder, RunState state, const char *message,
                   Error *error) {
    return store_execute(store, error,
                         "UPDATE run SET state = ?, error = nullif(?, ''), ended = ? "
                         "WHERE id = ? AND state = 'running' AND host = ? AND pid IN (?, ?)",
                         "ttdttii", run_state_name(state), message ? message : "", clock_wall(), id,
                         store->host, (int64_t)getpid(), (int64_t)holder);
}

bool store_put_off(Store *store, const char *id, const char *why, Error *error) {
    return store_execute(store, error,
                         "UPDATE run SET error = ? WHERE id = ? AND state IN ('queued', 'interrupted')", "tt",
                         why, id);
}

bool store_heartbeat(Store *store, const char *id, int holder, Error *error) {
    return store_execute(
        store, error,
        "UPDATE run SET heartbeat = ? WHERE id = ? AND state = 'running' AND host = ? AND pid IN (?, ?)",
        "dttii", clock_wall(), id, store->host, (int64_t)getpid(), (int64_t)holder);
}
