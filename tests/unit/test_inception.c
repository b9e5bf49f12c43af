/* The Inception network of FID from a file against PyTorch (tests/golden/inception-narrow.safetensors and
 * inception.npz, made by scripts/golden_inception.py): both conventions of input, enlarging and shrinking,
 * features and logits; batches; and what takes the file and what refuses it. Also the rooms that the
 * network's branches write into. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
static const char *golden_path = "tests/golden/inception.npz"; /* or the first argument */
#define GOLDEN_FILE golden_path
#include "golden.h"
#include "mentions.h"
#include "feature_file.h"
#include "base/file.h"
#include "eval/space.h"
#include "train/features.h"
#include "train/features_inception.h"

static const char *NARROW = "tests/golden/inception-narrow.safetensors"; /* or the second argument */
static bool tells;                                                       /* how near the results are */
enum { BLOCK = 10 };

static InceptionNetwork *network_open(int size, InceptionInput input) {
    Error error;
    InceptionNetwork *network =
        inception_open(NARROW, NULL, &(InceptionRequest){size, size, input, false}, device, &error);
    if (!network) fail_msg("%s", error.text);
    return network;
}

/* The golden images as bytes, every pixel of them a block of block x block. */
static uint8_t *images_make(int block, int *size) {
    const Tensor x = golden_tensor("small", "images");
    const float *from = x.data;
    *size = x.h * block;
    uint8_t *images = array_poisoned((size_t)x.n * (size_t)*size * (size_t)*size * 3), *to = images;
    for (int i = 0; i < x.n; i++)
        for (int y = 0; y < *size; y++)
            for (int column = 0; column < *size; column++)
                for (int c = 0; c < 3; c++)
                    *to++ = (uint8_t)from[((i * x.h + y / block) * x.w + column / block) * 3 + c];
    return images;
}

static InceptionResult result_make(const InceptionNetwork *network, int count) {
    const int64_t classes = inception_classes(network);
    return (InceptionResult){floats_poisoned(count * (int64_t)inception_dimension(network)),
                             floats_poisoned(count * classes), floats_poisoned(count * classes)};
}

/* ---- against PyTorch ---- */

/* In float64, to 1e-4 of the largest value: what the published tools keep in float32, and no more. */
static void result_check(const float *found, const char *prefix, const char *key) {
    const Tensor expected = golden_tensor(prefix, key);
    const int64_t count = tensor_count(&expected);
    const double *values = doubles_of(expected.data, count), off = distance_between(found, values, count);
    if (tells) printf("# %s.%s %.2g\n", prefix, key, off);
    check_near(found, values, count, 1e-4, prefix);
}

static void golden_case(const char *name, int block, InceptionInput input) {
    char prefix[32];
    int size;
    const uint8_t *images = images_make(block, &size);
    InceptionNetwork *network = network_open(size, input);
    const InceptionResult result = result_make(network, 2);
    snprintf(prefix, sizeof prefix, "%s.%s", name, inception_input_name(input));
    inception_run(network, images, 2, result);
    result_check(result.features, prefix, "features");
    result_check(result.logits, prefix, "logits");
    result_check(result.scores, prefix, "scores");
    inception_close(network);
}

static void test_small_images_are_enlarged(void **state) {
    (void)state;
    golden_case("small", 1, INCEPTION_TF1);
    golden_case("small", 1, INCEPTION_PYTORCH_FID);
}

static void test_large_images_are_shrunk(void **state) {
    (void)state;
    golden_case("large", BLOCK, INCEPTION_TF1);
    golden_case("large", BLOCK, INCEPTION_PYTORCH_FID);
}

/* Eight go through at a time; nine images give what each gives alone, bit for bit. */
static void test_features_do_not_depend_on_the_batch(void **state) {
    (void)state;
    enum { COUNT = 9 };
    int size;
    const uint8_t *two = images_make(1, &size);
    const size_t image = (size_t)size * (size_t)size * 3;
    uint8_t *images = array_poisoned(COUNT * image);
    for (int i = 0; i < COUNT; i++) memcpy(images + (size_t)i * image, two + (size_t)(i % 2) * image, image);
    InceptionNetwork *network = network_open(size, INCEPTION_TF1);
    const int dimension = inception_dimension(network), classes = inception_classes(network);
    assert_int_equal(dimension, 2048 / 16);
    assert_int_equal(classes, 1008 / 16);
    const InceptionResult all = result_make(network, COUNT), one = result_make(network, 1);
    inception_run(network, images, COUNT, all);
    for (int i = 0; i < COUNT; i += COUNT - 1) {
        inception_run(network, images + (size_t)i * image, 1, one);
        check_same_bits(all.features + i * dimension, one.features, dimension, "one image");
        check_same_bits(all.scores + i * classes, one.scores, classes, "one image");
    }
    inception_run(network, images, COUNT, (InceptionResult){0}); /* nothing wanted, nothing written */
    inception_close(network);
}

