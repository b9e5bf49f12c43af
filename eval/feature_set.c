/* Features are computed a chunk at a time; moments are accumulated on the way, so that a Frechet distance
 * alone needs no memory for the vectors. */
#include "eval/feature_set.h"

#include "backend/order.h"
#include "base/file.h"
#include "base/npy.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1024, ORDER_SEED = 9 };

static float *floats(int64_t rows, int columns) {
    float *values = malloc((size_t)rows * (size_t)columns * sizeof *values + 1);
    CHECK(values, "out of memory: %lld x %d features", (long long)rows, columns);
    return values;
}

static bool rows_finite(const float *rows, int64_t count, int dimension, int64_t first, Error *error) {
    for (int64_t i = 0; i < count * dimension; i++)
        if (!isfinite(rows[i]))
            return error_set(error, "feature %lld of image %lld is %g: such images cannot be judged",
                             (long long)(i % dimension), (long long)(first + i / dimension), (double)rows[i]);
    return true;
}

static void set_prepare(FeatureSet *set, const Space *space, int64_t count, FeatureKeep keep) {
    *set = (FeatureSet){.count = count, .dimension = space->dimension, .classes = space->classes};
    set->moments = moments_create(space->dimension);
    if (keep.rows) set->rows = floats(count, space->dimension);
    if (keep.logits) set->logits = floats(count, space->classes);
}

bool feature_set_compute(FeatureSet *set, const Space *space, const uint8_t *images, int64_t count,
                         size_t image_size, FeatureKeep keep, Error *error) {
    keep.logits = keep.logits && space->classes;
    set_prepare(set, space, count, keep);
    float *chunk = keep.rows ? NULL : floats(CHUNK, space->dimension);
    bool ok = true;
    for (int64_t first = 0; ok && first < count; first += CHUNK) {
        const int n = count - first < CHUNK ? (int)(count - first) : CHUNK;
        float *rows = keep.rows ? set->rows + first * space->dimension : chunk;
        space->run(space->network, images + (size_t)first * image_size, n, rows,
                   keep.logits ? set->logits + first * space->classes : NULL);
        ok = rows_finite(rows, n, space->dimension, first, error);
        if (ok) moments_add(&set->moments, rows, n);
    }
    free(chunk);
    if (!ok) feature_set_free(set);
    return ok;
}

static void moments_of_rows(FeatureSet *set) {
    set->moments = moments_create(set->dimension);
    for (int64_t first = 0; first < set->count; first += CHUNK)
        moments_add(&set->moments, set->rows + first * set->dimension,
                    set->count - first < CHUNK ? set->count - first : CHUNK);
}

bool feature_set_adopt(FeatureSet *set, float *rows, int64_t count, int dimension, Error *error) {
    *set = (FeatureSet){.count = count, .dimension = dimension, .rows = rows};
    const bool ok = rows_finite(rows, count, dimension, 0, error);
    if (ok)
        moments_of_rows(set);
    else
        feature_set_free(set);
    return ok;
}

static float *rows_permuted(const float *rows, int columns, int64_t all, int64_t first, int64_t count) {
    float *part = floats(count, columns);
    for (int64_t i = 0; i < count; i++) {
        const uint32_t from = order_permute(ORDER_SEED, 0, (uint32_t)(first + i), (uint32_t)all);
        memcpy(part + i * columns, rows + (int64_t)from * columns, (size_t)columns * sizeof *part);
    }
    return part;
}

void feature_set_part(const FeatureSet *set, int64_t first, int64_t count, FeatureSet *part) {
    CHECK(set->rows && first >= 0 && first + count <= set->count, "a part of features that are not there");
    *part = (FeatureSet){.count = count, .dimension = set->dimension, .classes = set->classes};
    part->rows = rows_permuted(set->rows, set->dimension, set->count, first, count);
    if (set->logits) part->logits = rows_permuted(set->logits, set->classes, set->count, first, count);
    moments_of_rows(part);
}

Points feature_set_points(const FeatureSet *set) {
    CHECK(set->rows, "these features were not kept");
    return (Points){set->rows, (int)set->count, set->dimension};
}

void feature_set_free(FeatureSet *set) {
    if (set->moments.mean) moments_free(&set->moments);
    free(set->rows);
    free(set->logits);
    *set = (FeatureSet){0};
}

/* ---- the cache ---- */

static const char *cache_path(const Space *space, const char *reference_hash, const char *folder,
                              char path[1024]) {
    char name[96];
    snprintf(name, sizeof name, "moments-%s-%.16s-%.16s.npz", space->name, space->hash.hex, reference_hash);
    return path_join(path, folder, name);
}

static bool is_doubles(const NpyArray *array, int64_t count) {
    return array && array->type == NPY_F64 && npy_count(array) == count;
}

bool feature_cache_read(FeatureSet *set, const Space *space, const char *reference_hash, const char *folder) {
    char path[1024];
    NpzMember *members;
    int count;
    const int64_t d = space->dimension;
    if (!file_exists(cache_path(space, reference_hash, folder, path)) ||
        !npz_read(path, &members, &count, NULL))
        return false;
    const NpyArray *mean = npz_find(members, count, "mean"), *scatter = npz_find(members, count, "scatter"),
                   *n = npz_find(members, count, "count");
    const bool ok = is_doubles(mean, d) && is_doubles(scatter, d * d) && n && n->type == NPY_I64 &&
                    npy_count(n) == 1 && *(int64_t *)n->data > 0;
    if (ok) {
        *set = (FeatureSet){.count = *(int64_t *)n->data, .dimension = (int)d};
        set->moments = moments_create((int)d);
        set->moments.count = set->count;
        memcpy(set->moments.mean, mean->data, (size_t)d * sizeof(double));
        memcpy(set->moments.scatter, scatter->data, (size_t)(d * d) * sizeof(double));
    }
    npz_free(members, count);
    return ok;
}

bool feature_cache_write(const FeatureSet *set, const Space *space, const char *reference_hash,
                         const char *folder, Error *error) {
    char path[1024];
    int64_t n = set->count;
    const NpzMember members[] = {
        {"mean", {NPY_F64, 1, {set->dimension}, set->moments.mean}},
        {"scatter", {NPY_F64, 2, {set->dimension, set->dimension}, set->moments.scatter}},
        {"count", {NPY_I64, 1, {1}, &n}},
    };
    return folder_make(folder, error) &&
           npz_write(cache_path(space, reference_hash, folder, path), members, 3, error);
}
