/* The graph: gradients through aliases and sums, equal bits in both schedules, an arena without collisions;
 * and the parameter counts of the paper's networks. The networks' numbers against PyTorch are in
 * test_network.c. */
#include "graph/internal.h"
#include "model/unet.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/toy.h"

static const ModelConfig ncsnpp = {
    .architecture = ARCHITECTURE_SONG,
    .channels = 128,
    .multipliers = {2, 2, 2},
    .levels = 3,
    .blocks = 4,
    .attention = {16},
    .attentions = 1,
    .embedding = EMBED_FOURIER,
    .fourier_scale = 0.02f,
    .noise_scale = 1,
    .noise_multiplier = 2,
    .embedding_multiplier = 4,
    .encoder = ENCODER_RESIDUAL,
    .filter = {1, 3, 3, 1},
    .filter_taps = 4,
    .dropout = 0.3f,
};

static const ModelConfig adm = {
    .architecture = ARCHITECTURE_ADM,
    .channels = 192,
    .multipliers = {1, 2, 3, 4},
    .levels = 4,
    .blocks = 3,
    .attention = {32, 16, 8},
    .attentions = 3,
    .head_channels = 64,
    .embedding = EMBED_POSITIONAL,
    .noise_scale = 1,
    .noise_multiplier = 1,
    .embedding_multiplier = 4,
    .filter = {1, 1},
    .filter_taps = 2,
    .classes = 1000,
};

static int64_t count_parameters(const ModelConfig *config, int resolution) {
    ParamSet params = {0};
    Graph *graph = graph_create();
    unet_record(config, &params, graph, 1, resolution, 3, PRECISION_FP32);
    const int64_t count = param_count(&params);
    graph_free(graph);
    param_free(&params);
    return count;
}

static void test_parameter_counts(void **state) {
    (void)state;
    ModelConfig deep = ncsnpp, adm_deep = adm, adm_shift = adm, adm_deep_shift = adm;
    deep.blocks = 8;
    adm_deep.blocks = adm_deep_shift.blocks = 6;
    adm_shift.scale_shift = adm_deep_shift.scale_shift = true;
    assert_int_equal(count_parameters(&ncsnpp, 32), 56395523);
    assert_int_equal(count_parameters(&deep, 32), 97610499);
    assert_int_equal(count_parameters(&adm, 64), 282168003);
    assert_int_equal(count_parameters(&adm_shift, 64), 295899267);
    assert_int_equal(count_parameters(&adm_deep, 64), 472767555);
    assert_int_equal(count_parameters(&adm_deep_shift, 64), 495357699);
}

static Device *open_cpu(void) {
    Device *device = NULL;
    Error error;
    if (!device_open("cpu", 2, &device, &error)) fail_msg("%s", error.text);
    return device;
}

static void fill_random(float *values, int64_t count, unsigned seed) {
    for (int64_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = (float)(seed >> 8) / 8388608.0f - 1;
    }
}

/* z = (2 x + 3 silu(x)) + x / 2: an alias, a written gradient and two sums meet in dx. */
static void test_gradient_of_aliases(void **state) {
    (void)state;
    enum { COUNT = 2 * 4 * 4 * 8 };
    Device *device = open_cpu();
    Graph *graph = graph_create();
    const Value x = graph_input(graph, "x", DTYPE_F32, 2, 4, 4, 8, true);
    const Value b = graph_add(graph, x, graph_act(graph, x, ACT_SILU), 2, 3);
    const Value z = graph_add(graph, b, x, 1, 0.5f);
    graph_output(graph, z);
    graph_prepare(graph, device, true);
    float in[COUNT], r[COUNT], out[COUNT];
    fill_random(in, COUNT, 1);
    fill_random(r, COUNT, 2);
    graph_bind(graph, x, in);
    const GraphRun run = {0};
    graph_forward(graph, GRAPH_TRAIN, &run);
    memcpy(out, graph_value(graph, GRAPH_TRAIN, z).data, sizeof out); /* readable until the backward pass */
    memcpy(graph_gradient(graph, z).data, r, sizeof r);
    graph_backward(graph, &run, NULL, false);
    const float *dx = graph_gradient(graph, x).data;
    for (int i = 0; i < COUNT; i++) {
        const double s = 1 / (1 + exp(-(double)in[i])), silu = in[i] * s;
        assert_float_equal(out[i], 2.5 * in[i] + 3 * silu, 1e-5);
        assert_float_equal(dx[i], r[i] * (2.5 + 3 * (s + silu * (1 - s))), 1e-5);
    }
    graph_free(graph);
    device_close(device);
}

/* Two outputs, one on the way to the other: tap = silu(x), z = 2 tap + upsampled x, each with a gradient of
 * its own; the gradient of tap is the sum of both. */
