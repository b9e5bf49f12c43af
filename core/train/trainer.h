/* The training loop. It knows nothing above it: whoever wants to record, evaluate or stop fills TrainHooks.
 *
 * A run that was stopped or killed at any moment and opened again ends with the same weights and the same
 * rows of metrics, to the last bit, as one that was never interrupted (same kind of device and number of
 * threads): all draws are functions of seed and step, and a checkpoint holds everything else. Rows past the
 * last checkpoint are reported again.
 */
#ifndef ICT_TRAIN_TRAINER_H
#define ICT_TRAIN_TRAINER_H

#include "ct/ct.h"
#include "ct/objective.h"
#include "ct/sampler.h"
#include "model/unet.h"
#include "train/classification.h"
#include "data/dataset.h"
#include "train/meter.h"
#include "train/optimiser.h"

typedef struct TrainConfig {
    int64_t steps; /* K */
    /* micro_batch divides batch; 0: chosen by the trainer. It changes the numbers by rounding only. */
    int batch, micro_batch;
    OptimiserConfig optimiser;
    double loss_scale;      /* the first one of fp16 training */
    int tick_steps;         /* steps between two rows of metrics */
    int checkpoint_steps;   /* 0: only at evaluations and at the end */
    double evaluate_at[16]; /* shares of the run, ascending; 0: before the first step, 1: after the last */
    int evaluations;
} TrainConfig;

/* Everything pointed to must outlive the trainer. */
typedef struct TrainSetup {
    const ClassifierTask *classifier; /* what is trained when it is not NULL; else a consistency model: */
    const ModelConfig *model;
    const CtConfig *ct;
    const TrainConfig *train;
    const Dataset *data;
    bool flip;
    Device *device;
    uint64_t seed;
    Precision precision;  /* of the network; CPUs compute in fp32 whatever it says */
    int sharing;          /* runs that share the device's memory, 0: this one alone */
    bool gather_data;     /* batches are gathered on the host even when the data set fits on the device */
    const char *features; /* file of ct->perceptual's network; NULL with any other distance */
    const char *folder;   /* checkpoints go to <folder>/checkpoint-<step>.safetensors; NULL: there are none */
    const char *config_hash; /* stored in checkpoints, which are refused when it differs; may be NULL */
    const char *name;        /* of the run, for messages of fatal errors ("run 1f3a9c02"); may be NULL */
} TrainSetup;

/* One row of metrics over the steps since the last one. */
typedef struct Tick {
    int64_t step, images;                 /* done since the run began */
    int N;                                /* of the last step; 0 of a classifier */
    double loss, gradient_norm, residual; /* means; residual = norm of f_student - f_teacher of an image */
    double accuracy;                   /* share of the images that a classifier in training takes rightly */
    double learning_rate;              /* of the last step */
    double images_per_second, seconds; /* training alone, without checkpoints and evaluations */
    double update_norm_mean, update_norm_variance; /* over the steps; the variance divides by their number */
    /* Means in equal parts of [ln sigma_min, ln sigma_max], by the student's sigma; NaN: no
     * image fell there. */
    double loss_by_sigma[SIGMA_BINS], residual_by_sigma[SIGMA_BINS];
    uint64_t non_finite; /* gradient elements that made the optimiser skip a step */
    double loss_scale;   /* after the last step; 0: the loss is not scaled */
} Tick;

typedef struct Trainer Trainer;

/* Hooks may be NULL; those that return false end the run with TRAIN_FAILED and their error. `on_evaluation`
 * follows the checkpoint of its step, and is called again when a run is resumed at exactly that step: it may
 * skip what it already has. `should_stop` is asked before every step; once true it must stay true. */
typedef struct TrainHooks {
    void *context;
    bool (*on_tick)(void *context, const Tick *, Error *);
    bool (*on_checkpoint)(void *context, int64_t step, const char *path, Error *);
    bool (*on_evaluation)(void *context, int64_t step, Trainer *, Error *);
    bool (*should_stop)(void *context);
} TrainHooks;

/* Where the loss is scaled (fp16), a gradient that is not finite skips the step's update and halves the
 * scale; only below LOSS_SCALE_LEAST is it a divergence. */
#define LOSS_SCALE_LEAST 0x1p-10

/* DONE: K steps. STOPPED: asked to, state saved. DIVERGED: something is not finite; the error names the step
 * and what. FAILED: a checkpoint could not be written, or a hook failed. */
typedef enum TrainEnd { TRAIN_DONE, TRAIN_STOPPED, TRAIN_DIVERGED, TRAIN_FAILED } TrainEnd;

/* Opens at the newest sound checkpoint in the folder, or at step 0. NULL and an error when configuration and
 * data do not fit together, or the checkpoint is another run's. */
Trainer *trainer_open(const TrainSetup *, Error *);
void trainer_close(Trainer *);
int64_t trainer_step(const Trainer *);       /* steps done */
int64_t trainer_parameters(const Trainer *); /* trained parameters */
int trainer_micro_batch(const Trainer *);    /* images at a time */
bool trainer_holds_data(const Trainer *);    /* the device reads the whole data set where it is */
GraphCost trainer_cost(const Trainer *); /* of a micro-batch: FLOPs, and the arena that training will fill */
TrainEnd trainer_run(Trainer *, const TrainHooks *, Error *);

/* Of a classifier: its score on images of the data set, and its weights in a file. */
ClassifierScore trainer_score(Trainer *, ImageRange);
bool trainer_write_classifier(Trainer *, const char *path, const ClassifierFacts *, Error *);
/* The weights themselves, raw, into a flat host array. */
void trainer_weights(const Trainer *, float *values);

/* For evaluations: draws samples with the named weights ("raw", "ema:0.05", ...), as fp32 NHWC host images,
 * through the training network itself. */
bool trainer_sample(Trainer *, const char *weights, const SamplerConfig *, uint32_t first_seed, int count,
                    const int32_t *labels, float *images, Error *);

#endif
