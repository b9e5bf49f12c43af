/* `apply`: the network of an experiment, with weights from a file, on given arrays. How other programs check
 * this one. */
#include "base/file.h"
#include "base/log.h"
#include "base/npy.h"
#include "command/cli.h"
#include "worker/loaded.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 16 };

typedef struct ApplyOptions {
    const char *file, *weights, *set, *input, *output, *device;
    bool raw;
    int threads;
    Paths paths;
} ApplyOptions;

/* The arrays as the sampler takes them. */
typedef struct ApplyInput {
    int count, channels, size;
    float *x; /* count x size x size x channels */
    const float *sigma;
    int32_t *labels; /* NULL: none given */
} ApplyInput;

/* ---- arrays ---- */

/* from N,C,H,W to N,H,W,C, or the other way with `back`. */
static float *transpose(const float *from, int count, int channels, int pixels, bool back) {
    const size_t image = (size_t)channels * (size_t)pixels;
    float *to = malloc((size_t)count * image * sizeof *to + 1);
    CHECK(to, "out of memory for %d images", count);
    for (int n = 0; n < count; n++)
        for (int c = 0; c < channels; c++)
            for (int p = 0; p < pixels; p++) {
                const size_t planar = (size_t)n * image + (size_t)c * (size_t)pixels + (size_t)p;
                const size_t packed = (size_t)n * image + (size_t)p * (size_t)channels + (size_t)c;
                if (back)
                    to[planar] = from[packed];
                else
                    to[packed] = from[planar];
            }
    return to;
}

static int32_t *labels_read(const NpyArray *labels) {
    const int64_t count = npy_count(labels);
    int32_t *out = malloc((size_t)count * sizeof *out + 1);
    CHECK(out, "out of memory for %lld labels", (long long)count);
    for (int64_t i = 0; i < count; i++)
        out[i] = labels->type == NPY_I64 ? (int32_t)((const int64_t *)labels->data)[i]
                                         : ((const int32_t *)labels->data)[i];
    return out;
}

static bool arrays_fit(const NpyArray *x, const NpyArray *sigma, const NpyArray *labels, const char *path,
                       Error *error) {
    if (!x || x->type != NPY_F32 || x->rank != 4 || x->shape[2] != x->shape[3] || npy_count(x) == 0)
        return error_set(error, "%s: an array x of float32, N x C x H x W with H = W, is needed", path);
    if (!sigma || sigma->type != NPY_F32 || npy_count(sigma) != x->shape[0])
        return error_set(error, "%s: an array sigma of float32 with %lld numbers is needed", path,
                         (long long)x->shape[0]);
    if (labels && ((labels->type != NPY_I32 && labels->type != NPY_I64) || npy_count(labels) != x->shape[0]))
        return error_set(error, "%s: labels must be %lld integers", path, (long long)x->shape[0]);
    return true;
}

static bool input_make(const NpzMember *members, int count, const char *path, ApplyInput *input,
                       Error *error) {
    const NpyArray *x = npz_find(members, count, "x"), *sigma = npz_find(members, count, "sigma");
    const NpyArray *labels = npz_find(members, count, "labels");
    if (!arrays_fit(x, sigma, labels, path, error)) return false;
    *input = (ApplyInput){(int)x->shape[0], (int)x->shape[1], (int)x->shape[2], NULL, sigma->data, NULL};
    for (int i = 0; i < input->count; i++)
        if (!(input->sigma[i] > 0))
            return error_set(error, "%s: sigma[%d] is %g; noise levels are positive", path, i,
                             input->sigma[i]);
    input->x = transpose(x->data, input->count, input->channels, input->size * input->size, false);
    if (labels) input->labels = labels_read(labels);
    return true;
}

static bool output_write(const char *path, const char *name, const ApplyInput *input, const float *values,
                         Error *error) {
    NpzMember member = {.array = {.type = NPY_F32,
                                  .rank = 4,
                                  .shape = {input->count, input->channels, input->size, input->size}}};
    snprintf(member.name, sizeof member.name, "%s", name);
    member.array.data = transpose(values, input->count, input->channels, input->size * input->size, true);
    const bool done = npz_write(path, &member, 1, error);
    free(member.array.data);
    return done;
}

/* ---- network ---- */

static bool input_check(const ApplyInput *input, const Loaded *loaded, const char *path, Error *error) {
    const int classes = loaded->config.model.classes;
    if (loaded->channels != input->channels)
        return error_set(error, "%s: images of %d channels, the network takes %d", path, input->channels,
                         loaded->channels);
    if (classes && !input->labels)
        return error_set(error, "%s: the network is class-conditional: an array labels (0 ... %d) is needed",
                         path, classes - 1);
    for (int i = 0; i < input->count && classes; i++)
        if (input->labels[i] < -1 || input->labels[i] >= classes)
            return error_set(error, "%s: labels[%d] is %d, beyond 0 ... %d (-1: no class)", path, i,
                             input->labels[i], classes - 1);
    return true;
}

