/* The child's side of a run: opens what it needs, trains with hooks that write to the store, and leaves the
 * run in the state it has earned. Progress lines begin with RELAY_PROGRESS, by which the parent knows them.
 */
#include "worker/worker.h"
#include "base/file.h"
#include "base/log.h"
#include "worker/exit_code.h"
#include "store/provenance.h"
#include "worker/relay.h"
#include "worker/training.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* ---- when to stop ---- */

static volatile sig_atomic_t stop_asked;

static void stop_note(int number) {
    (void)number;
    stop_asked = 1;
}

static void signals_catch(void) {
    struct sigaction action = {.sa_handler = stop_note, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    for (const int *s = (const int[]){SIGINT, SIGTERM, SIGHUP, SIGUSR1, 0}; *s; s++)
        sigaction(*s, &action, NULL);
}

/* Saving the state takes time too: the deadline lies a twentieth of the limit, at most half a minute, before
 * it. */
static double deadline_of(double max_wall) {
    return max_wall > 0 ? clock_monotonic() + max_wall - fmin(30, 0.05 * max_wall) : 0;
}

static bool on_stop(void *context) {
    const Worker *worker = context;
    return stop_asked || (worker->deadline > 0 && clock_monotonic() >= worker->deadline);
}

/* ---- hooks ---- */

/* Training at the present rate, and the evaluations still to come at the mean of those past. */
static double seconds_left(const Worker *worker, const Tick *tick) {
    const TrainConfig *train = &worker->config.train;
    double seconds = (double)(train->steps - tick->step) * train->batch / tick->images_per_second;
    for (int i = 0; i < train->evaluations && worker->evaluations; i++)
        if (llround(train->evaluate_at[i] * (double)train->steps) >= tick->step)
            seconds += worker->evaluation_seconds / worker->evaluations;
    return seconds;
}

static const char *tick_what(const Tick *tick, char out[32]) {
    if (tick->N)
        snprintf(out, 32, "N %d", tick->N);
    else
        snprintf(out, 32, "accuracy %.3f", tick->accuracy);
    return out;
}

static void tick_print(const Worker *worker, const Tick *tick) {
    const int64_t steps = worker->config.train.steps;
    char rate[32], left[32], what[32];
    format_count(rate, tick->images_per_second);
    format_duration(left, seconds_left(worker, tick));
    log_progress(false, RELAY_PROGRESS "%lld/%lld %3.0f%%  loss %.4g  %s  %s images/s  ETA %s",
                 (long long)tick->step, (long long)steps, 100.0 * (double)tick->step / (double)steps,
                 tick->loss, tick_what(tick, what), rate, left);
}

static bool on_tick(void *context, const Tick *tick, Error *error) {
    Worker *worker = context;
    if (!store_tick(worker->store, worker->id, tick, error)) return false;
    tick_print(worker, tick);
    if (!tick->non_finite) return true;
    char text[192];
    snprintf(
        text, sizeof text,
        "%llu gradient elements up to step %lld were not finite: those steps changed no weight, and the loss "
        "scale is now %g",
        (unsigned long long)tick->non_finite, (long long)tick->step, tick->loss_scale);
    log_warn("%s", text);
    return store_event(worker->store, worker->id, "warning", text, error);
}

static bool on_checkpoint(void *context, int64_t step, const char *path, Error *error) {
    Worker *worker = context;
    return store_artifact(worker->store, worker->id, "checkpoint", step, path, error) &&
           store_prune_artifacts(worker->store, worker->id, "checkpoint", error);
}

static bool on_evaluation(void *context, int64_t step, Trainer *trainer, Error *error) {
    Worker *worker = context;
    (void)trainer; /* the worker's own */
    const double began = clock_monotonic();
    const bool classifier = worker->config.task == TASK_CLASSIFIER;
    const bool done = (classifier ? worker_score : worker_evaluate)(worker, step, error);
    worker->evaluation_seconds += clock_monotonic() - began;
    worker->evaluations++;
    return done;
}

/* ---- opening ---- */

/* Two databases that share a results folder know nothing of each other's claims: the folder itself is locked
 * too. */
static bool folder_lock(Worker *worker, Error *error) {
    char path[1024];
    path_join(path, worker->folder, "lock");
    worker->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (worker->lock < 0) return file_error(error, path, "cannot be made", errno);
    if (flock(worker->lock, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return true;
    return error_set(error, "%s is in use by another process (of another database?): choose another --folder",
                     worker->folder);
}

static bool config_open(Worker *worker, Error *error) {
    char path[1024], *text;
    size_t size;
    if (!file_read(path_join(path, worker->folder, "config.yaml"), &text, &size, error)) return false;
    const bool parsed = config_parse(text, size, path, &worker->config, error);
    free(text);
    return parsed;
}

/* The id promises which pixels the run was trained on. */
static bool data_open(Worker *worker, Error *error) {
    RunRow row;
    if (!dataset_open(&worker->config.data, worker->paths.data, &worker->data, error) ||
        !config_bind(&worker->config, &worker->data, error) ||
        !store_get_run(worker->store, worker->id, &row, error))
        return false;
    const bool same = !strcmp(row.data_hash, worker->data.hash.hex);
    run_row_free(&row);
    return same || error_set(error,
                             "data set %s has changed since run %s was planned: issue the command again, the "
                             "changed data make "
                             "it another run",
                             worker->data.name, worker->id);
}

static bool trainer_make(Worker *worker, Error *error) {
    if (!config_bind_features(&worker->config, &worker->data, worker->paths.weights, worker->features, error))
        return false;
    worker->config_hash = training_hash(&worker->config);
    snprintf(worker->name, sizeof worker->name, "run %s", worker->id);
    const bool classifier = worker->config.task == TASK_CLASSIFIER;
    if (classifier) worker->classifier = config_classifier(&worker->config, &worker->data);
    const TrainSetup setup = {.classifier = classifier ? &worker->classifier : NULL,
                              .model = &worker->config.model,
                              .ct = &worker->config.ct,
                              .train = &worker->config.train,
                              .data = &worker->data,
                              .flip = worker->config.data.flip,
                              .device = worker->device,
                              .seed = (uint64_t)worker->config.seed,
                              .precision = worker->config.precision,
                              .sharing = worker->sharing,
                              .features = *worker->features ? worker->features : NULL,
                              .folder = worker->folder,
                              .config_hash = worker->config_hash.hex,
                              .name = worker->name};
    worker->trainer = trainer_open(&setup, error);
    if (worker->trainer) worker->first_step = trainer_step(worker->trainer);
    return worker->trainer != NULL;
}

static bool all_open(Worker *worker, Error *error) {
    return folder_lock(worker, error) && store_open(worker->paths.database, &worker->store, error) &&
           config_open(worker, error) && data_open(worker, error) &&
           device_open(worker->device_spec, worker->threads, &worker->device, error) &&
           training_adopt(worker, error) && trainer_make(worker, error) && preflight_check(worker, error);
}

static void all_close(Worker *worker) {
    evaluator_close(worker->evaluator);
    trainer_close(worker->trainer);
    if (worker->device) device_close(worker->device);
    dataset_close(&worker->data);
    store_close(worker->store);
    if (worker->lock >= 0) close(worker->lock);
}

/* ---- the run ---- */

/* The checkpoint that the run goes on from: it may have been killed between writing and recording it. */
static bool checkpoint_record(Worker *worker, Error *error) {
    char name[64], path[1024];
    snprintf(name, sizeof name, "checkpoint-%lld.safetensors", (long long)worker->first_step);
    return !worker->first_step ||
           on_checkpoint(worker, worker->first_step, path_join(path, worker->folder, name), error);
}

/* Bits depend on the kind of device and the number of threads, so every start says what it ran on. */
static bool run_start(Worker *worker, Error *error) {
    char text[256];
    Provenance from = provenance_of_machine(worker->device);
    snprintf(text, sizeof text, "from step %lld on %s, %d threads", (long long)worker->first_step,
             from.device, worker->device->threads);
    const bool started = store_start_run(worker->store, worker->id, &from, worker->first_step, error) &&
                         store_event(worker->store, worker->id, "info", text, error) &&
                         checkpoint_record(worker, error);
    provenance_free(&from);
    return started;
}

static void end_print(const Worker *worker, TrainEnd end) {
    char spent[32];
    const int64_t step = trainer_step(worker->trainer);
    log_info("%s at step %lld after %s (%lld steps of it new)", end == TRAIN_DONE ? "done" : "stopped",
             (long long)step, format_duration(spent, clock_monotonic() - worker->began),
             (long long)(step - worker->first_step));
}

/* A log on a full disk has holes, which nobody would see in it. */
static void log_judge(const Worker *worker) {
    if (ferror(stderr))
        store_event(worker->store, worker->id, "warning",
                    "lines of log.txt are missing: it could not be written", NULL);
}

/* The networks that are for others to use leave the run's folder. */
static TrainEnd run_train(Worker *worker, const TrainHooks *hooks, Error *error) {
    const TrainEnd end = trainer_run(worker->trainer, hooks, error);
    if (end != TRAIN_DONE || worker->config.task != TASK_CLASSIFIER) return end;
    return worker_publish(worker, error) ? end : TRAIN_FAILED;
}

static int run_end(Worker *worker, TrainEnd end, Error *error) {
    static const RunState states[] = {RUN_DONE, RUN_INTERRUPTED, RUN_DIVERGED, RUN_FAILED};
    const bool bad = end == TRAIN_DIVERGED || end == TRAIN_FAILED;
    if (bad)
        log_error("%s", error->text);
    else
        end_print(worker, end);
    log_judge(worker);
    if (!store_end_run(worker->store, worker->id, 0, states[end], bad ? error->text : NULL, error)) {
        log_error("%s", error->text);
        return EXIT_RUN_FAILED;
    }
    return bad ? EXIT_RUN_FAILED : end == TRAIN_DONE ? EXIT_DONE : EXIT_STOPPED;
}

int worker_run(Worker *worker) {
    Error error;
    int code = EXIT_USAGE;
    const TrainHooks hooks = {worker, on_tick, on_checkpoint, on_evaluation, on_stop};
    worker->lock = -1;
    worker->began = clock_monotonic();
    worker->deadline = deadline_of(worker->max_wall);
    signals_catch();
    if (all_open(worker, &error) && run_start(worker, &error))
        code = run_end(worker, run_train(worker, &hooks, &error), &error);
    else
        log_error("%s", error.text);
    all_close(worker);
    return code;
}
