/* Reading believes nothing: a transposed or damaged file would give a plausible wrong number. */
#include "eval/statistics.h"

#include "base/npy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A set of unknown size, as if it were of this many: (sigma * 2^52) / 2^52 is sigma exactly. */
static const int64_t MANY_IMAGES = (INT64_C(1) << 52) + 1;

static bool is_float(const NpyArray *array) {
    return array->type == NPY_F32 || array->type == NPY_F64;
}

static double value_at(const NpyArray *array, int64_t i) {
    return array->type == NPY_F64 ? ((const double *)array->data)[i]
                                  : (double)((const float *)array->data)[i];
}

/* ---- statistics ---- */

typedef struct StatisticsFile {
    const NpyArray *mu, *sigma, *n, *features;
    int64_t d;
} StatisticsFile;

static bool shapes_check(StatisticsFile *file, Error *error) {
    if (!file->mu || !file->sigma)
        return error_set(error, "statistics need the arrays mu and sigma; %s is missing",
                         file->mu ? "sigma" : "mu");
    if (file->mu->rank != 1 || !is_float(file->mu) || file->mu->shape[0] < 1 || file->mu->shape[0] > 65536)
        return error_set(error, "mu is no vector of floats");
    file->d = file->mu->shape[0];
    const NpyArray *s = file->sigma;
    return (s->rank == 2 && is_float(s) && s->shape[0] == file->d && s->shape[1] == file->d) ||
           error_set(error, "sigma must be %lld x %lld floats, as mu has %lld entries", (long long)file->d,
                     (long long)file->d, (long long)file->d);
}

static bool pair_check(const NpyArray *sigma, int64_t d, int64_t i, int64_t k, Error *error) {
    enum { PARTS_PER_MILLION = 1000000 };
    const double upper = value_at(sigma, i * d + k), lower = value_at(sigma, k * d + i);
    const double most = sqrt(value_at(sigma, i * d + i) * value_at(sigma, k * d + k));
    if (!(fabs(upper - lower) <= most / PARTS_PER_MILLION))
        return error_set(error, "sigma is not symmetric: [%lld, %lld] is %g, [%lld, %lld] is %g",
                         (long long)i, (long long)k, upper, (long long)k, (long long)i, lower);
    return fabs(upper) <= most * (1 + 10.0 / PARTS_PER_MILLION) ||
           error_set(error, "sigma is no covariance: [%lld, %lld] is %g, more than its variances allow (%g)",
                     (long long)i, (long long)k, upper, most);
}

static bool values_check(const StatisticsFile *file, Error *error) {
    const int64_t d = file->d;
    for (int64_t i = 0; i < d; i++)
        if (!isfinite(value_at(file->mu, i)))
            return error_set(error, "mu[%lld] is %g", (long long)i, value_at(file->mu, i));
    for (int64_t i = 0; i < d * d; i++)
        if (!isfinite(value_at(file->sigma, i)))
            return error_set(error, "sigma[%lld, %lld] is %g", (long long)(i / d), (long long)(i % d),
                             value_at(file->sigma, i));
    for (int64_t i = 0; i < d; i++)
        if (value_at(file->sigma, i * d + i) < 0)
            return error_set(error, "sigma is no covariance: the variance [%lld, %lld] is %g", (long long)i,
                             (long long)i, value_at(file->sigma, i * d + i));
    for (int64_t i = 0; i < d; i++)
        for (int64_t k = 0; k < i; k++)
            if (!pair_check(file->sigma, d, i, k, error)) return false;
    return true;
}

static bool origin_check(const StatisticsFile *file, const char *features_hash, int64_t *n, Error *error) {
    const NpyArray *of = file->features;
    *n = file->n && file->n->type == NPY_I64 && npy_count(file->n) == 1 ? *(const int64_t *)file->n->data : 0;
    if (*n && *n < 4 * file->d)
        return error_set(error, "%lld images are too few for %lld features: at least %lld are needed",
                         (long long)*n, (long long)file->d, 4LL * file->d);
    if (!of || !features_hash || of->type != NPY_U8 || npy_count(of) != 64) return true;
    return !memcmp(of->data, features_hash, 64) ||
           error_set(error, "these are statistics of the feature network %.12s, not of %.12s",
                     (const char *)of->data, features_hash);
}

