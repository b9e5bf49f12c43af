/* Data sets: data/<name>/{images.npy, labels.npy, dataset.yaml}, memory-mapped; and `shapes`, built in and
 * drawn from a seed. The hash identifies the pixels and labels; it enters every run's id. */
#ifndef ICT_DATA_DATASET_H
#define ICT_DATA_DATASET_H

#include "base/error.h"
#include "base/hash.h"
#include "base/text.h"
#include <stdint.h>

typedef struct DataConfig {
    char name[64];
    int resolution; /* of shapes (0: 32); stored sets have their own, which a resolution other than 0 must
                       equal */
    int count;      /* of shapes (0: 10,000); of a stored set its first `count` images (0: all) */
    int64_t seed;   /* of shapes */
    bool flip;
} DataConfig;

typedef struct Dataset {
    char name[64];
    int count, height, width, channels, classes;
    const uint8_t *images;    /* count x height x width x channels */
    const int32_t *labels;    /* NULL without labels */
    char class_names[64][24]; /* may be empty */
    Hash hash;
    void *storage; /* the implementation's */
} Dataset;

/* `folder` is the data folder ("data"). The message for a missing set says how to import it. */
bool dataset_open(const DataConfig *, const char *folder, Dataset *, Error *);
void dataset_close(Dataset *);

/* Writes data/<name>/ from: a zip or folder of PNG/JPEG files (labels from EDM's dataset.json when present),
 * the CIFAR-10 binary archive (cifar-10-binary.tar.gz or its unpacked .bin files), or the downsampled
 * ImageNet's npz files (one, a folder of them, or their zips). The kind is found out from the file. */
bool dataset_import(const char *name, const char *path, const char *folder, Error *);

/* One line per stored set and the built-in ones. */
bool dataset_list(const char *folder, Error *);

/* "cifar10: 50000 images of 10 classes, 5000 each", and "5000" or "732 to 1300" ("" without labels). */
void dataset_summary(const Dataset *, Text *out);
const char *dataset_each_class(const Dataset *, char out[32]);

/* How many classes have no images, and, if any, a sentence that names them. */
int dataset_empty_classes(const Dataset *, Text *out);

/* The summary, and how many images of each class there are, as lines to be read. */
void dataset_describe(const Dataset *, Text *out);

#endif
