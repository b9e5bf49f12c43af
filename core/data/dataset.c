/* Opening and listing data sets. A stored set is three files: images.npy and labels.npy, mapped into memory
 * so that opening costs nothing and any number of processes share one copy, and dataset.yaml, which has the
 * hash that was taken when the set was imported. It is trusted as long as the sizes agree and nothing was
 * written since: hashing 150 MB at every start would be slower than the start. */
#include "data/dataset_internal.h"

#include "base/file.h"
#include "base/log.h"
#include "base/npy.h"
#include "base/text.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct Storage {
    FileMap images, labels; /* of a stored set */
    void *drawn[2];         /* of a built-in one */
} Storage;

Hash dataset_hash(const Dataset *set) {
    const int32_t shape[4] = {set->count, set->height, set->width, set->channels};
    const size_t count = (size_t)set->count;
    HashSum sum;
    hash_begin(&sum);
    hash_add(&sum, shape, sizeof shape);
    hash_add(&sum, set->images, count * (size_t)(set->height * set->width * set->channels));
    if (set->labels) hash_add(&sum, set->labels, count * sizeof *set->labels);
    return hash_end(&sum);
}

/* The first `count` images of a set are another set. */
static Hash hash_of_part(const Hash *whole, int count) {
    char *text = text_format("first %d of %s", count, whole->hex);
    const Hash hash = hash_bytes(text, strlen(text));
    free(text);
    return hash;
}

static bool images_open(const char *folder, const DatasetInfo *info, Storage *storage, Dataset *set,
                        Error *error) {
    char path[1024];
    NpyArray array;
    if (!file_map(path_join(path, folder, "images.npy"), &storage->images, error)) return false;
    if (!npy_parse(storage->images.bytes, storage->images.size, &array, error))
        return error_wrap(error, "%s", path);
    const int64_t shape[4] = {info->count, info->height, info->width, info->channels};
    if (array.type != NPY_U8 || array.rank != 4 || memcmp(array.shape, shape, sizeof shape) != 0)
        return error_set(error, "%s: is not the array that dataset.yaml describes (u1, %d x %d x %d x %d)",
                         path, info->count, info->height, info->width, info->channels);
    set->images = array.data;
    return true;
}

static bool labels_open(const char *folder, const DatasetInfo *info, Storage *storage, Dataset *set,
                        Error *error) {
    char path[1024];
    NpyArray array;
    if (!info->classes) return true;
    if (!file_map(path_join(path, folder, "labels.npy"), &storage->labels, error)) return false;
    if (!npy_parse(storage->labels.bytes, storage->labels.size, &array, error))
        return error_wrap(error, "%s", path);
    if (array.type != NPY_I32 || array.rank != 1 || array.shape[0] != info->count)
        return error_set(error, "%s: is not the array that dataset.yaml describes (i4, %d)", path,
                         info->count);
    const int32_t *labels = array.data;
    for (int i = 0; i < info->count; i++)
        if (labels[i] < 0 || labels[i] >= info->classes)
            return error_set(error, "%s: label %d of image %d is not one of %d classes", path, labels[i], i,
                             info->classes);
    set->labels = labels;
    return true;
}

/* Names of the sets under `folder`, sorted; free each and the list. 0 when there is none. */
static int entry_is_visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}
static int names_scan(const char *folder, struct dirent ***entries) {
    const int count = scandir(folder, entries, entry_is_visible, alphasort);
    if (count < 0) *entries = NULL;
    return count < 0 ? 0 : count;
}
static void names_free(struct dirent **entries, int count) {
    for (int i = 0; i < count; i++) free(entries[i]);
    free(entries);
}

static bool set_missing(const char *name, const char *folder, Error *error) {
    Text known = {0};
    struct dirent **entries;
    const int count = names_scan(folder, &entries);
    for (int i = 0; i < count; i++) text_append(&known, "%s, ", entries[i]->d_name);
    if (count) text_append(&known, "and ");
    names_free(entries, count);
    error_set(
        error,
        "there is no data set '%s' in %s/ (there are: %sshapes, which is built in); import it with\n"
        "    ./run data import %s PATH    a zip or folder of PNG/JPEG files, CIFAR-10's binary archive, "
        "ImageNet's npz",
        name, folder, text_view(&known), name);
    text_free(&known);
    return false;
}

/* Whether the file was written after the description: by somebody else than the importer, who writes that
 * last. */
static bool is_younger(const char *folder, const char *name) {
    struct stat file, description;
    char path[1024];
    if (stat(path_join(path, folder, name), &file) != 0) return false;
    if (stat(path_join(path, folder, "dataset.yaml"), &description) != 0) return false;
    const struct timespec *a = &file.st_mtim, *b = &description.st_mtim;
    return a->tv_sec > b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec > b->tv_nsec);
}

/* From now on the description is the youngest again: hashing ImageNet takes a minute, once. A folder that
 * cannot be written to is hashed at every start. */
static void description_touch(const char *folder) {
    char path[1024];
    utimensat(AT_FDCWD, path_join(path, folder, "dataset.yaml"), NULL, 0);
}

