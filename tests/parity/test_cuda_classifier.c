/* A toy classifier of either architecture trained on CUDA and on the CPU, with flips, shifts and noise:
 * losses and scores agree, two runs on the card end in the same bytes, and so does one that is stopped and
 * resumed. Skipped where there is no card. */
#include "train/trainer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "base/file.h"
#include "tests/parity/run.h"
#include "tests/unit/scratch.h"

typedef struct ClassifierRun {
    Run run;
    ClassifierScore score;
} ClassifierRun;

static ClassifierRun run_train(Device *device, ClassifierArchitecture architecture, Precision precision,
                               const char *folder, int stop_after) {
    const ClassifierTask task = {.network = {architecture, 2, {8, 16}, 2, 0.1f},
                                 .smoothing = 0.1,
                                 .warmup = 0.25,
                                 .noise = 0.1,
                                 .shift = 1,
                                 .trained = {10, 30},
                                 .held_out = {40, 10}};
    TrainConfig train = toy_train();
    Dataset data = toy_data();
    char path[1024];
    ClassifierRun result = {.run = {.stop_after = stop_after}};
    Error error;
    train.optimiser.emas = 0;
    const TrainHooks hooks = run_hooks(&result.run);
    const TrainSetup setup = {.classifier = &task,
                              .train = &train,
                              .data = &data,
                              .flip = true,
                              .device = device,
                              .seed = 11,
                              .precision = precision,
                              .folder = path_join(path, scratch_folder, folder)};
    if (!folder_make(path, &error)) fail_msg("%s", error.text);
    Trainer *trainer = trainer_open(&setup, &error);
    if (!trainer) fail_msg("%s", error.text);
    if (trainer_run(trainer, &hooks, &error) != (stop_after ? TRAIN_STOPPED : TRAIN_DONE))
        fail_msg("%s", error.text);
    result.score = trainer_score(trainer, task.held_out);
    trainer_close(trainer);
    return result;
}

/* Relative differences of losses and gradient norms up to `bound`. */
static void runs_compare(const ClassifierRun *expected, const ClassifierRun *found, double bound) {
    assert_true(expected->run.ticks > 3 && found->run.ticks == expected->run.ticks);
    for (int i = 0; i < expected->run.ticks; i++) {
        const double loss = fabs(found->run.loss[i] / expected->run.loss[i] - 1);
        const double norm = fabs(found->run.gradient_norm[i] / expected->run.gradient_norm[i] - 1);
        if (getenv("PARITY_VERBOSE"))
            printf("# tick %d: loss off by %.2g, norm of the gradient by %.2g\n", i, loss, norm);
        assert_true(loss < bound && norm < 20 * bound);
    }
    assert_true(fabs(found->score.loss / expected->score.loss - 1) < 5 * bound);
}

static void architecture_check(Device *cpu, Device *cuda, ClassifierArchitecture architecture) {
    static const double bounds[] = {1e-3, 1e-2, 3e-2};
    const ClassifierRun expected = run_train(cpu, architecture, PRECISION_FP32, "cpu", 0);
    for (Precision precision = PRECISION_FP32; precision <= PRECISION_BF16; precision++) {
        char name[2][32];
        for (int i = 0; i < 2; i++) snprintf(name[i], sizeof name[i], "cuda-%d-%d", (int)precision, i);
        const ClassifierRun first = run_train(cuda, architecture, precision, name[0], 0),
                            second = run_train(cuda, architecture, precision, name[1], 0);
        runs_compare(&expected, &first, bounds[precision]);
        check_same_file(first.run.checkpoint, second.run.checkpoint);
        assert_memory_equal(&first.score, &second.score, sizeof first.score);
    }
}

static void check_architecture(ClassifierArchitecture architecture) {
    Device *cpu, *cuda;
    Error error;
    if (!device_open("cuda", 2, &cuda, &error)) skip();
    if (!device_open("cpu", 2, &cpu, &error)) fail_msg("%s", error.text);
    architecture_check(cpu, cuda, architecture);
    device_close(cuda);
    device_close(cpu);
}

static void test_vgg(void **state) {
    (void)state;
    check_architecture(CLASSIFIER_VGG);
}

static void test_residual(void **state) {
    (void)state;
    check_architecture(CLASSIFIER_RESIDUAL);
}

static void test_resume(void **state) {
    (void)state;
    Device *cuda;
    Error error;
    if (!device_open("cuda", 2, &cuda, &error)) skip();
    const ClassifierRun whole = run_train(cuda, CLASSIFIER_RESIDUAL, PRECISION_FP32, "whole", 0);
    run_train(cuda, CLASSIFIER_RESIDUAL, PRECISION_FP32, "parts", 3);
    const ClassifierRun last = run_train(cuda, CLASSIFIER_RESIDUAL, PRECISION_FP32, "parts", 0);
    check_same_file(whole.run.checkpoint, last.run.checkpoint);
    device_close(cuda);
}

int main(void) {
    const struct CMUnitTest tests[] = {IN_SCRATCH(test_vgg), IN_SCRATCH(test_residual),
                                       IN_SCRATCH(test_resume)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
