/* `sample`: pictures from a run's newest checkpoint. */
#include "base/file.h"
#include "base/log.h"
#include "harness/cli.h"
#include "harness/loaded.h"
#include "harness/picture.h"

#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 16, MOST_IN_GRID = 1024 };

typedef struct SampleOptions {
    const char *seeds, *out, *weights, *device;
    int nfe, threads;
    uint32_t first;
    int count;
} SampleOptions;

static bool images_write(const SampleOptions *options, const Loaded *loaded, const uint8_t *images,
                         const char *folder, Error *error) {
    const int size = loaded->resolution;
    const size_t bytes = (size_t)size * (size_t)size * (size_t)loaded->channels;
    char name[64], path[1024];
    if (!folder_make(folder, error)) return false;
    for (int i = 0; i < options->count; i++) {
        snprintf(name, sizeof name, "seed-%06u.png", options->first + (uint32_t)i);
        if (!picture_write_one(path_join(path, folder, name), images + (size_t)i * bytes, size, size,
                               loaded->channels, error))
            return false;
    }
    Picture picture = {
        .blocks = 1, .height = size, .width = size, .channels = loaded->channels, .block = {images}};
    picture.each = options->count < MOST_IN_GRID ? options->count : MOST_IN_GRID;
    return picture_write(path_join(path, folder, "grid.png"), &picture, error);
}

/* results/samples/<id>-<weights>-<step>-nfe<n> unless the user names a place. */
static const char *folder_choose(const SampleOptions *options, const Paths *paths, const RunRow *row,
                                 const Loaded *loaded, const char *weights, char out[1024]) {
    char name[160];
    if (options->out) return options->out;
    snprintf(name, sizeof name, "samples/%s-%s-%lld-nfe%d", row->id, weights, (long long)loaded->step,
             options->nfe);
    return path_join(out, paths->results, name);
}

static bool loaded_sample(const SampleOptions *options, const Paths *paths, const RunRow *row, Loaded *loaded,
                          const char *weights, Error *error) {
    char folder[1024];
    const EvaluationConfig *evaluation = &loaded->config.evaluation;
    const SampleRequest request = {
        .sampler = sampler_levels(&loaded->config.ct, options->nfe, evaluation->sigma_mid),
        .rounding = evaluation->rounding,
        .first = options->first,
        .count = options->count,
        .classes = loaded->config.model.classes,
        .image_size = loaded->resolution * loaded->resolution * loaded->channels};
    uint8_t *images = samples_draw(&request, loaded_draw, loaded, error);
    if (!images) return false;
    const char *out = folder_choose(options, paths, row, loaded, weights, folder);
    const bool done = images_write(options, loaded, images, out, error);
    if (done)
        log_info("%d images of %s at step %lld (%s) → %s/grid.png", options->count, row->id,
                 (long long)loaded->step, weights, out);
    free(images);
    return done;
}

static bool run_sample(const SampleOptions *options, const Paths *paths, const RunRow *row, Device *device,
                       Error *error) {
    char path[1024];
    Config config;
    Loaded loaded;
    if (!loaded_find(row, paths->results, path, &config, error)) return false;
    const char *weights = options->weights ? options->weights : config.evaluation.weights;
    if (!loaded_open(&config, path, weights, 0, options->count < BATCH ? options->count : BATCH, device,
                     &loaded, error))
        return false;
    const bool done = loaded_sample(options, paths, row, &loaded, weights, error);
    loaded_close(&loaded);
    return done;
}

static int sample_run(int argc, char **argv) {
    SampleOptions options = {.seeds = "0-63", .device = "cpu", .nfe = 1};
    Paths paths;
    RunRow row;
    Error error;
    const Option list[] = {
        {"nfe", 0, OPTION_COUNT, &options.nfe, "N", "network evaluations an image: 1, 2, ... (default 1)"},
        {"seeds", 0, OPTION_TEXT, &options.seeds, "A-B", "one image a seed (default 0-63)"},
        {"out", 'o', OPTION_TEXT, &options.out, "DIR",
         "where the pictures go (default: results/samples/...)"},
        {"weights", 0, OPTION_TEXT, &options.weights, "W",
         "raw, teacher, ema:0.05, ... (default: those evaluated)"},
        {"device", 0, OPTION_TEXT, &options.device, "D", "cpu, cuda or cuda:1 (default cpu)"},
        {"threads", 0, OPTION_COUNT, &options.threads, "N", "CPU threads (default: all)"},
    };
    Store *store = cli_open_run(&command_sample, argc, argv, list, sizeof list / sizeof *list, &paths, &row);
    if (!store) return EXIT_USAGE;
    store_close(store);
    bool done = range_parse(options.seeds, &options.first, &options.count) ||
                error_set(&error, "--seeds: '%s' is not a range such as 0-63", options.seeds);
    if (done && (options.nfe < 1 || options.nfe > 16))
        done = error_set(&error, "--nfe: from 1 to 16, not %d", options.nfe);
    Device *device = done ? cli_device(options.device, options.threads) : NULL;
    if (!done) log_error("%s", error.text);
    done = device &&
           (run_sample(&options, &paths, &row, device, &error) || (log_error("%s", error.text), false));
    if (device) device_close(device);
    run_row_free(&row);
    return done ? EXIT_DONE : EXIT_USAGE;
}

const Command command_sample = {"sample", "sample ID [--nfe N] [--seeds 0-63] [--weights W] [--out DIR]",
                                "draw images from a run's newest checkpoint: one PNG a seed, and a grid",
                                sample_run};
