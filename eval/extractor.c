/* Extractors that this project makes: random features, and the small classifier with its file
 * in the cache. */
#include "eval/extractor_internal.h"
#include "eval/extractor_train.h"
#include "base/file.h"
#include "base/text.h"
#include "train/checkpoint.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXTRACTOR_BATCH = 64, RANDOM_SEED = 20200219 /* the day of Naeem et al. */ };

static size_t weight_bytes(const Extractor *extractor) {
    return (size_t)extractor->params.total * sizeof(float);
}

Extractor *extractor_create(const Dataset *like, Device *device, int n) {
    Extractor *extractor = calloc(1, sizeof *extractor);
    CHECK(extractor, "out of memory");
    *extractor = (Extractor){.device = device,
                             .graph = graph_create(),
                             .n = n,
                             .height = like->height,
                             .width = like->width,
                             .channels = like->channels};
    CHECK(like->height == like->width, "extractors take square images, not %d x %d", like->height,
          like->width);
    extractor->images = graph_input(extractor->graph, "image", DTYPE_F32, extractor->n, like->height,
                                    like->width, like->channels, false);
    return extractor;
}

void extractor_set_output(Extractor *extractor, Value output) {
    extractor->output = output;
    extractor->dimension = graph_shape(extractor->graph, output).c;
    graph_output(extractor->graph, output);
}

void extractor_prepare(Extractor *extractor, const float *weights) {
    Device *device = extractor->device;
    graph_prepare(extractor->graph, device, false);
    extractor->input =
        device->allocate(device, (size_t)extractor->n * (size_t)extractor->height * (size_t)extractor->width *
                                     (size_t)extractor->channels * sizeof(float));
    extractor->weights = device->allocate(device, weight_bytes(extractor));
    device->copy(device, extractor->weights, weights, weight_bytes(extractor), COPY_TO_DEVICE);
    graph_bind(extractor->graph, extractor->images, extractor->input);
}

static Hash extractor_hash(const char *kind, const Extractor *extractor, const float *weights) {
    Text text = {0};
    text_append(&text, "%s %dx%dx%d %s", kind, extractor->height, extractor->width, extractor->channels,
                hash_bytes(weights, weight_bytes(extractor)).hex);
    const Hash hash = hash_bytes(text.text, text.length);
    text_free(&text);
    return hash;
}

static float *host_weights(const Extractor *extractor) {
    float *weights = calloc((size_t)extractor->params.total, sizeof *weights);
    CHECK(weights, "out of memory");
    return weights;
}

Extractor *extractor_random(const Dataset *like, Device *device) {
    Extractor *extractor = extractor_create(like, device, EXTRACTOR_BATCH);
    extractor_set_output(
        extractor, random_features_record(&extractor->params, extractor->graph, extractor->images).features);
    float *weights = host_weights(extractor);
    param_initialise(&extractor->params, RANDOM_SEED, weights);
    extractor_prepare(extractor, weights);
    extractor->hash = extractor_hash("random", extractor, weights);
    free(weights);
    return extractor;
}

/* ---- the classifier's file ---- */

static void classifier_path(const Dataset *data, const char *folder, char path[1024]) {
    char name[128];
    snprintf(name, sizeof name, "classifier-%.16s-%d.safetensors", data->hash.hex, EXTRACTOR_RECIPE);
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

Extractor *extractor_classifier(const Dataset *data, Device *device, const char *cache_folder,
                                double *accuracy, Error *error) {
    char path[1024];
    if (!data->labels || data->classes < 2) {
        error_set(error,
                  "data set '%s' has no labels, so no classifier can judge it: drop 'classifier' from "
                  "evaluation.metrics",
                  data->name);
        return NULL;
    }
    Extractor *extractor = extractor_create(data, device, EXTRACTOR_BATCH);
    const ClassifierConfig small = classifier_small();
    extractor_set_output(extractor, classifier_record(&small, &extractor->params, extractor->graph,
                                                      extractor->images, data->classes, PRECISION_FP32)
                                        .logits);
    float *weights = host_weights(extractor);
    classifier_path(data, cache_folder, path);
    bool ok = classifier_read(path, &extractor->params, weights, accuracy);
    if (!ok) {
        ok = extractor_train(data, device, weights, accuracy, error) &&
             classifier_write(path, &extractor->params, weights, *accuracy, error);
    }
    extractor_prepare(extractor, weights);
    extractor->hash = extractor_hash("classifier", extractor, weights);
    free(weights);
    if (ok) return extractor;
    extractor_close(extractor);
    return NULL;
}

void extractor_close(Extractor *extractor) {
    if (!extractor) return;
    graph_free(extractor->graph);
    param_free(&extractor->params);
    if (extractor->weights) extractor->device->release(extractor->device, extractor->weights);
    if (extractor->input) extractor->device->release(extractor->device, extractor->input);
    free(extractor);
}

/* ---- running ---- */

void extractor_run(Extractor *extractor, const uint8_t *images, int count, float *outputs) {
    Device *device = extractor->device;
    const size_t size = (size_t)extractor->height * (size_t)extractor->width * (size_t)extractor->channels;
    float *batch = calloc((size_t)extractor->n * size, sizeof *batch);
    CHECK(batch, "out of memory");
    const GraphRun run = {.master = extractor->weights, .cast = extractor->weights};
    for (int first = 0; first < count; first += extractor->n) {
        const int n = count - first < extractor->n ? count - first : extractor->n;
        for (size_t i = 0; i < (size_t)n * size; i++)
            batch[i] = (float)images[(size_t)first * size + i] / 127.5f - 1;
        device->copy(device, extractor->input, batch, (size_t)extractor->n * size * sizeof *batch,
                     COPY_TO_DEVICE);
        graph_forward(extractor->graph, GRAPH_EVALUATE, &run);
        const size_t bytes = (size_t)n * (size_t)extractor->dimension * sizeof *outputs;
        device->copy(device, outputs + (size_t)first * (size_t)extractor->dimension,
                     graph_value(extractor->graph, GRAPH_EVALUATE, extractor->output).data, bytes,
                     COPY_TO_HOST);
    }
    device->synchronise(device);
    free(batch);
}
