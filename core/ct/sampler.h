/* One-step and multistep sampling (CM algorithm 1). The noise of image i depends on its seed alone. */
#ifndef ICT_CT_SAMPLER_H
#define ICT_CT_SAMPLER_H

#include "ct/objective.h"

enum { MOST_NFE = 16 };

typedef struct SamplerConfig {
    int nfe;                     /* function evaluations: 1 to MOST_NFE */
    double sigmas[MOST_NFE - 1]; /* intermediate levels tau, decreasing, nfe - 1 of them */
    bool clip; /* to [-1, 1] before new noise is added, as OpenAI's codes do; CM algorithm 1 does not */
    const float *latents; /* host, NHWC, one standard normal array an image from `first` on, in place of the
                             seeds' for the first step; NULL: none */
} SamplerConfig;

typedef struct Sampler Sampler;

/* The network must be prepared for EVALUATE; it draws network->n images at a time. */
Sampler *sampler_create(const CtConfig *, const Network *, Device *);
void sampler_free(Sampler *);

/* Images of seeds first .. first + count - 1 as fp32 NHWC in about [-1, 1], not clipped at the end, into host
 * memory. `labels` (count of them; -1: of no class) may be NULL for a network without classes. master, cast:
 * flat parameters in device memory, the second in the network's dtype. */
void sampler_draw(Sampler *, const SamplerConfig *, const float *master, const void *cast, uint32_t first,
                  int count, const int32_t *labels, float *images);

/* f(x, sigma) on given host arrays, NHWC; with `raw` the bare network F(x, c_noise(sigma)), x taken as its
 * input. sigma > 0. */
void sampler_apply(Sampler *, const float *master, const void *cast, const float *x, const float *sigma,
                   const int32_t *labels, int count, bool raw, float *out);

/* [-1, 1] to bytes: ROUND x*127.5 + 128 clipped and truncated (EDM), TRUNC (x+1)/2*255 clipped and truncated
 * (OpenAI). */
typedef enum Rounding { ROUNDING_ROUND, ROUNDING_TRUNC } Rounding;
void images_to_bytes(const float *images, int64_t count, Rounding, uint8_t *bytes);

#endif
