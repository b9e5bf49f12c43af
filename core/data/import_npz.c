/* Imports the downsampled ImageNet in its npz form (Chrabaszcz et al. 2017): files train_data_batch_1.npz ...
 * with `data`, uint8 [N, 3 S S], red, green and blue planes, and `labels`, 1 .. 1000. (`mean` is not needed.)
 * The 64 x 64 set is 13 GB, so the pixels stream from the archives, stored or deflated, into the mapped file;
 * what is held in memory are the labels. Class numbers are the files' minus one: their own order, not that of
 * other ImageNet readers, who sort the synsets' names.
 *
 * Zips of npz files, as the official ones are, are unpacked beside the data set first: a zip inside a zip
 * cannot be read from its end, where its directory is. */
#include "data/dataset_internal.h"
#include "data/npz_parts.h"

#include "base/archive.h"
#include "base/log.h"
#include "base/npy_bytes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CLASSES = 1000, IMAGES_AT_ONCE = 64 };

/* Where the import stands. */
typedef struct Job {
    DatasetWriter *writer;
    uint8_t *planar; /* IMAGES_AT_ONCE images as the file has them */
    int done;
    double told;
} Job;

/* ---- what the parts hold ---- */

/* Opens `data` and reads what comes before its pixels. */
static bool data_open(const Archive *archive, ArchiveStream *stream, NpyArray *array, Error *error) {
    uint8_t first[NPY_FIRST], *front = NULL;
    const int index = archive_find(archive, "data.npy");
    if (index < 0) return error_set(error, "%s: there is no array 'data' in it", archive->path);
    const int64_t size = archive_size(archive, index, error);
    if (size < 0 || !archive_stream_open(stream, archive, index, error)) return false;
    bool good = archive_stream_read(stream, first, NPY_FIRST, error);
    const size_t length = good ? npy_front_size(first) : 0;
    if (good && length >= NPY_FIRST) {
        front = malloc(length);
        CHECK(front, "out of memory for %zu bytes", length);
        memcpy(front, first, NPY_FIRST);
        good = archive_stream_read(stream, front + NPY_FIRST, length - NPY_FIRST, error) &&
               (npy_front_parse(front, length, (size_t)size, array, error) ||
                error_wrap(error, "%s: 'data'", archive->path));
    } else if (good) {
        good = error_set(error, "%s: 'data' is not a .npy file", archive->path);
    }
    free(front);
    if (!good) archive_stream_close(stream);
    return good;
}

/* The side of square images of `pixels` bytes each, 0 when there is none. */
static int side_of(int64_t pixels) {
    const int side = (int)sqrt((double)pixels / 3);
    return 3 * (int64_t)side * side == pixels ? side : 0;
}

static bool data_check(NpzPart *part, const NpyArray *array, Error *error) {
    const bool flat = array->type == NPY_U8 && array->rank == 2 && array->shape[0] > 0;
    const bool sane = flat && array->shape[0] <= INT32_MAX && array->shape[1] <= 3 << 20;
    part->side = sane ? side_of(array->shape[1]) : 0;
    part->count = sane ? (int)array->shape[0] : 0;
    return part->side || error_set(error,
                                   "%s: 'data' is not uint8 of shape (images, 3 x side x side), the form of "
                                   "the downsampled ImageNet",
                                   part->path);
}

static int64_t label_at(const NpyArray *labels, int i) {
    return labels->type == NPY_I64 ? ((const int64_t *)labels->data)[i] : ((const int32_t *)labels->data)[i];
}

static bool labels_convert(NpzPart *part, const NpyArray *array, Error *error) {
    if ((array->type != NPY_I64 && array->type != NPY_I32) || npy_count(array) != part->count)
        return error_set(error, "%s: 'labels' are not whole numbers (i4 or i8), one for each of %d images",
                         part->path, part->count);
    part->labels = malloc((size_t)part->count * sizeof *part->labels);
    CHECK(part->labels, "out of memory for %d labels", part->count);
    for (int i = 0; i < part->count; i++) {
        const int64_t label = label_at(array, i);
        if (label < 1 || label > CLASSES)
            return error_set(error, "%s: the label of image %d is %lld; these files' labels are 1 to %d",
                             part->path, i, (long long)label, CLASSES);
        part->labels[i] = (int32_t)label - 1;
    }
    return true;
}

