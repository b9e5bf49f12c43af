/* The queue: claims runs, starts a child for each, follows them, and says how it ended.
 *
 * The parent opens no device and does no arithmetic; it lives on while a child crashes. Signals and the time
 * limit are passed on to the children, which save their state and end with EXIT_STOPPED. A child that ends
 * without having written its run's last state has crashed; then the parent writes it. */
#include "worker/queue.h"
#include "base/file.h"
#include "base/log.h"
#include "worker/exit_code.h"
#include "base/machine.h"
#include "base/process.h"
#include "store/provenance.h"
#include "worker/relay.h"
#include "worker/worker.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    POLL_MICROSECONDS = 30000,
    HEARTBEAT_SECONDS = 15,
    STATUS_SECONDS = 30,
    TAIL_LINES = 15,
    LISTED_SKIPS = 10
};

typedef enum JobState { JOB_WAITING, JOB_POSTPONED, JOB_RUNNING, JOB_OVER } JobState;

typedef struct Job {
    const RunSpec *spec;
    JobState state;
    RunState before; /* the run's state when we claimed it */
    int pid;
    char folder[1024], log[1024];
    Relay relay;
} Job;

typedef struct Queue {
    const QueueRequest *request;
    Provenance source;
    Job *jobs;
    int count, running;
    double deadline, heartbeat, status; /* monotonic seconds; 0: none */
    bool stopping;
    int done, skipped, failed, refused, unable, interrupted, elsewhere; /* how runs ended */
} Queue;

/* ---- signals ---- */

static volatile sig_atomic_t signals_seen;

static void signal_note(int number) {
    (void)number;
    signals_seen++;
}

/* A signal that was ignored when we started (nohup, a background job of a script) stays ignored. */
static void signals_catch(void) {
    struct sigaction action = {.sa_handler = signal_note, .sa_flags = SA_RESTART}, before;
    sigemptyset(&action.sa_mask);
    signals_seen = 0;
    for (const int *s = (const int[]){SIGINT, SIGTERM, SIGHUP, SIGUSR1, 0}; *s; s++)
        if (sigaction(*s, NULL, &before) == 0 && before.sa_handler != SIG_IGN) sigaction(*s, &action, NULL);
}

static void children_signal(const Queue *queue, int number) {
    for (int i = 0; i < queue->count; i++)
        if (queue->jobs[i].state == JOB_RUNNING) kill(queue->jobs[i].pid, number);
}

static void queue_stop(Queue *queue, const char *why) {
    if (queue->stopping) return;
    queue->stopping = true;
    if (queue->running)
        log_info("%s: waiting for %d run%s to save state", why, queue->running,
                 queue->running == 1 ? "" : "s");
    children_signal(queue, SIGTERM);
}

/* The first signal asks the children to save their state; the second does not wait for it. */
static void stops_check(Queue *queue) {
    if (signals_seen) queue_stop(queue, "stopping");
    if (signals_seen > 1) children_signal(queue, SIGKILL);
    if (queue->deadline > 0 && clock_monotonic() >= queue->deadline) queue_stop(queue, "time limit reached");
}

/* ---- starting ---- */

static const char *run_title(const RunSpec *spec, char out[256]) {
    snprintf(out, 256, "%s %s%s%s, %s, seed %lld", spec->id, spec->experiment, *spec->arm ? ": " : "",
             spec->arm, spec->scale, (long long)spec->config.seed);
    return out;
}

static bool folder_prepare(const Queue *queue, Job *job, Error *error) {
    char path[1024];
    Text config = {0};
    if (queue->request->force && !folder_remove(job->folder, error)) return false;
    config_print(&job->spec->config, CONFIG_ALL, &config);
    const bool done =
        folder_make(job->folder, error) && file_write_atomic(path_join(path, job->folder, "config.yaml"),
                                                             text_view(&config), config.length, error);
    text_free(&config);
    return done;
}

/* 0 leaves the number to the device, which asks OMP_NUM_THREADS and the processors. */
static int threads_each(const QueueRequest *request) {
    if (request->threads || request->jobs == 1 || getenv("OMP_NUM_THREADS")) return request->threads;
    const int each = machine_processors() / request->jobs;
    return each > 0 ? each : 1;
}