static void test_gradients_of_taps(void **state) {
    (void)state;
    enum { COUNT = 2 * 4 * 4 * 3 };
    Device *device = open_cpu();
    Graph *graph = graph_create();
    graph_freeze(graph);
    const Value x = graph_input(graph, "x", DTYPE_F32, 2, 4, 4, 3, true);
    const Value tap = graph_act(graph, x, ACT_SILU);
    const Value z = graph_bilinear(graph, graph_add(graph, tap, x, 2, 1), BILINEAR_HALF_PIXEL, 4, 4);
    graph_output(graph, tap);
    graph_output(graph, z);
    graph_prepare(graph, device, true);
    float in[COUNT], r[2][COUNT];
    fill_random(in, COUNT, 1);
    for (int i = 0; i < 2; i++) fill_random(r[i], COUNT, 2u + (unsigned)i);
    graph_bind(graph, x, in);
    const GraphRun run = {0};
    graph_forward(graph, GRAPH_TRAIN, &run);
    const float *first = graph_value(graph, GRAPH_TRAIN, tap).data,
                *last = graph_value(graph, GRAPH_TRAIN, z).data;
    for (int i = 0; i < COUNT; i++) assert_float_equal(last[i], 2 * first[i] + in[i], 1e-6);
    memcpy(graph_gradient(graph, tap).data, r[0], sizeof r[0]);
    memcpy(graph_gradient(graph, z).data, r[1], sizeof r[1]);
    graph_backward(graph, &run, NULL, false);
    const float *dx = graph_gradient(graph, x).data;
    for (int i = 0; i < COUNT; i++) {
        const double s = 1 / (1 + exp(-(double)in[i])), slope = s * (1 + in[i] * (1 - s));
        assert_float_equal(dx[i], (r[0][i] + 2 * r[1][i]) * slope + r[1][i], 1e-5);
    }
    graph_free(graph);
    device_close(device);
}

/* A small network with everything in it, ready to run. */
typedef struct Small {
    Device *device;
    Graph *graph;
    UNet net;
    ParamSet params;
    float *weights, *gradients, *input, *direction;
    Level *levels;
    StepRow row;
    int64_t count;
} Small;

static Small small_open(void) {
    ModelConfig config = toy_model();
    config.attention[0] = 8;
    Small s = {.device = open_cpu(), .graph = graph_create(), .count = 3 * 16 * 16 * 3};
    s.net = unet_record(&config, &s.params, s.graph, 3, 16, 3, PRECISION_FP32);
    graph_prepare(s.graph, s.device, true);
    s.weights = calloc((size_t)s.params.total, sizeof(float));
    s.gradients = calloc((size_t)s.params.total, sizeof(float));
    s.input = calloc((size_t)s.count, sizeof(float));
    s.direction = calloc((size_t)s.count, sizeof(float));
    s.levels = calloc(3, sizeof(Level));
    fill_random(s.weights, s.params.total, 3);
    for (int i = 0; i < s.params.count; i++) { /* unit scale, so that every layer matters */
        const Param *p = &s.params.params[i];
        const float scale = p->rank > 1 ? 1.7f / sqrtf((float)p->fan_in) : 1;
        for (int64_t k = 0; k < p->count; k++) s.weights[p->offset + k] *= scale;
    }
    fill_random(s.input, s.count, 4);
    fill_random(s.direction, s.count, 5);
    for (int i = 0; i < 3; i++) s.levels[i].c_noise = -1.0f + (float)i;
    graph_bind(s.graph, s.net.input, s.input);
    graph_bind(s.graph, s.net.level, s.levels);
    return s;
}

static void small_close(Small *s) {
    graph_free(s->graph);
    param_free(&s->params);
    device_close(s->device);
    free(s->weights);
    free(s->gradients);
    free(s->input);
    free(s->direction);
    free(s->levels);
}

static GraphRun small_run(Small *s) {
    return (GraphRun){
        .master = s->weights, .cast = s->weights, .draw = {.seed = 1, .row = &s->row}, .dropout = true};
}

static double small_loss(Small *s, GraphSchedule schedule) {
    const GraphRun run = small_run(s);
    graph_forward(s->graph, schedule, &run);
    const float *out = graph_value(s->graph, schedule, s->net.output).data;
    double loss = 0;
    for (int64_t i = 0; i < s->count; i++) loss += (double)out[i] * (double)s->direction[i];
    return loss;
}

static void small_gradients(Small *s, bool accumulate) {
    const GraphRun run = small_run(s);
    small_loss(s, GRAPH_TRAIN);
    memcpy(graph_gradient(s->graph, s->net.output).data, s->direction, (size_t)s->count * sizeof(float));
    graph_backward(s->graph, &run, s->gradients, accumulate);
}

