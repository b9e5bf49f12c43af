#include "model/features.h"

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

/* The normalisation comes before the resizing, on the few pixels of the small image: weights of bilinear
 * interpolation add up to 1, so the order changes rounding only. */
FeatureNet features_record(const FeatureSpec *spec, ParamSet *params, Graph *graph) {
    FeatureNet net = {.scaling = NO_PARAM, .shift = NO_PARAM};
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
    for (int i = 0; i < net.taps; i++) graph_output(graph, net.tap[i]);
    return net;
}

void features_fill(const FeatureNet *net, float *values) {
    if (net->scaling != NO_PARAM) vgg16_fill(net, values);
}
