/* The protocols that names stand for: which subsets, which parts, which neighbours. */
#include "eval/metric.h"

#include "eval/inception_score.h"
#include "eval/kernel_distance.h"
#include "eval/manifold.h"

#include <stdio.h>
#include <string.h>

enum {
    SUBSETS = 100,
    SUBSET_SIZE = 1000,
    SUBSET_SEED = 2020,
    PARTS = 10,
    MOST_REAL = 10000,
    NEIGHBOUR = 3,
    NEIGHBOUR_DENSITY = 5
};

#define SPACE_NAMES(space) \
    "fd-" space, "kd-" space, "precision-" space, "recall-" space, "density-" space, "coverage-" space
const char *const metric_names[] = {SPACE_NAMES("random"),
                                    SPACE_NAMES("classifier"),
                                    SPACE_NAMES("classifier-loss"),
                                    SPACE_NAMES("vgg16"),
                                    SPACE_NAMES("vgg16-own"),
                                    SPACE_NAMES("inception-own"),
                                    "fid",
                                    "kid",
                                    "is",
                                    "precision",
                                    "recall",
                                    "density-inception",
                                    "coverage-inception",
                                    "fid-pytorch-fid",
                                    "kid-pytorch-fid",
                                    "classifier",
                                    NULL};

static const struct {
    const char *word;
    MetricKind kind;
} kinds[] = {
    {"fd", METRIC_FRECHET},          {"kd", METRIC_KERNEL},
    {"precision", METRIC_PRECISION}, {"recall", METRIC_RECALL},
    {"density", METRIC_DENSITY},     {"coverage", METRIC_COVERAGE},
    {"fid", METRIC_FRECHET},         {"kid", METRIC_KERNEL},
    {"is", METRIC_INCEPTION_SCORE},  {"classifier", METRIC_CLASSIFIER},
};

static bool name_known(const char *name) {
    for (int i = 0; metric_names[i]; i++)
        if (!strcmp(metric_names[i], name)) return true;
    return false;
}

bool metric_find(const char *name, Metric *metric) {
    const size_t length = strcspn(name, "-");
    if (!name_known(name)) return false;
    *metric = (Metric){0};
    snprintf(metric->name, sizeof metric->name, "%s", name);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strlen(kinds[i].word) == length && !strncmp(kinds[i].word, name, length))
            metric->kind = kinds[i].kind;
    if (metric->kind != METRIC_CLASSIFIER)
        snprintf(metric->space, sizeof metric->space, "%s", name[length] ? name + length + 1 : "inception");
    return true;
}

bool metric_needs_rows(MetricKind kind) {
    return kind != METRIC_FRECHET && kind != METRIC_INCEPTION_SCORE && kind != METRIC_CLASSIFIER;
}

/* ---- values ---- */

typedef struct Scoring {
    const FeatureSet *samples, *reference;
    const char *suffix;
    Score *out;
    int count;
    bool have_manifold; /* four metrics come from one pass over all pairs */
    ManifoldScores manifold;
    int real; /* how many took part in it */
    Error *error;
} Scoring;

static void score_add(Scoring *s, const Metric *metric, const char *part, double value,
                      const char *protocol) {
    Score *score = &s->out[s->count++];
    const bool distance = metric->kind == METRIC_FRECHET || metric->kind == METRIC_KERNEL;
    const char *suffix = !distance && !strcmp(s->suffix, "-floor") ? "-real" : s->suffix;
    snprintf(score->name, sizeof score->name, "%s%s%s", metric->name, suffix, part);
    snprintf(score->protocol, sizeof score->protocol, "%s", protocol);
    score->value = value;
}

static bool score_frechet(Scoring *s, const Metric *metric) {
    double distance;
    if (!frechet_distance(&s->samples->moments, &s->reference->moments, &distance, s->error)) return false;
    score_add(s, metric, "", distance, "");
    return true;
}

/* Subsets of half the images where there are fewer than two thousand: subsets of all would not differ. */
static bool score_kernel(Scoring *s, const Metric *metric) {
    const int64_t a = s->samples->count, b = s->reference->count, least = a < b ? a : b;
    const int size = least < 2 * SUBSET_SIZE ? (int)(least / 2) : SUBSET_SIZE;
    char protocol[48];
    KernelEstimate estimate;
    if (size < 2)
        return error_set(s->error, "%s of %lld and %lld images: at least 4 of each are needed", metric->name,
                         (long long)a, (long long)b);
    if (!kernel_estimate(feature_set_points(s->samples), feature_set_points(s->reference), SUBSETS, size,
                         SUBSET_SEED, &estimate, s->error))
        return false;
    snprintf(protocol, sizeof protocol, "%d subsets of %d", SUBSETS, size);
    score_add(s, metric, "", estimate.mean, protocol);
    score_add(s, metric, "-deviation", estimate.deviation, protocol);
    return true;
}

static bool manifold_find(Scoring *s) {
    FeatureSet part = {0};
    const bool many = s->reference->count > MOST_REAL;
    if (s->have_manifold) return true;
    if (many) feature_set_part(s->reference, 0, MOST_REAL, &part);
    const Points real = feature_set_points(many ? &part : s->reference);
    s->real = real.count;
    s->have_manifold = manifold_scores(real, feature_set_points(s->samples), NEIGHBOUR, NEIGHBOUR_DENSITY,
                                       &s->manifold, s->error);
    feature_set_free(&part);
    return s->have_manifold;
}

static bool score_manifold(Scoring *s, const Metric *metric) {
    char protocol[48];
    if (!manifold_find(s)) return false;
    const bool dense = metric->kind == METRIC_DENSITY || metric->kind == METRIC_COVERAGE;
    const ManifoldScores *m = &s->manifold;
    snprintf(protocol, sizeof protocol, "k %d, %d real", dense ? NEIGHBOUR_DENSITY : NEIGHBOUR, s->real);
    score_add(s, metric, "",
              metric->kind == METRIC_PRECISION ? m->precision
              : metric->kind == METRIC_RECALL  ? m->recall
              : metric->kind == METRIC_DENSITY ? m->density
                                               : m->coverage,
              protocol);
    return true;
}

static bool score_inception(Scoring *s, const Metric *metric) {
    InceptionScore score;
    char protocol[48];
    CHECK(s->samples->logits, "%s needs logits", metric->name);
    if (!inception_score(s->samples->logits, (int)s->samples->count, s->samples->classes, PARTS, &score,
                         s->error))
        return false;
    snprintf(protocol, sizeof protocol, "%d parts", PARTS);
    score_add(s, metric, "", score.mean, protocol);
    score_add(s, metric, "-deviation", score.deviation, protocol);
    return true;
}

int metrics_score(const Metric *metrics, int count, const FeatureSet *samples, const FeatureSet *reference,
                  const char *suffix, Score *out, Error *error) {
    Scoring s = {.samples = samples, .reference = reference, .suffix = suffix, .out = out, .error = error};
    for (int i = 0; i < count; i++) {
        const MetricKind kind = metrics[i].kind;
        const bool done = kind == METRIC_FRECHET           ? score_frechet(&s, &metrics[i])
                          : kind == METRIC_KERNEL          ? score_kernel(&s, &metrics[i])
                          : kind == METRIC_INCEPTION_SCORE ? score_inception(&s, &metrics[i])
                                                           : score_manifold(&s, &metrics[i]);
        if (!done) return -1;
    }
    return s.count;
}
