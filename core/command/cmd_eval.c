/* `eval`: judge a run's newest checkpoint again, with other weights, sample counts, metrics or repeats; or
 * judge given images or features (eval_files.c). */
#include "command/eval_command.h"

#include "base/file.h"
#include "base/log.h"
#include "worker/loaded.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 16, BATCH_CARD = 512, MOST_REPEATS = 100 }; /* samples at a time */

bool eval_options_apply(const EvalOptions *options, const Paths *paths, Config *config, Error *error) {
    EvaluationConfig *evaluation = &config->evaluation;
    char text[600];
    if (options->weights) snprintf(evaluation->weights, sizeof evaluation->weights, "%s", options->weights);
    if (options->samples) evaluation->samples = options->samples;
    if (options->nfe) evaluation->nfe[0] = options->nfe, evaluation->nfes = 1;
    if (options->metrics) {
        snprintf(text, sizeof text, "[%s]", options->metrics);
        if (!config_set(config, "evaluation.metrics", text, error)) return false;
    }
    return evaluation_check(evaluation, NULL, paths->weights, error);
}

bool eval_finish_table(EvalTable *table, const EvalOptions *options, Error *error) {
    Text out = {0};
    const bool ok = eval_table_print(table, options->format, &out, error);
    if (ok) fputs(text_view(&out), stdout);
    text_free(&out);
    return ok;
}

/* ---- a run ---- */

typedef struct EvalRun {
    const EvalOptions *options;
    Store *store;
    const RunRow *row;
    Dataset data;
    Evaluator *evaluator;
    Loaded loaded;
    EvalTable table;
    Evaluation floors[MAX_EVALUATIONS];
    int floor_count;
} EvalRun;

static bool numbers_store(EvalRun *run, int64_t step, const char *weights, int nfe, const Evaluation *numbers,
                          int count, Error *error) {
    for (int i = 0; i < count; i++)
        if (!store_evaluation(run->store, run->row->id, step, weights, nfe, &numbers[i], error)) return false;
    return true;
}

/* Images of seeds first .. first + samples - 1. */
static int repeat_run(EvalRun *run, int nfe, int64_t first, Evaluation *numbers, Error *error) {
    Loaded *loaded = &run->loaded;
    const EvaluationConfig *evaluation = &loaded->config.evaluation;
    const SampleRequest request = {.sampler = sampler_levels(&loaded->config.ct, evaluation, nfe),
                                   .rounding = evaluation->rounding,
                                   .first = (uint32_t)first,
                                   .count = evaluation->samples,
                                   .classes = loaded->config.model.classes,
                                   .labels = {LABELS_DRAWN, run->data.labels, run->data.count},
                                   .image_size = loaded->resolution * loaded->resolution * loaded->channels};
    uint8_t *images = samples_draw(&request, loaded_draw, loaded, error);
    if (!images) return -1;
    int count = evaluator_run(run->evaluator, images, evaluation->samples,
                              rounding_name(evaluation->rounding), numbers, error);
    if (count >= 0 && run->options->statistics && first == 0 &&
        !evaluator_write_statistics(run->evaluator, images, evaluation->samples, run->options->statistics,
                                    error))
        count = -1;
    free(images);
    return count;
}

/* Mean and standard deviation (divisor R - 1) over R sets of seeds, in one list; the protocol says so. */
static int repeats_combine(const Evaluation *all, int count, int repeats, Evaluation *out) {
    for (int i = 0; i < count; i++) {
        double sum = 0, square = 0;
        for (int r = 0; r < repeats; r++) sum += all[r * count + i].value;
        const double mean = sum / repeats;
        for (int r = 0; r < repeats; r++) square += pow(all[r * count + i].value - mean, 2);
        Evaluation *one = &out[2 * i], *spread = &out[2 * i + 1];
        *one = all[i];
        one->value = mean;
        char *protocol = text_format("%s; mean of %d repeats", all[i].protocol, repeats);
        CHECK(strlen(protocol) < sizeof one->protocol, "'%s' is too long for a protocol", protocol);
        strcpy(one->protocol, protocol);
        free(protocol);
        *spread = *one;
        spread->value = sqrt(square / (repeats - 1));
        snprintf(spread->metric, sizeof spread->metric, "%.44s-repeat-deviation", all[i].metric);
    }
    return 2 * count;
}

