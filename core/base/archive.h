/* Zip files, read. They may come from anywhere, so what one claims is believed only as far as its bytes can
 * bear: members together are no longer than the file, and none unpacks to more than deflate can pack into its
 * bytes. So a file of a hundred bytes never makes anybody reserve a gigabyte.
 *
 * One reader belongs to one thread (libzip's archives are not made for several): each thread opens its own.
 */
#ifndef ICT_BASE_ARCHIVE_H
#define ICT_BASE_ARCHIVE_H

#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

typedef struct Archive {
    const char *path; /* the caller's */
    int count;        /* members */
    void *zip;
} Archive;

bool archive_open(Archive *, const char *path, Error *);
void archive_close(Archive *);

/* Writes a zip of members as they are (not deflated: pictures do not get smaller), with a fixed date, so that
 * equal members make equal files. */
typedef struct ArchiveMember {
    char *name, *bytes;
    size_t size;
} ArchiveMember;
bool archive_write(const char *path, const ArchiveMember *, int count, Error *);

/* The member's name, '/' between parts; valid while the archive is open. */
const char *archive_name(const Archive *, int index);

/* The first member of that name, -1 when there is none. */
int archive_find(const Archive *, const char *name);

/* The member's bytes after unpacking, -1 and an error when it is of a kind that is not read (encrypted, an
 * unusual compression) or claims more than it can hold. */
int64_t archive_size(const Archive *, int index, Error *);

/* A whole member, malloc'ed, with a zero byte after it; its checksum has been compared. */
bool archive_read(const Archive *, int index, uint8_t **bytes, size_t *size, Error *);

/* Piece by piece, for members larger than memory. Each read gets exactly `size` bytes or fails; the end
 * compares the checksum and is an error when bytes are left. */
typedef struct ArchiveStream {
    const Archive *archive;
    int index;
    void *file;
} ArchiveStream;
bool archive_stream_open(ArchiveStream *, const Archive *, int index, Error *);
bool archive_stream_read(ArchiveStream *, void *to, size_t size, Error *);
bool archive_stream_end(ArchiveStream *, Error *);
void archive_stream_close(ArchiveStream *);

#endif
