/* Blocks are named after the size of what they work on, 35, 17 and 8 pixels wide; branches and layers bear
 * the names of the file. Every branch writes its channels of the block's room, so that nothing is copied to
 * join them; the 1x1 convolutions at the heads of a block's branches read its input together. A mean over
 * neighbours and a 1x1 convolution may change places, and the pooling branches of the means convolve first:
 * fewer channels are left to pool. */
#include "model/inception.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { COLOURS = 3, FEATURES = 2048 };
#define BYTE_VALUES "byte values" /* not in the file: what a byte is to the network */
static const double EPSILON = 1e-3;

typedef struct Inception {
    const InceptionSpec *spec;
    ParamSet *params;
    Graph *graph;
    const char *block; /* "Mixed_5b", or NULL in the stem */
} Inception;

/* ---- layers ---- */

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

static PartNode layer_declare(Inception *net, const char *layer, int c_in, int width, int kernel_h,
                              int kernel_w) {
    PartNode part = {.c_out = width / net->spec->divisor, .activation = ACT_RELU};
    part.weight = tensor_declare(
        net, layer, "conv.weight",
        (Param){.rank = 4, .shape = {part.c_out, c_in, kernel_h, kernel_w}, .layout = PARAM_CONV});
    vector_declare(net, layer, "bn.weight", part.c_out);
    part.bias = vector_declare(net, layer, "bn.bias", part.c_out);
    vector_declare(net, layer, "bn.running_mean", part.c_out);
    vector_declare(net, layer, "bn.running_var", part.c_out);
    return part;
}

/* A room that is filled channel by channel. */
typedef struct Join {
    Value room;
    int channels; /* so far */
} Join;

static Join join_begin(Inception *net, int n, int h, int w, int channels) {
    return (Join){graph_room(net->graph, n, h, w, channels), 0};
}

static void join_place(Join *join, PartNode *part) {
    part->room = join->room, part->first = join->channels;
    join->channels += part->c_out;
}

/* ---- convolutions ---- */

/* A convolution, its batch norm and its rectifier, as the join's next channels, or (join NULL) alone. */
static Value conv_record(Inception *net, const char *layer, Value x, int width, ConvNode conv, Join *join) {
    const Tensor in = graph_shape(net->graph, x);
    const ConvShape s = {in.n,          in.h,        in.w,       in.c,       0,        conv.kernel_h,
                         conv.kernel_w, conv.stride, conv.pad_h, conv.pad_w, in.dtype, false};
    PartNode part = layer_declare(net, layer, in.c, width, conv.kernel_h, conv.kernel_w);
    Join alone;
    if (!join) join = &alone, alone = join_begin(net, in.n, conv_out_h(&s), conv_out_w(&s), part.c_out);
    join_place(join, &part);
    graph_scope(net->graph, layer);
    graph_conv_parts(net->graph, x, conv, &part, 1);
    return part.room;
}

static ConvNode same_size(int h, int w) {
    return (ConvNode){.kernel_h = h, .kernel_w = w, .stride = 1, .pad_h = h / 2, .pad_w = w / 2};
}

/* Keeps the image's size. */
static Value same(Inception *net, const char *layer, Value x, int width, int h, int w) {
    return conv_record(net, layer, x, width, same_size(h, w), NULL);
}

static void same_join(Inception *net, const char *layer, Value x, int width, int h, int w, Join *join) {
    conv_record(net, layer, x, width, same_size(h, w), join);
}

/* 3x3 without padding. */
static Value valid(Inception *net, const char *layer, Value x, int width, int stride, Join *join) {
    return conv_record(net, layer, x, width, (ConvNode){.kernel_h = 3, .kernel_w = 3, .stride = stride},
                       join);
}

/* The 1x1 convolutions of one x at the heads of a block's branches. */
typedef struct Heads {
    Value x;
    PartNode parts[CONV_PARTS];
    int count;
} Heads;

static void head_join(Inception *net, Heads *heads, const char *layer, int width, Join *join) {
    PartNode part = layer_declare(net, layer, graph_shape(net->graph, heads->x).c, width, 1, 1);
    join_place(join, &part);
    heads->parts[heads->count++] = part;
}

static Value head(Inception *net, Heads *heads, const char *layer, int width) {
    const Tensor x = graph_shape(net->graph, heads->x);
    Join alone = join_begin(net, x.n, x.h, x.w, width / net->spec->divisor);
    head_join(net, heads, layer, width, &alone);
    return alone.room;
}

static void heads_record(Inception *net, const Heads *heads) {
    graph_scope(net->graph, net->block);
    graph_conv_parts(net->graph, heads->x, same_size(1, 1), heads->parts, heads->count);
}