static bool numbers_keep(EvalRun *run, int nfe, const char *title, const Evaluation *numbers, int count,
                         bool stored, Error *error) {
    eval_table_add(&run->table, title, numbers, count, run->floors, run->floor_count);
    return !stored || numbers_store(run, run->loaded.step, run->loaded.config.evaluation.weights, nfe,
                                    numbers, count, error);
}

/* Disjoint sets of seeds, so the spread over them is that of the estimate. */
static bool repeats_run(EvalRun *run, int nfe, int repeats, Evaluation *all, Error *error) {
    const EvaluationConfig *evaluation = &run->loaded.config.evaluation;
    char title[128];
    int count = 0;
    if ((int64_t)repeats * evaluation->samples > UINT32_MAX)
        return error_set(error, "--repeats: there are only 2^32 seeds");
    for (int r = 0; r < repeats; r++) {
        count = repeat_run(run, nfe, (int64_t)r * evaluation->samples, all + r * count, error);
        if (count < 0) return false;
        snprintf(title, sizeof title, "%s, %d-step, seeds %lld-%lld", evaluation->weights, nfe,
                 (long long)r * evaluation->samples, (long long)(r + 1) * evaluation->samples - 1);
        if (!numbers_keep(run, nfe, title, all + r * count, count, repeats == 1, error)) return false;
    }
    if (repeats == 1) return true;
    Evaluation *combined = malloc((size_t)(2 * count + 1) * sizeof *combined);
    CHECK(combined, "out of memory for repeats");
    const int both = repeats_combine(all, count, repeats, combined);
    snprintf(title, sizeof title, "%s, %d-step, %d repeats", evaluation->weights, nfe, repeats);
    const bool ok = numbers_keep(run, nfe, title, combined, both, true, error);
    free(combined);
    return ok;
}

static bool nfe_evaluate(EvalRun *run, int nfe, Error *error) {
    const int repeats = run->options->repeats ? run->options->repeats : 1;
    Evaluation *all = malloc((size_t)(repeats + 1) * MAX_EVALUATIONS * sizeof *all);
    CHECK(all, "out of memory for %d repeats", repeats);
    const bool ok = repeats_run(run, nfe, repeats, all, error);
    free(all);
    return ok;
}

static bool run_judge(EvalRun *run, const Paths *paths, Error *error) {
    const EvaluationConfig *evaluation = &run->loaded.config.evaluation;
    char cache[1024];
    const SpaceFolders folders = {path_join(cache, paths->results, "cache"), paths->weights};
    run->evaluator = evaluator_open(evaluation, &run->data, run->loaded.device, &folders, error);
    if (!run->evaluator) return false;
    run->floor_count = evaluator_reference(run->evaluator, evaluation->samples, run->floors, error);
    bool done =
        run->floor_count >= 0 && numbers_store(run, 0, "reference", 0, run->floors, run->floor_count, error);
    for (int i = 0; done && i < evaluation->nfes; i++) done = nfe_evaluate(run, evaluation->nfe[i], error);
    evaluator_close(run->evaluator);
    done = done && eval_finish_table(&run->table, run->options, error);
    eval_table_free(&run->table);
    return done;
}

static bool run_evaluate(EvalRun *run, const Paths *paths, Device *device, Error *error) {
    char path[1024];
    Config config;
    if (!loaded_find(run->row, paths->results, path, &config, error) ||
        !eval_options_apply(run->options, paths, &config, error) ||
        !dataset_open(&config.data, paths->data, &run->data, error))
        return false;
    bool done = loaded_open(&config, path, config.evaluation.weights, run->data.height,
                            strcmp(device->kind, "cpu") ? BATCH_CARD : BATCH, device, &run->loaded, error);
    if (done) {
        done = run_judge(run, paths, error);
        loaded_close(&run->loaded);
    }
    dataset_close(&run->data);
    return done;
}

/* ---- the command ---- */

static int eval_finish(bool done, const Error *error, Device *device) {
    if (device) device_close(device);
    if (!device) return EXIT_USAGE; /* already said */
    return done ? EXIT_DONE : cli_fail(EXIT_USAGE, error);
}

