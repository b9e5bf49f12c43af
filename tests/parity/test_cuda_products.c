/* Convolutions and linear layers on CUDA against the CPU. First what needs no library, the small products of
 * product_small.cu, which a sanitizer that stops inside a library's kernels therefore reaches; then the
 * linear layers on cuBLASLt, the convolutions to fp32 (kernels of ours around a product of cuBLASLt), and
 * those on cuDNN, which take longest. Skipped where there is no card. PARITY_VERBOSE=1 prints how far apart
 * they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "types.h"

/* ---- linear ---- */

/* The first WHOLE are of whole tiles in every product: in fp32 product_small.cu takes them. From BOXES on
 * they are for 16 bits on compute capability 9.0: linear_joined.cu has them (of the first, forward), and
 * linear_gradient.cu those of 496 rows a processor. That is the last on a card; on our own processor, which
 * passes for four, the two before it, in two shares of the rows and with two tiles of the weight's rows. */
enum { WHOLE = 3, BOXES = 6 };
static const struct {
    int n, h, w, c0, c1, out;
} linear_shapes[] = {{3, 8, 8, 32, 0, 96},       {64, 1, 1, 32, 96, 32},      {96, 1, 1, 64, 0, 160},
                     {2, 4, 4, 40, 24, 16},      {5, 1, 1, 64, 0, 128},       {7, 1, 1, 24, 8, 10},
                     {2, 8, 8, 64, 128, 128},    {3, 8, 8, 128, 256, 256},    {8, 16, 16, 128, 128, 256},
                     {8, 16, 16, 128, 128, 512}, {256, 16, 16, 128, 128, 256}};
enum { LINEAR_SHAPES = LENGTH(linear_shapes), FOR_CARDS = LINEAR_SHAPES - 1 };

static void linear_case(int number) {
    const int n = linear_shapes[number].n, h = linear_shapes[number].h, w = linear_shapes[number].w;
    const int c0 = linear_shapes[number].c0, c1 = linear_shapes[number].c1, out = linear_shapes[number].out;
    const Both x0 = both_random(dtype, n, h, w, c0), x1 = both_random(dtype, n, h, w, c1 ? c1 : 1);
    const Both weight = both_random(dtype, out, 1, 1, c0 + c1), bias = both_floats(out);
    const Both residual = both_random(dtype, n, h, w, out), dy = both_random(dtype, n, h, w, out);
    const Both y = both_poisoned(dtype, n, h, w, out), plain = both_poisoned(dtype, n, h, w, out);
    const Both dx0 = both_random(dtype, n, h, w, c0), dx1 = both_poisoned(dtype, n, h, w, c1 ? c1 : 1);
    const Both dweight = both_random(DTYPE_F32, out, 1, 1, c0 + c1), dbias = both_floats(out);
    for (int s = 0; s < SIDES; s++) {
        Device *d = sides[s];
        const Tensor second = c1 ? x1.at[s] : none(), dsecond = c1 ? dx1.at[s] : none();
        LinearForward op = {{x0.at[s], second}, y.at[s],         residual.at[s],
                            weight.at[s].data,  bias.at[s].data, 0.7f};
        d->ops->linear_forward(d, &op);
        op.y = plain.at[s], op.residual = none(), op.bias = NULL;
        d->ops->linear_forward(d, &op);
        d->ops->linear_backward_data(d, &(LinearBackwardData){dy.at[s],
                                                              {dx0.at[s], dsecond},
                                                              {dx0.at[s], c1 ? x1.at[s] : none()},
                                                              weight.at[s].data,
                                                              {c0, c1},
                                                              0.3f,
                                                              {1.7f, -0.5f}});
        d->ops->linear_backward_weight(
            d,
            &(LinearBackwardWeight){
                {x0.at[s], second}, dy.at[s], dweight.at[s].data, dbias.at[s].data, 0.3f, number % 2 == 0});
    }
    near_check(&y, "linear_forward", number);
    near_check(&plain, "linear_forward plain", number);
    near_check(&dx0, "linear_backward_data", number);
    if (c1) near_check(&dx1, "linear_backward_data second", number);
    near_check(&dweight, "linear_backward_weight", number);
    near_check(&dbias, "linear_backward_weight bias", number);
}

static void own_products_body(void) {
    for (int i = 0; i < WHOLE; i++) linear_case(i);
}

