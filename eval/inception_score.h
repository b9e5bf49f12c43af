/* Inception score (Salimans et al. 2016): exp of the mean divergence between what the classifier says of an
 * image and of all images, over `splits` consecutive parts; mean and standard deviation (divisor n) over
 * them. */
#ifndef ICT_EVAL_INCEPTION_SCORE_H
#define ICT_EVAL_INCEPTION_SCORE_H

#include "base/error.h"

#include <stdint.h>

typedef struct InceptionScore {
    double mean, deviation;
} InceptionScore;

/* logits: count x classes. Part i holds rows i count / splits .. (i + 1) count / splits - 1, in the given
 * order: some codes shuffle first (torch-fidelity), some do not (ADM's evaluator, 5,000 a part). */
bool inception_score(const float *logits, int count, int classes, int splits, InceptionScore *, Error *);

#endif