/* ---- pooling ---- */

static Value max_halve(Inception *net, Value x) {
    return graph_pool(net->graph, x, POOL_MAX, 3, 2, 0);
}

static void max_halve_join(Inception *net, Value x, Join *join) {
    PartNode part = {.c_out = graph_shape(net->graph, x).c, .bias = NO_PARAM};
    join_place(join, &part);
    graph_scope(net->graph, net->block);
    graph_pool_part(net->graph, x, POOL_MAX, 3, 2, 0, part);
}

/* The convolution of the branch that takes means of 3x3: its bias and rectifier stand behind the means. */
static Value mean_head(Inception *net, Heads *heads, int width, PartNode *behind) {
    const Value made = head(net, heads, "branch_pool", width);
    PartNode *part = &heads->parts[heads->count - 1];
    *behind = *part;
    part->bias = NO_PARAM, part->activation = ACT_NONE;
    return made;
}

static void mean_join(Inception *net, Value made, PartNode behind, Join *join) {
    join_place(join, &behind);
    graph_scope(net->graph, "branch_pool");
    graph_pool_part(net->graph, made, POOL_MEAN, 3, 1, 1, behind);
}

/* ---- blocks ---- */

/* For `width` channels of the whole network, on images of x's size or of less than half of it. */
static Join block_begin(Inception *net, const char *block, Value x, int width, bool halve) {
    const Tensor in = graph_shape(net->graph, x);
    net->block = block;
    return join_begin(net, in.n, halve ? (in.h - 1) / 2 : in.h, halve ? (in.w - 1) / 2 : in.w,
                      width / net->spec->divisor);
}

static Value block_35(Inception *net, const char *block, Value x, int pool_width) {
    Join join = block_begin(net, block, x, 64 + 64 + 96 + pool_width, false);
    Heads heads = {.x = x};
    PartNode behind;
    head_join(net, &heads, "branch1x1", 64, &join);
    const Value five = head(net, &heads, "branch5x5_1", 48);
    Value three = head(net, &heads, "branch3x3dbl_1", 64);
    const Value mean = mean_head(net, &heads, pool_width, &behind);
    heads_record(net, &heads);
    same_join(net, "branch5x5_2", five, 64, 5, 5, &join);
    three = same(net, "branch3x3dbl_2", three, 96, 3, 3);
    same_join(net, "branch3x3dbl_3", three, 96, 3, 3, &join);
    mean_join(net, mean, behind, &join);
    return join.room;
}

static Value block_35_to_17(Inception *net, const char *block, Value x) {
    Join join = block_begin(net, block, x, 384 + 96 + 288, true);
    valid(net, "branch3x3", x, 384, 2, &join);
    Value two = same(net, "branch3x3dbl_1", x, 64, 1, 1);
    two = same(net, "branch3x3dbl_2", two, 96, 3, 3);
    valid(net, "branch3x3dbl_3", two, 96, 2, &join);
    max_halve_join(net, x, &join);
    return join.room;
}

static Value block_17(Inception *net, const char *block, Value x, int width) {
    Join join = block_begin(net, block, x, 4 * 192, false);
    Heads heads = {.x = x};
    PartNode behind;
    head_join(net, &heads, "branch1x1", 192, &join);
    Value seven = head(net, &heads, "branch7x7_1", width);
    Value twice = head(net, &heads, "branch7x7dbl_1", width);
    const Value mean = mean_head(net, &heads, 192, &behind);
    heads_record(net, &heads);
    seven = same(net, "branch7x7_2", seven, width, 1, 7);
    same_join(net, "branch7x7_3", seven, 192, 7, 1, &join);
    twice = same(net, "branch7x7dbl_2", twice, width, 7, 1);
    twice = same(net, "branch7x7dbl_3", twice, width, 1, 7);
    twice = same(net, "branch7x7dbl_4", twice, width, 7, 1);
    same_join(net, "branch7x7dbl_5", twice, 192, 1, 7, &join);
    mean_join(net, mean, behind, &join);
    return join.room;
}

static Value block_17_to_8(Inception *net, const char *block, Value x) {
    Join join = block_begin(net, block, x, 320 + 192 + 768, true);
    Heads heads = {.x = x};
    const Value three = head(net, &heads, "branch3x3_1", 192);
    Value seven = head(net, &heads, "branch7x7x3_1", 192);
    heads_record(net, &heads);
    valid(net, "branch3x3_2", three, 320, 2, &join);
    seven = same(net, "branch7x7x3_2", seven, 192, 1, 7);
    seven = same(net, "branch7x7x3_3", seven, 192, 7, 1);
    valid(net, "branch7x7x3_4", seven, 192, 2, &join);
    max_halve_join(net, x, &join);
    return join.room;
}