static void test_own_products(void **state) {
    (void)state;
    fp32_only(own_products_body);
}

static void linear_body(void) {
    const bool own = dtype == DTYPE_F32 && !sides[CUDA]->tf32;
    const int end = dtype == DTYPE_F32 ? BOXES : sides_card() ? LINEAR_SHAPES : FOR_CARDS;
    for (int i = own ? WHOLE : 0; i < end; i++) linear_case(i);
}

static void test_linear(void **state) {
    (void)state;
    each_precision(linear_body);
}

/* ---- convolutions ---- */

static const ConvShape conv_shapes[] = {
    {4, 16, 16, 3, 32, 3, 3, 1, 1, 1, 0, false}, {3, 8, 8, 32, 64, 3, 3, 1, 1, 1, 0, false},
    {2, 9, 7, 16, 24, 3, 3, 2, 1, 1, 0, false},  {2, 8, 8, 40, 3, 3, 3, 1, 1, 1, 0, false},
    {2, 8, 8, 16, 16, 5, 5, 1, 2, 2, 0, false},  {2, 17, 17, 16, 16, 1, 7, 1, 0, 3, 0, false},
    {3, 8, 8, 40, 3, 3, 3, 1, 1, 1, 0, true},    {2, 20, 12, 64, 3, 3, 3, 1, 1, 1, 0, true},
    {2, 8, 8, 16, 1, 5, 3, 1, 2, 0, 0, true},    {3, 17, 17, 32, 32, 3, 3, 2, 0, 0, 0, false},
    {3, 33, 33, 3, 32, 3, 3, 2, 0, 0, 0, false},
};

static bool conv_is_wide(const ConvShape *s) {
    return s->wide && dtype != DTYPE_F32;
}

static Both conv_x(const ConvShape *s) {
    return both_random(dtype, s->n, s->h, s->w, s->c_in);
}

static DType conv_y_type(const ConvShape *s) {
    return s->wide ? DTYPE_F32 : dtype;
}

static Both conv_y(const ConvShape *s) {
    return both_random(conv_y_type(s), s->n, conv_out_h(s), conv_out_w(s), s->c_out);
}

static Both conv_weight(const ConvShape *s) {
    return both_random(conv_y_type(s), s->c_out, s->kernel_h, s->kernel_w, s->c_in);
}

/* What is in fp32 although x is not has lost at most some of 16 bits of a factor. */
static void conv_check(const Both *b, const ConvShape *shape, const char *what, int number) {
    const double usual = bound;
    if (conv_is_wide(shape)) bound = 1e-4;
    near_check(b, what, number);
    bound = usual;
}

static OpPlan *conv_plan(int side, ConvShape shape, ConvPass pass, const ConvEpilogue *epilogue,
                         void **workspace) {
    shape.dtype = side == CPU ? DTYPE_F32 : dtype;
    OpPlan *plan = sides[side]->ops->conv_prepare(sides[side], &shape, pass, epilogue);
    *workspace = side_memory(side, plan->workspace);
    return plan;
}

/* What stands behind a convolution, and whether its preparation is told. */
static const struct {
    ConvEpilogue epilogue;
    bool told;
} endings[] = {{{false, false, 1}, true},       {{true, true, 0.7071f}, true}, {{true, true, 0.7071f}, false},
               {{true, false, 1}, true},        {{true, false, 0.6f}, true},   {{false, true, 0.7071f}, true},
               {{false, false, 0.7071f}, true}, {{false, true, 1}, false}};

static void conv_forward_case(const ConvShape *shape, int number, int ending) {
    const ConvEpilogue *e = &endings[ending].epilogue;
    const Both x = conv_x(shape), weight = conv_weight(shape), residual = conv_y(shape),
               bias = both_floats(shape->c_out);
    const Tensor like = residual.at[CUDA];
    const Both y = both_poisoned(like.dtype, like.n, like.h, like.w, like.c);
    for (int s = 0; s < SIDES; s++) {
        void *workspace;
        OpPlan *plan = conv_plan(s, *shape, CONV_FORWARD, endings[ending].told ? e : NULL, &workspace);
        const ConvForward op = {plan,
                                x.at[s],
                                y.at[s],
                                e->residual ? residual.at[s] : none(),
                                weight.at[s].data,
                                e->bias ? bias.at[s].data : NULL,
                                e->scale,
                                workspace};
        sides[s]->ops->conv_forward(sides[s], &op);
        sides[s]->ops->plan_release(sides[s], plan);
    }
    conv_check(&y, shape, "conv_forward", 10 * number + ending);
}

