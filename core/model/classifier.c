/* Both architectures as forward descriptions: a trail that each layer moves on, and what is left along it. */
#include "model/classifier.h"
#include "model/layers.h"
#include <math.h>

/* Where the recording stands: the value that the next layer reads, and its channels. */
typedef struct Trail {
    Builder b;
    ClassifierNet net;
    Value x;
    int channels;
} Trail;

static const LayerInit smooth_init = {INIT_KAIMING_NORMAL, 1, 0}; /* nothing rectifies behind it */
static const LayerInit branch_init = {INIT_KAIMING_NORMAL, 0.1f,
                                      0}; /* a residual block begins near nothing */

static Trail trail_begin(ParamSet *params, Graph *graph, Value images) {
    static const ModelConfig none = {0};
    Trail t = {.b = builder_create(&none, params, graph),
               .net = {.logits = NO_VALUE},
               .x = images,
               .channels = graph_shape(graph, images).c};
    t.b.epsilon = 1e-5f;
    t.b.init = (LayerInit){INIT_KAIMING_NORMAL, sqrtf(2), 0};
    return t;
}

/* Every stage but the first works at half the size of the one before. */
static void stage_begin(Trail *t, int stage) {
    char name[48];
    snprintf(name, sizeof name, "stage%d", stage);
    graph_scope(t->b.graph, name);
    if (stage > 0) t->x = graph_pool(t->b.graph, t->x, POOL_MEAN, 2, 2, 0);
}

static void stage_end(Trail *t) {
    t->net.stage[t->net.stages++] = t->x;
}

static void conv(Trail *t, const char *name, int c_out, LayerInit init, Value residual) {
    t->x = layer_conv(&t->b, name, t->x, t->channels, c_out, 1, init, residual, 1);
    t->channels = c_out;
}

static void norm(Trail *t, const char *name, float dropout) {
    const Feature x = {.value = t->x, .second = NO_VALUE, .channels = t->channels};
    t->x = layer_norm_dropout(&t->b, name, x, ACT_SILU, dropout);
}

/* ---- vgg ---- */

static void vgg_record(Trail *t, const ClassifierConfig *config) {
    for (int i = 0; i < config->stages; i++) {
        stage_begin(t, i);
        for (int k = 0; k < config->depth; k++) {
            char name[2][48];
            snprintf(name[0], sizeof name[0], "stage%d.conv%d", i, k);
            snprintf(name[1], sizeof name[1], "stage%d.norm%d", i, k);
            conv(t, name[0], config->widths[i], t->b.init, NO_VALUE);
            norm(t, name[1], k == config->depth - 1 ? config->dropout : 0);
        }
        stage_end(t);
    }
}

/* ---- residual ---- */

/* x + conv1(silu(norm1(conv0(silu(norm0(x)))))); where the width changes, x through a 1x1 convolution. */
static void block_record(Trail *t, int stage, int block, int c_out, float dropout) {
    char name[5][64];
    static const char *const part[5] = {"norm0", "conv0", "norm1", "conv1", "skip"};
    for (int i = 0; i < 5; i++)
        snprintf(name[i], sizeof name[i], "stage%d.block%d.%s", stage, block, part[i]);
    const Feature x = {.value = t->x, .second = NO_VALUE, .channels = t->channels};
    const bool same = t->channels == c_out;
    norm(t, name[0], 0);
    conv(t, name[1], c_out, t->b.init, NO_VALUE);
    norm(t, name[2], dropout);
    conv(t, name[3], c_out, branch_init,
         same ? x.value : layer_point(&t->b, name[4], x, c_out, smooth_init, 0, NO_VALUE, 1));
}

static void residual_record(Trail *t, const ClassifierConfig *config) {
    graph_scope(t->b.graph, "stem");
    conv(t, "stem", config->widths[0], smooth_init, NO_VALUE);
    for (int i = 0; i < config->stages; i++) {
        stage_begin(t, i);
        for (int k = 0; k < config->depth; k++) block_record(t, i, k, config->widths[i], config->dropout);
        stage_end(t);
    }
    graph_scope(t->b.graph, "norm");
    norm(t, "norm", 0);
}

/* ---- what both have ---- */

static void features_take(Trail *t) {
    graph_scope(t->b.graph, "head");
    t->x = graph_pool(t->b.graph, t->x, POOL_MEAN, 0, 0, 0);
    t->net.features = t->x = graph_cast(t->b.graph, t->x, DTYPE_F32);
    t->net.dimension = t->channels;
}

ClassifierNet classifier_record(const ClassifierConfig *config, ParamSet *params, Graph *graph, Value images,
                                int classes, Precision precision) {
    Trail t = trail_begin(params, graph, images);
    graph_allow_tf32(graph, precision == PRECISION_TF32);
    graph_scope(graph, "input");
    t.x = graph_cast(graph, t.x, precision_dtype(precision));
    if (config->architecture == CLASSIFIER_VGG)
        vgg_record(&t, config);
    else
        residual_record(&t, config);
    features_take(&t);
    graph_allow_tf32(graph, false);
    t.net.logits = layer_linear(&t.b, "head", t.x, t.channels, classes, smooth_init, true, NO_VALUE);
    return t.net;
}

bool classifier_width_fits(int width) {
    const int groups = width / 4 < 32 ? width / 4 : 32;
    return groups > 0 && width % groups == 0;
}

ClassifierConfig classifier_small(void) {
    return (ClassifierConfig){
        .architecture = CLASSIFIER_VGG, .stages = 3, .widths = {24, 48, 96}, .depth = 1};
}

ClassifierNet random_features_record(ParamSet *params, Graph *graph, Value images) {
    static const int width[] = {64, RANDOM_FEATURES, RANDOM_FEATURES};
    Trail t = trail_begin(params, graph, images);
    t.b.init.bias_scale = 1; /* random thresholds, so that the rectifiers cut at different places */
    for (int i = 0; i < (int)(sizeof width / sizeof *width); i++) {
        char name[48];
        stage_begin(&t, i);
        snprintf(name, sizeof name, "stage%d.conv", i);
        conv(&t, name, width[i], t.b.init, NO_VALUE);
        t.x = graph_act(graph, t.x, ACT_RELU);
        stage_end(&t);
    }
    features_take(&t);
    return t.net;
}
