/* What the files behind dataset.h share: the description of a stored set, the writer that importers fill, and
 * the built-in set. Nothing outside this folder's dataset*, import* and shapes* files includes this. */
#ifndef ICT_DATA_DATASET_INTERNAL_H
#define ICT_DATA_DATASET_INTERNAL_H

#include "data/dataset.h"

enum { CLASS_NAMES_MAX = 64, CLASSES_MAX = 1 << 20 };

/* dataset.yaml: `key: value` lines. */
typedef struct DatasetInfo {
    char name[64], source[256];
    int count, height, width, channels, classes; /* classes 0: without labels */
    char class_names[CLASS_NAMES_MAX][24];       /* may be empty */
    Hash hash;
} DatasetInfo;

bool dataset_info_read(const char *path, DatasetInfo *info, Error *error);
bool dataset_info_write(const char *path, const DatasetInfo *info, Error *error);

/* SHA-256 over count, height, width, channels (int32), the pixels, and the labels (int32) when there are any;
 * all little-endian. */
Hash dataset_hash(const Dataset *set);

/* Allocates set->images and set->labels, draws them and fills in everything but the hash. */
bool shapes_draw(const DataConfig *config, Dataset *set, Error *error);
bool shapes_is_name(const char *name);

/* A set being imported. It grows in data/.<name>.import, and takes its name only when it is whole. The pixels
 * are a file mapped for writing, because an imported set may be larger than the memory. */
typedef struct DatasetWriter {
    DatasetInfo info;
    uint8_t *images; /* count x height x width x 3 */
    int32_t *labels; /* NULL when info.classes is 0 */
    char temporary[1024], target[1024];
    void *map;
    size_t map_size;
} DatasetWriter;

/* info: everything but the hash. */
bool writer_open(DatasetWriter *writer, const DatasetInfo *info, const char *folder, Error *error);
bool writer_commit(DatasetWriter *writer, Error *error);
void writer_cancel(DatasetWriter *writer);

/* The importers; `info` has name and source, they find out the rest. */
bool import_images(DatasetInfo *info, const char *path, const char *folder, Error *error);
bool import_cifar(DatasetInfo *info, const char *path, const char *folder, Error *error);
bool import_npz(DatasetInfo *info, const char *path, const char *folder, Error *error);

#endif
