/* Images, statistics and features from files: what other tools write is read, what is damaged is refused with
 * its place, and nothing is guessed. */
#include "base/image.h"
#include "base/npy.h"
#include "eval/evaluate.h"
#include "eval/image_set.h"
#include "eval/metric.h"
#include "eval/statistics.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "mentions.h"
#include "scratch.h"

static void must(bool ok, const Error *error) {
    if (!ok) fail_msg("%s", error->text);
}

/* ---- pictures ---- */

static void picture_put(const char *name, int side, uint8_t value) {
    uint8_t pixels[16 * 16 * 3];
    Error error;
    memset(pixels, value, sizeof pixels);
    must(image_write_png(scratch(name), &(Image){side, side, pixels}, &error), &error);
}

static void pictures_of_a_folder(void **state) {
    (void)state;
    ImageSet set;
    Error error;
    picture_put("b.png", 8, 20);
    picture_put("a.png", 8, 10);
    picture_put("grid.png", 16, 99); /* what `sample` puts beside its pictures */
    must(image_set_read(scratch_folder, false, &set, &error), &error);
    assert_true(set.data.count == 2 && set.data.height == 8 && set.data.channels == 3 && !set.skipped);
    assert_true(set.images[0] == 10 && set.images[8 * 8 * 3] == 20);
    image_set_free(&set);
}

static void a_corrupt_picture_is_named_and_counted(void **state) {
    (void)state;
    ImageSet set;
    Error error;
    picture_put("a.png", 8, 10);
    picture_put("b.png", 8, 20);
    must(file_write_atomic(scratch("c.png"), "\x89PNG\r\n\x1a\nbroken", 14, &error), &error);
    assert_false(image_set_read(scratch_folder, false, &set, &error));
    assert_mentions(&error, "1 of 3 pictures cannot be read");
    assert_mentions(&error, "c.png");
    assert_mentions(&error, "--skip-bad");
    must(image_set_read(scratch_folder, true, &set, &error), &error);
    assert_true(set.data.count == 2 && set.skipped == 1);
    image_set_free(&set);
}

static void sizes_must_be_one(void **state) {
    (void)state;
    ImageSet set;
    Error error;
    picture_put("a.png", 8, 10);
    picture_put("b.png", 16, 20);
    assert_false(image_set_read(scratch_folder, true, &set, &error));
    assert_mentions(&error, "'b.png' is 16 x 16, but the pictures before it are 8 x 8");
}

/* Grey 8-bit and 16-bit PNG files of 1 x 1, as PIL writes them. */
static const uint8_t grey8[] = {
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52, 0x00,
    0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x08, 0x00, 0x00, 0x00, 0x00, 0x3a, 0x7e, 0x9b, 0x55, 0x00,
    0x00, 0x00, 0x0a, 0x49, 0x44, 0x41, 0x54, 0x78, 0x9c, 0x63, 0x38, 0x01, 0x00, 0x00, 0xca, 0x00, 0xc9,
    0x99, 0xca, 0x5d, 0x7e, 0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82};
static const uint8_t grey16[] = {
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52, 0x00,
    0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x10, 0x00, 0x00, 0x00, 0x00, 0x6a, 0xee, 0x47, 0x16, 0x00,
    0x00, 0x00, 0x0b, 0x49, 0x44, 0x41, 0x54, 0x78, 0x9c, 0x63, 0x38, 0xc1, 0x08, 0x00, 0x01, 0x94, 0x00,
    0xca, 0x7f, 0xb7, 0x5a, 0x8f, 0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82};

static void grey_becomes_rgb_and_16_bits_are_refused(void **state) {
    (void)state;
    ImageSet set;
    Error error;
    must(file_write_atomic(scratch("a.png"), grey8, sizeof grey8, &error), &error);
    must(image_set_read(scratch_folder, false, &set, &error), &error);
    assert_true(set.data.channels == 3 && set.images[0] == 200 && set.images[1] == 200 &&
                set.images[2] == 200);
    image_set_free(&set);
    must(file_write_atomic(scratch("b.png"), grey16, sizeof grey16, &error), &error);
    assert_false(image_set_read(scratch_folder, false, &set, &error));
    assert_mentions(&error, "b.png");
    assert_mentions(&error, "16-bit");
}