static bool job_spawn(const Queue *queue, Job *job, Error *error) {
    const QueueRequest *request = queue->request;
    char threads[16], sharing[16], parent[16], wall[32] = "0";
    snprintf(threads, sizeof threads, "%d", threads_each(request));
    snprintf(sharing, sizeof sharing, "%d", request->jobs);
    snprintf(parent, sizeof parent, "%d", (int)getpid());
    if (queue->deadline > 0)
        snprintf(wall, sizeof wall, "%.3fs", fmax(0.001, queue->deadline - clock_monotonic()));
    const char *const arguments[] = {"ict",
                                     "worker",
                                     job->spec->id,
                                     "--db",
                                     request->paths->database,
                                     "--folder",
                                     request->paths->results,
                                     "--data",
                                     request->paths->data,
                                     "--run-folder",
                                     job->folder,
                                     "--device",
                                     request->device,
                                     "--threads",
                                     threads,
                                     "--sharing",
                                     sharing,
                                     "--parent",
                                     parent,
                                     "--max-wall",
                                     wall,
                                     NULL};
    if (!relay_open(&job->relay, job->log, error)) return false;
    job->pid = process_start_self(arguments, job->log, error);
    if (job->pid < 0) relay_close(&job->relay);
    return job->pid >= 0;
}

static void job_begin_event(const Queue *queue, const Job *job, const RunRow *before) {
    char *text = text_format("%s (was %s at step %lld; commit %s%s)", queue->request->command,
                             run_state_name(before->state), (long long)before->step, queue->source.commit,
                             *queue->source.diff ? ", changed" : "");
    store_event(queue->request->store, job->spec->id, "info", text, NULL);
    free(text);
}

/* The run is ours. Where its folder or its child cannot be made, it goes back to what it was. */
static void job_start(Queue *queue, Job *job, const RunRow *before) {
    Error error;
    char title[256];
    paths_run_folder(queue->request->paths->results, job->spec->id, job->spec->experiment, job->folder);
    path_join(job->log, job->folder, "log.txt");
    job->before = before->state == RUN_LOST ? RUN_INTERRUPTED : before->state;
    log_info("run %s%s → %s", run_title(job->spec, title), job->before == RUN_INTERRUPTED ? " (goes on)" : "",
             job->folder);
    job_begin_event(queue, job, before);
    if (folder_prepare(queue, job, &error) && job_spawn(queue, job, &error)) {
        job->state = JOB_RUNNING;
        queue->running++;
        return;
    }
    log_error("run %s cannot be started: %s", job->spec->id, error.text);
    store_end_run(queue->request->store, job->spec->id, 0, job->before, error.text, NULL);
    job->state = JOB_OVER;
    queue->refused++;
}

static void job_skip(Queue *queue, Job *job) {
    char title[256];
    job->state = JOB_OVER;
    queue->skipped++;
    if (queue->count > LISTED_SKIPS) return;
    log_info("run %s is done already (--force does it again)", run_title(job->spec, title));
}

static void job_leave_failed(Queue *queue, Job *job, const RunRow *row) {
    char title[256];
    job->state = JOB_OVER;
    queue->failed++;
    log_info("run %s %s earlier; --retry runs it again: %s", run_title(job->spec, title),
             run_state_name(row->state), row->error);
}

/* Another process has it. It may finish or fail while we do the rest, so it is asked about once more at the
 * end. */
static void job_postpone(Queue *queue, Job *job, const RunRow *row) {
    const bool again = job->state == JOB_POSTPONED;
    job->state = again ? JOB_OVER : JOB_POSTPONED;
    if (!again) return;
    queue->elsewhere++;
    log_info("run %s is being run by process %d on %s", row->id, row->pid, row->host);
}

/* A precision that this device does not have: said aloud and kept with the run, which waits for another
 * device. */
static bool job_unable(Queue *queue, Job *job) {
    const QueueRequest *request = queue->request;
    RunRow row;
    Error why, error;
    char title[256];
    if (preflight_precision(request->device, job->spec->config.precision, &why) ||
        !store_get_run(request->store, job->spec->id, &row, &error))
        return false;
    const bool waits = row.state == RUN_QUEUED || row.state == RUN_INTERRUPTED;
    run_row_free(&row);
    if (!waits) return false;
    if (!store_put_off(request->store, job->spec->id, why.text, &error)) log_warn("%s", error.text);
    log_warn("run %s is left out: %s", run_title(job->spec, title), why.text);
    job->state = JOB_OVER;
    queue->unable++;
    return true;
}

