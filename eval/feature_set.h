/* The features of one set of images in one space: what every metric on that space reads, computed once. */
#ifndef ICT_EVAL_FEATURE_SET_H
#define ICT_EVAL_FEATURE_SET_H

#include "eval/moments.h"
#include "eval/points.h"
#include "eval/space.h"

typedef struct FeatureSet {
    int64_t count; /* images; 0: not known (a statistics file that does not say) */
    int dimension, classes;
    Moments moments;
    float *rows;   /* count x dimension, or NULL: only the moments are kept */
    float *logits; /* count x classes, or NULL */
} FeatureSet;

/* What is kept beside the moments. 50,000 vectors of 2,048 features are 400 MB. */
typedef struct FeatureKeep {
    bool rows, logits;
} FeatureKeep;

/* Of `count` images (bytes, NHWC, each `image_size` of them). A feature that is not finite is an error that
 * names the image. */
bool feature_set_compute(FeatureSet *, const Space *, const uint8_t *images, int64_t count, size_t image_size,
                         FeatureKeep, Error *);

/* The moments of all images, and in the same pass those of the sets that feature_set_part(0, n) and
 * feature_set_part(count / 2, count / 2) would give; n is at most half of them. */
bool feature_set_halves(FeatureSet *all, FeatureSet halves[2], const Space *, const uint8_t *images,
                        int64_t count, size_t image_size, int64_t n, Error *);

/* Of given rows (count x dimension), which it takes over (malloc'ed), also on failure. */
bool feature_set_adopt(FeatureSet *, float *rows, int64_t count, int dimension, Error *);

/* `count` of its rows in the order of a fixed permutation, from place `first` on; must have rows. */
void feature_set_part(const FeatureSet *, int64_t first, int64_t count, FeatureSet *part);

Points feature_set_points(const FeatureSet *);
void feature_set_free(FeatureSet *);

/* The moments of a data set in a space, in a file of `folder` whose name has both hashes; exact to the bit. A
 * file that cannot be read is computed anew. */
bool feature_cache_read(FeatureSet *, const Space *, const char *reference_hash, const char *folder);
bool feature_cache_write(const FeatureSet *, const Space *, const char *reference_hash, const char *folder,
                         Error *);

#endif
