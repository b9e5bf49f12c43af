/* The database (SQLite): experiments, runs, metrics, evaluations, artifacts, events, published numbers. WAL on local
 * disks, one short transaction a tick, `user_version` migrations. The only file that sees sqlite3.h is store.c (and
 * query.c for SQL given as text). */
#ifndef ICT_HARNESS_STORE_H
#define ICT_HARNESS_STORE_H

#include "harness/plan.h"

typedef enum RunState { RUN_QUEUED, RUN_RUNNING, RUN_DONE, RUN_FAILED, RUN_INTERRUPTED, RUN_DIVERGED, RUN_LOST } RunState;
const char *run_state_name(RunState);

typedef struct Store Store;

bool store_open(const char *path, Store **store, Error *);
void store_close(Store *);

/* Inserts the experiment and the run when they are new; leaves an existing run's state alone. */
bool store_add_run(Store *, const Experiment *, const RunSpec *, Error *);

typedef struct RunRow {
    char id[16], experiment[64], arm[96], scale[16], device[160], commit[48], host[64], error[512];
    int64_t seed, step, steps;
    RunState state; /* RUN_LOST: says running, but its heartbeat is old or its process gone */
    int pid;
    double created, started, ended, heartbeat;
    char *config;   /* resolved YAML */
} RunRow;

/* `prefix` is an id or an unambiguous beginning of one. */
bool store_get_run(Store *, const char *prefix, RunRow *, Error *);
bool store_list_runs(Store *, RunRow **rows, int *count, Error *);
void run_rows_free(RunRow *, int count);

typedef struct Provenance {
    char device[160], commit[48], versions[512], host[64];
    char *diff; /* `git diff HEAD`, may be empty */
    int pid;
} Provenance;

/* To running; deletes metrics, evaluations and artifacts past `checkpoint_step` in the same transaction. */
bool store_start_run(Store *, const char *id, const Provenance *, int64_t checkpoint_step, Error *);
bool store_end_run(Store *, const char *id, RunState, const char *error, Error *);
bool store_tick(Store *, const char *id, const Tick *, Error *); /* all metrics of a tick and the heartbeat */
bool store_evaluation(Store *, const char *id, int64_t step, const char *weights, int nfe, const Evaluation *, Error *);
bool store_artifact(Store *, const char *id, const char *kind, int64_t step, const char *path, Error *);
bool store_event(Store *, const char *id, const char *level, const char *text, Error *);

/* Rows of published.csv replace those in the database. */
bool store_load_published(Store *, const char *csv_path, Error *);

/* Copies finished and unfinished runs of another database that this one does not have. */
bool store_import(Store *, const char *other, int *added, Error *);

/* Runs one SELECT (with :name parameters bound from pairs) and hands every row to `row` as text; NULL values are NULL. */
typedef void StoreRow(void *context, int columns, const char *const *names, const char *const *values);
bool store_query(Store *, const char *sql, const char *const *parameters, int pairs, StoreRow *row, void *context, Error *);

#endif
