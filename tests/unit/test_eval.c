/* Frechet distances with known values, damage that must raise them, the classifier, and what
 * must be refused. */
#include "eval/evaluate.h"
#include "eval/evaluation_cache.h"
#include "eval/extractor.h"
#include "eval/moments.h"
#include "base/file.h"
#include "base/philox.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/scratch.h"

enum { D = 6, ROWS = 600 };

/* rows = scale * z * diag(1 .. D) + shift, the same z for every call; `rank` < D leaves the rest constant. */
static Moments known_moments(float scale, float shift, int rank, int64_t batch) {
    float rows[ROWS * D];
    for (int i = 0; i < ROWS; i++)
        for (int k = 0; k < D; k++) {
            const RandomKey key = {1, STREAM_EVALUATE, 0, (uint32_t)i};
            const float z = random_normal4(random_block(key, (uint32_t)k / 4)).x[k % 4];
            rows[i * D + k] = (k < rank ? scale * z * (float)(k + 1) : 0) + shift;
        }
    Moments m = moments_create(D);
    for (int64_t i = 0; i < ROWS; i += batch)
        moments_add(&m, rows + i * D, i + batch <= ROWS ? batch : ROWS - i);
    return m;
}

static double distance_between(Moments a, Moments b) {
    double distance = -1;
    Error error;
    if (!frechet_distance(&a, &b, &distance, &error)) fail_msg("%s", error.text);
    moments_free(&a);
    moments_free(&b);
    return distance;
}

static double trace(Moments m) {
    double sum = 0;
    for (int k = 0; k < D; k++) sum += m.scatter[k * D + k] / (double)(m.count - 1);
    moments_free(&m);
    return sum;
}

static void test_frechet_known_values(void **state) {
    (void)state;
    const double t = trace(known_moments(1, 0, D, ROWS));
    assert_float_equal(distance_between(known_moments(1, 0, D, ROWS), known_moments(1, 0, D, 7)), 0,
                       1e-9 * t);
    assert_float_equal(distance_between(known_moments(1, 0, D, ROWS), known_moments(1, 3, D, 7)), 9 * D,
                       1e-5 * t);
    /* C2 = 4 C1: tr(C1 + 4 C1 - 2 * 2 C1) = tr C1, plus nothing for the mean's own shift */
    Moments a = known_moments(1, 0, D, ROWS), b = known_moments(2, 0, D, ROWS);
    double shift = 0;
    for (int k = 0; k < D; k++) shift += pow(a.mean[k] - b.mean[k], 2);
    assert_float_equal(distance_between(a, b), t + shift, 1e-5 * t);
}

static void test_frechet_of_singular_covariances(void **state) {
    (void)state;
    const double whole = trace(known_moments(1, 0, D, ROWS)), part = trace(known_moments(1, 0, 3, ROWS));
    Moments a = known_moments(1, 0, D, ROWS), b = known_moments(1, 0, 3, ROWS);
    double lost = 0;
    for (int k = 3; k < D; k++) lost += a.mean[k] * a.mean[k];
    /* The missing directions count with their variance, up to what the sample's correlations share. */
    assert_float_equal(distance_between(a, b), whole - part + lost, 0.02 * whole);
    assert_float_equal(distance_between(known_moments(0, 1, D, ROWS), known_moments(0, 2, D, ROWS)), D, 1e-9);
}

static void test_moments_do_not_depend_on_batches(void **state) {
    (void)state;
    Moments a = known_moments(1e-3f, 1000, D, ROWS), b = known_moments(1e-3f, 1000, D, 13);
    for (int k = 0; k < D * D; k++)
        assert_float_equal(a.scatter[k], b.scatter[k], 1e-9 * a.scatter[D * D - 1]);
    moments_free(&a);
    moments_free(&b);
}

static void test_too_few_samples_are_refused(void **state) {
    (void)state;
    const float rows[4 * D - 1][D] = {{0}};
    Moments m = moments_create(D);
    moments_add(&m, rows[0], 4 * D - 1);
    double distance;
    Error error;
    assert_false(frechet_distance(&m, &m, &distance, &error));
    assert_non_null(strstr(error.text, "at least 24"));
    moments_free(&m);
}

