/* Training of classifiers: the gradient of what a step computes, the rate, what a trainer makes of it, and
 * sets that cannot be learned. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/mentions.h"
#include "tests/unit/near.h"
#include "tests/unit/training.h"

static ClassifierTask toy_task(ClassifierArchitecture architecture) {
    return (ClassifierTask){.network = {architecture, 2, {8, 16}, 1, 0.1f},
                            .smoothing = 0.1,
                            .warmup = 0.25,
                            .noise = 0.1,
                            .shift = 1,
                            .trained = {10, 30},
                            .held_out = {40, 10}};
}

/* ---- a step ---- */

/* A step's work on a CPU, whose memory is the host's. */
typedef struct Bench {
    ClassifierTask task;
    Dataset data;
    Device *device;
    ParamSet params;
    Network network;
    Classification *classification;
    float *weights, *gradients;
    StepRow row;
} Bench;

enum { BATCH = 6 };

static Bench *bench_make(ClassifierArchitecture architecture, int n) {
    Bench *b = calloc(1, sizeof *b);
    b->task = toy_task(architecture);
    b->data = toy_data();
    b->device = toy_device();
    b->network = classification_network(&b->task, &b->params, b->device, n, &b->data, PRECISION_FP32);
    const ImageSource source = {b->data.images, b->data.labels, (uint32_t)b->data.count, true, false};
    b->classification = classification_create(&b->task, &b->network, source, b->device, BATCH, 7);
    b->weights = calloc((size_t)b->params.total, sizeof(float));
    b->gradients = calloc((size_t)b->params.total, sizeof(float));
    param_initialise(&b->params, 3, b->weights);
    b->row.step = 4;
    return b;
}

static void bench_free(Bench *b) {
    classification_free(b->classification);
    network_free(&b->network);
    param_free(&b->params);
    device_close(b->device);
    free(b->weights);
    free(b->gradients);
    free(b);
}

/* The mean loss of the batch, whose gradient is left behind. */
static double bench_run(Bench *b) {
    double loss = 0;
    for (int first = 0; first < BATCH; first += b->network.n)
        classification_run(b->classification, &(ObjectiveRun){.row = &b->row,
                                                              .student = b->weights,
                                                              .student_cast = b->weights,
                                                              .gradients = b->gradients,
                                                              .first_sample = (uint32_t)first,
                                                              .accumulate = first > 0});
    for (int i = 0; i < BATCH; i++) loss += classification_record(b->classification).loss[i] / BATCH;
    return loss;
}

/* Along the sign of the gradient, where no element's share cancels another's. */
static void gradient_check(ClassifierArchitecture architecture) {
    Bench *b = bench_make(architecture, 3);
    const size_t total = (size_t)b->params.total;
    float *begin = malloc(total * sizeof(float)), *sign = malloc(total * sizeof(float));
    double slope = 0, side[2];
    bench_run(b);
    for (size_t i = 0; i < total; i++) {
        begin[i] = b->weights[i];
        sign[i] = b->gradients[i] > 0 ? 1.0f : -1.0f;
        slope += fabs((double)b->gradients[i]);
    }
    for (int s = 0; s < 2; s++) {
        for (size_t i = 0; i < total; i++) b->weights[i] = begin[i] + (s ? 2e-4f : -2e-4f) * sign[i];
        side[s] = bench_run(b);
    }
    assert_true(slope > 0);
    NEAR((side[1] - side[0]) / 4e-4 / slope, 1, 0.01);
    free(begin);
    free(sign);
    bench_free(b);
}

static void test_gradients(void **state) {
    (void)state;
    gradient_check(CLASSIFIER_VGG);
    gradient_check(CLASSIFIER_RESIDUAL);
}

/* Images, their order, flips, shifts and noise are those of the place in the batch. */
static void test_micro_batches_are_one_batch(void **state) {
    (void)state;
    Bench *whole = bench_make(CLASSIFIER_RESIDUAL, BATCH), *parts = bench_make(CLASSIFIER_RESIDUAL, 2);
    NEAR(bench_run(whole), bench_run(parts), 1e-6);
    for (int64_t i = 0; i < whole->params.total; i++) NEAR(whole->gradients[i], parts->gradients[i], 1e-5);
    bench_free(whole);
    bench_free(parts);
}

