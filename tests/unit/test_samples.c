/* What evaluations and `sample` ask for: the noise levels of any number of steps, and the labels of seeds. */
#include "eval/image_set.h"
#include "command/sample_files.h"
#include "worker/samples.h"
#include "base/npy.h"
#include "base/philox.h"
#include "config/config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "mentions.h"
#include "near.h"
#include "scratch.h"

static void test_levels_of_any_number_of_steps(void **state) {
    (void)state;
    Config config = config_default();
    EvaluationConfig *evaluation = &config.evaluation;
    SamplerConfig one = sampler_levels(&config.ct, evaluation, 1),
                  two = sampler_levels(&config.ct, evaluation, 2);
    assert_true(one.nfe == 1 && two.nfe == 2 && two.sigmas[0] == 0.821);
    evaluation->sigma_count = 2, evaluation->sigmas[0] = 5, evaluation->sigmas[1] = 0.5;
    const SamplerConfig three = sampler_levels(&config.ct, evaluation, 3);
    assert_true(three.nfe == 3 && three.sigmas[0] == 5 && three.sigmas[1] == 0.5);
    assert_true(sampler_levels(&config.ct, evaluation, 2).sigmas[0] == 0.821);
    /* None are given for 16 steps: the inner points of the grid of 17, from above. */
    const SamplerConfig most = sampler_levels(&config.ct, evaluation, MOST_NFE);
    for (int i = 0; i < MOST_NFE - 1; i++)
        NEAR(most.sigmas[i], ct_sigma(&config.ct, MOST_NFE - 1 - i, MOST_NFE + 1), 0);
    assert_true(most.sigmas[0] < 80 && most.sigmas[MOST_NFE - 2] > 0.002);
}

static void test_labels_in_turn(void **state) {
    (void)state;
    const int32_t some[3] = {4, 9, 4};
    const LabelSource named = {LABELS_IN_TURN, some, 3}, all = {.rule = LABELS_IN_TURN};
    for (uint32_t seed = 0; seed < 20; seed++) {
        assert_int_equal(label_of_seed(&named, 10, seed), some[seed % 3]);
        assert_int_equal(label_of_seed(&all, 10, seed), seed % 10);
    }
}

/* A data set of 60 %, 30 %, 10 % and a class that never comes: drawn labels are as frequent, within four
 * standard deviations, and no seed's label depends on another's. */
static void test_labels_by_frequency(void **state) {
    (void)state;
    enum { DRAWS = 20000 };
    int32_t labels[10] = {0, 0, 0, 0, 0, 0, 1, 1, 1, 2};
    const LabelSource source = {LABELS_DRAWN, labels, 10};
    int found[4] = {0};
    for (uint32_t seed = 0; seed < DRAWS; seed++) found[label_of_seed(&source, 4, seed)]++;
    assert_in_range(found[0], 12000 - 277, 12000 + 277);
    assert_in_range(found[1], 6000 - 259, 6000 + 259);
    assert_in_range(found[2], 2000 - 170, 2000 + 170);
    assert_int_equal(found[3], 0);
}

/* What reaches the network, and that pieces of a request draw as the whole does. */
static int32_t seen[600];
static bool record(void *context, const SamplerConfig *sampler, uint32_t first, int count,
                   const int32_t *labels, float *images, Error *error) {
    (void)context, (void)sampler, (void)error;
    memset(images, 0, (size_t)count * sizeof *images);
    for (int i = 0; i < count; i++) seen[first + (uint32_t)i] = labels ? labels[i] : -1;
    return true;
}

static void test_requests_carry_labels(void **state) {
    (void)state;
    int32_t labels[100];
    Error error;
    for (int i = 0; i < 100; i++) labels[i] = i % 7;
    SampleRequest request = {.sampler = {.nfe = 1}, .first = 5, .count = 590, .classes = 7, .image_size = 1};
    request.labels = (LabelSource){LABELS_DRAWN, labels, 100};
    free(samples_draw(&request, record, NULL, &error));
    for (uint32_t seed = 5; seed < 595; seed++)
        assert_int_equal(seen[seed], label_of_seed(&request.labels, 7, seed));
    request.classes = 0;
    free(samples_draw(&request, record, NULL, &error));
    for (int seed = 5; seed < 595; seed++) assert_int_equal(seen[seed], -1);
}

/* ---- files ---- */

enum { SIDE = 8, CHANNELS = 3, IMAGES = 5, IMAGE = SIDE * SIDE * CHANNELS };

static float noise_at(int n, int c, int p) {
    const RandomKey key = {1, STREAM_EVALUATE, 0, (uint32_t)n};
    const int i = p * CHANNELS + c;
    return random_normal4(random_block(key, (uint32_t)i / 4)).x[i % 4];
}

