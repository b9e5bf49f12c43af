/* The networks against PyTorch: small ones that together use every option, with all weights random, and the
 * float64 values that scripts/golden_network.py computed for them: the bare output F, the consistency
 * function f, and every parameter's gradient. A wrong sign, order of channels, transpose or missing term
 * shows here; test_graph.c has what concerns the graph alone.
 *
 * A file says itself which network it is for. Given files as arguments, the program checks those instead of
 * tests/golden and says how far off they are: scripts/check_network.py does so with networks of full size. */
#include "ct/sampler.h"
#include "config/config.h"
#include "model/unet.h"
#include "train/checkpoint.h"

#include <glob.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* One network on the CPU with the file's weights, and the file. */
typedef struct Bench {
    const char *path;
    SafeTensors file;
    ModelConfig model;
    Device *device;
    Graph *graph;
    ParamSet params;
    UNet net;
    int n, resolution, channels;
    float *weights, *gradients;
    StepRow row;
    void *bound[8];
    int bindings;
} Bench;

static bool tells; /* the errors found, too, for whoever named files */

/* ---- set-up ---- */

static const SafeTensor *stored(const Bench *b, const char *name) {
    const SafeTensor *tensor = safetensors_find(&b->file, name);
    if (!tensor) fail_msg("%s has no '%s'", b->path, name);
    return tensor;
}

/* n c h w as stored to n h w c as computed, or back. */
static void images_permute(const Bench *b, const float *from, float *to, bool to_nhwc) {
    const int c = b->channels, area = b->resolution * b->resolution;
    for (int i = 0; i < b->n * c * area; i++) {
        const int image = i / (c * area), channel = i / area % c, place = i % area;
        const int nhwc = (image * area + place) * c + channel;
        to[to_nhwc ? nhwc : i] = from[to_nhwc ? i : nhwc];
    }
}

static size_t image_bytes(const Bench *b) {
    return sizeof(float) * (size_t)(b->n * b->resolution * b->resolution * b->channels);
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

/* The configuration stands in the metadata; what depends on data, in the shapes of the inputs. */
static void read_model(Bench *b) {
    Error error = {0};
    Config config = config_default();
    const char *text = safetensors_metadata(&b->file, "config");
    if (!text || !config_parse(text, strlen(text), b->path, &config, &error))
        fail_msg("%s: %s", b->path, error.text);
    b->model = config.model;
    const SafeTensor *input = stored(b, "input"), *label = safetensors_find(&b->file, "label");
    b->n = (int)input->shape[0], b->channels = (int)input->shape[1], b->resolution = (int)input->shape[2];
    b->model.classes = label ? (int)label->shape[1] : 0;
}

static int set_up(void **state) {
    Bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    b->path = *state;
    *state = b;
    Error error = {0};
    if (!safetensors_open(b->path, &b->file, &error)) fail_msg("%s", error.text);
    if (!device_open("cpu", 2, &b->device, &error)) fail_msg("%s", error.text);
    read_model(b);
    b->graph = graph_create();
    b->net = unet_record(&b->model, &b->params, b->graph, b->n, b->resolution, b->channels, PRECISION_FP32);
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

/* What the dropout masks were drawn with. */
static uint64_t stored_number(const Bench *b, const char *key) {
    const char *text = safetensors_metadata(&b->file, key);
    if (!text) fail_msg("%s does not say its %s", b->path, key);
    return strtoull(text, NULL, 10);
}

static GraphRun run_of(Bench *b) {
    b->row = (StepRow){.step = (uint32_t)stored_number(b, "step")};
    return (GraphRun){.master = b->weights,
                      .cast = b->weights,
                      .draw = {.seed = stored_number(b, "seed"),
                               .row = &b->row,
                               .first_sample = (uint32_t)stored_number(b, "first sample")},
                      .dropout = b->model.dropout > 0};
}

/* ---- comparison ---- */

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
    if (tells) printf("# %s is off by %.2g of its rms\n", name, worst / rms);
    if (!(worst <= tolerance * rms))
        fail_msg("%s of %s is off by %.2g of its rms", name, b->path, worst / rms);
}

/* Returns the error in units of the gradient's norm. */
static double check_gradient(const Bench *b, const Param *param) {
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
        fail_msg("gradient of %s in %s is off by %.2g of its norm", param->name, b->path, off);
    return off;
}

static void check_gradients(const Bench *b) {
    const Param *last = NULL;
    double worst = 0;
    for (int i = 0; i < b->params.count; i++) {
        const Param *param = &b->params.params[i];
        if (!param->trainable) continue;
        const double off = check_gradient(b, param);
        if (off >= worst) worst = off, last = param;
    }
    if (tells) printf("# gradient of %s is off by %.2g of its norm\n", last->name, worst);
}

/* ---- tests ---- */

static void test_output_and_gradients(void **state) {
    Bench *b = *state;
    bind_inputs(b);
    const GraphRun run = run_of(b);
    graph_forward(b->graph, GRAPH_TRAIN, &run);
    check_images(b, graph_value(b->graph, GRAPH_TRAIN, b->net.output).data, "F", 2e-5);

    images_permute(b, stored(b, "dF")->data, graph_gradient(b->graph, b->net.output).data, true);
    memset(b->gradients, 0xff, (size_t)b->params.total * sizeof(float)); /* NaN wherever nothing is written */
    graph_backward(b->graph, &run, b->gradients, false);
    check_gradients(b);
}

static void test_consistency_function(void **state) {
    Bench *b = *state;
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
                             .h = b->resolution,
                             .w = b->resolution,
                             .c = b->channels,
                             .classes = b->model.classes,
                             .augment_dim = b->model.augment_dim};
    int32_t labels[8] = {0};
    assert_true(b->n <= 8);
    for (int i = 0; i < b->n * b->model.classes; i++)
        if (((const float *)stored(b, "label")->data)[i] > 0.5f)
            labels[i / b->model.classes] = i % b->model.classes;
    float *x = malloc(image_bytes(b)), *f = malloc(image_bytes(b));
    images_permute(b, stored(b, "x")->data, x, true);
    Sampler *sampler = sampler_create(&ct, &network, b->device);
    sampler_apply(sampler, b->weights, b->weights, x, stored(b, "sigma")->data,
                  b->model.classes ? labels : NULL, b->n, false, f);
    sampler_free(sampler);
    check_images(b, f, "f", 2e-5);
    free(x);
    free(f);
}

enum { MOST_FILES = 16 };

static int check_files(char **paths, int count) {
    struct CMUnitTest tests[2 * MOST_FILES] = {0};
    char names[2 * MOST_FILES][256];
    assert_true(count > 0 && count <= MOST_FILES);
    for (int i = 0; i < 2 * count; i++) {
        const char *file = strrchr(paths[i / 2], '/');
        snprintf(names[i], sizeof names[i], "%s of %s", i % 2 ? "f" : "F and gradients",
                 file ? file + 1 : paths[i / 2]);
        tests[i] =
            (struct CMUnitTest){names[i], i % 2 ? test_consistency_function : test_output_and_gradients,
                                set_up, tear_down, paths[i / 2]};
    }
    return _cmocka_run_group_tests("networks", tests, (size_t)(2 * count), NULL, NULL);
}

int main(int argc, char **argv) {
    tells = argc > 1;
    if (tells) return check_files(argv + 1, argc - 1);
    glob_t found = {0};
    if (glob("tests/golden/network-*.safetensors", 0, NULL, &found)) return 1;
    const int status = check_files(found.gl_pathv, (int)found.gl_pathc);
    globfree(&found);
    return status;
}