/* `way` 0: nothing to add; 1: another tensor; 2: dx itself. */
static void conv_data_case(const ConvShape *shape, int number, int way) {
    const Both dy = conv_y(shape), weight = conv_weight(shape), add = conv_x(shape);
    const Both dx =
        way == 2 ? both_copy(&add) : both_poisoned(dtype, shape->n, shape->h, shape->w, shape->c_in);
    for (int s = 0; s < SIDES; s++) {
        void *workspace;
        OpPlan *plan = conv_plan(s, *shape, CONV_BACKWARD_DATA, NULL, &workspace);
        const Tensor added = way == 0 ? none() : way == 1 ? add.at[s] : dx.at[s];
        sides[s]->ops->conv_backward_data(
            sides[s],
            &(ConvBackwardData){plan, dy.at[s], dx.at[s], added, weight.at[s].data, 0.3f, 1.7f, workspace});
        sides[s]->ops->plan_release(sides[s], plan);
    }
    near_check(&dx, "conv_backward_data", 10 * number + way);
}

/* Sums over each sample's pixels. */
static void sums_make(int side, const Tensor *x, const Tensor *sums) {
    Device *d = sides[side];
    const float pixels = (float)(x->h * x->w);
    d->ops->pool_forward(d, &(PoolForward){.kind = POOL_MEAN, .stride = 1, .x = *x, .y = *sums});
    d->ops->add_scale(d, &(AddScale){.a = *sums, .y = *sums, .a_scale = pixels});
}

/* `again`: added to what is there, and the bias' from sums of dy that are there already. dy lies around 1:
 * the gradient of a single bias is one sum, which around 0 would at times be no larger than its rounding. */
static void conv_weight_case(const ConvShape *shape, int number, bool again) {
    const Both x = conv_x(shape), dbias = both_floats(shape->c_out);
    const Both dy =
        both_random_at(conv_y_type(shape), 1, shape->n, conv_out_h(shape), conv_out_w(shape), shape->c_out);
    const Both dweight = both_random(DTYPE_F32, shape->c_out, shape->kernel_h, shape->kernel_w, shape->c_in);
    const Both sums = both_poisoned(dy.at[CUDA].dtype, shape->n, 1, 1, shape->c_out);
    for (int s = 0; s < SIDES; s++) {
        void *workspace;
        OpPlan *plan = conv_plan(s, *shape, CONV_BACKWARD_WEIGHT, NULL, &workspace);
        if (again) sums_make(s, &dy.at[s], &sums.at[s]);
        sides[s]->ops->conv_backward_weight(sides[s],
                                            &(ConvBackwardWeight){.plan = plan,
                                                                  .x = x.at[s],
                                                                  .dy = dy.at[s],
                                                                  .dy_sums = again ? sums.at[s] : none(),
                                                                  .dweight = dweight.at[s].data,
                                                                  .dbias = dbias.at[s].data,
                                                                  .dy_scale = 0.3f,
                                                                  .accumulate = again,
                                                                  .workspace = workspace});
        sides[s]->ops->plan_release(sides[s], plan);
    }
    conv_check(&dweight, shape, "conv_backward_weight", number);
    conv_check(&dbias, shape, "conv_backward_weight bias", number);
}

/* Of those to fp32 in 16 bits, or of all others. */
static void conv_cases(bool wide) {
    for (int i = 0; i < LENGTH(conv_shapes); i++) {
        if (conv_is_wide(&conv_shapes[i]) != wide) continue;
        for (int ending = 0; ending < LENGTH(endings); ending++)
            conv_forward_case(&conv_shapes[i], i, ending);
        for (int way = 0; way < 3; way++) conv_data_case(&conv_shapes[i], i, way);
        for (int again = 0; again < 2; again++) conv_weight_case(&conv_shapes[i], i, again);
    }
}

static void wide_conv_body(void) {
    conv_cases(true);
}

static void test_wide_conv(void **state) {
    (void)state;
    each_type(wide_conv_body);
}

static void conv_body(void) {
    conv_cases(false);
}

static void test_conv(void **state) {
    (void)state;
    each_precision(conv_body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_products),
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_wide_conv),
        cmocka_unit_test(test_conv),
    };
    return SIDES_RUN(tests);
}
