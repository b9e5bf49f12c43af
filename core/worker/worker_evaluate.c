/* The worker's evaluation hook: draw, judge, picture, store. Samples are kept as bytes, because that is what
 * is judged and shown; sample i comes from seed i, so that the same seeds can be looked at from one
 * evaluation to the next. */
#include "base/file.h"
#include "base/log.h"
#include "answers/answers.h"
#include "base/picture.h"
#include "worker/samples.h"
#include "worker/worker.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers ---- */

/* Shares of single classes are for tables, not for a line. */
static bool is_headline(const Evaluation *evaluation) {
    return !strstr(evaluation->metric, "-class-");
}

static bool numbers_store(Worker *worker, int64_t step, const char *weights, int nfe,
                          const Evaluation *numbers, int count, Error *error) {
    Text line = {0};
    bool stored = true;
    for (int i = 0; i < count && stored; i++) {
        stored = store_evaluation(worker->store, worker->id, step, weights, nfe, &numbers[i], error);
        if (is_headline(&numbers[i]))
            text_append(&line, "%s%s %.4g", line.length ? ", " : "", numbers[i].metric, numbers[i].value);
    }
    if (stored && line.length && nfe)
        log_info("evaluation at step %lld, %s, %d-step: %s", (long long)step, weights, nfe, text_view(&line));
    if (stored && line.length && !nfe) log_info("real images and trivial generators: %s", text_view(&line));
    text_free(&line);
    return stored;
}

/* The sample counts to judge at a step, ascending: the last evaluation may have more, and is judged by its
 * first ones too, so that it compares with those before it. Returns how many counts. */
static int sample_counts(const Worker *worker, int64_t step, int counts[2]) {
    const EvaluationConfig *config = &worker->config.evaluation;
    const TrainConfig *train = &worker->config.train;
    const double end = train->evaluations ? train->evaluate_at[train->evaluations - 1] : 1;
    counts[0] = config->samples;
    counts[1] = config->samples_last;
    return config->samples_last > config->samples && step >= llround(end * (double)train->steps) ? 2 : 1;
}

/* What numbers of so many samples are to be read beside, stored once, at step 0. */
static bool reference_store(Worker *worker, int samples, Error *error) {
    Evaluation numbers[MAX_EVALUATIONS];
    const int count = evaluator_reference(worker->evaluator, samples, numbers, error);
    return count >= 0 && numbers_store(worker, 0, "reference", 0, numbers, count, error);
}

/* Opened at the first evaluation. */
static bool evaluator_ready(Worker *worker, int64_t step, Error *error) {
    const EvaluationConfig *config = &worker->config.evaluation;
    char cache[1024];
    int counts[2];
    const int last = sample_counts(worker, step, counts) - 1;
    if (!config->metric_count) return true;
    if (worker->evaluator) return !last || reference_store(worker, counts[last], error);
    const SpaceFolders folders = {path_join(cache, worker->paths.results, "cache"), worker->paths.weights};
    worker->evaluator = evaluator_open(config, &worker->data, worker->device, &folders, error);
    if (!worker->evaluator) return false;
    return reference_store(worker, counts[0], error) &&
           (!last || reference_store(worker, counts[last], error));
}

static bool samples_judge(Worker *worker, int64_t step, int nfe, const uint8_t *images, Error *error) {
    const EvaluationConfig *config = &worker->config.evaluation;
    int counts[2];
    bool judged = true;
    for (int i = 0, n = sample_counts(worker, step, counts); worker->evaluator && judged && i < n; i++) {
        Evaluation numbers[MAX_EVALUATIONS];
        const int count = evaluator_run(worker->evaluator, images, counts[i], rounding_name(config->rounding),
                                        numbers, error);
        judged = count >= 0 && numbers_store(worker, step, config->weights, nfe, numbers, count, error);
    }
    return judged;
}

/* ---- picture ---- */

static bool picture_store(Worker *worker, int64_t step, uint8_t *const *drawn, Error *error) {
    const EvaluationConfig *config = &worker->config.evaluation;
    const Dataset *data = &worker->data;
    char name[64], path[1024];
    Picture picture = {
        .blocks = config->nfes + 1, .height = data->height, .width = data->width, .channels = data->channels};
    picture.each = config->grid < data->count ? config->grid : data->count;
    if (!picture.each) return true;
    for (int i = 0; i < config->nfes; i++) picture.block[i] = drawn[i];
    picture.block[config->nfes] = data->images;
    snprintf(name, sizeof name, "samples-%lld.png", (long long)step);
    return picture_write(path_join(path, worker->folder, name), &picture, error) &&
           store_artifact(worker->store, worker->id, "samples", step, path, error);
}

/* The curves so far. A machine without gnuplot trains all the same. */
static bool figure_store(Worker *worker, int64_t step, Error *error) {
    const char *const parameters[] = {"run", worker->id};
    char stem[1024], path[1024];
    Error why;
    path_join(stem, worker->folder, "training");
    path_join(path, worker->folder, "training.png");
    if (figure_draw(&worker->paths, worker->store, "training", parameters, 1, stem, "png", &why))
        return store_artifact(worker->store, worker->id, "figure", step, path, error);
    log_warn("%s", why.text);
    return true;
}

/* ---- the hook ---- */

typedef struct TrainerWeights {
    Trainer *trainer;
    const char *weights;
} TrainerWeights;

static bool trainer_draw(void *context, const SamplerConfig *sampler, uint32_t first, int count,
                         const int32_t *labels, float *images, Error *error) {
    const TrainerWeights *from = context;
    return trainer_sample(from->trainer, from->weights, sampler, first, count, labels, images, error);
}

static bool evaluate_all(Worker *worker, int64_t step, uint8_t **drawn, Error *error) {
    const EvaluationConfig *config = &worker->config.evaluation;
    const TrainerWeights from = {worker->trainer, config->weights};
    int counts[2];
    const int places = sample_counts(worker, step, counts), most = counts[places - 1],
              count = most > config->grid ? most : config->grid;
    if (!evaluator_ready(worker, step, error)) return false;
    for (int i = 0; i < config->nfes; i++) {
        const SampleRequest request = {.sampler = sampler_levels(&worker->config.ct, config, config->nfe[i]),
                                       .rounding = config->rounding,
                                       .count = count,
                                       .classes = worker->config.model.classes,
                                       .labels = {LABELS_DRAWN, worker->data.labels, worker->data.count},
                                       .image_size =
                                           worker->data.height * worker->data.width * worker->data.channels};
        drawn[i] = samples_draw(&request, trainer_draw, (void *)(uintptr_t)&from, error);
        if (!drawn[i] || !samples_judge(worker, step, config->nfe[i], drawn[i], error)) return false;
    }
    return picture_store(worker, step, drawn, error) && figure_store(worker, step, error);
}

bool worker_evaluate(Worker *worker, int64_t step, Error *error) {
    uint8_t *drawn[8] = {0};
    const bool done = evaluate_all(worker, step, drawn, error);
    for (int i = 0; i < 8; i++) free(drawn[i]);
    return done;
}
