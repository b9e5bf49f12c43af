#include "eval/evaluate.h"
#include "backend/order.h"
#include "eval/judge.h"
#include "eval/moments.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const evaluation_metrics[] = {"fd-random", "classifier", NULL};

enum { CHUNK = 1024, ORDER_SEED = 9 };
static const double CONFIDENT = 0.9;

struct Evaluator {
    const Dataset *data;
    Judge *random, *classifier; /* NULL when not asked for */
    Moments reference;          /* of all real images, on the random features */
    double accuracy;            /* of the classifier on held-out images */
};

static bool wants(const EvaluationConfig *config, const char *metric) {
    for (int i = 0; i < config->metric_count; i++)
        if (!strcmp(config->metrics[i], metric)) return true;
    return false;
}

static size_t image_size(const Dataset *data) {
    return (size_t)data->height * (size_t)data->width * (size_t)data->channels;
}

static Moments image_moments(Judge *judge, const uint8_t *images, int count) {
    Moments moments = moments_create(judge->net.dimension);
    float *features = malloc((size_t)CHUNK * (size_t)judge->net.dimension * sizeof *features);
    CHECK(features, "out of memory");
    const size_t size = (size_t)judge->height * (size_t)judge->width * (size_t)judge->channels;
    for (int first = 0; first < count; first += CHUNK) {
        const int n = count - first < CHUNK ? count - first : CHUNK;
        judge_run(judge, images + (size_t)first * size, n, features);
        moments_add(&moments, features, n);
    }
    free(features);
    return moments;
}

Evaluator *evaluator_open(const EvaluationConfig *config, const Dataset *reference, Device *device,
                          const char *cache_folder, Error *error) {
    Evaluator *e = calloc(1, sizeof *e);
    CHECK(e, "out of memory");
    e->data = reference;
    if (wants(config, "fd-random")) {
        e->random = judge_random(reference, device);
        e->reference = image_moments(e->random, reference->images, reference->count);
    }
    if (wants(config, "classifier")) {
        e->classifier = judge_classifier(reference, device, cache_folder, &e->accuracy, error);
        if (!e->classifier) {
            evaluator_close(e);
            return NULL;
        }
    }
    return e;
}

void evaluator_close(Evaluator *e) {
    if (!e) return;
    judge_close(e->random);
    judge_close(e->classifier);
    if (e->reference.mean) moments_free(&e->reference);
    free(e);
}

/* ---------------------------------------------------------------------------------------------- one set of
 * images */

typedef struct EvaluationList {
    const Evaluator *evaluator;
    Evaluation *items;
    int count;
} EvaluationList;

static void list_add(EvaluationList *list, const Judge *judge, int samples, double value,
                     const char *metric) {
    CHECK(list->count < MAX_EVALUATIONS, "more than %d evaluations", MAX_EVALUATIONS);
    Evaluation *e = &list->items[list->count++];
    *e = (Evaluation){.value = value, .samples = samples};
    snprintf(e->metric, sizeof e->metric, "%s", metric);
    snprintf(e->features_hash, sizeof e->features_hash, "%s", judge->hash.hex);
    snprintf(e->reference_hash, sizeof e->reference_hash, "%s", list->evaluator->data->hash.hex);
}

static bool list_frechet(EvaluationList *list, Judge *judge, const Moments *reference, const uint8_t *images,
                         int count, const char *metric, Error *error) {
    double distance = 0;
    Moments moments = image_moments(judge, images, count);
    const bool ok = frechet_distance(&moments, reference, &distance, error);
    if (ok) list_add(list, judge, count, distance, metric);
    moments_free(&moments);
    return ok;
}

/* The largest probability of one row of logits, and whose it is. */
static double row_best(const float *logits, int classes, int *best) {
    double sum = 0;
    *best = 0;
    for (int k = 1; k < classes; k++)
        if (logits[k] > logits[*best]) *best = k;
    for (int k = 0; k < classes; k++) sum += exp((double)logits[k] - (double)logits[*best]);
    return 1 / sum;
}

static void list_classifier(EvaluationList *list, Judge *judge, const uint8_t *images, int count) {
    const int classes = judge->net.dimension;
    float *logits = malloc((size_t)count * (size_t)classes * sizeof *logits);
    int *called = calloc((size_t)classes, sizeof *called), confident = 0;
    CHECK(logits && called, "out of memory");
    judge_run(judge, images, count, logits);
    for (int i = 0; i < count; i++) {
        int best = 0;
        confident += row_best(logits + (size_t)i * (size_t)classes, classes, &best) > CONFIDENT;
        called[best]++;
    }
    list_add(list, judge, count, (double)confident / count, "classifier-confident");
    for (int k = 0; k < classes; k++) {
        char metric[48];
        snprintf(metric, sizeof metric, "classifier-class-%d", k);
        list_add(list, judge, count, (double)called[k] / count, metric);
    }
    free(logits);
    free(called);
}

