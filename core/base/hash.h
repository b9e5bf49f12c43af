/* SHA-256 (Nettle), as 64 hexadecimal digits. */
#ifndef ICT_BASE_HASH_H
#define ICT_BASE_HASH_H

#include "base/error.h"
#include <stddef.h>
#include <nettle/sha2.h>

typedef struct Hash {
    char hex[65];
} Hash;

Hash hash_bytes(const void *bytes, size_t size);
bool hash_file(const char *path, Hash *hash, Error *error);

/* The same in pieces: begin, add as often as needed, end once. */
typedef struct HashSum {
    struct sha256_ctx context;
} HashSum;
void hash_begin(HashSum *sum);
void hash_add(HashSum *sum, const void *bytes, size_t size);
Hash hash_end(HashSum *sum);

#endif
