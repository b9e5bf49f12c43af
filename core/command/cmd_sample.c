/* `sample`: pictures from a run's newest checkpoint, or from a folder that `export --hub` made. */
#include "base/file.h"
#include "base/log.h"
#include "command/cli.h"
#include "worker/loaded.h"
#include "command/sample_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 16, MOST_LABELS = 4096 };

typedef struct SampleOptions {
    const char *seeds, *out, *weights, *device, *labels, *sigmas, *latents;
    int nfe, threads;
    SamplerConfig levels; /* nfe 0: not given */
    uint32_t first;
    int count;
} SampleOptions;

/* What is drawn from: a checkpoint's set of weights, or the bare weights of a folder (`weights` NULL). */
typedef struct Source {
    char path[1024], name[64];
    const char *weights;
    Config config;
} Source;

/* results/samples/<id>-<weights>-<step>-nfe<n> unless the user names a place. */
static const char *folder_choose(const SampleOptions *options, const Paths *paths, const Source *source,
                                 const Loaded *loaded, char out[1024]) {
    char name[192];
    if (options->out) return options->out;
    snprintf(name, sizeof name, "samples/%s%s%s-%lld-nfe%d", source->name, source->weights ? "-" : "",
             source->weights ? source->weights : "", (long long)loaded->step, options->nfe);
    return path_join(out, paths->results, name);
}

/* "3", "0-9" or "0,3,7-9": the image of seed s gets the label at place s mod their number. */
static bool labels_parse(const char *text, int classes, int32_t labels[MOST_LABELS], int *count,
                         Error *error) {
    char words[1024];
    char *rest = words;
    snprintf(words, sizeof words, "%s", text);
    *count = 0;
    for (char *word; (word = strsep(&rest, ","));) {
        uint32_t first;
        int several;
        if (!range_parse(word, &first, &several))
            return error_set(error, "--labels: '%s' is neither a class nor a range such as 0-9", word);
        if (first >= (uint32_t)classes || several > classes - (int)first)
            return error_set(error, "--labels: '%s' is beyond the network's classes 0 ... %d", word,
                             classes - 1);
        if (*count + several > MOST_LABELS)
            return error_set(error, "--labels: more than %d labels", MOST_LABELS);
        for (int i = 0; i < several; i++) labels[(*count)++] = (int32_t)first + i;
    }
    return true;
}

/* Every class in turn unless the user names some. */
static bool labels_choose(const SampleOptions *options, int classes, int32_t labels[MOST_LABELS],
                          LabelSource *source, Error *error) {
    *source = (LabelSource){.rule = LABELS_IN_TURN};
    if (!options->labels) return true;
    if (!classes) return error_set(error, "--labels: the network does not see classes; leave it out");
    source->labels = labels;
    return labels_parse(options->labels, classes, labels, &source->count, error);
}

/* The levels between the steps: the user's, or those of the configuration for that number of steps. */
static bool levels_choose(const SampleOptions *options, const Config *config, SamplerConfig *sampler,
                          Error *error) {
    const SamplerConfig *given = &options->levels;
    *sampler = given->nfe ? *given : sampler_levels(&config->ct, &config->evaluation, options->nfe);
    sampler->clip = config->evaluation.clip;
    for (int i = 0; i < given->nfe - 1; i++) {
        const double above = i ? given->sigmas[i - 1] : config->ct.sigma_max;
        if (!(given->sigmas[i] < above && given->sigmas[i] > config->ct.sigma_min))
            return error_set(error, "--sigmas: %g is not between %g and %g; levels decrease",
                             given->sigmas[i], config->ct.sigma_min, above);
    }
    return true;
}

static bool request_make(const SampleOptions *options, Loaded *loaded, int32_t labels[MOST_LABELS],
                         SampleRequest *request, Error *error) {
    *request = (SampleRequest){.rounding = loaded->config.evaluation.rounding,
                               .first = options->first,
                               .count = options->count,
                               .classes = loaded->config.model.classes,
                               .image_size = loaded->resolution * loaded->resolution * loaded->channels};
    return labels_choose(options, request->classes, labels, &request->labels, error) &&
           levels_choose(options, &loaded->config, &request->sampler, error);
}

/* Noise of another tool; the images' seeds are then only their numbers, and what later steps add. */
static bool latents_choose(const SampleOptions *options, const Loaded *loaded, float **latents,
                           Error *error) {
    int count;
    *latents = NULL;
    if (!options->latents) return true;
    if (!latents_read(options->latents, loaded->resolution, loaded->channels, latents, &count, error))
        return false;
    if (count == options->count) return true;
    free(*latents);
    *latents = NULL;
    return error_set(error, "%s holds noise for %d images: ask for as many, --seeds 0-%d", options->latents,
                     count, count - 1);
}

