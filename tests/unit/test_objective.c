/* The objective of a micro-batch: exactly zero where it must be, the loss that the formula says, and the
 * gradient of that loss through the student alone. */
#include "ct/objective.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "tests/unit/near.h"
#include "tests/unit/toy.h"
#include "train/features.h"

#include "tests/unit/feature_file.h"

static const char *features_path = "tests/golden/vgg16-narrow.safetensors";

enum { BATCH = 12 };

typedef struct Bench {
    CtConfig ct;
    ModelConfig model;
    Device *device;
    ParamSet params;
    Network network;
    FeatureNetwork features; /* of a perceptual distance */
    Objective *objective;
    StepRow row;
    float *weights, *teacher, *gradients; /* the CPU's memory is the host's */
} Bench;

static Bench *bench_make(CtConfig ct, ModelConfig model, int micro) {
    Bench *b = calloc(1, sizeof *b);
    const Dataset data = toy_data();
    b->ct = ct;
    b->model = model;
    b->device = toy_device();
    b->network = network_create(&b->model, &b->params, b->device, micro, TOY_SIZE, 3, true, PRECISION_FP32);
    const ImageSource source = {data.images, data.labels, TOY_IMAGES, true, false};
    b->objective = objective_create(&b->ct, &b->network, source, b->device, BATCH, 11);
    if (ct.distance == DISTANCE_PERCEPTUAL) {
        const FeatureRequest request = {
            .n = micro > 2 ? micro / 2 : micro, .h = TOY_SIZE, .w = TOY_SIZE, .c = 3, .size = 16};
        Error error;
        if (!features_open(features_path, NULL, &request, b->device, &b->features, &error))
            fail_msg("%s", error.text);
        objective_use_features(b->objective, &b->features);
    }
    const size_t total = (size_t)b->params.total;
    b->weights = calloc(total, sizeof(float));
    b->teacher = calloc(total, sizeof(float));
    b->gradients = calloc(total, sizeof(float));
    param_initialise(&b->params, 3, b->weights);
    /* Last layers start at zero, and then the network is zero whatever it is given: every
     * weight must count. */
    for (int64_t i = b->params.frozen; i < b->params.total; i++)
        b->weights[i] += 0.05f * (float)((i * 37) % 11 - 5) / 5;
    memcpy(b->teacher, b->weights, total * sizeof(float));
    b->row.step = 2;
    LevelTable table = ct_table(&b->ct, 5);
    objective_set_levels(b->objective, &table);
    ct_table_free(&table);
    return b;
}

static void bench_free(Bench *b) {
    objective_free(b->objective);
    features_close(&b->features, b->device);
    network_free(&b->network);
    param_free(&b->params);
    device_close(b->device);
    free(b->weights);
    free(b->teacher);
    free(b->gradients);
    free(b);
}

/* The whole batch; the mean of its losses. */
static double bench_run(Bench *b, const float *teacher) {
    ObjectiveRun run = {.row = &b->row,
                        .student = b->weights,
                        .teacher = teacher,
                        .student_cast = b->weights,
                        .teacher_cast = teacher,
                        .gradients = b->gradients,
                        .gradient_scale = 1};
    for (int first = 0; first < BATCH; first += b->network.n) {
        run.first_sample = (uint32_t)first;
        run.accumulate = first > 0;
        objective_run(b->objective, &run);
    }
    double sum = 0;
    for (int i = 0; i < BATCH; i++) sum += objective_record(b->objective).loss[i];
    return sum / BATCH;
}

/* Both levels are one: same input, same weights, same masks. */
static void equal_levels_set(Bench *b, double sigma) {
    Level level[2] = {ct_level(&b->ct, sigma), ct_level(&b->ct, sigma)};
    uint32_t threshold[1] = {UINT32_MAX};
    level[1].weight = 1000;
    const LevelTable table = {2, level, threshold};
    objective_set_levels(b->objective, &table);
}

static void student_and_teacher_agree_to_the_last_bit(void **state) {
    (void)state;
    for (int kind = 0; kind < 5; kind++) {
        ModelConfig model = toy_model();
        CtConfig ct = toy_ct();
        model.classes = kind % 2 ? 2 : 0;
        if (kind / 2 == 1) model.embedding = EMBED_POSITIONAL, model.encoder = ENCODER_STANDARD;
        ct.distance = kind == 4 ? DISTANCE_PERCEPTUAL : kind == 3 ? DISTANCE_L2 : DISTANCE_PSEUDO_HUBER;
        Bench *b = bench_make(ct, model, 4);
        equal_levels_set(b, 0.4);
        assert_true(bench_run(b, b->weights) == 0); /* teacher = stopgrad(student) */
        assert_true(bench_run(b, b->teacher) == 0); /* equal weights elsewhere */
        for (int64_t i = 0; i < b->params.total; i++) assert_true(b->gradients[i] == 0);
        b->teacher[b->params.total / 2] += 0.5f;
        assert_true(bench_run(b, b->teacher) > 0);
        bench_free(b);
    }
}

static void without_dropout_masks_there_is_another_loss(void **state) {
    (void)state;
    ModelConfig plain = toy_model();
    plain.dropout = 0;
    Bench *with = bench_make(toy_ct(), toy_model(), BATCH), *without = bench_make(toy_ct(), plain, BATCH);
    assert_true(bench_run(with, with->weights) != bench_run(without, without->weights));
    bench_free(with);
    bench_free(without);
}