static bool network_apply(const ApplyOptions *options, const ApplyInput *input, Loaded *loaded,
                          Error *error) {
    if (!input_check(input, loaded, options->input, error) ||
        (!options->raw && !loaded_check_function(loaded, error)))
        return false;
    const size_t size =
        (size_t)input->count * (size_t)input->channels * (size_t)input->size * (size_t)input->size;
    float *values = malloc(size * sizeof *values);
    CHECK(values, "out of memory for %d images", input->count);
    sampler_apply(loaded->sampler, loaded->weights, loaded->cast, input->x, input->sigma,
                  loaded->config.model.classes ? input->labels : NULL, input->count, options->raw, values);
    const bool done = output_write(options->output, options->raw ? "F" : "f", input, values, error);
    free(values);
    return done;
}

static bool config_read(const ApplyOptions *options, char **overrides, int count, Config *config,
                        Error *error) {
    char scales[1024];
    Plan plan;
    const PlanRequest request = {.files = &options->file,
                                 .file_count = 1,
                                 .overrides = (const char *const *)overrides,
                                 .override_count = count,
                                 .scale_folder = path_join(scales, options->paths.root, "experiments/scales"),
                                 .without_data = true};
    if (!plan_make(&request, &plan, error)) return false;
    *config = plan.runs[0].config;
    if (plan.run_count > 1)
        log_warn("%s means %d runs; the network is that of the first", options->file, plan.run_count);
    plan_free(&plan);
    return true;
}

static bool apply_on(const ApplyOptions *options, const Config *config, const ApplyInput *input,
                     Error *error) {
    Device *device;
    Loaded loaded;
    if (!device_open(options->device, options->threads, &device, error)) return false;
    const int batch = input->count < BATCH ? input->count : BATCH;
    bool done =
        loaded_open(config, options->weights, options->set, input->size, batch, device, &loaded, error);
    if (done) {
        done = network_apply(options, input, &loaded, error);
        loaded_close(&loaded);
    }
    device_close(device);
    return done;
}

static bool apply_all(const ApplyOptions *options, char **overrides, int override_count, Error *error) {
    NpzMember *members;
    int count;
    Config config;
    ApplyInput input = {0};
    if (!config_read(options, overrides, override_count, &config, error) ||
        !npz_read(options->input, &members, &count, error))
        return false;
    const bool done = input_make(members, count, options->input, &input, error) &&
                      apply_on(options, &config, &input, error);
    free(input.x);
    free(input.labels);
    npz_free(members, count);
    return done;
}

static int apply_run(int argc, char **argv) {
    ApplyOptions options = {.device = "cpu"};
    Error error;
    int count;
    const Option list[] = {
        {"weights", 0, OPTION_TEXT, &options.weights, "FILE",
         "a safetensors file: bare network or checkpoint"},
        {"set", 0, OPTION_TEXT, &options.set, "W",
         "which weights of a checkpoint: raw (default), teacher, ema:0.05, ..."},
        {"input", 'i', OPTION_TEXT, &options.input, "IN.npz",
         "x float32 N,C,H,W; sigma N; labels N for conditional networks (-1: no class)"},
        {"output", 'o', OPTION_TEXT, &options.output, "OUT.npz", "one array: f, or F with --raw"},
        {"raw", 0, OPTION_FLAG, &options.raw, NULL,
         "the bare network F(x, c_noise(sigma)) instead of f(x, sigma)"},
        {"device", 0, OPTION_TEXT, &options.device, "D", "cpu, cuda or cuda:1 (default cpu)"},
        {"threads", 0, OPTION_COUNT, &options.threads, "N", "CPU threads (default: all)"},
    };
    char **words =
        options_parse(&command_apply, argc, argv, list, sizeof list / sizeof *list, &options.paths, &count);
    if (count < 1 || !options.weights || !options.input || !options.output) {
        log_error("usage: ./run %s", command_apply.usage);
        return EXIT_USAGE;
    }
    options.file = words[0];
    return apply_all(&options, words + 1, count - 1, &error) ? EXIT_DONE : cli_fail(EXIT_USAGE, &error);
}

const Command command_apply = {
    "apply", "apply FILE.yaml [key=value...] --weights W.safetensors --input IN.npz --output OUT.npz [--raw]",
    "f(x, sigma) on given arrays, with given weights", apply_run};
