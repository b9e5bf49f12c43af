/* The consistency training objective of one micro-batch (CM algorithm 3, iCT): draw images, levels and noise, run teacher
 * and student on the same graph with the same masks, measure their distance, and go back through the student. */
#ifndef ICT_CT_OBJECTIVE_H
#define ICT_CT_OBJECTIVE_H

#include "ct/ct.h"
#include "graph/graph.h"

/* A prepared network and the values the objective feeds (model/unet.h's UNet, or any other graph with this shape). */
typedef struct Network {
    Graph *graph;
    Value input, level, label, augment, output; /* label, augment: NO_VALUE when absent */
    int n, h, w, c;                             /* images it takes at a time */
    int classes;
} Network;

/* Images a device can draw batches from. */
typedef struct ImageSource {
    const uint8_t *images;
    const int32_t *labels;
    uint32_t count;
    bool flip;
} ImageSource;

typedef struct Objective Objective;

Objective *objective_create(const CtConfig *, const Network *, ImageSource, Device *, uint32_t batch, uint64_t seed);
void objective_free(Objective *);

/* Uploads the table of the current N. */
void objective_set_levels(Objective *, const LevelTable *host);

typedef struct ObjectiveRun {
    const StepRow *row;             /* device memory */
    const float *student, *teacher; /* flat fp32 parameters; the same pointer without a teacher EMA */
    const void *student_cast, *teacher_cast;
    float *gradients;
    uint32_t first_sample;          /* place of this micro-batch in the global batch */
    bool accumulate;
    float gradient_scale;
} ObjectiveRun;
void objective_run(Objective *, const ObjectiveRun *);

/* Of the last run, copied to the host: per sample the weighted loss, the residual's norm and the student's level. */
void objective_read(Objective *, float *loss, float *residual, Level *student);

#endif
