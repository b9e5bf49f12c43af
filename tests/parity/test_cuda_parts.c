/* Ops of networks that only judge, on CUDA against the CPU: convolutions side by side, pooling into a room,
 * bytes enlarged. Skipped where there is no card. PARITY_VERBOSE=1 prints how far apart they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "types.h"

/* Inception's shapes, made small, and channels that are no whole packs; a part's channels, where they begin
 * and how wide its tensor is. */
static const struct {
    ConvShape shape;
    int parts, c_out[CONV_PARTS], first[CONV_PARTS], width[CONV_PARTS];
    Activation activation;
} cases[] = {
    {{3, 31, 31, 3, 0, 3, 3, 2, 0, 0, DTYPE_F32, false}, 1, {32}, {0}, {32}, ACT_RELU},
    {{2, 29, 27, 32, 0, 3, 3, 1, 0, 0, DTYPE_F32, false}, 1, {32}, {0}, {32}, ACT_RELU},
    {{2, 23, 23, 80, 0, 3, 3, 1, 0, 0, DTYPE_F32, false}, 1, {192}, {0}, {192}, ACT_RELU},
    {{2, 17, 17, 48, 0, 5, 5, 1, 2, 2, DTYPE_F32, false}, 1, {64}, {64}, {256}, ACT_RELU},
    {{2, 17, 17, 128, 0, 1, 7, 1, 0, 3, DTYPE_F32, false}, 1, {128}, {0}, {128}, ACT_RELU},
    {{2, 17, 17, 160, 0, 7, 1, 1, 3, 0, DTYPE_F32, false}, 1, {192}, {192}, {768}, ACT_RELU},
    {{2, 17, 17, 96, 0, 3, 3, 2, 0, 0, DTYPE_F32, false}, 1, {96}, {384}, {768}, ACT_NONE},
    {{2, 9, 9, 288, 0, 1, 1, 1, 0, 0, DTYPE_F32, false},
     4,
     {64, 48, 64, 32},
     {0, 0, 0, 0},
     {256, 48, 64, 32},
     ACT_RELU},
    {{2, 8, 8, 1280, 0, 1, 1, 1, 0, 0, DTYPE_F32, false},
     3,
     {320, 384, 448},
     {0, 0, 0},
     {2048, 384, 448},
     ACT_RELU},
    {{3, 5, 7, 6, 0, 1, 1, 1, 0, 0, DTYPE_F32, false}, 3, {5, 3, 7}, {1, 0, 2}, {11, 3, 9}, ACT_RELU},
    {{3, 6, 5, 12, 0, 3, 3, 1, 1, 1, DTYPE_F32, false}, 1, {9}, {3}, {13}, ACT_RELU},
};

static void parts_case(int number) {
    ConvShape shape = cases[number].shape;
    const int parts = cases[number].parts, taps = shape.kernel_h * shape.kernel_w * shape.c_in;
    Both x = both_random(DTYPE_F32, shape.n, shape.h, shape.w, shape.c_in), y[CONV_PARTS], weight[CONV_PARTS],
         bias[CONV_PARTS];
    for (int i = 0; i < parts; i++) {
        shape.c_out += cases[number].c_out[i];
        weight[i] = both_random(DTYPE_F32, 1, 1, cases[number].c_out[i], taps);
        bias[i] = both_floats(cases[number].c_out[i]);
        y[i] =
            both_random(DTYPE_F32, shape.n, conv_out_h(&shape), conv_out_w(&shape), cases[number].width[i]);
    }
    for (int s = 0; s < SIDES; s++) {
        Device *d = sides[s];
        OpPlan *plan = d->ops->conv_parts_prepare(d, &shape, cases[number].c_out, parts);
        ConvParts op = {
            .plan = plan, .x = x.at[s], .parts = parts, .workspace = side_memory(s, plan->workspace)};
        for (int i = 0; i < parts; i++)
            op.part[i] = (ConvPart){y[i].at[s],
                                    cases[number].first[i],
                                    cases[number].c_out[i],
                                    weight[i].at[s].data,
                                    i == 1 ? NULL : bias[i].at[s].data,
                                    cases[number].activation};
        d->ops->conv_parts(d, &op);
        d->synchronise(d);
        d->ops->plan_release(d, plan);
    }
    for (int i = 0; i < parts; i++) near_check(&y[i], "conv_parts", 10 * number + i);
}

static void parts_body(void) {
    if (dtype != DTYPE_F32) return;
    for (int i = 0; i < LENGTH(cases); i++) parts_case(i);
}

static void test_conv_parts(void **state) {
    (void)state;
    each_precision(parts_body);
}

/* Beside channels of others, with a bias and a rectifier. */
static void pool_case(PoolKind kind, int size, int stride, int pad, int channels, int first) {
    const int h = size ? (9 + 2 * pad - size) / stride + 1 : 1;
    const Both x = both_random(dtype, 2, 9, 9, channels), bias = both_floats(channels);
    const Both y = both_random(dtype, 2, h, h, 24 + channels);
    for (int s = 0; s < SIDES; s++)
        sides[s]->ops->pool_forward(sides[s], &(PoolForward){.kind = kind,
                                                             .size = size,
                                                             .stride = stride,
                                                             .pad = pad,
                                                             .x = x.at[s],
                                                             .y = y.at[s],
                                                             .first = first,
                                                             .bias = bias.at[s].data,
                                                             .activation = ACT_RELU});
    near_check(&y, "pool_forward into a room", 10 * size + stride);
}

static void pool_body(void) {
    for (PoolKind kind = POOL_MEAN; kind <= POOL_MAX; kind++) {
        pool_case(kind, 3, 1, 1, 16, 8);
        pool_case(kind, 3, 2, 0, 16, 3);
        pool_case(kind, 0, 1, 0, 5, 24);
    }
}

static void test_pool_into_a_room(void **state) {
    (void)state;
    each_type(pool_body);
}

static void bytes_case(BilinearGrid grid, int in, int out) {
    enum { CHANNELS = 3 };
    uint8_t bytes[2 * 40 * 40 * CHANNELS];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    const Both x = both_bytes(bytes, (size_t)(2 * in * in * CHANNELS)), values = both_floats(256);
    const Both y = both_poisoned(DTYPE_F32, 2, out, out + 1, CHANNELS);
    for (int s = 0; s < SIDES; s++)
        sides[s]->ops->bilinear(sides[s], &(Bilinear){.x = {x.at[s].data, DTYPE_U8, 2, in, in, CHANNELS},
                                                      .y = y.at[s],
                                                      .grid = grid,
                                                      .scale = 1,
                                                      .values = values.at[s].data});
    both_check(&y, 2e-6, "bilinear of bytes");
}

static void test_bilinear_bytes(void **state) {
    (void)state;
    if (!sides[CUDA]) skip();
    for (int grid = 0; grid < 2; grid++) {
        bytes_case((BilinearGrid)grid, 32, 299);
        bytes_case((BilinearGrid)grid, 40, 17);
        bytes_case((BilinearGrid)grid, 9, 9);
    }
    sides_release();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv_parts),
        cmocka_unit_test(test_pool_into_a_room),
        cmocka_unit_test(test_bilinear_bytes),
    };
    return SIDES_RUN(tests);
}
