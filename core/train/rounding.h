/* What a low precision does to a trained network. Consistency training learns from the residual
 * r = f(student) - f(teacher) of one image at two neighbouring noise levels. With growing N the levels, and
 * so the two outputs, come together, while the rounding of a network's activations stays what it is: at some
 * N it is no longer small beside r. Here r and the gradient are computed in every precision from the same
 * weights, images, noise, pairs of levels and dropout masks, and set beside fp32's.
 */
#ifndef ICT_TRAIN_ROUNDING_H
#define ICT_TRAIN_ROUNDING_H

#include "train/trainer.h"

enum { PRECISIONS = 4, ROUNDING_MOST_LEVELS = 16 };

typedef struct RoundingSetup {
    const char *checkpoint; /* of a run: its weights, and its teacher where it has one */
    const ModelConfig *model;
    const CtConfig *ct;
    const Dataset *data;
    bool flip;
    Device *device;
    uint64_t seed;
    int images;           /* the run's next batch, if it were of this size */
    double loss_scale;    /* of fp16; halved until the gradient is finite */
    const char *features; /* as in TrainSetup */
} RoundingSetup;

typedef struct RoundingRow {
    Precision precision;
    int N;
    double median, upper; /* of ||r - r_32|| / ||r_32|| over the images; upper: nine tenths are below */
    double cosine;        /* of the angle between the batch's gradient and fp32's */
    double rate;          /* images/s of both passes and the backward one, without the optimiser */
} RoundingRow;

/* Fills `rows`: for each of the `levels` numbers of levels N (2 or more) a row for each precision. A CPU
 * computes all of them in fp32, so that nothing differs there. `step`: of the checkpoint. */
bool rounding_measure(const RoundingSetup *, const int *N, int levels, RoundingRow *rows, int64_t *step,
                      Error *);

/* The rule by which a precision is as good as fp32 on a card, and is recommended: the fastest whose median at
 * this N is at most ROUNDING_BOUND; of two whose rates differ by less than a twentieth, the one nearer to
 * fp32. */
#define ROUNDING_BOUND 0.15
Precision rounding_choice(const RoundingRow *rows, int count, int N);

/* ||a - b|| / ||b|| of each of n images of `size` elements. */
void rounding_ratios(const float *a, const float *b, int n, int size, double *ratios);
/* The share-th quantile (0.5: the median) of n numbers, which are sorted. */
double rounding_quantile(double *values, int n, double share);

#endif