static bool images_write(const SampleRequest *request, const Loaded *loaded, const uint8_t *images,
                         const char *out, Error *error) {
    SampleImages of = {.images = images,
                       .count = request->count,
                       .size = loaded->resolution,
                       .channels = loaded->channels,
                       .first = request->first};
    int32_t *labels = malloc((size_t)request->count * sizeof *labels);
    CHECK(labels, "out of memory for labels");
    for (int i = 0; i < request->count && request->classes; i++)
        labels[i] = label_of_seed(&request->labels, request->classes, request->first + (uint32_t)i);
    if (request->classes) of.labels = labels;
    const bool done = sample_images_write(out, &of, error);
    free(labels);
    return done;
}

static bool loaded_sample(const SampleOptions *options, const Paths *paths, const Source *source,
                          Loaded *loaded, Error *error) {
    char folder[1024];
    int32_t labels[MOST_LABELS];
    float *latents;
    SampleRequest request;
    if (!loaded_check_function(loaded, error) || !request_make(options, loaded, labels, &request, error) ||
        !latents_choose(options, loaded, &latents, error))
        return false;
    request.sampler.latents = latents;
    uint8_t *images = samples_draw(&request, loaded_draw, loaded, error);
    free(latents);
    if (!images) return false;
    const char *out = folder_choose(options, paths, source, loaded, folder);
    const bool done = images_write(&request, loaded, images, out, error);
    if (done)
        log_info("%d images of %s at step %lld%s%s → %s", options->count, source->name,
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

/* "10,1.5,0.3": three levels, so four steps. */
static bool sigmas_parse(SampleOptions *options, Error *error) {
    SamplerConfig *levels = &options->levels;
    char *end = (char *)(uintptr_t)options->sigmas;
    if (!options->sigmas) return true;
    for (levels->nfe = 1; levels->nfe < MOST_NFE; end++) {
        const char *from = end;
        levels->sigmas[levels->nfe++ - 1] = strtod(from, &end);
        if (end == from || (*end && *end != ',')) break;
        if (!*end) return true;
    }
    return error_set(error, "--sigmas: '%s' is not a list of 1 to %d levels such as 10,1.5,0.3",
                     options->sigmas, MOST_NFE - 1);
}

static bool options_check(SampleOptions *options, Error *error) {
    if (!range_parse(options->seeds, &options->first, &options->count))
        return error_set(error, "--seeds: '%s' is not a range such as 0-63", options->seeds);
    if (!sigmas_parse(options, error)) return false;
    if (!options->nfe) options->nfe = options->levels.nfe ? options->levels.nfe : 1;
    if (options->levels.nfe && options->levels.nfe != options->nfe)
        return error_set(error, "--sigmas: %d levels are for %d steps, but --nfe is %d",
                         options->levels.nfe - 1, options->levels.nfe, options->nfe);
    return options->nfe <= MOST_NFE ||
           error_set(error, "--nfe: from 1 to %d, not %d", MOST_NFE, options->nfe);
}

static int sample_run(int argc, char **argv) {
    SampleOptions options = {.seeds = "0-63", .device = "cpu"};
    Paths paths;
    Source source;
    Error error;
    int count;
    const Option list[] = {
        {"nfe", 0, OPTION_COUNT, &options.nfe, "N", "network evaluations an image: 1, 2, ... (default 1)"},
        {"sigmas", 0, OPTION_TEXT, &options.sigmas, "A,B,...",
         "noise levels between the steps, decreasing (default: the configuration's)"},
        {"labels", 0, OPTION_TEXT, &options.labels, "K",
         "classes, as 3 or 0-9 or 0,3,7: one image each in turn (default: all)"},
        {"seeds", 0, OPTION_TEXT, &options.seeds, "A-B", "one image a seed (default 0-63)"},
        {"latents", 0, OPTION_TEXT, &options.latents, "FILE.npz",
         "standard normal noise N,C,H,W or N,H,W,C instead of the seeds'"},
        {"out", 'o', OPTION_TEXT, &options.out, "PATH",
         "a folder of PNG files (default: results/samples/...), FILE.zip (EDM's layout) or FILE.npz "
         "(OpenAI's)"},
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
                                "sample ID|FOLDER [--nfe N] [--sigmas A,B] [--seeds 0-63] [--labels 0-9] "
                                "[--weights W] [--out DIR|FILE.zip|FILE.npz]",
                                "draw images from a run's newest checkpoint, or from an exported folder: one "
                                "PNG a seed, and a grid",
                                sample_run};
