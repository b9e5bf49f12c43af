/* Ops of a perceptual distance: bilinear interpolation in both conventions and the distance of features, each
 * against PyTorch (tests/golden/perceptual.npz, made by scripts/golden_perceptual.py) and against itself: the
 * adjoint by inner products, gradients by central differences, equal features exactly 0 apart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#define GOLDEN_FILE "tests/golden/perceptual.npz"
#include "golden.h"

/* ---- bilinear ---- */

static void bilinear_golden(const char *name, BilinearGrid grid) {
    const Tensor x = golden_tensor(name, "x"), dy = golden_tensor(name, "dy");
    const Bilinear forward = {.x = x, .y = tensor_like(dy), .grid = grid, .scale = 1};
    device->ops->bilinear(device, &forward);
    check_golden(forward.y, name, "y", 2e-6);
    const Bilinear back = {.x = dy, .y = tensor_like(x), .grid = grid, .adjoint = true, .scale = 1};
    device->ops->bilinear(device, &back);
    check_golden(back.y, name, "dx", 2e-6);
}

static void test_bilinear_golden(void **state) {
    (void)state;
    static const char *const sizes[] = {"up", "down", "same"};
    for (int i = 0; i < LENGTH(sizes); i++) {
        char name[64];
        snprintf(name, sizeof name, "bilinear.half.%s", sizes[i]);
        bilinear_golden(name, BILINEAR_HALF_PIXEL);
        snprintf(name, sizeof name, "bilinear.tf1.%s", sizes[i]);
        bilinear_golden(name, BILINEAR_TF1);
    }
}

/* <op(x), dy> = <x, op'(dy)> for many sizes; and what is added, also in place. */
static void test_bilinear_is_adjoint(void **state) {
    (void)state;
    for (int in = 1; in <= 33; in += 4) {
        for (int out = 1; out <= 33; out += 8) {
            const BilinearGrid grid = (BilinearGrid)(in / 4 % 2);
            const Tensor x = tensor_random(2, in, out, 3), dy = tensor_random(2, out, in, 3);
            const Bilinear forward = {.x = x, .y = tensor_like(dy), .grid = grid, .scale = 1};
            device->ops->bilinear(device, &forward);
            Bilinear back = {.x = dy, .y = tensor_like(x), .grid = grid, .adjoint = true, .scale = 1};
            device->ops->bilinear(device, &back);
            const double forth = dot(forward.y, dy), size = sqrt(dot(forward.y, forward.y) * dot(dy, dy));
            NEAR((forth - dot(back.y, x)) / size, 0, 1e-6);
            const Tensor plain = back.y;
            double *expected = doubles_of(x.data, tensor_count(&x));
            for (int64_t i = 0; i < tensor_count(&x); i++)
                expected[i] = 0.5 * ((float *)plain.data)[i] - 2 * expected[i];
            back.y = back.add = tensor_copy(x), back.scale = 0.5f, back.add_scale = -2;
            device->ops->bilinear(device, &back);
            check_near(back.y.data, expected, tensor_count(&x), 1e-6, "bilinear with add in place");
        }
    }
}

/* ---- feature_distance ---- */

static void test_feature_golden(void **state) {
    (void)state;
    const Tensor a = golden_tensor("feature", "a");
    Level level[3] = {{0}};
    for (int i = 0; i < 3; i++) level[i].weight = ((float *)golden_tensor("feature", "weight").data)[i];
    FeatureDistance op = {.a = a,
                          .b = golden_tensor("feature", "b"),
                          .da = tensor_like(a),
                          .weight = golden_tensor("feature", "head").data,
                          .level = level,
                          .scale = 1,
                          .distance = floats_poisoned(3)};
    device->ops->feature_distance(device, &op);
    check_golden((Tensor){op.distance, DTYPE_F32, 1, 1, 1, 3}, "feature", "d", 1e-6);
    check_golden(op.da, "feature", "da", 2e-6);
    float before[3];
    memcpy(before, op.distance, sizeof before);
    op.accumulate = true, op.da.data = NULL;
    device->ops->feature_distance(device, &op);
    for (int i = 0; i < 3; i++) assert_true(op.distance[i] == 2 * before[i]);
}

static double distance_of(FeatureDistance op, double slope) {
    float distance[8];
    double sum = 0;
    op.distance = distance, op.da.data = NULL;
    device->ops->feature_distance(device, &op);
    for (int i = 0; i < op.a.n; i++) sum += slope * distance[i];
    return sum;
}

