/* How an extractor is made: create, record into its graph and parameters from `images` on, name what it says,
 * prepare with weights; then it wants a hash. */
#ifndef ICT_EVAL_EXTRACTOR_INTERNAL_H
#define ICT_EVAL_EXTRACTOR_INTERNAL_H

#include "eval/extractor.h"

/* For `n` images at a time of the size of `like`'s. */
Extractor *extractor_create(const Dataset *like, Device *, int n);
void extractor_set_output(Extractor *, Value output);
/* Plans, allocates, and uploads the weights (flat, host). */
void extractor_prepare(Extractor *, const float *weights);

#endif
