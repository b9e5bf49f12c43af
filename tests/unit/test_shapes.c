/* The built-in data set: the same pixels on every machine, balanced classes, and pictures in which the shape
 * stands out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "data/dataset.h"

#include <math.h>
#include <string.h>

static Dataset shapes_open(int resolution, int count, int64_t seed) {
    DataConfig config = {.name = "shapes", .resolution = resolution, .count = count, .seed = seed};
    Dataset set;
    Error error;
    if (!dataset_open(&config, "no/such/folder", &set, &error)) fail_msg("%s", error.text);
    return set;
}

/* A changed hash means changed pixels: every recorded run on shapes would then be about other data. */
static void pixels_are_pinned(void **state) {
    (void)state;
    static const struct {
        int resolution;
        const char *hash;
    } cases[] = {{16, "86a334974c808919c25d02d6b9a56c1cd6863da7891491f14c028b0b2d4ed8e2"},
                 {33, "bcecd20887ebe607dc686bb6fb0740bb4eec5895de5b07cbcd11c50f339d5d13"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Dataset set = shapes_open(cases[i].resolution, 500, 0);
        assert_string_equal(set.hash.hex, cases[i].hash);
        dataset_close(&set);
    }
}

static void defaults_are_filled_in(void **state) {
    (void)state;
    Dataset set = shapes_open(0, 0, 0);
    assert_true(set.count == 10000 && set.height == 32 && set.width == 32 && set.channels == 3 &&
                set.classes == 10);
    assert_string_equal(set.name, "shapes");
    assert_string_equal(set.class_names[0], "disc");
    assert_string_equal(set.class_names[9], "crescent");
    dataset_close(&set);
    assert_null(set.images);
}

static void classes_are_balanced(void **state) {
    (void)state;
    Dataset set = shapes_open(8, 1000, 3);
    int counts[10] = {0};
    for (int i = 0; i < set.count; i++) {
        assert_in_range(set.labels[i], 0, 9);
        counts[set.labels[i]]++;
    }
    for (int class = 0; class < 10; class ++) assert_int_equal(counts[class], 100);
    dataset_close(&set);
}

static void seed_changes_the_pixels_and_count_only_the_length(void **state) {
    (void)state;
    Dataset one = shapes_open(16, 100, 1), two = shapes_open(16, 100, 2), more = shapes_open(16, 300, 1);
    assert_memory_equal(one.images, more.images, 100 * 16 * 16 * 3);
    assert_memory_not_equal(one.images, two.images, 16 * 16 * 3);
    assert_string_not_equal(one.hash.hex, two.hash.hex);
    assert_string_not_equal(one.hash.hex, more.hash.hex);
    dataset_close(&one), dataset_close(&two), dataset_close(&more);
}

static double luma(const uint8_t *pixel) {
    return (0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]) / 255;
}

/* The corners are background (no shape reaches them all), the shape is what differs from it by more than half
 * of the largest difference. Its share of the picture tells that it is neither lost nor everything. */
static void shape_stands_out_from_its_background(void **state) {
    (void)state;
    enum { SIDE = 16, PIXELS = SIDE * SIDE };
    Dataset set = shapes_open(SIDE, 2000, 0);
    for (int i = 0; i < set.count; i++) {
        const uint8_t *image = set.images + (size_t)i * PIXELS * 3;
        const double corner = (luma(image) + luma(image + 3 * (PIXELS - SIDE))) / 2;
        double largest = 0;
        int covered = 0;
        for (int p = 0; p < PIXELS; p++) largest = fmax(largest, fabs(luma(image + 3 * p) - corner));
        for (int p = 0; p < PIXELS; p++) covered += fabs(luma(image + 3 * p) - corner) > largest / 2;
        if (largest < 0.25) fail_msg("image %d: contrast %.2f", i, largest);
        if (covered < PIXELS / 20 || covered > PIXELS / 2)
            fail_msg("image %d: %d pixels are shape", i, covered);
    }
    dataset_close(&set);
}

/* The same scene at two resolutions: averaging blocks of the finer gives the coarser, nearly. */
static void scenes_do_not_depend_on_the_resolution(void **state) {
    (void)state;
    enum { COUNT = 100, FINE = 64, COARSE = 16, BLOCK = FINE / COARSE };
    Dataset fine = shapes_open(FINE, COUNT, 5), coarse = shapes_open(COARSE, COUNT, 5);
    double difference = 0;
    for (int i = 0; i < COUNT * COARSE * COARSE * 3; i++) {
        const int c = i % 3, x = i / 3 % COARSE, y = i / 3 / COARSE % COARSE, n = i / 3 / COARSE / COARSE;
        double mean = 0;
        for (int b = 0; b < BLOCK * BLOCK; b++) {
            const int v = y * BLOCK + b / BLOCK, u = x * BLOCK + b % BLOCK;
            mean += fine.images[((n * FINE + v) * FINE + u) * 3 + c] / (double)(BLOCK * BLOCK);
        }
        difference += fabs(mean - coarse.images[i]) / (COUNT * COARSE * COARSE * 3);
    }
    assert_true(difference < 2.5);
    dataset_close(&fine), dataset_close(&coarse);
}

static void bad_sizes_are_refused(void **state) {
    (void)state;
    Dataset set;
    Error error;
    const DataConfig tiny = {.name = "shapes", .resolution = 7},
                     huge = {.name = "shapes", .resolution = 1025};
    const DataConfig negative = {.name = "shapes", .count = -1};
    assert_false(dataset_open(&tiny, "data", &set, &error));
    assert_non_null(strstr(error.text, "data.resolution is 7; shapes can be drawn at 8 to 1024"));
    assert_false(dataset_open(&huge, "data", &set, &error));
    assert_non_null(strstr(error.text, "1025"));
    assert_false(dataset_open(&negative, "data", &set, &error));
    assert_non_null(strstr(error.text, "data.count is -1"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pixels_are_pinned),
        cmocka_unit_test(defaults_are_filled_in),
        cmocka_unit_test(classes_are_balanced),
        cmocka_unit_test(seed_changes_the_pixels_and_count_only_the_length),
        cmocka_unit_test(shape_stands_out_from_its_background),
        cmocka_unit_test(scenes_do_not_depend_on_the_resolution),
        cmocka_unit_test(bad_sizes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