/* Along random directions, with and without channel weights, for widths that vectors do and do not divide. */
static void test_feature_gradient(void **state) {
    (void)state;
    for (int channels = 3; channels <= 67; channels += 16) {
        const Tensor a = tensor_random(2, 3, 2, channels), direction = tensor_random(2, 3, 2, channels);
        FeatureDistance op = {
            .a = a, .b = tensor_random(2, 3, 2, channels), .da = tensor_like(a), .scale = 0.3f};
        if (channels > 3) op.weight = floats_random(channels);
        float distance[2];
        op.distance = distance;
        device->ops->feature_distance(device, &op);
        double side[2];
        for (int s = 0; s < 2; s++) {
            op.a = tensor_copy(a);
            for (int64_t i = 0; i < tensor_count(&a); i++)
                ((float *)op.a.data)[i] += (s ? 1e-3f : -1e-3f) * ((float *)direction.data)[i];
            side[s] = distance_of(op, 0.3);
        }
        const double size = sqrt(dot(op.da, op.da) * dot(direction, direction));
        NEAR((side[1] - side[0]) / 2e-3 / (size + 1e-6), dot(op.da, direction) / (size + 1e-6), 2e-3);
    }
}

/* Equal features: exactly 0, gradient too. No features at all in a: distance of b's direction, gradient 0. */
static void test_feature_ends(void **state) {
    (void)state;
    const Tensor a = tensor_random(2, 2, 2, 20), b = tensor_copy(a), zero = tensor_like(a);
    memset(zero.data, 0, tensor_bytes(&zero));
    float distance[2];
    FeatureDistance op = {.a = a, .b = b, .da = tensor_like(a), .scale = 1, .distance = distance};
    device->ops->feature_distance(device, &op);
    for (int i = 0; i < 2; i++) assert_true(distance[i] == 0);
    for (int64_t i = 0; i < tensor_count(&a); i++) assert_true(((float *)op.da.data)[i] == 0);
    op.a = zero;
    device->ops->feature_distance(device, &op);
    for (int i = 0; i < 2; i++) NEAR(distance[i], 1, 1e-6);
    for (int64_t i = 0; i < tensor_count(&a); i++) assert_true(((float *)op.da.data)[i] == 0);
    op.b = zero;
    device->ops->feature_distance(device, &op);
    for (int i = 0; i < 2; i++) assert_true(distance[i] == 0);
}

/* ---- the loss made of it ---- */

static void test_perceptual_loss(void **state) {
    (void)state;
    const Tensor f = tensor_random(2, 3, 3, 3), df = tensor_random(2, 3, 3, 3);
    const Level level[2] = {{.c_out = 0.5f, .weight = 3}, {.c_out = -2, .weight = 7}};
    const float given[2] = {0.25f, 0.5f};
    float loss[2], residual[2];
    const ConsistencyLoss op = {.distance = DISTANCE_PERCEPTUAL,
                                .batch = 2,
                                .gradient_scale = 1,
                                .f_student = f,
                                .f_teacher = tensor_random(2, 3, 3, 3),
                                .dnetwork = tensor_like(f),
                                .student = level,
                                .loss = loss,
                                .residual = residual,
                                .perceptual = given,
                                .df_student = df};
    device->ops->consistency_loss(device, &op);
    for (int i = 0; i < 2; i++) {
        double square = 0;
        assert_true(loss[i] == level[i].weight * given[i]);
        for (int k = 27 * i; k < 27 * (i + 1); k++) {
            square += pow((double)((float *)f.data)[k] - ((float *)op.f_teacher.data)[k], 2);
            assert_true(((float *)op.dnetwork.data)[k] == level[i].c_out * ((float *)df.data)[k]);
        }
        NEAR(residual[i] / sqrt(square), 1, 1e-6);
    }
}

#define OP_TEST(name) cmocka_unit_test_setup_teardown(name, arrays_setup, arrays_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        OP_TEST(test_bilinear_golden),  OP_TEST(test_bilinear_is_adjoint), OP_TEST(test_feature_golden),
        OP_TEST(test_feature_gradient), OP_TEST(test_feature_ends),        OP_TEST(test_perceptual_loss),
    };
    return cmocka_run_group_tests_name("backend: perceptual distance", tests, golden_open, golden_close);
}
