/* The worker's evaluation hook: draw, judge, picture, store. Samples are kept as bytes, because that is what
 * is judged and shown; sample i comes from seed i, so that the same seeds can be looked at from one
 * evaluation to the next. */
#include "base/file.h"
#include "base/log.h"
#include "harness/answers.h"
#include "harness/picture.h"
#include "harness/samples.h"
#include "harness/worker.h"

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

/* Opened at the first evaluation. What the numbers are to be read beside is stored once, at step 0. */
static bool evaluator_ready(Worker *worker, Error *error) {
    const EvaluationConfig *config = &worker->config.evaluation;
    char cache[1024];
    if (worker->evaluator || !config->metric_count) return true;
    const SpaceFolders folders = {path_join(cache, worker->paths.results, "cache"), worker->paths.weights};
    worker->evaluator = evaluator_open(config, &worker->data, worker->device, &folders, error);
    if (!worker->evaluator) return false;
    Evaluation numbers[MAX_EVALUATIONS];
    const int count = evaluator_reference(worker->evaluator, config->samples, numbers, error);
    return count >= 0 && numbers_store(worker, 0, "reference", 0, numbers, count, error);
}

static bool samples_judge(Worker *worker, int64_t step, int nfe, const uint8_t *images, Error *error) {
    const EvaluationConfig *config = &worker->config.evaluation;
    if (!worker->evaluator) return true;
    Evaluation numbers[MAX_EVALUATIONS];
    const int count = evaluator_run(worker->evaluator, images, config->samples,
                                    rounding_name(config->rounding), numbers, error);
    return count >= 0 && numbers_store(worker, step, config->weights, nfe, numbers, count, error);
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
    const int count = config->samples > config->grid ? config->samples : config->grid;
    if (!evaluator_ready(worker, error)) return false;
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
