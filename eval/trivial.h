/* Sets of images whose scores are known to be bad, beside which others are read: two generators that have
 * learned nothing but the pixels' statistics, and real images. All malloc'ed, count x image. */
#ifndef ICT_EVAL_TRIVIAL_H
#define ICT_EVAL_TRIVIAL_H

#include "data/dataset.h"

enum { REAL_ORDER_SEED = 9 }; /* of real images, of the halves that floors compare */

size_t image_size(const Dataset *); /* height x width x channels */

/* Real images `first` .. of a fixed random order. */
uint8_t *real_images(const Dataset *, int first, int count);

/* The mean image, each pixel with normal noise of that pixel's standard deviation. */
uint8_t *mean_noise_images(const Dataset *, int count);

/* Every value from the same place of another real image. */
uint8_t *pixel_images(const Dataset *, int count);

#endif
