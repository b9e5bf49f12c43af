/* Blocks are named after the size of what they work on, 35, 17 and 8 pixels wide; branches and layers bear
 * the names of the file. A 1x1 convolution is a product of matrices (graph_linear). */
#include "model/inception.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { COLOURS = 3, FEATURES = 2048 };
static const double EPSILON = 1e-3;

typedef struct Inception {
    const InceptionSpec *spec;
    ParamSet *params;
    Graph *graph;
    const char *block; /* "Mixed_5b", or NULL in the stem */
} Inception;

/* ------------------------------------------------------------------------------------------ layers */

static ParamOffset tensor_declare(Inception *net, const char *layer, const char *part, Param param) {
    const char *block = net->block ? net->block : "";
    snprintf(param.name, sizeof param.name, "%s%s%s.%s", block, *block ? "." : "", layer, part);
    param.trainable = param.in_file = true;
    param.init = INIT_CONSTANT;
    return param_declare(net->params, param);
}

static ParamOffset vector_declare(Inception *net, const char *layer, const char *part, int size) {
    return tensor_declare(net, layer, part, (Param){.rank = 1, .shape = {size}});
}

/* A convolution, its batch norm and its rectifier. */
static Value conv_record(Inception *net, const char *layer, Value x, ConvNode conv) {
    const int c_in = graph_shape(net->graph, x).c;
    conv.c_out /= net->spec->divisor, conv.residual = NO_VALUE, conv.scale = 1;
    graph_scope(net->graph, layer);
    conv.weight = tensor_declare(
        net, layer, "conv.weight",
        (Param){.rank = 4, .shape = {conv.c_out, c_in, conv.kernel_h, conv.kernel_w}, .layout = PARAM_CONV});
    vector_declare(net, layer, "bn.weight", conv.c_out);
    conv.bias = vector_declare(net, layer, "bn.bias", conv.c_out);
    vector_declare(net, layer, "bn.running_mean", conv.c_out);
    vector_declare(net, layer, "bn.running_var", conv.c_out);
    if (conv.kernel_h * conv.kernel_w > 1)
        x = graph_conv(net->graph, x, conv);
    else
        x = graph_linear(net->graph, x,
                         (LinearNode){.c_out = conv.c_out,
                                      .weight = conv.weight,
                                      .bias = conv.bias,
                                      .second = NO_VALUE,
                                      .residual = NO_VALUE,
                                      .scale = 1});
    return graph_act(net->graph, x, ACT_RELU);
}

/* Keeps the image's size. */
static Value same(Inception *net, const char *layer, Value x, int width, int h, int w) {
    return conv_record(
        net, layer, x,
        (ConvNode){
            .c_out = width, .kernel_h = h, .kernel_w = w, .stride = 1, .pad_h = h / 2, .pad_w = w / 2});
}

/* 3x3 without padding. */
static Value valid(Inception *net, const char *layer, Value x, int width, int stride) {
    return conv_record(net, layer, x,
                       (ConvNode){.c_out = width, .kernel_h = 3, .kernel_w = 3, .stride = stride});
}

static Value max_halve(Inception *net, Value x) {
    return graph_pool(net->graph, x, POOL_MAX, 3, 2, 0);
}

/* The branch that pools: 3x3 at every place, then a 1x1 convolution. */
static Value pool_branch(Inception *net, Value x, PoolKind kind, int width) {
    return same(net, "branch_pool", graph_pool(net->graph, x, kind, 3, 1, 1), width, 1, 1);
}

static Value join(Inception *net, const Value *parts, int count) {
    graph_scope(net->graph, net->block);
    return graph_concat(net->graph, parts, count);
}

/* ------------------------------------------------------------------------------------------ blocks */

static Value block_35(Inception *net, const char *block, Value x, int pool_width) {
    net->block = block;
    const Value one = same(net, "branch1x1", x, 64, 1, 1);
    Value five = same(net, "branch5x5_1", x, 48, 1, 1);
    five = same(net, "branch5x5_2", five, 64, 5, 5);
    Value three = same(net, "branch3x3dbl_1", x, 64, 1, 1);
    three = same(net, "branch3x3dbl_2", three, 96, 3, 3);
    three = same(net, "branch3x3dbl_3", three, 96, 3, 3);
    return join(net, (Value[]){one, five, three, pool_branch(net, x, POOL_MEAN, pool_width)}, 4);
}