/* ---- the spaces of metrics ---- */

/* Both conventions are spaces of their own, with hashes of their own; logits are those without bias. */
static void space_case(const char *name, const char *golden_name, Hash *hash) {
    int size;
    Error error;
    Space space;
    const uint8_t *images = images_make(1, &size);
    const Dataset like = {.height = size, .width = size, .channels = 3};
    const SpaceFolders folders = {"", scratch("spaces")};
    if (!space_open(name, &like, device, &folders, &space, &error)) fail_msg("%s", error.text);
    float *features = floats_poisoned(2 * (int64_t)space.dimension),
          *logits = floats_poisoned(2 * (int64_t)space.classes);
    space.run(space.network, images, 2, features, logits);
    result_check(features, golden_name, "features");
    result_check(logits, golden_name, "scores");
    *hash = space.hash;
    space_close(&space);
}

static void test_spaces(void **state) {
    (void)state;
    Error error = {0};
    Hash own, tf1, half;
    char folder[1100], file[1200];
    if (!features_import("inception-own", NARROW, scratch("spaces"), &error)) fail_msg("%s", error.text);
    assert_false(space_available("inception", NULL, scratch("spaces"), &error));
    assert_true(space_available("inception-own", NULL, scratch("spaces"), &error));
    space_case("inception-own", "small.tf1", &own);
    /* behind the importer's back: it would not take these weights */
    snprintf(folder, sizeof folder, "%s/inception", scratch("spaces"));
    snprintf(file, sizeof file, "%s/weights.safetensors", folder);
    char *bytes;
    size_t length;
    assert_true(file_read(NARROW, &bytes, &length, &error) && folder_make(folder, &error) &&
                file_write_atomic(file, bytes, length, &error));
    free(bytes);
    space_case("inception", "small.tf1", &tf1);
    space_case("pytorch-fid", "small.pytorch-fid", &half);
    assert_string_equal(own.hex, tf1.hex);
    assert_string_not_equal(tf1.hex, half.hex);
    Space space;
    const Dataset grey = {.height = 32, .width = 32, .channels = 1};
    const SpaceFolders folders = {"", scratch("spaces")};
    assert_false(space_open("inception", &grey, device, &folders, &space, &error));
    assert_mentions(&error, "3 channels");
}

/* ---- files ---- */

static void refused(const char *name, const char *path, const char *words[4]) {
    Error error = {0};
    assert_false(features_import(name, path, scratch("weights"), &error));
    for (int i = 0; i < 4 && words[i]; i++) assert_mentions(&error, words[i]);
}
#define REFUSED(name, path, ...) refused(name, path, (const char *[4]){__VA_ARGS__})

static void test_wrong_files_are_refused(void **state) {
    (void)state;
    REFUSED("inception", NARROW, "not the published weights", "6726825d", "another name");
    REFUSED("inception", "pt_inception-2015-12-05-6726825d.pth", "PyTorch file", "convert_features.py");
    REFUSED("own", classifier_write("other.safetensors", "inception", NULL), "Conv2d_1a_3x3.conv.weight");
    Error error = {0};
    char path[1024];
    Hash hash;
    assert_false(features_find("inception", scratch("weights"), path, &hash, &error));
    assert_mentions(&error, "pt_inception-2015-12-05-6726825d.pth");
    assert_mentions(&error, "eval --features");
}