/* ---- on shapes ---- */

typedef struct Bench {
    Device *device;
    Dataset data;
} Bench;

static int bench_open(void **state) {
    static Bench bench;
    Error error;
    const DataConfig config = {.name = "shapes", .resolution = 16, .count = 3000, .seed = 1};
    if (scratch_make(state) || !device_open("cpu", 0, &bench.device, &error) ||
        !dataset_open(&config, scratch_folder, &bench.data, &error))
        return -1;
    *state = &bench;
    return 0;
}

static int bench_close(void **state) {
    Bench *bench = *state;
    dataset_close(&bench->data);
    device_close(bench->device);
    return scratch_remove(state);
}

static double evaluation_value(const Evaluation *list, int count, const char *metric) {
    for (int i = 0; i < count; i++)
        if (!strcmp(list[i].metric, metric)) return list[i].value;
    fail_msg("no evaluation '%s'", metric);
    return NAN;
}

static void test_distances_order_known_damage(void **state) {
    Bench *bench = *state;
    Error error;
    Evaluation list[MAX_EVALUATIONS];
    const EvaluationConfig config = {.metrics = {"fd-random"}, .metric_count = 1};
    Evaluator *e =
        evaluator_open(&config, &bench->data, bench->device, &(SpaceFolders){scratch_folder, ""}, &error);
    if (!e) fail_msg("%s", error.text);
    const int count = evaluator_reference(e, 1500, list, &error);
    const double floor = evaluation_value(list, count, "fd-random-floor");
    const double pixels = evaluation_value(list, count, "fd-random-pixels");
    const double noise = evaluation_value(list, count, "fd-random-mean-noise");
    assert_true(floor > 0 && floor < 0.05 * pixels && floor < 0.05 * noise);
    const size_t size = 16 * 16 * 3;
    uint8_t *damaged = malloc(1500 * size);
    memcpy(damaged, bench->data.images, 1500 * size);
    double last = 0;
    for (int amplitude = 0; amplitude <= 64; amplitude += 32) { /* checkerboard noise of growing strength */
        for (size_t i = 0; i < 1500 * size; i++) {
            const int v = bench->data.images[i] + ((i / 3 + i / 48) % 2 ? amplitude : -amplitude) / 2;
            damaged[i] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
        }
        assert_int_equal(evaluator_run(e, damaged, 1500, "round", list, &error), 1);
        assert_true(list[0].value > 2 * last);
        last = list[0].value;
    }
    assert_int_equal(evaluator_run(e, damaged, 100, "round", list, &error),
                     -1); /* fewer than four a dimension */
    free(damaged);
    evaluator_close(e);
}

/* The floor from the reference's own pass is that from kept features, and what is read from the cache is what
 * was written there. */
static void test_floor_comes_with_the_reference(void **state) {
    Bench *bench = *state;
    Error error;
    char folder[1024];
    Evaluation one[MAX_EVALUATIONS], both[MAX_EVALUATIONS], again[MAX_EVALUATIONS];
    const EvaluationConfig alone = {.metrics = {"fd-random"}, .metric_count = 1},
                           rows = {.metrics = {"fd-random", "kd-random"}, .metric_count = 2};
    const SpaceFolders folders = {path_join(folder, scratch_folder, "beside"), ""};
    const struct {
        const EvaluationConfig *config;
        Evaluation *list;
        int numbers;
    } cases[] = {{&alone, one, 3}, {&rows, both, 9}, {&alone, again, 3}};
    for (int i = 0; i < 3; i++) {
        Evaluator *e = evaluator_open(cases[i].config, &bench->data, bench->device, &folders, &error);
        if (!e) fail_msg("%s", error.text);
        assert_int_equal(evaluator_reference(e, 1100, cases[i].list, &error), cases[i].numbers);
        evaluator_close(e);
    }
    const double floor = one[0].value;
    assert_float_equal(evaluation_value(both, 9, "fd-random-floor"), floor, 1e-9 * floor);
    assert_int_equal(one[0].samples, 1100);
    for (int i = 0; i < 3; i++)
        assert_true(one[i].value == again[i].value && one[i].samples == again[i].samples &&
                    !strcmp(one[i].metric, again[i].metric) && !strcmp(one[i].protocol, again[i].protocol) &&
                    !strcmp(one[i].features_hash, again[i].features_hash) &&
                    !strcmp(one[i].reference_hash, again[i].reference_hash));
}

