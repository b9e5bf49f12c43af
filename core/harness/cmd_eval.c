/* `eval`: judge a run's newest checkpoint again, with other weights, sample counts or metrics; or judge given
 * images. */
#include "base/file.h"
#include "base/log.h"
#include "base/npy.h"
#include "harness/cli.h"
#include "harness/loaded.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 16 };

typedef struct EvalOptions {
    const char *weights, *metrics, *device, *images, *reference;
    int nfe, samples, threads;
} EvalOptions;

/* What the options change of an evaluation's configuration; "fd-random,classifier" goes through the key
 * table. */
static bool options_apply(const EvalOptions *options, Config *config, Error *error) {
    EvaluationConfig *evaluation = &config->evaluation;
    char text[256];
    if (options->weights) snprintf(evaluation->weights, sizeof evaluation->weights, "%s", options->weights);
    if (options->samples) evaluation->samples = options->samples;
    if (options->nfe) evaluation->nfe[0] = options->nfe, evaluation->nfes = 1;
    if (!options->metrics) return true;
    snprintf(text, sizeof text, "[%s]", options->metrics);
    return config_set(config, "evaluation.metrics", text, error);
}

static void numbers_print(const char *title, const Evaluation *numbers, int count) {
    for (int i = 0; i < count; i++) printf("%-24s %-28s %.6g\n", title, numbers[i].metric, numbers[i].value);
}

/* ---- a run ---- */

typedef struct EvalRun {
    Store *store;
    const RunRow *row;
    Dataset data;
    Evaluator *evaluator;
    Loaded loaded;
} EvalRun;

static bool numbers_keep(EvalRun *run, int nfe, const Evaluation *numbers, int count, Error *error) {
    const char *weights = run->loaded.config.evaluation.weights;
    char title[64];
    snprintf(title, sizeof title, "%s, %d-step", weights, nfe);
    numbers_print(title, numbers, count);
    for (int i = 0; i < count; i++)
        if (!store_evaluation(run->store, run->row->id, run->loaded.step, weights, nfe, &numbers[i], error))
            return false;
    return true;
}

static bool nfe_evaluate(EvalRun *run, int nfe, Error *error) {
    Loaded *loaded = &run->loaded;
    const EvaluationConfig *evaluation = &loaded->config.evaluation;
    Evaluation numbers[MAX_EVALUATIONS];
    const SampleRequest request = {.sampler = sampler_levels(&loaded->config.ct, evaluation, nfe),
                                   .rounding = evaluation->rounding,
                                   .count = evaluation->samples,
                                   .classes = loaded->config.model.classes,
                                   .labels = {LABELS_DRAWN, run->data.labels, run->data.count},
                                   .image_size = loaded->resolution * loaded->resolution * loaded->channels};
    uint8_t *images = samples_draw(&request, loaded_draw, loaded, error);
    if (!images) return false;
    const int count = evaluator_run(run->evaluator, images, evaluation->samples,
                                    rounding_name(evaluation->rounding), numbers, error);
    free(images);
    return count >= 0 && numbers_keep(run, nfe, numbers, count, error);
}

static bool run_judge(EvalRun *run, const Paths *paths, Error *error) {
    const EvaluationConfig *evaluation = &run->loaded.config.evaluation;
    char cache[1024];
    const SpaceFolders folders = {path_join(cache, paths->results, "cache"), paths->weights};
    run->evaluator = evaluator_open(evaluation, &run->data, run->loaded.device, &folders, error);
    if (!run->evaluator) return false;
    bool done = true;
    for (int i = 0; done && i < evaluation->nfes; i++) done = nfe_evaluate(run, evaluation->nfe[i], error);
    evaluator_close(run->evaluator);
    return done;
}

static bool run_evaluate(EvalRun *run, const EvalOptions *options, const Paths *paths, Device *device,
                         Error *error) {
    char path[1024];
    Config config;
    if (!loaded_find(run->row, paths->results, path, &config, error) ||
        !options_apply(options, &config, error) ||
        !dataset_open(&config.data, paths->data, &run->data, error))
        return false;
    bool done = loaded_open(&config, path, config.evaluation.weights, run->data.height, BATCH, device,
                            &run->loaded, error);
    if (done) {
        done = run_judge(run, paths, error);
        loaded_close(&run->loaded);
    }
    dataset_close(&run->data);
    return done;
}

/* ---- given images ---- */

