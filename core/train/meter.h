/* What a run measures between two rows of metrics. Sums only, so that a checkpoint in the middle of a tick
 * can store them and a resumed run writes the very row that an uninterrupted one would have written. */
#ifndef ICT_TRAIN_METER_H
#define ICT_TRAIN_METER_H

#include "ct/ct.h"

enum { SIGMA_BINS = 8 };

/* All doubles: a checkpoint stores it as a list of METER_NUMBERS numbers. */
typedef struct Meter {
    double steps, images, seconds;
    double loss, residual, gradient_norm; /* sums over steps of a step's mean */
    double update_mean, update_spread;    /* running mean and sum of squared deviations (Welford 1962) */
    double non_finite;
    double bin_loss[SIGMA_BINS], bin_residual[SIGMA_BINS], bin_images[SIGMA_BINS];
    double accuracy; /* of a classifier; sums like the loss */
} Meter;
enum { METER_NUMBERS = sizeof(Meter) / sizeof(double) };

/* What one step leaves behind, on the host. */
typedef struct StepRecord {
    int batch;
    const float *loss;     /* of each image */
    const float *residual; /* of consistency training; NULL of a classifier's, as the next two */
    const int32_t *pair;
    const int *bin_of_pair; /* meter_bin of each pair's upper sigma, the student's */
    const int32_t *correct; /* 1 where a classifier is right; NULL of consistency training */
    UpdateReport report;
} StepRecord;

/* Which of eight equal parts of [ln sigma_min, ln sigma_max] a sigma lies in. */
int meter_bin(const CtConfig *, double sigma);

void meter_add(Meter *, const StepRecord *);

#endif
