/* Self-attention on CUDA against the CPU. First what needs no library, the kernels that keep scores in
 * registers (attention_fused.cu), which a sanitizer that stops inside a library's kernels therefore reaches;
 * then the products of cuBLAS around a softmax (attention.cu), and attention between linear layers in a
 * graph; large images last. Skipped where there is no card. PARITY_VERBOSE=1 prints how far apart they are.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "graph/graph.h"
#include "types.h"

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

/* ---- in registers, where numbers have 16 bits; else products of cuBLAS around a softmax ---- */

/* Heads of 64 and whole tiles of 64 pixels, which the kernels in registers take. */
static void tiled_cases(void) {
    attention_case(2, 8, 8, 2, 64, 1);
    attention_case(1, 8, 16, 2, 64, 1);
    attention_case(1, 8, 24, 1, 64, 0);
    if (!sides_card()) return;
    attention_case(2, 16, 16, 4, 64, 1);
    attention_case(5, 8, 8, 12, 64, 1);
    attention_case(3, 16, 16, 9, 64, 1);
    attention_case(2, 24, 24, 3, 64, 1);
}

static void own_attention_body(void) {
    if (dtype == DTYPE_F32) return;
    attention_case(1, 8, 16, 1, 64, 20); /* large scores, to which fp32 is as sensitive */
    tiled_cases();
}

static void test_own_attention(void **state) {
    (void)state;
    each_type(own_attention_body);
}

static void attention_body(void) {
    attention_case(3, 8, 8, 1, 32, 1);
    attention_case(2, 5, 7, 2, 16, 1);
    if (dtype == DTYPE_F32) tiled_cases();
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

/* ---- large images, on a card only ---- */

static void large_body(void) {
    attention_case(2, 32, 32, 6, 64, 1);
    attention_case(13, 32, 32, 2, 64,
                   1); /* fp32: several chunks of images for each head, the last not full */
}

static void test_large_attention(void **state) {
    (void)state;
    if (!sides[CUDA] || !sides_card()) skip();
    each_precision(large_body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_attention),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_attention_in_graph),
        cmocka_unit_test(test_large_attention),
    };
    return SIDES_RUN(tests);
}
