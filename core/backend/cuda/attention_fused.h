/* Attention whose scores stay in registers (attention_fused.cu, attention_fused_backward.cu), for
 * attention.cu, which takes it where it fits. */
#ifndef ICT_BACKEND_CUDA_ATTENTION_FUSED_H
#define ICT_BACKEND_CUDA_ATTENTION_FUSED_H

#include "backend/cuda/cuda.h"

/* Of qkv with so many heads: 16-bit numbers, 64 channels a head, whole tiles of 64 pixels. */
bool attention_fused_fits(const Tensor *qkv, int heads);

/* Bytes of workspace: none forward; backward, a float for each query and head. */
size_t attention_fused_workspace(const Tensor *qkv, int heads, bool backward);

void attention_fused_forward(Device *, const AttentionForward *);
void attention_fused_backward(Device *, const AttentionBackward *);

#endif
