/* A feature network at work: prepared for a batch size, with its weights on the device and a hash that names
 * it. */
#ifndef ICT_EVAL_EXTRACTOR_H
#define ICT_EVAL_EXTRACTOR_H

#include "base/hash.h"
#include "model/features.h"
#include "data/dataset.h"

typedef struct Extractor {
    Device *device;
    Graph *graph;
    ParamSet params;
    Value images, output;
    int dimension;  /* of an output: features, or logits */
    float *weights; /* device */
    float *input;   /* device: one batch of images */
    int n, height, width, channels;
    Hash hash; /* of the kind, the shapes and the weights */
} Extractor;

/* The random feature network: weights from a fixed seed, so that everybody's is the same. */
Extractor *extractor_random(const Dataset *like, Device *);

/* A classifier of the data set, trained for a fixed number of steps on all but its last tenth, or read from
 * the file that an earlier training left in `cache_folder`. `accuracy` is that of the held-out tenth. */
Extractor *extractor_classifier(const Dataset *, Device *, const char *cache_folder, double *accuracy,
                                Error *);

/* A network from a file of this kind that must have this SHA-256: FEATURES_VGG16_FC2,
 * VGG-16's second fully connected layer, or FEATURES_CLASSIFIER, means over the image of what a classifier's
 * last stage makes. */
Extractor *extractor_open(const Dataset *like, Device *, FeatureKind, const char *path, const Hash *,
                          Error *);

void extractor_close(Extractor *);

/* Outputs (count x dimension, host) of `count` images given as bytes. */
void extractor_run(Extractor *, const uint8_t *images, int count, float *outputs);

#endif
