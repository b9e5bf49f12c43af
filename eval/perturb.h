/* Known damage of growing strength to real images: what a metric must notice, and in which direction. So it
 * can be seen on one's own data which metric sees what. */
#ifndef ICT_EVAL_PERTURB_H
#define ICT_EVAL_PERTURB_H

#include "data/dataset.h"

typedef enum PerturbKind {
    PERTURB_NOISE,      /* normal noise; strength: its standard deviation in grey levels */
    PERTURB_BLUR,       /* binomial blur [1 2 1]; strength: how often */
    PERTURB_JPEG,       /* compressed and decompressed; strength: 100 - quality */
    PERTURB_CLASSES,    /* strength: how many classes are missing; the others take their place */
    PERTURB_DUPLICATES, /* strength: how often each image is there */
    PERTURB_KINDS
} PerturbKind;

enum { PERTURB_STRENGTHS = 4 };
typedef struct Perturbation {
    const char *name, *unit;
    int strengths[PERTURB_STRENGTHS]; /* growing */
} Perturbation;
extern const Perturbation perturbations[PERTURB_KINDS];

/* `count` images taken from the first half of the data set in a fixed random order and damaged; malloc'ed.
 * Dropping classes needs labels, JPEG colour images: NULL with an error otherwise. */
uint8_t *perturb_images(const Dataset *, PerturbKind, int strength, int count, Error *);

#endif
