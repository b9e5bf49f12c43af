/* Files: whole-file reads, atomic writes, read-only maps, and folders.
 *
 * An atomic write goes to a temporary file beside the target, is flushed to the disk, and takes the target's
 * name only then; the folder is flushed too, because the rename itself is a change to the folder. A crash at
 * any point leaves the old file or the new one. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* nftw */
#endif
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *advice(int reason) {
    switch (reason) {
    case ENOSPC:
    case EDQUOT:
        return " (free some space and issue the command again)";
    case EROFS:
    case EACCES:
    case EPERM:
        return " (check that you have the right to, or choose another place)";
    case EMFILE:
    case ENFILE:
        return " (too many files are open: raise the limit with `ulimit -n`)";
    case EIO:
        return " (the disk or its connection fails: `dmesg` says more)";
    default:
        return "";
    }
}

bool file_error(Error *error, const char *path, const char *what, int reason) {
    return error_set(error, "%s: %s: %s%s", path, what, strerror(reason), advice(reason));
}

bool file_exists(const char *path) {
    return access(path, F_OK) == 0;
}

int64_t file_size(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 ? (int64_t)status.st_size : -1;
}

/* Opens for reading and finds the size; folders and the like are refused here, where the
 * message can say so. */
static int file_open(const char *path, size_t *size, Error *error) {
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (descriptor < 0 || fstat(descriptor, &status) != 0) {
        file_error(error, path, "cannot be opened", errno);
        if (descriptor >= 0) close(descriptor);
        return -1;
    }
    if (S_ISREG(status.st_mode)) {
        *size = (size_t)status.st_size;
        return descriptor;
    }
    error_set(error, "%s: is %s, a file is needed", path,
              S_ISDIR(status.st_mode) ? "a folder" : "not a plain file");
    close(descriptor);
    return -1;
}

static bool read_all(int descriptor, char *bytes, size_t size) {
    errno = 0;
    for (size_t done = 0; done < size;) {
        const ssize_t got = read(descriptor, bytes + done, size - done);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        done += (size_t)got;
    }
    return true;
}

bool file_read(const char *path, char **bytes, size_t *size, Error *error) {
    const int descriptor = file_open(path, size, error);
    if (descriptor < 0) return false;
    char *memory = malloc(*size + 1);
    bool done = memory && read_all(descriptor, memory, *size);
    const int reason = errno;
    close(descriptor);
    if (!done) {
        free(memory);
        return error_set(error, "%s: reading %zu bytes failed: %s", path, *size,
                         !memory  ? "out of memory"
                         : reason ? strerror(reason)
                                  : "the file became shorter");
    }
    memory[*size] = 0;
    *bytes = memory;
    return true;
}

