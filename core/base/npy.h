/* NumPy's .npy and .npz files: C-ordered arrays of u1, i4, i8, f4, f8 (little endian). An .npz is a zip of
 * .npy files; both stored and deflated members are read. */
#ifndef ICT_BASE_NPY_H
#define ICT_BASE_NPY_H

#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

typedef enum NpyType { NPY_U8, NPY_I32, NPY_I64, NPY_F32, NPY_F64 } NpyType;

typedef struct NpyArray {
    NpyType type;
    int rank;
    int64_t shape[8];
    void *data; /* malloc'ed, except in npy_parse */
} NpyArray;

size_t npy_type_size(NpyType type);
int64_t npy_count(const NpyArray *array); /* number of elements */

/* Reads the header in front of `bytes`; array->data points into them. Used on memory-mapped data sets. */
bool npy_parse(const void *bytes, size_t size, NpyArray *array, Error *error);
bool npy_read(const char *path, NpyArray *array, Error *error);
bool npy_write(const char *path, const NpyArray *array, Error *error);

/* For arrays that are read piece by piece. The front is all before the data: its size, from the file's first
 * bytes (0: this is no .npy file), and the array that it describes, whose data is left NULL. `size` is that
 * of the whole file. */
enum { NPY_FIRST = 12 };
size_t npy_front_size(const uint8_t first[NPY_FIRST]);
bool npy_front_parse(const void *front, size_t front_size, size_t size, NpyArray *array, Error *error);

void npy_free(NpyArray *array);

typedef struct NpzMember {
    char name[64]; /* without ".npy" */
    NpyArray array;
} NpzMember;

bool npz_read(const char *path, NpzMember **members, int *count, Error *error);
bool npz_write(const char *path, const NpzMember *members, int count, Error *error);
const NpyArray *npz_find(const NpzMember *members, int count, const char *name); /* NULL when absent */
void npz_free(NpzMember *members, int count);

#endif
