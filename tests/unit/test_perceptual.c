/* Perceptual distances end to end: a VGG-16 with LPIPS heads from a file against PyTorch (tests/golden/
 * vgg16-narrow.safetensors and perceptual.npz, made by scripts/golden_perceptual.py), gradients for images, a
 * classifier as feature network, training with the distance; and the store of such files, which takes nothing
 * that it could not use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
static const char *golden_path = "tests/golden/perceptual.npz";
#define GOLDEN_FILE golden_path
#include "golden.h"
#include "mentions.h"
#include "feature_file.h"
#include "training.h"
#include "model/classifier.h"
#include "train/features.h"

static const char *VGG = "tests/golden/vgg16-narrow.safetensors";

static FeatureNetwork network_open(const char *path, FeatureRequest request) {
    FeatureNetwork network;
    Error error;
    if (!features_open(path, NULL, &request, device, &network, &error)) fail_msg("%s", error.text);
    return network;
}

/* ---- against PyTorch ---- */

static FeatureRequest golden_request(Tensor x, int size, PoolKind pool) {
    return (FeatureRequest){.n = x.n, .h = x.h, .w = x.w, .c = x.c, .pool = pool, .size = size ? size : x.h};
}

static void taps_check(const FeatureNetwork *network, const char *name, Tensor x) {
    const GraphRun run = {.master = network->weights, .cast = network->weights};
    graph_bind(network->graph, network->input, x.data);
    graph_forward(network->graph, GRAPH_EVALUATE, &run);
    assert_int_equal(network->taps, 5);
    for (int i = 0; i < network->taps; i++) {
        char key[16];
        snprintf(key, sizeof key, "tap%d", i);
        check_golden(graph_value(network->graph, GRAPH_EVALUATE, network->tap[i]), name, key, 5e-6);
    }
}

static void golden_check(const char *name, int size, PoolKind pool) {
    const Tensor x0 = golden_tensor(name, "x0"), x1 = golden_tensor(name, "x1"), dx = tensor_like(x0);
    const Level level[2] = {{.weight = 1}, {.weight = 1}};
    float distance[2];
    FeatureNetwork network = network_open(VGG, golden_request(x0, size, pool));
    taps_check(&network, name, x0);
    Perceptual *perceptual = perceptual_create(&network, device);
    perceptual_run(perceptual, &(PerceptualRun){x0, x1, dx, level, 1, distance});
    check_golden((Tensor){distance, DTYPE_F32, 1, 1, 1, 2}, name, "d", 5e-6);
    check_golden(dx, name, "dx", 2e-5);
    perceptual_free(perceptual);
    features_close(&network, device);
}

static void test_lpips_is_pytorchs(void **state) {
    (void)state;
    golden_check("plain", 0, POOL_MAX);
    golden_check("resized", 32, POOL_MEAN);
}

/* ---- against PyTorch at full size: scripts/check_features.py ---- */

/* Relative to the norm. */
static double norm_off(Tensor found, Tensor expected) {
    double off = 0, size = 0;
    for (int64_t i = 0; i < tensor_count(&expected); i++) {
        const double want = ((const float *)expected.data)[i];
        off += pow((double)((const float *)found.data)[i] - want, 2), size += want * want;
    }
    return sqrt(off / size);
}

static void test_other_files(void **state) {
    (void)state;
    const Tensor x0 = golden_tensor("small", "x0"), x1 = golden_tensor("small", "x1"), dx = tensor_like(x0);
    const Level level[2] = {{.weight = 1}, {.weight = 1}};
    float distance[2];
    FeatureNetwork network = network_open(VGG, golden_request(x0, 224, POOL_MAX));
    Perceptual *perceptual = perceptual_create(&network, device);
    perceptual_run(perceptual, &(PerceptualRun){x0, x1, dx, level, 1, distance});
    const Tensor d = {distance, DTYPE_F32, 1, 1, 1, 2};
    const double of_distance = norm_off(d, golden_tensor("small", "d")),
                 of_gradient = norm_off(dx, golden_tensor("small", "dx"));
    print_message("# small.d %.2g\n# small.dx %.2g\n", of_distance, of_gradient);
    assert_true(of_distance <= 1e-4 && of_gradient <= 1e-2); /* the script sets it beside PyTorch's float32 */
    perceptual_free(perceptual);
    features_close(&network, device);
}

