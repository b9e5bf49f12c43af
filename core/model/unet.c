/* SongUNet (NCSN++, DDPM++) and DhariwalUNet (ADM), as in EDM (Karras et al. 2022, appendix F.1), whose names
 * they keep. The two share encoder, bottleneck and decoder and differ in the noise embedding, the
 * initialisation, the shortcut of resampling blocks, where the decoder attends, and SongUNet's input pyramid.
 */
#include "model/layers.h"
#include <math.h>
#include <stdio.h>

enum { MAX_SKIPS = 256 };

typedef struct Trunk {
    Builder b;
    UNet net;
    Feature x;
    Feature skips[MAX_SKIPS];
    int skip_count, resolution, image_channels;
    Value pyramid; /* SongUNet's encoder: the input at this level, as it is (skip) or learned (residual) */
    int pyramid_channels;
    Value image; /* SongUNet's skip decoder: what the levels below have made, else NO_VALUE */
} Trunk;

static bool is_song(const Trunk *t) {
    return t->b.config->architecture == ARCHITECTURE_SONG;
}

static int level_resolution(const Trunk *t, int level) {
    return t->resolution >> level;
}

static int level_width(const Trunk *t, int level) {
    return t->b.config->channels * t->b.config->multipliers[level];
}

static bool attends(const Trunk *t, int resolution) {
    for (int i = 0; i < t->b.config->attentions; i++)
        if (t->b.config->attention[i] == resolution) return true;
    return false;
}

/* ---- noise embedding ---- */

static Value embed_noise(Trunk *t, int channels) {
    Builder *b = &t->b;
    const ModelConfig *config = b->config;
    const bool fourier = config->embedding == EMBED_FOURIER;
    const ParamInit positional = is_song(t) ? INIT_POSITIONAL_ENDPOINT : INIT_POSITIONAL;
    const Param frequency = {.name = "map_noise.freqs",
                             .rank = 1,
                             .shape = {channels / 2},
                             .in_file = fourier,
                             .init = fourier ? INIT_NORMAL : positional,
                             .init_scale = config->fourier_scale};
    const NoiseEmbed embed = {
        .kind = config->embedding, .cosine_first = !is_song(t), .noise_scale = config->noise_scale};
    return graph_noise_embed(b->graph, t->net.level, param_declare(b->params, frequency), channels, embed);
}

/* SongUNet: labels and augmentation labels are added before the MLP, which ends with an activation. */
static void embed_song(Trunk *t) {
    Builder *b = &t->b;
    const ModelConfig *config = b->config;
    const int noise = config->noise_multiplier * config->channels,
              width = config->embedding_multiplier * config->channels;
    Value e = embed_noise(t, noise);
    if (t->net.label != NO_VALUE) {
        const Value scaled = graph_add(b->graph, t->net.label, NO_VALUE, sqrtf((float)config->classes), 0);
        e = layer_linear(b, "map_label", scaled, config->classes, noise, b->init, true, e);
    }
    if (t->net.augment != NO_VALUE)
        e = layer_linear(b, "map_augment", t->net.augment, config->augment_dim, noise, b->init, false, e);
    e = graph_act(b->graph, layer_linear(b, "map_layer0", e, noise, width, b->init, true, NO_VALUE),
                  ACT_SILU);
    b->embedding = graph_act(
        b->graph, layer_linear(b, "map_layer1", e, width, width, b->init, true, NO_VALUE), ACT_SILU);
}

/* DhariwalUNet: the label is added after the MLP, before its last activation. */
static void embed_adm(Trunk *t) {
    Builder *b = &t->b;
    const ModelConfig *config = b->config;
    const int noise = config->noise_multiplier * config->channels,
              width = config->embedding_multiplier * config->channels;
    Value e = embed_noise(t, noise);
    if (t->net.augment != NO_VALUE)
        e = layer_linear(b, "map_augment", t->net.augment, config->augment_dim, noise, b->init_zero, false,
                         e);
    e = graph_act(b->graph, layer_linear(b, "map_layer0", e, noise, width, b->init, true, NO_VALUE),
                  ACT_SILU);
    e = layer_linear(b, "map_layer1", e, width, width, b->init, true, NO_VALUE);
    if (t->net.label != NO_VALUE) {
        const LayerInit init = {INIT_KAIMING_NORMAL, sqrtf((float)config->classes), 0};
        e = layer_linear(b, "map_label", t->net.label, config->classes, width, init, false, e);
    }
    b->embedding = graph_act(b->graph, e, ACT_SILU);
}