static void moments_fill(const StatisticsFile *file, int64_t n, FeatureSet *set) {
    const int64_t d = file->d;
    *set = (FeatureSet){.count = n, .dimension = (int)d, .moments = moments_create((int)d)};
    set->moments.count = MANY_IMAGES;
    for (int64_t i = 0; i < d; i++) set->moments.mean[i] = value_at(file->mu, i);
    for (int64_t i = 0; i < d * d; i++)
        set->moments.scatter[i] = value_at(file->sigma, i) * (double)(MANY_IMAGES - 1);
}

bool statistics_read(const char *path, const char *features_hash, FeatureSet *set, Hash *hash, Error *error) {
    NpzMember *members;
    int count;
    int64_t n = 0;
    *set = (FeatureSet){0};
    if (!npz_read(path, &members, &count, error)) return false;
    StatisticsFile file = {.mu = npz_find(members, count, "mu"),
                           .sigma = npz_find(members, count, "sigma"),
                           .n = npz_find(members, count, "n"),
                           .features = npz_find(members, count, "features_hash")};
    const bool ok = (shapes_check(&file, error) && values_check(&file, error) &&
                     origin_check(&file, features_hash, &n, error)) ||
                    error_wrap(error, "%s", path);
    if (ok) moments_fill(&file, n, set);
    npz_free(members, count);
    if (ok && hash_file(path, hash, error)) return true;
    feature_set_free(set);
    return false;
}

bool statistics_write(const char *path, const char *features_hash, const FeatureSet *set, Error *error) {
    const int64_t d = set->dimension;
    double *sigma = malloc((size_t)(d * d) * sizeof *sigma);
    CHECK(sigma, "out of memory for a covariance");
    for (int64_t i = 0; i < d; i++) /* scatter is an upper triangle */
        for (int64_t k = i; k < d; k++)
            sigma[i * d + k] = sigma[k * d + i] =
                set->moments.scatter[i * d + k] / (double)(set->moments.count - 1);
    int64_t n = set->count;
    const NpzMember members[] = {
        {"mu", {NPY_F64, 1, {d}, set->moments.mean}},
        {"sigma", {NPY_F64, 2, {d, d}, sigma}},
        {"n", {NPY_I64, 1, {1}, &n}},
        {"features_hash", {NPY_U8, 1, {64}, (void *)(uintptr_t)features_hash}},
    };
    const bool ok = set->count > 1 ? npz_write(path, members, 4, error)
                                   : error_set(error, "%s: one image has no covariance", path);
    free(sigma);
    return ok;
}

/* ---- features ---- */

/* The array named features, or the only two-dimensional one of floats. */
static const NpyArray *features_find(const NpzMember *members, int count) {
    const NpyArray *found = npz_find(members, count, "features");
    if (found) return found;
    for (int i = 0; i < count; i++) {
        if (members[i].array.rank != 2 || !is_float(&members[i].array)) continue;
        if (found) return NULL;
        found = &members[i].array;
    }
    return found;
}

static bool features_take(const NpyArray *array, FeatureSet *set, Hash *hash, Error *error) {
    if (!array || array->rank != 2 || !is_float(array) || array->shape[0] < 1 || array->shape[1] < 1 ||
        array->shape[1] > 65536 || array->shape[0] > INT32_MAX)
        return error_set(error, "features are an array N x d of floats named `features`, or the only array "
                                "of two dimensions");
    const int64_t count = npy_count(array);
    float *rows = malloc((size_t)count * sizeof *rows);
    CHECK(rows, "out of memory for %lld features", (long long)count);
    for (int64_t i = 0; i < count; i++) rows[i] = (float)value_at(array, i);
    *hash = hash_bytes(rows, (size_t)count * sizeof *rows);
    return feature_set_adopt(set, rows, array->shape[0], (int)array->shape[1], error);
}

bool features_read(const char *path, FeatureSet *set, Hash *hash, Error *error) {
    const size_t length = strlen(path);
    *set = (FeatureSet){0};
    if (length > 4 && !strcmp(path + length - 4, ".npy")) {
        NpyArray array;
        if (!npy_read(path, &array, error)) return false;
        const bool ok = features_take(&array, set, hash, error) || error_wrap(error, "%s", path);
        npy_free(&array);
        return ok;
    }
    NpzMember *members;
    int count;
    if (!npz_read(path, &members, &count, error)) return false;
    const bool statistics = npz_find(members, count, "mu") && npz_find(members, count, "sigma");
    const bool ok = statistics ? error_set(error, "%s: holds statistics (mu, sigma), not features", path)
                               : features_take(features_find(members, count), set, hash, error) ||
                                     error_wrap(error, "%s", path);
    npz_free(members, count);
    return ok;
}