/* Per parameter tensor: the derivative along its own gradient is the gradient's squared norm. */
static void test_gradients_by_differences(void **state) {
    (void)state;
    Small s = small_open();
    small_gradients(&s, false);
    for (int i = 0; i < s.params.count; i++) {
        const Param *p = &s.params.params[i];
        if (!p->trainable) continue;
        double square = 0;
        for (int64_t k = 0; k < p->count; k++) square += pow((double)s.gradients[p->offset + k], 2);
        if (square == 0) fail_msg("%s has no gradient", p->name);
        const float h = (float)(2e-3 / sqrt(square));
        double loss[2];
        for (int side = 0; side < 2; side++) {
            const float step = side ? -2 * h : h;
            for (int64_t k = 0; k < p->count; k++)
                s.weights[p->offset + k] += step * s.gradients[p->offset + k];
            loss[side] = small_loss(&s, GRAPH_EVALUATE);
        }
        for (int64_t k = 0; k < p->count; k++) s.weights[p->offset + k] += h * s.gradients[p->offset + k];
        const double slope = (loss[0] - loss[1]) / (2 * (double)h);
        /* fp32 rounding of the loss, about 1e-5, is divided by 2 h |g| */
        if (fabs(slope / square - 1) > 0.02 + 0.01 / sqrt(square))
            fail_msg("%s: slope %g, squared gradient %g", p->name, slope, square);
    }
    small_close(&s);
}

static void test_schedules_agree_bit_for_bit(void **state) {
    (void)state;
    Small s = small_open();
    small_loss(&s, GRAPH_EVALUATE);
    float *first = malloc((size_t)s.count * sizeof(float));
    memcpy(first, graph_value(s.graph, GRAPH_EVALUATE, s.net.output).data, (size_t)s.count * sizeof(float));
    small_loss(&s, GRAPH_TRAIN);
    assert_memory_equal(first, graph_value(s.graph, GRAPH_TRAIN, s.net.output).data,
                        (size_t)s.count * sizeof(float));
    free(first);
    small_close(&s);
}

static void test_gradients_repeat_and_accumulate(void **state) {
    (void)state;
    Small s = small_open();
    const size_t bytes = (size_t)s.params.total * sizeof(float);
    float *once = malloc(bytes);
    small_gradients(&s, false);
    memcpy(once, s.gradients, bytes);
    small_gradients(&s, false);
    assert_memory_equal(once, s.gradients, bytes);
    small_gradients(&s, true);
    for (int i = 0; i < s.params.count; i++) {
        const Param *p = &s.params.params[i];
        for (int64_t k = 0; k < p->count; k++)
            assert_float_equal(s.gradients[p->offset + k], 2 * once[p->offset + k],
                               1e-5 + 1e-5 * fabsf(once[p->offset + k]));
    }
    free(once);
    small_close(&s);
}

/* No plan can do with less: the most that is alive at one time. */
static size_t most_alive(const Schedule *schedule) {
    size_t most = 0;
    for (int i = 0; i < schedule->buffers.count; i++) {
        size_t alive = 0;
        const int time = schedule->buffers.items[i].first;
        for (int j = 0; j < schedule->buffers.count; j++) {
            const Buffer *b = &schedule->buffers.items[j];
            if (b->first <= time && time <= b->last) alive += b->bytes;
        }
        most = alive > most ? alive : most;
    }
    return most;
}

/* A convolution and the shortcut that is added to it: the same gradient for both biases, also of the second
 * half of a batch; what it is, test_gradients_by_differences knows. */
static void test_biases_of_one_gradient(void **state) {
    (void)state;
    Small s = small_open();
    int twins = 0;
    small_gradients(&s, false);
    small_gradients(&s, true);
    for (int i = 0; i < s.graph->step_count; i++) {
        const BackwardStep *step = &s.graph->steps[i];
        if (step->twin_step < 0 || s.graph->nodes[step->node].kind != NODE_LINEAR) continue;
        const Node *linear = &s.graph->nodes[step->node],
                   *conv = &s.graph->nodes[s.graph->steps[step->twin_step].node];
        assert_int_equal(s.graph->steps[step->twin_step].twin_step, i);
        assert_memory_equal(s.gradients + linear->linear.bias, s.gradients + conv->conv.bias,
                            (size_t)linear->linear.c_out * sizeof(float));
        twins++;
    }
    assert_true(twins > 0);
    small_close(&s);
}

static void test_arena_is_tight_and_without_collisions(void **state) {
    (void)state;
    Small s = small_open();
    for (int k = 0; k < 2; k++) {
        const Schedule *schedule = &s.graph->schedules[k];
        for (int i = 0; i < schedule->buffers.count; i++) {
            for (int j = 0; j < i; j++) {
                const Buffer *a = &schedule->buffers.items[i], *b = &schedule->buffers.items[j];
                const bool together = a->first <= b->last && b->first <= a->last;
                const bool overlap = a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
                assert_false(together && overlap);
            }
        }
        assert_true((double)schedule->arena <= 1.2 * (double)most_alive(schedule));
    }
    small_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parameter_counts),
        cmocka_unit_test(test_gradient_of_aliases),
        cmocka_unit_test(test_gradients_of_taps),
        cmocka_unit_test(test_gradients_by_differences),
        cmocka_unit_test(test_schedules_agree_bit_for_bit),
        cmocka_unit_test(test_gradients_repeat_and_accumulate),
        cmocka_unit_test(test_biases_of_one_gradient),
        cmocka_unit_test(test_arena_is_tight_and_without_collisions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
