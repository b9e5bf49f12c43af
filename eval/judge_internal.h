/* How a judge is made: create, record into its graph and parameters from `images` on, name what it says,
 * prepare with weights; then it wants a hash. */
#ifndef ICT_EVAL_JUDGE_INTERNAL_H
#define ICT_EVAL_JUDGE_INTERNAL_H

#include "eval/judge.h"

/* For `n` images at a time of the size of `like`'s. */
Judge *judge_create(const Dataset *like, Device *, int n);
void judge_set_output(Judge *, Value output);
/* Plans, allocates, and uploads the weights (flat, host). */
void judge_prepare(Judge *, const float *weights);

#endif
