/* Classifiers of images, and what can be taken from them once they are trained: the activations of their
 * stages, whose differences make a perceptual distance, and the pooled features, whose Gaussians make a
 * Frechet distance. Two architectures, so that the network that a model was trained against is not the one
 * that judges it:
 *
 *   vgg       the loss network P: convolution - group norm - SiLU, `depth` times a stage
 *   residual  the judge J: a first convolution, then `depth` residual blocks a stage (norms before the
 *             convolutions, He et al. 2016), a norm at the end
 *
 * Both halve the image by mean pooling between stages, take the mean over what is left, and end in one linear
 * layer. GroupNorm, because it is in every backend and does not mix the images of a batch.
 *
 * Here too are random features: the same kind of network with random weights, whose features need no training
 * (Naeem et al. 2020 showed that random embeddings judge sets of images sensibly).
 */
#ifndef ICT_MODEL_CLASSIFIER_H
#define ICT_MODEL_CLASSIFIER_H

#include "backend/tensor.h"
#include "model/param.h"

enum { CLASSIFIER_STAGES = 5, CLASSIFIER_DEPTH = 8 }; /* at most */

typedef enum ClassifierArchitecture { CLASSIFIER_VGG, CLASSIFIER_RESIDUAL } ClassifierArchitecture;

typedef struct ClassifierConfig {
    ClassifierArchitecture architecture;
    int stages, widths[CLASSIFIER_STAGES]; /* channels of each stage */
    int depth;                             /* convolutions (vgg) or blocks (residual) a stage */
    float dropout; /* in training: within each block, behind each stage's last norm (vgg) */
} ClassifierConfig;

typedef struct ClassifierNet {
    Value stage[CLASSIFIER_STAGES]; /* what each stage makes: the taps of a perceptual distance */
    int stages;
    Value features; /* n x 1 x 1 x dimension in fp32: means over the image of what the head reads */
    int dimension;  /* the last stage's width */
    Value logits;   /* n x 1 x 1 x classes in fp32; NO_VALUE of random features */
} ClassifierNet;

/* On images n x h x w x c in fp32, [-1, 1]; h and w must divide by 2^(stages - 1). Names no output: whoever
 * records it does (graph_output), for what is to be read. */
ClassifierNet classifier_record(const ClassifierConfig *, ParamSet *, Graph *, Value images, int classes,
                                Precision);

/* Group norm takes min(width / 4, 32) groups, which must divide the width. */
bool classifier_width_fits(int width);

/* The small one that the metric `classifier` trains in passing. */
ClassifierConfig classifier_small(void);

enum { RANDOM_FEATURES = 128 };

/* conv - ReLU, three times with mean pooling between; mean over the image: RANDOM_FEATURES
 * numbers an image. */
ClassifierNet random_features_record(ParamSet *, Graph *, Value images);

#endif