static void the_loss_is_the_weighted_distance(void **state) {
    (void)state;
    const double c = 0.00054 * sqrt(TOY_PIXELS);
    for (int distance = DISTANCE_PSEUDO_HUBER; distance <= DISTANCE_L2; distance++) {
        CtConfig ct = toy_ct();
        ct.distance = (Distance)distance;
        Bench *b = bench_make(ct, toy_model(), 4);
        bench_run(b, b->weights);
        const ObjectiveRecord record = objective_record(b->objective);
        for (int i = 0; i < BATCH; i++) {
            const double r = record.residual[i], weight = ct_weight(&ct, record.pair[i], 5);
            const double d = distance == DISTANCE_L2 ? r * r / TOY_PIXELS : sqrt(r * r + c * c) - c;
            assert_in_range(record.pair[i], 0, 3);
            assert_true(r > 0);
            NEAR(record.loss[i] / (weight * d), 1, 1e-4);
        }
        bench_free(b);
    }
}

/* Along a direction of all weights, with masks: (L(theta + e v) - L(theta - e v)) / 2e against grad . v. */
static void the_gradient_is_that_of_the_student(void **state) {
    (void)state;
    const char *vgg = features_path, *smooth = classifier_write("smooth", "classifier", NULL);
    for (int distance = DISTANCE_PSEUDO_HUBER; distance <= DISTANCE_PERCEPTUAL; distance++) {
        CtConfig ct = toy_ct();
        ModelConfig model = toy_model();
        ct.distance = (Distance)distance;
        model.classes = 2;
        features_path = smooth;
        Bench *b = bench_make(ct, model, 4);
        const int64_t total = b->params.total;
        float *direction = calloc((size_t)total, sizeof(float));
        const float step = 2e-5f; /* small: l1 has a kink wherever a difference is 0 */
        double slope = 0, side[2];
        bench_run(b, b->teacher);
        for (int64_t i = b->params.frozen; i < total; i++) {
            direction[i] = b->gradients[i] > 0 ? 1.0f : -1.0f; /* no element's share cancels another's */
            slope += (double)b->gradients[i] * direction[i];
        }
        for (int s = 0; s < 2; s++) {
            for (int64_t i = 0; i < total; i++) {
                b->weights[i] = b->teacher[i] + (s ? step : -step) * direction[i];
            }
            side[s] = bench_run(b, b->teacher);
        }
        NEAR((side[1] - side[0]) / (2 * (double)step) / slope, 1, 0.01);
        free(direction);
        bench_free(b);
    }
    features_path = vgg;
}

/* One batch in micro-batches of `micro`, with dropout and labels, beside what the whole batch gave: the same
 * draws, and sums that differ by rounding. */
static void check_micro_batch(Bench *whole, double loss, int micro) {
    Bench *parts = bench_make(whole->ct, whole->model, micro);
    NEAR(bench_run(parts, parts->teacher) / loss, 1, 1e-6);
    const ObjectiveRecord a = objective_record(whole->objective), b = objective_record(parts->objective);
    for (int i = 0; i < BATCH; i++) {
        assert_int_equal(a.pair[i], b.pair[i]);
        NEAR(a.loss[i] / b.loss[i], 1, 2e-5);
        NEAR(a.residual[i] / b.residual[i], 1, 1e-5);
    }
    double difference = 0, size = 0;
    for (int64_t i = 0; i < whole->params.total; i++) {
        difference += pow((double)whole->gradients[i] - (double)parts->gradients[i], 2);
        size += pow((double)whole->gradients[i], 2);
    }
    assert_true(size > 0);
    NEAR(sqrt(difference / size), 0, 5e-6);
    bench_free(parts);
}

/* The feature network is a smooth one: VGG's ReLUs and maxima switch where rounding decides, and a switched
 * path is no rounding of the gradient any more. */
static void micro_batches_change_rounding_only(void **state) {
    (void)state;
    const char *vgg = features_path;
    features_path = classifier_write("smooth", "classifier", NULL);
    const int micro[5] = {1, 2, 3, 4, 6};
    for (int distance = DISTANCE_PSEUDO_HUBER; distance <= DISTANCE_PERCEPTUAL; distance++) {
        ModelConfig model = toy_model();
        CtConfig ct = toy_ct();
        model.classes = 2;
        ct.distance = (Distance)distance;
        Bench *whole = bench_make(ct, model, BATCH);
        const double loss = bench_run(whole, whole->teacher);
        for (int m = 0; m < 5; m++) check_micro_batch(whole, loss, micro[m]);
        bench_free(whole);
    }
    features_path = vgg;
}

static void steps_draw_differently(void **state) {
    (void)state;
    Bench *b = bench_make(toy_ct(), toy_model(), BATCH);
    const double first = bench_run(b, b->weights);
    assert_true(bench_run(b, b->weights) == first);
    b->row.step++;
    assert_true(bench_run(b, b->weights) != first);
    bench_free(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(student_and_teacher_agree_to_the_last_bit),
        cmocka_unit_test(without_dropout_masks_there_is_another_loss),
        cmocka_unit_test(the_loss_is_the_weighted_distance),
        cmocka_unit_test(the_gradient_is_that_of_the_student),
        cmocka_unit_test(micro_batches_change_rounding_only),
        cmocka_unit_test(steps_draw_differently),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