static void arrays_are_bytes(void **state) {
    (void)state;
    uint8_t bytes[2 * 2 * 2 * 3] = {1, 2, 3};
    float floats[2 * 2 * 2 * 3] = {0};
    ImageSet set;
    Error error;
    const NpzMember members[] = {{"arr_0", {NPY_U8, 4, {2, 2, 2, 3}, bytes}}};
    must(npz_write(scratch("a.npz"), members, 1, &error), &error);
    must(image_set_read(scratch("a.npz"), false, &set, &error), &error);
    assert_true(set.data.count == 2 && !memcmp(set.images, bytes, sizeof bytes));
    image_set_free(&set);
    floats[13] = NAN;
    must(npy_write(scratch("f.npy"), &(NpyArray){NPY_F32, 4, {2, 2, 2, 3}, floats}, &error), &error);
    assert_false(image_set_read(scratch("f.npy"), false, &set, &error));
    assert_mentions(&error, "image 1 of the array holds nan");
    floats[13] = 0;
    must(npy_write(scratch("f.npy"), &(NpyArray){NPY_F32, 4, {2, 2, 2, 3}, floats}, &error), &error);
    assert_false(image_set_read(scratch("f.npy"), false, &set, &error));
    assert_mentions(&error, "uint8");
    must(npy_write(scratch("f.npy"), &(NpyArray){NPY_U8, 4, {2, 3, 2, 2}, bytes}, &error), &error);
    assert_false(image_set_read(scratch("f.npy"), false, &set, &error));
    assert_mentions(&error, "channels come last");
}

/* ---- statistics ---- */

enum { D = 3, ROWS = 40 };

static float *rows_make(int count) {
    float *rows = malloc((size_t)count * D * sizeof *rows);
    for (int i = 0; i < count; i++)
        for (int k = 0; k < D; k++) rows[i * D + k] = sinf((float)(i * (k + 2) + k)) * (float)(k + 1);
    return rows;
}

static FeatureSet set_make(void) {
    FeatureSet set;
    Error error;
    must(feature_set_adopt(&set, rows_make(ROWS), ROWS, D, &error), &error);
    return set;
}

static void statistics_go_out_and_come_back(void **state) {
    (void)state;
    static const char network[65] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    static const char other[65] = "f123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    FeatureSet set = set_make(), back;
    Hash hash;
    Error error;
    double distance;
    must(statistics_write(scratch("s.npz"), network, &set, &error), &error);
    must(statistics_read(scratch("s.npz"), network, &back, &hash, &error), &error);
    assert_int_equal(back.count, ROWS);
    must(frechet_distance(&set.moments, &back.moments, &distance, &error), &error);
    assert_true(distance < 1e-12);
    feature_set_free(&back);
    assert_false(statistics_read(scratch("s.npz"), other, &back, &hash, &error));
    assert_mentions(&error, "not of f123456789ab");
    feature_set_free(&set);
}

/* What pytorch-fid writes: mu and sigma alone. */
static bool statistics_try(double *sigma, int rows, Error *error) {
    double mu[D] = {1, 2, 3};
    const NpzMember members[] = {{"mu", {NPY_F64, 1, {D}, mu}}, {"sigma", {NPY_F64, 2, {rows, D}, sigma}}};
    FeatureSet set;
    Hash hash;
    must(npz_write(scratch("t.npz"), members, 2, error), error);
    if (!statistics_read(scratch("t.npz"), NULL, &set, &hash, error)) return false;
    assert_true(set.count == 0 && set.moments.mean[1] == 2);
    feature_set_free(&set);
    return true;
}

static void damaged_statistics_are_refused(void **state) {
    (void)state;
    Error error;
    must(statistics_try((double[]){1, 0, 0, 0, 1, 0.5, 0, 0.5, 1}, D, &error), &error);
    assert_false(statistics_try((double[]){1, 0, 0, 0, 1, 0.5, 0, 0.4, 1}, D, &error));
    assert_mentions(&error, "not symmetric: [2, 1] is 0.4");
    assert_false(statistics_try((double[]){1, 0, 0, 0, -1, 0, 0, 0, 1}, D, &error));
    assert_mentions(&error, "the variance [1, 1] is -1");
    assert_false(statistics_try((double[]){1, 2, 0, 2, 1, 0, 0, 0, 1}, D, &error));
    assert_mentions(&error, "more than its variances allow");
    assert_false(statistics_try((double[]){1, 0, 0, 0, NAN, 0, 0, 0, 1}, D, &error));
    assert_mentions(&error, "sigma[1, 1] is nan");
    assert_false(statistics_try((double[D *D]){1, 0, 0, 0, 1, 0}, 2, &error));
    assert_mentions(&error, "sigma must be 3 x 3");
}

static void statistics_of_few_images_are_refused(void **state) {
    (void)state;
    FeatureSet set, back;
    Hash hash;
    Error error;
    must(feature_set_adopt(&set, rows_make(11), 11, D, &error), &error);
    must(statistics_write(scratch("s.npz"), hash_bytes("x", 1).hex, &set, &error), &error);
    assert_false(statistics_read(scratch("s.npz"), NULL, &back, &hash, &error));
    assert_mentions(&error, "11 images are too few for 3 features: at least 12");
    feature_set_free(&set);
    must(feature_set_adopt(&set, rows_make(1), 1, D, &error), &error);
    assert_false(statistics_write(scratch("s.npz"), hash_bytes("x", 1).hex, &set, &error));
    assert_mentions(&error, "one image");
    feature_set_free(&set);
}

