/* One set of images after another through every space that a metric asks for. */
#include "eval/evaluate.h"

#include "base/log.h"
#include "base/text.h"
#include "eval/evaluation_cache.h"
#include "eval/extractor.h"
#include "eval/metric.h"
#include "eval/statistics.h"
#include "eval/trivial.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_SPACES = 8,
    MOST_METRICS = 24,
    MOST_TRIVIAL = 10000,
    BESIDE_RECIPE = 1 /* changes with what evaluator_reference() computes */
};
static const double CONFIDENT = 0.9;

/* A space with the metrics on it. */
typedef struct Field {
    Space space;
    Metric metrics[MOST_METRICS];
    int count;
    FeatureKeep keep;
    FeatureSet reference; /* computed when first needed */
    bool ready;
} Field;

struct Evaluator {
    const Dataset *data;
    char reference_hash[65], cache[1024];
    Field fields[MOST_SPACES];
    int field_count;
    bool judged;           /* `classifier` is asked for */
    Extractor *classifier; /* NULL when not */
    double accuracy;       /* of the classifier on held-out images */
};

const char *rounding_name(Rounding rounding) {
    return rounding == ROUNDING_ROUND ? "round" : "trunc";
}

/* ---- opening ---- */

bool evaluation_check(const EvaluationConfig *config, const Dataset *reference, const char *weights_folder,
                      Error *error) {
    for (int i = 0; i < config->metric_count; i++) {
        Metric metric;
        if (!metric_find(config->metrics[i], &metric))
            return error_set(error, "there is no metric '%s'", config->metrics[i]);
        if (*metric.space && !space_available(metric.space, reference, weights_folder, error))
            return error_wrap(error, "%s", metric.name);
    }
    return true;
}

static bool field_find(Evaluator *e, const Metric *metric, Device *device, const SpaceFolders *folders,
                       Field **field, Error *error) {
    for (int i = 0; i < e->field_count; i++) {
        *field = &e->fields[i];
        if (!strcmp((*field)->space.name, metric->space)) return true;
    }
    CHECK(e->field_count < MOST_SPACES, "more than %d feature spaces", MOST_SPACES);
    *field = &e->fields[e->field_count];
    if (!space_open(metric->space, e->data, device, folders, &(*field)->space, error))
        return error_wrap(error, "%s", metric->name);
    e->field_count++;
    return true;
}

static bool metric_open(Evaluator *e, const char *name, Device *device, const SpaceFolders *folders,
                        Error *error) {
    Metric metric;
    Field *field;
    if (!metric_find(name, &metric)) return error_set(error, "there is no metric '%s'", name);
    if (metric.kind == METRIC_CLASSIFIER) return e->judged = true;
    if (!field_find(e, &metric, device, folders, &field, error)) return false;
    for (int i = 0; i < field->count; i++)
        if (!strcmp(field->metrics[i].name, name)) return true; /* named twice */
    CHECK(field->count < MOST_METRICS, "more than %d metrics", MOST_METRICS);
    field->metrics[field->count++] = metric;
    field->keep.rows |= metric_needs_rows(metric.kind);
    field->keep.logits |= metric.kind == METRIC_INCEPTION_SCORE;
    return true;
}

static bool moments_suffice(const Field *field) {
    return !field->keep.rows && !field->keep.logits;
}

static void reference_keep(const Evaluator *e, const Field *field) {
    Error why;
    if (!feature_cache_write(&field->reference, &field->space, e->data->hash.hex, e->cache, &why))
        log_warn("%s", why.text); /* the next evaluation computes it again */
}

static bool field_reference(const Evaluator *e, Field *field, Error *error) {
    const Dataset *data = e->data;
    if (field->ready) return true;
    field->ready = moments_suffice(field) &&
                   feature_cache_read(&field->reference, &field->space, data->hash.hex, e->cache);
    if (field->ready) return true;
    const FeatureKeep keep = {.rows = !moments_suffice(field), .logits = field->keep.logits};
    if (!feature_set_compute(&field->reference, &field->space, data->images, data->count, image_size(data),
                             keep, error))
        return error_wrap(error, "data set '%s'", data->name);
    reference_keep(e, field);
    return field->ready = true;
}

