/* The bytes of a .npy file, for npz.c, which keeps them inside a zip. */
#ifndef ICT_BASE_NPY_BYTES_H
#define ICT_BASE_NPY_BYTES_H

#include "base/npy.h"
#include "base/text.h"

/* Appends everything that comes before the array's data. */
void npy_header(const NpyArray *array, Text *header);

/* Turns the malloc'ed bytes of a whole .npy file into an array that owns them; frees them on failure. */
bool npy_adopt(void *bytes, size_t size, NpyArray *array, Error *error);

#endif