/* ---- a classifier ---- */

/* Distances of six pairs, and sum_i weight_i d_i with its gradient; three at a time. */
typedef struct Pairs {
    FeatureNetwork network;
    Perceptual *perceptual;
    Tensor a, b, da;
    Level level[6];
    float distance[6];
} Pairs;

static double pairs_run(Pairs *p) {
    double sum = 0;
    perceptual_run(p->perceptual, &(PerceptualRun){p->a, p->b, p->da, p->level, 0.5f, p->distance});
    for (int i = 0; i < 6; i++) sum += 0.5 * (double)p->level[i].weight * p->distance[i];
    return sum;
}

static void pairs_network(Pairs *p, const char *path, FeatureRequest request) {
    p->network = network_open(path, request);
    p->perceptual = perceptual_create(&p->network, device);
}

static Pairs *pairs_open(const char *path, FeatureRequest request) {
    static Pairs pairs;
    pairs = (Pairs){.a = tensor_random(6, request.h, request.w, 3),
                    .b = tensor_random(6, request.h, request.w, 3),
                    .da = tensor_poisoned(6, request.h, request.w, 3)};
    for (int i = 0; i < 6; i++) pairs.level[i].weight = 0.5f + (float)i;
    pairs_network(&pairs, path, request);
    return &pairs;
}

static void pairs_close(Pairs *p) {
    perceptual_free(p->perceptual);
    features_close(&p->network, device);
}

/* Along the sign of the gradient, where no element's share cancels another's. */
static void pairs_gradient_check(Pairs *p) {
    const Tensor a = tensor_copy(p->a), da = p->da;
    double side[2], slope = 0;
    pairs_run(p);
    const Tensor gradient = tensor_copy(da);
    for (int64_t i = 0; i < tensor_count(&a); i++) slope += fabs((double)((float *)gradient.data)[i]);
    for (int s = 0; s < 2; s++) {
        for (int64_t i = 0; i < tensor_count(&a); i++)
            ((float *)p->a.data)[i] = ((float *)a.data)[i] +
                                      (s ? 1e-4f : -1e-4f) * (((float *)gradient.data)[i] > 0 ? 1.0f : -1.0f);
        side[s] = pairs_run(p);
    }
    assert_true(slope > 0);
    NEAR((side[1] - side[0]) / 2e-4 / slope, 1, 0.02);
}

static void test_a_classifier_measures_too(void **state) {
    (void)state;
    const char *paths[2] = {classifier_write("classifier.safetensors", "classifier", "8"),
                            residual_write("residual.safetensors", "8")};
    for (int i = 0; i < 4; i++) {
        const int size = i % 2 ? 12 : 8; /* 12: the images are brought to the 8 of the training */
        Pairs *p = pairs_open(paths[i / 2], (FeatureRequest){.n = 3, .h = size, .w = size, .c = 3});
        assert_int_equal(p->network.n, 3);
        assert_int_equal(p->network.taps, 3);
        assert_true(pairs_run(p) > 0);
        pairs_gradient_check(p);
        pairs_close(p);
    }
}

/* Half the contrast, no more: a classifier with group norm hardly sees it; with the image as a
 * tap it does. */
