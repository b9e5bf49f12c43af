/* The inside of a Trainer, shared by trainer.c (the loop), window.c (some steps on the device),
 * trainer_open.c and micro_batch.c. */
#ifndef ICT_TRAIN_TRAINER_STATE_H
#define ICT_TRAIN_TRAINER_STATE_H

#include "train/checkpoint.h"
#include "backend/replay.h"
#include "train/features.h"
#include "train/network.h"
#include "train/source.h"
#include "train/trainer.h"

/* Steps between two looks at the device: it works through a window without waiting for the host. The rows of
 * the window go up before it; what its steps leave (loss, residual and pair of every image, the optimiser's
 * report) is gathered on the device and comes back after it. */
enum { WINDOW = 16 };

typedef struct Window {
    StepRow *rows, *row;    /* device: of all steps; of the current one, where every op reads it */
    float *loss, *residual; /* device: WINDOW x batch */
    int32_t *pair;          /* of a classifier: 1 where it was right */
    UpdateReport *reports;  /* device: WINDOW */
    float *host_loss, *host_residual;
    int32_t *host_pair;
    UpdateReport host_reports[WINDOW];
} Window;

struct Trainer {
    TrainSetup setup;
    ParamSet params;
    Network network;
    Optimiser optimiser;
    Objective *objective;           /* either this, */
    Classification *classification; /* or this */
    FeatureNetwork features;        /* of a perceptual distance; no graph: none */
    Sampler *sampler;               /* NULL until the first sample */
    void *sample_cast;              /* weights being sampled, in the network's dtype; NULL where not needed */
    Dataset images;                 /* those of the data set that are trained on */
    Source source;
    Replay replay; /* of one step */
    Window window;
    Meter meter;
    int N; /* of the tables on the device, 0: none yet */
    int *bin_of_pair;
    int64_t step;         /* done */
    int64_t saved;        /* step of the last checkpoint, -1: none */
    double step_seconds;  /* of the last window, 0: none yet */
    LossScale loss_scale; /* after the last window; scale 0: none */
};

/* As the configuration says; else as the run of the checkpoint (NULL: none) began, whose last bits depend on
 * it; else what suits the device (micro_batch.c). 0 and an error when nothing does, or when what was asked
 * for cannot fit. */
int micro_batch_choose(const TrainSetup *, const char *checkpoint, Error *);
bool trainer_has_teacher(const TrainSetup *);
/* Of the perceptual distance's network, `images` at a time. */
FeatureRequest trainer_features_request(const TrainSetup *, int images);

/* Waits for the device; scale 0 where the loss is not scaled. */
LossScale loss_scale_now(const Trainer *);

/* N of step k; 0 of a classifier. */
int levels_at(const Trainer *, int64_t k);
/* The rate of step k. */
double rate_at(const Trainer *, int64_t k);

void window_create(Trainer *);
void window_free(Trainer *);

/* Runs up to `count` (<= WINDOW) steps of equal N, fewer when should_stop says so, and adds them to the
 * meter. False, with the step and what in the error, when something is not finite; trainer->step is then the
 * number of sound steps. */
bool window_run(Trainer *, int count, const TrainHooks *, Error *);

#endif