static void test_a_damaged_cache_is_not_believed(void **state) {
    (void)state;
    Error error;
    Evaluation back[2];
    const Hash key = hash_bytes("key", 3), other = hash_bytes("other", 5);
    const Evaluation list[2] = {{.metric = "fd-x", .value = 1.0 / 3, .samples = 7, .protocol = "a; b"},
                                {.metric = "kd-x", .value = -1e-300}};
    char name[64], path[1024], *bytes;
    size_t size;
    assert_true(evaluations_write(scratch_folder, &key, list, 2, &error));
    assert_int_equal(evaluations_read(scratch_folder, &key, back, 2), 2);
    assert_true(back[0].value == list[0].value && back[1].value == list[1].value && back[0].samples == 7);
    assert_string_equal(back[0].protocol, "a; b");
    assert_int_equal(evaluations_read(scratch_folder, &key, back, 1), -1);
    assert_int_equal(evaluations_read(scratch_folder, &other, back, 2), -1);
    snprintf(name, sizeof name, "beside-%.32s.tsv", key.hex);
    assert_true(file_read(path_join(path, scratch_folder, name), &bytes, &size, &error));
    for (size_t cut = 0; cut + 1 < size; cut++) { /* all but the last newline */
        assert_true(file_write_atomic(path, bytes, cut, &error));
        assert_int_equal(evaluations_read(scratch_folder, &key, back, 2), -1);
    }
    free(bytes);
}

static void test_classifier_learns_and_is_cached(void **state) {
    Bench *bench = *state;
    Error error;
    Evaluation first[MAX_EVALUATIONS], again[MAX_EVALUATIONS];
    const EvaluationConfig config = {.metrics = {"classifier"}, .metric_count = 1};
    Evaluator *e =
        evaluator_open(&config, &bench->data, bench->device, &(SpaceFolders){scratch_folder, ""}, &error);
    if (!e) fail_msg("%s", error.text);
    const int count = evaluator_reference(e, 1000, first, &error);
    assert_int_equal(count, 12);
    assert_true(evaluation_value(first, count, "classifier-accuracy") > 0.7);
    evaluator_close(e);
    e = evaluator_open(&config, &bench->data, bench->device, &(SpaceFolders){scratch_folder, ""}, &error);
    if (!e) fail_msg("%s", error.text);
    assert_int_equal(evaluator_reference(e, 1000, again, &error), count);
    for (int i = 0; i < count; i++) assert_true(first[i].value == again[i].value);
    evaluator_close(e);
}

static void test_random_features_are_everybodys(void **state) {
    Bench *bench = *state;
    Extractor *a = extractor_random(&bench->data, bench->device),
              *b = extractor_random(&bench->data, bench->device);
    assert_string_equal(a->hash.hex, b->hash.hex);
    extractor_close(a);
    extractor_close(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frechet_known_values),
        cmocka_unit_test(test_frechet_of_singular_covariances),
        cmocka_unit_test(test_moments_do_not_depend_on_batches),
        cmocka_unit_test(test_too_few_samples_are_refused),
        cmocka_unit_test(test_distances_order_known_damage),
        cmocka_unit_test(test_floor_comes_with_the_reference),
        cmocka_unit_test(test_a_damaged_cache_is_not_believed),
        cmocka_unit_test(test_classifier_learns_and_is_cached),
        cmocka_unit_test(test_random_features_are_everybodys),
    };
    return cmocka_run_group_tests(tests, bench_open, bench_close);
}
