/* Reading is believed only when everything was read: a metric over the 4,998 pictures that were sound, of
 * 5,000, would look like one over all. */
#include "eval/image_set.h"

#include "base/file.h"
#include "base/image.h"
#include "base/log.h"
#include "base/npy.h"
#include "data/import_source.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool ends_with(const char *path, const char *end) {
    const size_t length = strlen(path), tail = strlen(end);
    return length > tail && !strcmp(path + length - tail, end);
}

/* ---- arrays ---- */

/* Bytes are asked for, because [0, 1], [-1, 1] and [0, 255] cannot be told apart, nor how to round. */
static bool floats_refuse(const NpyArray *array, Error *error) {
    const int64_t count = npy_count(array), size = array->shape[0] ? count / array->shape[0] : 1;
    for (int64_t i = 0; i < count; i++) {
        const double value =
            array->type == NPY_F64 ? ((double *)array->data)[i] : (double)((float *)array->data)[i];
        if (!isfinite(value))
            return error_set(error, "image %lld of the array holds %g", (long long)(i / size), value);
    }
    return error_set(error, "images are bytes (uint8), not floats, whose range and rounding nobody knows: "
                            "save them as (x * 127.5 + 128).clip(0, 255).astype(numpy.uint8)");
}

static bool array_check(const NpyArray *array, Error *error) {
    if (array->rank != 4 || array->shape[0] < 1 || array->shape[0] > INT_MAX)
        return error_set(error,
                         "images are an array N x height x width x channels of four dimensions, this "
                         "one has %d and %lld entries in the first",
                         array->rank, array->rank ? (long long)array->shape[0] : 0);
    if (array->type == NPY_F32 || array->type == NPY_F64) return floats_refuse(array, error);
    if (array->type != NPY_U8) return error_set(error, "images are bytes (uint8)");
    return array->shape[3] == 1 || array->shape[3] == 3 ||
           error_set(error, "an array of %lld x %lld x %lld an image: channels come last, 1 or 3 of them",
                     (long long)array->shape[1], (long long)array->shape[2], (long long)array->shape[3]);
}

/* Takes the array's memory over when it is right. */
static bool array_take(NpyArray *array, ImageSet *set, Error *error) {
    if (!array_check(array, error)) return false;
    set->images = array->data;
    set->data.count = (int)array->shape[0];
    set->data.height = (int)array->shape[1];
    set->data.width = (int)array->shape[2];
    set->data.channels = (int)array->shape[3];
    array->data = NULL;
    return true;
}

static bool npy_take(const char *path, ImageSet *set, Error *error) {
    NpyArray array;
    if (!npy_read(path, &array, error)) return false;
    const bool ok = array_take(&array, set, error) || error_wrap(error, "%s", path);
    npy_free(&array);
    return ok;
}

static NpyArray *images_find(NpzMember *members, int count) {
    NpyArray *found = NULL;
    for (int i = 0; i < count; i++)
        if (!strcmp(members[i].name, "arr_0")) return &members[i].array;
    for (int i = 0; i < count; i++) {
        if (members[i].array.rank != 4) continue;
        if (found) return NULL;
        found = &members[i].array;
    }
    return found;
}

static bool npz_take(const char *path, ImageSet *set, Error *error) {
    NpzMember *members;
    int count;
    if (!npz_read(path, &members, &count, error)) return false;
    NpyArray *array = images_find(members, count);
    const bool ok = array ? array_take(array, set, error) || error_wrap(error, "%s", path)
                          : error_set(error, "%s: has neither arr_0 nor a single array of images", path);
    npz_free(members, count);
    return ok;
}

/* ---- pictures ---- */

/* `sample` puts an overview of this name beside its pictures. */
static bool is_overview(const SourceFile *file) {
    return !strcmp(file->name, "grid.png");
}

/* The first picture decides the size. */
static bool picture_add(ImageSet *set, const Image *image, const char *name, int capacity, Error *error) {
    Dataset *data = &set->data;
    if (!set->images) {
        data->height = image->height, data->width = image->width, data->channels = 3;
        set->images = malloc((size_t)capacity * (size_t)image->height * (size_t)image->width * 3);
        CHECK(set->images, "out of memory for %d pictures of %d x %d", capacity, image->width, image->height);
    }
    if (image->width != data->width || image->height != data->height)
        return error_set(error, "'%s' is %d x %d, but the pictures before it are %d x %d", name, image->width,
                         image->height, data->width, data->height);
    const size_t size = (size_t)image->height * (size_t)image->width * 3;
    memcpy(set->images + (size_t)data->count++ * size, image->pixels, size);
    return true;
}

static bool pictures_read(SourceReader *reader, const Source *source, ImageSet *set, Error *first,
                          Error *error) {
    for (int i = 0; i < source->count; i++) {
        const SourceFile *file = &source->pictures[i];
        Image image;
        Error why;
        if (is_overview(file)) continue;
        if (!reader_read(reader, file, &why) ||
            !image_decode(reader->bytes, reader->size, file->name, &image, &why)) {
            if (!set->skipped++) *first = why;
            continue;
        }
        const bool added = picture_add(set, &image, file->name, source->count, error);
        image_free(&image);
        if (!added) return error_wrap(error, "%s", source->path);
    }
    return true;
}

static bool skipped_check(const ImageSet *set, const char *path, bool skip_bad, const Error *first,
                          Error *error) {
    if (set->skipped && skip_bad && set->data.count) {
        log_warn("%s: %d of %d pictures left out, the first: %s", path, set->skipped,
                 set->skipped + set->data.count, first->text);
        return true;
    }
    if (set->skipped)
        return error_set(error,
                         "%s: %d of %d pictures cannot be read, the first: %s (--skip-bad leaves them "
                         "out)",
                         path, set->skipped, set->skipped + set->data.count, first->text);
    return set->data.count || error_set(error, "%s: there are no pictures in it", path);
}

static bool pictures_take(const char *path, bool skip_bad, ImageSet *set, Error *error) {
    Source source;
    SourceReader reader;
    Error first;
    if (!source_open(&source, path, error)) return false;
    const bool ok = reader_open(&reader, &source, error) &&
                    pictures_read(&reader, &source, set, &first, error) &&
                    skipped_check(set, path, skip_bad, &first, error);
    reader_close(&reader);
    source_close(&source);
    return ok;
}

/* ---- whole sets ---- */

bool image_set_read(const char *path, bool skip_bad, ImageSet *set, Error *error) {
    struct stat status;
    *set = (ImageSet){.skipped = 0};
    snprintf(set->data.name, sizeof set->data.name, "%.63s", path_name(path));
    const bool there = stat(path, &status) == 0;
    const bool ok = !there                    ? error_set(error, "%s: there is no such file or folder", path)
                    : ends_with(path, ".npy") ? npy_take(path, set, error)
                    : ends_with(path, ".npz") ? npz_take(path, set, error)
                                              : pictures_take(path, skip_bad, set, error);
    if (!ok) {
        image_set_free(set);
        return false;
    }
    const Dataset *data = &set->data;
    set->data.images = set->images;
    set->data.hash = hash_bytes(set->images, (size_t)data->count * (size_t)data->height *
                                                 (size_t)data->width * (size_t)data->channels);
    return true;
}

void image_set_free(ImageSet *set) {
    free(set->images);
    set->images = NULL;
}
