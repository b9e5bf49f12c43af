/* On a card the precisions part: rounding grows beside the residual with N, bf16's is the largest, and
 * gradients of a toy run still point where fp32's do. Skipped where there is no card. */
#include "train/rounding.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "base/file.h"
#include "tests/parity/run.h"
#include "tests/unit/scratch.h"

static void checkpoint_make(Device *device, Run *run) {
    const ModelConfig model = toy_model();
    const CtConfig ct = toy_ct();
    const TrainConfig train = toy_train();
    const Dataset data = toy_data();
    const TrainHooks hooks = run_hooks(run);
    Error error;
    const TrainSetup setup = {.model = &model,
                              .ct = &ct,
                              .train = &train,
                              .data = &data,
                              .device = device,
                              .seed = 11,
                              .folder = scratch_folder};
    Trainer *trainer = trainer_open(&setup, &error);
    if (!trainer || trainer_run(trainer, &hooks, &error) != TRAIN_DONE) fail_msg("%s", error.text);
    trainer_close(trainer);
}

static void rows_check(const RoundingRow *few, const RoundingRow *many) {
    for (Precision p = PRECISION_FP32; p <= PRECISION_FP16; p++) {
        printf("# %d: %g and %g of the residual, cosine %g and %g\n", (int)p, few[p].median, many[p].median,
               few[p].cosine, many[p].cosine);
        assert_true(p == PRECISION_FP32 ? few[p].median == 0 : few[p].median > 0);
        assert_true(p == PRECISION_FP32 || many[p].median > few[p].median);
        assert_true(few[p].cosine > 0.9 && few[p].rate > 0);
    }
    assert_true(few[PRECISION_BF16].median > few[PRECISION_FP16].median);
    assert_true(few[PRECISION_BF16].median > few[PRECISION_TF32].median);
}

static void rounding_grows_with_the_number_of_levels(void **state) {
    (void)state;
    const ModelConfig model = toy_model();
    const CtConfig ct = toy_ct();
    const Dataset data = toy_data();
    const int N[2] = {5, 1281};
    Device *device;
    Run run = {0};
    RoundingRow rows[2 * PRECISIONS];
    int64_t step;
    Error error;
    if (!device_open("cuda", 2, &device, &error)) skip();
    checkpoint_make(device, &run);
    const RoundingSetup setup = {.checkpoint = run.checkpoint,
                                 .model = &model,
                                 .ct = &ct,
                                 .data = &data,
                                 .device = device,
                                 .seed = 11,
                                 .images = 128, /* in two parts */
                                 .loss_scale = 0x1p40 /* overflows at first */};
    if (!rounding_measure(&setup, N, 2, rows, &step, &error)) fail_msg("%s", error.text);
    rows_check(rows, rows + PRECISIONS);
    device_close(device);
}

int main(void) {
    const struct CMUnitTest tests[] = {IN_SCRATCH(rounding_grows_with_the_number_of_levels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