/* A set that was only copied has other times too, so younger files are a reason to look, not to refuse. */
static bool content_check(const char *folder, const Dataset *set, Error *error) {
    if (!is_younger(folder, "images.npy") && !is_younger(folder, "labels.npy")) return true;
    log_info("data set %s: younger than its description, perhaps a copy; comparing its hash", set->name);
    const Hash hash = dataset_hash(set);
    const bool same = strcmp(hash.hex, set->hash.hex) == 0;
    if (same) description_touch(folder);
    return same ||
           error_set(error,
                     "%s: images or labels have changed since they were imported (hash %.8s, dataset.yaml "
                     "says %.8s): remove "
                     "the folder and import the data set again",
                     folder, hash.hex, set->hash.hex);
}

/* What the configuration asks of a stored set: its resolution, and no more images than it has. */
static bool part_select(const DataConfig *config, Dataset *set, Error *error) {
    if (config->resolution && (config->resolution != set->height || config->resolution != set->width))
        return error_set(error,
                         "data.resolution is %d, but the images of '%s' are %d x %d; leave the key out",
                         config->resolution, set->name, set->width, set->height);
    if (config->count < 0 || config->count > set->count)
        return error_set(error, "data.count is %d, but '%s' has %d images", config->count, set->name,
                         set->count);
    if (!config->count || config->count == set->count) return true;
    set->count = config->count;
    set->hash = hash_of_part(&set->hash, config->count);
    return true;
}

static bool stored_open(const DataConfig *config, const char *folder, Storage *storage, Dataset *set,
                        Error *error) {
    char place[1024], path[1024];
    DatasetInfo info;
    path_join(place, folder, config->name);
    path_join(path, place, "dataset.yaml");
    if (!config->name[0] || strchr(config->name, '/') || !file_exists(path))
        return set_missing(config->name, folder, error);
    if (!dataset_info_read(path, &info, error)) return false;
    set->count = info.count, set->height = info.height, set->width = info.width;
    set->channels = info.channels, set->classes = info.classes;
    memcpy(set->class_names, info.class_names, sizeof set->class_names);
    set->hash = info.hash;
    return images_open(place, &info, storage, set, error) && labels_open(place, &info, storage, set, error) &&
           content_check(place, set, error) && part_select(config, set, error);
}

static bool shapes_open(const DataConfig *config, Storage *storage, Dataset *set, Error *error) {
    if (!shapes_draw(config, set, error)) return false;
    storage->drawn[0] = (void *)(uintptr_t)set->images;
    storage->drawn[1] = (void *)(uintptr_t)set->labels;
    set->hash = dataset_hash(set);
    return true;
}

bool dataset_open(const DataConfig *config, const char *folder, Dataset *set, Error *error) {
    Storage *storage = calloc(1, sizeof *storage);
    CHECK(storage, "out of memory");
    *set = (Dataset){.storage = storage};
    snprintf(set->name, sizeof set->name, "%s", config->name);
    if (shapes_is_name(config->name) ? shapes_open(config, storage, set, error)
                                     : stored_open(config, folder, storage, set, error))
        return true;
    dataset_close(set);
    return false;
}

void dataset_close(Dataset *set) {
    Storage *storage = set->storage;
    if (storage) {
        file_unmap(&storage->images);
        file_unmap(&storage->labels);
        free(storage->drawn[0]);
        free(storage->drawn[1]);
    }
    free(storage);
    *set = (Dataset){0};
}

static void list_line(const char *name, const char *folder) {
    char place[1024], path[1024];
    DatasetInfo info;
    Dataset set;
    Error error;
    DataConfig config = {0};
    path_join(path, path_join(place, folder, name), "dataset.yaml");
    if (!file_exists(path)) return;
    snprintf(config.name, sizeof config.name, "%s", name);
    if (!dataset_info_read(path, &info, &error) || !dataset_open(&config, folder, &set, &error)) {
        log_warn("%s", error.text);
        return;
    }
    char size[32], classes[16], each[32];
    snprintf(size, sizeof size, "%d x %d", info.width, info.height);
    snprintf(classes, sizeof classes, info.classes ? "%d" : "none", info.classes);
    printf("%-16s %9d  %-11s %7s  %-11s  %.8s  %s\n", name, info.count, size, classes,
           dataset_each_class(&set, each), info.hash.hex, info.source);
    dataset_close(&set);
}

bool dataset_list(const char *folder, Error *error) {
    (void)error; /* a folder that is not there holds no sets; a set that cannot be read is warned about */
    struct dirent **entries;
    const int count = names_scan(folder, &entries);
    printf("%-16s %9s  %-11s %7s  %-11s  %-8s  %s\n", "name", "images", "size", "classes", "each class",
           "hash", "source");
    for (int i = 0; i < count; i++) list_line(entries[i]->d_name, folder);
    names_free(entries, count);
    printf("%-16s %9s  %-11s %7d  %-11s  %-8s  %s\n", "shapes", "any", "any", 10, "", "",
           "built in, drawn from data.seed");
    return true;
}
