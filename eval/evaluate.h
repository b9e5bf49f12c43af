/* Evaluations: which numbers to compute, from how many samples of which weights, against which reference.
 * Every value carries the hashes of its feature network and of its reference, its sample count and its
 * rounding. */
#ifndef ICT_EVAL_EVALUATE_H
#define ICT_EVAL_EVALUATE_H

#include "ct/sampler.h"
#include "train/dataset.h"

typedef struct EvaluationConfig {
    char weights[32]; /* "raw", "ema:0.05", ... */
    int samples;
    int nfe[8], nfes;            /* function evaluations to evaluate: [1, 2] */
    double sigma_mid;            /* intermediate level of two-step sampling */
    double sigmas[MOST_NFE - 1]; /* intermediate levels of sampling in sigma_count + 1 steps, decreasing */
    int sigma_count;
    bool clip; /* between sampling steps */
    Rounding rounding;
    char metrics[8][32]; /* "fd-random", "classifier" */
    int metric_count;
    int grid; /* images in the sample picture, 0: none */
} EvaluationConfig;

/* A number and everything that decides it. */
typedef struct Evaluation {
    char metric[48];
    double value;
    int samples;
    char features_hash[65], reference_hash[65];
} Evaluation;

/* The metrics by name, for messages and checks; NULL-terminated.
 *
 *   fd-random   Frechet distance on a random convolutional feature network. It is not FID: its scale means
 * something only beside its own floor and the trivial generators below, on the same data set. classifier
 * judged by a small classifier of the data set: `classifier-confident`, the share of images whose largest
 *               probability exceeds 0.9, and `classifier-class-K`, the share of images called class K.
 */
extern const char *const evaluation_metrics[];

enum { MAX_EVALUATIONS = 128 };
typedef struct Evaluator Evaluator;

/* Computes the reference's features; trains (once per data set and `cache_folder`) the classifier when it is
 * asked for. */
Evaluator *evaluator_open(const EvaluationConfig *, const Dataset *reference, Device *,
                          const char *cache_folder, Error *);
void evaluator_close(Evaluator *);

/* All configured metrics of `count` images (bytes, NHWC), at most MAX_EVALUATIONS. Returns how many; -1 on
 * error. */
int evaluator_run(Evaluator *, const uint8_t *images, int count, Evaluation *out, Error *);

/* What the numbers are to be read beside, for sets of `count` images: `fd-random-floor` (one half of the real
 * images against the other), `fd-random-mean-noise` and `fd-random-pixels` (two trivial generators: mean
 * image with each pixel's deviation as noise; every pixel drawn from another real image),
 * `classifier-accuracy`, `classifier-confident` and `classifier-class-K` of real images. */
int evaluator_reference(Evaluator *, int count, Evaluation *out, Error *);

#endif
