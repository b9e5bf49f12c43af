/* A run as a folder that can be uploaded to a model hub, and from which `sample` draws without a database. */
#include "export/export.h"
#include "worker/loaded.h"
#include "export/model_card.h"
#include "base/picture.h"
#include "base/file.h"
#include "train/checkpoint.h"

#include <stdlib.h>
#include <string.h>

enum { BATCH = 16, SHOWN = 64 };

/* ---- weights ---- */

/* Step, images and the rest of the checkpoint's facts that concern these weights, and where
 * they come from. */
static bool tensors_write(const SafeTensors *from, const SafeTensor *tensors, int count, const RunRow *row,
                          const char *weights, const char *path, Error *error) {
    const char *step = safetensors_metadata(from, "step"), *images = safetensors_metadata(from, "images");
    const char *const facts[] = {"step",    step ? step : "", "images", images ? images : "",
                                 "run",     row->id,          "commit", row->commit,
                                 "weights", weights};
    return safetensors_write(path, tensors, count, facts, sizeof facts / sizeof *facts / 2, error);
}

/* Those whose names begin with the prefix, without it. */
static bool weights_copy(const char *checkpoint, const RunRow *row, const char *weights, const char *path,
                         Error *error) {
    char prefix[64];
    SafeTensors from;
    if (!safetensors_open(checkpoint, &from, error)) return false;
    const size_t length = strlen(loaded_prefix(weights, prefix));
    SafeTensor *tensors = calloc((size_t)from.count + 1, sizeof *tensors);
    CHECK(tensors, "out of memory for %d tensors", from.count);
    int count = 0;
    for (int i = 0; i < from.count; i++) {
        if (strncmp(from.tensors[i].name, prefix, length) != 0) continue;
        tensors[count] = from.tensors[i];
        snprintf(tensors[count++].name, sizeof tensors->name, "%s", from.tensors[i].name + length);
    }
    const bool done = tensors_write(&from, tensors, count, row, weights, path, error);
    free(tensors);
    safetensors_close(&from);
    return done;
}

/* ---- samples ---- */

/* One step on the left, two on the right, the same seeds. */
static bool samples_picture(Loaded *loaded, const char *path, Error *error) {
    const int size = loaded->resolution;
    Picture picture = {
        .blocks = 2, .each = SHOWN, .height = size, .width = size, .channels = loaded->channels};
    uint8_t *drawn[2] = {NULL, NULL};
    bool done = true;
    for (int i = 0; i < 2 && done; i++) {
        const SampleRequest request = {
            .sampler = sampler_levels(&loaded->config.ct, &loaded->config.evaluation, i + 1),
            .rounding = loaded->config.evaluation.rounding,
            .count = SHOWN,
            .classes = loaded->config.model.classes,
            .image_size = size * size * loaded->channels};
        picture.block[i] = drawn[i] = samples_draw(&request, loaded_draw, loaded, error);
        done = drawn[i] != NULL;
    }
    done = done && picture_write(path, &picture, error);
    for (int i = 0; i < 2; i++) free(drawn[i]);
    return done;
}

/* ---- the folder ---- */

static bool text_write(const char *folder, const char *name, const Text *text, Error *error) {
    char path[1024];
    return file_write_atomic(path_join(path, folder, name), text_view(text), text->length, error);
}

static bool config_write(const RunRow *row, const char *folder, Error *error) {
    Text text = {0};
    text_append(&text, "# The whole configuration of run %s (%s), every key with its value.\n%s", row->id,
                row->experiment, row->config);
    const bool done = text_write(folder, "config.yaml", &text, error);
    text_free(&text);
    return done;
}

static bool card_write(Store *store, const RunRow *row, const Loaded *loaded, const char *weights,
                       const char *folder, Error *error) {
    Text card = {0};
    const bool done = model_card(store, row, &loaded->config, loaded->step, weights, &card, error) &&
                      text_write(folder, "README.md", &card, error);
    text_free(&card);
    return done;
}

bool export_hub(const Paths *paths, Store *store, const RunRow *row, const char *weights, Device *device,
                const char *folder, Error *error) {
    char checkpoint[1024], path[1024];
    Config config;
    Loaded loaded;
    if (!loaded_find(row, paths->results, checkpoint, &config, error)) return false;
    if (!weights) weights = config.evaluation.weights;
    if (!loaded_open(&config, checkpoint, weights, 0, BATCH, device, &loaded, error)) return false;
    const bool done =
        folder_make(folder, error) &&
        weights_copy(checkpoint, row, weights, path_join(path, folder, LOADED_WEIGHTS), error) &&
        config_write(row, folder, error) &&
        samples_picture(&loaded, path_join(path, folder, "samples.png"), error) &&
        card_write(store, row, &loaded, weights, folder, error);
    loaded_close(&loaded);
    return done;
}
