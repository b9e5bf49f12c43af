/* What a child process does: one run, from opening its device to writing its last state. */
#ifndef ICT_WORKER_WORKER_H
#define ICT_WORKER_WORKER_H

#include "config/paths.h"
#include "store/store.h"

typedef struct Worker {
    /* what the parent said */
    const char *id, *folder, *device_spec;
    int threads, sharing; /* sharing: runs at once on the device */
    double max_wall;      /* seconds; 0: no limit */
    Paths paths;
    /* what is open */
    Store *store;
    Config config;
    Dataset data;
    ClassifierTask classifier; /* where that is what is trained */
    char features[1024];       /* file of the perceptual distance's network, "" without one */
    Device *device;
    Trainer *trainer;
    Evaluator *evaluator;
    int lock;         /* descriptor of <folder>/lock, -1: none */
    Hash config_hash; /* the trainer points to these two */
    char name[32];
    /* how it goes */
    double began, deadline;    /* monotonic seconds; deadline 0: none */
    double evaluation_seconds; /* all evaluations so far */
    int evaluations;
    int64_t first_step;
} Worker;

/* An ExitCode. EXIT_USAGE: nothing was started, the run's state is the parent's to restore. */
int worker_run(Worker *);

/* Prints what the run will need (device, parameters, memory, disk) and refuses what cannot work. The trainer
 * is open then, but has not touched most of its memory. */
bool preflight_check(const Worker *, Error *);
/* Whether a device ("cpu", "cuda:1") has this precision; what the queue asks before it starts anything. */
bool preflight_precision(const char *device, Precision, Error *);

/* Of a classifier: its score on the images held out, stored; and at the end its file, in the run's folder
 * and, where no other run's stands, among the weights. */
bool worker_score(Worker *, int64_t step, Error *);
bool worker_publish(Worker *, Error *);

/* Samples with every configured number of function evaluations, judges them, writes the picture, stores all
 * of it. */
bool worker_evaluate(Worker *, int64_t step, Error *);

#endif
