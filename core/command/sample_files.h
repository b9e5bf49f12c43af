/* What `sample` reads and writes: noise of other tools, and images in the forms that their
 * evaluators take. */
#ifndef ICT_COMMAND_SAMPLE_FILES_H
#define ICT_COMMAND_SAMPLE_FILES_H

#include "base/error.h"
#include <stdint.h>

/* The array `latents`, or the only one of four dimensions, of floats: standard normal noise N,C,H,W or
 * N,H,W,C, one array an image, which sampling multiplies by sigma_max. Returned as N,H,W,C, malloc'ed. Noise
 * that is not finite, or has been multiplied already, is refused. */
bool latents_read(const char *path, int size, int channels, float **latents, int *count, Error *);

typedef struct SampleImages {
    const uint8_t *images; /* count x size x size x channels */
    int count, size, channels;
    uint32_t first;        /* seed */
    const int32_t *labels; /* NULL: a network without classes */
} SampleImages;

/* By the path's end: .npz `arr_0` uint8 N,H,W,C and `arr_1` labels, as OpenAI's evaluator takes them; .zip
 * 00000/img00000000.png ... and dataset.json, as EDM's tools write and read them; otherwise a folder of
 * seed-000000.png ... and grid.png. */
bool sample_images_write(const char *path, const SampleImages *, Error *);

#endif
