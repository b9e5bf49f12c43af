/* The perceptual distance (LPIPS, Zhang et al. 2018) between two batches of images and its gradient: both go
 * through a feature network, and at each tap the directions of their features are compared. The second batch,
 * the teacher's, is under stop-gradient; equal images are exactly 0 apart. */
#ifndef ICT_CT_PERCEPTUAL_H
#define ICT_CT_PERCEPTUAL_H

#include "graph/graph.h"

enum { PERCEPTUAL_TAPS = 8 };

/* A feature network, frozen, prepared for TRAIN, and its parameters in device memory (train/features.h makes
 * one). */
typedef struct FeatureNetwork {
    Graph *graph;
    Value input, tap[PERCEPTUAL_TAPS];
    const float *head[PERCEPTUAL_TAPS]; /* weights of the tap's channels, NULL: 1 each */
    int taps;
    int n, h, w, c;       /* images it takes at a time */
    const float *weights; /* flat */
} FeatureNetwork;

typedef struct Perceptual Perceptual;

/* `network` is borrowed. */
Perceptual *perceptual_create(const FeatureNetwork *network, Device *);
void perceptual_free(Perceptual *);

typedef struct PerceptualRun {
    Tensor a, b;        /* fp32 images in [-1, 1]; network->n divides their number */
    Tensor da;          /* gradient of sum_i scale level_i.weight distance_i with respect to a */
    const Level *level; /* one each */
    float scale;
    float *distance; /* one each */
} PerceptualRun;
void perceptual_run(Perceptual *, const PerceptualRun *);

#endif