static Value block_35_to_17(Inception *net, const char *block, Value x) {
    net->block = block;
    const Value one = valid(net, "branch3x3", x, 384, 2);
    Value two = same(net, "branch3x3dbl_1", x, 64, 1, 1);
    two = same(net, "branch3x3dbl_2", two, 96, 3, 3);
    two = valid(net, "branch3x3dbl_3", two, 96, 2);
    return join(net, (Value[]){one, two, max_halve(net, x)}, 3);
}

static Value block_17(Inception *net, const char *block, Value x, int width) {
    net->block = block;
    const Value one = same(net, "branch1x1", x, 192, 1, 1);
    Value seven = same(net, "branch7x7_1", x, width, 1, 1);
    seven = same(net, "branch7x7_2", seven, width, 1, 7);
    seven = same(net, "branch7x7_3", seven, 192, 7, 1);
    Value twice = same(net, "branch7x7dbl_1", x, width, 1, 1);
    twice = same(net, "branch7x7dbl_2", twice, width, 7, 1);
    twice = same(net, "branch7x7dbl_3", twice, width, 1, 7);
    twice = same(net, "branch7x7dbl_4", twice, width, 7, 1);
    twice = same(net, "branch7x7dbl_5", twice, 192, 1, 7);
    return join(net, (Value[]){one, seven, twice, pool_branch(net, x, POOL_MEAN, 192)}, 4);
}

static Value block_17_to_8(Inception *net, const char *block, Value x) {
    net->block = block;
    Value three = same(net, "branch3x3_1", x, 192, 1, 1);
    three = valid(net, "branch3x3_2", three, 320, 2);
    Value seven = same(net, "branch7x7x3_1", x, 192, 1, 1);
    seven = same(net, "branch7x7x3_2", seven, 192, 1, 7);
    seven = same(net, "branch7x7x3_3", seven, 192, 7, 1);
    seven = valid(net, "branch7x7x3_4", seven, 192, 2);
    return join(net, (Value[]){three, seven, max_halve(net, x)}, 3);
}

/* A 1x3 and a 3x1 convolution of the same values, side by side. */
static Value cross(Inception *net, const char *flat, const char *tall, Value x) {
    const Value a = same(net, flat, x, 384, 1, 3), b = same(net, tall, x, 384, 3, 1);
    return join(net, (Value[]){a, b}, 2);
}

static Value block_8(Inception *net, const char *block, Value x, PoolKind kind) {
    net->block = block;
    const Value one = same(net, "branch1x1", x, 320, 1, 1);
    Value three = same(net, "branch3x3_1", x, 384, 1, 1);
    three = cross(net, "branch3x3_2a", "branch3x3_2b", three);
    Value twice = same(net, "branch3x3dbl_1", x, 448, 1, 1);
    twice = same(net, "branch3x3dbl_2", twice, 384, 3, 3);
    twice = cross(net, "branch3x3dbl_3a", "branch3x3dbl_3b", twice);
    return join(net, (Value[]){one, three, twice, pool_branch(net, x, kind, 192)}, 4);
}

/* ------------------------------------------------------------------------------------------ the network */

static Value stem(Inception *net, Value x) {
    net->block = NULL;
    x = valid(net, "Conv2d_1a_3x3", x, INCEPTION_FIRST_WIDTH, 2);
    x = valid(net, "Conv2d_2a_3x3", x, 32, 1);
    x = same(net, "Conv2d_2b_3x3", x, 64, 3, 3);
    x = max_halve(net, x);
    x = same(net, "Conv2d_3b_1x1", x, 80, 1, 1);
    x = valid(net, "Conv2d_4a_3x3", x, 192, 1);
    return max_halve(net, x);
}

static Value mixed_blocks(Inception *net, Value x) {
    static const struct {
        const char *name;
        int width;
    } first[] = {{"Mixed_5b", 32}, {"Mixed_5c", 64}, {"Mixed_5d", 64}},
      second[] = {{"Mixed_6b", 128}, {"Mixed_6c", 160}, {"Mixed_6d", 160}, {"Mixed_6e", 192}};
    for (int i = 0; i < 3; i++) x = block_35(net, first[i].name, x, first[i].width);
    x = block_35_to_17(net, "Mixed_6a", x);
    for (int i = 0; i < 4; i++) x = block_17(net, second[i].name, x, second[i].width);
    x = block_17_to_8(net, "Mixed_7a", x);
    x = block_8(net, "Mixed_7b", x, POOL_MEAN);
    return block_8(net, "Mixed_7c", x, POOL_MAX);
}

