/* `eval` of files: images that another tool drew, statistics and features that another tool computed. Nothing
 * is stored, because no run made them. */
#include "base/file.h"
#include "base/log.h"
#include "base/npy.h"
#include "eval/image_set.h"
#include "eval/metric.h"
#include "eval/statistics.h"
#include "command/eval_command.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- images ---- */

typedef struct EvalFiles {
    const EvalOptions *options;
    Config config;
    ImageSet images;    /* none without --images */
    ImageSet others;    /* the reference, where it is images */
    Dataset data;       /* the reference as a data set, whatever it came from */
    bool stored;        /* ... of the data folder, to be closed */
    bool by_statistics; /* it is a file of mu and sigma */
} EvalFiles;

/* Statistics hold mu; a file of images does not. */
static bool is_statistics(const char *path) {
    NpzMember *members;
    int count;
    const size_t length = strlen(path);
    if (length < 4 || strcmp(path + length - 4, ".npz") || !npz_read(path, &members, &count, NULL))
        return false;
    const bool found = npz_find(members, count, "mu") || npz_find(members, count, "sigma");
    npz_free(members, count);
    return found;
}

/* A path is told from a data set's name by its slash or extension, or by being there. */
static bool is_path(const char *name) {
    struct stat status;
    return strpbrk(name, "./") || stat(name, &status) == 0;
}

static bool reference_open(EvalFiles *files, const Paths *paths, Error *error) {
    const char *name = files->options->reference;
    if (!name) {
        files->data = files->images.data; /* only statistics of the images are wanted */
        return true;
    }
    files->by_statistics = is_statistics(name);
    if (files->by_statistics) {
        files->data = files->images.data;
        files->data.images = NULL;
        return true;
    }
    if (is_path(name)) {
        if (!image_set_read(name, files->options->skip_bad, &files->others, error)) return false;
        files->data = files->others.data;
        return true;
    }
    DataConfig wanted = {.resolution = 0};
    snprintf(wanted.name, sizeof wanted.name, "%s", name);
    if (!strcmp(name, "shapes") && files->images.images) wanted.resolution = files->images.data.height;
    return files->stored = dataset_open(&wanted, paths->data, &files->data, error);
}

static bool sizes_fit(const EvalFiles *files, Error *error) {
    const Dataset *a = &files->images.data, *b = &files->data;
    return (a->height == b->height && a->width == b->width && a->channels == b->channels) ||
           error_set(error,
                     "%s: images of %d x %d x %d cannot be set against %s, whose images are %d x %d x %d: "
                     "resample them first, and say how, because it changes every number",
                     files->options->images, a->height, a->width, a->channels, b->name, b->height, b->width,
                     b->channels);
}

static bool files_judge(EvalFiles *files, Evaluator *evaluator, Error *error) {
    const Dataset *images = &files->images.data;
    Evaluation *numbers = calloc(2 * (size_t)MAX_EVALUATIONS, sizeof *numbers);
    CHECK(numbers, "out of memory");
    Evaluation *floors = numbers + MAX_EVALUATIONS;
    EvalTable table = {0};
    int floor_count = 0, count = -1;
    if (!files->by_statistics) floor_count = evaluator_reference(evaluator, images->count, floors, error);
    if (floor_count >= 0)
        count = evaluator_run(evaluator, images->images, images->count, "as given", numbers, error);
    const bool ok = count >= 0;
    if (ok) {
        eval_table_add(&table, images->name, numbers, count, floors, floor_count);
        eval_table_add(&table, "real and trivial", floors, floor_count, NULL, 0);
    }
    const bool printed = ok && eval_finish_table(&table, files->options, error);
    eval_table_free(&table);
    free(numbers);
    return printed;
}

static bool files_evaluate(EvalFiles *files, const Paths *paths, Device *device, Error *error) {
    const EvalOptions *options = files->options;
    const EvaluationConfig *config = &files->config.evaluation;
    const Dataset *from = files->images.images ? &files->images.data : &files->data;
    char cache[1024];
    const SpaceFolders folders = {path_join(cache, paths->results, "cache"), paths->weights};
    Evaluator *evaluator =
        files->by_statistics
            ? evaluator_open_statistics(config, &files->data, options->reference, device, &folders, error)
            : evaluator_open(config, &files->data, device, &folders, error);
    if (!evaluator) return false;
    const bool ok = (!options->statistics || evaluator_write_statistics(evaluator, from->images, from->count,
                                                                        options->statistics, error)) &&
                    (!options->images || !options->reference || files_judge(files, evaluator, error));
    evaluator_close(evaluator);
    return ok;
}

static bool files_open(EvalFiles *files, const Paths *paths, Error *error) {
    const EvalOptions *options = files->options;
    if ((!options->images || !options->reference) && !options->statistics)
        return error_set(error, "--images needs --reference: a data set (./run data ls), other images, or "
                                "statistics; with --write-stats one of the two is enough");
    return (!options->images || image_set_read(options->images, options->skip_bad, &files->images, error)) &&
           reference_open(files, paths, error) && (!options->images || sizes_fit(files, error));
}