/* A 1x3 and a 3x1 convolution of the same values, side by side. */
static void cross(Inception *net, const char *flat, const char *tall, Value x, Join *join) {
    same_join(net, flat, x, 384, 1, 3, join);
    same_join(net, tall, x, 384, 3, 1, join);
}

static Value block_8(Inception *net, const char *block, Value x, PoolKind kind) {
    Join join = block_begin(net, block, x, 320 + 4 * 384 + 192, false);
    Heads heads = {.x = x};
    PartNode behind;
    head_join(net, &heads, "branch1x1", 320, &join);
    const Value three = head(net, &heads, "branch3x3_1", 384);
    Value twice = head(net, &heads, "branch3x3dbl_1", 448);
    const Value mean = kind == POOL_MEAN ? mean_head(net, &heads, 192, &behind) : NO_VALUE;
    heads_record(net, &heads);
    cross(net, "branch3x3_2a", "branch3x3_2b", three, &join);
    twice = same(net, "branch3x3dbl_2", twice, 384, 3, 3);
    cross(net, "branch3x3dbl_3a", "branch3x3dbl_3b", twice, &join);
    if (kind == POOL_MEAN)
        mean_join(net, mean, behind, &join);
    else
        same_join(net, "branch_pool", graph_pool(net->graph, x, kind, 3, 1, 1), 192, 1, 1, &join);
    return join.room;
}

/* ---- the network ---- */

static Value stem(Inception *net, Value x) {
    net->block = NULL;
    x = valid(net, "Conv2d_1a_3x3", x, INCEPTION_FIRST_WIDTH, 2, NULL);
    x = valid(net, "Conv2d_2a_3x3", x, 32, 1, NULL);
    x = same(net, "Conv2d_2b_3x3", x, 64, 3, 3);
    x = max_halve(net, x);
    x = same(net, "Conv2d_3b_1x1", x, 80, 1, 1);
    x = valid(net, "Conv2d_4a_3x3", x, 192, 1, NULL);
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
static void outputs_record(Inception *net, InceptionNet *out) {
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
    Value x = out.input = graph_input(graph, "image", DTYPE_U8, spec->n, spec->h, spec->w, COLOURS, false);
    const Param values = {.name = BYTE_VALUES, .rank = 1, .shape = {256}, .init = INIT_CONSTANT};
    graph_scope(graph, "resize");
    x = graph_bilinear_bytes(graph, x, spec->input == INCEPTION_TF1 ? BILINEAR_TF1 : BILINEAR_HALF_PIXEL,
                             INCEPTION_SIZE, INCEPTION_SIZE, param_declare(params, values));
    graph_allow_tf32(graph, spec->tf32);
    x = mixed_blocks(&net, stem(&net, x));
    graph_scope(graph, "fc");
    out.pooled = graph_pool(graph, x, POOL_MEAN, 0, 1, 0);
    outputs_record(&net, &out);
    graph_output(graph, out.pooled);
    graph_output(graph, out.scores);
    graph_output(graph, out.logits);
    return out;
}

/* ---- folding ---- */

/* The values of "<layer>.<part>", where `weight` is named "<layer>.conv.weight". */
static float *sibling(const ParamSet *params, float *values, const Param *weight, const char *part) {
    char name[2 * sizeof weight->name];
    snprintf(name, sizeof name, "%.*s%s", (int)(strlen(weight->name) - strlen("conv.weight")), weight->name,
             part);
    const Param *param = param_find(params, name);
    CHECK(param, "inception: no parameter %s", name);
    return values + param->offset;
}

/* bn(W x) = k W x + (beta - k mean), k = gamma / sqrt(variance + epsilon); a row of W to an
 * output channel. */
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

/* ---- input ---- */

static float byte_value(InceptionInput input, int byte) {
    return input == INCEPTION_TF1 ? ((float)byte - 128.0f) / 128.0f
                                  : (float)(2.0 * (double)byte / 255.0 - 1.0);
}

void inception_finish(const InceptionSpec *spec, const ParamSet *params, float *values) {
    float *bytes = values + param_find(params, BYTE_VALUES)->offset;
    for (int i = 0; i < 256; i++) bytes[i] = byte_value(spec->input, i);
    for (int i = 0; i < params->count; i++)
        if (strstr(params->params[i].name, ".conv.weight")) layer_fold(params, values, &params->params[i]);
}

const char *inception_input_name(InceptionInput input) {
    return input == INCEPTION_TF1 ? "tf1" : "pytorch-fid";
}
