/* Asynchronous copies to shared memory arrive when they are waited for, not before; see
 * cuda_runtime_api.h. */
#ifndef ICT_TESTS_EMULATE_CUDA_PIPELINE_H
#define ICT_TESTS_EMULATE_CUDA_PIPELINE_H

#include "cuda_runtime_api.h"

void __pipeline_memcpy_async(void *to, const void *from, size_t bytes);
void __pipeline_commit();
void __pipeline_wait_prior(int groups);

#endif
