/* Judges that this project makes: random features, and the small classifier with its file in the cache. */
#include "eval/judge_internal.h"
#include "eval/judge_train.h"
#include "base/file.h"
#include "base/text.h"
#include "train/checkpoint.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JUDGE_BATCH = 64, RANDOM_SEED = 20200219 /* the day of Naeem et al. */ };

static size_t weight_bytes(const Judge *judge) {
    return (size_t)judge->params.total * sizeof(float);
}

Judge *judge_create(const Dataset *like, Device *device, int n) {
    Judge *judge = calloc(1, sizeof *judge);
    CHECK(judge, "out of memory");
    *judge = (Judge){.device = device,
                     .graph = graph_create(),
                     .n = n,
                     .height = like->height,
                     .width = like->width,
                     .channels = like->channels};
    CHECK(like->height == like->width, "judges take square images, not %d x %d", like->height, like->width);
    judge->images = graph_input(judge->graph, "image", DTYPE_F32, judge->n, like->height, like->width,
                                like->channels, false);
    return judge;
}

void judge_set_output(Judge *judge, Value output) {
    judge->output = output;
    judge->dimension = graph_shape(judge->graph, output).c;
    graph_output(judge->graph, output);
}

void judge_prepare(Judge *judge, const float *weights) {
    Device *device = judge->device;
    graph_prepare(judge->graph, device, false);
    judge->input = device->allocate(device, (size_t)judge->n * (size_t)judge->height * (size_t)judge->width *
                                                (size_t)judge->channels * sizeof(float));
    judge->weights = device->allocate(device, weight_bytes(judge));
    device->copy(device, judge->weights, weights, weight_bytes(judge), COPY_TO_DEVICE);
    graph_bind(judge->graph, judge->images, judge->input);
}

static Hash judge_hash(const char *kind, const Judge *judge, const float *weights) {
    Text text = {0};
    text_append(&text, "%s %dx%dx%d %s", kind, judge->height, judge->width, judge->channels,
                hash_bytes(weights, weight_bytes(judge)).hex);
    const Hash hash = hash_bytes(text.text, text.length);
    text_free(&text);
    return hash;
}

static float *host_weights(const Judge *judge) {
    float *weights = calloc((size_t)judge->params.total, sizeof *weights);
    CHECK(weights, "out of memory");
    return weights;
}

Judge *judge_random(const Dataset *like, Device *device) {
    Judge *judge = judge_create(like, device, JUDGE_BATCH);
    judge_set_output(judge, random_features_record(&judge->params, judge->graph, judge->images).features);
    float *weights = host_weights(judge);
    param_initialise(&judge->params, RANDOM_SEED, weights);
    judge_prepare(judge, weights);
    judge->hash = judge_hash("random", judge, weights);
    free(weights);
    return judge;
}

/* ---------------------------------------------------------------------------------------------- the
 * classifier's file */

static void classifier_path(const Dataset *data, const char *folder, char path[1024]) {
    char name[128];
    snprintf(name, sizeof name, "classifier-%.16s-%d.safetensors", data->hash.hex, JUDGE_RECIPE);
    path_join(path, folder, name);
}

static bool classifier_read(const char *path, const ParamSet *params, float *weights, double *accuracy) {
    SafeTensors file;
    if (!file_exists(path) || !safetensors_open(path, &file, NULL)) return false;
    const char *stored = safetensors_metadata(&file, "accuracy");
    const bool ok = stored && weights_load(&file, params, "", weights, NULL);
    if (ok) *accuracy = strtod(stored, NULL);
    safetensors_close(&file);
    return ok;
}

static bool classifier_write(const char *path, const ParamSet *params, const float *weights, double accuracy,
                             Error *error) {
    char text[32], folder[1024];
    const char *metadata[] = {"accuracy", format_double(text, accuracy)};
    return folder_make(path_folder(folder, path), error) &&
           weights_write(path, params, weights, metadata, 1, error);
}

Judge *judge_classifier(const Dataset *data, Device *device, const char *cache_folder, double *accuracy,
                        Error *error) {
    char path[1024];
    if (!data->labels || data->classes < 2) {
        error_set(error,
                  "data set '%s' has no labels, so no classifier can judge it: drop 'classifier' from "
                  "evaluation.metrics",
                  data->name);
        return NULL;
    }
    Judge *judge = judge_create(data, device, JUDGE_BATCH);
    const ClassifierConfig small = classifier_small();
    judge_set_output(judge, classifier_record(&small, &judge->params, judge->graph, judge->images,
                                              data->classes, PRECISION_FP32)
                                .logits);
    float *weights = host_weights(judge);
    classifier_path(data, cache_folder, path);
    bool ok = classifier_read(path, &judge->params, weights, accuracy);
    if (!ok) {
        ok = judge_train(data, device, weights, accuracy, error) &&
             classifier_write(path, &judge->params, weights, *accuracy, error);
    }
    judge_prepare(judge, weights);
    judge->hash = judge_hash("classifier", judge, weights);
    free(weights);
    if (ok) return judge;
    judge_close(judge);
    return NULL;
}

void judge_close(Judge *judge) {
    if (!judge) return;
    graph_free(judge->graph);
    param_free(&judge->params);
    if (judge->weights) judge->device->release(judge->device, judge->weights);
    if (judge->input) judge->device->release(judge->device, judge->input);
    free(judge);
}

/* ---------------------------------------------------------------------------------------------- running */

void judge_run(Judge *judge, const uint8_t *images, int count, float *outputs) {
    Device *device = judge->device;
    const size_t size = (size_t)judge->height * (size_t)judge->width * (size_t)judge->channels;
    float *batch = calloc((size_t)judge->n * size, sizeof *batch);
    CHECK(batch, "out of memory");
    const GraphRun run = {.master = judge->weights, .cast = judge->weights};
    for (int first = 0; first < count; first += judge->n) {
        const int n = count - first < judge->n ? count - first : judge->n;
        for (size_t i = 0; i < (size_t)n * size; i++)
            batch[i] = (float)images[(size_t)first * size + i] / 127.5f - 1;
        device->copy(device, judge->input, batch, (size_t)judge->n * size * sizeof *batch, COPY_TO_DEVICE);
        graph_forward(judge->graph, GRAPH_EVALUATE, &run);
        const size_t bytes = (size_t)n * (size_t)judge->dimension * sizeof *outputs;
        device->copy(device, outputs + (size_t)first * (size_t)judge->dimension,
                     graph_value(judge->graph, GRAPH_EVALUATE, judge->output).data, bytes, COPY_TO_HOST);
    }
    device->synchronise(device);
    free(batch);
}
