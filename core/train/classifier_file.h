/* What a trained classifier is called, which images it has seen, and how it lies in a file.
 *
 *   weights/classifier-judge-cifar10/     the judge J: residual, its features judge sets of images
 *   weights/classifier-loss-cifar10/      the loss network P: vgg, its stages measure a perceptual distance
 *   weights/classifier-judge-shapes-16-50000/
 *
 * Of built-in data there are many sets: the name has resolution and count, so that a test's hasty classifier
 * of few images serves nobody else.
 *
 * Judge and loss must not know each other: they are of different architectures and trained on different
 * images, and neither has seen those that their accuracy is measured on.
 */
#ifndef ICT_TRAIN_CLASSIFIER_FILE_H
#define ICT_TRAIN_CLASSIFIER_FILE_H

#include "model/classifier.h"
#include "data/dataset.h"
#include "base/safetensors.h"

typedef enum ClassifierRole { CLASSIFIER_JUDGE, CLASSIFIER_LOSS } ClassifierRole;
const char *classifier_role_name(ClassifierRole); /* "judge", "loss" */

/* "classifier-judge-cifar10". */
const char *classifier_name(ClassifierRole, const Dataset *, char out[64]);

/* Images first .. first + count - 1 of a set. */
typedef struct ImageRange {
    int first, count;
} ImageRange;
const char *image_range_name(ImageRange, char out[32]); /* "25000-44999" */

/* Of `count` images: the first half trains the loss network, the next four tenths the judge; the last tenth
 * is held out. Of 50,000: 0-24999, 25000-44999, 45000-49999. */
ImageRange classifier_train_range(ClassifierRole, int count);
ImageRange classifier_held_out(int count);

/* What stands in the metadata beside kind "classifier", and in weights.yaml after an import. */
typedef struct ClassifierFacts {
    ClassifierRole role;
    const Dataset *data;
    ImageRange trained, held_out;
    double accuracy;          /* share of the held-out images that it classifies rightly */
    const char *run, *commit; /* what trained it; may be NULL */
} ClassifierFacts;

/* `values`: the flat host array of the network's parameters. */
bool classifier_file_write(const char *path, const ParamSet *, const float *values, const ClassifierFacts *,
                           Error *);

/* ---- classifier_read.c ---- */

/* What a file says of itself. */
typedef struct ClassifierRecord {
    ClassifierRole role;
    char dataset[64], data_hash[65];
    ImageRange trained;
} ClassifierRecord;

/* False, and an error, when the file is no classifier of this project's. */
bool classifier_record_read(const SafeTensors *, ClassifierRecord *, Error *);
bool classifier_file_read(const char *path, ClassifierRecord *, Error *);

/* Loss network and judge are of different roles and have seen no image in common; otherwise what a model was
 * trained to please would also judge it. */
bool classifiers_independent(const ClassifierRecord *loss, const ClassifierRecord *judge, Error *);

#endif
