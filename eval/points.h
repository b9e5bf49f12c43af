/* Sets of feature vectors, and the squared distances between two of them block by block: what the metrics on
 * neighbourhoods and kernels share. All arithmetic is in double, from features in float. */
#ifndef ICT_EVAL_POINTS_H
#define ICT_EVAL_POINTS_H

#include "base/error.h"

typedef struct Points {
    const float *rows; /* count x dimension */
    int count, dimension;
} Points;

/* Points first .. first + count - 1. */
Points points_part(Points, int first, int count);

/* products[i, j] = a_i . b_j */
void points_products(Points a, Points b, double *products);

/* distances[i, j] = |a_i - b_j|^2, never negative */
void points_distances(Points a, Points b, double *distances);

#endif
