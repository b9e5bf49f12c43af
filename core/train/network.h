/* A network of the paper, ready to run: recorded for n images, prepared on a device, with the values that
 * objective and sampler feed. */
#ifndef ICT_TRAIN_NETWORK_H
#define ICT_TRAIN_NETWORK_H

#include "ct/objective.h"
#include "model/unet.h"

/* For `n` images of resolution^2 x channels; `train` false prepares for EVALUATE alone. Parameters are
 * declared in the set, or found there when another network of the same configuration has declared them. */
Network network_create(const ModelConfig *, ParamSet *, Device *, int n, int resolution, int channels,
                       bool train);
void network_free(Network *);

#endif
