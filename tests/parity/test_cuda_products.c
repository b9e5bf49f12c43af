/* The ops that multiply matrices, convolutions, linear layers and attention, on CUDA against the CPU. Skipped
 * where there is no card. PARITY_VERBOSE=1 prints how far apart they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "graph/graph.h"
#include "types.h"

/* ---- convolutions ---- */

static const ConvShape conv_shapes[] = {
    {4, 16, 16, 3, 32, 3, 3, 1, 1, 1, 0, false}, {3, 8, 8, 32, 64, 3, 3, 1, 1, 1, 0, false},
    {2, 9, 7, 16, 24, 3, 3, 2, 1, 1, 0, false},  {2, 8, 8, 40, 3, 3, 3, 1, 1, 1, 0, false},
    {2, 8, 8, 16, 16, 5, 5, 1, 2, 2, 0, false},  {2, 17, 17, 16, 16, 1, 7, 1, 0, 3, 0, false},
    {3, 8, 8, 40, 3, 3, 3, 1, 1, 1, 0, true},    {2, 20, 12, 64, 3, 3, 3, 1, 1, 1, 0, true},
    {2, 8, 8, 16, 1, 5, 3, 1, 2, 0, 0, true},    {3, 17, 17, 32, 32, 3, 3, 2, 0, 0, 0, false},
    {3, 33, 33, 3, 32, 3, 3, 2, 0, 0, 0, false},
};

static Both conv_x(const ConvShape *s) {
    return both_random(dtype, s->n, s->h, s->w, s->c_in);
}

static Both conv_y(const ConvShape *s) {
    return both_random(s->wide ? DTYPE_F32 : dtype, s->n, conv_out_h(s), conv_out_w(s), s->c_out);
}

static Both conv_weight(const ConvShape *s) {
    return both_random(s->wide ? DTYPE_F32 : dtype, s->c_out, s->kernel_h, s->kernel_w, s->c_in);
}