/* Twice the same product: it costs nothing beside the rest, and both outputs stay plain. */
static void head(Inception *net, InceptionNet *out) {
    const int features = FEATURES / net->spec->divisor, classes = net->spec->classes;
    net->block = NULL;
    LinearNode fc = {
        .c_out = classes, .bias = NO_PARAM, .second = NO_VALUE, .residual = NO_VALUE, .scale = 1};
    fc.weight = tensor_declare(net, "fc", "weight", (Param){.rank = 2, .shape = {classes, features}});
    out->scores = graph_linear(net->graph, out->pooled, fc);
    fc.bias = vector_declare(net, "fc", "bias", classes);
    out->logits = graph_linear(net->graph, out->pooled, fc);
}

InceptionNet inception_record(const InceptionSpec *spec, ParamSet *params, Graph *graph) {
    Inception net = {spec, params, graph, NULL};
    InceptionNet out;
    CHECK(spec->divisor > 0 && 16 % spec->divisor == 0, "inception: widths are not divisible by %d",
          spec->divisor);
    graph_freeze(graph);
    Value x = out.input = graph_input(graph, "image", DTYPE_F32, spec->n, spec->h, spec->w, COLOURS, false);
    graph_scope(graph, "resize");
    if (spec->h != INCEPTION_SIZE || spec->w != INCEPTION_SIZE)
        x = graph_bilinear(graph, x, spec->input == INCEPTION_TF1 ? BILINEAR_TF1 : BILINEAR_HALF_PIXEL,
                           INCEPTION_SIZE, INCEPTION_SIZE);
    graph_allow_tf32(graph, spec->tf32);
    x = mixed_blocks(&net, stem(&net, x));
    graph_scope(graph, "fc");
    out.pooled = graph_pool(graph, x, POOL_MEAN, 0, 1, 0);
    head(&net, &out);
    graph_output(graph, out.pooled);
    graph_output(graph, out.scores);
    graph_output(graph, out.logits);
    return out;
}

/* ------------------------------------------------------------------------------------------ folding */

/* The values of "<layer>.<part>", where `weight` is named "<layer>.conv.weight". */
static float *sibling(const ParamSet *params, float *values, const Param *weight, const char *part) {
    char name[2 * sizeof weight->name];
    snprintf(name, sizeof name, "%.*s%s", (int)(strlen(weight->name) - strlen("conv.weight")), weight->name,
             part);
    const Param *param = param_find(params, name);
    CHECK(param, "inception: no parameter %s", name);
    return values + param->offset;
}

/* bn(W x) = k W x + (beta - k mean), k = gamma / sqrt(variance + epsilon); a row of W to an output channel.
 */
static void layer_fold(const ParamSet *params, float *values, const Param *weight) {
    const float *gamma = sibling(params, values, weight, "bn.weight"),
                *mean = sibling(params, values, weight, "bn.running_mean"),
                *variance = sibling(params, values, weight, "bn.running_var");
    float *bias = sibling(params, values, weight, "bn.bias");
    const int64_t row = weight->count / weight->shape[0];
    for (int o = 0; o < weight->shape[0]; o++) {
        const double k = (double)gamma[o] / sqrt((double)variance[o] + EPSILON);
        float *w = values + weight->offset + o * row;
        for (int64_t i = 0; i < row; i++) w[i] = (float)(k * (double)w[i]);
        bias[o] = (float)((double)bias[o] - k * (double)mean[o]);
    }
}

void inception_fold(const ParamSet *params, float *values) {
    for (int i = 0; i < params->count; i++)
        if (strstr(params->params[i].name, ".conv.weight")) layer_fold(params, values, &params->params[i]);
}

/* ------------------------------------------------------------------------------------------ input */

float inception_pixel(InceptionInput input, uint8_t byte) {
    return input == INCEPTION_TF1 ? ((float)byte - 128.0f) / 128.0f
                                  : (float)(2.0 * (double)byte / 255.0 - 1.0);
}

const char *inception_input_name(InceptionInput input) {
    return input == INCEPTION_TF1 ? "tf1" : "pytorch-fid";
}
