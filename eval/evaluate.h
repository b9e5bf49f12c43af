/* Evaluations: which numbers to compute, from how many samples of which weights, against which reference.
 * Every value carries the hashes of its feature network and of its reference, its sample count and its
 * protocol (rounding, subsets, parts, neighbours). */
#ifndef ICT_EVAL_EVALUATE_H
#define ICT_EVAL_EVALUATE_H

#include "ct/sampler.h"
#include "eval/space.h"

typedef struct EvaluationConfig {
    char weights[32];            /* "raw", "ema:0.05", ... */
    int samples, samples_last;   /* of each evaluation; of the last one, when more */
    int nfe[8], nfes;            /* function evaluations to evaluate: [1, 2] */
    double sigma_mid;            /* intermediate level of two-step sampling */
    double sigmas[MOST_NFE - 1]; /* intermediate levels of sampling in sigma_count + 1 steps, decreasing */
    int sigma_count;
    bool clip; /* between sampling steps */
    Rounding rounding;
    char metrics[16][32]; /* names of metric.h: "fd-random", "classifier" */
    int metric_count;
    int grid; /* images in the sample picture, 0: none */
} EvaluationConfig;

/* A number and everything that decides it. */
typedef struct Evaluation {
    char metric[64];
    double value;
    int samples;
    char features_hash[65], reference_hash[65];
    char protocol[80]; /* "round; 100 subsets of 1000" */
} Evaluation;

enum { MAX_EVALUATIONS = 256 };
typedef struct Evaluator Evaluator;

/* Whether the metrics can be computed here at all (networks without their weights cannot). `reference` NULL:
 * not known yet (space_available()). */
bool evaluation_check(const EvaluationConfig *, const Dataset *reference, const char *weights_folder,
                      Error *);

/* The reference's features are computed when first needed, once per space however many metrics ask, or their
 * moments read from the cache; evaluator_reference() first takes the floor's along. Trains (once per data set
 * and folder) the classifier when `classifier` is asked for: `classifier-confident`, the share of images
 * whose largest probability exceeds 0.9, and `classifier-class-K`, the share of images called class K. */
Evaluator *evaluator_open(const EvaluationConfig *, const Dataset *reference, Device *, const SpaceFolders *,
                          Error *);

/* The same against a statistics file (statistics.h), which serves Frechet distances in one space only. `like`
 * says how large images are. */
Evaluator *evaluator_open_statistics(const EvaluationConfig *, const Dataset *like, const char *path,
                                     Device *, const SpaceFolders *, Error *);
void evaluator_close(Evaluator *);

/* All configured metrics of `count` images (bytes, NHWC), at most MAX_EVALUATIONS. `rounding` says how they
 * became bytes ("round", "trunc", "as given"). Returns how many; -1 on error. */
int evaluator_run(Evaluator *, const uint8_t *images, int count, const char *rounding, Evaluation *out,
                  Error *);

/* What the numbers are to be read beside, for sets of `count` images: of every distance its floor (one half
 * of the real images against the other: `fd-random-floor`), of every share the same
 * (`precision-random-real`), of all of them two trivial generators of at most 10,000 images (`-mean-noise`:
 * mean image with each pixel's deviation as noise; `-pixels`: every pixel drawn from another real image), and
 * `classifier-accuracy`, `classifier-confident` and `classifier-class-K` of real images. Needs a data set as
 * reference. Numbers on a feature space are kept in the cache, by the hashes of both, the count and the
 * metrics. */
int evaluator_reference(Evaluator *, int count, Evaluation *out, Error *);

/* Writes the moments of the images in the first configured space as a statistics file. */
bool evaluator_write_statistics(Evaluator *, const uint8_t *images, int count, const char *path, Error *);

/* "round", "trunc" */
const char *rounding_name(Rounding);

#endif
