/* A collection of named picture files, in a zip or in a folder: what the importer of images reads from. */
#ifndef ICT_DATA_IMPORT_SOURCE_H
#define ICT_DATA_IMPORT_SOURCE_H

#include "base/archive.h"
#include "data/dataset_internal.h"

typedef struct SourceFile {
    char *name; /* relative to the zip or folder, '/' between parts */
    int index;  /* in the zip */
} SourceFile;

typedef struct Source {
    const char *path;
    bool zip;
    SourceFile *pictures; /* .png, .jpg, .jpeg, sorted by the bytes of their names, as EDM's loader does */
    int count, capacity, others;
    bool labelled; /* there is a dataset.json */
    SourceFile labels;
} Source;

bool source_open(Source *source, const char *path, Error *error);
void source_close(Source *source);

/* One thread's way of reading. */
typedef struct SourceReader {
    const Source *source;
    Archive archive;
    uint8_t *bytes; /* of the file read last */
    size_t size;
} SourceReader;

bool reader_open(SourceReader *reader, const Source *source, Error *error);
bool reader_read(SourceReader *reader, const SourceFile *file,
                 Error *error); /* sets reader->bytes and ->size */
void reader_close(SourceReader *reader);

/* Fills in one label per picture, info->classes (0: there are no labels), and class names where they are
 * known.
 */
bool labels_find(SourceReader *reader, int32_t *labels, DatasetInfo *info, Error *error);

#endif
