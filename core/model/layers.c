/* A layer declares its parameters and records its ops in one place, so that the two cannot drift apart. */
#include "model/layers.h"
#include <stdarg.h>
#include <string.h>

Builder builder_create(const ModelConfig *config, ParamSet *params, Graph *graph) {
    Builder b = {.params = params,
                 .graph = graph,
                 .config = config,
                 .embedding = NO_VALUE,
                 .tap_count = config->filter_taps};
    float sum = 0;
    for (int i = 0; i < config->filter_taps; i++) sum += (float)config->filter[i];
    for (int i = 0; i < config->filter_taps; i++) b.taps[i] = (float)config->filter[i] / sum;
    return b;
}

/* ---- parameters ---- */

static Param param_named(const char *layer, const char *part) {
    Param param = {.trainable = true, .in_file = true};
    const int length = snprintf(param.name, sizeof param.name, "%s.%s", layer, part);
    CHECK(length < (int)sizeof param.name, "parameter name '%s.%s' is too long", layer, part);
    return param;
}

static ParamOffset declare_weight(Builder *b, const char *layer, int c_in, int c_out, int kernel,
                                  LayerInit init, ParamLayout layout, int heads) {
    Param param = param_named(layer, "weight");
    param.rank = kernel ? 4 : 2;
    param.shape[0] = c_out, param.shape[1] = c_in, param.shape[2] = param.shape[3] = kernel;
    param.layout = layout, param.heads = heads;
    param.init = init.rule, param.init_scale = init.scale;
    param.fan_in = c_in * (kernel ? kernel * kernel : 1),
    param.fan_out = c_out * (kernel ? kernel * kernel : 1);
    return param_declare(b->params, param);
}

static ParamOffset declare_bias(Builder *b, const char *layer, int c_out, int fan_in, LayerInit init,
                                int heads) {
    Param param = param_named(layer, "bias");
    param.rank = 1, param.shape[0] = c_out;
    param.layout = heads ? PARAM_QKV : PARAM_PLAIN, param.heads = heads;
    param.init = init.bias_scale != 0 ? init.rule : INIT_CONSTANT, param.init_scale = init.bias_scale;
    param.fan_in = fan_in, param.fan_out = c_out;
    return param_declare(b->params, param);
}

static ParamOffset declare_constant(Builder *b, const char *layer, const char *part, int channels,
                                    float value) {
    Param param = param_named(layer, part);
    param.rank = 1, param.shape[0] = channels, param.init = INIT_CONSTANT, param.init_scale = value;
    return param_declare(b->params, param);
}

/* ---- layers ---- */

Value layer_linear(Builder *b, const char *name, Value x, int c_in, int c_out, LayerInit init, bool bias,
                   Value residual) {
    const ParamOffset weight = declare_weight(b, name, c_in, c_out, 0, init, PARAM_PLAIN, 0);
    return graph_linear(b->graph, x,
                        (LinearNode){.c_out = c_out,
                                     .weight = weight,
                                     .bias = bias ? declare_bias(b, name, c_out, c_in, init, 0) : NO_PARAM,
                                     .second = NO_VALUE,
                                     .residual = residual,
                                     .scale = 1});
}

static ConvNode conv_node(Builder *b, const char *name, int c_in, int c_out, int pad, LayerInit init,
                          Value residual, float scale) {
    const ParamOffset weight = declare_weight(b, name, c_in, c_out, 3, init, PARAM_CONV, 0);
    return (ConvNode){.c_out = c_out,
                      .kernel_h = 3,
                      .kernel_w = 3,
                      .stride = 1,
                      .pad_h = pad,
                      .pad_w = pad,
                      .weight = weight,
                      .bias = declare_bias(b, name, c_out, 9 * c_in, init, 0),
                      .residual = residual,
                      .scale = scale};
}

/* 3x3; `pad` 1 keeps the size. */
Value layer_conv(Builder *b, const char *name, Value x, int c_in, int c_out, int pad, LayerInit init,
                 Value residual, float scale) {
    return graph_conv(b->graph, x, conv_node(b, name, c_in, c_out, pad, init, residual, scale));
}

Value layer_conv_down(Builder *b, const char *name, Value x, int c_in, int c_out, LayerInit init) {
    ConvNode node = conv_node(b, name, c_in, c_out, 0, init, NO_VALUE, 1);
    node.stride = 2;
    return graph_conv(b->graph, graph_smooth(b->graph, x, b->tap_count, b->taps, 1 + (b->tap_count - 1) / 2),
                      node);
}

Value layer_image(Builder *b, const char *name, Value x, int c_in, int c_out, LayerInit init,
                  Value residual) {
    ConvNode node = conv_node(b, name, c_in, c_out, 1, init, residual, 1);
    node.wide = true;
    return graph_conv(b->graph, x, node);
}

Value layer_point(Builder *b, const char *name, Feature x, int c_out, LayerInit init, int heads,
                  Value residual, float scale) {
    const int c_in = feature_width(x);
    const ParamOffset weight =
        declare_weight(b, name, c_in, c_out, 1, init, heads ? PARAM_QKV : PARAM_PLAIN, heads);
    return graph_linear(b->graph, x.value,
                        (LinearNode){.c_out = c_out,
                                     .weight = weight,
                                     .bias = declare_bias(b, name, c_out, c_in, init, heads),
                                     .second = x.second,
                                     .residual = residual,
                                     .scale = scale});
}

