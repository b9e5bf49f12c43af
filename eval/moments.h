/* Mean and covariance of feature vectors, accumulated batch by batch in double. */
#ifndef ICT_EVAL_MOMENTS_H
#define ICT_EVAL_MOMENTS_H

#include "base/error.h"
#include <stdint.h>

typedef struct Moments {
    int dimension;
    int64_t count;
    double *mean;    /* dimension */
    double *scatter; /* dimension^2: sum of (x - mean)(x - mean)^T */
} Moments;

Moments moments_create(int dimension);
void moments_free(Moments *);

/* Adds `count` rows of `dimension` floats (Chan et al. 1979: a batch's own mean and scatter are merged, so
 * nothing cancels). */
void moments_add(Moments *, const float *rows, int64_t count);

/* As if the other's rows had been added too. */
void moments_merge(Moments *, const Moments *other);

/* |m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2), C with the divisor n - 1 (Dowson & Landau 1982;
 * Heusel et al. 2017). Exact for singular covariances too, because nothing is computed but triangular
 * factors and singular values. Refuses fewer than four samples a dimension, where the estimate says more
 * about n than about the images. */
bool frechet_distance(const Moments *, const Moments *, double *distance, Error *);

#endif
