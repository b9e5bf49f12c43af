/* Small networks that judge images: a classifier, and the same kind of network with random weights whose
 * features need no training (Naeem et al. 2020 showed that random embeddings judge sets of images sensibly).
 */
#ifndef ICT_MODEL_CLASSIFIER_H
#define ICT_MODEL_CLASSIFIER_H

#include "model/param.h"

enum { CLASSIFIER_STAGES = 3 };

typedef struct JudgeNet {
    Value input;                    /* n x h x w x c, fp32 in [-1, 1] */
    Value stage[CLASSIFIER_STAGES]; /* of a classifier: what each stage makes */
    Value output;                   /* n x 1 x 1 x dimension: logits, or pooled features */
    int dimension;
} JudgeNet;

/* conv - group norm - SiLU, three times with mean pooling between; mean over the image; linear to `classes`
 * logits. */
JudgeNet classifier_record(ParamSet *, Graph *, int n, int resolution, int channels, int classes);

/* The same on images that the graph has already, without naming an output. */
JudgeNet classifier_record_on(ParamSet *, Graph *, Value input, int channels, int classes);

enum { RANDOM_FEATURES = 128 };

/* conv - ReLU, three times with mean pooling between; mean over the image: RANDOM_FEATURES numbers an image.
 */
JudgeNet random_features_record(ParamSet *, Graph *, int n, int resolution, int channels);

#endif
