/* Features and their statistics in files that other tools write and read.
 *
 * Statistics: .npz with `mu` (d) and `sigma` (d x d), as pytorch-fid, EDM and ADM's evaluator have them. Ours
 * also hold `n`, the number of images, and `features_hash` (64 letters as bytes), so that statistics of one
 * network are never held against features of another.
 *
 * Features: .npz with an array `features`, or with one two-dimensional array of floats, or such an array as
 * .npy; N x d. */
#ifndef ICT_EVAL_STATISTICS_H
#define ICT_EVAL_STATISTICS_H

#include "eval/feature_set.h"

/* Moments only. Refuses what is no covariance: wrong shapes, values that are not finite, no symmetry,
 * negative variance, correlations above one. `hash` is the file's. `features_hash` (NULL: not known) must be
 * the file's, where that has one. A file with fewer than four images a dimension is refused; one that does
 * not say its number (count 0) is believed. */
bool statistics_read(const char *path, const char *features_hash, FeatureSet *, Hash *hash, Error *);
bool statistics_write(const char *path, const char *features_hash, const FeatureSet *, Error *);

/* With rows. `hash` is of the numbers. */
bool features_read(const char *path, FeatureSet *, Hash *hash, Error *);

#endif