static void job_claim(Queue *queue, Job *job) {
    const QueueRequest *request = queue->request;
    RunRow before;
    Claim claim;
    Error error;
    if (!store_claim_run(request->store, job->spec->id, request->retry, request->force, &queue->source,
                         &claim, &before, &error)) {
        log_error("%s", error.text);
        job->state = JOB_OVER;
        queue->refused++;
        return;
    }
    switch (claim) {
    case CLAIM_TAKEN:
        job_start(queue, job, &before);
        break;
    case CLAIM_DONE:
        job_skip(queue, job);
        break;
    case CLAIM_FAILED:
        job_leave_failed(queue, job, &before);
        break;
    case CLAIM_RUNNING:
        job_postpone(queue, job, &before);
        break;
    }
    run_row_free(&before);
}

/* ---- ending ---- */

/* What a child that said nothing leaves behind. SIGKILL comes from outside (out of memory, a batch system),
 * not from a fault of the run: the same command goes on. */
static RunState state_after(const Job *job, int status) {
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_USAGE) return job->before;
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_STOPPED) return RUN_INTERRUPTED;
    if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGTERM))
        return RUN_INTERRUPTED;
    return RUN_FAILED;
}

static void failure_report(Queue *queue, const Job *job, const RunRow *row) {
    log_error("run %s %s at step %lld: %s", row->id, run_state_name(row->state), (long long)row->step,
              row->error);
    if (queue->request->jobs > 1)
        relay_print_tail(job->log, TAIL_LINES); /* otherwise all of it has been shown */
    log_info("    (%s; whole log: %s)",
             row->state == RUN_INTERRUPTED ? "the same command goes on" : "--retry runs it again", job->log);
}

static void job_count(Queue *queue, const Job *job, const RunRow *row, int status) {
    const bool killed = WIFSIGNALED(status) && !queue->stopping;
    if (row->state == RUN_DONE)
        queue->done++;
    else if (row->state == RUN_FAILED || row->state == RUN_DIVERGED || killed) {
        queue->failed++;
        failure_report(queue, job, row);
        if (queue->request->fail_fast) queue_stop(queue, "a run failed");
    } else if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_USAGE) {
        queue->refused++;
        log_error("run %s was not started: %s", row->id, job->relay.complaint);
    } else
        queue->interrupted++;
}

static void job_end(Queue *queue, Job *job, int status) {
    Store *store = queue->request->store;
    char ending[96], message[640];
    RunRow row;
    Error error;
    relay_poll(&job->relay, queue->request->jobs == 1);
    process_ending(status, ending);
    snprintf(message, sizeof message, "%s%s%s", ending, *job->relay.complaint ? ": " : "",
             job->relay.complaint);
    relay_close(&job->relay);
    job->state = JOB_OVER;
    queue->running--;
    if (store_end_run(store, job->spec->id, job->pid, state_after(job, status), message, &error) &&
        store_get_run(store, job->spec->id, &row, &error)) {
        job_count(queue, job, &row, status);
        run_row_free(&row);
        return;
    }
    log_error("run %s %s, and the database cannot be written: %s", job->spec->id, ending, error.text);
    queue->failed++;
}

static void children_reap(Queue *queue) {
    for (int i = 0; i < queue->count; i++) {
        Job *job = &queue->jobs[i];
        int status;
        if (job->state == JOB_RUNNING && waitpid(job->pid, &status, WNOHANG) == job->pid)
            job_end(queue, job, status);
    }
}

/* ---- the loop ---- */

static Job *job_next(Queue *queue) {
    for (JobState wanted = JOB_WAITING; wanted <= JOB_POSTPONED; wanted++) {
        if (wanted == JOB_POSTPONED && queue->running) return NULL;
        for (int i = 0; i < queue->count; i++)
            if (queue->jobs[i].state == wanted) return &queue->jobs[i];
    }
    return NULL;
}

static void jobs_start(Queue *queue) {
    Job *job;
    while (!queue->stopping && queue->running < queue->request->jobs && (job = job_next(queue))) {
        if (!job_unable(queue, job)) job_claim(queue, job);
        stops_check(queue);
    }
}

