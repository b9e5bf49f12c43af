/* What precisions do to a trained network: the numbers that are made of residuals, the rule that chooses, and
 * on a CPU, which computes all four alike, that each side sees the same draws: nothing at all differs. How
 * far precisions are apart on a card is tests/parity/test_cuda_precision.c's. */
#include "train/rounding.h"

#include "answers/answers.h"
#include "worker/precision.h"
#include "tests/unit/store_fixture.h"
#include "tests/unit/scratch.h"
#include "tests/unit/feature_file.h"
#include "tests/unit/toy.h"

static void ratios_are_of_each_image(void **state) {
    (void)state;
    const float fp32[6] = {3, 4, 0, 0, 1, 0}, low[6] = {3, 5, 0, 0, 1, 3};
    double ratios[3];
    rounding_ratios(low, fp32, 3, 2, ratios);
    assert_true(fabs(ratios[0] - 0.2) < 1e-12);
    assert_true(ratios[1] == 0); /* no residual, and none in the other */
    assert_true(ratios[2] == 3);
    const float other[2] = {0, 1}, none[2] = {0, 0};
    rounding_ratios(other, none, 1, 2, ratios);
    assert_true(isinf(ratios[0]));
}

static void quantiles_interpolate(void **state) {
    (void)state;
    double values[5] = {5, 1, 4, 2, 3}, pair[2] = {2, 1}, one[1] = {7};
    assert_true(rounding_quantile(values, 5, 0.5) == 3);
    assert_true(rounding_quantile(values, 5, 0.9) == 4.6);
    assert_true(rounding_quantile(pair, 2, 0.5) == 1.5);
    assert_true(rounding_quantile(one, 1, 0.9) == 7);
}

/* Medians and rates of tf32, bf16 and fp16; fp32 makes 100 images/s. */
static Precision choice(double tf32, double bf16, double fp16, double rate_bf16, double rate_fp16) {
    const RoundingRow rows[] = {
        {.precision = PRECISION_FP32, .N = 1281, .rate = 100},
        {.precision = PRECISION_TF32, .N = 1281, .rate = 300, .median = tf32},
        {.precision = PRECISION_BF16, .N = 1281, .rate = rate_bf16, .median = bf16},
        {.precision = PRECISION_FP16, .N = 1281, .rate = rate_fp16, .median = fp16},
        {.precision = PRECISION_BF16, .N = 11, .rate = 9000, .median = 0},
    };
    return rounding_choice(rows, 5, 1281);
}

static void the_fastest_within_the_bound_is_chosen(void **state) {
    (void)state;
    assert_int_equal(choice(0.02, 0.5, 0.07, 600, 590), PRECISION_FP16);
    assert_int_equal(choice(0.02, 0.14, 0.02, 600, 590), PRECISION_FP16); /* as fast, and nearer */
    assert_int_equal(choice(0.02, 0.14, 0.02, 700, 590), PRECISION_BF16);
    assert_int_equal(choice(0.02, 0.5, 0.16, 600, 590), PRECISION_TF32);
    assert_int_equal(choice(0.2, 0.5, 0.16, 600, 590), PRECISION_FP32);
    assert_int_equal(choice(0.02, 0.5, NAN, 600, 590), PRECISION_TF32);
}

/* A run of some steps, with a teacher of its own or without. */
static void checkpoint_make(Device *device, const CtConfig *ct, const ModelConfig *model,
                            char checkpoint[1024]) {
    const TrainConfig train = toy_train();
    const Dataset data = toy_data();
    char folder[1024];
    Error error;
    const TrainSetup setup = {.model = model,
                              .ct = ct,
                              .train = &train,
                              .data = &data,
                              .flip = true,
                              .device = device,
                              .seed = 11,
                              .folder =
                                  path_join(folder, scratch_folder, ct->teacher_ema != 0 ? "ema" : "same")};
    if (!folder_make(folder, &error)) fail_msg("%s", error.text);
    Trainer *trainer = trainer_open(&setup, &error);
    if (!trainer || trainer_run(trainer, &(TrainHooks){0}, &error) != TRAIN_DONE) fail_msg("%s", error.text);
    trainer_close(trainer);
    path_join(checkpoint, folder, "checkpoint-30.safetensors");
}

