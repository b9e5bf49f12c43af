/* Kernel distance between two sets of features (KID with Inception's: Binkowski et al. 2018): the unbiased
 * estimate of the squared maximum mean discrepancy with the kernel (x.y / d + 1)^3. Unlike the Frechet
 * distance it has no bias by the number of images; it may come out slightly negative. */
#ifndef ICT_EVAL_KERNEL_DISTANCE_H
#define ICT_EVAL_KERNEL_DISTANCE_H

#include "eval/points.h"

#include <stdint.h>

/* Of two sets of the same size, at least two. */
double kernel_distance(Points a, Points b);

/* The usual protocol: mean and standard deviation (divisor n) over `subsets` pairs of random subsets of
 * `size` points each, drawn without replacement from a seed; customary are 100 subsets of 1,000. */
typedef struct KernelEstimate {
    double mean, deviation;
} KernelEstimate;
bool kernel_estimate(Points a, Points b, int subsets, int size, uint64_t seed, KernelEstimate *, Error *);

#endif
