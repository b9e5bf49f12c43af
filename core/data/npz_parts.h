/* The npz files that make up one data set, in the order of their numbers. */
#ifndef ICT_DATA_NPZ_PARTS_H
#define ICT_DATA_NPZ_PARTS_H

#include "base/error.h"
#include <stdint.h>

typedef struct NpzPart {
    char *path;
    int count, side; /* images, and their pixels in a row: the importer's */
    int32_t *labels; /* the importer's, malloc'ed */
} NpzPart;

typedef struct NpzParts {
    NpzPart *items;
    int count;
    char unpacked[1024]; /* folder of what came out of zips; "" when nothing did */
} NpzParts;

/* Of one .npz file, a folder of them, a zip of them, or a folder of such zips (files *_npz.zip): the training
 * files, or all where none is called train_data_batch. Zips are unpacked into a hidden folder in `folder`. */
bool npz_parts_find(NpzParts *, const char *path, const char *folder, Error *);
void npz_parts_free(NpzParts *);

#endif
