/* A toy network trained on CUDA and on the CPU, with everything that a run does: draws, teacher and student,
 * optimiser, moving averages, checkpoints, samples. The losses of both agree, and two runs on the card end in
 * the same bytes. Skipped where there is no card. */
#include "train/trainer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "base/file.h"
#include "tests/parity/run.h"
#include "tests/unit/scratch.h"

static Run run_train(Device *device, const char *folder, int classes, int stop_after) {
    ModelConfig model = toy_model();
    CtConfig ct = toy_ct();
    TrainConfig train = toy_train();
    Dataset data = toy_data();
    char path[1024];
    Run run = {.stop_after = stop_after};
    Error error;
    model.classes = classes;
    const int32_t labels[2] = {0, 1};
    const SamplerConfig sampler = {.nfe = 2, .sigmas = {0.8}};
    const TrainHooks hooks = run_hooks(&run);
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
    if (trainer_run(trainer, &hooks, &error) != (stop_after ? TRAIN_STOPPED : TRAIN_DONE))
        fail_msg("%s", error.text);
    if (!trainer_sample(trainer, "ema:0.1", &sampler, 3, 2, labels, run.sample, &error))
        fail_msg("%s", error.text);
    trainer_close(trainer);
    return run;
}

static void check_runs(Device *cpu, Device *cuda, int classes) {
    const Run expected = run_train(cpu, classes ? "cpu-labels" : "cpu", classes, 0);
    const Run first = run_train(cuda, classes ? "first-labels" : "first", classes, 0);
    const Run second = run_train(cuda, classes ? "second-labels" : "second", classes, 0);
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
    check_same_file(first.checkpoint, second.checkpoint);
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

/* A device of its own for each part of a run, as a run has that is killed and started again. */
static Run run_alone(const char *folder, int stop_after) {
    Device *cuda;
    Error error;
    if (!device_open("cuda", 2, &cuda, &error)) fail_msg("%s", error.text);
    const Run run = run_train(cuda, folder, 0, stop_after);
    device_close(cuda);
    return run;
}

/* Which kernels run the convolutions was found by timing and is kept in the run's folder: the same choices,
 * the same bytes. */
static void test_resume(void **state) {
    (void)state;
    Device *cuda;
    Error error;
    char *choices;
    size_t size;
    if (!device_open("cuda", 2, &cuda, &error)) skip();
    device_close(cuda);
    const Run whole = run_alone("whole", 0);
    assert_true(file_read(scratch("whole/kernels.txt"), &choices, &size, NULL));
    assert_true(folder_make(scratch("parts"), NULL));
    assert_true(file_write_atomic(scratch("parts/kernels.txt"), choices, size, NULL));
    run_alone("parts", 2);
    run_alone("parts", 2);
    const Run last = run_alone("parts", 0);
    check_same_file(whole.checkpoint, last.checkpoint);
    check_same_file(scratch("whole/kernels.txt"), scratch("parts/kernels.txt"));
    free(choices);
}

int main(void) {
    const struct CMUnitTest tests[] = {IN_SCRATCH(test_training), IN_SCRATCH(test_resume)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
