/* The training loop on a toy network: it learns, it reports, and stopping and resuming it anywhere changes
 * nothing. */
#include "train/fit.h"
#include "train/trainer.h"

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "base/log.h"
#include "tests/unit/near.h"
#include "tests/unit/training.h"

static void a_run_reports_saves_and_evaluates_when_due(void **state) {
    (void)state;
    Run *run = run_make("whole");
    run->train.evaluations = 3;
    run->train.evaluate_at[1] = 0.5, run->train.evaluate_at[2] = 1;
    assert_int_equal(run_once(run), TRAIN_DONE);
    const int64_t ticks[5] = {7, 14, 21, 28, 30}, saved[5] = {0, 10, 15, 20, 30}, evaluated[3] = {0, 15, 30};
    assert_int_equal(run->ticks, 5);
    for (int i = 0; i < 5; i++) assert_int_equal(run->tick[i].step, ticks[i]);
    assert_int_equal(run->tick[4].images, 240);
    assert_int_equal(run->tick[0].N, 5);
    assert_int_equal(run->tick[4].N, 17);
    assert_int_equal(run->checkpoints, 5);
    for (int i = 0; i < 5; i++) assert_int_equal(run->checkpoint[i], saved[i]);
    assert_int_equal(run->evaluations, 3);
    for (int i = 0; i < 3; i++) assert_int_equal(run->evaluation[i], evaluated[i]);
    assert_true(file_exists(scratch("whole/checkpoint-20.safetensors")));
    assert_false(file_exists(scratch("whole/checkpoint-15.safetensors")));
    /* Again: nothing left to train, the last evaluation is asked for again. */
    assert_int_equal(run_once(run), TRAIN_DONE);
    assert_int_equal(run->ticks, 5);
    assert_int_equal(run->checkpoints, 5);
    assert_int_equal(run->evaluations, 4);
    run_free(run);
}

static void metrics_agree_with_each_other(void **state) {
    (void)state;
    Run *run = run_make("metrics");
    run->train.tick_steps = 10;
    assert_int_equal(run_once(run), TRAIN_DONE);
    for (int i = 0; i < run->ticks; i++) {
        const Tick *tick = &run->tick[i];
        assert_true(tick->loss > 0 && tick->residual > 0 && tick->gradient_norm > 0 && tick->seconds > 0);
        assert_true(tick->update_norm_mean > 0 && tick->update_norm_variance > 0);
        NEAR(tick->images_per_second * tick->seconds, 80, 1e-6);
        assert_int_equal(tick->non_finite, 0);
        double low = INFINITY, high = 0;
        for (int b = 0; b < SIGMA_BINS; b++) {
            if (isnan(tick->loss_by_sigma[b])) continue;
            low = fmin(low, tick->loss_by_sigma[b]);
            high = fmax(high, tick->loss_by_sigma[b]);
        }
        assert_true(low < tick->loss && tick->loss < high);
    }
    run_free(run);
}

/* Brightness of the left half minus that of the right one, of one image. */
static double contrast(const float *image) {
    double sum = 0;
    for (int p = 0; p < TOY_PIXELS; p++) sum += p / 3 % TOY_SIZE < TOY_SIZE / 2 ? image[p] : -image[p];
    return sum / (TOY_PIXELS / 2);
}

/* 400 steps from scratch, and one step of the network turns noise into both kinds of images. */
static void it_learns_to_draw_what_it_is_shown(void **state) {
    (void)state;
    Run *run = run_make("learns");
    run->ct.curriculum = CURRICULUM_CONSTANT;
    run->ct.s1 = 8;
    run->train.steps = 400;
    run->train.batch = run->train.micro_batch = 16;
    run->train.tick_steps = 50;
    run->train.checkpoint_steps = 0;
    run->train.optimiser.learning_rate = 3e-3;
    run->model.dropout = 0;
    run->setup.flip = false;
    Error error;
    Trainer *trainer = run_open(run);
    assert_int_equal(run_continue(run, trainer, &error), TRAIN_DONE);
    assert_true(run->tick[7].loss < 0.85 * run->tick[0].loss);
    assert_true(run->tick[7].residual < 0.85 * run->tick[0].residual);
    static float samples[32 * TOY_PIXELS];
    assert_true(trainer_sample(trainer, "ema:0.1", &(SamplerConfig){.nfe = 1}, 0, 32, NULL, samples, &error));
    int kinds[2] = {0, 0}; /* the data's contrast is 1.25 or -1.25 */
    for (int i = 0; i < 32; i++) {
        const double c = contrast(samples + i * TOY_PIXELS);
        if (fabs(c) > 0.7 && fabs(c) < 1.6) kinds[c > 0]++;
    }
    assert_true(kinds[0] >= 8 && kinds[1] >= 8 && kinds[0] + kinds[1] >= 28);
    trainer_close(trainer);
    run_free(run);
}

