/* Batches are merged by the means' differences (Chan et al. 1979), not by sums of squares, which cancel. */
#include "eval/moments.h"
#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static double *doubles(size_t count) {
    double *values = calloc(count, sizeof *values);
    CHECK(values, "out of memory: %zu numbers", count);
    return values;
}

Moments moments_create(int dimension) {
    const size_t d = (size_t)dimension;
    return (Moments){.dimension = dimension, .mean = doubles(d), .scatter = doubles(d * d)};
}

void moments_free(Moments *moments) {
    free(moments->mean);
    free(moments->scatter);
    *moments = (Moments){0};
}

/* scatter += centred^T centred + weight * difference difference^T, upper triangle. */
static void scatter_merge(Moments *m, const double *centred, int64_t count, const double *difference,
                          double weight) {
    const int d = m->dimension;
    cblas_dsyrk(CblasRowMajor, CblasUpper, CblasTrans, d, (int)count, 1, centred, d, 1, m->scatter, d);
    cblas_dsyr(CblasRowMajor, CblasUpper, d, weight, difference, 1, m->scatter, d);
}

void moments_add(Moments *m, const float *rows, int64_t count) {
    if (count <= 0) return;
    const int d = m->dimension;
    double *mean = doubles((size_t)d), *centred = doubles((size_t)count * (size_t)d);
    for (int64_t i = 0; i < count; i++)
        for (int k = 0; k < d; k++) mean[k] += (double)rows[i * d + k] / (double)count;
    for (int64_t i = 0; i < count; i++)
        for (int k = 0; k < d; k++) centred[i * d + k] = (double)rows[i * d + k] - mean[k];
    const double total = (double)(m->count + count), share = (double)count / total;
    for (int k = 0; k < d; k++) {
        const double difference = mean[k] - m->mean[k];
        m->mean[k] += difference * share;
        mean[k] = difference;
    }
    scatter_merge(m, centred, count, mean, (double)m->count * share);
    m->count += count;
    free(mean);
    free(centred);
}

void moments_merge(Moments *m, const Moments *other) {
    const int d = m->dimension;
    CHECK(d == other->dimension, "moments of %d and %d dimensions", d, other->dimension);
    if (!other->count) return;
    const double share = (double)other->count / (double)(m->count + other->count);
    double *difference = doubles((size_t)d);
    for (int k = 0; k < d; k++) {
        difference[k] = other->mean[k] - m->mean[k];
        m->mean[k] += difference[k] * share;
    }
    cblas_daxpy(d * d, 1, other->scatter, 1, m->scatter, 1);
    cblas_dsyr(CblasRowMajor, CblasUpper, d, (double)m->count * share, difference, 1, m->scatter, d);
    m->count += other->count;
    free(difference);
}

/* ---- Frechet distance ---- */

static double *covariance(const Moments *m) {
    const int d = m->dimension;
    double *c = doubles((size_t)d * (size_t)d);
    for (int i = 0; i < d; i++)
        for (int k = i; k < d; k++)
            c[i * d + k] = c[k * d + i] = m->scatter[i * d + k] / (double)(m->count - 1);
    return c;
}

/* Some F with C = F F^T, by Cholesky's elimination with pivots, in place (columns first): column j belongs to
 * the j-th pivot. It ends where what is left is below the rounding of the largest variance, which is no
 * variance: its root would be a hundred million times larger. Returns the number of columns. */
static int factor(double *matrix, int d) {
    int *pivots = calloc((size_t)d, sizeof *pivots), rank = 0;
    double *lower = doubles((size_t)d * (size_t)d);
    CHECK(pivots, "out of memory: %d pivots", d);
    memcpy(lower, matrix, (size_t)d * (size_t)d * sizeof *lower);
    const int info = LAPACKE_dpstrf(LAPACK_COL_MAJOR, 'L', d, lower, d, pivots, &rank, -1);
    CHECK(info >= 0, "dpstrf: argument %d", -info); /* 1: the rank is less than d */
    for (int column = 0; column < rank; column++)
        for (int row = 0; row < d; row++)
            matrix[(size_t)column * (size_t)d + (size_t)pivots[row] - 1] =
                row < column ? 0 : lower[(size_t)column * (size_t)d + (size_t)row];
    free(pivots);
    free(lower);
    return rank;
}

/* tr (C1^1/2 C2 C1^1/2)^1/2 as the sum of the singular values of F1^T F2, whose rounding is not enlarged by a
 * root: with C = F F^T the eigenvalues of C1 C2 are those of (F1^T F2)(F1^T F2)^T, whichever F. Both matrices
 * are overwritten. */
static bool trace_of_root(double *c1, double *c2, int d, double *trace, Error *error) {
    const int rows = factor(c1, d), columns = factor(c2, d), least = rows < columns ? rows : columns;
    *trace = 0;
    if (!least) return true;
    double *product = doubles((size_t)rows * (size_t)columns), *values = doubles((size_t)least), none;
    cblas_dgemm(CblasColMajor, CblasTrans, CblasNoTrans, rows, columns, d, 1, c1, d, c2, d, 0, product, rows);
    const int info = LAPACKE_dgesdd(LAPACK_COL_MAJOR, 'N', rows, columns, product, rows, values, &none, rows,
                                    &none, least);
    for (int i = 0; i < least; i++) *trace += values[i];
    free(product);
    free(values);
    return info == 0 || error_set(error,
                                  "the singular values of a %d x %d product of covariances did not converge "
                                  "(LAPACK %d)",
                                  d, d, info);
}

static bool enough(const Moments *m, Error *error) {
    return m->count >= 4 * (int64_t)m->dimension ||
           error_set(
               error,
               "%lld images are too few for a Frechet distance over %d features: at least %d are needed",
               (long long)m->count, m->dimension, 4 * m->dimension);
}

bool frechet_distance(const Moments *a, const Moments *b, double *distance, Error *error) {
    const int d = a->dimension;
    CHECK(d == b->dimension, "features of %d and %d dimensions are not comparable", d, b->dimension);
    if (!enough(a, error) || !enough(b, error)) return false;
    double *c1 = covariance(a), *c2 = covariance(b), trace = 0, sum = 0;
    for (int i = 0; i < d; i++) {
        const double difference = a->mean[i] - b->mean[i];
        sum += difference * difference + c1[i * d + i] + c2[i * d + i];
    }
    const bool ok = trace_of_root(c1, c2, d, &trace, error);
    *distance = fmax(sum - 2 * trace, 0);
    free(c1);
    free(c2);
    return ok;
}
