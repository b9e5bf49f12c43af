/* The trainer computes what a plain PyTorch loop computes: whole small runs, images to averaged weights,
 * against the float64 values of scripts/golden_training.py. That loop makes every draw for itself (data
 * order, flips, levels, noise, dropout masks) from its key, so nothing of a step is taken from here but the
 * images and the initial weights.
 *
 * A file says itself what run it is. Given files as arguments, the program checks those instead of
 * tests/golden: scripts/check_training.py does so with larger ones.
 *
 * TRAINING_VERBOSE=1 prints how far off they are, TRAINING_DEVICE=cuda trains on a card.
 *
 * TOLERANCE is on losses and norms of each step, relative; on weights, on the distance from PyTorch's
 * relative to the way that the run has moved them. Steps build on each other, so rounding of fp32 grows from
 * step to step. */
#include "config/config.h"
#include "train/trainer_state.h"

#include <glob.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/log.h"
#include "tests/unit/near.h"
#include "tests/unit/scratch.h"

enum { MOST_STEPS = 64 };

typedef struct Bench {
    const char *path;
    SafeTensors file;
    Config config;
    Dataset data;
    int32_t *labels;
    Device *device;
    Trainer *trainer;
    Tick tick[MOST_STEPS];
    int ticks;
    double worst; /* of the steps' numbers so far */
    bool verbose;
} Bench;

/* ---- set-up ---- */

static const SafeTensor *stored(const Bench *b, const char *name) {
    const SafeTensor *tensor = safetensors_find(&b->file, name);
    if (!tensor) fail_msg("%s has no '%s'", b->path, name);
    return tensor;
}

/* Numbers of a file are not aligned. */
static float *floats_of(const SafeTensor *tensor) {
    float *values = malloc(tensor->bytes);
    assert_non_null(values);
    assert_string_equal(tensor->dtype, "F32");
    return memcpy(values, tensor->data, tensor->bytes);
}

static void read_config(Bench *b) {
    Error error = {0};
    const char *text = safetensors_metadata(&b->file, "config");
    if (!text || !config_parse(text, strlen(text), b->path, &b->config, &error))
        fail_msg("%s: %s", b->path, error.text);
    b->config.train.tick_steps = 1;
    b->config.train.checkpoint_steps = 0;
    b->config.train.evaluations = 0;
}

static void read_data(Bench *b) {
    const SafeTensor *images = stored(b, "images");
    float *labels = floats_of(stored(b, "labels"));
    const int count = (int)images->shape[0];
    int classes = 0;
    assert_int_equal(images->rank, 4);
    b->labels = calloc((size_t)count, sizeof *b->labels);
    for (int i = 0; i < count; i++) {
        b->labels[i] = (int32_t)labels[i];
        if (b->labels[i] >= classes) classes = b->labels[i] + 1;
    }
    free(labels);
    b->data = (Dataset){.name = "golden",
                        .count = count,
                        .height = (int)images->shape[1],
                        .width = (int)images->shape[2],
                        .channels = (int)images->shape[3],
                        .classes = classes,
                        .images = images->data,
                        .labels = b->labels};
    b->config.model.classes = b->config.class_conditional ? classes : 0;
}

/* The run of the file, with the file's weights instead of drawn ones. */
static void open_trainer(Bench *b) {
    Error error = {0};
    const TrainSetup setup = {.model = &b->config.model,
                              .ct = &b->config.ct,
                              .train = &b->config.train,
                              .data = &b->data,
                              .flip = b->config.data.flip,
                              .device = b->device,
                              .seed = (uint64_t)b->config.seed,
                              .folder = scratch_folder};
    b->trainer = trainer_open(&setup, &error);
    if (!b->trainer) fail_msg("%s", error.text);
    const ParamSet *params = &b->trainer->params;
    float *values = calloc((size_t)params->total, sizeof *values);
    param_initialise(params, 0, values); /* frequencies of positional embeddings are in no file */
    if (!weights_load(&b->file, params, "model.", values, &error)) fail_msg("%s", error.text);
    optimiser_set_weights(&b->trainer->optimiser, values);
    free(values);
}

static int set_up(void **state) {
    Bench *b = calloc(1, sizeof *b);
    Error error = {0};
    assert_non_null(b);
    b->path = *state;
    b->verbose = getenv("TRAINING_VERBOSE");
    *state = b;
    if (scratch_make(NULL)) return -1;
    if (!safetensors_open(b->path, &b->file, &error)) fail_msg("%s", error.text);
    const char *device = getenv("TRAINING_DEVICE");
    if (!device_open(device ? device : "cpu", 1, &b->device, &error)) fail_msg("%s", error.text);
    read_config(b);
    read_data(b);
    open_trainer(b);
    return 0;
}

static int tear_down(void **state) {
    Bench *b = *state;
    trainer_close(b->trainer);
    device_close(b->device);
    safetensors_close(&b->file);
    free(b->labels);
    free(b);
    return scratch_remove(NULL);
}

/* ---- comparison ---- */

#define TOLERANCE 5e-5         /* found: below 1e-5 in tests/golden, 3e-5 up to N = 1281 */
#define WEIGHTS_TOLERANCE 1e-3 /* of the way, and */
#define ROUNDING 3e-7          /* of the weights themselves: a slow average moves by a few ulp a step */

static bool keep_tick(void *context, const Tick *tick, Error *error) {
    Bench *b = context;
    if (b->ticks == MOST_STEPS) return error_set(error, "more than %d steps", MOST_STEPS);
    b->tick[b->ticks++] = *tick;
    return true;
}

