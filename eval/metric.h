/* Metrics by name, and their values on features. A name is a kind and a feature space: `fd-random`,
 * `precision-vgg16`; on Inception the field's own names: `fid`, `kid`, `is`, `precision`, `recall`. So a
 * number that is called FID is one.
 *
 *   fd, fid             Frechet distance (moments.h)
 *   kd, kid             kernel distance over random subsets, with `-deviation` over them (kernel_distance.h)
 *   precision, recall   third neighbour (manifold.h)
 *   density, coverage   fifth neighbour (manifold.h)
 *   is                  inception score over 10 parts, with `-deviation` over them (inception_score.h)
 */
#ifndef ICT_EVAL_METRIC_H
#define ICT_EVAL_METRIC_H

#include "eval/feature_set.h"

typedef enum MetricKind {
    METRIC_FRECHET,
    METRIC_KERNEL,
    METRIC_PRECISION,
    METRIC_RECALL,
    METRIC_DENSITY,
    METRIC_COVERAGE,
    METRIC_INCEPTION_SCORE,
    METRIC_CLASSIFIER /* what a classifier says of the images: no space; evaluate.h */
} MetricKind;

typedef struct Metric {
    MetricKind kind;
    char name[40], space[16];
} Metric;

/* All names, for messages and checks; NULL-terminated. */
extern const char *const metric_names[];

bool metric_find(const char *name, Metric *);
bool metric_needs_rows(MetricKind); /* or do the moments suffice? */

typedef struct Score {
    char name[56];
    double value;
    char protocol[48]; /* what decides it beside features and images: subsets, parts, neighbours */
} Score;

enum { METRIC_KINDS = 8, MOST_SCORES = 2 * METRIC_KINDS };

/* The values of `count` metrics of one space, in `out` (MOST_SCORES), their names with `suffix` behind them
 * (a share has no floor: "-floor" becomes "-real"); -1 on error: too few images for one of them. Of a
 * reference with more than 10,000 rows precision and its kin take 10,000 drawn at random, as ADM's evaluator
 * does. */
int metrics_score(const Metric *metrics, int count, const FeatureSet *samples, const FeatureSet *reference,
                  const char *suffix, Score *out, Error *);

#endif
