/* What the worker does with a classifier: its score on the images held out at every evaluation, and at the
 * end its file, which the rest of the program finds under weights/ as it finds imported networks. */
#include "base/file.h"
#include "base/log.h"
#include "worker/worker.h"
#include "train/features.h"

#include <stdio.h>
#include <string.h>

static Evaluation number_make(const Worker *worker, const char *metric, double value) {
    char range[32];
    Evaluation number = {.value = value, .samples = worker->classifier.held_out.count};
    snprintf(number.metric, sizeof number.metric, "%s", metric);
    snprintf(number.reference_hash, sizeof number.reference_hash, "%s", worker->data.hash.hex);
    snprintf(number.protocol, sizeof number.protocol, "images %s",
             image_range_name(worker->classifier.held_out, range));
    return number;
}

static bool score_store(Worker *worker, int64_t step, ClassifierScore score, Error *error) {
    const Evaluation numbers[] = {number_make(worker, "held-out-accuracy", score.accuracy),
                                  number_make(worker, "held-out-loss", score.loss)};
    for (int i = 0; i < 2; i++)
        if (!store_evaluation(worker->store, worker->id, step, "raw", 0, &numbers[i], error)) return false;
    log_info("step %lld: %.2f %% of %d held-out images right, cross-entropy %.4g", (long long)step,
             100 * score.accuracy, score.images, score.loss);
    return true;
}

bool worker_score(Worker *worker, int64_t step, Error *error) {
    if (step == worker->config.train.steps) return true; /* worker_publish() scores the finished network */
    return score_store(worker, step, trainer_score(worker->trainer, worker->classifier.held_out), error);
}

/* The commit that the run began with stands in its row. */
static bool file_make(Worker *worker, const char *path, double accuracy, Error *error) {
    RunRow row;
    if (!store_get_run(worker->store, worker->id, &row, error)) return false;
    const ClassifierFacts facts = {.role = worker->classifier.role,
                                   .data = &worker->data,
                                   .trained = worker->classifier.trained,
                                   .held_out = worker->classifier.held_out,
                                   .accuracy = accuracy,
                                   .run = worker->id,
                                   .commit = row.commit};
    const bool written = trainer_write_classifier(worker->trainer, path, &facts, error);
    run_row_free(&row);
    return written;
}

static bool weights_offer(const Worker *worker, const char *path, Error *error) {
    char name[64], other[64], text[512];
    classifier_name(worker->classifier.role, &worker->data, name);
    if (!features_publish(name, path, worker->paths.weights, worker->id, other, error)) return false;
    if (!*other) return true;
    snprintf(text, sizeof text,
             "weights/%s is of %s and stays; this one can be had as `./run weights import NAME %.256s`", name,
             other, path);
    log_warn("%s", text);
    return store_event(worker->store, worker->id, "warning", text, error);
}

bool worker_publish(Worker *worker, Error *error) {
    const int64_t step = worker->config.train.steps;
    const ClassifierScore score = trainer_score(worker->trainer, worker->classifier.held_out);
    char path[1024];
    path_join(path, worker->folder, "classifier.safetensors");
    return score_store(worker, step, score, error) && file_make(worker, path, score.accuracy, error) &&
           store_artifact(worker->store, worker->id, "weights", step, path, error) &&
           weights_offer(worker, path, error);
}
