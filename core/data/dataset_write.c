/* The writing side of a data set. Everything is made in a folder beside the final one, flushed, and renamed:
 * a set that is there is whole. */
#include "data/dataset_internal.h"

#include "base/file.h"
#include "base/npy_bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Makes images.npy at its full size and maps it. The space is reserved first, so that a full disk is an error
 * here and not a signal in the middle of the import. */
static bool images_map(DatasetWriter *writer, Error *error) {
    const DatasetInfo *info = &writer->info;
    const NpyArray array = {
        .type = NPY_U8, .rank = 4, .shape = {info->count, info->height, info->width, info->channels}};
    char path[1024];
    const int file =
        open(path_join(path, writer->temporary, "images.npy"), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file < 0) return file_error(error, path, "cannot be written", errno);
    Text header = {0};
    npy_header(&array, &header);
    writer->map_size = header.length + (size_t)npy_count(&array);
    int reason = posix_fallocate(file, 0, (off_t)writer->map_size);
    writer->map = MAP_FAILED;
    if (!reason) writer->map = mmap(NULL, writer->map_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (!reason && writer->map == MAP_FAILED) reason = errno;
    close(file);
    if (!reason) {
        memcpy(writer->map, header.text, header.length);
        writer->images = (uint8_t *)writer->map + header.length;
    }
    text_free(&header);
    if (!reason) return true;
    writer->map = NULL;
    return file_error(error, path, "room cannot be made for it", reason);
}

bool writer_open(DatasetWriter *writer, const DatasetInfo *info, const char *folder, Error *error) {
    *writer = (DatasetWriter){.info = *info};
    char hidden[80];
    snprintf(hidden, sizeof hidden, ".%s.import", info->name);
    path_join(writer->target, folder, info->name);
    path_join(writer->temporary, folder, hidden);
    if (file_exists(writer->target))
        return error_set(error, "%s: is there already; remove it first to import it anew", writer->target);
    /* What an interrupted import left behind goes. */
    if (!folder_remove(writer->temporary, error) || !folder_make(writer->temporary, error)) return false;
    if (info->classes) writer->labels = calloc((size_t)info->count, sizeof *writer->labels);
    CHECK(!info->classes || writer->labels, "out of memory for %d labels", info->count);
    if (images_map(writer, error)) return true;
    writer_cancel(writer);
    return false;
}

static bool images_flush(DatasetWriter *writer, Error *error) {
    char path[1024];
    return msync(writer->map, writer->map_size, MS_SYNC) == 0 ||
           file_error(error, path_join(path, writer->temporary, "images.npy"), "writing failed", errno);
}

static bool labels_write(const DatasetWriter *writer, Error *error) {
    if (!writer->labels) return true;
    char path[1024];
    const NpyArray array = {
        .type = NPY_I32, .rank = 1, .shape = {writer->info.count}, .data = writer->labels};
    return npy_write(path_join(path, writer->temporary, "labels.npy"), &array, error);
}

static Hash writer_hash(const DatasetWriter *writer) {
    const Dataset set = {.count = writer->info.count,
                         .height = writer->info.height,
                         .width = writer->info.width,
                         .channels = writer->info.channels,
                         .images = writer->images,
                         .labels = writer->labels};
    return dataset_hash(&set);
}

bool writer_commit(DatasetWriter *writer, Error *error) {
    char path[1024];
    writer->info.hash = writer_hash(writer);
    bool done = images_flush(writer, error) && labels_write(writer, error) &&
                dataset_info_write(path_join(path, writer->temporary, "dataset.yaml"), &writer->info, error);
    if (done && rename(writer->temporary, writer->target) != 0)
        done = file_error(error, writer->target, "cannot take its name", errno);
    writer_cancel(writer);
    return done;
}

void writer_cancel(DatasetWriter *writer) {
    if (writer->map) munmap(writer->map, writer->map_size);
    free(writer->labels);
    if (writer->temporary[0]) folder_remove(writer->temporary, NULL); /* after a commit there is none */
    *writer = (DatasetWriter){0};
}
