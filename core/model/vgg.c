/* VGG-16: thirteen 3x3 convolutions with ReLU in five stages, a pool of 2x2 after each; for LPIPS a tap at
 * the end of every stage, for precision and recall the two fully connected layers behind the last pool. The
 * normalisation of its input is a product with a diagonal matrix, and no part of the first convolution, whose
 * padding is zero after the normalisation. */
#include "model/features.h"
#include "model/layers.h"

#include <string.h>

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

static Builder vgg_builder(ParamSet *params, Graph *graph) {
    static const ModelConfig none = {0};
    Builder b = builder_create(&none, params, graph);
    b.init = (LayerInit){INIT_KAIMING_NORMAL, 1.41421356f, 0.1f};
    return b;
}

/* The stages of a normalised image, each up to its last rectifier. */
static void stages_record(const FeatureSpec *spec, Builder *b, Value x, Value stages[VGG_STAGES]) {
    int c_in = COLOURS;
    for (int i = 0; i < LAYERS; i++) {
        char name[32];
        const int stage = layers[i].stage, width = spec->widths[stage];
        snprintf(name, sizeof name, "features.%d", layers[i].number);
        graph_scope(b->graph, name);
        if (i && stage != layers[i - 1].stage) x = graph_pool(b->graph, x, spec->pool, 2, 2, 0);
        x = layer_conv(b, name, x, c_in, width, 1, b->init, NO_VALUE, 1);
        x = graph_act(b->graph, x, ACT_RELU);
        stages[stage] = x;
        c_in = width;
    }
}

void vgg16_record(const FeatureSpec *spec, ParamSet *params, Graph *graph, Value x, FeatureNet *net) {
    Builder b = vgg_builder(params, graph);
    stages_record(spec, &b, x, net->tap);
    net->taps = VGG_STAGES;
    for (int i = 0; i < VGG_STAGES; i++) {
        char name[32];
        snprintf(name, sizeof name, "lin%d.model.1.weight", i);
        net->head[i] = constant_declare(params, name, 4, 1, spec->widths[i], true);
    }
}

/* ---- the fully connected layers ---- */

/* The first of them reads what is left of the image, 7 x 7 places: a convolution without padding, which is
 * how its file keeps it (scripts/convert_features.py). */
static Value fc1_record(const FeatureSpec *spec, Builder *b, Value x) {
    enum { PLACES = VGG_SIZE >> VGG_STAGES };
    const int c_in = spec->widths[VGG_STAGES - 1];
    Param weight = {.name = "classifier.0.weight",
                    .rank = 4,
                    .shape = {spec->units, c_in, PLACES, PLACES},
                    .layout = PARAM_CONV,
                    .trainable = true,
                    .in_file = true,
                    .init = b->init.rule,
                    .init_scale = b->init.scale,
                    .fan_in = c_in * PLACES * PLACES},
          bias = weight;
    bias.rank = 1, bias.layout = PARAM_PLAIN, bias.init_scale = b->init.bias_scale;
    strcpy(bias.name, "classifier.0.bias");
    graph_scope(b->graph, "classifier.0");
    return graph_conv(b->graph, x,
                      (ConvNode){.c_out = spec->units,
                                 .kernel_h = PLACES,
                                 .kernel_w = PLACES,
                                 .stride = 1,
                                 .weight = param_declare(b->params, weight),
                                 .bias = param_declare(b->params, bias),
                                 .residual = NO_VALUE,
                                 .scale = 1});
}

Value vgg16_fc2_record(const FeatureSpec *spec, ParamSet *params, Graph *graph, Value images,
                       FeatureNet *net) {
    Value stages[VGG_STAGES];
    Builder b = vgg_builder(params, graph);
    *net = (FeatureNet){.input = images, .lift = NO_PARAM};
    Value x = vgg16_normalise(params, graph, images, net);
    graph_scope(graph, "resize");
    x = graph_bilinear(graph, x, BILINEAR_TF1, VGG_SIZE, VGG_SIZE);
    stages_record(spec, &b, x, stages);
    x = graph_pool(graph, stages[VGG_STAGES - 1], spec->pool, 2, 2, 0);
    x = graph_act(graph, fc1_record(spec, &b, x), ACT_RELU);
    graph_scope(graph, "classifier.3");
    x = layer_linear(&b, "classifier.3", x, spec->units, spec->units, b.init, true, NO_VALUE);
    return graph_act(graph, x, ACT_RELU);
}