static void test_the_image_is_a_tap(void **state) {
    (void)state;
    const char *path = classifier_write("classifier.safetensors", "classifier", "8");
    float without[6];
    for (int i = 0; i < 2; i++) {
        Pairs *p = pairs_open(path, (FeatureRequest){.n = 3, .h = 8, .w = 8, .c = 3, .pixels = 2.0 * i});
        assert_int_equal(p->network.taps, 3 + i);
        for (int64_t k = 0; k < tensor_count(&p->a); k++)
            ((float *)p->b.data)[k] = 0.5f * ((float *)p->a.data)[k];
        pairs_run(p);
        for (int k = 0; k < 6; k++)
            if (i) assert_true(p->distance[k] > 20 * without[k]);
        memcpy(without, p->distance, sizeof without);
        if (i) pairs_gradient_check(p);
        pairs_close(p);
    }
}

static void test_image_gradients(void **state) {
    (void)state;
    Pairs *p =
        pairs_open(VGG, (FeatureRequest){.n = 3, .h = 12, .w = 12, .c = 3, .pool = POOL_MAX, .size = 16});
    pairs_gradient_check(p);
    pairs_close(p);
}

/* Equal images: 0 and no gradient, whatever else is in the batch. How many go through at a time changes
 * nothing. */
static void test_equal_images_and_batches(void **state) {
    (void)state;
    const FeatureRequest request = {.n = 3, .h = 16, .w = 16, .c = 3, .size = 16};
    Pairs *p = pairs_open(VGG, request);
    const int64_t image = 16 * 16 * 3;
    memcpy((float *)p->b.data + 2 * image, (float *)p->a.data + 2 * image, (size_t)image * sizeof(float));
    pairs_run(p);
    float together[6];
    memcpy(together, p->distance, sizeof together);
    assert_true(p->distance[2] == 0 && p->distance[1] > 0);
    for (int64_t i = 2 * image; i < 3 * image; i++) assert_true(((float *)p->da.data)[i] == 0);
    const Tensor gradient = tensor_copy(p->da);
    pairs_close(p);
    FeatureRequest single = request;
    single.n = 1;
    pairs_network(p, VGG, single);
    pairs_run(p);
    for (int i = 0; i < 6; i++) NEAR(p->distance[i], together[i], 1e-6);
    check_near(p->da.data, doubles_of(gradient.data, tensor_count(&gradient)), tensor_count(&gradient), 1e-5,
               "gradient one at a time");
    pairs_close(p);
}

/* ---- training ---- */

static Run *perceptual_make(const char *folder) {
    Run *run = run_make(folder);
    run->ct.distance = DISTANCE_PERCEPTUAL;
    run->ct.perceptual = (FeatureConfig){.hash = "any", .pool = POOL_MAX, .size = 16};
    run->setup.features = VGG;
    return run;
}

/* The mean loss of the last 100 of 200 steps. */
static double late_loss(const char *folder, double learning_rate) {
    Run *run = perceptual_make(folder);
    run->ct.curriculum = CURRICULUM_CONSTANT;
    run->ct.s1 = 8;
    run->ct.weighting = WEIGHTING_ONE;
    run->train.steps = 200;
    run->train.batch = run->train.micro_batch = 8;
    run->train.tick_steps = 100;
    run->train.checkpoint_steps = 0;
    run->train.optimiser.learning_rate = learning_rate;
    run->model.dropout = 0;
    run->setup.flip = false;
    assert_int_equal(run_once(run), TRAIN_DONE);
    const double loss = run->tick[1].loss;
    run_free(run);
    return loss;
}

/* Beside a run of the same draws that stands still: noise of the batches is in both. */
static void test_training_learns(void **state) {
    (void)state;
    const double still = late_loss("still", 1e-12), learns = late_loss("learns", 3e-3);
    if (getenv("TEST_VERBOSE")) printf("# loss %g of %g\n", learns, still);
    assert_true(learns < 0.8 * still);
}

