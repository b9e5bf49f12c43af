/* Training of the classifier that judges samples: cross-entropy, Adam, one-cycle learning rate (Smith & Topin
 * 2017), label smoothing, and noise of random strength on the images, so that it judges what is drawn and not
 * its grain; no flips, because flipped shapes are other shapes. */
#ifndef ICT_EVAL_JUDGE_TRAIN_H
#define ICT_EVAL_JUDGE_TRAIN_H

#include "model/param.h"
#include "train/dataset.h"

/* Raised whenever network or training change, so that cached classifiers are not mistaken for the new one. */
enum { JUDGE_RECIPE = 3 };

/* Trains on the first nine tenths of the images; returns the accuracy on the rest. `weights` (flat, host)
 * receives the result. */
double judge_train(const Dataset *, Device *, const ParamSet *, float *weights);

#endif
