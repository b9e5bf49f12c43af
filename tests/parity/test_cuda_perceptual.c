/* Ops of a perceptual distance on CUDA against the CPU. Skipped where there is no card. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "sides.h"
#include "eval/extractor.h"
#include "tests/unit/feature_file.h"
#include "train/features.h"
#include "train/features_inception.h"

static const struct {
    DType dtype;
    double bound;
} types[] = {{DTYPE_F32, 2e-5}, {DTYPE_F16, 4e-3}, {DTYPE_BF16, 3e-2}};
enum { TYPES = sizeof types / sizeof *types };

static void bilinear_case(int type, BilinearGrid grid, int in, int out, bool adjoint) {
    const DType dtype = types[type].dtype;
    const Both x = adjoint ? both_random(dtype, 2, out, out + 1, 5) : both_random(dtype, 2, in, in, 5);
    const Both y = adjoint ? both_random(dtype, 2, in, in, 5) : both_random(dtype, 2, out, out + 1, 5);
    for (int s = 0; s < SIDES; s++)
        sides[s]->ops->bilinear(sides[s], &(Bilinear){.x = x.at[s],
                                                      .y = y.at[s],
                                                      .add = y.at[s],
                                                      .grid = grid,
                                                      .adjoint = adjoint,
                                                      .scale = 0.8f,
                                                      .add_scale = -0.6f});
    both_check(&y, types[type].bound, adjoint ? "bilinear adjoint" : "bilinear");
}

static void test_bilinear(void **state) {
    (void)state;
    if (!sides[CUDA]) skip();
    for (int type = 0; type < TYPES; type++) {
        for (int way = 0; way < 4; way++) {
            bilinear_case(type, (BilinearGrid)(way & 1), 7, 50, way & 2);
            bilinear_case(type, (BilinearGrid)(way & 1), 31, 9, way & 2);
            bilinear_case(type, (BilinearGrid)(way & 1), 32, 224, way & 2);
        }
        sides_release();
    }
}

static void feature_case(int type, int size, int channels, bool plain) {
    const DType dtype = types[type].dtype;
    const Level level[3] = {{.weight = 0.5f}, {.weight = 20}, {.weight = 3}};
    const Both levels = both_bytes(level, sizeof level), weight = both_floats(channels),
               distance = both_floats(3);
    const Both a = both_random(dtype, 3, size, size, channels),
               b = both_random(dtype, 3, size, size, channels);
    const Both da = both_poisoned(dtype, 3, size, size, channels);
    for (int s = 0; s < SIDES; s++)
        sides[s]->ops->feature_distance(sides[s],
                                        &(FeatureDistance){.a = a.at[s],
                                                           .b = b.at[s],
                                                           .da = da.at[s],
                                                           .weight = plain ? NULL : weight.at[s].data,
                                                           .level = plain ? NULL : levels.at[s].data,
                                                           .scale = 0.7f,
                                                           .distance = distance.at[s].data,
                                                           .accumulate = plain});
    both_check(&distance, types[type].dtype == DTYPE_F32 ? 1e-6 : types[type].bound, "feature_distance");
    both_check(&da, types[type].bound, "feature_distance gradient");
}

static void test_feature_distance(void **state) {
    (void)state;
    if (!sides[CUDA]) skip();
    for (int type = 0; type < TYPES; type++) {
        for (int plain = 0; plain < 2; plain++) {
            feature_case(type, 9, 64, plain);
            feature_case(type, 14, 512, plain);
            feature_case(type, 3, 7, plain);
        }
        sides_release();
    }
}

static void test_perceptual_loss(void **state) {
    (void)state;
    if (!sides[CUDA]) skip();
    const Level level[3] = {
        {.weight = 0.5f, .c_out = 2}, {.weight = 20, .c_out = 0.1f}, {.weight = 3, .c_out = 1}};
    const Both levels = both_bytes(level, sizeof level), given = both_floats(3), loss = both_floats(3),
               residual = both_floats(3);
    const Both f = both_random(DTYPE_F32, 3, 8, 8, 3), teacher = both_random(DTYPE_F32, 3, 8, 8, 3),
               df = both_random(DTYPE_F32, 3, 8, 8, 3), dF = both_poisoned(DTYPE_F32, 3, 8, 8, 3);
    for (int s = 0; s < SIDES; s++)
        sides[s]->ops->consistency_loss(sides[s], &(ConsistencyLoss){.distance = DISTANCE_PERCEPTUAL,
                                                                     .batch = 6,
                                                                     .gradient_scale = 3,
                                                                     .f_student = f.at[s],
                                                                     .f_teacher = teacher.at[s],
                                                                     .dnetwork = dF.at[s],
                                                                     .student = levels.at[s].data,
                                                                     .loss = loss.at[s].data,
                                                                     .residual = residual.at[s].data,
                                                                     .perceptual = given.at[s].data,
                                                                     .df_student = df.at[s]});
    both_same(&loss, "perceptual loss");
    both_check(&residual, 1e-6, "residual");
    both_same(&dF, "perceptual gradient");
    sides_release();
}

/* Distances and the images' gradient through a whole network, in fp32 and with TF32's products, two images at
 * a time. */
