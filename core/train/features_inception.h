/* The Inception network from its file at work: bytes of images to features and logits. */
#ifndef ICT_TRAIN_FEATURES_INCEPTION_H
#define ICT_TRAIN_FEATURES_INCEPTION_H

#include "base/hash.h"
#include "model/features.h"
#include "model/inception.h"
#include "base/safetensors.h"

typedef struct InceptionRequest {
    int h, w; /* images, three channels */
    InceptionInput input;
    bool tf32; /* its products may round their factors to TF32 */
} InceptionRequest;

typedef struct InceptionNetwork InceptionNetwork;

/* Reads, folds, prepares; the file must have this SHA-256 unless `hash` is NULL. NULL on error. */
InceptionNetwork *inception_open(const char *path, const char *hash, const InceptionRequest *, Device *,
                                 Error *);
void inception_close(InceptionNetwork *);

int inception_dimension(const InceptionNetwork *); /* 2048 */
int inception_classes(const InceptionNetwork *);   /* 1008 */

/* Where results go, host memory; NULL: not wanted. */
typedef struct InceptionResult {
    float *features; /* count x dimension: means of the last block over its 8 x 8 places */
    float *logits;   /* count x classes, */
    float *scores;   /* and without the last layer's bias, as the inception score takes them */
} InceptionResult;

/* `images`: count x h x w x 3 bytes, host. */
void inception_run(InceptionNetwork *, const uint8_t *images, int count, InceptionResult);

/* Images per second of whole runs from bytes to features over at least `seconds`; with `ops` then the time of
 * every op of a batch. */
double inception_measure(InceptionNetwork *, double seconds, FILE *ops);

/* Whether the file holds all tensors of the described network, and nothing else. */
bool inception_check(const SafeTensors *, const FeatureSpec *, Error *);

#endif
