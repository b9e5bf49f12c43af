/* Checkpoints of a run: all arrays, parameter by parameter in the order and names of EDM's files, and the few
 * numbers that make a resumed run continue as if it had never stopped. */
#include "train/checkpoint.h"

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT "ict-checkpoint-1"

/* ---- the arrays ---- */

typedef struct StateArray {
    char prefix[48];
    float *values; /* device memory */
} StateArray;
enum { MAX_ARRAYS = 4 + MAX_EMAS };

static void array_add(StateArray *arrays, int *count, const char *prefix, float *values) {
    snprintf(arrays[*count].prefix, sizeof arrays->prefix, "%s.", prefix);
    arrays[(*count)++].values = values;
}

static int state_arrays(const CheckpointState *state, StateArray arrays[MAX_ARRAYS]) {
    const Optimiser *o = state->optimiser;
    int count = 0;
    char name[32];
    array_add(arrays, &count, "model", o->weight);
    if (o->teacher) array_add(arrays, &count, "teacher", o->teacher);
    for (int i = 0; i < o->emas; i++) array_add(arrays, &count, ema_name(state->config, i, name), o->ema[i]);
    array_add(arrays, &count, "optim.momentum", o->momentum);
    array_add(arrays, &count, "optim.variance", o->variance);
    return count;
}

/* ---- facts as text ---- */

/* Numbers in hexadecimal floating point: exact and readable by strtod. */
static char *meter_print(const Meter *meter) {
    const double *numbers = (const double *)meter;
    Text text = {0};
    for (int i = 0; i < METER_NUMBERS; i++) text_append(&text, "%s%a", i ? " " : "", numbers[i]);
    return text.text;
}

/* The last number, a classifier's, is missing in files of before there were any. */
static bool meter_parse(const char *text, Meter *meter) {
    double *numbers = (double *)meter;
    for (int i = 0; i < METER_NUMBERS; i++) {
        char *end;
        numbers[i] = strtod(text, &end);
        if (end == text) return i == METER_NUMBERS - 1 && *text == 0;
        text = end;
    }
    return *text == 0;
}

enum { FACTS = 12 };

/* Key and value of each fact; values are malloc'ed. */
static void facts_print(const CheckpointFacts *facts, const char *pairs[2 * FACTS]) {
    char *values[FACTS] = {text_copy(FORMAT),
                           text_format("%" PRId64, facts->step),
                           text_format("%" PRId64, facts->images),
                           text_format("%d", facts->N),
                           text_format("%" PRIu64, facts->seed),
                           text_format("%d", facts->batch),
                           text_copy(facts->config_hash),
                           text_copy(facts->data_hash),
                           meter_print(&facts->meter),
                           text_format("%.9g", (double)facts->loss_scale.scale),
                           text_format("%d", facts->loss_scale.sound),
                           text_format("%d", facts->micro_batch)};
    static const char *const keys[FACTS] = {"format", "step",       "images",      "N",
                                            "seed",   "batch",      "config",      "data",
                                            "meter",  "loss_scale", "sound_steps", "micro_batch"};
    for (int i = 0; i < FACTS; i++) pairs[2 * i] = keys[i], pairs[2 * i + 1] = values[i];
}

static const char *fact(const SafeTensors *file, const char *key) {
    const char *value = safetensors_metadata(file, key);
    return value ? value : "";
}

/* Whether two hashes contradict each other; an unknown one ("") contradicts nothing. */
static bool hashes_differ(const char *a, const char *b) {
    return *a && *b && strcmp(a, b) != 0;
}

static bool facts_parse(const SafeTensors *file, CheckpointFacts *facts, Error *error) {
    if (strcmp(fact(file, "format"), FORMAT) != 0) {
        return error_set(error, "it is no checkpoint of a run (format \"%s\", expected \"" FORMAT "\")",
                         fact(file, "format"));
    }
    if (strtoull(fact(file, "seed"), NULL, 10) != facts->seed || atoi(fact(file, "batch")) != facts->batch ||
        hashes_differ(fact(file, "config"), facts->config_hash) ||
        hashes_differ(fact(file, "data"), facts->data_hash)) {
        return error_set(
            error,
            "it belongs to another run (seed %s, batch %s, configuration %.8s, data %.8s); move it "
            "away or choose another folder",
            fact(file, "seed"), fact(file, "batch"), fact(file, "config"), fact(file, "data"));
    }
    facts->step = strtoll(fact(file, "step"), NULL, 10);
    facts->images = strtoll(fact(file, "images"), NULL, 10);
    facts->N = atoi(fact(file, "N"));
    facts->loss_scale.scale = strtof(fact(file, "loss_scale"), NULL);
    facts->loss_scale.sound = atoi(fact(file, "sound_steps"));
    facts->micro_batch = atoi(fact(file, "micro_batch"));
    return meter_parse(fact(file, "meter"), &facts->meter) ||
           error_set(error, "its sums of metrics cannot be read");
}

