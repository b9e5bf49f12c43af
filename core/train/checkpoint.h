/* Checkpoints: safetensors with EDM's parameter names (`model.*`, `teacher.*`, `ema:0.05.*`, `optim.momentum.*`,
 * `optim.variance.*`) and the run's facts in the metadata. Written to a temporary file, fsynced and renamed; a damaged one
 * is named and the one before it is used. */
#ifndef ICT_TRAIN_CHECKPOINT_H
#define ICT_TRAIN_CHECKPOINT_H

#include "base/error.h"
#include "model/param.h"
#include <stdint.h>

/* ---- safetensors ---- */

typedef struct SafeTensor {
    char name[160];
    char dtype[8]; /* "F32", "F16", "BF16", "I64", ... */
    int rank;
    int64_t shape[8];
    const void *data;
    size_t bytes;
} SafeTensor;

typedef struct SafeTensors {
    SafeTensor *tensors;
    int count;
    char **metadata; /* key, value, key, value, ... */
    int metadata_count; /* pairs */
    void *storage;
} SafeTensors;

/* Every offset, shape and size is checked against the file. */
bool safetensors_open(const char *path, SafeTensors *, Error *);
const SafeTensor *safetensors_find(const SafeTensors *, const char *name);
const char *safetensors_metadata(const SafeTensors *, const char *key);
void safetensors_close(SafeTensors *);
bool safetensors_write(const char *path, const SafeTensor *tensors, int count, const char *const *metadata, int pairs,
                       Error *);

/* ---- parameters ---- */

/* Reads all parameters named prefix + name into the flat host array. Missing and misshapen ones are named, all at once;
 * EDM's `resample_filter` buffers are ignored. An empty prefix also tries "model.". */
bool weights_load(const SafeTensors *, const ParamSet *, const char *prefix, float *values, Error *);

#endif
