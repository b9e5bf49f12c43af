/* What SongUNet and DhariwalUNet are made of: convolutions, linear layers, group norms and EDM's residual
 * block, each declaring its parameters under EDM's names and recording its ops. */
#ifndef ICT_MODEL_LAYERS_H
#define ICT_MODEL_LAYERS_H

#include "model/unet.h"

/* How a layer's weight (and bias, when bias_scale is not 0) begins. */
typedef struct LayerInit {
    ParamInit rule;
    float scale, bias_scale;
} LayerInit;

/* What all blocks of one network share. */
typedef struct Builder {
    ParamSet *params;
    Graph *graph;
    const ModelConfig *config;
    Value embedding;
    bool tf32; /* the trunk's products; those of the noise path are fp32's */
    LayerInit init, init_zero, init_attention;
    float epsilon, skip_scale;
    bool project_resampled_skip; /* a resampling block has a 1x1 shortcut even when its width stays (SongUNet)
                                  */
    float taps[4];
    int tap_count;
} Builder;

/* A feature map, in two halves where a concatenation is meant but never made. */
typedef struct Feature {
    Value value, second; /* second: NO_VALUE */
    int channels, second_channels, resolution;
} Feature;
static inline int feature_width(Feature f) {
    return f.channels + f.second_channels;
}

typedef enum Resampling { RESAMPLING_NONE, RESAMPLING_UP, RESAMPLING_DOWN } Resampling;

typedef struct BlockSpec {
    int c_out;
    bool attention;
    Resampling resampling;
} BlockSpec;

Builder builder_create(const ModelConfig *, ParamSet *, Graph *);

/* `name` is EDM's module name: parameters are <name>.weight and <name>.bias. */
Value layer_linear(Builder *, const char *name, Value x, int c_in, int c_out, LayerInit, bool bias,
                   Value residual);
Value layer_conv(Builder *, const char *name, Value x, int c_in, int c_out, int pad, LayerInit,
                 Value residual, float scale);
/* 3x3, then halved with the model's filter: made in the other order, the filter at every pixel of x and a
 * convolution of stride 2, which is the same function (both are linear, and padded for both at once) at a
 * quarter of the work. The bias passes through the filter, whose taps sum to one. */
Value layer_conv_down(Builder *, const char *name, Value x, int c_in, int c_out, LayerInit);
/* 3x3, from features of any type to an image in fp32, with weights in fp32. */
Value layer_image(Builder *, const char *name, Value x, int c_in, int c_out, LayerInit, Value residual);
/* 1x1 convolution over both halves; `heads` > 0 for query, key and value. */
Value layer_point(Builder *, const char *name, Feature x, int c_out, LayerInit, int heads, Value residual,
                  float scale);
Value layer_norm(Builder *, const char *name, Feature x, Activation);
/* The same, with dropout behind the activation while training. */
Value layer_norm_dropout(Builder *, const char *name, Feature x, Activation, float rate);
Value layer_resample(Builder *, Value x, Resampling, int pad);
Feature layer_block(Builder *, const char *name, Feature x, BlockSpec);

#endif
