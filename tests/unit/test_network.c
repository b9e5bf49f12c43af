/* The networks against PyTorch: small ones that together use every option, with all weights random, and the
 * float64 values that scripts/golden_network.py computed for them: the bare output F, the consistency
 * function f, and every parameter's gradient. A wrong sign, order of channels, transpose or missing term
 * shows here; test_graph.c has what concerns the graph alone. */
#include "ct/sampler.h"
#include "model/unet.h"
#include "train/checkpoint.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What golden_network.py drew its dropout masks with. */
static const uint64_t SEED = 0x1234567890ABCDEF;
enum { STEP = 7, FIRST_SAMPLE = 5 };

typedef struct Golden {
    const char *name;
    int resolution, image_channels;
    ModelConfig model;
} Golden;

#define ONE_THREE_THREE_ONE .filter = {1, 3, 3, 1}, .filter_taps = 4
#define ONE_ONE .filter = {1, 1}, .filter_taps = 2

static Golden networks[] = {
    {"ncsnpp",
     16,
     3,
     {.channels = 8,
      .multipliers = {1, 2},
      .levels = 2,
      .blocks = 1,
      .attention = {8},
      .attentions = 1,
      .embedding = EMBED_FOURIER,
      .noise_scale = 1,
      .noise_multiplier = 2,
      .embedding_multiplier = 2,
      .encoder = ENCODER_RESIDUAL,
      ONE_THREE_THREE_ONE}},
    {"ddpmpp",
     8,
     3,
     {.channels = 8,
      .multipliers = {1, 1},
      .levels = 2,
      .blocks = 2,
      .attention = {8},
      .attentions = 1,
      .embedding = EMBED_POSITIONAL,
      .noise_scale = 1,
      .noise_multiplier = 1,
      .embedding_multiplier = 2,
      .encoder = ENCODER_STANDARD,
      ONE_ONE,
      .classes = 10,
      .augment_dim = 9}},
    {"seams",
     8,
     1,
     {.channels = 6,
      .multipliers = {1, 1, 1},
      .levels = 3,
      .blocks = 2,
      .embedding = EMBED_FOURIER,
      .noise_scale = 1,
      .noise_multiplier = 2,
      .embedding_multiplier = 2,
      .encoder = ENCODER_RESIDUAL,
      ONE_THREE_THREE_ONE}},
    {"adm",
     8,
     3,
     {.architecture = ARCHITECTURE_ADM,
      .channels = 4,
      .multipliers = {1, 2},
      .levels = 2,
      .blocks = 1,
      .attention = {8, 4},
      .attentions = 2,
      .head_channels = 4,
      .embedding = EMBED_POSITIONAL,
      .noise_scale = 1,
      .noise_multiplier = 1,
      .embedding_multiplier = 2,
      ONE_ONE,
      .classes = 5}},
    {"adm-scale-shift",
     16,
     3,
     {.architecture = ARCHITECTURE_ADM,
      .channels = 8,
      .multipliers = {1, 1},
      .levels = 2,
      .blocks = 1,
      .attention = {8},
      .attentions = 1,
      .head_channels = 8,
      .embedding = EMBED_POSITIONAL,
      .noise_scale = 1000,
      .noise_multiplier = 1,
      .embedding_multiplier = 2,
      ONE_ONE,
      .augment_dim = 9,
      .scale_shift = true}},
    {"dropout",
     16,
     3,
     {.channels = 8,
      .multipliers = {1, 1},
      .levels = 2,
      .blocks = 1,
      .embedding = EMBED_FOURIER,
      .noise_scale = 1,
      .noise_multiplier = 2,
      .embedding_multiplier = 1,
      .encoder = ENCODER_RESIDUAL,
      ONE_THREE_THREE_ONE,
      .dropout = 0.3f,
      .dropout_max_resolution = 8}},
};
enum { NETWORKS = sizeof networks / sizeof networks[0] };

/* One network on the CPU with the file's weights, and the file. */
typedef struct Bench {
    const Golden *golden;
    SafeTensors file;
    Device *device;
    Graph *graph;
    ParamSet params;
    UNet net;
    int n;
    float *weights, *gradients;
    StepRow row;
    void *bound[8];
    int bindings;
} Bench;

/* ------------------------------------------------------------------------------------------ set-up */