static bool latents_try(const NpyArray *array, float **latents, int *count, Error *error) {
    const NpzMember member = {"z", *array};
    Error why;
    if (!npz_write(scratch("z.npz"), &member, 1, &why)) fail_msg("%s", why.text);
    return latents_read(scratch("z.npz"), SIDE, CHANNELS, latents, count, error);
}

static void test_latents_in_both_orders(void **state) {
    (void)state;
    static float planar[IMAGES * IMAGE], packed[IMAGES * IMAGE];
    float *latents;
    int count;
    Error error;
    for (int n = 0; n < IMAGES; n++)
        for (int c = 0; c < CHANNELS; c++)
            for (int p = 0; p < SIDE * SIDE; p++) {
                planar[n * IMAGE + c * SIDE * SIDE + p] = noise_at(n, c, p);
                packed[n * IMAGE + p * CHANNELS + c] = noise_at(n, c, p);
            }
    const NpyArray first = {NPY_F32, 4, {IMAGES, CHANNELS, SIDE, SIDE}, planar},
                   last = {NPY_F32, 4, {IMAGES, SIDE, SIDE, CHANNELS}, packed},
                   wrong = {NPY_F32, 4, {IMAGES, SIDE, CHANNELS, SIDE}, packed};
    assert_true(latents_try(&first, &latents, &count, &error) && count == IMAGES);
    assert_memory_equal(latents, packed, sizeof packed);
    free(latents);
    assert_true(latents_try(&last, &latents, &count, &error));
    assert_memory_equal(latents, packed, sizeof packed);
    free(latents);
    assert_false(latents_try(&wrong, &latents, &count, &error));
    assert_mentions(&error, "8 x 3 x 8");
    packed[2 * IMAGE + 5] = NAN;
    assert_false(latents_try(&last, &latents, &count, &error));
    assert_mentions(&error, "latent 2 holds nan");
    for (int i = 0; i < IMAGES * IMAGE; i++) planar[i] *= 80;
    assert_false(latents_try(&first, &latents, &count, &error));
    assert_mentions(&error, "sigma_max is multiplied here");
}

/* What is written as EDM's zip, OpenAI's npz or a folder is read back as the same bytes. */
static void test_images_in_every_form(void **state) {
    (void)state;
    static uint8_t images[IMAGES * IMAGE];
    static const char *const forms[] = {"a.npz", "a.zip", "folder"};
    const int32_t labels[IMAGES] = {3, 1, 4, 1, 5};
    for (int i = 0; i < IMAGES * IMAGE; i++) images[i] = (uint8_t)(i * 7 + i / 50);
    const SampleImages of = {images, IMAGES, SIDE, CHANNELS, 40, labels};
    Error error;
    for (int i = 0; i < 3; i++) {
        ImageSet set;
        if (!sample_images_write(scratch(forms[i]), &of, &error) ||
            !image_set_read(scratch(forms[i]), false, &set, &error))
            fail_msg("%s", error.text);
        assert_int_equal(set.data.count, IMAGES);
        assert_memory_equal(set.images, images, sizeof images);
        image_set_free(&set);
    }
    Dataset data; /* labels travel with the zip, as the importer reads them */
    if (!dataset_import("back", scratch("a.zip"), scratch_folder, &error) ||
        !dataset_open(&(DataConfig){.name = "back"}, scratch_folder, &data, &error))
        fail_msg("%s", error.text);
    assert_memory_equal(data.labels, labels, sizeof labels);
    assert_memory_equal(data.images, images, sizeof images);
    dataset_close(&data);
}

static bool draw_nan(void *context, const SamplerConfig *sampler, uint32_t first, int count,
                     const int32_t *labels, float *images, Error *error) {
    (void)context, (void)sampler, (void)first, (void)labels, (void)error;
    for (int i = 0; i < count * IMAGE; i++) images[i] = 0;
    images[2 * IMAGE + 3] = NAN;
    return true;
}

static void test_images_that_are_not_finite_are_refused(void **state) {
    (void)state;
    Error error;
    const SampleRequest request = {.sampler = {.nfe = 1}, .first = 40, .count = 4, .image_size = IMAGE};
    assert_null(samples_draw(&request, draw_nan, NULL, &error));
    assert_mentions(&error, "the image of seed 42 holds nan");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels_of_any_number_of_steps),
        cmocka_unit_test(test_labels_in_turn),
        cmocka_unit_test(test_labels_by_frequency),
        cmocka_unit_test(test_requests_carry_labels),
        IN_SCRATCH(test_latents_in_both_orders),
        IN_SCRATCH(test_images_in_every_form),
        cmocka_unit_test(test_images_that_are_not_finite_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
