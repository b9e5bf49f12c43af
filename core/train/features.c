/* A feature network from its file: what kind and how wide it is, its parameters on the device, its graph. */
#include "train/features.h"

#include "model/classifier.h"
#include "model/inception.h"
#include "train/checkpoint.h"
#include "train/features_inception.h"

#include <stdlib.h>
#include <string.h>

static const char *const kinds[FEATURE_KINDS] = {[FEATURES_VGG16] = "vgg16",
                                                 [FEATURES_CLASSIFIER] = "classifier",
                                                 [FEATURES_INCEPTION] = "inception",
                                                 [FEATURES_VGG16_FC2] = "vgg16-fc2"};

const char *feature_kind_name(FeatureKind kind) {
    return kinds[kind];
}

/* ---- what it is ---- */

/* Size `axis` of a tensor; 0 when there is no such tensor, or the size is not one of a network. */
static int tensor_size(const SafeTensors *file, const char *name, int axis) {
    enum { LARGEST = 1 << 16 };
    const SafeTensor *tensor = safetensors_find(file, name);
    if (!tensor || axis >= tensor->rank || tensor->shape[axis] > LARGEST) return 0;
    return (int)tensor->shape[axis];
}

static bool vgg16_describe(const SafeTensors *file, FeatureSpec *spec, Error *error) {
    static const int first[VGG_STAGES] = {0, 5, 10, 17, 24}; /* convolution of each stage */
    spec->channels = 3;
    spec->resolution = VGG_SIZE;
    for (int i = 0; i < VGG_STAGES; i++) {
        char name[32];
        snprintf(name, sizeof name, "features.%d.weight", first[i]);
        spec->widths[i] = tensor_size(file, name, 0);
        if (!spec->widths[i]) return error_set(error, "a vgg16 has a %s, this file has none", name);
    }
    return true;
}

static bool vgg16_fc2_describe(const SafeTensors *file, FeatureSpec *spec, Error *error) {
    spec->units = tensor_size(file, "classifier.0.weight", 0);
    return vgg16_describe(file, spec, error) &&
           (spec->units ||
            error_set(error,
                      "a vgg16-fc2 has a classifier.0.weight (4096 x 512 x 7 x 7), this file has none"));
}

/* Channels that layer `part` of a stage makes; 0 when there is no such layer. */
static int stage_width(const SafeTensors *file, const char *pattern, int stage, int part) {
    char name[64];
    snprintf(name, sizeof name, pattern, stage, part);
    return tensor_size(file, name, 0);
}

/* A residual network has a first convolution before its stages. */
static ClassifierConfig classifier_measure(const SafeTensors *file) {
    const bool residual = tensor_size(file, "stem.weight", 0);
    const char *pattern = residual ? "stage%d.block%d.conv1.weight" : "stage%d.conv%d.weight";
    ClassifierConfig config = {.architecture = residual ? CLASSIFIER_RESIDUAL : CLASSIFIER_VGG};
    while (config.stages < CLASSIFIER_STAGES && stage_width(file, pattern, config.stages, 0)) {
        config.widths[config.stages] = stage_width(file, pattern, config.stages, 0);
        config.stages++;
    }
    while (config.depth < CLASSIFIER_DEPTH && stage_width(file, pattern, 0, config.depth)) config.depth++;
    return config;
}

static bool widths_fit(const ClassifierConfig *config) {
    for (int i = 0; i < config->stages; i++)
        if (!classifier_width_fits(config->widths[i])) return false;
    return config->stages > 0;
}

static bool classifier_describe(const SafeTensors *file, FeatureSpec *spec, Error *error) {
    const char *resolution = safetensors_metadata(file, "resolution");
    spec->classifier = classifier_measure(file);
    const bool residual = spec->classifier.architecture == CLASSIFIER_RESIDUAL;
    spec->channels = tensor_size(file, residual ? "stem.weight" : "stage0.conv0.weight", 1);
    spec->classes = tensor_size(file, "head.weight", 0);
    spec->resolution = resolution ? atoi(resolution) : 0;
    return (widths_fit(&spec->classifier) && spec->channels && spec->classes && spec->resolution >= 0 &&
            spec->resolution <= 1024) ||
           error_set(error, "a classifier has stage0.conv0.weight (vgg) or stem.weight and "
                            "stage0.block0.conv1.weight (residual), and head.weight; this file has not");
}