/* ---- writing ---- */

/* What the writer asks for, tensor by tensor: each array is fetched from the device when its first tensor is
 * due. */
typedef struct Stream {
    const CheckpointState *state;
    StateArray arrays[MAX_ARRAYS];
    const Param **params; /* those that files hold */
    int param_count;
    float *host; /* one array */
} Stream;

static void stream_provide(void *context, int index, void *out) {
    Stream *stream = context;
    const Optimiser *o = stream->state->optimiser;
    if (index % stream->param_count == 0) {
        const float *values = stream->arrays[index / stream->param_count].values;
        o->device->copy(o->device, stream->host, values, (size_t)o->total * sizeof(float), COPY_TO_HOST);
        o->device->synchronise(o->device);
    }
    param_to_file(stream->params[index % stream->param_count], stream->host, out);
}

static SafeTensor tensor_describe(const char *prefix, const Param *param) {
    SafeTensor tensor = {.dtype = "F32", .rank = param->rank, .bytes = (size_t)param->count * sizeof(float)};
    const int length = snprintf(tensor.name, sizeof tensor.name, "%s%s", prefix, param->name);
    CHECK(length < (int)sizeof tensor.name, "the name %s%s is too long", prefix, param->name);
    for (int i = 0; i < param->rank; i++) tensor.shape[i] = param->shape[i];
    return tensor;
}

static void *room(size_t bytes) {
    void *memory = malloc(bytes);
    CHECK(memory, "out of memory for a checkpoint (%zu bytes)", bytes);
    return memory;
}

static Stream stream_open(const CheckpointState *state, int *arrays) {
    Stream stream = {.state = state};
    const ParamSet *set = state->params;
    stream.params = room((size_t)set->count * sizeof *stream.params);
    stream.host = room((size_t)set->total * sizeof(float));
    for (int i = 0; i < set->count; i++) {
        if (set->params[i].in_file) stream.params[stream.param_count++] = &set->params[i];
    }
    *arrays = state_arrays(state, stream.arrays);
    return stream;
}

bool checkpoint_write(const char *folder, const CheckpointState *state, const CheckpointFacts *facts,
                      char path[1024], Error *error) {
    int arrays;
    Stream stream = stream_open(state, &arrays);
    const int count = arrays * stream.param_count;
    SafeTensor *tensors = room((size_t)count * sizeof *tensors);
    for (int i = 0; i < count; i++) {
        tensors[i] = tensor_describe(stream.arrays[i / stream.param_count].prefix,
                                     stream.params[i % stream.param_count]);
    }
    const char *pairs[2 * FACTS];
    facts_print(facts, pairs);
    char name[64];
    snprintf(name, sizeof name, "checkpoint-%" PRId64 ".safetensors", facts->step);
    path_join(path, folder, name);
    const bool done = folder_make(folder, error) &&
                      safetensors_stream(path, tensors, count, pairs, FACTS, stream_provide, &stream, error);
    for (int i = 0; i < FACTS; i++) free((void *)(uintptr_t)pairs[2 * i + 1]);
    free(tensors);
    free(stream.params);
    free(stream.host);
    return done;
}

/* ---- reading ---- */

static bool arrays_read(const SafeTensors *file, const CheckpointState *state, Error *error) {
    Device *device = state->optimiser->device;
    const size_t bytes = (size_t)state->params->total * sizeof(float);
    StateArray arrays[MAX_ARRAYS];
    const int count = state_arrays(state, arrays);
    float *host = room(bytes);
    bool done = true;
    for (int i = 0; done && i < count; i++) {
        /* Padding and what files do not hold stay as they are. */
        device->copy(device, host, arrays[i].values, bytes, COPY_TO_HOST);
        device->synchronise(device);
        done = weights_load(file, state->params, arrays[i].prefix, host, error);
        if (done) device->copy(device, arrays[i].values, host, bytes, COPY_TO_DEVICE);
        device->synchronise(device);
    }
    free(host);
    optimiser_refresh(state->optimiser);
    return done;
}