static int run_command(const EvalOptions *options, char **words, int count, const Paths *paths) {
    RunRow row;
    Error error;
    Store *store = cli_find_run(&command_eval, words, count, paths, &row);
    if (!store) return EXIT_USAGE;
    EvalRun run = {.options = options, .store = store, .row = &row};
    Device *device = cli_device(options->device, options->threads);
    const int code = eval_finish(device && run_evaluate(&run, paths, device, &error), &error, device);
    run_row_free(&row);
    store_close(store);
    return code;
}

static int files_command(const EvalOptions *options, const Paths *paths) {
    Error error;
    Device *device = cli_device(options->device, options->threads);
    const bool done = device && (options->perturb ? eval_perturb(options, paths, device, &error)
                                                  : eval_images(options, paths, device, &error));
    return eval_finish(done, &error, device);
}

static bool options_check(const EvalOptions *options, Error *error) {
    if (options->repeats > MOST_REPEATS)
        return error_set(error, "--repeats: at most %d, not %d", MOST_REPEATS, options->repeats);
    return !options->repeats || (!options->images && !options->features) ||
           error_set(error, "--repeats draws new samples of a run; files have theirs");
}

static int eval_run(int argc, char **argv) {
    EvalOptions options = {.device = "cpu"};
    Paths paths;
    Error error;
    const Option list[] = {
        {"weights", 0, OPTION_TEXT, &options.weights, "W",
         "raw, teacher, ema:0.05, ... (default: the run's)"},
        {"nfe", 0, OPTION_COUNT, &options.nfe, "N", "network evaluations an image (default: the run's)"},
        {"samples", 0, OPTION_COUNT, &options.samples, "N", "images to judge (default: the run's)"},
        {"repeats", 0, OPTION_COUNT, &options.repeats, "R",
         "sets of other seeds: mean and standard deviation over them (default 1)"},
        {"metrics", 0, OPTION_TEXT, &options.metrics, "LIST",
         "fd-random,kd-random,precision-random,fid,... (default: the run's)"},
        {"images", 0, OPTION_TEXT, &options.images, "PATH",
         "judge these, and no run: a folder or zip of pictures, bytes N,H,W,C as .npy or .npz"},
        {"reference", 0, OPTION_TEXT, &options.reference, "WHAT",
         "what --images are set against: a data set, other images, or statistics (.npz of mu, sigma)"},
        {"skip-bad", 0, OPTION_FLAG, &options.skip_bad, NULL, "leave out pictures that cannot be read"},
        {"features", 0, OPTION_TEXT, &options.features, "A B",
         "judge features A (.npz, .npy) of any network against features B"},
        {"write-stats", 0, OPTION_TEXT, &options.statistics, "FILE",
         "also write mu and sigma of what is judged, as pytorch-fid reads them"},
        {"perturb", 0, OPTION_TEXT, &options.perturb, "NAME",
         "judge a data set's own images with known damage: noise, blur, JPEG, missing classes, duplicates"},
        {"format", 0, OPTION_TEXT, &options.format, "F", "md (default), csv or json"},
        {"device", 0, OPTION_TEXT, &options.device, "D", "cpu, cuda or cuda:1 (default cpu)"},
        {"threads", 0, OPTION_COUNT, &options.threads, "N", "CPU threads (default: all)"},
    };
    enum { OPTIONS = sizeof list / sizeof *list };
    int count;
    char **words = options_parse(&command_eval, argc, argv, list, OPTIONS, &paths, &count);
    if (!options_check(&options, &error)) return cli_fail(EXIT_USAGE, &error);
    if (options.features)
        return eval_features(&options, count == 1 ? words[0] : NULL, &error) ? EXIT_DONE
                                                                             : cli_fail(EXIT_USAGE, &error);
    if (!count && (options.images || options.reference || options.perturb))
        return files_command(&options, &paths);
    return run_command(&options, words, count, &paths);
}

const Command command_eval = {"eval",
                              "eval ID [options]  |  eval --images PATH --reference WHAT  |  "
                              "eval --features A.npz B.npz",
                              "judge a run's newest checkpoint once more, or given images or features",
                              eval_run};
