/* The database (SQLite): experiments, runs, metrics, evaluations, artifacts, events, published numbers. WAL
 * on local disks, one short transaction a tick, `user_version` migrations. Only store*.c and query.c see
 * sqlite3.h.
 *
 * A run that is running belongs to one process, known by host and process id. Whoever wants to run it claims
 * it first, in one transaction, so that two queues on one database never do the same work twice; every
 * later write on the run's behalf is refused once somebody else holds it. */
#ifndef ICT_STORE_STORE_H
#define ICT_STORE_STORE_H

#include "plan/plan.h"
#include "train/rounding.h"

typedef enum RunState {
    RUN_QUEUED,
    RUN_RUNNING,
    RUN_DONE,
    RUN_FAILED,
    RUN_INTERRUPTED,
    RUN_DIVERGED,
    RUN_LOST
} RunState;
const char *run_state_name(RunState);

typedef struct Store Store;

/* Makes the file and its folder when they do not exist, and brings an older layout up to date. */
bool store_open(const char *path, Store **store, Error *);
void store_close(Store *);
const char *store_library_version(void); /* SQLite's */
/* SQLite's own check of the whole file ("ok" or what is wrong), and its journal mode ("wal", "delete"). */
bool store_check(Store *, char journal[16], Text *problems, Error *);

/* Inserts the experiment and the run when they are new; leaves an existing run's state alone. Notes in `plan`
 * that this experiment asks for this run: two experiments can share one. */
bool store_add_run(Store *, const Experiment *, const RunSpec *, Error *);

typedef struct RunRow {
    char id[16], experiment[64], arm[96], scale[16], device[160], commit[48], host[64], error[512],
        data_hash[65];
    int64_t seed, step, steps; /* step: of the newest tick */
    RunState state;            /* RUN_LOST: says running, but its process is gone or its heartbeat old */
    int pid;
    double created, started, ended, heartbeat;
    char *config; /* resolved YAML */
} RunRow;

/* `prefix` is an id or an unambiguous beginning of one; what follows a '-' is ignored, so a folder's name
 * serves too. */
bool store_get_run(Store *, const char *prefix, RunRow *, Error *);
bool store_list_runs(Store *, RunRow **rows, int *count, Error *); /* oldest first */
void run_row_free(RunRow *);
void run_rows_free(RunRow *, int count);
/* The value of "key: value" in a resolved configuration; false when the key is not there. */
bool config_text_get(const char *config, const char *key, char *value, size_t size);

typedef struct Provenance {
    char device[160], commit[48], host[64];
    char *versions; /* JSON: libraries, compiler, kernel, processor, program's hash, environment; NULL: not
                       known yet */
    char *diff;     /* `git diff HEAD`, may be empty */
    int pid;
} Provenance;

typedef enum Claim {
    CLAIM_TAKEN,  /* ours now, state running */
    CLAIM_DONE,   /* finished already */
    CLAIM_FAILED, /* failed or diverged earlier, and not asked to retry */
    CLAIM_RUNNING /* another living process has it */
} Claim;

/* queued, interrupted and lost runs are taken; failed and diverged ones with `retry`; with `force` also
 * finished ones, and then everything recorded of the run is deleted. Stores commit, diff, host and pid.
 * `before` is the row as it was. */
bool store_claim_run(Store *, const char *id, bool retry, bool force, const Provenance *, Claim *,
                     RunRow *before, Error *);

/* The process in `provenance` takes over a run that it, or its parent, has claimed, and says on what it runs;
 * deletes metrics, evaluations and artifacts past `checkpoint_step` in the same transaction. */
bool store_start_run(Store *, const char *id, const Provenance *, int64_t checkpoint_step, Error *);
/* A no-op (and true) when neither this process nor `holder` (a process id, 0: none) holds the
 * run any more. */
