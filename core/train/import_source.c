/* Lists and reads the files of a zip or of a folder. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* nftw's FTW_ACTIONRETVAL and strcasecmp */
#endif
#include "train/import_source.h"

#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zip.h>

static bool picture_is(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot && (!strcasecmp(dot, ".png") || !strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg"));
}

/* Finder and the like leave "._a.jpg" and "__MACOSX/" in archives. */
static bool name_hidden(const char *name) {
    return path_name(name)[0] == '.' || strncmp(name, "__MACOSX/", 9) == 0;
}

static void source_add(Source *source, const char *name, uint64_t index) {
    if (name_hidden(name) || !path_name(name)[0]) return;
    if (strcmp(name, "dataset.json") == 0) {
        source->labelled = true;
        source->labels = (SourceFile){text_copy(name), index};
        return;
    }
    if (!picture_is(name)) {
        source->others++;
        return;
    }
    if (source->count == source->capacity) {
        source->capacity = source->capacity ? 2 * source->capacity : 1024;
        source->pictures = realloc(source->pictures, (size_t)source->capacity * sizeof *source->pictures);
        CHECK(source->pictures, "out of memory for %d file names", source->capacity);
    }
    source->pictures[source->count++] = (SourceFile){text_copy(name), index};
}

static zip_t *archive_open(const char *path, Error *error) {
    int code = 0;
    zip_t *archive = zip_open(path, ZIP_RDONLY, &code);
    if (archive) return archive;
    zip_error_t reason;
    zip_error_init_with_code(&reason, code);
    error_set(error, "%s: the zip cannot be opened: %s", path, zip_error_strerror(&reason));
    zip_error_fini(&reason);
    return NULL;
}

static bool zip_list(Source *source, Error *error) {
    zip_t *archive = archive_open(source->path, error);
    if (!archive) return false;
    const zip_int64_t entries = zip_get_num_entries(archive, 0);
    for (zip_int64_t i = 0; i < entries; i++) {
        const char *name = zip_get_name(archive, (zip_uint64_t)i, ZIP_FL_ENC_RAW);
        if (name) source_add(source, name, (uint64_t)i);
    }
    zip_discard(archive);
    return true;
}

/* nftw has no argument for its callback. */
static Source *walked;

static int folder_visit(const char *path, const struct stat *status, int kind, struct FTW *place) {
    (void)status;
    if (kind == FTW_D && place->level > 0 && path_name(path)[0] == '.') return FTW_SKIP_SUBTREE;
    if (kind != FTW_F) return FTW_CONTINUE;
    const char *name = path + strlen(walked->path);
    source_add(walked, name + strspn(name, "/"), 0);
    return FTW_CONTINUE;
}

static bool folder_list(Source *source, Error *error) {
    walked = source;
    if (nftw(source->path, folder_visit, 16, FTW_ACTIONRETVAL) == 0) return true;
    return error_set(error, "%s: the folder cannot be read: %s", source->path, strerror(errno));
}

static int name_compare(const void *a, const void *b) {
    return strcmp(((const SourceFile *)a)->name, ((const SourceFile *)b)->name);
}

bool source_open(Source *source, const char *path, Error *error) {
    FileMap map;
    *source = (Source){.path = path, .zip = file_map(path, &map, NULL)}; /* a folder cannot be mapped */
    if (source->zip) file_unmap(&map);
    if (!(source->zip ? zip_list(source, error) : folder_list(source, error))) return false;
    if (source->count) {
        qsort(source->pictures, (size_t)source->count, sizeof *source->pictures, name_compare);
        return true;
    }
    source_close(source);
    return error_set(error, "%s: there are no PNG or JPEG files in it", path);
}

void source_close(Source *source) {
    for (int i = 0; i < source->count; i++) free(source->pictures[i].name);
    free(source->pictures);
    free(source->labels.name);
    *source = (Source){0};
}

bool reader_open(SourceReader *reader, const Source *source, Error *error) {
    *reader = (SourceReader){.source = source};
    if (source->zip) reader->archive = archive_open(source->path, error);
    return !source->zip || reader->archive;
}

enum { FILE_MAX = 1 << 29 };

static bool zip_read(SourceReader *reader, const SourceFile *file, Error *error) {
    zip_stat_t status;
    zip_file_t *stream = NULL;
    if (zip_stat_index(reader->archive, file->index, 0, &status) == 0)
        stream = zip_fopen_index(reader->archive, file->index, 0);
    if (!stream)
        return error_set(error, "%s: '%s': %s", reader->source->path, file->name,
                         zip_strerror(reader->archive));
    if (status.size > FILE_MAX) {
        zip_fclose(stream);
        return error_set(error, "%s: '%s' is larger than any picture", reader->source->path, file->name);
    }
    if (status.size + 1 > reader->capacity) {
        free(reader->bytes);
        reader->capacity = 2 * (size_t)status.size + 1;
        reader->bytes = malloc(reader->capacity);
        CHECK(reader->bytes, "out of memory for %zu bytes", reader->capacity);
    }
    /* The second read finds the end, and there the library compares the checksum. */
    uint8_t beyond;
    reader->size = (size_t)status.size;
    const bool whole = zip_fread(stream, reader->bytes, status.size) == (zip_int64_t)status.size &&
                       zip_fread(stream, &beyond, 1) == 0;
    if (!whole)
        error_set(error, "%s: '%s' is damaged: %s", reader->source->path, file->name,
                  zip_file_strerror(stream));
    zip_fclose(stream);
    return whole;
}

bool reader_read(SourceReader *reader, const SourceFile *file, Error *error) {
    if (reader->source->zip) return zip_read(reader, file, error);
    char path[1024];
    free(reader->bytes);
    reader->bytes = NULL;
    return file_read(path_join(path, reader->source->path, file->name), (char **)&reader->bytes,
                     &reader->size, error);
}

void reader_close(SourceReader *reader) {
    if (reader->archive) zip_discard(reader->archive);
    free(reader->bytes);
    *reader = (SourceReader){0};
}
