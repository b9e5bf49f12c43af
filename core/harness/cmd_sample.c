/* `sample`: pictures from a run's newest checkpoint, or from a folder that `export --hub` made. */
#include "base/file.h"
#include "base/log.h"
#include "harness/cli.h"
#include "harness/loaded.h"
#include "harness/picture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 16, MOST_IN_GRID = 1024 };

typedef struct SampleOptions {
    const char *seeds, *out, *weights, *device;
    int nfe, threads;
    uint32_t first;
    int count;
} SampleOptions;

/* What is drawn from: a checkpoint's set of weights, or the bare weights of a folder (`weights` NULL). */
typedef struct Source {
    char path[1024], name[64];
    const char *weights;
    Config config;
} Source;

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
static const char *folder_choose(const SampleOptions *options, const Paths *paths, const Source *source,
                                 const Loaded *loaded, char out[1024]) {
    char name[192];
    if (options->out) return options->out;
    snprintf(name, sizeof name, "samples/%s%s%s-%lld-nfe%d", source->name, source->weights ? "-" : "",
             source->weights ? source->weights : "", (long long)loaded->step, options->nfe);
    return path_join(out, paths->results, name);
}

static bool loaded_sample(const SampleOptions *options, const Paths *paths, const Source *source,
                          Loaded *loaded, Error *error) {
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
    const char *out = folder_choose(options, paths, source, loaded, folder);
    const bool done = images_write(options, loaded, images, out, error);
    if (done)
        log_info("%d images of %s at step %lld%s%s → %s/grid.png", options->count, source->name,
                 (long long)loaded->step, source->weights ? ", " : "", source->weights ? source->weights : "",
                 out);
    free(images);
    return done;
}

static bool source_sample(const SampleOptions *options, const Paths *paths, const Source *source,
                          Error *error) {
    Device *device;
    Loaded loaded;
    if (!device_open(options->device, options->threads, &device, error)) return false;
    bool done = loaded_open(&source->config, source->path, source->weights, 0,
                            options->count < BATCH ? options->count : BATCH, device, &loaded, error);
    if (done) {
        done = loaded_sample(options, paths, source, &loaded, error);
        loaded_close(&loaded);
    }
    device_close(device);
    return done;
}

/* ---- where from ---- */

static bool source_of_run(const SampleOptions *options, const Paths *paths, const char *id, Source *source,
                          Error *error) {
    Store *store;
    RunRow row;
    if (!store_open(paths->database, &store, error)) return false;
    bool found = store_get_run(store, id, &row, error);
    store_close(store);
    if (!found) return false;
    found = loaded_find(&row, paths->results, source->path, &source->config, error);
    source->weights = options->weights ? options->weights : source->config.evaluation.weights;
    snprintf(source->name, sizeof source->name, "%s", row.id);
    run_row_free(&row);
    return found;
}

static bool source_find(const SampleOptions *options, const Paths *paths, const char *word, Source *source,
                        Error *error) {
    char folder[1024];
    *source = (Source){.weights = NULL};
    if (!loaded_is_folder(word)) return source_of_run(options, paths, word, source, error);
    if (options->weights)
        return error_set(error, "--weights: %s holds one set of weights; leave the option out", word);
    snprintf(folder, sizeof folder, "%s", word);
    for (size_t end = strlen(folder); end > 1 && folder[end - 1] == '/';) folder[--end] = 0;
    snprintf(source->name, sizeof source->name, "%s", path_name(folder));
    return loaded_find_folder(word, source->path, &source->config, error);
}

static bool options_check(SampleOptions *options, Error *error) {
    if (!range_parse(options->seeds, &options->first, &options->count))
        return error_set(error, "--seeds: '%s' is not a range such as 0-63", options->seeds);
    return (options->nfe >= 1 && options->nfe <= 16) ||
           error_set(error, "--nfe: from 1 to 16, not %d", options->nfe);
}

static int sample_run(int argc, char **argv) {
    SampleOptions options = {.seeds = "0-63", .device = "cpu", .nfe = 1};
    Paths paths;
    Source source;
    Error error;
    int count;
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
    char **words =
        options_parse(&command_sample, argc, argv, list, sizeof list / sizeof *list, &paths, &count);
    if (count != 1) {
        log_error("usage: ./run %s (./run ls lists the runs)", command_sample.usage);
        return EXIT_USAGE;
    }
    const bool done = options_check(&options, &error) &&
                      source_find(&options, &paths, words[0], &source, &error) &&
                      source_sample(&options, &paths, &source, &error);
    return done ? EXIT_DONE : cli_fail(EXIT_USAGE, &error);
}

const Command command_sample = {"sample",
                                "sample ID|FOLDER [--nfe N] [--seeds 0-63] [--weights W] [--out DIR]",
                                "draw images from a run's newest checkpoint, or from an exported folder: one "
                                "PNG a seed, and a grid",
                                sample_run};