static void network_case(const char *path, FeatureRequest request, double bound_distance,
                         double bound_gradient) {
    enum { PAIRS = 4 };
    Level level[PAIRS];
    for (int i = 0; i < PAIRS; i++) level[i] = (Level){.weight = 1 + (float)i};
    const Both levels = both_bytes(level, sizeof level), distance = both_floats(PAIRS);
    const Both a = both_random(DTYPE_F32, PAIRS, request.h, request.w, 3),
               b = both_random(DTYPE_F32, PAIRS, request.h, request.w, 3),
               da = both_poisoned(DTYPE_F32, PAIRS, request.h, request.w, 3);
    for (int s = 0; s < SIDES; s++) {
        FeatureNetwork network;
        Error error;
        if (!features_open(path, NULL, &request, sides[s], &network, &error)) fail_msg("%s", error.text);
        Perceptual *perceptual = perceptual_create(&network, sides[s]);
        perceptual_run(perceptual, &(PerceptualRun){a.at[s], b.at[s], da.at[s], levels.at[s].data, 0.5f,
                                                    distance.at[s].data});
        sides[s]->synchronise(sides[s]);
        perceptual_free(perceptual);
        features_close(&network, sides[s]);
    }
    both_check(&distance, bound_distance, request.tf32 ? "distance, TF32" : "distance");
    both_norm_check(&da, bound_gradient, request.tf32 ? "gradient, TF32" : "gradient");
    sides_release();
}

/* A VGG's gradient has kinks, and with random inputs some lie within rounding: what jumps there is a small
 * part of the whole. The classifier is smooth. */
static void test_networks(void **state) {
    (void)state;
    if (!sides[CUDA]) skip();
    const FeatureSpec vgg = {.kind = FEATURES_VGG16, .channels = 3, .widths = {16, 16, 32, 32, 64}};
    const char *paths[2] = {feature_file_write("vgg", vgg, "vgg16", NULL),
                            classifier_write("smooth", "classifier", "16")};
    for (int tf32 = 0; tf32 < 2; tf32++) {
        for (int kind = 0; kind < 2; kind++) {
            const FeatureRequest request = {.n = 2,
                                            .h = 12,
                                            .w = 12,
                                            .c = 3,
                                            .pool = POOL_MAX,
                                            .size = kind ? 0 : 48,
                                            .pixels = kind,
                                            .tf32 = tf32};
            network_case(paths[kind], request, tf32 ? 1e-2 : 1e-4, kind == 0 ? 0.2 : tf32 ? 5e-2 : 1e-3);
        }
    }
}