static bool images_judge(const EvalOptions *options, const NpyArray *images, const Dataset *data,
                         const Paths *paths, Device *device, Error *error) {
    Config config = config_default();
    Evaluation numbers[MAX_EVALUATIONS];
    char cache[1024];
    if (!options_apply(options, &config, error)) return false;
    const SpaceFolders folders = {path_join(cache, paths->results, "cache"), paths->weights};
    Evaluator *evaluator = evaluator_open(&config.evaluation, data, device, &folders, error);
    if (!evaluator) return false;
    int count = evaluator_run(evaluator, images->data, (int)images->shape[0], "as given", numbers, error);
    if (count >= 0) numbers_print("images", numbers, count);
    if (count >= 0) count = evaluator_reference(evaluator, (int)images->shape[0], numbers, error);
    if (count >= 0) numbers_print("real and trivial", numbers, count);
    evaluator_close(evaluator);
    return count >= 0;
}

static bool images_fit(const NpyArray *images, const Dataset *data, const char *path, Error *error) {
    const int64_t *shape = images->shape;
    return (images->type == NPY_U8 && images->rank == 4 && shape[0] > 0 && shape[1] == data->height &&
            shape[2] == data->width && shape[3] == data->channels) ||
           error_set(error, "%s: an array of bytes N x %d x %d x %d is needed, as data set %s has", path,
                     data->height, data->width, data->channels, data->name);
}

static bool images_evaluate(const EvalOptions *options, const Paths *paths, Device *device, Error *error) {
    DataConfig wanted = {.resolution = 0};
    Dataset data;
    NpyArray images;
    snprintf(wanted.name, sizeof wanted.name, "%s", options->reference ? options->reference : "");
    if (!options->reference)
        return error_set(error, "--images needs --reference NAME, a data set (./run data ls)");
    if (!npy_read(options->images, &images, error)) return false;
    if (images.rank == 4)
        wanted.resolution = (int)images.shape[1]; /* of shapes; stored sets have their own */
    bool done = dataset_open(&wanted, paths->data, &data, error);
    if (done) {
        done = images_fit(&images, &data, options->images, error) &&
               images_judge(options, &images, &data, paths, device, error);
        dataset_close(&data);
    }
    npy_free(&images);
    return done;
}

/* ---- the command ---- */

static int eval_finish(bool done, const Error *error, Device *device) {
    if (device) device_close(device);
    if (!device) return EXIT_USAGE; /* already said */
    return done ? EXIT_DONE : cli_fail(EXIT_USAGE, error);
}

static int eval_run(int argc, char **argv) {
    EvalOptions options = {.device = "cpu"};
    Paths paths;
    RunRow row;
    Error error;
    const Option list[] = {
        {"weights", 0, OPTION_TEXT, &options.weights, "W",
         "raw, teacher, ema:0.05, ... (default: the run's)"},
        {"nfe", 0, OPTION_COUNT, &options.nfe, "N", "network evaluations an image (default: the run's)"},
        {"samples", 0, OPTION_COUNT, &options.samples, "N", "images to judge (default: the run's)"},
        {"metrics", 0, OPTION_TEXT, &options.metrics, "LIST", "fd-random,classifier (default: the run's)"},
        {"images", 0, OPTION_TEXT, &options.images, "FILE.npy",
         "judge these bytes N,H,W,C and no run; nothing is stored"},
        {"reference", 0, OPTION_TEXT, &options.reference, "NAME", "data set that --images are set against"},
        {"device", 0, OPTION_TEXT, &options.device, "D", "cpu, cuda or cuda:1 (default cpu)"},
        {"threads", 0, OPTION_COUNT, &options.threads, "N", "CPU threads (default: all)"},
    };
    enum { OPTIONS = sizeof list / sizeof *list };
    int count;
    char **words = options_parse(&command_eval, argc, argv, list, OPTIONS, &paths, &count);
    if (options.images && !count) {
        Device *device = cli_device(options.device, options.threads);
        return eval_finish(device && images_evaluate(&options, &paths, device, &error), &error, device);
    }
    Store *store = cli_find_run(&command_eval, words, count, &paths, &row);
    if (!store) return EXIT_USAGE;
    EvalRun run = {.store = store, .row = &row};
    Device *device = cli_device(options.device, options.threads);
    const int code =
        eval_finish(device && run_evaluate(&run, &options, &paths, device, &error), &error, device);
    run_row_free(&row);
    store_close(store);
    return code;
}

const Command command_eval = {"eval", "eval ID [options]  |  eval --images FILE.npy --reference NAME",
                              "judge a run's newest checkpoint once more, or given images", eval_run};