/* Stopped after every single step, by turns in the middle of a tick, of a window, and of a stage. */
static void stopping_anywhere_and_resuming_changes_nothing(void **state) {
    (void)state;
    Run *whole = run_make("uninterrupted"), *pieces = run_make("interrupted");
    whole->train.evaluations = pieces->train.evaluations = 1;
    whole->train.evaluate_at[0] = pieces->train.evaluate_at[0] = 1;
    assert_int_equal(run_once(whole), TRAIN_DONE);
    pieces->stop_after = 2; /* one poll before the first step, the next one after it */
    int resumes = 0;
    for (; run_once(pieces) == TRAIN_STOPPED; resumes++) pieces->stop_after = 2 + resumes % 4;
    assert_in_range(resumes, 10, 30);
    checkpoints_equal(whole, pieces, 30);
    assert_int_equal(whole->ticks, pieces->ticks); /* a run that stops in order repeats no row */
    histories_equal(whole, pieces);
    assert_memory_equal(whole->sample, pieces->sample, sizeof whole->sample);
    run_free(whole);
    run_free(pieces);
}

/* A crash loses what came after the last checkpoint; that is trained and reported again. */
static void a_crash_between_checkpoints_changes_nothing(void **state) {
    (void)state;
    Run *whole = run_make("sound"), *crashed = run_make("crashed");
    assert_int_equal(run_once(whole), TRAIN_DONE);
    crashed->train.checkpoint_steps = 8;
    whole->train.checkpoint_steps = 8;
    crashed->stop_after = 26;
    assert_int_equal(run_once(crashed), TRAIN_STOPPED); /* saves at 25, which the crash would not have done */
    assert_int_equal(remove(scratch("crashed/checkpoint-25.safetensors")), 0);
    crashed->stop_after = 0;
    assert_int_equal(run_once(crashed), TRAIN_DONE);
    checkpoints_equal(whole, crashed, 30);
    histories_equal(whole, crashed);
    run_free(whole);
    run_free(crashed);
}

static void a_damaged_checkpoint_is_passed_over(void **state) {
    (void)state;
    Run *whole = run_make("undamaged"), *damaged = run_make("damaged");
    assert_int_equal(run_once(whole), TRAIN_DONE);
    damaged->stop_after = 24;
    assert_int_equal(run_once(damaged), TRAIN_STOPPED); /* checkpoints 20 and 23 */
    Error error;
    assert_true(file_write_atomic(scratch("damaged/checkpoint-23.safetensors"), "half", 4, &error));
    Trainer *trainer = run_open(damaged);
    assert_int_equal(trainer_step(trainer), 20);
    damaged->stop_after = 0;
    assert_int_equal(run_continue(damaged, trainer, &error), TRAIN_DONE);
    trainer_close(trainer);
    checkpoints_equal(whole, damaged, 30);
    assert_true(file_exists(scratch("damaged/checkpoint-23.safetensors.damaged")));
    assert_true(file_exists(scratch("damaged/checkpoint-20.safetensors")));
    run_free(whole);
    run_free(damaged);
}

static void micro_batches_change_the_loss_by_rounding_only(void **state) {
    (void)state;
    const int micro[4] = {8, 4, 1, 0};
    Run *run[4];
    for (int i = 0; i < 4; i++) {
        char folder[32];
        snprintf(folder, sizeof folder, "micro-%d", micro[i]);
        run[i] = run_make(folder);
        run[i]->train.micro_batch = micro[i];
        run[i]->train.steps = 3;
        run[i]->train.tick_steps = 1;
        assert_int_equal(run_once(run[i]), TRAIN_DONE);
        for (int t = 0; t < 3; t++) {
            NEAR(run[i]->tick[t].loss / run[0]->tick[t].loss, 1, t ? 1e-4 : 1e-6);
            NEAR(run[i]->tick[t].gradient_norm / run[0]->tick[t].gradient_norm, 1, 1e-3);
        }
    }
    for (int i = 0; i < 4; i++) run_free(run[i]);
}

static void seeds_and_teachers_matter(void **state) {
    (void)state;
    Run *run[3] = {run_make("plain"), run_make("seed"), run_make("teacher")};
    run[1]->setup.seed = 6;
    run[2]->ct.teacher_ema = 0.9;
    for (int i = 0; i < 3; i++) assert_int_equal(run_once(run[i]), TRAIN_DONE);
    assert_true(run[0]->tick[0].loss != run[1]->tick[0].loss);
    assert_true(run[0]->tick[4].loss != run[2]->tick[4].loss);
    for (int i = 0; i < 3; i++) run_free(run[i]);
}

static void divergence_names_step_and_cause(void **state) {
    (void)state;
    Run *run = run_make("diverges");
    Error error = {{0}};
    run->train.optimiser.learning_rate = 1e30;
    Trainer *trainer = run_open(run);
    assert_int_equal(run_continue(run, trainer, &error), TRAIN_DIVERGED);
    assert_non_null(strstr(error.text, "step "));
    assert_non_null(strstr(error.text, "(N = 5)"));
    assert_in_range(trainer_step(trainer), 1, 6);
    trainer_close(trainer);
    run_free(run);
}

