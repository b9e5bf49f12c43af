/* A toy network trained on CUDA and on the CPU, with everything that a run does: draws, teacher and student,
 * optimiser, moving averages, checkpoints, samples. The losses of both agree, and two runs on the card end in
 * the same bytes. Skipped where there is no card. */
#include "train/trainer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "base/file.h"
#include "tests/unit/scratch.h"
#include "tests/unit/toy.h"

enum { MOST_TICKS = 16 };

typedef struct Run {
    double loss[MOST_TICKS], gradient_norm[MOST_TICKS];
    int ticks;
    char checkpoint[2048];
    float sample[2 * TOY_PIXELS];
} Run;

static bool on_tick(void *context, const Tick *tick, Error *error) {
    (void)error;
    Run *run = context;
    run->loss[run->ticks] = tick->loss;
    run->gradient_norm[run->ticks++] = tick->gradient_norm;
    return true;
}

static bool on_checkpoint(void *context, int64_t step, const char *path, Error *error) {
    (void)error;
    (void)step;
    snprintf(((Run *)context)->checkpoint, sizeof((Run *)context)->checkpoint, "%s", path);
    return true;
}

static Run run_train(Device *device, const char *folder, int classes) {
    ModelConfig model = toy_model();
    CtConfig ct = toy_ct();
    TrainConfig train = toy_train();
    Dataset data = toy_data();
    char path[1024];
    Run run = {0};
    Error error;
    model.classes = classes;
    const int32_t labels[2] = {0, 1};
    const SamplerConfig sampler = {.nfe = 2, .sigmas = {0.8}};
    const TrainHooks hooks = {.context = &run, .on_tick = on_tick, .on_checkpoint = on_checkpoint};
    const TrainSetup setup = {.model = &model,
                              .ct = &ct,
                              .train = &train,
                              .data = &data,
                              .flip = true,
                              .device = device,
                              .seed = 11,
                              .folder = path_join(path, scratch_folder, folder)};
    if (!folder_make(path, &error)) fail_msg("%s", error.text);
    Trainer *trainer = trainer_open(&setup, &error);
    if (!trainer) fail_msg("%s", error.text);
    if (trainer_run(trainer, &hooks, &error) != TRAIN_DONE) fail_msg("%s", error.text);
    if (!trainer_sample(trainer, "ema:0.1", &sampler, 3, 2, labels, run.sample, &error))
        fail_msg("%s", error.text);
    trainer_close(trainer);
    return run;
}

static void check_runs(Device *cpu, Device *cuda, int classes) {
    const Run expected = run_train(cpu, classes ? "cpu-labels" : "cpu", classes);
    const Run first = run_train(cuda, classes ? "first-labels" : "first", classes);
    const Run second = run_train(cuda, classes ? "second-labels" : "second", classes);
    assert_true(expected.ticks > 3 && first.ticks == expected.ticks);
    for (int i = 0; i < expected.ticks; i++) {
        const double loss = fabs(first.loss[i] / expected.loss[i] - 1);
        const double norm = fabs(first.gradient_norm[i] / expected.gradient_norm[i] - 1);
        if (getenv("PARITY_VERBOSE"))
            printf("# tick %d: loss off by %.2g, norm of the gradient by %.2g\n", i, loss, norm);
        assert_true(loss < 1e-3 && norm < 1e-3);
    }
    for (int i = 0; i < 2 * TOY_PIXELS; i++) assert_true(fabsf(first.sample[i] - expected.sample[i]) < 1e-2f);
    assert_memory_equal(first.loss, second.loss, sizeof first.loss);
    assert_memory_equal(first.sample, second.sample, sizeof first.sample);
    char *bytes[2];
    size_t size[2];
    assert_true(file_read(first.checkpoint, &bytes[0], &size[0], NULL));
    assert_true(file_read(second.checkpoint, &bytes[1], &size[1], NULL));
    assert_true(size[0] == size[1]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    free(bytes[0]);
    free(bytes[1]);
}

static void test_training(void **state) {
    (void)state;
    Device *cpu, *cuda;
    Error error;
    if (!device_open("cuda", 2, &cuda, &error)) skip();
    if (!device_open("cpu", 2, &cpu, &error)) fail_msg("%s", error.text);
    check_runs(cpu, cuda, 0);
    check_runs(cpu, cuda, 2);
    device_close(cuda);
    device_close(cpu);
}

int main(void) {
    const struct CMUnitTest tests[] = {IN_SCRATCH(test_training)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
