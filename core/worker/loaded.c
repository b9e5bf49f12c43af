/* Opens a network from a configuration and a file of weights. What the configuration leaves to the data set
 * (channels, classes) is read off the weights, so that neither data nor database is needed to apply a
 * network. */
#include "worker/loaded.h"
#include "base/file.h"
#include "base/log.h"
#include "config/paths.h"
#include "train/checkpoint.h"

#include <stdlib.h>
#include <string.h>

const char *loaded_prefix(const char *weights, char out[64]) {
    if (!weights) return strcpy(out, "");
    snprintf(out, 64, "%s.", !strcmp(weights, "raw") ? "model" : weights);
    return out;
}

static const SafeTensor *tensor_find(const SafeTensors *file, const char *prefix, const char *name) {
    char full[160];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    const SafeTensor *found = safetensors_find(file, full);
    if (found || *prefix) return found;
    snprintf(full, sizeof full, "model.%s", name);
    return safetensors_find(file, full);
}

/* The sets of weights in a checkpoint, as the user names them: each has a first convolution. */
static void names_list(const SafeTensors *file, const char *first, Text *out) {
    const size_t length = strlen(first);
    for (int i = 0; i < file->count; i++) {
        const char *name = file->tensors[i].name, *at = strstr(name, first);
        if (!at || at == name || strlen(at) != length || !strncmp(name, "optim.", 6)) continue;
        const int prefix = (int)(at - name) - 1;
        text_append(out, "%s%.*s", out->length ? ", " : "", prefix,
                    !strncmp(name, "model.", 6) ? "raw" : name);
    }
}

static bool shape_read(const SafeTensors *file, const char *prefix, const char *weights, Loaded *loaded,
                       Error *error) {
    char first[64];
    snprintf(first, sizeof first, "enc.%dx%d_conv.weight", loaded->resolution, loaded->resolution);
    const SafeTensor *conv = tensor_find(file, prefix, first),
                     *label = tensor_find(file, prefix, "map_label.weight");
    if (!conv || conv->rank != 4) {
        Text names = {0};
        names_list(file, first, &names);
        error_set(error, "no weights %s%s%s of a network for %d x %d images%s%s", weights ? "\"" : "",
                  weights ? weights : "", weights ? "\"" : "", loaded->resolution, loaded->resolution,
                  names.length ? "; there are " : "", text_view(&names));
        text_free(&names);
        return false;
    }
    loaded->channels = (int)conv->shape[1];
    loaded->config.model.classes = label && label->rank == 2 ? (int)label->shape[1] : 0;
    return true;
}

static bool weights_upload(const SafeTensors *file, const char *prefix, Loaded *loaded, Error *error) {
    const size_t bytes = (size_t)loaded->params.total * sizeof(float);
    float *host = malloc(bytes);
    CHECK(host, "out of memory for %lld parameters", (long long)loaded->params.total);
    param_initialise(&loaded->params, (uint64_t)loaded->config.seed, host);
    const bool done = weights_load(file, &loaded->params, prefix, host, error);
    if (done) {
        loaded->weights = loaded->device->allocate(loaded->device, bytes);
        loaded->device->copy(loaded->device, loaded->weights, host, bytes, COPY_TO_DEVICE);
        loaded->cast =
            network_cast(&loaded->network, loaded->device, &loaded->params, loaded->weights, &loaded->narrow);
        loaded->device->synchronise(loaded->device);
    }
    free(host);
    return done;
}

static bool network_open(const SafeTensors *file, const char *weights, int batch, Loaded *loaded,
                         Error *error) {
    char prefix[64];
    const char *step = safetensors_metadata(file, "step");
    const char *function = safetensors_metadata(file, "parametrisation");
    loaded->step = step ? atoll(step) : 0;
    snprintf(loaded->parametrisation, sizeof loaded->parametrisation, "%s", function ? function : "");
    if (!shape_read(file, loaded_prefix(weights, prefix), weights, loaded, error)) return false;
    loaded->network =
        network_create(&loaded->config.model, &loaded->params, loaded->device, batch, loaded->resolution,
                       loaded->channels, false, network_precision(loaded->device, loaded->config.precision));
    loaded->sampler = sampler_create(&loaded->config.ct, &loaded->network, loaded->device);
    return weights_upload(file, prefix, loaded, error);
}

bool loaded_open(const Config *config, const char *path, const char *weights, int resolution, int batch,
                 Device *device, Loaded *loaded, Error *error) {
    SafeTensors file;
    *loaded = (Loaded){
        .config = *config, .device = device, .resolution = resolution ? resolution : config->data.resolution};
    if (config->task == TASK_CLASSIFIER)
        return error_set(error, "%s: this run trained a classifier, which draws no images", path);
    if (!safetensors_open(path, &file, error)) return false;
    const bool done = network_open(&file, weights, batch, loaded, error) || error_wrap(error, "%s", path);
    safetensors_close(&file);
    if (!done) loaded_close(loaded);
    return done;
}

bool loaded_check_function(const Loaded *loaded, Error *error) {
    const char *function = loaded->parametrisation;
    const bool shift = loaded->config.ct.sigma_shift;
    if (!strcmp(function, "vp") || !strcmp(function, "ve"))
        return error_set(
            error,
            "these weights are of EDM's %s preconditioning, whose noise input is not ln(sigma)/4: "
            "f cannot be computed; `apply --raw` gives F, with sigma = exp(4 c_noise)",
            function);
    if (!strcmp(function, "edm") && shift)
        log_warn(
            "these weights are of a denoiser (EDM), whose c_skip and c_out see sigma, not sigma - sigma_min: "
            "ct.sigma_shift=false computes it");
    if (!strcmp(function, "boundary") && !shift)
        log_warn("these weights are of a consistency model, whose c_skip and c_out see sigma - sigma_min: "
                 "ct.sigma_shift=true computes it");
    return true;
}

void loaded_close(Loaded *loaded) {
    sampler_free(loaded->sampler);
    if (loaded->network.graph) network_free(&loaded->network);
    if (loaded->weights) loaded->device->release(loaded->device, loaded->weights);
    if (loaded->narrow) loaded->device->release(loaded->device, loaded->narrow);
    param_free(&loaded->params);
    loaded->sampler = NULL;
    loaded->weights = NULL;
    loaded->narrow = NULL;
}

bool loaded_find(const RunRow *row, const char *results, char path[1024], Config *config, Error *error) {
    char folder[1024];
    paths_run_folder(results, row->id, row->experiment, folder);
    if (!checkpoint_newest(folder, path))
        return error_set(error, "run %s (%s) has no checkpoint in %s", row->id, run_state_name(row->state),
                         folder);
    return config_parse(row->config, strlen(row->config), "stored configuration", config, error);
}

bool loaded_is_folder(const char *folder) {
    char path[1024];
    return strlen(folder) < 900 && file_exists(path_join(path, folder, LOADED_WEIGHTS));
}

bool loaded_find_folder(const char *folder, char path[1024], Config *config, Error *error) {
    char *text;
    size_t size;
    if (!file_read(path_join(path, folder, "config.yaml"), &text, &size, error)) return false;
    const bool parsed = config_parse(text, size, path, config, error);
    free(text);
    path_join(path, folder, LOADED_WEIGHTS);
    return parsed;
}

bool loaded_draw(void *context, const SamplerConfig *sampler, uint32_t first, int count,
                 const int32_t *labels, float *images, Error *error) {
    Loaded *loaded = context;
    (void)error; /* a network that is open can draw */
    sampler_draw(loaded->sampler, sampler, loaded->weights, loaded->cast, first, count, labels, images);
    return true;
}