bool store_end_run(Store *, const char *id, int holder, RunState, const char *message, Error *);
/* All metrics of a tick and the heartbeat; fails when another process has taken the run over. */
bool store_tick(Store *, const char *id, const Tick *, Error *);
/* Metrics of a run become those of another, which was trained by it. */
bool store_copy_metrics(Store *, const char *from, const char *to, Error *);
/* Says why a run waits that nobody has claimed. */
bool store_put_off(Store *, const char *id, const char *why, Error *);
bool store_heartbeat(Store *, const char *id, int holder, Error *);
bool store_evaluation(Store *, const char *id, int64_t step, const char *weights, int nfe, const Evaluation *,
                      Error *);
/* Path as stored: relative to the database's folder when below it, absolute otherwise. */
bool store_artifact(Store *, const char *id, const char *kind, int64_t step, const char *path, Error *);
/* Forgets artifacts of this kind whose files are gone (older checkpoints). */
bool store_prune_artifacts(Store *, const char *id, const char *kind, Error *);
/* Where a stored artifact path lies now. */
const char *store_locate(Store *, const char *stored, char out[1024]);
bool store_event(Store *, const char *id, const char *level, const char *text, Error *);

/* One row of what precisions do to the network of a run's checkpoint at `step` (train/rounding.h). */
bool store_rounding(Store *, const char *id, int64_t step, int images, const char *device,
                    const RoundingRow *, Error *);
/* The newest measurement on this device at the most levels, of whatever run; count 0: none. */
typedef struct RoundingKnown {
    char run[64];
    int count;
    RoundingRow rows[PRECISIONS]; /* N, precision, median and rate are filled in */
} RoundingKnown;
bool store_rounding_known(Store *, const char *device, RoundingKnown *, Error *);

/* A session of `bench`: one configuration (but for precision and batch, which stand with each number) on one
 * machine, this program and others side by side. Adding one that is there changes nothing, and is an error
 * where experiment, device or commit are not the same. */
typedef struct BenchSession {
    const char *id, *experiment, *config; /* its name; of the experiment; resolved YAML */
    const char *device, *commit, *versions;
} BenchSession;
bool store_bench(Store *, const BenchSession *, Error *);

/* One number. Of several with the same names the best is kept: the highest rate (names that end in "/s"), the
 * lowest of everything else. */
typedef struct BenchValue {
    const char *program, *precision; /* "ict", "PyTorch 2.11.0 eager NHWC autocast" */
    int batch;
    const char *name; /* with its unit: "training images/s", "memory B" */
    double value;
} BenchValue;
bool store_bench_value(Store *, const char *session, const BenchValue *, Error *);
bool store_bench_op(Store *, const char *session, const char *precision, int images, const GraphOpTime *,
                    Error *);
/* Whether that program was measured in the session before. */
bool store_bench_has(Store *, const char *session, const char *program, bool *has, Error *);

/* Rows of published.csv replace those in the database. */
bool store_load_published(Store *, const char *csv_path, Error *);

/* Brings in the runs of another database, or of the SQL dump of one, which is only read: those that are new
 * here (added) and those that are further along there (advanced); the rest stay as they are here (kept). */
typedef struct ImportCount {
    int added, advanced, kept;
    int sessions;       /* of bench, that are new here or got better numbers */
    int other_sessions; /* whose names other work has here: left out */
} ImportCount;
bool store_import(Store *, const char *other, ImportCount *, Error *);

/* Runs one SELECT (with :name and, if given, $name parameters bound from pairs) and hands every row to `row`
 * as text; NULL values are NULL. */
typedef void StoreRow(void *context, int columns, const char *const *names, const char *const *values);
bool store_query(Store *, const char *sql, const char *const *parameters, int pairs, StoreRow *row,
                 void *context, Error *);

/* The same for readers that tell the number 41 from the text "41". */
typedef enum StoreType { STORE_NULL, STORE_NUMBER, STORE_TEXT } StoreType;
typedef struct StoreCell {
    const char *name, *text; /* text: "" of a NULL, "inf" or "-inf" of an infinite number */
    StoreType type;
} StoreCell;
typedef void StoreCells(void *context, int columns, const StoreCell *cells);
bool store_query_cells(Store *, const char *sql, const char *const *parameters, int pairs, StoreCells *row,
                       void *context, Error *);

#endif