static NormNode norm_node(Builder *b, const char *name, int channels, Activation activation) {
    return (NormNode){.gamma = declare_constant(b, name, "weight", channels, 1),
                      .beta = declare_constant(b, name, "bias", channels, 0),
                      .groups = channels / 4 < 32 ? channels / 4 : 32,
                      .epsilon = b->epsilon,
                      .activation = activation,
                      .second = NO_VALUE,
                      .bias = NO_VALUE,
                      .scale_shift = NO_VALUE};
}

Value layer_norm_dropout(Builder *b, const char *name, Feature x, Activation activation, float rate) {
    NormNode norm = norm_node(b, name, feature_width(x), activation);
    norm.second = x.second;
    norm.dropout = rate;
    return graph_norm(b->graph, x.value, norm);
}

Value layer_norm(Builder *b, const char *name, Feature x, Activation activation) {
    return layer_norm_dropout(b, name, x, activation, 0);
}

Value layer_resample(Builder *b, Value x, Resampling resampling, int pad) {
    if (resampling == RESAMPLING_NONE) return x;
    return graph_resample(b->graph, x, b->tap_count, b->taps, pad, resampling == RESAMPLING_UP);
}

/* ---- the residual block ---- */

typedef struct BlockName {
    char text[96];
} BlockName;

static BlockName part_name(const char *block, const char *part) {
    BlockName name;
    CHECK(snprintf(name.text, sizeof name.text, "%s.%s", block, part) < (int)sizeof name.text,
          "'%s' is too long", block);
    return name;
}

/* norm1 of the block: the embedding enters as a per-sample bias, or as scale and shift (ADM's adaptive group
 * norm). */
static Value block_second_norm(Builder *b, const char *name, Value x, int c_out, int resolution) {
    const ModelConfig *config = b->config;
    const int width = config->scale_shift ? 2 * c_out : c_out;
    graph_allow_tf32(b->graph, false);
    const Value affine =
        layer_linear(b, part_name(name, "affine").text, b->embedding,
                     config->embedding_multiplier * config->channels, width, b->init, true, NO_VALUE);
    graph_allow_tf32(b->graph, b->tf32);
    NormNode norm = norm_node(b, part_name(name, "norm1").text, c_out, ACT_SILU);
    *(config->scale_shift ? &norm.scale_shift : &norm.bias) = affine;
    if (!config->dropout_max_resolution || resolution <= config->dropout_max_resolution)
        norm.dropout = config->dropout;
    return graph_norm(b->graph, x, norm);
}

/* The shortcut: the input itself, resampled, or through a 1x1 convolution. */
static Value block_shortcut(Builder *b, const char *name, Feature x, BlockSpec spec, int resample_pad) {
    const bool resampled = spec.resampling != RESAMPLING_NONE;
    Feature shortcut = x;
    if (resampled) {
        CHECK(x.second == NO_VALUE, "%s: a concatenation is not resampled", name);
        shortcut.value = layer_resample(b, x.value, spec.resampling, resample_pad);
    }
    if (feature_width(x) == spec.c_out && !(resampled && b->project_resampled_skip)) return shortcut.value;
    return layer_point(b, part_name(name, "skip").text, shortcut, spec.c_out, b->init, 0, NO_VALUE, 1);
}

static Value block_attention(Builder *b, const char *name, Value x, BlockSpec spec) {
    const int heads = b->config->head_channels ? spec.c_out / b->config->head_channels : 1;
    Feature f = {.value = x, .second = NO_VALUE, .channels = spec.c_out};
    f.value = layer_norm(b, part_name(name, "norm2").text, f, ACT_NONE);
    f.value =
        layer_point(b, part_name(name, "qkv").text, f, 3 * spec.c_out, b->init_attention, heads, NO_VALUE, 1);
    f.value = graph_attention(b->graph, f.value, heads);
    return layer_point(b, part_name(name, "proj").text, f, spec.c_out, b->init_zero, 0, x, b->skip_scale);
}

Feature layer_block(Builder *b, const char *name, Feature x, BlockSpec spec) {
    graph_scope(b->graph, name);
    const int pad = (b->tap_count - 1) / 2;
    Feature out = {.second = NO_VALUE, .channels = spec.c_out, .resolution = x.resolution};
    if (spec.resampling == RESAMPLING_UP) out.resolution *= 2;
    if (spec.resampling == RESAMPLING_DOWN) out.resolution /= 2;
    Value h = layer_norm(b, part_name(name, "norm0").text, x, ACT_SILU);
    h = layer_resample(b, h, spec.resampling, pad);
    h = layer_conv(b, part_name(name, "conv0").text, h, feature_width(x), spec.c_out, 1, b->init, NO_VALUE,
                   1);
    h = block_second_norm(b, name, h, spec.c_out, out.resolution);
    const Value shortcut = block_shortcut(b, name, x, spec, pad);
    out.value = layer_conv(b, part_name(name, "conv1").text, h, spec.c_out, spec.c_out, 1, b->init_zero,
                           shortcut, b->skip_scale);
    if (spec.attention) out.value = block_attention(b, name, out.value, spec);
    return out;
}
