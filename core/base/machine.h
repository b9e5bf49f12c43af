/* What this machine has: processor, memory, disk. */
#ifndef ICT_BASE_MACHINE_H
#define ICT_BASE_MACHINE_H

#include <stdint.h>

const char *machine_processor(char out[128]); /* the processor's own name */
int machine_processors(void);                 /* those this process may use */
double machine_memory(void); /* bytes of memory to be had now, a container's limit included; -1: unknown */
double machine_peak_memory(void);      /* most bytes of memory that this process has had at any time */
double machine_disk(const char *path); /* bytes free for us where the path lies (or will lie); -1: unknown */

#endif