static Evaluator *evaluator_create(const EvaluationConfig *config, const Dataset *data, Device *device,
                                   const SpaceFolders *folders, Error *error) {
    Evaluator *e = calloc(1, sizeof *e);
    CHECK(e, "out of memory");
    e->data = data;
    snprintf(e->cache, sizeof e->cache, "%s", folders->cache);
    bool ok = true;
    for (int i = 0; ok && i < config->metric_count; i++)
        ok = metric_open(e, config->metrics[i], device, folders, error);
    if (ok) return e;
    evaluator_close(e);
    return NULL;
}

Evaluator *evaluator_open(const EvaluationConfig *config, const Dataset *reference, Device *device,
                          const SpaceFolders *folders, Error *error) {
    Evaluator *e = evaluator_create(config, reference, device, folders, error);
    if (!e) return NULL;
    snprintf(e->reference_hash, sizeof e->reference_hash, "%s", reference->hash.hex);
    if (!e->judged) return e;
    e->classifier = extractor_classifier(reference, device, folders->cache, &e->accuracy, error);
    if (e->classifier) return e;
    evaluator_close(e);
    return NULL;
}

static bool statistics_suit(const Evaluator *e, const char *path, Error *error) {
    if (e->judged || e->field_count != 1)
        return error_set(error, "%s: statistics serve the Frechet distance of one feature space", path);
    const Field *field = &e->fields[0];
    for (int i = 0; i < field->count; i++)
        if (field->metrics[i].kind != METRIC_FRECHET)
            return error_set(error,
                             "%s: statistics hold no images, which %s needs; name a data set as reference",
                             path, field->metrics[i].name);
    return true;
}

static bool statistics_open(Evaluator *e, const char *path, Error *error) {
    Hash hash;
    if (!statistics_suit(e, path, error)) return false;
    Field *field = &e->fields[0];
    if (!statistics_read(path, field->space.hash.hex, &field->reference, &hash, error)) return false;
    snprintf(e->reference_hash, sizeof e->reference_hash, "%s", hash.hex);
    field->ready = true;
    return field->reference.dimension == field->space.dimension ||
           error_set(error, "%s: statistics of %d features, but %s has %d", path, field->reference.dimension,
                     field->space.name, field->space.dimension);
}

Evaluator *evaluator_open_statistics(const EvaluationConfig *config, const Dataset *like, const char *path,
                                     Device *device, const SpaceFolders *folders, Error *error) {
    Evaluator *e = evaluator_create(config, like, device, folders, error);
    if (!e || statistics_open(e, path, error)) return e;
    evaluator_close(e);
    return NULL;
}

void evaluator_close(Evaluator *e) {
    if (!e) return;
    for (int i = 0; i < e->field_count; i++) {
        space_close(&e->fields[i].space);
        feature_set_free(&e->fields[i].reference);
    }
    extractor_close(e->classifier);
    free(e);
}

/* ---- lists of numbers ---- */

typedef struct EvaluationList {
    const Evaluator *evaluator;
    const char *rounding; /* "": the images have always been bytes */
    Evaluation *items;
    int count;
} EvaluationList;

/* Behind what is there, as "...; text"; nothing where there is none. */
static void protocol_append(Evaluation *e, const char *text) {
    const size_t length = strlen(e->protocol);
    snprintf(e->protocol + length, sizeof e->protocol - length, "%s%s", length && *text ? "; " : "", text);
}

