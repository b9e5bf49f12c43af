/* Convolutions of 16-bit images to few channels in fp32 (ConvShape.wide), as products over columns
 * (conv_wide.cu). `workspace` has cuda_wide_workspace() bytes. */
#ifndef ICT_BACKEND_CUDA_CONV_WIDE_H
#define ICT_BACKEND_CUDA_CONV_WIDE_H

#include "backend/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

static inline bool conv_is_wide(const ConvShape *shape) {
    return shape->wide && shape->dtype != DTYPE_F32;
}

size_t cuda_wide_workspace(const ConvShape *, ConvPass);
void cuda_wide_forward(Device *, const ConvShape *, const ConvForward *);
void cuda_wide_backward_data(Device *, const ConvShape *, const ConvBackwardData *);
void cuda_wide_backward_weight(Device *, const ConvShape *,
                               const ConvBackwardWeight *); /* dbias is not its own */

#ifdef __cplusplus
}
#endif

#endif
