/* `rounding`: what tf32, bf16 and fp16 do to the network of a run's newest checkpoint, by the number of noise
 * levels N, and which precision the rule of train/rounding.h recommends for the card. */
#include "command/cli.h"
#include "base/columns.h"
#include "worker/loaded.h"
#include "train/rounding.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_LEVELS = 2, MOST_LEVELS = 1 << 20 };

typedef struct RoundingOptions {
    const char *levels, *device;
    int images, threads;
    int N[ROUNDING_MOST_LEVELS], count; /* of `levels` */
} RoundingOptions;

/* "11,1281": ascending. */
static bool levels_parse(RoundingOptions *options, Error *error) {
    const char *text = options->levels;
    for (options->count = 0; options->count < ROUNDING_MOST_LEVELS; text++) {
        char *end;
        const long N = strtol(text, &end, 10);
        if (end == text || N < LEAST_LEVELS || N > MOST_LEVELS ||
            (options->count && N <= options->N[options->count - 1]))
            break;
        options->N[options->count++] = (int)N;
        text = end;
        if (!*end) return true;
        if (*end != ',') break;
    }
    return error_set(
        error, "--levels: '%s' is not a list of at most %d ascending numbers of levels such as 11,161,1281",
        options->levels, ROUNDING_MOST_LEVELS);
}

/* ---- what was found ---- */

static void rows_print(const RoundingRow *rows, int count) {
    const char *const titles[] = {">N", "precision", ">median", ">90 %", ">cosine", ">images/s"};
    Columns table = columns_begin(6, titles);
    for (int i = 0; i < count; i++) {
        char text[5][32];
        snprintf(text[0], 32, "%d", rows[i].N);
        snprintf(text[1], 32, "%.3g", rows[i].median);
        snprintf(text[2], 32, "%.3g", rows[i].upper);
        snprintf(text[3], 32, "%.6f", rows[i].cosine);
        snprintf(text[4], 32, "%.0f", rows[i].rate);
        columns_add(&table, (const char *[]){text[0], precision_name(rows[i].precision), text[1], text[2],
                                             text[3], text[4]});
    }
    puts("||r - r32|| / ||r32|| of the residual r = f(student) - f(teacher): median and upper tenth of the\n"
         "images; cosine of the gradient with fp32's; both passes and the backward one, without optimiser");
    columns_print(&table, stdout);
    columns_free(&table);
}

static void choice_print(const RoundingRow *rows, int count, int N) {
    printf("\nThe fastest precision whose median is at most %g at N = %d (of two within 5 %%, the one nearer "
           "to fp32): %s\n",
           ROUNDING_BOUND, N, precision_name(rounding_choice(rows, count, N)));
}

static bool rows_store(Store *store, const RunRow *run, int64_t step, int images, const Device *device,
                       const RoundingRow *rows, int count, Error *error) {
    for (int i = 0; i < count; i++)
        if (!store_rounding(store, run->id, step, images, device->name, &rows[i], error)) return false;
    return true;
}

/* ---- the command ---- */

static bool run_measure(const RoundingOptions *options, const RoundingSetup *setup, Store *store,
                        const RunRow *run, Error *error) {
    RoundingRow rows[ROUNDING_MOST_LEVELS * PRECISIONS];
    const int count = options->count * PRECISIONS;
    int64_t step;
    if (!rounding_measure(setup, options->N, options->count, rows, &step, error)) return false;
    printf("run %s, step %lld, the next %d images, on %s\n", run->id, (long long)step, options->images,
           setup->device->name);
    rows_print(rows, count);
    choice_print(rows, count, options->N[options->count - 1]);
    return rows_store(store, run, step, options->images, setup->device, rows, count, error);
}

static bool task_check(const RunRow *run, const Config *config, Error *error) {
    return config->task == TASK_CONSISTENCY ||
           error_set(error, "run %s trained a classifier, which has no noise levels", run->id);
}

static bool run_open(const RoundingOptions *options, const Paths *paths, Store *store, const RunRow *run,
                     Device *device, Error *error) {
    char path[1024], features[1024];
    Config config;
    Dataset data;
    if (!loaded_find(run, paths->results, path, &config, error) || !task_check(run, &config, error) ||
        !dataset_open(&config.data, paths->data, &data, error))
        return false;
    const RoundingSetup setup = {.checkpoint = path,
                                 .model = &config.model,
                                 .ct = &config.ct,
                                 .data = &data,
                                 .flip = config.data.flip,
                                 .device = device,
                                 .seed = (uint64_t)config.seed,
                                 .images = options->images,
                                 .loss_scale = config.train.loss_scale,
                                 .features = features};
    const bool done = config_bind(&config, &data, error) &&
                      config_bind_features(&config, &data, paths->weights, features, error) &&
                      run_measure(options, &setup, store, run, error);
    dataset_close(&data);
    return done;
}

static bool device_check(const char *spec, Error *error) {
    return strcmp(spec, "cpu") != 0 ||
           error_set(error,
                     "the CPU computes in fp32 only, so there is no rounding to compare: --device cuda, "
                     "on a machine with a card, measures this run there (./run import brings it over)");
}

static int rounding_run(int argc, char **argv) {
    RoundingOptions options = {.levels = "11,21,41,81,161,321,641,1281", .device = "cuda", .images = 256};
    Paths paths;
    Error error;
    RunRow row;
    const Option list[] = {
        {"levels", 0, OPTION_TEXT, &options.levels, "N,...",
         "numbers of noise levels (default 11,21,41,...,1281)"},
        {"images", 0, OPTION_COUNT, &options.images, "N", "of the run's next batch (default 256)"},
        {"device", 0, OPTION_TEXT, &options.device, "D", "cuda or cuda:1 (default cuda)"},
        {"threads", 0, OPTION_COUNT, &options.threads, "N", "CPU threads (default: all)"},
    };
    Store *store =
        cli_open_run(&command_rounding, argc, argv, list, sizeof list / sizeof *list, &paths, &row);
    if (!store) return EXIT_USAGE;
    Device *device = NULL;
    const bool done = levels_parse(&options, &error) && device_check(options.device, &error) &&
                      (options.images > 0 || error_set(&error, "--images: at least one")) &&
                      device_open(options.device, options.threads, &device, &error) &&
                      run_open(&options, &paths, store, &row, device, &error);
    if (device) device_close(device);
    run_row_free(&row);
    store_close(store);
    return done ? EXIT_DONE : cli_fail(EXIT_USAGE, &error);
}

const Command command_rounding = {"rounding", "rounding ID [--levels N,...] [--images N] [--device D]",
                                  "what low precision does to a run's network, by the number of noise levels",
                                  rounding_run};