static bool labels_read(const Archive *archive, NpzPart *part, Error *error) {
    uint8_t *bytes;
    size_t size;
    NpyArray array;
    const int index = archive_find(archive, "labels.npy");
    if (index < 0) return error_set(error, "%s: there is no array 'labels' in it", part->path);
    if (!archive_read(archive, index, &bytes, &size, error)) return false;
    if (!npy_adopt(bytes, size, &array, error)) return error_wrap(error, "%s: 'labels'", part->path);
    const bool good = labels_convert(part, &array, error);
    npy_free(&array);
    return good;
}

/* Everything about a part but its pixels. */
static bool part_read(NpzPart *part, Error *error) {
    Archive archive;
    ArchiveStream stream;
    NpyArray array;
    if (!archive_open(&archive, part->path, error)) return false;
    bool good = data_open(&archive, &stream, &array, error);
    if (good) {
        archive_stream_close(&stream);
        good = data_check(part, &array, error) && labels_read(&archive, part, error);
    }
    archive_close(&archive);
    return good;
}

static bool info_find(DatasetInfo *info, NpzParts *parts, Error *error) {
    int64_t count = 0;
    for (int i = 0; i < parts->count; i++) {
        NpzPart *part = &parts->items[i];
        if (!part_read(part, error)) return false;
        if (part->side != parts->items[0].side)
            return error_set(error, "%s: its images are %d x %d, those of %s are %d x %d", part->path,
                             part->side, part->side, parts->items[0].path, parts->items[0].side,
                             parts->items[0].side);
        count += part->count;
    }
    info->count = count <= INT32_MAX ? (int)count : 0;
    info->width = info->height = parts->items[0].side;
    info->classes = CLASSES;
    return info->count || error_set(error, "more than %d images", INT32_MAX);
}

/* ---- pixels ---- */

/* From red, green and blue planes to RGB. */
static void image_convert(const uint8_t *planar, uint8_t *image, int plane) {
    for (int i = 0; i < plane; i++)
        for (int c = 0; c < 3; c++) image[3 * i + c] = planar[c * plane + i];
}

static bool pixels_convert(Job *job, const NpzPart *part, ArchiveStream *stream, Error *error) {
    const int plane = part->side * part->side;
    const size_t size = 3 * (size_t)plane;
    for (int first = 0; first < part->count; first += IMAGES_AT_ONCE) {
        const int n = part->count - first < IMAGES_AT_ONCE ? part->count - first : IMAGES_AT_ONCE;
        if (!archive_stream_read(stream, job->planar, (size_t)n * size, error)) return false;
        uint8_t *to = job->writer->images + (size_t)job->done * size;
        for (int i = 0; i < n; i++)
            image_convert(job->planar + (size_t)i * size, to + (size_t)i * size, plane);
        job->done += n;
        if (clock_monotonic() - job->told < 1) continue;
        job->told = clock_monotonic();
        log_progress(false, "importing: %d of %d images", job->done, job->writer->info.count);
    }
    return archive_stream_end(stream, error);
}

static bool part_convert(Job *job, const NpzPart *part, Error *error) {
    Archive archive;
    ArchiveStream stream;
    NpyArray array;
    if (!archive_open(&archive, part->path, error)) return false;
    memcpy(job->writer->labels + job->done, part->labels, (size_t)part->count * sizeof *part->labels);
    bool good = data_open(&archive, &stream, &array, error);
    if (good) {
        good = (array.shape[0] == part->count || error_set(error, "%s: changed meanwhile", part->path)) &&
               pixels_convert(job, part, &stream, error);
        archive_stream_close(&stream);
    }
    archive_close(&archive);
    return good;
}

static bool parts_convert(const NpzParts *parts, DatasetWriter *writer, Error *error) {
    const size_t size = 3 * (size_t)writer->info.width * (size_t)writer->info.height;
    Job job = {.writer = writer, .planar = malloc(IMAGES_AT_ONCE * size), .told = clock_monotonic()};
    CHECK(job.planar, "out of memory for %d images", IMAGES_AT_ONCE);
    bool good = true;
    for (int i = 0; good && i < parts->count; i++) good = part_convert(&job, &parts->items[i], error);
    free(job.planar);
    return good;
}

bool import_npz(DatasetInfo *info, const char *path, const char *folder, Error *error) {
    NpzParts parts;
    DatasetWriter writer;
    if (!npz_parts_find(&parts, path, folder, error)) return false;
    bool done = info_find(info, &parts, error) && writer_open(&writer, info, folder, error);
    if (done) {
        done = parts_convert(&parts, &writer, error) && writer_commit(&writer, error);
        writer_cancel(&writer);
    }
    npz_parts_free(&parts);
    return done;
}