bool eval_images(const EvalOptions *options, const Paths *paths, Device *device, Error *error) {
    EvalFiles files = {.options = options, .config = config_default()};
    const bool ok = eval_options_apply(options, paths, &files.config, error) &&
                    files_open(&files, paths, error) && files_evaluate(&files, paths, device, error);
    if (files.stored) dataset_close(&files.data);
    image_set_free(&files.images);
    image_set_free(&files.others);
    return ok;
}

/* ---- features ---- */

typedef struct FeaturePair {
    FeatureSet a, b;
    Hash hash[2];
    EvalTable table;
} FeaturePair;

static const Metric frechet = {METRIC_FRECHET, "fd-features", "features"},
                    kernel = {METRIC_KERNEL, "kd-features", "features"},
                    manifold[] = {{METRIC_PRECISION, "precision-features", "features"},
                                  {METRIC_RECALL, "recall-features", "features"},
                                  {METRIC_DENSITY, "density-features", "features"},
                                  {METRIC_COVERAGE, "coverage-features", "features"}};

static int pair_score(const FeaturePair *pair, const Metric *metrics, int count, const FeatureSet *samples,
                      const FeatureSet *reference, const char *suffix, Evaluation *out, Error *error) {
    Score scores[MOST_SCORES];
    const int found = metrics_score(metrics, count, samples, reference, suffix, scores, error);
    for (int i = 0; i < found; i++) {
        out[i] = (Evaluation){.value = scores[i].value, .samples = (int)samples->count};
        snprintf(out[i].metric, sizeof out[i].metric, "%.63s", scores[i].name);
        snprintf(out[i].protocol, sizeof out[i].protocol, "%.79s", scores[i].protocol);
        snprintf(out[i].features_hash, sizeof out[i].features_hash, "%s", pair->hash[0].hex);
        snprintf(out[i].reference_hash, sizeof out[i].reference_hash, "%s", pair->hash[1].hex);
    }
    return found;
}

/* One half of B against the other, at as many rows as A has where they are enough. */
static int pair_floor(const FeaturePair *pair, const Metric *metrics, int count, Evaluation *out) {
    const int64_t half = pair->b.count / 2, n = pair->a.count < half ? pair->a.count : half;
    FeatureSet ours, others;
    Error error;
    feature_set_part(&pair->b, 0, n, &ours);
    feature_set_part(&pair->b, half, half, &others);
    const int found = pair_score(pair, metrics, count, &ours, &others, "-floor", out, &error);
    if (found < 0) log_warn("no floor: %s", error.text);
    feature_set_free(&ours);
    feature_set_free(&others);
    return found < 0 ? 0 : found;
}

/* A metric that needs more rows than there are is said and left out; the others are printed. */
static void pair_add(FeaturePair *pair, const Metric *metrics, int count) {
    Evaluation numbers[MOST_SCORES], floors[MOST_SCORES];
    Error error;
    const int found = pair_score(pair, metrics, count, &pair->a, &pair->b, "", numbers, &error);
    if (found < 0) {
        log_warn("no %s: %s", metrics[0].name, error.text);
        return;
    }
    const int floor_count = pair_floor(pair, metrics, count, floors);
    eval_table_add(&pair->table, "features", numbers, found, floors, floor_count);
}

static bool pair_judge(FeaturePair *pair, const EvalOptions *options, const char *b, Error *error) {
    if (pair->a.dimension != pair->b.dimension)
        return error_set(error, "%s has %d features a row, %s has %d: they are of different networks",
                         options->features, pair->a.dimension, b, pair->b.dimension);
    pair_add(pair, &frechet, 1);
    pair_add(pair, &kernel, 1);
    pair_add(pair, manifold, sizeof manifold / sizeof *manifold);
    return pair->table.count
               ? eval_finish_table(&pair->table, options, error)
               : error_set(error, "%s and %s: %lld and %lld rows are too few for any metric",
                           options->features, b, (long long)pair->a.count, (long long)pair->b.count);
}

bool eval_features(const EvalOptions *options, const char *b, Error *error) {
    FeaturePair pair = {.table = {0}};
    if (!b) return error_set(error, "--features takes two files: samples, then reference");
    const bool ok =
        features_read(options->features, &pair.a, &pair.hash[0], error) &&
        features_read(b, &pair.b, &pair.hash[1], error) &&
        (!options->statistics || statistics_write(options->statistics, pair.hash[0].hex, &pair.a, error)) &&
        pair_judge(&pair, options, b, error);
    eval_table_free(&pair.table);
    feature_set_free(&pair.a);
    feature_set_free(&pair.b);
    return ok;
}
