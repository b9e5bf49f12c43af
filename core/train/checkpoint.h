/* Checkpoints: safetensors with EDM's parameter names (`model.*`, `teacher.*`, `ema:0.05.*`,
 * `optim.momentum.*`, `optim.variance.*`, convolutions OIHW) and the run's facts in the metadata. Nothing of
 * a random number generator is in there: draws are functions of seed and step. Written to a temporary file,
 * fsynced and renamed; a damaged one is named and the one before it is used. */
#ifndef ICT_TRAIN_CHECKPOINT_H
#define ICT_TRAIN_CHECKPOINT_H

#include "model/param.h"
#include "train/meter.h"
#include "train/optimiser.h"
#include "base/safetensors.h"

/* ---- parameters of any file ---- */

/* Reads all parameters named prefix + name into the flat host array. Missing, misshapen and unknown ones are
 * named, all at once; EDM's `resample_filter` buffers are ignored. An empty prefix also tries "model.".
 * Parameters that files do not hold (Param.in_file false) keep their values: call param_initialise first. */
bool weights_load(const SafeTensors *, const ParamSet *, const char *prefix, float *values, Error *);

/* Writes all parameters that files hold, under their own names, with metadata as
 * safetensors_write takes it. */
bool weights_write(const char *path, const ParamSet *, const float *values, const char *const *metadata,
                   int pairs, Error *);

/* ---- checkpoints of a run ---- */

typedef struct CheckpointFacts {
    int64_t step, images;
    int N;
    uint64_t seed;
    int batch;
    char config_hash[65], data_hash[65]; /* "" when unknown */
    Meter meter;                         /* of the tick in progress */
    LossScale loss_scale;                /* of fp16 training; scale 0: none */
    int micro_batch;                     /* rounding depends on it, so a resumed run keeps it; 0: unknown */
} CheckpointFacts;

/* What a checkpoint stores: the parameter list, the arrays, and how the EMAs are called. */
typedef struct CheckpointState {
    const ParamSet *params;
    Optimiser *optimiser;
    const OptimiserConfig *config;
} CheckpointState;

/* <folder>/checkpoint-<step>.safetensors; the path is also left in `path`. */
bool checkpoint_write(const char *folder, const CheckpointState *, const CheckpointFacts *, char path[1024],
                      Error *);

/* Fills arrays and facts. Its content must be intact and its seed, batch and hashes those in `facts` ("" fits
 * all). */
bool checkpoint_read(const char *path, const CheckpointState *, CheckpointFacts *facts, Error *);

/* The micro-batch of the run that wrote a file; 0 when it does not say. */
int checkpoint_micro_batch(const char *path);

/* Whether there is any checkpoint in the folder, intact or not. */
bool checkpoint_present(const char *folder);

/* The newest intact checkpoint in the folder; damaged ones are logged by name and passed over. False: there
 * is none. */
bool checkpoint_newest(const char *folder, char path[1024]);

/* Removes all but the newest `keep`, and what interrupted writes left. */
void checkpoint_prune(const char *folder, int keep);

/* Renames checkpoints of later steps to *.damaged: a run that goes on from step `after` (-1: from nothing)
 * found them so. Removes what interrupted writes left, too. */
void checkpoint_set_aside(const char *folder, int64_t after);

#endif
