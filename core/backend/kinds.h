/* What each kind of device gives to core/backend/device.c, which picks one by name. */
#ifndef ICT_BACKEND_KINDS_H
#define ICT_BACKEND_KINDS_H

#include "backend/backend.h"

/* threads 0: all cores this process may use. */
bool cpu_open(int threads, Device **device, Error *error);

/* Compiled when ICT_CUDA is 1. `threads` is for the host's own work, as on the CPU. */
bool cuda_open(int index, int threads, Device **device, Error *error);

/* Versions of the libraries in use, "oneDNN 2.6.3"; written to `out`. */
void cpu_versions(char *out, size_t size);
void cuda_versions(const Device *device, char *out, size_t size);

#endif