static void test_import_and_open(void **state) {
    (void)state;
    Error error = {0};
    char path[1024];
    Hash hash;
    FeatureNetwork perceptual;
    const FeatureRequest images = {.n = 1, .h = 32, .w = 32, .c = 3};
    const InceptionRequest request = {32, 32, INCEPTION_TF1, false};
    const char *vgg = "tests/golden/vgg16-narrow.safetensors";
    if (!features_import("own", NARROW, scratch("weights"), &error)) fail_msg("%s", error.text);
    if (!features_find("own", scratch("weights"), path, &hash, &error)) fail_msg("%s", error.text);
    InceptionNetwork *network = inception_open(path, hash.hex, &request, device, &error);
    assert_non_null(network);
    inception_close(network);
    assert_null(inception_open(path, "c0ffee", &request, device, &error));
    assert_mentions(&error, "SHA-256");
    assert_null(inception_open(vgg, NULL, &request, device, &error));
    assert_mentions(&error, "holds a vgg16");
    assert_false(features_open(NARROW, NULL, &images, device, &perceptual, &error));
    assert_mentions(&error, "has no gradients");
}

/* ---- rooms ---- */

static PartNode part_make(Value room, int first, int c_out, ParamOffset weight, ParamOffset bias,
                          Activation activation) {
    return (PartNode){room, first, c_out, weight, bias, activation};
}

/* Three 1x1 convolutions of one x in a room and outside it, and pooled values beside them. */
static void test_rooms(void **state) {
    (void)state;
    enum { IN = 3, ROWS = 2 * 3 * 4, A = 2, B = 5, C = 1, ALL = A + B + IN };
    float values[IN * (A + B + C) + A + C];
    const ParamOffset weight_b = IN * A, weight_c = weight_b + IN * B, bias_a = weight_c + IN * C,
                      bias_c = bias_a + A;
    Graph *graph = graph_create();
    graph_freeze(graph);
    const Value x = graph_input(graph, "x", DTYPE_F32, 2, 3, 4, IN, false);
    const Value room = graph_room(graph, 2, 3, 4, ALL), alone = graph_room(graph, 2, 3, 4, C);
    const PartNode parts[] = {part_make(room, 0, A, 0, bias_a, ACT_RELU),
                              part_make(room, A, B, weight_b, NO_PARAM, ACT_NONE),
                              part_make(alone, 0, C, weight_c, bias_c, ACT_NONE)};
    graph_conv_parts(graph, x, (ConvNode){.kernel_h = 1, .kernel_w = 1, .stride = 1}, parts, 3);
    graph_pool_part(graph, x, POOL_MAX, 1, 1, 0, part_make(room, A + B, IN, 0, NO_PARAM, ACT_RELU));
    graph_output(graph, room);
    graph_output(graph, alone);
    graph_prepare(graph, device, false);
    const Tensor in = tensor_random(2, 3, 4, IN);
    for (int i = 0; i < LENGTH(values); i++) values[i] = (float)(i % 7) - 2.5f;
    graph_bind(graph, x, in.data);
    graph_forward(graph, GRAPH_EVALUATE, &(GraphRun){.master = values, .cast = values});
    const Tensor y = graph_value(graph, GRAPH_EVALUATE, room), z = graph_value(graph, GRAPH_EVALUATE, alone);
    for (int row = 0; row < ROWS; row++) {
        const float *v = (const float *)in.data + row * IN, *got = (const float *)y.data + row * ALL;
        for (int o = 0; o < A + B + C; o++) {
            double sum = o < A ? (double)values[bias_a + o] : o < A + B ? 0 : (double)values[bias_c];
            for (int c = 0; c < IN; c++) sum += (double)values[o * IN + c] * (double)v[c];
            if (o < A) sum = fmax(sum, 0);
            assert_float_equal(o < A + B ? got[o] : ((const float *)z.data)[row], sum, 1e-4);
        }
        for (int c = 0; c < IN; c++) assert_float_equal(got[A + B + c], fmax((double)v[c], 0), 0);
    }
    graph_free(graph);
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
    return cmocka_run_group_tests_name("inception", tests, files_open, files_close);
}

int main(int argc, char **argv) {
    if (argc == 3) return other_check(argv[1], argv[2]);
    const struct CMUnitTest tests[] = {
        OP_TEST(test_small_images_are_enlarged),
        OP_TEST(test_large_images_are_shrunk),
        OP_TEST(test_features_do_not_depend_on_the_batch),
        OP_TEST(test_spaces),
        OP_TEST(test_wrong_files_are_refused),
        OP_TEST(test_import_and_open),
        OP_TEST(test_rooms),
    };
    return cmocka_run_group_tests_name("inception", tests, files_open, files_close);
}
