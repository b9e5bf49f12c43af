/* Networks of perceptual distances recorded from images to taps, and the constants that no file holds. */
#include "model/features.h"

#include <stdio.h>

static Value input_resize(const FeatureSpec *spec, Graph *graph, Value x) {
    if (spec->resized_h == spec->h && spec->resized_w == spec->w) return x;
    graph_scope(graph, "resize");
    return graph_bilinear(graph, x, BILINEAR_HALF_PIXEL, spec->resized_h, spec->resized_w);
}

static void classifier_taps(const FeatureSpec *spec, ParamSet *params, Graph *graph, Value x,
                            FeatureNet *net) {
    const Precision precision = spec->tf32 ? PRECISION_TF32 : PRECISION_FP32;
    const ClassifierNet classifier =
        classifier_record(&spec->classifier, params, graph, x, spec->classes, precision);
    net->taps = classifier.stages;
    for (int i = 0; i < net->taps; i++) net->tap[i] = classifier.stage[i], net->head[i] = NO_PARAM;
}

static ParamOffset constant_declare(ParamSet *params, const char *name, int rank, int rows, int columns) {
    Param param = {.rank = rank, .shape = {rows, columns, 1, 1}, .trainable = true, .init = INIT_CONSTANT};
    snprintf(param.name, sizeof param.name, "%s", name);
    return param_declare(params, param);
}

static void image_tap(const FeatureSpec *spec, ParamSet *params, Graph *graph, FeatureNet *net) {
    const int c = spec->channels;
    net->pixels = spec->pixels;
    net->lift = constant_declare(params, "image.weight", 2, c + 1, c);
    net->lift_bias = constant_declare(params, "image.bias", 1, c + 1, 1);
    net->head[net->taps] = constant_declare(params, "image.head", 1, c + 1, 1);
    graph_scope(graph, "image");
    net->tap[net->taps++] = graph_linear(graph, net->input,
                                         (LinearNode){.c_out = c + 1,
                                                      .weight = net->lift,
                                                      .bias = net->lift_bias,
                                                      .second = NO_VALUE,
                                                      .residual = NO_VALUE,
                                                      .scale = 1});
}

/* (x, 1) */
static void image_fill(const FeatureNet *net, float *values) {
    const int channels = net->channels;
    const ParamOffset head = net->head[net->taps - 1];
    for (int i = 0; i <= channels; i++) {
        for (int k = 0; k < channels; k++) values[net->lift + i * channels + k] = i == k;
        values[net->lift_bias + i] = i == channels;
        values[head + i] = net->pixels;
    }
}

/* The normalisation comes before the resizing, on the few pixels of the small image: weights of bilinear
 * interpolation add up to 1, so the order changes rounding only. */
FeatureNet features_record(const FeatureSpec *spec, ParamSet *params, Graph *graph) {
    FeatureNet net = {.scaling = NO_PARAM, .shift = NO_PARAM, .lift = NO_PARAM, .channels = spec->channels};
    const bool vgg = spec->kind == FEATURES_VGG16;
    graph_freeze(graph);
    net.input = graph_input(graph, "image", DTYPE_F32, spec->n, spec->h, spec->w, spec->channels, true);
    Value x = vgg ? vgg16_normalise(params, graph, net.input, &net) : net.input;
    x = input_resize(spec, graph, x);
    graph_allow_tf32(graph, spec->tf32);
    if (vgg)
        vgg16_record(spec, params, graph, x, &net);
    else
        classifier_taps(spec, params, graph, x, &net);
    graph_allow_tf32(graph, false);
    if (spec->pixels > 0) image_tap(spec, params, graph, &net);
    for (int i = 0; i < net.taps; i++) graph_output(graph, net.tap[i]);
    return net;
}

void features_fill(const FeatureNet *net, float *values) {
    if (net->scaling != NO_PARAM) vgg16_fill(net, values);
    if (net->lift != NO_PARAM) image_fill(net, values);
}
