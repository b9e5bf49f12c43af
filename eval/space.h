/* Feature spaces: networks that turn images into the vectors which distances compare, each under the name
 * that its metrics carry (`fd-random`, `kd-vgg16`, ...). A new network is a row of the table in space.c and a
 * function that opens it; metrics, floors, caches, statistics files and commands follow from the row. */
#ifndef ICT_EVAL_SPACE_H
#define ICT_EVAL_SPACE_H

#include "backend/backend.h"
#include "base/hash.h"
#include "data/dataset.h"

typedef struct Space {
    const char *name;
    int dimension; /* of a feature vector */
    int classes;   /* of the logits that an inception score needs; 0: there are none */
    Hash hash;     /* of everything that decides the features: kind, preprocessing, weights */
    char note[48]; /* what the protocol of its numbers says of it: the images that a classifier has seen */
    void *network;
    /* count images (bytes, NHWC) to count x dimension features and, unless NULL, count x classes logits. */
    void (*run)(void *network, const uint8_t *images, int count, float *features, float *logits);
    void (*close)(void *network);
} Space;

/* Where what is computed once and what is imported lie: results/cache, weights. */
typedef struct SpaceFolders {
    const char *cache, *weights;
} SpaceFolders;

/* Opens the network for images of the size of `like`'s. An error says which weights to fetch, and what can be
 * computed without them. */
bool space_open(const char *name, const Dataset *like, Device *, const SpaceFolders *, Space *, Error *);
void space_close(Space *);

/* The same error without opening anything: for the first second of a run, not its last. `like` NULL: not
 * known yet, so classifiers, of which every data set has its own, are not looked for. */
bool space_available(const char *name, const Dataset *like, const char *weights_folder, Error *);

#endif
