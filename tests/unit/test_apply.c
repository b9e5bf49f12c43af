/* `apply` as a user calls it: experiment, weights and arrays in files. No other implementation is needed, for
 * the method itself says what must come out: f(x, sigma_min) = x, and f = c_skip x + c_out F(c_in x). */
#include "base/npy.h"
#include "base/philox.h"
#include "command/cli.h"
#include "base/safetensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "near.h"
#include "scratch.h"

enum { COUNT = 3, SIZE = 8, CHANNELS = 3, IMAGE = CHANNELS * SIZE * SIZE };

static const char yaml[] =
    "data: {name: shapes, resolution: 8}\n"
    "model: {channels: 8, channel_mult: [1, 2], blocks: 1, attention: [4], dropout: 0}\n";

static float uniform(uint32_t i) {
    return 2 * random_uniform(random_block((RandomKey){.seed = 7}, i).x[0]) - 1;
}

static bool plan_one(Plan *plan, Error *error) {
    const char *file = scratch("tiny.yaml");
    const PlanRequest request = {.files = &file, .file_count = 1, .without_data = true};
    return file_write_atomic(file, yaml, strlen(yaml), error) && plan_make(&request, plan, error);
}

/* A network of random weights, under `prefix` in a file of the scratch folder. */
static void weights_write(const char *name, const char *prefix) {
    Plan plan;
    Error error;
    ParamSet params = {0};
    if (!plan_one(&plan, &error)) fail_msg("%s", error.text);
    Graph *graph = graph_create();
    unet_record(&plan.runs[0].config.model, &params, graph, 1, SIZE, CHANNELS, PRECISION_FP32);
    SafeTensor *tensors = calloc((size_t)params.count, sizeof *tensors);
    float *values = malloc((size_t)params.total * sizeof *values),
          *files = malloc((size_t)params.total * sizeof *files), *at = files;
    for (int64_t i = 0; i < params.total; i++) values[i] = 0.2f * uniform((uint32_t)i);
    for (int i = 0; i < params.count; i++) {
        const Param *param = &params.params[i];
        tensors[i] = (SafeTensor){
            .dtype = "F32", .rank = param->rank, .data = at, .bytes = (size_t)param->count * sizeof *at};
        for (int d = 0; d < param->rank; d++) tensors[i].shape[d] = param->shape[d];
        snprintf(tensors[i].name, sizeof tensors[i].name, "%s%s", prefix, param->name);
        param_to_file(param, values, at);
        at += param->count;
    }
    if (!safetensors_write(scratch(name), tensors, params.count, NULL, 0, &error)) fail_msg("%s", error.text);
    free(files);
    free(values);
    free(tensors);
    param_free(&params);
    graph_free(graph);
    plan_free(&plan);
}

static void input_write(const char *name, float scale, const float *sigma, int channels) {
    static float x[COUNT * IMAGE], sigmas[COUNT];
    Error error;
    for (int i = 0; i < COUNT * IMAGE; i++) x[i] = scale * uniform((uint32_t)i);
    NpzMember members[2] = {{"x", {NPY_F32, 4, {COUNT, channels, SIZE, SIZE}, x}},
                            {"sigma", {NPY_F32, 1, {COUNT}, sigmas}}};
    if (sigma) memcpy(sigmas, sigma, sizeof sigmas);
    if (!npz_write(scratch(name), members, sigma ? 2 : 1, &error)) fail_msg("%s", error.text);
}

static int apply(const char *weights, const char *input, const char *output, bool raw) {
    char words[4][1024];
    snprintf(words[0], 1024, "%s", scratch("tiny.yaml"));
    snprintf(words[1], 1024, "%s", scratch(weights));
    snprintf(words[2], 1024, "%s", scratch(input));
    snprintf(words[3], 1024, "%s", scratch(output));
    char *arguments[] = {"apply",     words[0], "--weights",          words[1],
                         "--input",   words[2], "--output",           words[3],
                         "--threads", "2",      raw ? "--raw" : NULL, NULL};
    return command_apply.run(raw ? 11 : 10, arguments);
}