/* ---- encoder ---- */

static void push_skip(Trunk *t) {
    CHECK(t->skip_count < MAX_SKIPS, "more than %d skip connections", MAX_SKIPS);
    t->skips[t->skip_count++] = t->x;
}

static void block(Trunk *t, const char *side, int level, const char *part, BlockSpec spec) {
    char name[64];
    snprintf(name, sizeof name, "%s.%dx%d_%s", side, level_resolution(t, level), level_resolution(t, level),
             part);
    t->x = layer_block(&t->b, name, t->x, spec);
}

static void encode_first(Trunk *t) {
    char name[64];
    const int width = is_song(t) ? t->b.config->channels : level_width(t, 0);
    snprintf(name, sizeof name, "enc.%dx%d_conv", t->resolution, t->resolution);
    graph_scope(t->b.graph, name);
    const Value h =
        layer_conv(&t->b, name, t->net.input, t->image_channels, width, 1, t->b.init, NO_VALUE, 1);
    t->x = (Feature){.value = h, .second = NO_VALUE, .channels = width, .resolution = t->resolution};
    push_skip(t);
}

/* The input pyramid: the previous one through a 3x3 convolution and the FIR filter, added to the features;
 * the sum is the next pyramid. */
static void encode_pyramid(Trunk *t, int level) {
    char name[64];
    Builder *b = &t->b;
    const int res = level_resolution(t, level);
    snprintf(name, sizeof name, "enc.%dx%d_aux_residual", res, res);
    graph_scope(b->graph, name);
    const Value h = layer_conv_down(b, name, t->pyramid, t->pyramid_channels, t->x.channels, b->init);
    t->pyramid = t->x.value = graph_add(b->graph, t->x.value, h, sqrtf(0.5f), sqrtf(0.5f));
    t->pyramid_channels = t->x.channels;
    t->skips[t->skip_count - 1] = t->x;
}

/* The input itself, made smaller by the filter alone, through a 1x1 convolution added to the features. */
static void encode_skip(Trunk *t, int level) {
    char name[64];
    const int res = level_resolution(t, level);
    snprintf(name, sizeof name, "enc.%dx%d_aux_skip", res, res);
    graph_scope(t->b.graph, name);
    t->pyramid = layer_resample(&t->b, t->pyramid, RESAMPLING_DOWN, (t->b.tap_count - 1) / 2);
    const Feature from = {.value = t->pyramid, .second = NO_VALUE, .channels = t->image_channels};
    t->x.value = layer_point(&t->b, name, from, t->x.channels, t->b.init, 0, t->x.value, 1);
    t->skips[t->skip_count - 1] = t->x;
}

static void encode_auxiliary(Trunk *t, int level) {
    if (!is_song(t)) return;
    if (t->b.config->encoder == ENCODER_RESIDUAL) encode_pyramid(t, level);
    if (t->b.config->encoder == ENCODER_SKIP) encode_skip(t, level);
}

static void encode(Trunk *t) {
    char part[32];
    const ModelConfig *config = t->b.config;
    t->pyramid = t->net.input, t->pyramid_channels = t->image_channels;
    encode_first(t);
    for (int level = 0; level < config->levels; level++) {
        if (level > 0) {
            block(t, "enc", level, "down",
                  (BlockSpec){.c_out = t->x.channels, .resampling = RESAMPLING_DOWN});
            push_skip(t);
            encode_auxiliary(t, level);
        }
        for (int i = 0; i < config->blocks; i++) {
            snprintf(part, sizeof part, "block%d", i);
            block(
                t, "enc", level, part,
                (BlockSpec){level_width(t, level), attends(t, level_resolution(t, level)), RESAMPLING_NONE});
            push_skip(t);
        }
    }
}

/* ---- decoder ---- */

static void decode_block(Trunk *t, int level, int i) {
    char part[32];
    const Feature skip = t->skips[--t->skip_count];
    /* SongUNet attends once a resolution, after the last block; DhariwalUNet after every block. */
    const bool attention =
        attends(t, level_resolution(t, level)) && (!is_song(t) || i == t->b.config->blocks);
    t->x.second = skip.value, t->x.second_channels = skip.channels;
    snprintf(part, sizeof part, "block%d", i);
    block(t, "dec", level, part, (BlockSpec){level_width(t, level), attention, RESAMPLING_NONE});
}

