/* Feature networks of perceptual distances: a graph from images to taps, the stages whose activations are
 * compared. Recorded frozen, with gradients for the images. Which kind a file of weights is for stands in the
 * file (train/features.h), so whoever uses one need not know:
 *
 *   vgg16        VGG-16 (Simonyan & Zisserman 2015) under torchvision's names (features.0.weight ...), taps
 *                relu1_2 ... relu5_3, with the non-negative channel weights of LPIPS (Zhang et al. 2018,
 *                version 0.1: lin0.model.1.weight ...), ImageNet's normalisation included
 *   classifier   a network of model/classifier.h, taps after its stages, every channel counting 1
 *
 * Two kinds judge sets of images instead, and have no gradients:
 *
 *   inception    model/inception.h
 *   vgg16-fc2    VGG-16 up to its second fully connected layer, under torchvision's names
 */
#ifndef ICT_MODEL_FEATURES_H
#define ICT_MODEL_FEATURES_H

#include "model/classifier.h"
#include "model/param.h"

enum { MAX_TAPS = 6, VGG_STAGES = 5 };

typedef enum FeatureKind {
    FEATURES_VGG16,
    FEATURES_CLASSIFIER,
    FEATURES_INCEPTION,
    FEATURES_VGG16_FC2,
    FEATURE_KINDS
} FeatureKind;

/* The network as its file has it, and what it is recorded for. */
typedef struct FeatureSpec {
    FeatureKind kind;
    int channels;           /* of the images; 3 for a vgg16 */
    int widths[VGG_STAGES]; /* of a VGG-16: channels of its stages; of an inception: of the first layer */
    int classes;            /* of a classifier, an inception */
    ClassifierConfig classifier;
    int units;                /* of a vgg16-fc2: of each fully connected layer */
    int resolution;           /* of the images it was trained on; 0: not known */
    int n, h, w;              /* images */
    int resized_h, resized_w; /* they are brought to this size first, bilinearly */
    PoolKind pool;            /* of a vgg16; max, as it was trained, or mean */
    float pixels;             /* weight of the image itself as a last tap; 0: it is none */
    bool tf32;
} FeatureSpec;

typedef struct FeatureNet {
    Value input; /* n x h x w x c, fp32 in [-1, 1] */
    Value tap[MAX_TAPS];
    ParamOffset head[MAX_TAPS]; /* weights of the tap's channels; NO_PARAM: 1 each */
    int taps;
    ParamOffset scaling, shift; /* of a vgg16's normalisation */
    ParamOffset lift;           /* of the image as a tap: weight, then bias at lift_bias; NO_PARAM */
    ParamOffset lift_bias;
    int channels;
    float pixels;
} FeatureNet;

/* Group norm takes contrast out of what a classifier's stages see, and distances compare directions only: two
 * images that differ in contrast alone are the same to it. So the image can be a tap too: each pixel with a 1
 * beside its colours, whose direction says colour and brightness. */
FeatureNet features_record(const FeatureSpec *, ParamSet *, Graph *);

/* What no file holds: the constants of a vgg16's normalisation and of the image as a tap. `values` is the
 * flat host array. */
void features_fill(const FeatureNet *, float *values);

/* ---- vgg.c ---- */

/* (x + 1)/2 normalised by ImageNet's mean and deviation; the constants themselves. */
Value vgg16_normalise(ParamSet *, Graph *, Value x, FeatureNet *);
void vgg16_fill(const FeatureNet *, float *values);
/* The convolutions of a normalised image, and the taps. */
void vgg16_record(const FeatureSpec *, ParamSet *, Graph *, Value x, FeatureNet *);

enum { VGG_SIZE = 224 };

/* A whole vgg16-fc2 on images n x h x w x 3 (fp32 in [-1, 1]): n x 1 x 1 x units, after the rectifier.
 * Resized to 224 x 224 as TensorFlow 1 did and normalised: torch-fidelity's `fc2_relu`, of its precision and
 * recall. Of `net` it fills what features_fill() needs. Names no output. */
Value vgg16_fc2_record(const FeatureSpec *, ParamSet *, Graph *, Value images, FeatureNet *net);

#endif
