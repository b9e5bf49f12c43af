/* VGG-16's convolutional part, as LPIPS uses it: thirteen 3x3 convolutions with ReLU in five stages, a pool
 * of 2x2 between stages; a tap after each stage. The normalisation of its input is a product with a diagonal
 * matrix, and no part of the first convolution, whose padding is zero after the normalisation. */
#include "model/features.h"
#include "model/layers.h"

enum { LAYERS = 13, COLOURS = 3 };
static const float MEAN[COLOURS] = {0.485f, 0.456f, 0.406f}, DEVIATION[COLOURS] = {0.229f, 0.224f, 0.225f};

/* torchvision's number of each convolution within `features`, and its stage. */
static const struct {
    int number, stage;
} layers[LAYERS] = {{0, 0},  {2, 0},  {5, 1},  {7, 1},  {10, 2}, {12, 2}, {14, 2},
                    {17, 3}, {19, 3}, {21, 3}, {24, 4}, {26, 4}, {28, 4}};

static ParamOffset constant_declare(ParamSet *params, const char *name, int rank, int rows, int columns,
                                    bool in_file) {
    Param param = {.rank = rank, .shape = {rows, columns, 1, 1}, .trainable = true, .in_file = in_file};
    snprintf(param.name, sizeof param.name, "%s", name);
    param.init = INIT_CONSTANT, param.init_scale = 1;
    return param_declare(params, param);
}

Value vgg16_normalise(ParamSet *params, Graph *graph, Value x, FeatureNet *net) {
    graph_scope(graph, "normalise");
    net->scaling = constant_declare(params, "normalise.weight", 2, COLOURS, COLOURS, false);
    net->shift = constant_declare(params, "normalise.bias", 1, COLOURS, 1, false);
    return graph_linear(graph, x,
                        (LinearNode){.c_out = COLOURS,
                                     .weight = net->scaling,
                                     .bias = net->shift,
                                     .second = NO_VALUE,
                                     .residual = NO_VALUE,
                                     .scale = 1});
}

void vgg16_fill(const FeatureNet *net, float *values) {
    for (int i = 0; i < COLOURS * COLOURS; i++) values[net->scaling + i] = 0;
    for (int c = 0; c < COLOURS; c++) {
        values[net->scaling + c * COLOURS + c] = 0.5f / DEVIATION[c];
        values[net->shift + c] = (0.5f - MEAN[c]) / DEVIATION[c];
    }
}

static void tap_add(const FeatureSpec *spec, ParamSet *params, Value x, FeatureNet *net) {
    char name[32];
    snprintf(name, sizeof name, "lin%d.model.1.weight", net->taps);
    net->head[net->taps] = constant_declare(params, name, 4, 1, spec->widths[net->taps], true);
    net->tap[net->taps++] = x;
}

void vgg16_record(const FeatureSpec *spec, ParamSet *params, Graph *graph, Value x, FeatureNet *net) {
    static const ModelConfig none = {0};
    Builder b = builder_create(&none, params, graph);
    const LayerInit init = {INIT_KAIMING_NORMAL, 1.41421356f, 0.1f};
    int c_in = COLOURS;
    for (int i = 0; i < LAYERS; i++) {
        char name[32];
        const int stage = layers[i].stage, width = spec->widths[stage];
        snprintf(name, sizeof name, "features.%d", layers[i].number);
        graph_scope(graph, name);
        if (i && stage != layers[i - 1].stage) {
            tap_add(spec, params, x, net);
            x = graph_pool(graph, x, spec->pool, 2, 2, 0);
        }
        x = layer_conv(&b, name, x, c_in, width, 1, init, NO_VALUE, 1);
        x = graph_act(graph, x, ACT_RELU);
        c_in = width;
    }
    tap_add(spec, params, x, net);
}