/* Norm, SiLU and a convolution to an image, added to the enlarged image of the levels below, if there is one.
 * Images are in fp32. */
static void decode_image(Trunk *t, int level) {
    char norm[64] = "out_norm", conv[64] = "out_conv";
    const int res = level_resolution(t, level);
    if (is_song(t)) {
        snprintf(norm, sizeof norm, "dec.%dx%d_aux_norm", res, res);
        snprintf(conv, sizeof conv, "dec.%dx%d_aux_conv", res, res);
    }
    graph_scope(t->b.graph, "head");
    if (t->image != NO_VALUE)
        t->image = layer_resample(&t->b, t->image, RESAMPLING_UP, (t->b.tap_count - 1) / 2);
    const Value h = layer_norm(&t->b, norm, t->x, ACT_SILU);
    graph_allow_tf32(t->b.graph, false);
    t->image = layer_image(&t->b, conv, h, t->x.channels, t->image_channels, t->b.init_zero, t->image);
    graph_allow_tf32(t->b.graph, t->b.tf32);
}

static void decode(Trunk *t) {
    const int last = t->b.config->levels - 1;
    const bool every_level = is_song(t) && t->b.config->decoder == DECODER_SKIP;
    for (int level = last; level >= 0; level--) {
        if (level == last) {
            block(t, "dec", level, "in0", (BlockSpec){t->x.channels, true, RESAMPLING_NONE});
            block(t, "dec", level, "in1", (BlockSpec){t->x.channels, false, RESAMPLING_NONE});
        } else {
            block(t, "dec", level, "up", (BlockSpec){t->x.channels, false, RESAMPLING_UP});
        }
        for (int i = 0; i <= t->b.config->blocks; i++) decode_block(t, level, i);
        if (every_level || level == 0) decode_image(t, level);
    }
    t->net.output = t->image;
    graph_output(t->b.graph, t->net.output);
}

/* ---- the network ---- */

static void configure_song(Builder *b) {
    b->init = (LayerInit){INIT_XAVIER_UNIFORM, 1, 0};
    b->init_zero = (LayerInit){INIT_XAVIER_UNIFORM, 1e-5f, 0};
    b->init_attention = (LayerInit){INIT_XAVIER_UNIFORM, sqrtf(0.2f), 0};
    b->epsilon = 1e-6f;
    b->skip_scale = sqrtf(0.5f);
    b->project_resampled_skip = true;
}

static void configure_adm(Builder *b) {
    b->init = (LayerInit){INIT_KAIMING_UNIFORM, sqrtf(1.0f / 3), sqrtf(1.0f / 3)};
    b->init_zero = (LayerInit){INIT_CONSTANT, 0, 0};
    b->init_attention = b->init;
    b->epsilon = 1e-5f;
    b->skip_scale = 1;
}

UNet unet_record(const ModelConfig *config, ParamSet *params, Graph *graph, int n, int resolution,
                 int image_channels, Precision precision) {
    Trunk t = {.b = builder_create(config, params, graph),
               .resolution = resolution,
               .image_channels = image_channels,
               .image = NO_VALUE};
    CHECK(resolution % (1 << (config->levels - 1)) == 0, "resolution %d cannot be halved %d times",
          resolution, config->levels - 1);
    t.net.input = graph_input(graph, "input", precision_dtype(precision), n, resolution, resolution,
                              image_channels, false);
    t.net.level = graph_input(graph, "level", DTYPE_F32, n, 1, 1, LEVEL_FIELDS, false);
    t.net.label = t.net.augment = NO_VALUE;
    if (config->classes)
        t.net.label = graph_input(graph, "label", DTYPE_F32, n, 1, 1, config->classes, false);
    if (config->augment_dim)
        t.net.augment = graph_input(graph, "augment", DTYPE_F32, n, 1, 1, config->augment_dim, false);
    graph_scope(graph, "map");
    if (is_song(&t)) {
        configure_song(&t.b);
        embed_song(&t);
    } else {
        configure_adm(&t.b);
        embed_adm(&t);
    }
    t.b.tf32 = precision == PRECISION_TF32;
    graph_allow_tf32(graph, t.b.tf32);
    encode(&t);
    decode(&t);
    return t.net;
}
