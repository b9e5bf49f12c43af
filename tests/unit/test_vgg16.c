/* VGG-16's second fully connected layer, whose features precision and recall compare, from a file against
 * PyTorch (tests/golden/vgg16-fc2-narrow.safetensors and vgg16.npz, made by scripts/golden_vgg16.py): images
 * enlarged and shrunk, batches; and what takes the file and what refuses it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
static const char *golden_path = "tests/golden/vgg16.npz"; /* or the first argument */
#define GOLDEN_FILE golden_path
#include "golden.h"
#include "mentions.h"
#include "feature_file.h"
#include "eval/evaluate.h"
#include "eval/extractor.h"
#include "eval/space.h"
#include "train/features.h"

static const char *NARROW = "tests/golden/vgg16-fc2-narrow.safetensors"; /* or the second argument */
static bool tells;                                                       /* how near the results are */
enum { BLOCK = 10 };

/* The golden images as bytes, every pixel of them a block of block x block. */
static uint8_t *images_make(int block, Dataset *like) {
    const Tensor x = golden_tensor("small", "images");
    const float *from = x.data;
    const int size = x.h * block;
    uint8_t *images = array_poisoned((size_t)x.n * (size_t)size * (size_t)size * 3), *to = images;
    *like = (Dataset){.height = size, .width = size, .channels = 3};
    for (int i = 0; i < x.n; i++)
        for (int y = 0; y < size; y++)
            for (int column = 0; column < size; column++)
                for (int c = 0; c < 3; c++)
                    *to++ = (uint8_t)from[((i * x.h + y / block) * x.w + column / block) * 3 + c];
    return images;
}

static Extractor *narrow_open(const Dataset *like) {
    Error error;
    Hash hash;
    if (!hash_file(NARROW, &hash, &error)) fail_msg("%s", error.text);
    Extractor *extractor = extractor_open(like, device, FEATURES_VGG16_FC2, NARROW, &hash, &error);
    if (!extractor) fail_msg("%s", error.text);
    return extractor;
}

/* ---- against PyTorch ---- */

/* In float64, to 1e-4 of the largest value. */
static void golden_case(const char *name, int block) {
    Dataset like;
    const uint8_t *images = images_make(block, &like);
    Extractor *extractor = narrow_open(&like);
    const Tensor expected = golden_tensor(name, "features");
    const int64_t count = tensor_count(&expected);
    assert_int_equal(count, 2 * extractor->dimension);
    float *features = floats_poisoned(count);
    extractor_run(extractor, images, 2, features);
    const double *values = doubles_of(expected.data, count);
    if (tells) printf("# %s.features %.2g\n", name, distance_between(features, values, count));
    check_near(features, values, count, 1e-4, name);
    extractor_close(extractor);
}

static void test_small_images_are_enlarged(void **state) {
    (void)state;
    golden_case("small", 1);
}

static void test_large_images_are_shrunk(void **state) {
    (void)state;
    golden_case("large", BLOCK);
}

/* Four go through at a time; five images give what each gives alone, bit for bit. */
static void test_features_do_not_depend_on_the_batch(void **state) {
    (void)state;
    enum { COUNT = 5 };
    Dataset like;
    const uint8_t *two = images_make(1, &like);
    const size_t image = (size_t)like.height * (size_t)like.width * 3;
    uint8_t *images = array_poisoned(COUNT * image);
    for (int i = 0; i < COUNT; i++) memcpy(images + (size_t)i * image, two + (size_t)(i % 2) * image, image);
    Extractor *extractor = narrow_open(&like);
    const int dimension = extractor->dimension;
    float *all = floats_poisoned(COUNT * (int64_t)dimension), *one = floats_poisoned(dimension);
    extractor_run(extractor, images, COUNT, all);
    for (int i = 0; i < COUNT; i += COUNT - 1) {
        extractor_run(extractor, images + (size_t)i * image, 1, one);
        check_same_bits(all + i * dimension, one, dimension, "one image");
    }
    extractor_close(extractor);
}

/* ---- the space of metrics ---- */

