/* The safetensors format, which other programs read and write too: eight bytes of length, a JSON header that
 * says name, type, shape and place of every tensor, then their bytes.
 *
 * A file may come from anywhere, so the reader trusts nothing: the header's length, every number in it, names
 * that occur twice, tensors that overlap, leave holes, or end anywhere but at the end of the file are all
 * refused by name.
 */
#ifndef ICT_BASE_SAFETENSORS_H
#define ICT_BASE_SAFETENSORS_H

#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

typedef struct SafeTensor {
    char name[160];
    char dtype[8]; /* "F32", "F16", "BF16", "I64", ... */
    int rank;
    int64_t shape[8];
    const void *data; /* not aligned: copy before use */
    size_t bytes;
} SafeTensor;

typedef struct SafeTensors {
    SafeTensor *tensors; /* sorted by name */
    int count;
    char **metadata;    /* key, value, key, value, ... */
    int metadata_count; /* pairs */
    void *storage;      /* the implementation's */
} SafeTensors;

/* Maps the file; tensors point into it. On failure nothing has to be closed. */
bool safetensors_open(const char *path, SafeTensors *, Error *);
void safetensors_close(SafeTensors *);
const SafeTensor *safetensors_find(const SafeTensors *, const char *name); /* NULL when absent */
const char *safetensors_metadata(const SafeTensors *, const char *key);    /* NULL when absent */

/* Compares the file's content with the checksum that safetensors_write left in it; true for files without
 * one. Reads everything. */
bool safetensors_verify(const SafeTensors *, const char *path, Error *);

/* Elements of the shape; the bytes of one element of a type, 0 for an unknown one. */
int64_t safetensor_count(const SafeTensor *);
size_t safetensor_dtype_size(const char *dtype);

/* Writes atomically. `metadata` holds key, value, ... of `pairs` pairs; a checksum is added to it. */
bool safetensors_write(const char *path, const SafeTensor *tensors, int count, const char *const *metadata,
                       int pairs, Error *);

/* The same for tensors that do not all fit into memory: `provide` puts the bytes of tensor `index` into
 * `out`, called once for each in order; the tensors' own `data` is not used. */
typedef void TensorProvider(void *context, int index, void *out);
bool safetensors_stream(const char *path, const SafeTensor *tensors, int count, const char *const *metadata,
                        int pairs, TensorProvider *provide, void *context, Error *);

/* The checksum, shared by reader and writer, is the sum of these hashes over all tensors (name, type, shape,
 * bytes) and metadata pairs. It finds damage, it does not protect against malice. */
#define SAFETENSORS_CHECKSUM "checksum"
uint64_t safetensor_hash(const SafeTensor *, const void *bytes);
uint64_t metadata_hash(const char *key, const char *value);

#endif
