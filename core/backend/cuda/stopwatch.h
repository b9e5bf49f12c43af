/* Two marks in the device's stream, to time what is enqueued between them. */
#ifndef ICT_BACKEND_CUDA_STOPWATCH_H
#define ICT_BACKEND_CUDA_STOPWATCH_H

#include "backend/cuda/cuda.h"

typedef struct Stopwatch {
    cudaStream_t stream;
    cudaEvent_t begin, end;
} Stopwatch;

static inline Stopwatch stopwatch_open(const Device *device) {
    Stopwatch s = {.stream = cuda_stream(device)};
    CUDA_CHECK(cudaEventCreate(&s.begin));
    CUDA_CHECK(cudaEventCreate(&s.end));
    return s;
}

static inline void stopwatch_close(const Stopwatch *s) {
    CUDA_CHECK(cudaEventDestroy(s->begin));
    CUDA_CHECK(cudaEventDestroy(s->end));
}

static inline void stopwatch_start(const Stopwatch *s) {
    CUDA_CHECK(cudaEventRecord(s->begin, s->stream));
}

/* Waits; seconds since the start. */
static inline double stopwatch_stop(const Stopwatch *s) {
    float milliseconds = 0;
    CUDA_CHECK(cudaEventRecord(s->end, s->stream));
    CUDA_CHECK(cudaEventSynchronize(s->end));
    CUDA_CHECK(cudaEventElapsedTime(&milliseconds, s->begin, s->end));
    return 1e-3 * (double)milliseconds;
}

#endif