static bool inception_describe(const SafeTensors *file, FeatureSpec *spec, Error *error) {
    spec->channels = 3;
    spec->widths[0] = tensor_size(file, "Conv2d_1a_3x3.conv.weight", 0);
    spec->classes = tensor_size(file, "fc.weight", 0);
    spec->resolution = INCEPTION_SIZE;
    const bool whole = spec->widths[0] > 1 && INCEPTION_FIRST_WIDTH % spec->widths[0] == 0 && spec->classes;
    return whole || error_set(error, "an inception has Conv2d_1a_3x3.conv.weight (32 x 3 x 3 x 3) and "
                                     "fc.weight (1008 x 2048), this file has not");
}

bool features_describe(const SafeTensors *file, FeatureSpec *spec, Error *error) {
    static bool (*const describe[FEATURE_KINDS])(const SafeTensors *, FeatureSpec *,
                                                 Error *) = {[FEATURES_VGG16] = vgg16_describe,
                                                             [FEATURES_CLASSIFIER] = classifier_describe,
                                                             [FEATURES_INCEPTION] = inception_describe,
                                                             [FEATURES_VGG16_FC2] = vgg16_fc2_describe};
    const char *kind = safetensors_metadata(file, "kind");
    *spec = (FeatureSpec){.pool = POOL_MAX};
    for (int i = 0; kind && i < FEATURE_KINDS; i++)
        if (strcmp(kind, kinds[i]) == 0) {
            spec->kind = (FeatureKind)i;
            return describe[i](file, spec, error);
        }
    return error_set(error,
                     "%s%s%s: feature networks say their kind, vgg16, vgg16-fc2, classifier or inception, in "
                     "the metadata; "
                     "scripts/convert_features.py writes it",
                     kind ? "a file of kind '" : "no kind of network is named in it", kind ? kind : "",
                     kind ? "'" : "");
}

/* ---- parameters ---- */

float *features_parameters(const SafeTensors *file, const ParamSet *params, const FeatureNet *net,
                           Error *error) {
    float *values = calloc((size_t)params->total, sizeof *values);
    CHECK(values, "out of memory for %lld parameters", (long long)params->total);
    features_fill(net, values);
    if (weights_load(file, params, "", values, error)) return values;
    free(values);
    return NULL;
}

/* A small recording of any network with taps or features but an Inception. */
static FeatureNet small_record(const FeatureSpec *spec, ParamSet *params, Graph *graph) {
    enum { SIZE = 32 };
    FeatureSpec small = *spec;
    FeatureNet net;
    small.n = 1, small.h = small.w = small.resized_h = small.resized_w = SIZE;
    if (spec->kind != FEATURES_VGG16_FC2) return features_record(&small, params, graph);
    const Value images = graph_input(graph, "image", DTYPE_F32, 1, SIZE, SIZE, spec->channels, false);
    vgg16_fc2_record(&small, params, graph, images, &net);
    return net;
}

bool features_check(const SafeTensors *file, const FeatureSpec *spec, Error *error) {
    if (spec->kind == FEATURES_INCEPTION) return inception_check(file, spec, error);
    ParamSet params = {0};
    Graph *graph = graph_create();
    const FeatureNet net = small_record(spec, &params, graph);
    float *values = features_parameters(file, &params, &net, error);
    free(values);
    graph_free(graph);
    param_free(&params);
    return values != NULL;
}

/* ---- opening ---- */

FeatureRequest features_request(const FeatureConfig *config, const Dataset *data, int images, bool tf32) {
    return (FeatureRequest){.n = images,
                            .h = data->height,
                            .w = data->width,
                            .c = data->channels,
                            .pool = config->pool,
                            .size = config->size,
                            .pixels = config->pixels,
                            .tf32 = tf32};
}

/* Pixels of all images that go through at a time: enough to fill a card, few enough for its memory; fewer on
 * a CPU, whose caches they should meet. */
static int images_choose(const FeatureSpec *spec, int n, const Device *device) {
    const int64_t pixels = strcmp(device->kind, "cpu") ? (int64_t)1 << 20 : (int64_t)1 << 18;
    const int64_t limit = pixels / ((int64_t)spec->resized_h * spec->resized_w);
    int images = n < limit ? n : limit < 1 ? 1 : (int)limit;
    while (n % images) images--;
    return images;
}

/* Pixels a side that all pools need. */
static int size_least(const FeatureSpec *spec) {
    return 1 << ((spec->kind == FEATURES_VGG16 ? VGG_STAGES : spec->classifier.stages) - 1);
}