static void test_stopping_and_micro_batches(void **state) {
    (void)state;
    Run *whole = perceptual_make("whole"), *pieces = perceptual_make("pieces"),
        *halves = perceptual_make("halves");
    whole->train.steps = pieces->train.steps = halves->train.steps = 8;
    halves->train.micro_batch = 2;
    pieces->stop_after = 4;
    run_once(whole), run_once(halves);
    while (run_once(pieces) == TRAIN_STOPPED) {
    }
    checkpoints_equal(whole, pieces, 8);
    for (int i = 0; i < whole->ticks; i++) {
        ticks_equal(whole->tick[i], pieces->tick[i]);
        NEAR(halves->tick[i].loss / whole->tick[i].loss, 1, 1e-3);
    }
    run_free(whole), run_free(pieces), run_free(halves);
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
    REFUSED("vgg", "nowhere.safetensors", "nowhere.safetensors");
    REFUSED("../vgg", VGG, "cannot name a network");
    REFUSED("vgg16-lpips", VGG, "not the published weights", "397923af", "convert_features.py");
    REFUSED("vgg", "vgg16-397923af.pth", "PyTorch file", "convert_features.py");
    REFUSED("vgg", "tests/golden/network-adm.safetensors", "no kind of network");
    REFUSED("vgg", classifier_write("other.safetensors", "resnet", NULL), "'resnet'",
            "vgg16-fc2, classifier or inception");
    REFUSED("vgg", classifier_write("vgg.safetensors", "vgg16", NULL), "features.0.weight");
    char path[1024];
    Hash hash;
    Error error = {0};
    assert_false(features_find("vgg16-lpips", scratch("weights"), path, &hash, &error));
    assert_mentions(&error, "vgg16-397923af.pth");
    assert_mentions(&error, "ct.distance=l2");
}

static void test_import_and_open(void **state) {
    (void)state;
    char path[1024];
    Hash hash, content;
    Error error = {0};
    const char *folder = scratch("weights");
    if (!features_import("narrow", VGG, folder, &error)) fail_msg("%s", error.text);
    assert_false(features_import("narrow", VGG, folder, &error));
    assert_mentions(&error, "there already");
    if (!features_find("narrow", folder, path, &hash, &error)) fail_msg("%s", error.text);
    assert_true(hash_file(VGG, &content, &error));
    assert_string_equal(hash.hex, content.hex);
    assert_false(features_find("wide", folder, path, &hash, &error));
    assert_mentions(&error, "narrow");
    FeatureNetwork network;
    const FeatureRequest grey = {.n = 1, .h = 16, .w = 16, .c = 1},
                         tiny = {.n = 1, .h = 8, .w = 8, .c = 3, .size = 8};
    assert_false(features_open(VGG, NULL, &grey, device, &network, &error));
    assert_mentions(&error, "3 channels");
    assert_false(features_open(VGG, NULL, &tiny, device, &network, &error));
    assert_mentions(&error, "16 x 16");
    assert_false(features_open(VGG, "c0ffee", &tiny, device, &network, &error));
    assert_mentions(&error, "SHA-256");
}

static int files_open(void **state) {
    return golden_open(state) || scratch_make(state);
}

static int files_close(void **state) {
    return golden_close(state) || scratch_remove(state);
}

#define OP_TEST(name) cmocka_unit_test_setup_teardown(name, arrays_setup, arrays_teardown)

static int other_check(const char *golden, const char *weights) {
    const struct CMUnitTest tests[] = {OP_TEST(test_other_files)};
    golden_path = golden, VGG = weights;
    return cmocka_run_group_tests_name("perceptual distance", tests, files_open, files_close);
}

int main(int argc, char **argv) {
    if (argc == 3) return other_check(argv[1], argv[2]);
    const struct CMUnitTest tests[] = {
        OP_TEST(test_lpips_is_pytorchs),
        OP_TEST(test_a_classifier_measures_too),
        OP_TEST(test_the_image_is_a_tap),
        OP_TEST(test_image_gradients),
        OP_TEST(test_equal_images_and_batches),
        cmocka_unit_test(test_training_learns),
        cmocka_unit_test(test_stopping_and_micro_batches),
        OP_TEST(test_wrong_files_are_refused),
        OP_TEST(test_import_and_open),
    };
    return cmocka_run_group_tests_name("perceptual distance", tests, files_open, files_close);
}