int evaluator_run(Evaluator *e, const uint8_t *images, int count, Evaluation *out, Error *error) {
    EvaluationList list = {.evaluator = e, .items = out};
    if (e->random && !list_frechet(&list, e->random, &e->reference, images, count, "fd-random", error))
        return -1;
    if (e->classifier) list_classifier(&list, e->classifier, images, count);
    return list.count;
}

/* ---------------------------------------------------------------------------------------------- what to read
 * them beside */

static uint8_t *image_buffer(const Dataset *data, int count) {
    uint8_t *images = malloc((size_t)count * image_size(data));
    CHECK(images, "out of memory: %d images", count);
    return images;
}

/* Real images `first` .. of a fixed random order. */
static uint8_t *real_images(const Dataset *data, int first, int count) {
    const size_t size = image_size(data);
    uint8_t *images = image_buffer(data, count);
    for (int i = 0; i < count; i++) {
        const uint32_t from = order_permute(ORDER_SEED, 0, (uint32_t)(first + i), (uint32_t)data->count);
        memcpy(images + (size_t)i * size, data->images + from * size, size);
    }
    return images;
}

/* The mean image, each pixel with normal noise of that pixel's standard deviation. */
static uint8_t *mean_noise_images(const Dataset *data, int count) {
    const size_t size = image_size(data);
    uint8_t *images = image_buffer(data, count);
    for (size_t p = 0; p < size; p++) {
        double sum = 0, square = 0;
        for (int i = 0; i < data->count; i++) {
            const double v = data->images[(size_t)i * size + p];
            sum += v, square += v * v;
        }
        const double mean = sum / data->count, deviation = sqrt(fmax(square / data->count - mean * mean, 0));
        for (int i = 0; i < count; i++) {
            const RandomKey key = {ORDER_SEED, STREAM_EVALUATE, 0, (uint32_t)i};
            const double z = (double)random_normal4(random_block(key, (uint32_t)(p / 4))).x[p % 4];
            images[(size_t)i * size + p] = (uint8_t)fmin(fmax(mean + deviation * z + 0.5, 0), 255);
        }
    }
    return images;
}

/* Every value from the same place of another real image. */
static uint8_t *pixel_images(const Dataset *data, int count) {
    const size_t size = image_size(data);
    uint8_t *images = image_buffer(data, count);
    for (int i = 0; i < count; i++) {
        const RandomKey key = {ORDER_SEED, STREAM_EVALUATE, 1, (uint32_t)i};
        for (size_t p = 0; p < size; p++) {
            const uint32_t from = (uint32_t)(((uint64_t)random_block(key, (uint32_t)(p / 4)).x[p % 4] *
                                              (uint64_t)data->count) >>
                                             32);
            images[(size_t)i * size + p] = data->images[from * size + p];
        }
    }
    return images;
}

/* At most half of the real images against the other half. */
static bool list_floor(EvaluationList *list, const Evaluator *e, int count, Error *error) {
    const int half = e->data->count / 2, n = count < half ? count : half;
    uint8_t *ours = real_images(e->data, 0, n), *others = real_images(e->data, half, half);
    Moments reference = image_moments(e->random, others, half);
    const bool ok = list_frechet(list, e->random, &reference, ours, n, "fd-random-floor", error);
    moments_free(&reference);
    free(ours);
    free(others);
    return ok;
}

static bool list_trivial(EvaluationList *list, const Evaluator *e, uint8_t *images, int count,
                         const char *metric, Error *error) {
    const bool ok = list_frechet(list, e->random, &e->reference, images, count, metric, error);
    free(images);
    return ok;
}

int evaluator_reference(Evaluator *e, int count, Evaluation *out, Error *error) {
    EvaluationList list = {.evaluator = e, .items = out};
    if (e->random &&
        !(list_floor(&list, e, count, error) &&
          list_trivial(&list, e, mean_noise_images(e->data, count), count, "fd-random-mean-noise", error) &&
          list_trivial(&list, e, pixel_images(e->data, count), count, "fd-random-pixels", error)))
        return -1;
    if (e->classifier) {
        const int n = count < e->data->count ? count : e->data->count;
        uint8_t *images = real_images(e->data, 0, n);
        list_add(&list, e->classifier, e->data->count / 10, e->accuracy, "classifier-accuracy");
        list_classifier(&list, e->classifier, images, n);
        free(images);
    }
    return list.count;
}
