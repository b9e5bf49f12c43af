#include "model/classifier.h"
#include "model/layers.h"
#include <math.h>

enum { STAGES = CLASSIFIER_STAGES };

static Builder judge_builder(const ModelConfig *config, ParamSet *params, Graph *graph) {
    Builder b = builder_create(config, params, graph);
    b.epsilon = 1e-5f;
    b.init = (LayerInit){INIT_KAIMING_NORMAL, sqrtf(2), 0};
    return b;
}

/* One convolution at the current size; every stage but the first works at half the size of the one before. */
static Value stage_conv(Builder *b, Value x, int stage, int c_in, int c_out) {
    char name[32];
    snprintf(name, sizeof name, "stage%d.conv", stage);
    graph_scope(b->graph, name);
    if (stage > 0) x = graph_pool(b->graph, x, POOL_MEAN, 2, 2, 0);
    return layer_conv(b, name, x, c_in, c_out, 1, b->init, NO_VALUE, 1);
}

JudgeNet classifier_record_on(ParamSet *params, Graph *graph, Value input, int channels, int classes) {
    static const int width[STAGES] = {24, 48, 96};
    static const ModelConfig none = {0};
    Builder b = judge_builder(&none, params, graph);
    JudgeNet net = {.input = input, .dimension = classes};
    Value h = net.input;
    for (int i = 0; i < STAGES; i++) {
        char name[32];
        snprintf(name, sizeof name, "stage%d.norm", i);
        h = stage_conv(&b, h, i, i ? width[i - 1] : channels, width[i]);
        h = layer_norm(&b, name, (Feature){.value = h, .second = NO_VALUE, .channels = width[i]}, ACT_SILU);
        net.stage[i] = h;
    }
    graph_scope(graph, "head");
    h = graph_pool(graph, h, POOL_MEAN, 0, 0, 0);
    const LayerInit head = {INIT_KAIMING_NORMAL, 1, 0};
    net.output = layer_linear(&b, "head", h, width[STAGES - 1], classes, head, true, NO_VALUE);
    return net;
}

JudgeNet classifier_record(ParamSet *params, Graph *graph, int n, int resolution, int channels, int classes) {
    const Value input = graph_input(graph, "image", DTYPE_F32, n, resolution, resolution, channels, false);
    const JudgeNet net = classifier_record_on(params, graph, input, channels, classes);
    graph_output(graph, net.output);
    return net;
}

JudgeNet random_features_record(ParamSet *params, Graph *graph, int n, int resolution, int channels) {
    static const int width[STAGES] = {64, RANDOM_FEATURES, RANDOM_FEATURES};
    static const ModelConfig none = {0};
    Builder b = judge_builder(&none, params, graph);
    b.init.bias_scale = 1; /* random thresholds, so that the rectifiers cut at different places */
    JudgeNet net = {.input =
                        graph_input(graph, "image", DTYPE_F32, n, resolution, resolution, channels, false),
                    .dimension = RANDOM_FEATURES};
    Value h = net.input;
    for (int i = 0; i < STAGES; i++)
        h = graph_act(graph, stage_conv(&b, h, i, i ? width[i - 1] : channels, width[i]), ACT_RELU);
    net.output = graph_pool(graph, h, POOL_MEAN, 0, 0, 0);
    graph_output(graph, net.output);
    return net;
}
