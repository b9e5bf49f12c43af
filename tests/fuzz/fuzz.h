/* What the fuzz targets share. A target is one function, LLVMFuzzerTestOneInput, that gives a file of these
 * bytes to a reader of ours and uses all that comes back; whatever the bytes are, the reader must return,
 * with a result or an error, in bounded time and memory. It is linked twice: with clang's libFuzzer, which
 * invents bytes (`make fuzz`), and with replay.c, which reads the seeds (`make test`, any compiler).
 *
 * Checksums stop a fuzzer at the door. So each target has a `repair`, which makes the checksums of a mutated
 * input fit again; three mutations in four are repaired, the fourth is plain damage. */
#ifndef ICT_TESTS_FUZZ_H
#define ICT_TESTS_FUZZ_H

#include "base/file.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* The bytes as a file that lives in memory; valid until the next call. */
const char *fuzz_file(const uint8_t *bytes, size_t size);

/* A folder in memory, where there is one, that goes when the program ends. */
const char *fuzz_folder(void);

/* Reads every byte, so that a sanitizer sees those that are not there. */
void fuzz_touch(const void *bytes, size_t size);

/* A message exists and ends. */
void fuzz_refused(const Error *error);

/* In place; sizes stay. */
void repair_nothing(uint8_t *bytes, size_t size);
void repair_zip(uint8_t *bytes, size_t size);         /* CRC-32 of stored members, lengths in the directory */
void repair_png(uint8_t *bytes, size_t size);         /* CRC-32 of chunks */
void repair_tar(uint8_t *bytes, size_t size);         /* sums of headers */
void repair_safetensors(uint8_t *bytes, size_t size); /* the checksum in our metadata */

#ifdef ICT_LIBFUZZER
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t size, size_t most);
#define FUZZ_REPAIR(repair)                                                                   \
    size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t most, unsigned seed) { \
        size = LLVMFuzzerMutate(bytes, size, most);                                           \
        if (seed % 4) repair(bytes, size);                                                    \
        return size;                                                                          \
    }
#else
#define FUZZ_REPAIR(repair) _Static_assert(sizeof(&repair), "")
#endif

#endif