static void test_space(void **state) {
    (void)state;
    Error error = {0};
    Space space;
    Dataset like;
    const uint8_t *images = images_make(1, &like);
    const SpaceFolders folders = {"", scratch("spaces")};
    const EvaluationConfig official = {.metrics = {"recall-vgg16"}, .metric_count = 1},
                           own = {.metrics = {"recall-vgg16-own"}, .metric_count = 1};
    if (!features_import("vgg16-own", NARROW, folders.weights, &error)) fail_msg("%s", error.text);
    assert_true(evaluation_check(&own, NULL, folders.weights, &error));
    assert_false(evaluation_check(&official, NULL, folders.weights, &error));
    assert_mentions(&error, "vgg16-397923af.pth");
    assert_mentions(&error, "convert_features.py vgg16-fc2");
    assert_mentions(&error, "eval --features");
    if (!space_open("vgg16-own", &like, device, &folders, &space, &error)) fail_msg("%s", error.text);
    const Tensor expected = golden_tensor("small", "features");
    float *features = floats_poisoned(tensor_count(&expected));
    space.run(space.network, images, 2, features, NULL);
    check_golden((Tensor){features, DTYPE_F32, 1, 1, 2, space.dimension}, "small", "features", 1e-4);
    space_close(&space);
    const Dataset grey = {.height = 32, .width = 32, .channels = 1};
    assert_false(space_open("vgg16-own", &grey, device, &folders, &space, &error));
    assert_mentions(&error, "3 channels");
}

/* ---- files ---- */

static void refused(const char *name, const char *path, const char *word) {
    Error error = {0};
    assert_false(features_import(name, path, scratch("weights"), &error));
    assert_mentions(&error, word);
}

static void test_wrong_files_are_refused(void **state) {
    (void)state;
    const char *lpips = "tests/golden/vgg16-narrow.safetensors";
    const FeatureRequest request = {.n = 1, .h = 32, .w = 32, .c = 3};
    const Dataset like = {.height = 32, .width = 32, .channels = 3};
    FeatureNetwork perceptual;
    Error error = {0};
    Hash hash;
    refused("vgg16", NARROW, "not the published weights");
    refused("vgg16", lpips, "not the published weights");
    refused("own", classifier_write("other.safetensors", "vgg16-fc2", NULL), "features.0.weight");
    assert_false(features_open(NARROW, NULL, &request, device, &perceptual, &error));
    assert_mentions(&error, "has no gradients");
    assert_true(hash_file(lpips, &hash, &error));
    assert_null(extractor_open(&like, device, FEATURES_VGG16_FC2, lpips, &hash, &error));
    assert_mentions(&error, "holds a vgg16, not a vgg16-fc2");
    assert_null(extractor_open(&like, device, FEATURES_VGG16_FC2, NARROW, &hash, &error));
    assert_mentions(&error, "SHA-256");
}

static int files_open(void **state) {
    return golden_open(state) || scratch_make(state);
}

static int files_close(void **state) {
    return golden_close(state) || scratch_remove(state);
}

#define OP_TEST(name) cmocka_unit_test_setup_teardown(name, arrays_setup, arrays_teardown)

/* For scripts/check_features.py: the small images with other weights, and how near they come. */
static int other_check(const char *golden, const char *weights) {
    const struct CMUnitTest tests[] = {OP_TEST(test_small_images_are_enlarged)};
    golden_path = golden, NARROW = weights, tells = true;
    return cmocka_run_group_tests_name("vgg16", tests, files_open, files_close);
}

int main(int argc, char **argv) {
    if (argc == 3) return other_check(argv[1], argv[2]);
    const struct CMUnitTest tests[] = {
        OP_TEST(test_small_images_are_enlarged),
        OP_TEST(test_large_images_are_shrunk),
        OP_TEST(test_features_do_not_depend_on_the_batch),
        OP_TEST(test_space),
        OP_TEST(test_wrong_files_are_refused),
    };
    return cmocka_run_group_tests_name("vgg16", tests, files_open, files_close);
}
