/* Reading zip files with libzip; archive.h says what is believed. */
#include "base/archive.h"

#include "base/file.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

enum { DEFLATE_RATIO = 1032 }; /* the most that deflate makes of one byte: 258 bytes of two bits */

/* Members that share their bytes would let a small file unpack to any size. */
static bool sizes_check(const Archive *archive, Error *error) {
    uint64_t packed = 0;
    const int64_t file = file_size(archive->path);
    for (int i = 0; i < archive->count; i++) {
        zip_stat_t status;
        if (zip_stat_index(archive->zip, (zip_uint64_t)i, 0, &status) != 0 ||
            !(status.valid & ZIP_STAT_COMP_SIZE))
            continue; /* reading that member will say what is wrong with it */
        if (status.comp_size > (uint64_t)file - packed)
            return error_set(error, "%s: damaged: its members claim to be longer than the zip itself",
                             archive->path);
        packed += status.comp_size;
    }
    return true;
}

bool archive_open(Archive *archive, const char *path, Error *error) {
    int code = 0;
    *archive = (Archive){.path = path, .zip = zip_open(path, ZIP_RDONLY, &code)};
    if (!archive->zip) {
        zip_error_t reason;
        zip_error_init_with_code(&reason, code);
        error_set(error, "%s: the zip cannot be opened: %s", path, zip_error_strerror(&reason));
        zip_error_fini(&reason);
        return false;
    }
    const zip_int64_t count = zip_get_num_entries(archive->zip, 0);
    archive->count = count > INT_MAX ? INT_MAX : (int)count;
    if (sizes_check(archive, error)) return true;
    archive_close(archive);
    return false;
}

void archive_close(Archive *archive) {
    if (archive->zip) zip_discard(archive->zip);
    *archive = (Archive){0};
}

const char *archive_name(const Archive *archive, int index) {
    const char *name = zip_get_name(archive->zip, (zip_uint64_t)index, ZIP_FL_ENC_RAW);
    return name ? name : "";
}

int archive_find(const Archive *archive, const char *name) {
    for (int i = 0; i < archive->count; i++)
        if (strcmp(archive_name(archive, i), name) == 0) return i;
    return -1;
}

/* Why the member is not read, or NULL. */
static const char *status_problem(const zip_stat_t *status) {
    const zip_uint64_t needed = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
    if ((status->valid & needed) != needed) return "its size is not known";
    if ((status->valid & ZIP_STAT_ENCRYPTION_METHOD) && status->encryption_method != ZIP_EM_NONE)
        return "it is encrypted";
    const bool stored = status->comp_method == ZIP_CM_STORE;
    if (!stored && status->comp_method != ZIP_CM_DEFLATE)
        return "it is neither stored nor deflated; zip it anew without special compression";
    const bool possible =
        stored ? status->size == status->comp_size : status->size / DEFLATE_RATIO <= status->comp_size;
    return possible && status->size < INT64_MAX ? NULL
                                                : "damaged: it claims a size that its bytes cannot hold";
}

int64_t archive_size(const Archive *archive, int index, Error *error) {
    zip_stat_t status;
    const bool known = zip_stat_index(archive->zip, (zip_uint64_t)index, 0, &status) == 0;
    const char *problem = known ? status_problem(&status) : zip_strerror(archive->zip);
    if (!problem) return (int64_t)status.size;
    error_set(error, "%s: '%s': %s", archive->path, archive_name(archive, index), problem);
    return -1;
}

bool archive_read(const Archive *archive, int index, uint8_t **bytes, size_t *size, Error *error) {
    ArchiveStream stream;
    const int64_t length = archive_size(archive, index, error);
    *bytes = NULL;
    *size = (size_t)length;
    if (length < 0 || !archive_stream_open(&stream, archive, index, error)) return false;
    uint8_t *memory = malloc((size_t)length + 1);
    bool done = memory || error_set(error, "%s: '%s': out of memory for its %lld bytes", archive->path,
                                    archive_name(archive, index), (long long)length);
    done = done && archive_stream_read(&stream, memory, *size, error) && archive_stream_end(&stream, error);
    archive_stream_close(&stream);
    if (!done) {
        free(memory);
        return false;
    }
    memory[length] = 0;
    *bytes = memory;
    return true;
}

static bool stream_fails(const ArchiveStream *stream, const char *problem, Error *error) {
    return error_set(error, "%s: '%s' is damaged: %s", stream->archive->path,
                     archive_name(stream->archive, stream->index), problem);
}

bool archive_stream_open(ArchiveStream *stream, const Archive *archive, int index, Error *error) {
    *stream = (ArchiveStream){.archive = archive, .index = index};
    if (archive_size(archive, index, error) < 0) return false;
    stream->file = zip_fopen_index(archive->zip, (zip_uint64_t)index, 0);
    return stream->file || stream_fails(stream, zip_strerror(archive->zip), error);
}

bool archive_stream_read(ArchiveStream *stream, void *to, size_t size, Error *error) {
    for (size_t done = 0; done < size;) {
        const zip_int64_t got = zip_fread(stream->file, (char *)to + done, size - done);
        if (got < 0) return stream_fails(stream, zip_file_strerror(stream->file), error);
        if (got == 0) return stream_fails(stream, "it is cut short", error);
        done += (size_t)got;
    }
    return true;
}

bool archive_stream_end(ArchiveStream *stream, Error *error) {
    uint8_t beyond;
    const zip_int64_t got = zip_fread(stream->file, &beyond, 1); /* at the end libzip compares the checksum */
    if (got < 0) return stream_fails(stream, zip_file_strerror(stream->file), error);
    return got == 0 || stream_fails(stream, "it is longer than it claims", error);
}

void archive_stream_close(ArchiveStream *stream) {
    if (stream->file) zip_fclose(stream->file);
    *stream = (ArchiveStream){0};
}