/* Ten images in batches of six: the last batch is not full. */
static void test_scores_count_every_image(void **state) {
    (void)state;
    Bench *b = bench_make(CLASSIFIER_VGG, BATCH);
    double loss = 0, accuracy = 0;
    const ClassifierScore all =
        classification_score(b->classification, b->weights, b->weights, &b->data, b->task.held_out);
    for (int i = 0; i < all.images; i++) {
        const ImageRange one = {b->task.held_out.first + i, 1};
        const ClassifierScore score =
            classification_score(b->classification, b->weights, b->weights, &b->data, one);
        loss += score.loss / 10, accuracy += score.accuracy / 10;
    }
    assert_int_equal(all.images, 10);
    NEAR(all.loss, loss, 1e-6);
    NEAR(all.accuracy, accuracy, 1e-12);
    bench_free(b);
}

static void test_rate_is_one_cycle(void **state) {
    (void)state;
    const ClassifierTask task = {.warmup = 0.25};
    double highest = 0, sum = 0;
    for (int k = 0; k < 100; k++) {
        const double rate = classification_rate(&task, 2, k, 100);
        highest = fmax(highest, rate);
        sum += rate;
    }
    NEAR(classification_rate(&task, 2, 0, 100), 2 * 0.02, 1e-12);
    NEAR(classification_rate(&task, 2, 99, 100), 0, 1e-3);
    NEAR(highest, 2, 0.05);
    NEAR(sum / 100, 1, 1e-3); /* both parts have half the peak as their mean */
}

/* ---- a run ---- */

static Run *classifier_run(const char *folder, ClassifierTask *task) {
    Run *run = run_make(folder);
    run->train.optimiser.emas = 0;
    run->train.optimiser.learning_rate = 1e-2;
    run->setup.classifier = task;
    run->setup.flip = false; /* it would turn one class into the other */
    run->setup.model = NULL;
    run->setup.ct = NULL;
    return run;
}

static void test_it_learns_what_it_has_not_seen(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        ClassifierTask task = toy_task(i ? CLASSIFIER_RESIDUAL : CLASSIFIER_VGG);
        Run *run = classifier_run(i ? "residual" : "vgg", &task);
        run->train.steps = 98;
        Trainer *trainer = run_open(run);
        Error error;
        const double before = trainer_score(trainer, task.held_out).loss;
        assert_int_equal(run_continue(run, trainer, &error), TRAIN_DONE);
        const ClassifierScore after = trainer_score(trainer, task.held_out);
        assert_true(after.accuracy == 1 && after.loss < before / 2);
        assert_true(run->ticks == 14 && run->tick[13].accuracy > 0.9 && isnan(run->tick[13].residual));
        assert_true(run->tick[13].learning_rate < run->tick[4].learning_rate);
        trainer_close(trainer);
        run_free(run);
    }
}

static void test_a_stopped_run_goes_on_to_the_same_weights(void **state) {
    (void)state;
    ClassifierTask task = toy_task(CLASSIFIER_RESIDUAL);
    Run *whole = classifier_run("whole", &task), *pieces = classifier_run("pieces", &task);
    assert_int_equal(run_once(whole), TRAIN_DONE);
    for (pieces->stop_after = 5; run_once(pieces) == TRAIN_STOPPED;) {
    }
    checkpoints_equal(whole, pieces, 30);
    histories_equal(whole, pieces);
    run_free(whole);
    run_free(pieces);
}

/* What only the data set can say. */
static void test_sets_that_cannot_be_learned(void **state) {
    (void)state;
    Error error;
    ClassifierTask task = toy_task(CLASSIFIER_VGG);
    Dataset data = toy_data();
    assert_true(classification_check(&task, &data, &error));
    for (int i = 0; i < TOY_IMAGES; i++) toy_labels[i] = i >= 40;
    assert_false(classification_check(&task, &data, &error));
    assert_mentions(&error, "class 1");
    assert_mentions(&error, "sorted");
    data.labels = NULL;
    assert_false(classification_check(&task, &data, &error));
    assert_mentions(&error, "no labels");
    data = toy_data();
    task.network.stages = 5;
    assert_false(classification_check(&task, &data, &error));
    assert_mentions(&error, "classifier.widths");
    task = toy_task(CLASSIFIER_VGG);
    task.trained = (ImageRange){0, 0};
    assert_false(classification_check(&task, &data, &error));
    assert_mentions(&error, "too few");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_micro_batches_are_one_batch),
        cmocka_unit_test(test_scores_count_every_image),
        cmocka_unit_test(test_rate_is_one_cycle),
        cmocka_unit_test(test_it_learns_what_it_has_not_seen),
        cmocka_unit_test(test_a_stopped_run_goes_on_to_the_same_weights),
        cmocka_unit_test(test_sets_that_cannot_be_learned),
    };
    return cmocka_run_group_tests_name("training of classifiers", tests, scratch_make, scratch_remove);
}