/* Not mkstemp: its files are private to the owner, and results are meant to be read by others. */
static int temporary_open(AtomicFile *file) {
    for (unsigned attempt = 0; attempt < 1000; attempt++) {
        snprintf(file->temporary, sizeof file->temporary, "%s.%d-%u.tmp", file->path, (int)getpid(), attempt);
        const int descriptor = open(file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (descriptor >= 0 || errno != EEXIST) return descriptor;
    }
    return -1;
}

bool atomic_open(AtomicFile *file, const char *path, Error *error) {
    *file = (AtomicFile){0};
    if (strlen(path) >= sizeof file->path) return error_set(error, "%s: the path is too long", path);
    strcpy(file->path, path);
    const int descriptor = temporary_open(file);
    if (descriptor >= 0) file->stream = fdopen(descriptor, "wb");
    if (file->stream) return true;
    file_error(error, path, "cannot be written", errno);
    if (descriptor >= 0) close(descriptor), unlink(file->temporary);
    return false;
}

/* Some file systems cannot flush a folder; the rename is still atomic there, so that failure is not one of
 * ours. */
static void folder_flush(const char *folder) {
    const int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return;
    fsync(descriptor);
    close(descriptor);
}

void atomic_write(AtomicFile *file, const void *bytes, size_t size) {
    errno = 0;
    if (fwrite(bytes, 1, size, file->stream) != size && !file->reason) file->reason = errno ? errno : EIO;
}

void atomic_write_at(AtomicFile *file, long place, const void *bytes, size_t size) {
    /* What is still in the stream's buffer is written now, which can fail. */
    if (fseek(file->stream, place, SEEK_SET) != 0 && !file->reason) file->reason = errno;
    atomic_write(file, bytes, size);
}

/* All that stands between written bytes and the file's name; 0 or the reason (EIO when writers did not keep
 * theirs). */
static int atomic_finish(AtomicFile *file) {
    int reason = file->reason;
    if (!reason && ferror(file->stream)) reason = EIO;
    if (!reason && (fflush(file->stream) != 0 || fsync(fileno(file->stream)) != 0)) reason = errno;
    if (fclose(file->stream) != 0 && !reason) reason = errno;
    file->stream = NULL;
    if (!reason && rename(file->temporary, file->path) != 0) reason = errno;
    return reason;
}

bool atomic_commit(AtomicFile *file, Error *error) {
    const int reason = atomic_finish(file);
    if (reason) {
        unlink(file->temporary);
        return file_error(error, file->path, "writing failed", reason);
    }
    char folder[1024];
    folder_flush(path_folder(folder, file->path));
    return true;
}

void atomic_cancel(AtomicFile *file) {
    if (!file->stream) return;
    fclose(file->stream);
    file->stream = NULL;
    unlink(file->temporary);
}

bool file_write_atomic(const char *path, const void *bytes, size_t size, Error *error) {
    AtomicFile file;
    if (!atomic_open(&file, path, error)) return false;
    atomic_write(&file, bytes, size);
    return atomic_commit(&file, error);
}

bool file_map(const char *path, FileMap *map, Error *error) {
    *map = (FileMap){0};
    size_t size;
    const int descriptor = file_open(path, &size, error);
    if (descriptor < 0) return false;
    /* An empty file has nothing to map; a pointer to nothing is still a pointer. */
    void *bytes = size ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, descriptor, 0) : (void *)"";
    const int reason = errno;
    close(descriptor);
    if (bytes == MAP_FAILED) return file_error(error, path, "cannot be mapped", reason);
    *map = (FileMap){bytes, size};
    return true;
}

void file_unmap(FileMap *map) {
    if (map->size) munmap((void *)(uintptr_t)map->bytes, map->size);
    *map = (FileMap){0};
}

static bool folder_make_one(const char *path, Error *error) {
    struct stat status;
    if (mkdir(path, 0777) == 0) return true;
    const int reason = errno;
    if (reason == EEXIST && stat(path, &status) == 0 && S_ISDIR(status.st_mode)) return true;
    return file_error(error, path, "the folder cannot be made", reason);
}

bool folder_make(const char *path, Error *error) {
    char part[1024];
    if (strlen(path) >= sizeof part) return error_set(error, "%s: the path is too long", path);
    strcpy(part, path);
    for (char *slash = strchr(part + (part[0] == '/'), '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (!folder_make_one(part, error)) return false;
        *slash = '/';
    }
    return folder_make_one(part, error);
}

static int entry_remove(const char *path, const struct stat *status, int kind, struct FTW *place) {
    (void)status, (void)kind, (void)place;
    return remove(path);
}

bool folder_remove(const char *path, Error *error) {
    if (nftw(path, entry_remove, 16, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT) return true;
    return file_error(error, path, "the folder cannot be removed", errno);
}

const char *path_join(char out[1024], const char *folder, const char *name) {
    const size_t length = strlen(folder);
    const bool slash = length && folder[length - 1] != '/';
    const int needed = snprintf(out, 1024, "%s%s%s", folder, slash ? "/" : "", name);
    CHECK(needed >= 0 && needed < 1024, "the path %s/%s is too long", folder, name);
    return out;
}

const char *path_folder(char out[1024], const char *path) {
    const char *slash = strrchr(path, '/');
    const size_t length = slash ? (size_t)(slash - path) : 0;
    CHECK(length < 1024, "the path %s is too long", path);
    if (!slash) return strcpy(out, ".");
    if (!length) return strcpy(out, "/");
    memcpy(out, path, length);
    out[length] = 0;
    return out;
}

const char *path_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}
