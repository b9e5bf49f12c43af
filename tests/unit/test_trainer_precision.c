/* What 16 bits and large data sets ask of the training loop, on a CPU: the loss scale, and batches that the
 * host gathers. */
#include "train/trainer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "tests/unit/near.h"
#include "tests/unit/training.h"

/* A scale that is a power of two changes no bit where nothing overflows or vanishes. */
static void a_scaled_loss_gives_the_same_weights(void **state) {
    (void)state;
    Run *plain = run_make("unscaled"), *scaled = run_make("scaled");
    scaled->setup.precision = PRECISION_FP16; /* the CPU's network stays in fp32 */
    scaled->train.loss_scale = 65536;
    assert_int_equal(run_once(plain), TRAIN_DONE);
    assert_int_equal(run_once(scaled), TRAIN_DONE);
    checkpoints_equal(plain, scaled, 30);
    assert_true(plain->tick[0].loss_scale == 0 && scaled->tick[4].loss_scale == 65536);
    NEAR(scaled->tick[4].gradient_norm, plain->tick[4].gradient_norm, 0);
    run_free(plain);
    run_free(scaled);
}

/* A first scale that overflows fp32 itself: steps are skipped until it has been halved often enough, they are
 * reported, and a run that was stopped in between has neither forgotten the scale nor what it skipped. */
static void overflows_skip_steps_and_halve_the_scale(void **state) {
    (void)state;
    Run *whole = run_make("overflows"), *pieces = run_make("overflows in pieces");
    Run *both[2] = {whole, pieces};
    for (int i = 0; i < 2; i++) {
        both[i]->setup.precision = PRECISION_FP16;
        both[i]->train.loss_scale = 0x1p127;
        both[i]->train.batch = both[i]->train.micro_batch = 1; /* gradients above 2 */
        both[i]->ct.s0 = 128, both[i]->ct.s1 = 512;
    }
    assert_int_equal(run_once(whole), TRAIN_DONE);
    assert_true(whole->tick[0].non_finite > 0 && whole->tick[4].non_finite == 0);
    assert_true(whole->tick[0].loss_scale < 0x1p127 &&
                whole->tick[4].loss_scale == whole->tick[3].loss_scale);
    assert_true(whole->tick[0].loss_scale > 0x1p100);
    pieces->stop_after = 2;
    while (run_once(pieces) == TRAIN_STOPPED) pieces->stop_after = 3;
    checkpoints_equal(whole, pieces, 30);
    histories_equal(whole, pieces);
    run_free(whole);
    run_free(pieces);
}

/* Batches that the host gathers are those that the device would have found in the whole set. */
static void gathered_batches_change_nothing(void **state) {
    (void)state;
    Run *held = run_make("held"), *gathered = run_make("gathered");
    gathered->setup.gather_data = true;
    held->model.classes = gathered->model.classes = 2;
    assert_int_equal(run_once(held), TRAIN_DONE);
    assert_int_equal(run_once(gathered), TRAIN_DONE);
    checkpoints_equal(held, gathered, 30);
    histories_equal(held, gathered);
    run_free(held);
    run_free(gathered);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_scaled_loss_gives_the_same_weights),
        cmocka_unit_test(overflows_skip_steps_and_halve_the_scale),
        cmocka_unit_test(gathered_batches_change_nothing),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
