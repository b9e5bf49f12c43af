/* Runs a plan: one child process a run, some at a time, each run at most once however many queues share
 * the database. Asking again is resuming: what is done is skipped, what was interrupted goes on from its
 * checkpoint. */
#ifndef ICT_WORKER_QUEUE_H
#define ICT_WORKER_QUEUE_H

#include "config/paths.h"
#include "store/store.h"

typedef struct QueueRequest {
    Store *store; /* the plan's runs are in it already */
    const Plan *plan;
    const Paths *paths;
    const char *device;  /* as for device_open() */
    int threads;         /* of each child; 0: the processors of this machine, shared among `jobs` */
    int jobs;            /* children at a time, at least 1 */
    double max_wall;     /* seconds for the whole command; 0: no limit */
    bool retry, force;   /* take failed runs too; take all, from the beginning */
    bool fail_fast;      /* stop at the first failure */
    const char *command; /* as typed, for the runs' events */
} QueueRequest;

/* An ExitCode (worker/exit_code.h). Runs whose precision the device lacks are left out, loudly, and count
 * neither as failed nor as unfinished, unless there are no others. */
int queue_run(const QueueRequest *);

#endif
