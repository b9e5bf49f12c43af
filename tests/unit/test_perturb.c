/* Damage moves every metric the way it must: distances up, shares down, further the more there is of it. */
#include "eval/evaluate.h"
#include "eval/perturb.h"
#include "eval/trivial.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "mentions.h"
#include "scratch.h"

enum { COUNT = 700 };

typedef struct Bench {
    Device *device;
    Dataset data, reference;
    uint8_t *others;
    Evaluator *evaluator;
} Bench;

static void must(bool ok, const Error *error) {
    if (!ok) fail_msg("%s", error->text);
}

/* The evaluator keeps the reference's address, hence no return by value. */
static void bench_open(Bench *b) {
    *b = (Bench){0};
    Error error;
    const DataConfig shapes = {.name = "shapes", .resolution = 16, .count = 2 * COUNT, .seed = 1};
    const EvaluationConfig config = {
        .metrics = {"fd-random", "kd-random", "precision-random", "recall-random", "coverage-random"},
        .metric_count = 5};
    must(device_open("cpu", 1, &b->device, &error) && dataset_open(&shapes, "", &b->data, &error), &error);
    b->others = real_images(&b->data, COUNT, COUNT);
    b->reference = b->data;
    b->reference.images = b->others, b->reference.count = COUNT;
    b->reference.hash = hash_bytes(b->others, 1);
    b->evaluator =
        evaluator_open(&config, &b->reference, b->device, &(SpaceFolders){scratch_folder, ""}, &error);
    must(b->evaluator != NULL, &error);
}

static void bench_close(Bench *b) {
    evaluator_close(b->evaluator);
    free(b->others);
    dataset_close(&b->data);
    device_close(b->device);
}

enum { FD, KD, KD_DEVIATION, PRECISION, RECALL, COVERAGE, VALUES };

static void judge(Bench *b, const uint8_t *images, double values[VALUES]) {
    Evaluation list[MAX_EVALUATIONS];
    Error error;
    const int count = evaluator_run(b->evaluator, images, COUNT, "as given", list, &error);
    if (count != VALUES) fail_msg("%d values: %s", count, error.text);
    assert_string_equal(list[RECALL].metric, "recall-random");
    for (int i = 0; i < VALUES; i++) values[i] = list[i].value;
}

static void damage(Bench *b, PerturbKind kind, int strength, double values[VALUES]) {
    Error error;
    uint8_t *images = perturb_images(&b->data, kind, strength, COUNT, &error);
    must(images != NULL, &error);
    judge(b, images, values);
    free(images);
}

/* The second strength and the last, which is well away from the floor. */
static void metrics_follow_the_damage(void **state) {
    (void)state;
    Bench b;
    bench_open(&b);
    double none[VALUES];
    uint8_t *real = real_images(&b.data, 0, COUNT);
    judge(&b, real, none);
    free(real);
    for (int kind = 0; kind < PERTURB_KINDS; kind++) {
        double some[VALUES], much[VALUES];
        const Perturbation *p = &perturbations[kind];
        damage(&b, (PerturbKind)kind, p->strengths[1], some);
        damage(&b, (PerturbKind)kind, p->strengths[PERTURB_STRENGTHS - 1], much);
        /* Damage to images moves distances further the more there is, and makes them less precise; what is
         * missing from a set of sound images leaves them precise and lowers recall. */
        const bool sound = kind == PERTURB_CLASSES || kind == PERTURB_DUPLICATES;
        if (!(much[FD] > 2 * none[FD] && (sound || much[FD] > some[FD])))
            fail_msg("%s: fd %g, %g, %g", p->name, none[FD], some[FD], much[FD]);
        if (!(much[KD] > none[KD] && (sound || much[KD] > some[KD])))
            fail_msg("%s: kd %g, %g, %g", p->name, none[KD], some[KD], much[KD]);
        if (!(much[COVERAGE] < some[COVERAGE] && much[COVERAGE] < none[COVERAGE] - 0.02))
            fail_msg("%s: coverage %g, %g, %g", p->name, none[COVERAGE], some[COVERAGE], much[COVERAGE]);
        if (!(sound ? much[PRECISION] > none[PRECISION] - 0.05 : much[PRECISION] < none[PRECISION]))
            fail_msg("%s: precision %g, %g", p->name, none[PRECISION], much[PRECISION]);
        if (!(much[RECALL] < none[RECALL] - 0.05))
            fail_msg("%s: recall %g, %g", p->name, none[RECALL], much[RECALL]);
    }
    bench_close(&b);
}

static void damage_is_repeatable_and_says_what_it_cannot(void **state) {
    (void)state;
    Dataset data;
    Error error;
    const DataConfig shapes = {.name = "shapes", .resolution = 8, .count = 40, .seed = 1};
    must(dataset_open(&shapes, "", &data, &error), &error);
    for (int kind = 0; kind < PERTURB_KINDS; kind++) {
        uint8_t *a = perturb_images(&data, (PerturbKind)kind, 3, 30, &error),
                *b = perturb_images(&data, (PerturbKind)kind, 3, 30, &error);
        assert_memory_equal(a, b, 30 * image_size(&data));
        free(a);
        free(b);
    }
    assert_null(perturb_images(&data, PERTURB_CLASSES, 10, 5, &error));
    assert_mentions(&error, "10 cannot be missing");
    Dataset unlabelled = data;
    unlabelled.labels = NULL;
    assert_null(perturb_images(&unlabelled, PERTURB_CLASSES, 1, 5, &error));
    assert_mentions(&error, "has 0 classes");
    dataset_close(&data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(metrics_follow_the_damage),
        cmocka_unit_test(damage_is_repeatable_and_says_what_it_cannot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