static void output_read(const char *output, const char *name, float values[COUNT * IMAGE]) {
    NpzMember *members;
    Error error;
    int count;
    if (!npz_read(scratch(output), &members, &count, &error)) fail_msg("%s", error.text);
    const NpyArray *array = npz_find(members, count, name);
    assert_non_null(array);
    assert_int_equal(npy_count(array), COUNT * IMAGE);
    assert_int_equal(array->shape[1], CHANNELS);
    memcpy(values, array->data, COUNT * IMAGE * sizeof *values);
    npz_free(members, count);
}

/* The boundary condition, exactly, and so also that N,C,H,W goes in and comes out. */
static void test_the_smallest_level_changes_nothing(void **state) {
    (void)state;
    static float f[COUNT * IMAGE];
    weights_write("net.safetensors", "");
    input_write("in.npz", 1, (const float[]){0.002f, 0.002f, 0.002f}, CHANNELS);
    assert_int_equal(apply("net.safetensors", "in.npz", "out.npz", false), EXIT_DONE);
    output_read("out.npz", "f", f);
    for (int i = 0; i < COUNT * IMAGE; i++) assert_true(f[i] == uniform((uint32_t)i));
}

/* CM appendix C: f = c_skip x + c_out F(c_in x, c_noise). The weights are found bare and as a
 * checkpoint's. */
static void test_f_is_made_of_F(void **state) {
    (void)state;
    static float f[COUNT * IMAGE], F[COUNT * IMAGE];
    const float sigma[COUNT] = {2, 2, 2};
    const CtConfig ct = config_default().ct;
    const Level level = ct_level(&ct, 2);
    weights_write("net.safetensors", "");
    weights_write("checkpoint.safetensors", "model.");
    input_write("in.npz", 1, sigma, CHANNELS);
    input_write("scaled.npz", level.c_in, sigma, CHANNELS);
    assert_int_equal(apply("net.safetensors", "in.npz", "f.npz", false), EXIT_DONE);
    assert_int_equal(apply("checkpoint.safetensors", "scaled.npz", "raw.npz", true), EXIT_DONE);
    output_read("f.npz", "f", f);
    output_read("raw.npz", "F", F);
    double largest = 0;
    for (int i = 0; i < COUNT * IMAGE; i++) {
        NEAR(f[i], level.c_skip * uniform((uint32_t)i) + level.c_out * F[i], 2e-6);
        if (fabsf(F[i]) > largest) largest = fabsf(F[i]);
    }
    assert_true(largest > 0.05); /* otherwise the network had no part in it */
}

static void test_wrong_input_is_refused(void **state) {
    (void)state;
    const float sigma[COUNT] = {1, 1, 1}, negative[COUNT] = {1, -1, 1};
    weights_write("net.safetensors", "");
    input_write("no-sigma.npz", 1, NULL, CHANNELS);
    input_write("negative.npz", 1, negative, CHANNELS);
    input_write("grey.npz", 1, sigma, 1);
    input_write("good.npz", 1, sigma, CHANNELS);
    assert_int_equal(apply("net.safetensors", "no-sigma.npz", "out.npz", false), EXIT_USAGE);
    assert_int_equal(apply("net.safetensors", "negative.npz", "out.npz", false), EXIT_USAGE);
    assert_int_equal(apply("net.safetensors", "grey.npz", "out.npz", false), EXIT_USAGE);
    assert_int_equal(apply("net.safetensors", "missing.npz", "out.npz", false), EXIT_USAGE);
    assert_int_equal(apply("missing.safetensors", "good.npz", "out.npz", false), EXIT_USAGE);
    assert_false(file_exists(scratch("out.npz")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(test_the_smallest_level_changes_nothing),
        IN_SCRATCH(test_f_is_made_of_F),
        IN_SCRATCH(test_wrong_input_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
