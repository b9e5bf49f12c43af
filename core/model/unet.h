/* The networks of the paper, described once, as a forward pass: EDM's SongUNet (NCSN++ and DDPM++) and
 * DhariwalUNet (ADM). */
#ifndef ICT_MODEL_UNET_H
#define ICT_MODEL_UNET_H

#include "model/param.h"

enum { MAX_LEVELS = 8 };

typedef enum Architecture { ARCHITECTURE_SONG, ARCHITECTURE_ADM } Architecture;
/* SongUNet's: residual adds a learned pyramid of the input to the features, skip the input itself, made
 * smaller. */
typedef enum Encoder { ENCODER_STANDARD, ENCODER_RESIDUAL, ENCODER_SKIP } Encoder;
/* SongUNet's: skip makes an image at every resolution and adds them up; standard makes one at the end. */
typedef enum Decoder { DECODER_STANDARD, DECODER_SKIP } Decoder;

typedef struct ModelConfig {
    Architecture architecture;
    int channels;                          /* base width */
    int multipliers[MAX_LEVELS], levels;   /* width of each resolution, in base widths */
    int blocks;                            /* residual blocks a resolution */
    int attention[MAX_LEVELS], attentions; /* resolutions with attention */
    int head_channels;                     /* channels a head; 0: a single head */
    EmbeddingKind embedding;
    float fourier_scale;                        /* 16 in CM, 0.02 in iCT */
    float noise_scale;                          /* multiplies c_noise; 1000 in OpenAI's ADM */
    int noise_multiplier, embedding_multiplier; /* widths of noise embedding and of its MLP, in base widths */
    Encoder encoder;
    Decoder decoder;
    int filter[4], filter_taps; /* FIR taps, not normalised: [1,1] or [1,3,3,1] */
    float dropout;
    int dropout_max_resolution; /* 0: everywhere */
    bool scale_shift;           /* adaptive group norm (ADM) */
    int classes;                /* 0: unconditional */
    float label_dropout;        /* share of training images whose class is hidden (EDM) */
    int augment_dim;            /* EDM's augmentation labels; 0: none */
} ModelConfig;

typedef struct UNet {
    Value input;   /* n x h x w x c: c_in * x */
    Value level;   /* n x LEVEL_FIELDS */
    Value label;   /* one-hot n x classes, NO_VALUE when unconditional */
    Value augment; /* n x augment_dim, NO_VALUE when absent */
    Value output;  /* F */
} UNet;

/* Records the network for `n` images of `resolution`^2 x `channels`, declaring its parameters on the way.
 *
 * In 16 bits the input, features and weights of convolutions are rounded; noise embedding, its MLP, the
 * affine layers of the blocks and the output F stay in fp32. The difference of student and teacher lives
 * there: in bf16 a seventh of all pairs at N = 1281 would have the same c_noise, and F rounded to bf16 would
 * add a residual as large as the pseudo-Huber c. */
UNet unet_record(const ModelConfig *, ParamSet *, Graph *, int n, int resolution, int image_channels,
                 Precision);

#endif