/* Unlike other safetensors files, ours always have a checksum: without one something has happened to it. */
static bool content_check(const SafeTensors *file, const char *path, Error *error) {
    if (safetensors_metadata(file, SAFETENSORS_CHECKSUM)) return safetensors_verify(file, path, error);
    return error_set(error, "%s: damaged or not a checkpoint: it has no checksum", path);
}

bool checkpoint_read(const char *path, const CheckpointState *state, CheckpointFacts *facts, Error *error) {
    SafeTensors file;
    if (!safetensors_open(path, &file, error)) return false;
    bool done = content_check(&file, path, error);
    if (done) {
        done = facts_parse(&file, facts, error) && arrays_read(&file, state, error);
        if (!done) error_wrap(error, "%s", path);
    }
    safetensors_close(&file);
    return done;
}

int checkpoint_micro_batch(const char *path) {
    SafeTensors file;
    Error error;
    if (!safetensors_open(path, &file, &error)) return 0;
    const int micro = atoi(fact(&file, "micro_batch"));
    safetensors_close(&file);
    return micro > 0 ? micro : 0;
}

/* ---- the folder ---- */

/* The step in "checkpoint-<step>.safetensors", -1 for other names. */
static int64_t name_step(const char *name) {
    int64_t step;
    int end = 0;
    if (sscanf(name, "checkpoint-%" SCNd64 ".safetensors%n", &step, &end) != 1 || !end || name[end])
        return -1;
    return step;
}

static int is_checkpoint(const struct dirent *entry) {
    return name_step(entry->d_name) >= 0;
}

/* Of any atomic write in the run's folder: pictures and the configuration are killed in the middle, too. */
static int is_remnant(const struct dirent *entry) {
    const size_t length = strlen(entry->d_name);
    return length > 4 && strcmp(entry->d_name + length - 4, ".tmp") == 0;
}

static int newest_first(const struct dirent **a, const struct dirent **b) {
    const int64_t s = name_step((*a)->d_name), t = name_step((*b)->d_name);
    return s < t ? 1 : s > t ? -1 : 0;
}

static void entries_free(struct dirent **entries, int count) {
    for (int i = 0; i < count; i++) free(entries[i]);
    if (count >= 0) free(entries);
}

static bool file_intact(const char *path) {
    Error error;
    SafeTensors file;
    if (!safetensors_open(path, &file, &error)) {
        log_warn("%s; it is passed over", error.text);
        return false;
    }
    const bool intact = content_check(&file, path, &error);
    if (!intact) log_warn("%s; it is passed over", error.text);
    safetensors_close(&file);
    return intact;
}

bool checkpoint_present(const char *folder) {
    struct dirent **entries = NULL;
    const int count = scandir(folder, &entries, is_checkpoint, NULL);
    entries_free(entries, count);
    return count > 0;
}

bool checkpoint_newest(const char *folder, char path[1024]) {
    struct dirent **entries = NULL;
    const int count = scandir(folder, &entries, is_checkpoint, newest_first);
    bool found = false;
    for (int i = 0; i < count && !found; i++)
        found = file_intact(path_join(path, folder, entries[i]->d_name));
    entries_free(entries, count);
    return found;
}

static void entry_remove(const char *folder, const char *name) {
    char path[1024];
    if (remove(path_join(path, folder, name)) != 0) log_warn("%s: cannot be removed", path);
}

static void remnants_remove(const char *folder) {
    struct dirent **entries = NULL;
    const int count = scandir(folder, &entries, is_remnant, NULL);
    for (int i = 0; i < count; i++) entry_remove(folder, entries[i]->d_name);
    entries_free(entries, count);
}

void checkpoint_prune(const char *folder, int keep) {
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, is_checkpoint, newest_first);
    for (int i = keep; i < count; i++) entry_remove(folder, entries[i]->d_name);
    entries_free(entries, count);
    remnants_remove(folder);
}

void checkpoint_set_aside(const char *folder, int64_t after) {
    struct dirent **entries = NULL;
    const int count = scandir(folder, &entries, is_checkpoint, newest_first);
    for (int i = 0; i < count; i++) {
        if (name_step(entries[i]->d_name) <= after) continue;
        char path[1024], aside[1040];
        path_join(path, folder, entries[i]->d_name);
        snprintf(aside, sizeof aside, "%s.damaged", path);
        if (rename(path, aside) != 0) log_warn("%s: cannot be renamed", path);
    }
    entries_free(entries, count);
    remnants_remove(folder);
}
