/* Linear layers on compute capability 9.0: those of two sources (linear_joined.cu), and gradients of weights
 * (linear_gradient.cu). false: not for these, nothing was done. */
#ifndef ICT_BACKEND_CUDA_LINEAR_HOPPER_H
#define ICT_BACKEND_CUDA_LINEAR_HOPPER_H

#include "backend/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Whether the program has code for 9.0, where alone these instructions are, and this is such a card. Code
 * that the driver translates has nothing in their place. */
bool cuda_is_hopper(const Device *device);

bool cuda_linear_joined_forward(Device *device, const LinearForward *op);
bool cuda_linear_joined_backward_data(Device *device, const LinearBackwardData *op);
bool cuda_linear_gradient(Device *device, const LinearBackwardWeight *op);

#ifdef __cplusplus
}
#endif

#endif
