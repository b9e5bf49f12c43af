/* A run of the toy network in a folder of its own, what its hooks were told, and comparisons of two such
 * runs. Include it after <cmocka.h>. */
#ifndef ICT_TESTS_TRAINING_H
#define ICT_TESTS_TRAINING_H

#include "train/trainer.h"

#include <inttypes.h>
#include <math.h>

#include "base/file.h"
#include "tests/unit/scratch.h"
#include "tests/unit/toy.h"
#include "base/safetensors.h"

/* ---- a run and its record ---- */

enum { MAX_EVENTS = 256 };

/* One run in a folder: what it is made of, and all that its hooks were told. */
typedef struct Run {
    ModelConfig model;
    CtConfig ct;
    TrainConfig train;
    Dataset data;
    TrainSetup setup;
    char folder[1024];
    Tick tick[MAX_EVENTS];
    int ticks;
    int64_t checkpoint[MAX_EVENTS], evaluation[MAX_EVENTS];
    int checkpoints, evaluations;
    int polls, stop_after; /* should_stop is true from poll number stop_after on; 0: never */
    bool evaluation_fails;
    float sample[TOY_PIXELS]; /* the last evaluation's */
} Run;

static inline bool on_tick(void *context, const Tick *tick, Error *error) {
    (void)error;
    Run *run = context;
    run->tick[run->ticks++] = *tick;
    return true;
}

static inline bool on_checkpoint(void *context, int64_t step, const char *path, Error *error) {
    (void)error;
    Run *run = context;
    assert_true(file_exists(path));
    run->checkpoint[run->checkpoints++] = step;
    return true;
}

static inline bool on_evaluation(void *context, int64_t step, Trainer *trainer, Error *error) {
    Run *run = context;
    const SamplerConfig sampler = {.nfe = 2, .sigmas = {0.8}};
    const int32_t label[1] = {1};
    assert_int_equal(trainer_step(trainer), step);
    run->evaluation[run->evaluations++] = step;
    if (run->evaluation_fails) return error_set(error, "no room for samples");
    return trainer_sample(trainer, "ema:0.1", &sampler, 3, 1, label, run->sample, error);
}

static inline bool should_stop(void *context) {
    Run *run = context;
    return ++run->polls >= run->stop_after && run->stop_after;
}

static inline Run *run_make(const char *folder) {
    Run *run = calloc(1, sizeof *run);
    run->model = toy_model();
    run->ct = toy_ct();
    run->train = toy_train();
    run->data = toy_data();
    path_join(run->folder, scratch_folder, folder);
    run->setup = (TrainSetup){.model = &run->model,
                              .ct = &run->ct,
                              .train = &run->train,
                              .data = &run->data,
                              .flip = true,
                              .device = toy_device(),
                              .seed = 5,
                              .folder = run->folder,
                              .config_hash = "c0ffee",
                              .name = "toy run"};
    return run;
}

static inline void run_free(Run *run) {
    device_close(run->setup.device);
    free(run);
}

static inline Trainer *run_open(Run *run) {
    Error error;
    Trainer *trainer = trainer_open(&run->setup, &error);
    if (!trainer) fail_msg("%s", error.text);
    return trainer;
}

static inline TrainEnd run_continue(Run *run, Trainer *trainer, Error *error) {
    const TrainHooks hooks = {run, on_tick, on_checkpoint, on_evaluation, should_stop};
    return trainer_run(trainer, &hooks, error);
}

/* Opens, runs as far as should_stop lets it, closes. */
static inline TrainEnd run_once(Run *run) {
    Error error;
    Trainer *trainer = run_open(run);
    run->polls = 0;
    const TrainEnd end = run_continue(run, trainer, &error);
    trainer_close(trainer);
    if (end == TRAIN_FAILED || end == TRAIN_DIVERGED) fail_msg("%s", error.text);
    return end;
}

/* ---- comparisons ---- */

/* All arrays in the checkpoints of a step, bit for bit. */
static inline void checkpoints_equal(const Run *a, const Run *b, int64_t step) {
    SafeTensors file[2];
    Error error;
    char name[64], path[1024];
    snprintf(name, sizeof name, "checkpoint-%" PRId64 ".safetensors", step);
    if (!safetensors_open(path_join(path, a->folder, name), &file[0], &error)) fail_msg("%s", error.text);
    if (!safetensors_open(path_join(path, b->folder, name), &file[1], &error)) fail_msg("%s", error.text);
    assert_int_equal(file[0].count, file[1].count);
    for (int i = 0; i < file[0].count; i++) {
        const SafeTensor *s = &file[0].tensors[i], *t = &file[1].tensors[i];
        assert_string_equal(s->name, t->name);
        if (memcmp(s->data, t->data, s->bytes) != 0) fail_msg("%s differs", s->name);
    }
    safetensors_close(&file[0]);
    safetensors_close(&file[1]);
}

/* Equal numbers, times of the clock aside. */
static inline void ticks_equal(Tick a, Tick b) {
    a.seconds = b.seconds = a.images_per_second = b.images_per_second = 0;
    for (int i = 0; i < SIGMA_BINS; i++) {
        assert_int_equal(isnan(a.loss_by_sigma[i]), isnan(b.loss_by_sigma[i]));
        if (isnan(a.loss_by_sigma[i])) a.loss_by_sigma[i] = b.loss_by_sigma[i] = 0;
        if (isnan(a.residual_by_sigma[i])) a.residual_by_sigma[i] = b.residual_by_sigma[i] = 0;
    }
    assert_memory_equal(&a, &b, sizeof a);
}

/* The history an observer has after dropping, at each resume, the rows past the checkpoint: for each step the
 * last row. */
static inline void histories_equal(const Run *whole, const Run *pieces) {
    for (int i = 0; i < whole->ticks; i++) {
        const Tick *last = NULL;
        for (int j = 0; j < pieces->ticks; j++) {
            if (pieces->tick[j].step == whole->tick[i].step) last = &pieces->tick[j];
        }
        assert_non_null(last);
        ticks_equal(whole->tick[i], *last);
    }
}

#endif
