/* The training loop. It knows nothing above it: whoever wants to record, evaluate or stop fills TrainHooks. */
#ifndef ICT_TRAIN_TRAINER_H
#define ICT_TRAIN_TRAINER_H

#include "ct/ct.h"
#include "ct/objective.h"
#include "ct/sampler.h"
#include "model/unet.h"
#include "train/dataset.h"
#include "train/optimiser.h"

typedef struct TrainConfig {
    int64_t steps;             /* K */
    int batch, micro_batch;    /* micro_batch 0: chosen by the trainer; does not change the numbers beyond rounding */
    OptimiserConfig optimiser;
    int tick_steps;            /* steps between two rows of metrics */
    int checkpoint_steps;      /* 0: only at evaluations and at the end */
    double evaluate_at[16];    /* shares of the run, ascending */
    int evaluations;
} TrainConfig;

typedef struct TrainSetup {
    const ModelConfig *model;
    const CtConfig *ct;
    const TrainConfig *train;
    const Dataset *data;
    bool flip;
    Device *device;
    uint64_t seed;
    const char *folder; /* checkpoints go to <folder>/checkpoint-<step>.safetensors */
} TrainSetup;

/* One row of metrics, means over the steps since the last tick. */
typedef struct Tick {
    int64_t step, images;
    int N;
    double loss, gradient_norm, residual, images_per_second, seconds;
    double update_norm_mean, update_norm_variance; /* over all steps since the last tick */
    double loss_by_sigma[8], residual_by_sigma[8]; /* eight equal bins of ln sigma over [sigma_min, sigma_max]; NaN: empty */
    uint64_t non_finite;
} Tick;

typedef struct Trainer Trainer;

typedef struct TrainHooks {
    void *context;
    bool (*on_tick)(void *context, const Tick *, Error *);
    bool (*on_checkpoint)(void *context, int64_t step, const char *path, Error *);
    bool (*on_evaluation)(void *context, int64_t step, Trainer *, Error *);
    bool (*should_stop)(void *context);
} TrainHooks;

typedef enum TrainEnd { TRAIN_DONE, TRAIN_STOPPED, TRAIN_DIVERGED, TRAIN_FAILED } TrainEnd;

/* Opens at the newest sound checkpoint in the folder, or at step 0. */
Trainer *trainer_open(const TrainSetup *, Error *);
void trainer_close(Trainer *);
int64_t trainer_step(const Trainer *);
int64_t trainer_parameters(const Trainer *);
TrainEnd trainer_run(Trainer *, const TrainHooks *, Error *);

/* For evaluations: draws samples with the named weights ("raw", "ema:0.05", ...), as fp32 NHWC host images. */
bool trainer_sample(Trainer *, const char *weights, const SamplerConfig *, uint32_t first_seed, int count,
                    const int32_t *labels, float *images, Error *);

#endif