/* The same in places: noise all over looks all the same. */
static void images_draw(uint8_t *images, size_t size) {
    const RandomKey key = {.seed = fresh, .stream = 1000, .sample = drawn++};
    for (size_t i = 0; i < size; i++) images[i] = (uint8_t)random_block(key, (uint32_t)(i / 96)).x[i % 3];
}

/* The Inception network, another number of images at a time on either side. */
static void inception_case(const InceptionRequest *request) {
    enum { COUNT = 11, DIMENSION = 2048 / 16, CLASSES = 1008 / 16 };
    static const char *const path = "tests/golden/inception-narrow.safetensors";
    uint8_t images[COUNT * 32 * 32 * 3];
    images_draw(images, sizeof images);
    Both features = both_poisoned(DTYPE_F32, COUNT, 1, 1, DIMENSION),
         scores = both_poisoned(DTYPE_F32, COUNT, 1, 1, CLASSES);
    for (int s = 0; s < SIDES; s++) {
        float host[COUNT * (DIMENSION + CLASSES)];
        Error error;
        InceptionNetwork *network = inception_open(path, NULL, request, sides[s], &error);
        if (!network) fail_msg("%s", error.text);
        inception_run(network, images, COUNT,
                      (InceptionResult){.features = host, .scores = host + COUNT * DIMENSION});
        sides[s]->copy(sides[s], features.at[s].data, host, tensor_bytes(&features.at[s]), COPY_TO_DEVICE);
        sides[s]->copy(sides[s], scores.at[s].data, host + COUNT * DIMENSION, tensor_bytes(&scores.at[s]),
                       COPY_TO_DEVICE);
        sides[s]->synchronise(sides[s]);
        inception_close(network);
    }
    both_check(&features, request->tf32 ? 5e-2 : 1e-4, request->tf32 ? "features, TF32" : "features");
    both_check(&scores, request->tf32 ? 5e-2 : 1e-4, request->tf32 ? "scores, TF32" : "scores");
    sides_release();
}

static void test_inception(void **state) {
    (void)state;
    if (!sides[CUDA]) skip();
    for (int input = INCEPTION_TF1; input <= INCEPTION_PYTORCH_FID; input++)
        for (int tf32 = 0; tf32 < 2; tf32++)
            inception_case(&(InceptionRequest){32, 32, (InceptionInput)input, tf32});
}

/* VGG-16 up to its second fully connected layer. */
static void test_vgg16(void **state) {
    (void)state;
    if (!sides[CUDA]) skip();
    enum { COUNT = 5, DIMENSION = 24 };
    static const char *const path = "tests/golden/vgg16-fc2-narrow.safetensors";
    const Dataset like = {.height = 32, .width = 32, .channels = 3};
    uint8_t images[COUNT * 32 * 32 * 3];
    Both features = both_poisoned(DTYPE_F32, COUNT, 1, 1, DIMENSION);
    Error error;
    Hash hash;
    images_draw(images, sizeof images);
    assert_true(hash_file(path, &hash, &error));
    for (int s = 0; s < SIDES; s++) {
        float host[COUNT * DIMENSION];
        Extractor *extractor = extractor_open(&like, sides[s], FEATURES_VGG16_FC2, path, &hash, &error);
        if (!extractor) fail_msg("%s", error.text);
        extractor_run(extractor, images, COUNT, host);
        sides[s]->copy(sides[s], features.at[s].data, host, sizeof host, COPY_TO_DEVICE);
        sides[s]->synchronise(sides[s]);
        extractor_close(extractor);
    }
    both_check(&features, 1e-4, "VGG-16");
    sides_release();
}

static int all_open(void **state) {
    return sides_open(state) || scratch_make(state);
}

static int all_close(void **state) {
    return sides_close(state) || scratch_remove(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bilinear),        cmocka_unit_test(test_feature_distance),
        cmocka_unit_test(test_perceptual_loss), cmocka_unit_test(test_networks),
        cmocka_unit_test(test_inception),       cmocka_unit_test(test_vgg16),
    };
    return cmocka_run_group_tests(tests, all_open, all_close);
}