static void list_add(EvaluationList *list, const char *features_hash, int samples, double value,
                     const char *metric, const char *protocol) {
    CHECK(list->count < MAX_EVALUATIONS, "more than %d evaluations", MAX_EVALUATIONS);
    Evaluation *e = &list->items[list->count++];
    *e = (Evaluation){.value = value, .samples = samples};
    snprintf(e->metric, sizeof e->metric, "%.63s", metric);
    snprintf(e->features_hash, sizeof e->features_hash, "%s", features_hash);
    snprintf(e->reference_hash, sizeof e->reference_hash, "%s", list->evaluator->reference_hash);
    protocol_append(e, list->rounding);
    protocol_append(e, protocol);
}

static bool list_scores(EvaluationList *list, const Field *field, const FeatureSet *samples,
                        const FeatureSet *reference, const char *suffix, Error *error) {
    Score scores[2 * MOST_METRICS];
    const int count = metrics_score(field->metrics, field->count, samples, reference, suffix, scores, error);
    for (int i = 0; i < count; i++) {
        list_add(list, field->space.hash.hex, (int)samples->count, scores[i].value, scores[i].name,
                 scores[i].protocol);
        protocol_append(&list->items[list->count - 1], field->space.note);
    }
    return count >= 0;
}

static bool list_images(EvaluationList *list, Field *field, const uint8_t *images, int count,
                        const char *suffix, Error *error) {
    FeatureSet samples;
    if (!field_reference(list->evaluator, field, error) ||
        !feature_set_compute(&samples, &field->space, images, count, image_size(list->evaluator->data),
                             field->keep, error))
        return false;
    const bool ok = list_scores(list, field, &samples, &field->reference, suffix, error);
    feature_set_free(&samples);
    return ok;
}

/* ---- the classifier ---- */

/* The largest probability of one row of logits, and whose it is. */
static double row_best(const float *logits, int classes, int *best) {
    double sum = 0;
    *best = 0;
    for (int k = 1; k < classes; k++)
        if (logits[k] > logits[*best]) *best = k;
    for (int k = 0; k < classes; k++) sum += exp((double)logits[k] - (double)logits[*best]);
    return 1 / sum;
}

static void list_classifier(EvaluationList *list, Extractor *extractor, const uint8_t *images, int count) {
    const int classes = extractor->dimension;
    float *logits = malloc((size_t)count * (size_t)classes * sizeof *logits);
    int *called = calloc((size_t)classes, sizeof *called), confident = 0;
    CHECK(logits && called, "out of memory");
    extractor_run(extractor, images, count, logits);
    for (int i = 0; i < count; i++) {
        int best = 0;
        confident += row_best(logits + (size_t)i * (size_t)classes, classes, &best) > CONFIDENT;
        called[best]++;
    }
    list_add(list, extractor->hash.hex, count, (double)confident / count, "classifier-confident", "");
    for (int k = 0; k < classes; k++) {
        char metric[48];
        snprintf(metric, sizeof metric, "classifier-class-%d", k);
        list_add(list, extractor->hash.hex, count, (double)called[k] / count, metric, "");
    }
    free(logits);
    free(called);
}

/* ---- given images ---- */

int evaluator_run(Evaluator *e, const uint8_t *images, int count, const char *rounding, Evaluation *out,
                  Error *error) {
    EvaluationList list = {.evaluator = e, .rounding = rounding, .items = out};
    for (int i = 0; i < e->field_count; i++)
        if (!list_images(&list, &e->fields[i], images, count, "", error)) return -1;
    if (e->classifier) list_classifier(&list, e->classifier, images, count);
    return list.count;
}

bool evaluator_write_statistics(Evaluator *e, const uint8_t *images, int count, const char *path,
                                Error *error) {
    FeatureSet set;
    if (!e->field_count) return error_set(error, "%s: no metric has a feature space", path);
    const Space *space = &e->fields[0].space;
    if (!feature_set_compute(&set, space, images, count, image_size(e->data), (FeatureKeep){0}, error))
        return false;
    const bool ok = statistics_write(path, space->hash.hex, &set, error);
    feature_set_free(&set);
    return ok;
}

/* ---- what to read them beside ---- */

/* At most half of the real images, `n`, and the other half. Where moments suffice they come from the very
 * pass that gives the reference's. */
