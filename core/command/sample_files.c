/* The forms are those of the tools that will read them; what is in them is the same to the bit. */
#include "command/sample_files.h"

#include "base/archive.h"
#include "base/file.h"
#include "base/image.h"
#include "base/npy.h"
#include "base/text.h"
#include "base/picture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_IN_GRID = 1024, IMAGES_A_FOLDER = 1000 };

/* ---- noise ---- */

static double value_at(const NpyArray *array, int64_t i) {
    return array->type == NPY_F64 ? ((const double *)array->data)[i]
                                  : (double)((const float *)array->data)[i];
}

static const NpyArray *latents_find(const NpzMember *members, int count) {
    const NpyArray *found = npz_find(members, count, "latents");
    for (int i = 0; i < count && !found; i++)
        if (members[i].array.rank == 4) found = &members[i].array;
    return found;
}

/* A noise array has a mean square of about one: 3,072 numbers give 1 +- 0.03. */
static bool values_check(const NpyArray *array, Error *error) {
    const int64_t count = npy_count(array), size = count / array->shape[0];
    double square = 0;
    for (int64_t i = 0; i < count; i++) {
        const double z = value_at(array, i);
        if (!isfinite(z)) return error_set(error, "latent %lld holds %g", (long long)(i / size), z);
        square += z * z / (double)count;
    }
    return (square > 0.5 && square < 2) ||
           error_set(error,
                     "latents are standard normal noise (sigma_max is multiplied here); these have a mean "
                     "square of %.3g",
                     square);
}

static bool array_check(const NpyArray *array, int size, int channels, Error *error) {
    if (!array || array->rank != 4 || (array->type != NPY_F32 && array->type != NPY_F64) || !npy_count(array))
        return error_set(error, "noise is an array `latents` of floats N,C,H,W or N,H,W,C");
    const int64_t *s = array->shape;
    const bool planar = s[1] == channels && s[2] == size && s[3] == size;
    const bool packed = s[3] == channels && s[1] == size && s[2] == size;
    return planar || packed ||
           error_set(error,
                     "noise of %lld x %lld x %lld an image does not fit a network for %d images of "
                     "%d x %d channels",
                     (long long)s[1], (long long)s[2], (long long)s[3], channels, size, size);
}

static float *latents_pack(const NpyArray *array, int size, int channels) {
    const int64_t count = npy_count(array), pixels = (int64_t)size * size, image = pixels * channels;
    const bool planar = array->shape[1] == channels && array->shape[2] == size;
    float *latents = malloc((size_t)count * sizeof *latents);
    CHECK(latents, "out of memory for noise");
    for (int64_t i = 0; i < count; i++) {
        const int64_t n = i / image, p = i % image / channels, c = i % channels;
        latents[i] = (float)value_at(array, planar ? n * image + c * pixels + p : i);
    }
    return latents;
}

bool latents_read(const char *path, int size, int channels, float **latents, int *count, Error *error) {
    NpzMember *members;
    int members_count;
    *latents = NULL;
    if (!npz_read(path, &members, &members_count, error)) return false;
    const NpyArray *array = latents_find(members, members_count);
    const bool ok = (array_check(array, size, channels, error) && values_check(array, error)) ||
                    error_wrap(error, "%s", path);
    if (ok) {
        *latents = latents_pack(array, size, channels);
        *count = (int)array->shape[0];
    }
    npz_free(members, members_count);
    return ok;
}

/* ---- images ---- */

static bool npz_put(const char *path, const SampleImages *of, Error *error) {
    int64_t *labels = malloc((size_t)of->count * sizeof *labels);
    CHECK(labels, "out of memory for labels");
    for (int i = 0; i < of->count && of->labels; i++) labels[i] = of->labels[i];
    const NpzMember members[] = {
        {"arr_0", {NPY_U8, 4, {of->count, of->size, of->size, of->channels}, (void *)(uintptr_t)of->images}},
        {"arr_1", {NPY_I64, 1, {of->count}, labels}},
    };
    const bool done = npz_write(path, members, of->labels ? 2 : 1, error);
    free(labels);
    return done;
}

static size_t image_bytes(const SampleImages *of) {
    return (size_t)of->size * (size_t)of->size * (size_t)of->channels;
}

static bool member_make(const SampleImages *of, int i, ArchiveMember *member, Text *json, Error *error) {
    member->name = text_format("%05d/img%08d.png", i / IMAGES_A_FOLDER, i);
    if (of->labels) text_append(json, "%s[\"%s\", %d]", i ? ", " : "", member->name, of->labels[i]);
    return picture_encode(of->images + (size_t)i * image_bytes(of), of->size, of->size, of->channels,
                          &member->bytes, &member->size, error);
}

static bool zip_put(const char *path, const SampleImages *of, Error *error) {
    ArchiveMember *members = calloc((size_t)of->count + 1, sizeof *members);
    CHECK(members, "out of memory for a zip");
    Text json = {0};
    text_append(&json, of->labels ? "{\"labels\": [" : "{\"labels\": null}\n");
    bool done = true;
    for (int i = 0; done && i < of->count; i++) done = member_make(of, i, &members[i + 1], &json, error);
    if (of->labels) text_append(&json, "]}\n");
    members[0] = (ArchiveMember){text_copy("dataset.json"), text_copy(text_view(&json)), json.length};
    done = done && archive_write(path, members, of->count + 1, error);
    for (int i = 0; i <= of->count; i++) free(members[i].name), free(members[i].bytes);
    text_free(&json);
    free(members);
    return done;
}

static bool folder_put(const char *folder, const SampleImages *of, Error *error) {
    char name[64], path[1024];
    if (!folder_make(folder, error)) return false;
    for (int i = 0; i < of->count; i++) {
        snprintf(name, sizeof name, "seed-%06u.png", of->first + (uint32_t)i);
        if (!picture_write_one(path_join(path, folder, name), of->images + (size_t)i * image_bytes(of),
                               of->size, of->size, of->channels, error))
            return false;
    }
    Picture picture = {.blocks = 1,
                       .height = of->size,
                       .width = of->size,
                       .channels = of->channels,
                       .block = {of->images},
                       .each = of->count < MOST_IN_GRID ? of->count : MOST_IN_GRID};
    return picture_write(path_join(path, folder, "grid.png"), &picture, error);
}

static bool ends_with(const char *path, const char *end) {
    const size_t length = strlen(path), tail = strlen(end);
    return length > tail && !strcmp(path + length - tail, end);
}

bool sample_images_write(const char *path, const SampleImages *of, Error *error) {
    char folder[1024];
    const bool npz = ends_with(path, ".npz"), zip = ends_with(path, ".zip");
    if (!npz && !zip) return folder_put(path, of, error);
    return folder_make(path_folder(folder, path), error) &&
           (npz ? npz_put(path, of, error) : zip_put(path, of, error));
}
