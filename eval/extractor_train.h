/* The classifier that looks at samples in passing: a small network, trained for some seconds with noise of
 * random strength on the images, so that it sees what is drawn and not its grain; no flips, because flipped
 * shapes are other shapes. Trained as every classifier is (train/trainer.h), but kept by nobody as a run. */
#ifndef ICT_EVAL_EXTRACTOR_TRAIN_H
#define ICT_EVAL_EXTRACTOR_TRAIN_H

#include "backend/backend.h"
#include "data/dataset.h"

/* Raised whenever network or training change, so that cached classifiers are not mistaken for the new one. */
enum { EXTRACTOR_RECIPE = 3 };

/* Trains classifier_small() on the first nine tenths of the images; `accuracy` is that on the rest. `weights`
 * (flat, host) receives the result. */
bool extractor_train(const Dataset *, Device *, float *weights, double *accuracy, Error *);

#endif
