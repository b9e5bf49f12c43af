/* What a step of a classifier's training does with a micro-batch, as ct/objective.h does for consistency
 * models: draw images (flipped, moved, with noise, each when asked), run the network, cross-entropy with
 * label smoothing, and back. And what the trained network is worth on images that it has not seen. */
#ifndef ICT_TRAIN_CLASSIFICATION_H
#define ICT_TRAIN_CLASSIFICATION_H

#include "ct/objective.h"
#include "train/classifier_file.h"

/* A classifier and how it is trained; steps, batch and optimiser are TrainConfig's. */
typedef struct ClassifierTask {
    ClassifierRole role;
    ClassifierConfig network; /* whose architecture follows from the role where a configuration names one */
    double smoothing;         /* share of the target that is spread over all classes */
    double warmup;            /* share of the run in which the rate rises */
    double noise;             /* the strongest noise on an image, in units of [-1, 1] */
    int shift;                /* pixels */
    ImageRange trained, held_out;
} ClassifierTask;

/* Whether a set can be learned: it has labels, no image lies in both ranges, and every class that is held out
 * is learned. */
bool classification_check(const ClassifierTask *, const Dataset *, Error *);

/* The rate of step k of K (one cycle, Smith & Topin 2017): up along a line to `peak`, then down along half a
 * cosine to 0. */
double classification_rate(const ClassifierTask *, double peak, int64_t k, int64_t K);

/* Records and prepares the network for TRAIN. */
Network classification_network(const ClassifierTask *, ParamSet *, Device *, int n, const Dataset *,
                               Precision);

typedef struct Classification Classification;

/* The task is borrowed, as are the network's graph and the source. */
Classification *classification_create(const ClassifierTask *, const Network *, ImageSource, Device *,
                                      uint32_t batch, uint64_t seed);
void classification_free(Classification *);

/* run->student is the network. */
void classification_run(Classification *, const ObjectiveRun *run);

/* Of each place of the global batch, in device memory: cross-entropy, and 1 where the largest logit is the
 * label's. */
typedef struct ClassificationRecord {
    const float *loss;
    const int32_t *correct;
} ClassificationRecord;
ClassificationRecord classification_record(const Classification *);

/* Mean cross-entropy without smoothing, and the share of the images `range` of a set that are classified
 * rightly. */
typedef struct ClassifierScore {
    double loss, accuracy;
    int images;
} ClassifierScore;
ClassifierScore classification_score(Classification *, const float *weights, const void *cast,
                                     const Dataset *, ImageRange range);

#endif
