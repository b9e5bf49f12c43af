/* Features are computed a chunk at a time; moments are accumulated on the way, so that a Frechet distance
 * alone needs no memory for the vectors. A thread adds a chunk's moments while the network is busy with the
 * next: on a card they would cost as much time again as a small network does. */
#include "eval/feature_set.h"

#include "backend/order.h"
#include "base/file.h"
#include "base/npy.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1024, ORDER_SEED = 9, SETS = 3 /* two halves, and what is in neither */ };

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

/* ---- a chunk's moments, while the next chunk's features are computed ---- */

typedef struct Adder {
    pthread_t thread;
    bool running;
    Moments *moments;    /* a set each, */
    const uint8_t *sets; /* which this names for every image; NULL: all are of the first */
    const float *rows;
    int64_t first, count, dimension;
} Adder;

/* Rows of each set, side by side in the order that they have. */
static void sets_add(const Adder *adder, int set) {
    float *rows = floats(adder->count, (int)adder->dimension);
    int64_t count = 0;
    for (int64_t i = 0; i < adder->count; i++)
        if (adder->sets[adder->first + i] == set)
            memcpy(rows + count++ * adder->dimension, adder->rows + i * adder->dimension,
                   (size_t)adder->dimension * sizeof *rows);
    moments_add(&adder->moments[set], rows, count);
    free(rows);
}

static void *adder_work(void *argument) {
    const Adder *adder = argument;
    if (!adder->sets) moments_add(adder->moments, adder->rows, adder->count);
    for (int set = 0; adder->sets && set < SETS; set++) sets_add(adder, set);
    return NULL;
}

static void adder_wait(Adder *adder) {
    if (adder->running) pthread_join(adder->thread, NULL);
    adder->running = false;
}

/* Where no thread can be had it is done at once. */
static void adder_start(Adder *adder, const float *rows, int64_t first, int64_t count) {
    adder_wait(adder);
    adder->rows = rows, adder->first = first, adder->count = count;
    adder->running = pthread_create(&adder->thread, NULL, adder_work, adder) == 0;
    if (!adder->running) adder_work(adder);
}

/* ---- computing ---- */

static bool chunks_compute(FeatureSet *set, const Space *space, const uint8_t *images, size_t image_size,
                           Adder *adder, Error *error) {
    float *chunk[2] = {NULL, NULL};
    for (int i = 0; i < 2 && !set->rows; i++) chunk[i] = floats(CHUNK, space->dimension);
    bool ok = true;
    for (int64_t first = 0; ok && first < set->count; first += CHUNK) {
        const int n = set->count - first < CHUNK ? (int)(set->count - first) : CHUNK;
        float *rows = set->rows ? set->rows + first * space->dimension : chunk[first / CHUNK % 2];
        space->run(space->network, images + (size_t)first * image_size, n, rows,
                   set->logits ? set->logits + first * space->classes : NULL);
        ok = rows_finite(rows, n, space->dimension, first, error);
        if (ok) adder_start(adder, rows, first, n);
    }
    adder_wait(adder);
    for (int i = 0; i < 2; i++) free(chunk[i]);
    return ok;
}

bool feature_set_compute(FeatureSet *set, const Space *space, const uint8_t *images, int64_t count,
                         size_t image_size, FeatureKeep keep, Error *error) {
    keep.logits = keep.logits && space->classes;
    set_prepare(set, space, count, keep);
    Adder adder = {.moments = &set->moments, .dimension = space->dimension};
    const bool ok = chunks_compute(set, space, images, image_size, &adder, error);
    if (!ok) feature_set_free(set);
    return ok;
}

bool feature_set_halves(FeatureSet *all, FeatureSet halves[2], const Space *space, const uint8_t *images,
                        int64_t count, size_t image_size, int64_t n, Error *error) {
    uint8_t *sets = malloc((size_t)count + 1);
    CHECK(sets && n <= count / 2, "halves of %lld images, of %lld", (long long)count, (long long)n);
    memset(sets, 2, (size_t)count);
    for (int64_t i = 0; i < count / 2; i++) {
        if (i < n) sets[order_permute(ORDER_SEED, 0, (uint32_t)i, (uint32_t)count)] = 0;
        sets[order_permute(ORDER_SEED, 0, (uint32_t)(count / 2 + i), (uint32_t)count)] = 1;
    }
    Moments moments[SETS];
    for (int i = 0; i < SETS; i++) moments[i] = moments_create(space->dimension);
    set_prepare(all, space, count, (FeatureKeep){0});
    Adder adder = {.moments = moments, .sets = sets, .dimension = space->dimension};
    const bool ok = chunks_compute(all, space, images, image_size, &adder, error);
    for (int i = 0; i < SETS; i++) moments_merge(&all->moments, &moments[i]);
    for (int i = 0; i < 2; i++)
        halves[i] =
            (FeatureSet){.count = moments[i].count, .dimension = space->dimension, .moments = moments[i]};
    moments_free(&moments[2]);
    free(sets);
    for (int i = 0; i < 2 && !ok; i++) feature_set_free(&halves[i]);
    if (!ok) feature_set_free(all);
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