/* `found` holds one number a step. */
static void check_series(Bench *b, const char *name, const double *found) {
    float *expected = floats_of(stored(b, name));
    for (int k = 0; k < b->ticks; k++) {
        const double off = fabs(found[k] / (double)expected[k] - 1);
        if (off > b->worst || isnan(off)) b->worst = off;
        if (!(off <= TOLERANCE))
            fail_msg("%s of step %d is %.9g, PyTorch's %.9g: off by %.2g", name, k, found[k],
                     (double)expected[k], off);
    }
    free(expected);
}

static void check_ticks(Bench *b) {
    double loss[MOST_STEPS], residual[MOST_STEPS], gradient[MOST_STEPS], update[MOST_STEPS];
    float *N = floats_of(stored(b, "N"));
    assert_int_equal(b->ticks, b->config.train.steps);
    for (int k = 0; k < b->ticks; k++) {
        assert_int_equal(b->tick[k].N, (int)N[k]);
        loss[k] = b->tick[k].loss, residual[k] = b->tick[k].residual;
        gradient[k] = b->tick[k].gradient_norm, update[k] = b->tick[k].update_norm_mean;
    }
    free(N);
    check_series(b, "loss", loss);
    check_series(b, "residual", residual);
    check_series(b, "gradient_norm", gradient);
    check_series(b, "update_norm_mean", update);
}

/* Squared norms of how far off the weights are, of the way they have come since the start, of themselves. */
typedef struct Squares {
    double off, way, size;
} Squares;

/* The bias of attention's keys adds the same to all logits of a row, which softmax does not see: its gradient
 * is 0 but for rounding, and RAdam makes whole steps of that. In files q, k and v take turns. */
static bool is_key_bias(const Param *param, int64_t i) {
    return param->layout == PARAM_QKV && param->rank == 1 && i % 3 == 1;
}

/* Adds one parameter of the flat `values`. */
static void param_compare(const Bench *b, const char *prefix, const Param *param, const float *values,
                          Squares *sum) {
    char name[192];
    float *found = malloc((size_t)param->count * sizeof *found);
    snprintf(name, sizeof name, "final.%s.%s", prefix, param->name);
    float *expected = floats_of(stored(b, name));
    snprintf(name, sizeof name, "model.%s", param->name);
    float *start = floats_of(stored(b, name));
    param_to_file(param, values, found);
    for (int64_t i = 0; i < param->count; i++) {
        if (is_key_bias(param, i)) continue;
        sum->off += pow((double)found[i] - (double)expected[i], 2);
        sum->way += pow((double)expected[i] - (double)start[i], 2);
        sum->size += pow((double)expected[i], 2);
    }
    free(start);
    free(expected);
    free(found);
}

/* `memory` is the device's. */
static void check_weights(Bench *b, const char *prefix, const float *memory) {
    const ParamSet *params = &b->trainer->params;
    const size_t bytes = (size_t)params->total * sizeof(float);
    float *values = malloc(bytes);
    Squares sum = {0};
    b->device->copy(b->device, values, memory, bytes, COPY_TO_HOST);
    b->device->synchronise(b->device);
    for (int p = 0; p < params->count; p++)
        if (params->params[p].trainable) param_compare(b, prefix, &params->params[p], values, &sum);
    free(values);
    const double off = sqrt(sum.off), way = sqrt(sum.way), size = sqrt(sum.size);
    if (b->verbose)
        print_message("# %s: off by %.2g of its way, %.2g of itself\n", prefix, off / way, off / size);
    if (!(off <= WEIGHTS_TOLERANCE * way + ROUNDING * size))
        fail_msg("%s after the last step is off by %.2g of its way", prefix, off / way);
}

static void the_run_is_that_of_pytorch(void **state) {
    Bench *b = *state;
    Error error = {0};
    const TrainHooks hooks = {.context = b, .on_tick = keep_tick};
    if (trainer_run(b->trainer, &hooks, &error) != TRAIN_DONE) fail_msg("%s", error.text);
    check_ticks(b);
    if (b->verbose) print_message("# losses and norms: off by %.2g\n", b->worst);
    const Optimiser *o = &b->trainer->optimiser;
    char name[32];
    check_weights(b, "model", o->weight);
    if (o->teacher) check_weights(b, "teacher", o->teacher);
    for (int i = 0; i < o->emas; i++)
        check_weights(b, ema_name(&b->config.train.optimiser, i, name), o->ema[i]);
}

enum { MOST_FILES = 16 };

static int check_files(char **paths, int count) {
    struct CMUnitTest tests[MOST_FILES] = {0};
    assert_true(count > 0 && count <= MOST_FILES);
    for (int i = 0; i < count; i++) {
        const char *file = strrchr(paths[i], '/');
        tests[i] = (struct CMUnitTest){file ? file + 1 : paths[i], the_run_is_that_of_pytorch, set_up,
                                       tear_down, paths[i]};
    }
    return _cmocka_run_group_tests("training", tests, (size_t)count, NULL, NULL);
}

int main(int argc, char **argv) {
    log_set_level(LOG_ERROR);
    if (argc > 1) return check_files(argv + 1, argc - 1);
    glob_t found = {0};
    if (glob("tests/golden/training-*.safetensors", 0, NULL, &found)) return 1;
    const int status = check_files(found.gl_pathv, (int)found.gl_pathc);
    globfree(&found);
    return status;
}
