/* exp(E[KL]) in the form exp(E[sum p log p] - sum q log q), in double. */
#include "eval/inception_score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* log p of one row; log sum exp is taken from the largest logit on, so that nothing overflows. */
static void row_log_softmax(const float *logits, int classes, double *log_p) {
    double largest = (double)logits[0], sum = 0;
    for (int k = 1; k < classes; k++) largest = fmax(largest, (double)logits[k]);
    for (int k = 0; k < classes; k++) sum += exp((double)logits[k] - largest);
    for (int k = 0; k < classes; k++) log_p[k] = (double)logits[k] - largest - log(sum);
}

/* exp E[KL(p(y|x) || p(y))] = exp(E[sum p log p] - sum q log q), q the mean of the p. */
static double part_score(const float *logits, int count, int classes, double *log_p, double *q) {
    double negative_entropy = 0, marginal = 0;
    memset(q, 0, sizeof *q * (size_t)classes);
    for (int i = 0; i < count; i++) {
        row_log_softmax(logits + (size_t)i * (size_t)classes, classes, log_p);
        for (int k = 0; k < classes; k++) {
            const double p = exp(log_p[k]);
            if (p > 0) negative_entropy += p * log_p[k] / count;
            q[k] += p / count;
        }
    }
    for (int k = 0; k < classes; k++)
        if (q[k] > 0) marginal += q[k] * log(q[k]);
    return exp(negative_entropy - marginal);
}

bool inception_score(const float *logits, int count, int classes, int splits, InceptionScore *score,
                     Error *error) {
    if (splits < 1 || count < splits)
        return error_set(error, "an inception score of %d images cannot be taken over %d parts", count,
                         splits);
    double *room = malloc(2 * sizeof *room * (size_t)classes), sum = 0, square = 0;
    CHECK(room, "out of memory for %d classes", classes);
    for (int i = 0; i < splits; i++) {
        const int first = (int)((int64_t)i * count / splits), end = (int)((int64_t)(i + 1) * count / splits);
        const double one =
            part_score(logits + (size_t)first * (size_t)classes, end - first, classes, room, room + classes);
        sum += one, square += one * one;
    }
    free(room);
    score->mean = sum / splits;
    score->deviation = sqrt(fmax(square / splits - score->mean * score->mean, 0));
    return true;
}