static void failures_end_the_run_with_their_reason(void **state) {
    (void)state;
    Run *run = run_make("fails");
    Error error;
    run->train.evaluations = 1;
    run->evaluation_fails = true;
    Trainer *trainer = run_open(run);
    assert_int_equal(run_continue(run, trainer, &error), TRAIN_FAILED);
    assert_string_equal(error.text, "no room for samples");
    float image[TOY_PIXELS];
    assert_false(trainer_sample(trainer, "ema:0.2", &(SamplerConfig){.nfe = 1}, 0, 1, NULL, image, &error));
    assert_non_null(strstr(error.text, "raw, ema:0.1, ema:0.9"));
    trainer_close(trainer);
    run_free(run);
}

static void what_does_not_fit_together_is_refused(void **state) {
    (void)state;
    Error error;
    Run *run = run_make("refused");
    run->train.micro_batch = 3;
    assert_null(trainer_open(&run->setup, &error));
    assert_non_null(strstr(error.text, "micro-batch"));
    run->train.micro_batch = 4;
    run->model.classes = 1;
    assert_null(trainer_open(&run->setup, &error));
    assert_non_null(strstr(error.text, "model.classes"));
    run->model.classes = 0;
    run->data.width = 4;
    assert_null(trainer_open(&run->setup, &error));
    assert_non_null(strstr(error.text, "4 x 8"));
    run->data.width = 8;
    assert_int_equal(run_once(run), TRAIN_DONE);
    run->setup.config_hash = "decaf";
    assert_null(trainer_open(&run->setup, &error));
    assert_non_null(strstr(error.text, "another run"));
    run->setup.config_hash = "c0ffee";
    run->train.steps = 20;
    assert_null(trainer_open(&run->setup, &error));
    assert_non_null(strstr(error.text, "beyond"));
    run_free(run);
}

static size_t card_bytes;

static void card_memory(Device *device, size_t *available, size_t *total) {
    (void)device;
    *available = *total = card_bytes;
}

/* A device that says how much memory it has, here a processor that says so: what does not fit is refused
 * before anything is allocated, with what would. */
static void a_card_too_small_is_told_what_fits(void **state) {
    (void)state;
    enum { BATCH = 1 << 16, FITS = 256 };
    Error error;
    Run *run = run_make("small");
    run->train.batch = run->train.micro_batch = BATCH;
    run->setup.device->memory = card_memory;
    const FitRequest request = {
        .model = &run->model, .train = &run->train, .resolution = TOY_SIZE, .channels = 3};
    const FitNeeds needs = fit_needs(&request, FITS);
    card_bytes = fit_total(&needs);
    assert_null(trainer_open(&run->setup, &error));
    assert_non_null(strstr(error.text, "training 65536 images at a time needs "));
    assert_non_null(strstr(error.text, "train.micro_batch=256 would fit, and 0 finds that out"));
    card_bytes = 1 << 20;
    for (run->train.micro_batch = 0; run->train.micro_batch <= BATCH; run->train.micro_batch += BATCH) {
        assert_null(trainer_open(&run->setup, &error));
        assert_non_null(strstr(error.text, run->train.micro_batch ? "65536 images" : "1 image at"));
        assert_non_null(strstr(error.text, "choose a smaller model, or another card"));
    }
    run_free(run);
}

static void classes_and_positional_embeddings_train_and_resume(void **state) {
    (void)state;
    Run *whole = run_make("classes"), *pieces = run_make("classes-pieces");
    for (int i = 0; i < 2; i++) {
        Run *run = i ? pieces : whole;
        run->model.classes = 2;
        run->model.embedding = EMBED_POSITIONAL;
        run->model.augment_dim = 9;
        run->ct.teacher_ema = 0.9;
    }
    assert_int_equal(run_once(whole), TRAIN_DONE);
    pieces->stop_after = 18;
    assert_int_equal(run_once(pieces), TRAIN_STOPPED);
    pieces->stop_after = 0;
    assert_int_equal(run_once(pieces), TRAIN_DONE);
    checkpoints_equal(whole, pieces, 30);
    run_free(whole);
    run_free(pieces);
}

int main(void) {
    log_set_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_reports_saves_and_evaluates_when_due),
        cmocka_unit_test(metrics_agree_with_each_other),
        cmocka_unit_test(it_learns_to_draw_what_it_is_shown),
        cmocka_unit_test(stopping_anywhere_and_resuming_changes_nothing),
        cmocka_unit_test(a_crash_between_checkpoints_changes_nothing),
        cmocka_unit_test(a_damaged_checkpoint_is_passed_over),
        cmocka_unit_test(micro_batches_change_the_loss_by_rounding_only),
        cmocka_unit_test(seeds_and_teachers_matter),
        cmocka_unit_test(divergence_names_step_and_cause),
        cmocka_unit_test(failures_end_the_run_with_their_reason),
        cmocka_unit_test(what_does_not_fit_together_is_refused),
        cmocka_unit_test(a_card_too_small_is_told_what_fits),
        cmocka_unit_test(classes_and_positional_embeddings_train_and_resume),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
