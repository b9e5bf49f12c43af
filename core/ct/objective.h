/* The consistency training objective of one micro-batch (CM algorithm 3, iCT): draw images, levels and noise,
 * run teacher and student on the same graph with the same masks, measure their distance, and go back through
 * the student. */
#ifndef ICT_CT_OBJECTIVE_H
#define ICT_CT_OBJECTIVE_H

#include "ct/ct.h"
#include "ct/perceptual.h"

/* A prepared network and the values the objective feeds (model/unet.h's UNet, or any other graph with this
 * shape). */
typedef struct Network {
    Graph *graph;
    Value input, level, label, augment, output; /* label, augment: NO_VALUE when absent */
    DType dtype;                                /* of the input */
    int n, h, w, c;                             /* images it takes at a time */
    int classes, augment_dim;                   /* widths of label and augment */
    float label_dropout;                        /* share of the images trained on without their class */
} Network;

/* Images to draw batches from, in device memory. `labels` may be NULL for a network without classes. */
typedef struct ImageSource {
    const uint8_t *images; /* count x h x w x c */
    const int32_t *labels; /* count */
    uint32_t count;
    bool flip;
    bool gathered; /* images are the global batch of the step already (train/source.h) */
} ImageSource;

typedef struct Objective Objective;

/* The network must be prepared for TRAIN; its n divides `batch`, the global batch. Graph and source are
 * borrowed. */
Objective *objective_create(const CtConfig *, const Network *, ImageSource, Device *, uint32_t batch,
                            uint64_t seed);
void objective_free(Objective *);

/* The network of a perceptual distance, for images of the trained network's size; borrowed. Needed before the
 * first run when ct.distance is perceptual. */
void objective_use_features(Objective *, const FeatureNetwork *);

/* Uploads the table of the current N, at most ct_levels_limit() levels. */
void objective_set_levels(Objective *, const LevelTable *host);

typedef struct ObjectiveRun {
    const StepRow *row;             /* device memory */
    const float *student, *teacher; /* flat fp32 parameters; the same pointer without a teacher EMA */
    const void *student_cast, *teacher_cast;
    float *gradients;      /* of the mean loss over the global batch, times gradient_scale and loss scale */
    uint32_t first_sample; /* place of this micro-batch in the global batch */
    bool accumulate;
    float gradient_scale;
    const LossScale *loss_scale; /* device memory, NULL: 1 */
} ObjectiveRun;
void objective_run(Objective *, const ObjectiveRun *);

/* What the micro-batches of a step leave behind, in device memory: for each place of the global batch the
 * weighted loss, the norm of f_student - f_teacher, and i of the pair (sigma_i, sigma_{i+1}) it was measured
 * on; and both outputs of the last micro-batch. */
typedef struct ObjectiveRecord {
    const float *loss, *residual;
    const int32_t *pair;
    Tensor f_student, f_teacher;
} ObjectiveRecord;
ObjectiveRecord objective_record(const Objective *);

#endif