static const SafeTensor *stored(const Bench *b, const char *name) {
    const SafeTensor *tensor = safetensors_find(&b->file, name);
    if (!tensor) fail_msg("%s has no '%s'", b->golden->name, name);
    return tensor;
}

/* n c h w as stored to n h w c as computed, or back. */
static void images_permute(const Bench *b, const float *from, float *to, bool to_nhwc) {
    const int c = b->golden->image_channels, area = b->golden->resolution * b->golden->resolution;
    for (int i = 0; i < b->n * c * area; i++) {
        const int image = i / (c * area), channel = i / area % c, place = i % area;
        const int nhwc = (image * area + place) * c + channel;
        to[to_nhwc ? nhwc : i] = from[to_nhwc ? i : nhwc];
    }
}

static size_t image_bytes(const Bench *b) {
    const Golden *g = b->golden;
    return sizeof(float) * (size_t)(b->n * g->resolution * g->resolution * g->image_channels);
}

static void *bind(Bench *b, Value value, size_t bytes) {
    void *memory = b->device->allocate(b->device, bytes);
    graph_bind(b->graph, value, memory);
    return b->bound[b->bindings++] = memory;
}

static void bind_inputs(Bench *b) {
    images_permute(b, stored(b, "input")->data, bind(b, b->net.input, image_bytes(b)), true);
    Level *levels = bind(b, b->net.level, (size_t)b->n * sizeof(Level));
    for (int i = 0; i < b->n; i++)
        levels[i] = (Level){.c_noise = ((const float *)stored(b, "c_noise")->data)[i]};
    const struct {
        Value value;
        const char *name;
    } rows[] = {{b->net.label, "label"}, {b->net.augment, "augment"}};
    for (int i = 0; i < 2; i++) {
        if (rows[i].value == NO_VALUE) continue;
        const SafeTensor *tensor = stored(b, rows[i].name);
        memcpy(bind(b, rows[i].value, tensor->bytes), tensor->data, tensor->bytes);
    }
}

static int set_up(void **state) {
    Bench *b = calloc(1, sizeof *b);
    b->golden = *state;
    *state = b;
    char path[128];
    Error error = {0};
    snprintf(path, sizeof path, "tests/golden/network-%s.safetensors", b->golden->name);
    if (!safetensors_open(path, &b->file, &error)) fail_msg("%s", error.text);
    if (!device_open("cpu", 2, &b->device, &error)) fail_msg("%s", error.text);
    b->n = (int)stored(b, "input")->shape[0];
    b->graph = graph_create();
    b->net = unet_record(&b->golden->model, &b->params, b->graph, b->n, b->golden->resolution,
                         b->golden->image_channels, DTYPE_F32);
    b->weights = b->device->allocate(b->device, (size_t)b->params.total * sizeof(float));
    b->gradients = b->device->allocate(b->device, (size_t)b->params.total * sizeof(float));
    param_initialise(&b->params, 0, b->weights); /* frequencies of positional embeddings are in no file */
    if (!weights_load(&b->file, &b->params, "model.", b->weights, &error)) fail_msg("%s", error.text);
    graph_prepare(b->graph, b->device, true);
    return 0;
}

static int tear_down(void **state) {
    Bench *b = *state;
    for (int i = 0; i < b->bindings; i++) b->device->release(b->device, b->bound[i]);
    b->device->release(b->device, b->weights);
    b->device->release(b->device, b->gradients);
    graph_free(b->graph);
    param_free(&b->params);
    device_close(b->device);
    safetensors_close(&b->file);
    free(b);
    return 0;
}

static GraphRun run_of(Bench *b) {
    b->row = (StepRow){.step = STEP};
    return (GraphRun){.master = b->weights,
                      .cast = b->weights,
                      .draw = {.seed = SEED, .row = &b->row, .first_sample = FIRST_SAMPLE},
                      .dropout = b->golden->model.dropout > 0};
}

/* ------------------------------------------------------------------------------------------ comparison */

static double norm_of(const float *values, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += (double)values[i] * values[i];
    return sqrt(sum);
}

