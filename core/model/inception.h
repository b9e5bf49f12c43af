/* Inception-v3 as it was published on 2015-12-05: the network behind FID, KID, the inception score and ADM's
 * precision and recall. The architecture is that of Szegedy et al. 2016 with the three traits of the
 * TensorFlow graph that every port keeps: means of the Mixed blocks leave padding out of the count, the last
 * block pools by maximum, and there are 1008 classes. Names of parameters are those of pytorch-fid's port
 * (pt_inception-2015-12-05-6726825d.pth). Forward only; batch norm is folded into the convolutions. */
#ifndef ICT_MODEL_INCEPTION_H
#define ICT_MODEL_INCEPTION_H

#include "model/param.h"

enum { INCEPTION_SIZE = 299, INCEPTION_FIRST_WIDTH = 32 };

/* How an image becomes the network's input; the two conventions give visibly different numbers.
 *
 *   tf1          bilinear as TensorFlow 1 had it (no half-pixel centres), (byte - 128)/128:
 *                torch-fidelity, and near to the original graph
 *
 *   pytorch-fid  half-pixel bilinear, 2 byte/255 - 1
 */
typedef enum InceptionInput { INCEPTION_TF1, INCEPTION_PYTORCH_FID } InceptionInput;

typedef struct InceptionSpec {
    int n, h, w; /* images, three channels */
    int divisor; /* of all widths: 1, or for tests a divisor of 16 */
    int classes; /* 1008 */
    InceptionInput input;
    bool tf32; /* products may round their factors to TF32 */
} InceptionSpec;

typedef struct InceptionNet {
    Value input;          /* n x h x w x 3 bytes */
    Value pooled;         /* n x 1 x 1 x 2048/divisor */
    Value logits, scores; /* n x 1 x 1 x classes: with the bias; without it, for the inception score */
} InceptionNet;

/* Records the network, its bilinear enlargement to 299 x 299 included, in a fresh graph. */
InceptionNet inception_record(const InceptionSpec *, ParamSet *, Graph *);

/* After the file's values are in the flat host array: adds what bytes stand for, and folds every batch norm
 * (epsilon 1e-3) into the weight of its convolution and into bn.bias, in double. */
void inception_finish(const InceptionSpec *, const ParamSet *, float *values);

const char *inception_input_name(InceptionInput);

#endif
