/* What a CUDA card, its driver and libraries are, and whether this program can compute there. The backend
 * finds the facts (backend/cuda/device.c); the judgement needs no card, so it is tested without one. */
#ifndef ICT_BACKEND_CARD_H
#define ICT_BACKEND_CARD_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct CardFacts {
    int index;           /* asked for, counted from 0 */
    int cards;           /* there */
    int driver, runtime; /* newest CUDA of the driver, CUDA of this program: 13000 is 13.0; driver 0: none */
    char problem[256];   /* the runtime's own words when it could not answer, or "" */
    char name[128];
    int major, minor; /* compute capability */
    bool kernels;     /* this program has some for it */
    size_t cudnn;     /* version of the library that was loaded: 91400 is 9.14.0 */
} CardFacts;

/* Errors say what is missing and what to do about it. */
bool card_judge(const CardFacts *facts, Error *error);

#endif