/* With several children their lines would mix: one line says how all of them stand. */
static void status_show(Queue *queue) {
    Text line = {0};
    int waiting = 0;
    for (int i = 0; i < queue->count; i++) waiting += queue->jobs[i].state < JOB_RUNNING;
    text_append(&line, "%d done, %d running, %d waiting", queue->done + queue->skipped, queue->running,
                waiting);
    for (int i = 0; i < queue->count; i++) {
        const Job *job = &queue->jobs[i];
        if (job->state == JOB_RUNNING && *job->relay.progress)
            text_append(&line, " | %s %.*s", job->spec->id, (int)strcspn(job->relay.progress, "|"),
                        job->relay.progress);
    }
    log_progress(false, "%s", text_view(&line));
    text_free(&line);
}

static void children_follow(Queue *queue) {
    const double now = clock_monotonic();
    const bool beat = now >= queue->heartbeat;
    for (int i = 0; i < queue->count; i++) {
        Job *job = &queue->jobs[i];
        if (job->state != JOB_RUNNING) continue;
        relay_poll(&job->relay, queue->request->jobs == 1);
        if (beat) store_heartbeat(queue->request->store, job->spec->id, job->pid, NULL);
    }
    if (beat) queue->heartbeat = now + HEARTBEAT_SECONDS;
    if (queue->request->jobs == 1 || now < queue->status) return;
    status_show(queue);
    queue->status = now + (isatty(STDERR_FILENO) ? 1 : STATUS_SECONDS);
}

static void queue_loop(Queue *queue) {
    for (;;) {
        stops_check(queue);
        jobs_start(queue);
        if (!queue->running) break;
        usleep(POLL_MICROSECONDS);
        children_follow(queue);
        children_reap(queue);
    }
}

/* ---- the whole ---- */

/* Two files may ask for the same run; it is one job. */
static void jobs_make(Queue *queue) {
    const Plan *plan = queue->request->plan;
    queue->jobs = calloc((size_t)plan->run_count + 1, sizeof *queue->jobs);
    CHECK(queue->jobs, "out of memory for %d runs", plan->run_count);
    for (int i = 0; i < plan->run_count; i++) {
        bool there = false;
        for (int j = 0; j < queue->count; j++)
            there = there || !strcmp(queue->jobs[j].spec->id, plan->runs[i].id);
        if (!there) queue->jobs[queue->count++].spec = &plan->runs[i];
    }
}

static int summary(const Queue *queue) {
    int left = 0;
    for (int i = 0; i < queue->count; i++) left += queue->jobs[i].state < JOB_RUNNING;
    const int unfinished = left + queue->interrupted + queue->elsewhere;
    Text line = {0};
    text_append(&line, "%d run%s: %d done", queue->count, queue->count == 1 ? "" : "s",
                queue->done + queue->skipped);
    if (queue->skipped) text_append(&line, " (%d of them earlier)", queue->skipped);
    if (queue->failed) text_append(&line, ", %d failed", queue->failed);
    if (queue->refused) text_append(&line, ", %d not started", queue->refused);
    if (queue->unable)
        text_append(&line, ", %d left out for want of a device that can (see above)", queue->unable);
    if (unfinished) text_append(&line, ", %d unfinished: the same command goes on", unfinished);
    log_info("%s", text_view(&line));
    text_free(&line);
    if (queue->failed && queue->request->fail_fast) return EXIT_RUN_FAILED;
    if (unfinished) return EXIT_STOPPED;
    if (queue->refused) return queue->done || queue->failed ? EXIT_RUN_FAILED : EXIT_USAGE;
    if (queue->unable == queue->count && queue->count) return EXIT_USAGE;
    return queue->failed ? EXIT_RUN_FAILED : EXIT_DONE;
}

int queue_run(const QueueRequest *request) {
    Queue queue = {.request = request, .source = provenance_of_source(request->paths->root)};
    if (request->max_wall > 0) queue.deadline = clock_monotonic() + request->max_wall;
    jobs_make(&queue);
    signals_catch();
    queue_loop(&queue);
    const int code = summary(&queue);
    provenance_free(&queue.source);
    free(queue.jobs);
    return code;
}
