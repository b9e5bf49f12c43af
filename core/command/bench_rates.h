/* What `bench` measures beside whole steps: how fast the device multiplies matrices, and how
 * fast it samples. */
#ifndef ICT_COMMAND_BENCH_RATES_H
#define ICT_COMMAND_BENCH_RATES_H

#include "train/trainer.h"

/* FLOP/s of a matrix product of MATRIX_SIDE^3 in this precision, by the device's own library, over at least
 * `seconds`: what a network could reach if it were nothing but products. Random numbers, because a card at
 * its power limit is quicker with constants. */
enum { MATRIX_SIDE = 8192 };
double bench_matrix_rate(Device *, Precision, double seconds);

/* Images per second of one-step sampling with the trainer's weights, images in host memory included. 0 and an
 * error when it cannot sample. */
double bench_sample_rate(Trainer *, int classes, int image_size, double seconds, Error *);

#endif