static bool spec_complete(FeatureSpec *spec, const FeatureRequest *request, const Device *device,
                          Error *error) {
    if (spec->kind == FEATURES_INCEPTION || spec->kind == FEATURES_VGG16_FC2)
        return error_set(error,
                         "a network of kind %s judges sets of images and has no gradients: ct.perceptual "
                         "takes a vgg16 or a classifier",
                         kinds[spec->kind]);
    const int least = size_least(spec), size = request->size ? request->size : spec->resolution;
    if (spec->channels != request->c)
        return error_set(error, "it takes images of %d channels, these have %d", spec->channels, request->c);
    spec->h = request->h, spec->w = request->w;
    spec->resized_h = size ? size : request->h;
    spec->resized_w = size ? size : request->w;
    if (spec->resized_h < least || spec->resized_w < least)
        return error_set(error, "a %s needs images of at least %d x %d: set ct.perceptual_size",
                         kinds[spec->kind], least, least);
    spec->n = images_choose(spec, request->n, device);
    spec->pool = request->pool;
    spec->pixels = (float)request->pixels;
    spec->tf32 = request->tf32;
    return true;
}

static void network_prepare(const FeatureSpec *spec, const FeatureNet *net, Graph *graph, const float *values,
                            int64_t total, Device *device, FeatureNetwork *network) {
    float *weights = device->allocate(device, (size_t)total * sizeof(float));
    device->copy(device, weights, values, (size_t)total * sizeof(float), COPY_TO_DEVICE);
    device->synchronise(device);
    graph_prepare(graph, device, true);
    *network = (FeatureNetwork){.graph = graph,
                                .input = net->input,
                                .taps = net->taps,
                                .n = spec->n,
                                .h = spec->h,
                                .w = spec->w,
                                .c = spec->channels,
                                .weights = weights};
    for (int i = 0; i < net->taps; i++) {
        network->tap[i] = net->tap[i];
        network->head[i] = net->head[i] == NO_PARAM ? NULL : weights + net->head[i];
    }
}

static bool network_open(const SafeTensors *file, const FeatureRequest *request, Device *device,
                         FeatureNetwork *network, Error *error) {
    FeatureSpec spec;
    ParamSet params = {0};
    if (!features_describe(file, &spec, error) || !spec_complete(&spec, request, device, error)) return false;
    Graph *graph = graph_create();
    const FeatureNet net = features_record(&spec, &params, graph);
    float *values = features_parameters(file, &params, &net, error);
    if (values)
        network_prepare(&spec, &net, graph, values, params.total, device, network);
    else
        graph_free(graph);
    free(values);
    param_free(&params);
    return values != NULL;
}

bool features_unchanged(const char *path, const char *hash, Error *error) {
    Hash found;
    if (!hash || !strcmp(hash, "any")) return true;
    return hash_file(path, &found, error) &&
           (strcmp(found.hex, hash) == 0 ||
            error_set(
                error,
                "%s: its SHA-256 is %.12s..., that of what was imported %.12s...: the file has changed; "
                "remove its folder and import it again",
                path, found.hex, hash));
}

bool features_open(const char *path, const char *hash, const FeatureRequest *request, Device *device,
                   FeatureNetwork *network, Error *error) {
    SafeTensors file;
    *network = (FeatureNetwork){0};
    if (!features_unchanged(path, hash, error) || !safetensors_open(path, &file, error)) return false;
    const bool done = network_open(&file, request, device, network, error) || error_wrap(error, "%s", path);
    safetensors_close(&file);
    return done;
}

bool features_memory(const char *path, const FeatureRequest *request, const Device *device, size_t *bytes,
                     Error *error) {
    SafeTensors file;
    FeatureSpec spec;
    ParamSet params = {0};
    if (!safetensors_open(path, &file, error)) return false;
    const bool good =
        (features_describe(&file, &spec, error) && spec_complete(&spec, request, device, error)) ||
        error_wrap(error, "%s", path);
    if (good) {
        Graph *graph = graph_create();
        const FeatureNet net = features_record(&spec, &params, graph);
        graph_plan(graph, true);
        *bytes = graph_cost(graph, GRAPH_TRAIN).arena_bytes + (size_t)params.total * sizeof(float);
        for (int i = 0; i < net.taps; i++) { /* the teacher's features are kept */
            const Tensor tap = graph_shape(graph, net.tap[i]);
            *bytes += tensor_bytes(&tap);
        }
        graph_free(graph);
        param_free(&params);
    }
    safetensors_close(&file);
    return good;
}

void features_close(FeatureNetwork *network, Device *device) {
    graph_free(network->graph);
    if (network->weights) device->release(device, (void *)(uintptr_t)network->weights);
    *network = (FeatureNetwork){0};
}
