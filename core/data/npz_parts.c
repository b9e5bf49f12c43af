/* Finds the npz files of a data set; unpacks those that are inside zips. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* strverscmp */
#endif
#include "data/npz_parts.h"

#include "base/archive.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool ends_with(const char *text, const char *end) {
    const size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

static void part_add(NpzParts *parts, const char *path) {
    parts->items = realloc(parts->items, (size_t)(parts->count + 1) * sizeof *parts->items);
    CHECK(parts->items, "out of memory for %d file names", parts->count);
    parts->items[parts->count++] = (NpzPart){.path = text_copy(path)};
}

/* ---- unpacking ---- */

static bool member_copy(const Archive *archive, int index, AtomicFile *file, Error *error) {
    enum { PIECE = 1 << 16 };
    uint8_t piece[PIECE];
    ArchiveStream stream;
    if (!archive_stream_open(&stream, archive, index, error)) return false;
    bool good = true;
    for (int64_t left = archive_size(archive, index, error); good && left > 0; left -= PIECE) {
        const size_t n = left < PIECE ? (size_t)left : PIECE;
        good = archive_stream_read(&stream, piece, n, error);
        if (good) atomic_write(file, piece, n);
        good = good && !file->reason; /* the commit will tell it */
    }
    good = good && archive_stream_end(&stream, error);
    archive_stream_close(&stream);
    return good;
}

static bool member_unpack(NpzParts *parts, const Archive *archive, int index, Error *error) {
    AtomicFile file;
    char path[1024];
    const char *name = path_name(archive_name(archive, index));
    if (strlen(name) > 200)
        return error_set(error, "%s: the name '%.40s...' is too long", archive->path, name);
    path_join(path, parts->unpacked, name);
    if (file_exists(path)) return error_set(error, "%s: there is a second %s", archive->path, name);
    if (!atomic_open(&file, path, error)) return false;
    log_info("%s: unpacking %s", archive->path, name);
    if (!member_copy(archive, index, &file, error) && !file.reason) {
        atomic_cancel(&file);
        return false;
    }
    if (!atomic_commit(&file, error)) return false;
    part_add(parts, path);
    return true;
}

static bool zip_unpack(NpzParts *parts, const char *path, Error *error) {
    Archive archive;
    if (!archive_open(&archive, path, error)) return false;
    bool good = true;
    for (int i = 0; good && i < archive.count; i++)
        if (ends_with(archive_name(&archive, i), ".npz")) good = member_unpack(parts, &archive, i, error);
    archive_close(&archive);
    return good;
}

/* ---- finding ---- */

/* A zip of arrays is an npz file whatever its name. */
static bool file_find(NpzParts *parts, const char *path, Error *error) {
    Archive archive;
    if (!archive_open(&archive, path, error)) return false;
    const bool npz = archive_find(&archive, "data.npy") >= 0;
    archive_close(&archive);
    if (!npz) return zip_unpack(parts, path, error);
    part_add(parts, path);
    return true;
}

static bool folder_find(NpzParts *parts, const char *path, Error *error) {
    DIR *folder = opendir(path);
    if (!folder) return error_set(error, "%s: cannot be opened: %s", path, strerror(errno));
    bool good = true;
    for (struct dirent *entry; good && (entry = readdir(folder));) {
        char file[1024];
        if (ends_with(entry->d_name, ".npz") || ends_with(entry->d_name, "_npz.zip"))
            good = file_find(parts, path_join(file, path, entry->d_name), error);
    }
    closedir(folder);
    return good;
}

/* ---- choosing and sorting ---- */

static bool part_is_training(const NpzPart *part) {
    return strncmp(path_name(part->path), "train_data_batch", 16) == 0;
}

static void part_free(NpzPart *part) {
    free(part->path);
    free(part->labels);
}

static void training_keep(NpzParts *parts) {
    int training = 0;
    for (int i = 0; i < parts->count; i++) training += part_is_training(&parts->items[i]);
    if (!training || training == parts->count) return;
    int kept = 0;
    for (int i = 0; i < parts->count; i++) {
        if (part_is_training(&parts->items[i])) {
            parts->items[kept++] = parts->items[i];
        } else {
            log_warn("%s: is no training file and is left out", parts->items[i].path);
            part_free(&parts->items[i]);
        }
    }
    parts->count = kept;
}

/* By the numbers in the names, as people count (2 before 10). */
static int part_compare(const void *a, const void *b) {
    return strverscmp(path_name(((const NpzPart *)a)->path), path_name(((const NpzPart *)b)->path));
}

bool npz_parts_find(NpzParts *parts, const char *path, const char *folder, Error *error) {
    struct stat status;
    char hidden[64];
    *parts = (NpzParts){0};
    snprintf(hidden, sizeof hidden, ".unpacked-%d", (int)getpid());
    path_join(parts->unpacked, folder, hidden);
    bool good = stat(path, &status) == 0 || error_set(error, "%s: %s", path, strerror(errno));
    good = good && folder_make(parts->unpacked, error) &&
           (S_ISDIR(status.st_mode) ? folder_find(parts, path, error) : file_find(parts, path, error));
    if (good && parts->count) {
        training_keep(parts);
        qsort(parts->items, (size_t)parts->count, sizeof *parts->items, part_compare);
        return true;
    }
    npz_parts_free(parts);
    return good && error_set(error, "%s: there are no .npz files in it", path);
}

void npz_parts_free(NpzParts *parts) {
    for (int i = 0; i < parts->count; i++) part_free(&parts->items[i]);
    free(parts->items);
    if (parts->unpacked[0]) folder_remove(parts->unpacked, NULL);
    *parts = (NpzParts){0};
}