/* What is in fp32 although x is not has lost at most some of 16 bits of a factor. */
static void conv_check(const Both *b, const ConvShape *shape, const char *what, int number) {
    const double usual = bound;
    if (shape->wide && dtype != DTYPE_F32) bound = 1e-4;
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

/* `again`: added to what is there, and the bias' from sums of dy that are there already. */
static void conv_weight_case(const ConvShape *shape, int number, bool again) {
    const Both x = conv_x(shape), dy = conv_y(shape), dbias = both_floats(shape->c_out);
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

static void conv_body(void) {
    for (int i = 0; i < LENGTH(conv_shapes); i++) {
        for (int ending = 0; ending < LENGTH(endings); ending++)
            conv_forward_case(&conv_shapes[i], i, ending);
        for (int way = 0; way < 3; way++) conv_data_case(&conv_shapes[i], i, way);
        for (int again = 0; again < 2; again++) conv_weight_case(&conv_shapes[i], i, again);
    }
}

static void test_conv(void **state) {
    (void)state;
    each_precision(conv_body);
}

/* ---- linear ---- */

static const struct {
    int n, h, w, c0, c1, out;
} linear_shapes[] = {{3, 8, 8, 32, 0, 96}, {2, 4, 4, 40, 24, 16},  {5, 1, 1, 64, 0, 128},
                     {7, 1, 1, 24, 8, 10}, {96, 1, 1, 64, 0, 160}, {64, 1, 1, 32, 96, 32}};

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

static void linear_body(void) {
    for (int i = 0; i < LENGTH(linear_shapes); i++) linear_case(i);
}

static void test_linear(void **state) {
    (void)state;
    each_precision(linear_body);
}

/* ---- attention ---- */

static void attention_run(int side, const AttentionForward *f, const AttentionBackward *b) {
    Device *d = sides[side];
    AttentionForward forward = *f;
    AttentionBackward backward = *b;
    const int64_t rows = tensor_rows(&f->y) * f->heads;
    backward.statistics = forward.statistics = side_memory(side, (size_t)rows * sizeof(float));
    forward.workspace = side_memory(side, d->ops->attention_workspace(d, &f->qkv, f->heads, false));
    backward.workspace = side_memory(side, d->ops->attention_workspace(d, &f->qkv, f->heads, true));
    d->ops->attention_forward(d, &forward);
    d->ops->attention_backward(d, &backward);
}

/* Queries `gain` times as large as keys and values. */
static Both qkv_random(int n, int h, int w, int inner, float gain) {
    Both b = both_random(dtype, n, h, w, 3 * inner);
    float *values = side_host(CPU, &b.at[CPU]);
    for (int64_t i = 0; i < tensor_count(&b.at[CPU]); i++)
        if (i % (3 * inner) < inner) values[i] = rounded(gain * values[i], dtype);
    both_upload(&b, values);
    free(values);
    return b;
}

/* With a gain of 20 a row's sum comes from one or two keys; of 0, from all alike. */
static void attention_case(int n, int h, int w, int heads, int width, float gain) {
    const int inner = heads * width;
    const Both qkv = qkv_random(n, h, w, inner, gain), dy = both_random(dtype, n, h, w, inner);
    const Both y = both_poisoned(dtype, n, h, w, inner), dqkv = both_poisoned(dtype, n, h, w, 3 * inner);
    for (int s = 0; s < SIDES; s++) {
        const AttentionForward f = {.qkv = qkv.at[s], .y = y.at[s], .heads = heads};
        const AttentionBackward b = {.qkv = qkv.at[s],
                                     .y = y.at[s],
                                     .dy = dy.at[s],
                                     .dqkv = dqkv.at[s],
                                     .heads = heads,
                                     .dy_scale = 0.4f};
        attention_run(s, &f, &b);
    }
    char text[64];
    snprintf(text, sizeof text, "attention %dx%dx%d, heads of %d, gain %g", n, h, w, width, gain);
    near_check(&y, text, heads);
    near_check(&dqkv, strcat(text, ", backward"), heads);
}

static void attention_body(void) {
    attention_case(3, 8, 8, 1, 32, 1);
    attention_case(2, 5, 7, 2, 16, 1);
    attention_case(2, 8, 8, 2, 64, 1); /* from here on in 16 bits: scores in registers */
    attention_case(1, 8, 16, 2, 64, 1);
    attention_case(1, 8, 24, 1, 64, 0);
    if (dtype != DTYPE_F32)
        attention_case(1, 8, 16, 1, 64, 20); /* large scores, to which fp32 is as sensitive */
    if (!sides_card()) return;
    attention_case(2, 16, 16, 4, 64, 1);
    attention_case(5, 8, 8, 12, 64, 1);
    attention_case(3, 16, 16, 9, 64, 1);
    attention_case(2, 32, 32, 6, 64, 1);
    attention_case(2, 24, 24, 3, 64, 1);
    attention_case(13, 32, 32, 2, 64,
                   1); /* fp32: several chunks of images for each head, the last not full */
}

static void test_attention(void **state) {
    (void)state;
    each_precision(attention_body);
}

/* ---- attention in a graph ---- */

enum { DEEP = 3, WIDTH = 64, MATRIX = 3 * WIDTH * WIDTH };

static Value attentions_record(Graph *graph, Value x) {
    for (int i = 0; i < DEEP; i++) {
        const LinearNode qkv = {.c_out = 3 * WIDTH,
                                .weight = i * MATRIX,
                                .bias = NO_PARAM,
                                .second = NO_VALUE,
                                .residual = NO_VALUE,
                                .scale = 0.125f};
        x = graph_attention(graph, graph_linear(graph, x, qkv), 1);
    }
    return x;
}

/* Weights stay as they are, so that nothing but attention itself wants its y and statistics again. */
static void attentions_run(int side, const Tensor *x, const Tensor *dy, const Tensor *weight, Tensor *y,
                           Tensor *dx) {
    Device *d = sides[side];
    Graph *graph = graph_create();
    graph_freeze(graph);
    const Value in = graph_input(graph, "x", x->dtype, x->n, x->h, x->w, x->c, true);
    const Value out = attentions_record(graph, in);
    graph_output(graph, out);
    graph_prepare(graph, d, true);
    graph_bind(graph, in, x->data);
    const GraphRun run = {.master = weight->data, .cast = weight->data};
    graph_forward(graph, GRAPH_TRAIN, &run);
    d->copy(d, y->data, graph_value(graph, GRAPH_TRAIN, out).data, tensor_bytes(y), COPY_ON_DEVICE);
    d->copy(d, graph_gradient(graph, out).data, dy->data, tensor_bytes(dy), COPY_ON_DEVICE);
    graph_backward(graph, &run, NULL, false);
    d->copy(d, dx->data, graph_gradient(graph, in).data, tensor_bytes(dx), COPY_ON_DEVICE);
    d->synchronise(d);
    graph_free(graph);
}

static void attentions_body(void) {
    const Both x = both_random(dtype, 1, 8, 8, WIDTH), dy = both_random(dtype, 1, 8, 8, WIDTH);
    const Both weight = both_random(dtype, 1, 1, DEEP, MATRIX);
    Both y = both_poisoned(dtype, 1, 8, 8, WIDTH), dx = both_poisoned(dtype, 1, 8, 8, WIDTH);
    for (int s = 0; s < SIDES; s++)
        attentions_run(s, &x.at[s], &dy.at[s], &weight.at[s], &y.at[s], &dx.at[s]);
    near_check(&y, "attention in a graph", 0);
    near_check(&dx, "attention in a graph, backward", 0);
}

static void test_attention_in_graph(void **state) {
    (void)state;
    each_precision(attentions_body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_attention_in_graph),
        cmocka_unit_test(test_conv),
    };
    return cmocka_run_group_tests(tests, sides_open, sides_close);
}
