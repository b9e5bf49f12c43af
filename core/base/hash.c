/* SHA-256 by Nettle, which uses the processor's own instructions: a checkpoint has a gigabyte, and training
 * waits for it. Names data sets, configurations and weights by what is in them. */
#include "base/hash.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void hash_begin(HashSum *sum) {
    sha256_init(&sum->context);
}

void hash_add(HashSum *sum, const void *bytes, size_t size) {
    sha256_update(&sum->context, size, bytes);
}

Hash hash_end(HashSum *sum) {
    uint8_t digest[SHA256_DIGEST_SIZE];
    sha256_digest(&sum->context, SHA256_DIGEST_SIZE, digest);
    Hash hash;
    for (int i = 0; i < SHA256_DIGEST_SIZE; i++) snprintf(hash.hex + 2 * i, 3, "%02x", digest[i]);
    return hash;
}

Hash hash_bytes(const void *bytes, size_t size) {
    HashSum sum;
    hash_begin(&sum);
    hash_add(&sum, bytes, size);
    return hash_end(&sum);
}

bool hash_file(const char *path, Hash *hash, Error *error) {
    enum { PIECE = 1 << 16 };
    uint8_t piece[PIECE];
    FILE *stream = fopen(path, "rb");
    if (!stream) return error_set(error, "%s: cannot be read: %s", path, strerror(errno));
    HashSum sum;
    hash_begin(&sum);
    for (size_t got; (got = fread(piece, 1, PIECE, stream)) > 0;) hash_add(&sum, piece, got);
    const bool failed = ferror(stream);
    const int reason = errno;
    fclose(stream);
    if (failed) return error_set(error, "%s: reading failed: %s", path, strerror(reason));
    *hash = hash_end(&sum);
    return true;
}