static void check_nothing_differs(const ModelConfig *model, const CtConfig *ct) {
    Device *device = toy_device();
    const Dataset data = toy_data();
    const int N[2] = {5, 1281}; /* more levels than the run had */
    char path[1024];
    RoundingRow rows[2 * PRECISIONS];
    int64_t step;
    Error error;
    checkpoint_make(device, ct, model, path);
    const RoundingSetup setup = {.checkpoint = path,
                                 .model = model,
                                 .ct = ct,
                                 .data = &data,
                                 .flip = true,
                                 .device = device,
                                 .seed = 11,
                                 .images = 20, /* in two parts */
                                 .loss_scale = 65536};
    if (!rounding_measure(&setup, N, 2, rows, &step, &error)) fail_msg("%s", error.text);
    assert_int_equal(step, 30);
    for (int i = 0; i < 2 * PRECISIONS; i++) {
        assert_int_equal(rows[i].precision, i % PRECISIONS);
        assert_int_equal(rows[i].N, N[i / PRECISIONS]);
        assert_true(rows[i].median == 0 && rows[i].upper == 0);
        assert_true(rows[i].cosine > 1 - 1e-7 && rows[i].rate > 0);
    }
    device_close(device);
}

static void every_side_sees_the_same_draws(void **state) {
    (void)state;
    ModelConfig model = toy_model();
    CtConfig ct = toy_ct();
    check_nothing_differs(&model, &ct);
    ct.teacher_ema = 0.9;
    model.classes = 2;
    check_nothing_differs(&model, &ct);
}

/* The network of a perceptual distance is the run's own: image tap and checksum included. */
static void a_perceptual_distance_takes_part(void **state) {
    (void)state;
    Device *device = toy_device();
    const ModelConfig model = toy_model();
    CtConfig ct = toy_ct();
    const Dataset data = toy_data();
    const int N = 5;
    char path[1024];
    RoundingRow rows[PRECISIONS];
    int64_t step;
    Error error;
    checkpoint_make(device, &ct, &model, path);
    ct.distance = DISTANCE_PERCEPTUAL;
    ct.perceptual = (FeatureConfig){.hash = "any", .pixels = 1};
    const RoundingSetup setup = {.checkpoint = path,
                                 .model = &model,
                                 .ct = &ct,
                                 .data = &data,
                                 .device = device,
                                 .images = 4,
                                 .loss_scale = 65536,
                                 .features = classifier_write("loss.safetensors", "classifier", "8")};
    if (!rounding_measure(&setup, &N, 1, rows, &step, &error)) fail_msg("%s", error.text);
    for (int i = 0; i < PRECISIONS; i++) assert_true(rows[i].median == 0 && rows[i].cosine > 1 - 1e-7);
    strcpy(ct.perceptual.hash, "0123");
    assert_false(rounding_measure(&setup, &N, 1, rows, &step, &error));
    assert_non_null(strstr(error.text, "SHA-256"));
    device_close(device);
}

static void a_file_without_the_weights_is_named(void **state) {
    (void)state;
    Device *device = toy_device();
    ModelConfig model = toy_model();
    const CtConfig ct = toy_ct();
    const Dataset data = toy_data();
    const int N = 5;
    char path[1024];
    RoundingRow rows[PRECISIONS];
    int64_t step;
    Error error;
    checkpoint_make(device, &ct, &model, path);
    model.channels = 16;
    const RoundingSetup setup = {
        .checkpoint = path, .model = &model, .ct = &ct, .data = &data, .device = device, .images = 4};
    assert_false(rounding_measure(&setup, &N, 1, rows, &step, &error));
    assert_non_null(strstr(error.text, "checkpoint-30.safetensors"));
    device_close(device);
}

/* ---- in the database ---- */

static void row_count(void *context, int columns, const char *const *names, const char *const *values) {
    (void)columns, (void)names, (void)values;
    ++*(int *)context;
}

