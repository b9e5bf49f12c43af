/* What of a run fits into a device's memory, known before anything is allocated and without a device. */
#ifndef ICT_TRAIN_FIT_H
#define ICT_TRAIN_FIT_H

#include "train/trainer.h"

/* What a run of this network needs on a device, by kind, in bytes. */
typedef struct FitNeeds {
    size_t arena;     /* activations and gradients of a micro-batch */
    size_t images;    /* what the objective keeps of a micro-batch */
    size_t state;     /* weights, gradient, moments, teacher, averages, copies of 16 bits */
    size_t libraries; /* workspaces and handles: an allowance */
} FitNeeds;
size_t fit_total(const FitNeeds *);

typedef struct FitRequest {
    const ModelConfig *model;
    const TrainConfig *train;
    bool teacher; /* of its own weights */
    Precision precision;
    int resolution, channels;
} FitRequest;
FitNeeds fit_needs(const FitRequest *, int micro_batch);

/* The largest divisor of the batch whose needs are at most `available` bytes; 0: not even one image. */
int fit_micro_batch(const FitRequest *, size_t available);

#endif
