#include "eval/moments.h"
#include <cblas.h>
#include <float.h>
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

/* ---------------------------------------------------------------------------------------------- Frechet
 * distance */

static double *covariance(const Moments *m) {
    const int d = m->dimension;
    double *c = doubles((size_t)d * (size_t)d);
    for (int i = 0; i < d; i++)
        for (int k = i; k < d; k++)
            c[i * d + k] = c[k * d + i] = m->scatter[i * d + k] / (double)(m->count - 1);
    return c;
}

static bool lapack_done(int info, const char *what, int d, Error *error) {
    return info == 0 ||
           error_set(error, "the %s of a %d x %d covariance did not converge (LAPACK %d)", what, d, d, info);
}

/* Square root of a symmetric positive semidefinite matrix, in place: V diag(sqrt w) V^T. What is below the
 * rounding of the largest eigenvalue is no variance: its root would be a hundred million times larger. */
static bool square_root(double *matrix, int d, Error *error) {
    const size_t size = (size_t)d * (size_t)d;
    double *values = doubles((size_t)d), *scaled = doubles(size);
    const bool ok = lapack_done(LAPACKE_dsyevd(LAPACK_ROW_MAJOR, 'V', 'U', d, matrix, d, values),
                                "eigenvalues", d, error);
    const double least = values[d - 1] * d * DBL_EPSILON;
    for (int i = 0; ok && i < d; i++)
        for (int k = 0; k < d; k++)
            scaled[i * d + k] = values[k] > least ? matrix[i * d + k] * sqrt(values[k]) : 0;
    if (ok) {
        double *result = doubles(size);
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, d, d, d, 1, scaled, d, matrix, d, 0, result, d);
        memcpy(matrix, result, size * sizeof *matrix);
        free(result);
    }
    free(values);
    free(scaled);
    return ok;
}

/* tr (C1^1/2 C2 C1^1/2)^1/2 as the sum of the singular values of C1^1/2 C2^1/2, whose rounding is not
 * enlarged by a root; both matrices are overwritten. */
static bool trace_of_root(double *c1, double *c2, int d, double *trace, Error *error) {
    double *product = doubles((size_t)d * (size_t)d), *values = doubles((size_t)d), none;
    bool ok = square_root(c1, d, error) && square_root(c2, d, error);
    if (ok) {
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, d, d, d, 1, c1, d, c2, d, 0, product, d);
        const int info = LAPACKE_dgesdd(LAPACK_ROW_MAJOR, 'N', d, d, product, d, values, &none, d, &none, d);
        ok = lapack_done(info, "singular values", d, error);
    }
    *trace = 0;
    for (int i = 0; ok && i < d; i++) *trace += values[i];
    free(product);
    free(values);
    return ok;
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
