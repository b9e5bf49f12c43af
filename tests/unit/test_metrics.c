/* Metrics on features and logits: what the tools that people use say of the same numbers, known cases, and
 * what must be refused. */
#define GOLDEN_FILE "tests/golden/metrics.npz"
#include "eval/inception_score.h"
#include "eval/kernel_distance.h"
#include "eval/manifold.h"
#include "eval/moments.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "golden.h"

static const NpyArray *array(const char *name) {
    const NpyArray *found = npz_find(golden, golden_count, name);
    if (!found) fail_msg("no %s in the golden file", name);
    return found;
}

static Points points(const char *name) {
    const NpyArray *a = array(name);
    assert_int_equal(a->type, NPY_F32);
    return (Points){a->data, (int)a->shape[0], (int)a->shape[1]};
}

static void is_golden(double value, const char *name) {
    const double expected = *(const double *)array(name)->data;
    if (!(fabs(value - expected) <= 1e-6 * fabs(expected)))
        fail_msg("%s: %.17g, not %.17g", name, value, expected);
}

static void must(bool ok, const Error *error) {
    if (!ok) fail_msg("%s", error->text);
}

static void frechet_is_that_of_pytorch_fid(void **state) {
    (void)state;
    const Points real = points("real"), fake = points("fake");
    Moments a = moments_create(real.dimension), b = moments_create(fake.dimension);
    Error error;
    double distance = 0;
    moments_add(&a, real.rows, real.count);
    moments_add(&b, fake.rows, fake.count);
    must(frechet_distance(&a, &b, &distance, &error), &error);
    is_golden(distance, "fid");
    moments_free(&a);
    moments_free(&b);
}

static void kernel_distance_is_that_of_torch_fidelity(void **state) {
    (void)state;
    is_golden(kernel_distance(points("real"), points_part(points("fake"), 0, 300)), "kid");
}

/* Every subset of all points is the whole set: the estimate is exact and does not spread. */
static void subsets_of_everything_are_the_whole(void **state) {
    (void)state;
    const Points real = points("real"), fake = points_part(points("fake"), 0, 300);
    KernelEstimate estimate;
    Error error;
    must(kernel_estimate(real, fake, 3, 300, 1, &estimate, &error), &error);
    is_golden(estimate.mean, "kid");
    assert_true(estimate.deviation < 1e-6);
    must(kernel_estimate(real, fake, 20, 100, 1, &estimate, &error), &error);
    assert_true(estimate.deviation > 0 &&
                fabs(estimate.mean - *(const double *)array("kid")->data) < 3 * estimate.deviation);
    assert_false(kernel_estimate(real, fake, 3, 301, 1, &estimate, &error));
    assert_non_null(strstr(error.text, "subsets of 301"));
}

static void inception_score_is_that_of_torch_fidelity(void **state) {
    (void)state;
    const Points logits = points("logits");
    InceptionScore score;
    Error error;
    must(inception_score(logits.rows, logits.count, logits.dimension, 10, &score, &error), &error);
    is_golden(score.mean, "is_mean");
    is_golden(score.deviation, "is_deviation");
    assert_false(inception_score(logits.rows, 9, logits.dimension, 10, &score, &error));
}

/* Certain of a different class each time: the score is the number of classes. Large logits do
 * not overflow. */
static void certainty_scores_the_number_of_classes(void **state) {
    (void)state;
    float logits[40 * 4] = {0};
    InceptionScore score;
    Error error;
    for (int i = 0; i < 40; i++) logits[4 * i + i % 4] = 1e4f;
    must(inception_score(logits, 40, 4, 2, &score, &error), &error);
    assert_true(fabs(score.mean - 4) < 1e-12 && score.deviation < 1e-6);
}

static void neighbours_are_those_of_the_papers_codes(void **state) {
    (void)state;
    ManifoldScores scores;
    Error error;
    must(manifold_scores(points("real"), points("fake"), 3, 5, &scores, &error), &error);
    is_golden(scores.precision, "precision");
    is_golden(scores.recall, "recall");
    is_golden(scores.density, "density");
    is_golden(scores.coverage, "coverage");
}

/* Samples far away are neither precise nor do they cover; collapsed ones are precise and recall nothing. More
 * points than a block holds. */
static void known_places_score_as_they_must(void **state) {
    (void)state;
    enum { N = 2100 };
    static float line[N], far[N], one[N];
    for (int i = 0; i < N; i++)
        line[i] = (float)i, far[i] = 1e6f + (float)i, one[i] = 1000.25f + 1e-3f * (float)(i % 7);
    const Points real = {line, N, 1};
    ManifoldScores scores;
    Error error;
    must(manifold_scores(real, (Points){far, N, 1}, 3, 5, &scores, &error), &error);
    assert_true(scores.precision == 0 && scores.recall == 0 && scores.density == 0 && scores.coverage == 0);
    must(manifold_scores(real, (Points){one, N, 1}, 3, 5, &scores, &error), &error);
    assert_true(scores.precision == 1 && scores.recall == 0 && scores.coverage < 0.01);
    must(manifold_scores(real, real, 3, 5, &scores, &error), &error);
    assert_true(scores.precision == 1 && scores.recall == 1 && scores.coverage == 1);
    assert_false(manifold_scores(real, (Points){one, 5, 1}, 3, 5, &scores, &error));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frechet_is_that_of_pytorch_fid),
        cmocka_unit_test(kernel_distance_is_that_of_torch_fidelity),
        cmocka_unit_test(subsets_of_everything_are_the_whole),
        cmocka_unit_test(inception_score_is_that_of_torch_fidelity),
        cmocka_unit_test(certainty_scores_the_number_of_classes),
        cmocka_unit_test(neighbours_are_those_of_the_papers_codes),
        cmocka_unit_test(known_places_score_as_they_must),
    };
    return cmocka_run_group_tests(tests, golden_open, golden_close);
}
