/* Labels of a collection of pictures: from the file dataset.json at its top (EDM's layout), {"labels":
 * [["00/00000.png", 6], ...]} or {"labels": null}; without such a file from the folders that the pictures lie
 * in, one a class, in the order of their names (torchvision's ImageFolder). */
#include "data/import_source.h"

#include "base/log.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- dataset.json ---- */

typedef struct NamedLabel {
    const char *name;
    int label;
} NamedLabel;

static int label_compare(const void *a, const void *b) {
    return strcmp(((const NamedLabel *)a)->name, ((const NamedLabel *)b)->name);
}

static bool pair_read(const cJSON *pair, NamedLabel *label, Error *error) {
    const cJSON *name = pair ? pair->child : NULL, *value = name ? name->next : NULL;
    if (!cJSON_IsArray(pair) || !cJSON_IsString(name))
        return error_set(error, "dataset.json: an entry of \"labels\" is not [\"file name\", class number]");
    const bool whole = cJSON_IsNumber(value) && value->valuedouble == (double)value->valueint;
    if (!whole || value->valueint < 0 || value->valueint >= CLASSES_MAX)
        return error_set(error, "dataset.json: the label of '%s' is not a class number", name->valuestring);
    *label = (NamedLabel){name->valuestring, value->valueint};
    return true;
}

/* Turns the file's list into one label per picture of the source. */
static bool labels_match(const cJSON *list, const Source *source, int32_t *labels, int *classes,
                         Error *error) {
    int count = 0;
    NamedLabel *known = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof *known);
    CHECK(known, "out of memory for the labels");
    bool good = true;
    for (const cJSON *pair = list->child; pair && good; pair = pair->next)
        good = pair_read(pair, &known[count++], error);
    if (good) qsort(known, (size_t)count, sizeof *known, label_compare);
    for (int i = 0; i < source->count && good; i++) {
        const NamedLabel wanted = {source->pictures[i].name, 0};
        const NamedLabel *found = bsearch(&wanted, known, (size_t)count, sizeof *known, label_compare);
        if (!found) good = error_set(error, "dataset.json: has no label for '%s'", wanted.name);
        if (!found) break;
        labels[i] = found->label;
        if (*classes <= found->label) *classes = found->label + 1;
    }
    free(known);
    return good;
}

static bool labels_parse(SourceReader *reader, int32_t *labels, int *classes, Error *error) {
    const Source *source = reader->source;
    if (!reader_read(reader, &source->labels, error)) return false;
    cJSON *json = cJSON_ParseWithLength((const char *)reader->bytes, reader->size);
    if (!json) return error_set(error, "%s: dataset.json is not JSON", source->path);
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(json, "labels");
    bool good = true; /* "labels": null says that there are none */
    if (list && !cJSON_IsNull(list))
        good = cJSON_IsArray(list) ? labels_match(list, source, labels, classes, error)
                                   : error_set(error, "dataset.json: \"labels\" is not a list");
    cJSON_Delete(json);
    return good || error_wrap(error, "%s", source->path);
}

/* ---- folders ---- */

typedef struct ClassFolder {
    const char *name; /* ends at a '/' */
    size_t length;
} ClassFolder;

static ClassFolder folder_of(const SourceFile *picture) {
    const char *slash = strchr(picture->name, '/');
    return (ClassFolder){picture->name, slash ? (size_t)(slash - picture->name) : 0};
}

static int folder_compare(const void *a, const void *b) {
    const ClassFolder *s = a, *t = b;
    const int order = strncmp(s->name, t->name, s->length < t->length ? s->length : t->length);
    return order ? order : (s->length > t->length) - (s->length < t->length);
}

/* EDM's tools put a thousand pictures into each of 00000/, 00001/, ...: those are pages, not classes. */
static bool folder_is_class(const ClassFolder *folder) {
    return folder->length > 0 && !(folder->length == 5 && strspn(folder->name, "0123456789") == 5);
}

/* The different folders, sorted; 0 when they are not classes. Pictures are sorted, so those of one folder
 * follow each other. */
static int folders_list(const Source *source, ClassFolder *folders) {
    int count = 0;
    for (int i = 0; i < source->count; i++) {
        const ClassFolder folder = folder_of(&source->pictures[i]);
        if (!folder_is_class(&folder)) return 0;
        if (!count || folder_compare(&folder, &folders[count - 1]) != 0) folders[count++] = folder;
    }
    qsort(folders, (size_t)count, sizeof *folders, folder_compare);
    return count > 1 ? count : 0;
}

static void labels_from_folders(const Source *source, int32_t *labels, DatasetInfo *info) {
    ClassFolder *folders = calloc((size_t)source->count, sizeof *folders);
    CHECK(folders, "out of memory for %d folders", source->count);
    const int count = folders_list(source, folders);
    for (int i = 0; count && i < source->count; i++) {
        const ClassFolder wanted = folder_of(&source->pictures[i]);
        const ClassFolder *found = bsearch(&wanted, folders, (size_t)count, sizeof wanted, folder_compare);
        labels[i] = (int32_t)(found - folders);
    }
    for (int k = 0; k < count && count <= CLASS_NAMES_MAX; k++) {
        char *name = info->class_names[k];
        snprintf(name, sizeof info->class_names[k], "%.*s", (int)folders[k].length, folders[k].name);
        for (char *at; (at = strpbrk(name, "[],\n"));) *at = '_'; /* dataset.yaml lists names as [a, b] */
    }
    info->classes = count;
    if (count)
        log_info("%s: its %d folders are the classes; dataset.json would say otherwise", source->path, count);
    free(folders);
}

bool labels_find(SourceReader *reader, int32_t *labels, DatasetInfo *info, Error *error) {
    if (reader->source->labelled) return labels_parse(reader, labels, &info->classes, error);
    labels_from_folders(reader->source, labels, info);
    return true;
}
