/* Runs that differ only in how they are evaluated have one training: the second one takes the first one's
 * last checkpoint and curves, and begins with its evaluation. */
#ifndef ICT_WORKER_TRAINING_H
#define ICT_WORKER_TRAINING_H

#include "base/hash.h"
#include "worker/worker.h"

/* Of everything that decides the weights. Checkpoints carry it. */
Hash training_hash(const Config *);

/* For a run that has no checkpoint yet and evaluates only at its end: if this database has a finished run
 * with the same training, its last checkpoint is linked into the folder and its metrics are copied. True also
 * when there is nothing to adopt. */
bool training_adopt(Worker *, Error *);

#endif