/* The largest error, in units of the expected values' root mean square. */
static void check_images(const Bench *b, const float *nhwc, const char *name, double tolerance) {
    const SafeTensor *expected = stored(b, name);
    const int64_t count = (int64_t)(expected->bytes / sizeof(float));
    float *found = malloc(expected->bytes);
    images_permute(b, nhwc, found, false);
    const double rms = norm_of(expected->data, count) / sqrt((double)count);
    double worst = 0;
    for (int64_t i = 0; i < count; i++) {
        const double off = fabs((double)found[i] - ((const float *)expected->data)[i]);
        worst = isnan(off) ? INFINITY : fmax(worst, off);
    }
    free(found);
    if (!(worst <= tolerance * rms))
        fail_msg("%s of %s is off by %.2g of its rms", name, b->golden->name, worst / rms);
}

static void check_gradient(const Bench *b, const Param *param) {
    char name[128];
    snprintf(name, sizeof name, "grad.%s", param->name);
    const SafeTensor *expected = stored(b, name);
    float *found = malloc(expected->bytes);
    assert_int_equal(expected->bytes, (size_t)param->count * sizeof(float));
    param_to_file(param, b->gradients, found);
    for (int64_t i = 0; i < param->count; i++) found[i] -= ((const float *)expected->data)[i];
    const double off = norm_of(found, param->count) / norm_of(expected->data, param->count);
    free(found);
    if (!(off <= 1e-4))
        fail_msg("gradient of %s in %s is off by %.2g of its norm", param->name, b->golden->name, off);
}

/* ------------------------------------------------------------------------------------------ tests */

static void test_output_and_gradients(void **state) {
    Bench *b = *state;
    bind_inputs(b);
    const GraphRun run = run_of(b);
    graph_forward(b->graph, GRAPH_TRAIN, &run);
    check_images(b, graph_value(b->graph, GRAPH_TRAIN, b->net.output).data, "F", 2e-5);

    images_permute(b, stored(b, "dF")->data, graph_gradient(b->graph, b->net.output).data, true);
    memset(b->gradients, 0xff, (size_t)b->params.total * sizeof(float)); /* NaN wherever nothing is written */
    graph_backward(b->graph, &run, b->gradients, false);
    for (int i = 0; i < b->params.count; i++)
        if (b->params.params[i].trainable) check_gradient(b, &b->params.params[i]);
}

static void test_consistency_function(void **state) {
    Bench *b = *state;
    const ModelConfig *model = &b->golden->model;
    const int r = b->golden->resolution;
    const CtConfig ct = {
        .sigma_min = 0.002, .sigma_max = 80, .sigma_data = 0.5, .rho = 7, .sigma_shift = true};
    const Network network = {.graph = b->graph,
                             .input = b->net.input,
                             .level = b->net.level,
                             .label = b->net.label,
                             .augment = b->net.augment,
                             .output = b->net.output,
                             .dtype = DTYPE_F32,
                             .n = b->n,
                             .h = r,
                             .w = r,
                             .c = b->golden->image_channels,
                             .classes = model->classes,
                             .augment_dim = model->augment_dim};
    int32_t labels[8] = {0};
    for (int i = 0; i < b->n * model->classes; i++)
        if (((const float *)stored(b, "label")->data)[i] > 0.5f)
            labels[i / model->classes] = i % model->classes;
    float *x = malloc(image_bytes(b)), *f = malloc(image_bytes(b));
    images_permute(b, stored(b, "x")->data, x, true);
    Sampler *sampler = sampler_create(&ct, &network, b->device);
    sampler_apply(sampler, b->weights, b->weights, x, stored(b, "sigma")->data,
                  model->classes ? labels : NULL, b->n, false, f);
    sampler_free(sampler);
    check_images(b, f, "f", 2e-5);
    free(x);
    free(f);
}

int main(void) {
    struct CMUnitTest tests[2 * NETWORKS];
    char names[2 * NETWORKS][64];
    for (int i = 0; i < 2 * NETWORKS; i++) {
        const bool f = i % 2;
        snprintf(names[i], sizeof names[i], "%s: %s", networks[i / 2].name, f ? "f" : "F and gradients");
        tests[i] = (struct CMUnitTest){names[i], f ? test_consistency_function : test_output_and_gradients,
                                       set_up, tear_down, &networks[i / 2]};
    }
    return cmocka_run_group_tests_name("networks against PyTorch", tests, NULL, NULL);
}
