/* A network of the paper, ready to run: recorded for n images, prepared on a device, with the values that
 * objective and sampler feed. */
#ifndef ICT_TRAIN_NETWORK_H
#define ICT_TRAIN_NETWORK_H

#include "ct/objective.h"
#include "model/unet.h"

/* What the device computes a network in: `wanted`, but fp32 on a CPU. */
Precision network_precision(const Device *, Precision wanted);

/* "fp32", "tf32", "bf16", "fp16": as the configuration has them. */
const char *precision_name(Precision);

/* For `n` images of resolution^2 x channels; `train` false prepares for EVALUATE alone. Parameters are
 * declared in the set, or found there when another network of the same configuration has declared them. */
Network network_create(const ModelConfig *, ParamSet *, Device *, int n, int resolution, int channels,
                       bool train, Precision);
void network_free(Network *);

/* The parameters as the network's products read them: `master` itself in fp32, otherwise rounded into
 * `*cast`, device memory that is allocated when it is NULL and belongs to the caller. */
const void *network_cast(const Network *, Device *, const ParamSet *, const float *master, void **cast);

#endif