static bool floor_sets(const Evaluator *e, Field *field, int n, FeatureSet sets[2], Error *error) {
    const Dataset *data = e->data;
    const int half = data->count / 2;
    FeatureSet all;
    if (!moments_suffice(field)) {
        if (!field_reference(e, field, error)) return false;
        feature_set_part(&field->reference, 0, n, &sets[0]);
        feature_set_part(&field->reference, half, half, &sets[1]);
        return true;
    }
    if (!feature_set_halves(&all, sets, &field->space, data->images, data->count, image_size(data), n, error))
        return error_wrap(error, "data set '%s'", data->name);
    if (field->ready) feature_set_free(&field->reference);
    field->reference = all, field->ready = true;
    reference_keep(e, field);
    return true;
}

static bool list_floor(EvaluationList *list, Field *field, int count, Error *error) {
    const int half = list->evaluator->data->count / 2;
    FeatureSet sets[2];
    if (!floor_sets(list->evaluator, field, count < half ? count : half, sets, error)) return false;
    const bool ok = list_scores(list, field, &sets[0], &sets[1], "-floor", error);
    for (int i = 0; i < 2; i++) feature_set_free(&sets[i]);
    return ok;
}

static bool list_trivial(EvaluationList *list, Field *field, uint8_t *images, int count, const char *suffix,
                         Error *error) {
    const bool ok = list_images(list, field, images, count, suffix, error);
    free(images);
    return ok;
}

/* Generators that learned nothing are far off however many images are drawn: enough for a covariance do. */
static int trivial_count(const Field *field, int count) {
    const int enough = 4 * field->space.dimension, most = enough > MOST_TRIVIAL ? enough : MOST_TRIVIAL;
    return count < most ? count : most;
}

static bool field_beside(EvaluationList *list, Field *field, int count, Error *error) {
    const Dataset *data = list->evaluator->data;
    const int few = trivial_count(field, count);
    return list_floor(list, field, count, error) &&
           list_trivial(list, field, mean_noise_images(data, few), few, "-mean-noise", error) &&
           list_trivial(list, field, pixel_images(data, few), few, "-pixels", error);
}

/* What decides these numbers, for the name of the file that keeps them. */
static Hash beside_key(const Evaluator *e, const Field *field, int count) {
    Text text = {0};
    text_append(&text, "recipe %d, space %s, reference %s, %d images", BESIDE_RECIPE, field->space.hash.hex,
                e->data->hash.hex, count);
    for (int i = 0; i < field->count; i++) text_append(&text, ", %s", field->metrics[i].name);
    const Hash key = hash_bytes(text.text, text.length);
    text_free(&text);
    return key;
}

static bool field_list_reference(EvaluationList *list, Field *field, int count, Error *error) {
    const Evaluator *e = list->evaluator;
    const Hash key = beside_key(e, field, count);
    const int before = list->count;
    const int read = evaluations_read(e->cache, &key, list->items + before, MAX_EVALUATIONS - before);
    if (read >= 0) {
        list->count += read;
        return true;
    }
    Error why;
    if (!field_beside(list, field, count, error)) return false;
    if (!evaluations_write(e->cache, &key, list->items + before, list->count - before, &why))
        log_warn("%s", why.text); /* the next evaluation computes them again */
    return true;
}

int evaluator_reference(Evaluator *e, int count, Evaluation *out, Error *error) {
    EvaluationList list = {.evaluator = e, .rounding = "", .items = out};
    CHECK(e->data->images, "statistics have no halves");
    for (int i = 0; i < e->field_count; i++)
        if (!field_list_reference(&list, &e->fields[i], count, error)) return -1;
    if (e->classifier) {
        const int n = count < e->data->count ? count : e->data->count;
        uint8_t *images = real_images(e->data, 0, n);
        list_add(&list, e->classifier->hash.hex, e->data->count / 10, e->accuracy, "classifier-accuracy", "");
        list_classifier(&list, e->classifier, images, n);
        free(images);
    }
    return list.count;
}
