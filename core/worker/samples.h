/* Drawing many samples as bytes, a piece at a time, from whatever can draw: a trainer, or a network loaded
 * from a file. */
#ifndef ICT_WORKER_SAMPLES_H
#define ICT_WORKER_SAMPLES_H

#include "base/error.h"
#include "eval/evaluate.h"

/* Images of seeds first .. first + count - 1, fp32. `labels` is NULL for a network without classes. */
typedef bool SampleDraw(void *context, const SamplerConfig *, uint32_t first, int count,
                        const int32_t *labels, float *images, Error *);

/* Levels for `nfe` network evaluations, 1 to MOST_NFE: none for one, evaluation.sigma_mid for two,
 * evaluation.sigmas when there are nfe - 1 of them, and otherwise the inner points of a Karras grid of nfe +
 * 1 points (a choice of this project; the papers search for levels). */
SamplerConfig sampler_levels(const CtConfig *, const EvaluationConfig *, int nfe);

/* The label of the image of a seed; both depend on the seed alone, as the image's noise does. */
typedef enum LabelRule {
    LABELS_IN_TURN, /* labels[seed mod count] */
    LABELS_DRAWN    /* labels[uniform]: classes come as often as in `labels`, those of a data set */
} LabelRule;
typedef struct LabelSource {
    LabelRule rule;
    const int32_t *labels; /* NULL: a network without classes, or every class in turn */
    int count;
} LabelSource;
int32_t label_of_seed(const LabelSource *, int classes, uint32_t seed);

typedef struct SampleRequest {
    SamplerConfig sampler;
    Rounding rounding;
    uint32_t first; /* seed of the first image */
    int count;
    int classes; /* 0: a network without them */
    LabelSource labels;
    int image_size; /* height x width x channels */
} SampleRequest;

/* count x image_size bytes, malloc'ed; NULL on error. */
uint8_t *samples_draw(const SampleRequest *, SampleDraw *draw, void *context, Error *);

#endif
