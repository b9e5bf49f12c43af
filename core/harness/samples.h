/* Drawing many samples as bytes, a piece at a time, from whatever can draw: a trainer, or a network loaded
 * from a file. */
#ifndef ICT_HARNESS_SAMPLES_H
#define ICT_HARNESS_SAMPLES_H

#include "base/error.h"
#include "ct/sampler.h"

/* Images of seeds first .. first + count - 1, fp32. `labels` is NULL for a network without classes. */
typedef bool SampleDraw(void *context, const SamplerConfig *, uint32_t first, int count,
                        const int32_t *labels, float *images, Error *);

/* Levels for `nfe` network evaluations: none for one, sigma_mid for two, and for more the inner points of a
 * Karras grid of nfe + 1 points (a choice of this project; the papers search for levels). */
SamplerConfig sampler_levels(const CtConfig *, int nfe, double sigma_mid);

typedef struct SampleRequest {
    SamplerConfig sampler;
    Rounding rounding;
    uint32_t first; /* seed of the first image */
    int count;
    int classes;    /* image of seed i gets label i mod classes; 0: no labels */
    int image_size; /* height x width x channels */
} SampleRequest;

/* count x image_size bytes, malloc'ed; NULL on error. */
uint8_t *samples_draw(const SampleRequest *, SampleDraw *draw, void *context, Error *);

#endif
