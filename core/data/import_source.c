/* Lists and reads the files of a zip or of a folder. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* nftw's FTW_ACTIONRETVAL and strcasecmp */
#endif
#include "data/import_source.h"

#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool picture_is(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot && (!strcasecmp(dot, ".png") || !strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg"));
}

/* Finder and the like leave "._a.jpg" and "__MACOSX/" in archives. */
static bool name_hidden(const char *name) {
    return path_name(name)[0] == '.' || strncmp(name, "__MACOSX/", 9) == 0;
}

static void source_add(Source *source, const char *name, int index) {
    if (name_hidden(name) || !path_name(name)[0]) return;
    if (strcmp(name, "dataset.json") == 0) {
        if (source->labelled) return; /* a zip can hold a name twice: the first one counts */
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

static bool zip_list(Source *source, Error *error) {
    Archive archive;
    if (!archive_open(&archive, source->path, error)) return false;
    for (int i = 0; i < archive.count; i++) source_add(source, archive_name(&archive, i), i);
    archive_close(&archive);
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
    const bool listed = source->zip ? zip_list(source, error) : folder_list(source, error);
    if (listed && source->count) {
        qsort(source->pictures, (size_t)source->count, sizeof *source->pictures, name_compare);
        return true;
    }
    source_close(source);
    return listed && error_set(error, "%s: there are no PNG or JPEG files in it", path);
}

void source_close(Source *source) {
    for (int i = 0; i < source->count; i++) free(source->pictures[i].name);
    free(source->pictures);
    free(source->labels.name);
    *source = (Source){0};
}

bool reader_open(SourceReader *reader, const Source *source, Error *error) {
    *reader = (SourceReader){.source = source};
    return !source->zip || archive_open(&reader->archive, source->path, error);
}

bool reader_read(SourceReader *reader, const SourceFile *file, Error *error) {
    char path[1024];
    free(reader->bytes);
    reader->bytes = NULL;
    if (reader->source->zip)
        return archive_read(&reader->archive, file->index, &reader->bytes, &reader->size, error);
    return file_read(path_join(path, reader->source->path, file->name), (char **)&reader->bytes,
                     &reader->size, error);
}

void reader_close(SourceReader *reader) {
    archive_close(&reader->archive);
    free(reader->bytes);
    *reader = (SourceReader){0};
}
