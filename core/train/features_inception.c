/* Batches are of one size, so that a feature depends on its image alone: what is left of the last one keeps
 * what was there before and is not read. */
#include "train/features_inception.h"

#include "base/log.h"
#include "train/checkpoint.h"
#include "train/features.h"

#include <stdlib.h>
#include <string.h>

enum { BATCH_CPU = 8, BATCH_CARD = 512, COLOURS = 3 };

struct InceptionNetwork {
    Device *device;
    Graph *graph;
    InceptionNet net;
    int n;
    size_t pixels;  /* bytes of an image */
    float *weights; /* device */
    uint8_t *input; /* device */
};

static InceptionSpec spec_make(const FeatureSpec *file, const InceptionRequest *request, int n) {
    return (InceptionSpec){.n = n,
                           .h = request->h,
                           .w = request->w,
                           .divisor = INCEPTION_FIRST_WIDTH / file->widths[0],
                           .classes = file->classes,
                           .input = request->input,
                           .tf32 = request->tf32};
}

/* The folded parameters, malloc'ed; NULL and an error when the file has others. */
static float *parameters_read(const SafeTensors *file, const InceptionSpec *spec, const ParamSet *params,
                              Error *error) {
    float *values = calloc((size_t)params->total, sizeof *values);
    CHECK(values, "out of memory for %lld parameters", (long long)params->total);
    if (weights_load(file, params, "", values, error)) {
        inception_finish(spec, params, values);
        return values;
    }
    free(values);
    return NULL;
}

bool inception_check(const SafeTensors *file, const FeatureSpec *described, Error *error) {
    const InceptionSpec spec = spec_make(described, &(InceptionRequest){.h = 32, .w = 32}, 1);
    ParamSet params = {0};
    Graph *graph = graph_create();
    inception_record(&spec, &params, graph);
    float *values = parameters_read(file, &spec, &params, error);
    free(values);
    graph_free(graph);
    param_free(&params);
    return values != NULL;
}

static void *upload(Device *device, const float *values, size_t bytes) {
    void *memory = device->allocate(device, bytes);
    device->copy(device, memory, values, bytes, COPY_TO_DEVICE);
    device->synchronise(device);
    return memory;
}

static void network_prepare(InceptionNetwork *network, const InceptionSpec *spec, const float *values,
                            int64_t total) {
    Device *device = network->device;
    network->n = spec->n;
    network->pixels = (size_t)spec->h * (size_t)spec->w * COLOURS;
    graph_prepare(network->graph, device, false);
    network->weights = upload(device, values, (size_t)total * sizeof *values);
    network->input = device->allocate(device, (size_t)network->n * network->pixels);
    device->fill(device, network->input, 0, (size_t)network->n * network->pixels);
    graph_bind(network->graph, network->net.input, network->input);
}

static InceptionNetwork *network_open(const SafeTensors *file, const InceptionRequest *request,
                                      Device *device, Error *error) {
    FeatureSpec described;
    ParamSet params = {0};
    if (!features_describe(file, &described, error)) return NULL;
    if (described.kind != FEATURES_INCEPTION) {
        error_set(error, "holds a %s, not an inception", feature_kind_name(described.kind));
        return NULL;
    }
    const InceptionSpec spec =
        spec_make(&described, request, strcmp(device->kind, "cpu") ? BATCH_CARD : BATCH_CPU);
    InceptionNetwork *network = calloc(1, sizeof *network);
    CHECK(network, "out of memory");
    network->device = device;
    network->graph = graph_create();
    network->net = inception_record(&spec, &params, network->graph);
    float *values = parameters_read(file, &spec, &params, error);
    if (values) {
        network_prepare(network, &spec, values, params.total);
    } else {
        inception_close(network);
        network = NULL;
    }
    free(values);
    param_free(&params);
    return network;
}

InceptionNetwork *inception_open(const char *path, const char *hash, const InceptionRequest *request,
                                 Device *device, Error *error) {
    SafeTensors file;
    if (!features_unchanged(path, hash, error) || !safetensors_open(path, &file, error)) return NULL;
    InceptionNetwork *network = network_open(&file, request, device, error);
    if (!network) error_wrap(error, "%s", path);
    safetensors_close(&file);
    return network;
}

void inception_close(InceptionNetwork *network) {
    if (!network) return;
    graph_free(network->graph);
    if (network->weights) network->device->release(network->device, network->weights);
    if (network->input) network->device->release(network->device, network->input);
    free(network);
}

int inception_dimension(const InceptionNetwork *network) {
    return graph_shape(network->graph, network->net.pooled).c;
}

int inception_classes(const InceptionNetwork *network) {
    return graph_shape(network->graph, network->net.logits).c;
}

/* Rows first .. first + n - 1 of a result. */
static void rows_copy(const InceptionNetwork *network, Value value, float *out, int first, int n) {
    const Tensor t = graph_value(network->graph, GRAPH_EVALUATE, value);
    if (out)
        network->device->copy(network->device, out + (size_t)first * (size_t)t.c, t.data,
                              (size_t)n * (size_t)t.c * sizeof *out, COPY_TO_HOST);
}

void inception_run(InceptionNetwork *network, const uint8_t *images, int count, InceptionResult result) {
    Device *device = network->device;
    const GraphRun run = {.master = network->weights, .cast = network->weights};
    for (int first = 0; first < count; first += network->n) {
        const int n = count - first < network->n ? count - first : network->n;
        const uint8_t *from = images + (size_t)first * network->pixels;
        device->copy(device, network->input, from, (size_t)n * network->pixels, COPY_TO_DEVICE);
        graph_forward(network->graph, GRAPH_EVALUATE, &run);
        rows_copy(network, network->net.pooled, result.features, first, n);
        rows_copy(network, network->net.logits, result.logits, first, n);
        rows_copy(network, network->net.scores, result.scores, first, n);
        device->synchronise(device);
    }
}

/* ---- how fast it is ---- */

double inception_measure(InceptionNetwork *network, double seconds, FILE *ops) {
    enum { BATCHES = 4, REPEATS = 3 };
    const int count = BATCHES * network->n;
    uint8_t *images = malloc((size_t)count * network->pixels);
    float *features = malloc((size_t)count * (size_t)inception_dimension(network) * sizeof *features);
    CHECK(images && features, "out of memory for %d images", count);
    for (size_t i = 0; i < (size_t)count * network->pixels; i++) images[i] = (uint8_t)(i * 2654435761u >> 24);
    inception_run(network, images, network->n, (InceptionResult){.features = features});
    const double began = clock_monotonic();
    int64_t done = 0;
    for (; clock_monotonic() - began < seconds; done += count)
        inception_run(network, images, count, (InceptionResult){.features = features});
    const double rate = (double)done / (clock_monotonic() - began);
    if (ops) {
        GraphOpTime times[GRAPH_MOST_OPS];
        const GraphRun run = {.master = network->weights, .cast = network->weights};
        graph_profile(network->graph, &run, NULL, REPEATS, ops, times);
    }
    free(images);
    free(features);
    return rate;
}