static int answer_rows(Store *store, const char *name) {
    const char *const parameters[] = {"run", "aa10"};
    const Paths paths = {.root = "."};
    Question question;
    Error error;
    int rows = 0;
    must(question_read(&paths, name, &question, &error), &error);
    must(store_query(store, question.sql, parameters, question_parameter(&question) ? 1 : 0, row_count, &rows,
                     &error),
         &error);
    question_free(&question);
    return rows;
}

/* Measured twice: the newer numbers; at a later step: those of the figure and the table. */
static void what_was_measured_is_kept_and_answered(void **state) {
    Store *store = ((Fixture *)*state)->store;
    Error error;
    run_add(store, "aa10", "");
    run_claim(store, "aa10", false, false);
    assert_int_equal(answer_rows(store, "rounding"), 0);
    for (int i = 0; i < 3 * PRECISIONS; i++) {
        const RoundingRow row = {
            .precision = (Precision)(i % PRECISIONS), .N = i < 8 ? 11 : 1281, .median = 0.1 + i, .rate = 100};
        must(store_rounding(store, "aa10", 40, 256, "card", &row, &error), &error);
    }
    assert_sql(store, "SELECT count(*) FROM rounding", "8");
    assert_sql(store, "SELECT median FROM rounding WHERE N = 11 AND precision = 'tf32'", "5.1");
    assert_int_equal(answer_rows(store, "rounding"), 1 + 6); /* the note; three precisions at two N */
    assert_int_equal(answer_rows(store, "precision"), 3);
    const RoundingRow later = {.precision = PRECISION_FP16, .N = 1281, .median = 0.5, .rate = 100};
    must(store_rounding(store, "aa10", 80, 256, "card", &later, &error), &error);
    assert_int_equal(answer_rows(store, "precision"), 3);
    must(store_end_run(store, "aa10", 0, RUN_DONE, NULL, &error), &error);
    run_claim(store, "aa10", false, true);
    assert_sql(store, "SELECT count(*) FROM rounding", "0"); /* of weights that are no more */
}

/* The newest at the most levels, of one card; and what is said of it when a run starts there. */
static void what_is_known_of_a_card_is_said(void **state) {
    Store *store = ((Fixture *)*state)->store;
    const double medians[] = {0, 0.01, 0.4, 0.06}, rates[] = {100, 500, 1000, 990};
    RoundingKnown known;
    Error error;
    char text[512];
    run_add(store, "aa10", "");
    must(store_rounding_known(store, "card", &known, &error), &error);
    assert_int_equal(known.count, 0);
    assert_false(precision_describe(&known, PRECISION_FP16, text));
    assert_non_null(strstr(text, "precision fp16: nothing is known"));
    for (int i = 0; i < 2 * PRECISIONS; i++) {
        const RoundingRow row = {.precision = (Precision)(i % PRECISIONS),
                                 .N = i < PRECISIONS ? 1281 : 11,
                                 .median = medians[i % PRECISIONS],
                                 .rate = rates[i % PRECISIONS]};
        must(store_rounding(store, "aa10", 40, 256, i < PRECISIONS ? "card" : "other", &row, &error), &error);
    }
    must(store_rounding_known(store, "card", &known, &error), &error);
    assert_int_equal(known.count, PRECISIONS);
    assert_false(precision_describe(&known, PRECISION_FP16, text));
    assert_string_equal(text,
                        "precision fp16: on this card rounding was 0.06 of the residual at N = 1281 (run "
                        "aa10), within the bound of 0.15; fp16 is the fastest within it");
    assert_true(precision_describe(&known, PRECISION_BF16, text));
    assert_non_null(strstr(text, "0.4 of the residual at N = 1281 (run aa10), beyond the bound"));
    assert_false(precision_describe(&known, PRECISION_FP32, text));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ratios_are_of_each_image),
        cmocka_unit_test(quantiles_interpolate),
        cmocka_unit_test(the_fastest_within_the_bound_is_chosen),
        IN_SCRATCH(every_side_sees_the_same_draws),
        IN_SCRATCH(a_perceptual_distance_takes_part),
        IN_SCRATCH(a_file_without_the_weights_is_named),
        cmocka_unit_test_setup_teardown(what_was_measured_is_kept_and_answered, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(what_is_known_of_a_card_is_said, fixture_open, fixture_close)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
