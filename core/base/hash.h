/* SHA-256 (libmd), as 64 hexadecimal digits. */
#ifndef ICT_BASE_HASH_H
#define ICT_BASE_HASH_H

#include "base/error.h"
#include <stddef.h>

typedef struct Hash {
    char hex[65];
} Hash;

Hash hash_bytes(const void *bytes, size_t size);
bool hash_file(const char *path, Hash *hash, Error *error);

#endif
