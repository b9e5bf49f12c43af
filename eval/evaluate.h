/* Evaluations: which numbers to compute, from how many samples of which weights, against which reference. Every value is
 * stored with the hashes of its feature network and reference, its sample count and its rounding. */
#ifndef ICT_EVAL_EVALUATE_H
#define ICT_EVAL_EVALUATE_H

#include "ct/sampler.h"
#include "train/dataset.h"

typedef struct EvaluationConfig {
    char weights[32];         /* "raw", "ema:0.05", ... */
    int samples;
    int nfe[8], nfes;         /* function evaluations to evaluate: [1, 2] */
    double sigma_mid;         /* intermediate level of two-step sampling */
    Rounding rounding;
    char metrics[8][32];      /* "fd-random", ... */
    int metric_count;
    int grid;                 /* images in the sample picture, 0: none */
} EvaluationConfig;

/* A number and everything that decides it. */
typedef struct Evaluation {
    char metric[48];          /* "fd-random", "fd-random-floor", "shapes-confident", ... */
    double value;
    int samples;
    char features_hash[65], reference_hash[65];
} Evaluation;

typedef struct Evaluator Evaluator;

/* Features of the reference are computed once and cached by hash in `cache_folder`. */
Evaluator *evaluator_open(const EvaluationConfig *, const Dataset *reference, Device *, const char *cache_folder, Error *);
void evaluator_close(Evaluator *);

/* All configured metrics of `count` images (bytes, NHWC). Returns the number of evaluations written to `out` (at most
 * `capacity`), -1 on error. */
int evaluator_run(Evaluator *, const uint8_t *images, int count, Evaluation *out, int capacity, Error *);

#endif