/* ---- features ---- */

static void features_of_other_networks(void **state) {
    (void)state;
    float *rows = rows_make(ROWS);
    FeatureSet set;
    Hash hash, again;
    Error error;
    const NpzMember members[] = {{"features", {NPY_F32, 2, {ROWS, D}, rows}},
                                 {"other", {NPY_F32, 2, {ROWS, D}, rows}}};
    must(npz_write(scratch("f.npz"), members, 2, &error), &error);
    must(features_read(scratch("f.npz"), &set, &hash, &error), &error);
    assert_true(set.count == ROWS && set.dimension == D && set.rows[5] == rows[5]);
    feature_set_free(&set);
    must(npy_write(scratch("f.npy"), &members[0].array, &error), &error);
    must(features_read(scratch("f.npy"), &set, &again, &error), &error);
    assert_string_equal(hash.hex, again.hex);
    feature_set_free(&set);
    rows[7 * D + 1] = INFINITY;
    must(npy_write(scratch("f.npy"), &members[0].array, &error), &error);
    assert_false(features_read(scratch("f.npy"), &set, &hash, &error));
    assert_mentions(&error, "feature 1 of image 7 is inf");
    free(rows);
}

/* ---- names and values ---- */

static void names_say_kind_and_space(void **state) {
    (void)state;
    Metric metric;
    for (int i = 0; metric_names[i]; i++) assert_true(metric_find(metric_names[i], &metric));
    assert_true(metric_find("fid", &metric) && metric.kind == METRIC_FRECHET);
    assert_string_equal(metric.space, "inception");
    assert_true(metric_find("recall-vgg16", &metric) && metric.kind == METRIC_RECALL);
    assert_string_equal(metric.space, "vgg16");
    assert_false(metric_find("fd-inception", &metric)); /* it is called fid */
    assert_false(metric_find("fid-random", &metric));
    assert_true(metric_find("fid-pytorch-fid", &metric) && metric.kind == METRIC_FRECHET);
    assert_string_equal(metric.space, "pytorch-fid");
}

static void official_names_need_official_weights(void **state) {
    (void)state;
    Error error;
    const EvaluationConfig config = {.metrics = {"fd-random", "fid"}, .metric_count = 2};
    assert_false(evaluation_check(&config, NULL, scratch("weights"), &error));
    assert_mentions(&error, "fid: ");
    assert_mentions(&error, "pt_inception-2015-12-05-6726825d.pth");
    assert_mentions(&error, "--features");
}

static void scores_carry_their_protocol(void **state) {
    (void)state;
    const Metric metrics[] = {{METRIC_FRECHET, "fd-x", "x"},
                              {METRIC_KERNEL, "kd-x", "x"},
                              {METRIC_PRECISION, "precision-x", "x"},
                              {METRIC_COVERAGE, "coverage-x", "x"}};
    FeatureSet set = set_make();
    Score scores[MOST_SCORES];
    Error error;
    assert_int_equal(metrics_score(metrics, 4, &set, &set, "-floor", scores, &error), 5);
    assert_true(!strcmp(scores[0].name, "fd-x-floor") && fabs(scores[0].value) < 1e-9);
    assert_true(!strcmp(scores[1].name, "kd-x-floor") && !strcmp(scores[1].protocol, "100 subsets of 20"));
    assert_string_equal(scores[2].name, "kd-x-floor-deviation");
    assert_true(!strcmp(scores[3].name, "precision-x-real") && !strcmp(scores[3].protocol, "k 3, 40 real"));
    assert_true(scores[3].value == 1 && scores[4].value == 1);
    feature_set_free(&set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(pictures_of_a_folder),
        IN_SCRATCH(a_corrupt_picture_is_named_and_counted),
        IN_SCRATCH(sizes_must_be_one),
        IN_SCRATCH(grey_becomes_rgb_and_16_bits_are_refused),
        IN_SCRATCH(arrays_are_bytes),
        IN_SCRATCH(statistics_go_out_and_come_back),
        IN_SCRATCH(damaged_statistics_are_refused),
        IN_SCRATCH(statistics_of_few_images_are_refused),
        IN_SCRATCH(features_of_other_networks),
        cmocka_unit_test(names_say_kind_and_space),
        cmocka_unit_test(official_names_need_official_weights),
        cmocka_unit_test(scores_carry_their_protocol),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
