/* Files: reading whole files, writing them so that a crash leaves the old or the new one and never half of
 * it, mapping them, and folders. Every message names the path. */
#ifndef ICT_BASE_FILE_H
#define ICT_BASE_FILE_H

#include "base/error.h"
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* "path: what: reason, and what to do about it" (a full disk, missing rights); `reason` is an errno; returns
 * false. */
bool file_error(Error *error, const char *path, const char *what, int reason);

bool file_exists(const char *path);
int64_t file_size(const char *path); /* -1 when there is none */

/* Whole file into malloc'ed memory with a zero byte after it. */
bool file_read(const char *path, char **bytes, size_t *size, Error *error);

/* Temporary file in the same folder, fsync, rename, fsync of the folder. */
bool file_write_atomic(const char *path, const void *bytes, size_t size, Error *error);

/* The same for writers that stream: write to file->stream, then commit (or cancel). */
typedef struct AtomicFile {
    FILE *stream;
    int reason; /* errno of the first write that failed */
    char path[1024], temporary[1056];
} AtomicFile;
bool atomic_open(AtomicFile *file, const char *path, Error *error);
/* Failures are kept until commit, which reports the first with its reason. */
void atomic_write(AtomicFile *file, const void *bytes, size_t size);
void atomic_write_at(AtomicFile *file, long place, const void *bytes, size_t size);
bool atomic_commit(AtomicFile *file, Error *error);
void atomic_cancel(AtomicFile *file);

typedef struct FileMap {
    const uint8_t *bytes;
    size_t size;
} FileMap;
bool file_map(const char *path, FileMap *map, Error *error); /* read-only */
void file_unmap(FileMap *map);

bool folder_make(const char *path, Error *error);   /* with its parents */
bool folder_remove(const char *path, Error *error); /* with everything in it; an absent one is fine */

/* "a/b"; the result is written to `out` and returned; dies when it does not fit. */
const char *path_join(char out[1024], const char *folder, const char *name);
const char *path_folder(char out[1024], const char *path);
const char *path_name(const char *path);

#endif
