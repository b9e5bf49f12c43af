/* Importing: finds out from the file (or folder) itself what it is, and hands it to the importer of that
 * kind. */
#include "data/dataset_internal.h"

#include "base/archive.h"
#include "base/file.h"
#include "base/log.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

typedef enum Kind { KIND_UNKNOWN, KIND_IMAGES, KIND_CIFAR, KIND_NPZ, KIND_PICKLES } Kind;

static bool ends_with(const char *text, const char *end) {
    const size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

/* What a file of that name, in a folder or a zip, says about the whole. Pickles have CIFAR's or ImageNet's
 * names and no ending. */
static Kind name_kind(const char *name) {
    const char *last = path_name(name);
    if (ends_with(last, ".bin")) return KIND_CIFAR;
    if (ends_with(last, ".npz") || ends_with(last, "_npz.zip") || strcmp(last, "data.npy") == 0)
        return KIND_NPZ;
    const bool batch = strncmp(last, "data_batch", 10) == 0 || strncmp(last, "train_data_batch", 16) == 0;
    return batch && !strchr(last, '.') ? KIND_PICKLES : KIND_UNKNOWN;
}

/* What nothing else is known about is taken for images. */
static Kind folder_kind(const char *path) {
    DIR *folder = opendir(path);
    Kind kind = KIND_UNKNOWN;
    for (struct dirent *entry; folder && !kind && (entry = readdir(folder));) kind = name_kind(entry->d_name);
    if (folder) closedir(folder);
    return kind ? kind : KIND_IMAGES;
}

static Kind zip_kind(const char *path) {
    Archive archive;
    if (!archive_open(&archive, path, NULL)) return KIND_IMAGES; /* whose importer will say what is wrong */
    Kind kind = KIND_UNKNOWN;
    for (int i = 0; !kind && i < archive.count; i++) kind = name_kind(archive_name(&archive, i));
    archive_close(&archive);
    return kind == KIND_NPZ || kind == KIND_PICKLES ? kind : KIND_IMAGES;
}

static Kind file_kind(const char *path) {
    unsigned char front[512] = {0};
    FILE *stream = fopen(path, "rb");
    const size_t got = stream ? fread(front, 1, sizeof front, stream) : 0;
    if (stream) fclose(stream);
    if (got >= 4 && memcmp(front, "PK", 2) == 0) return zip_kind(path);
    if (got >= 2 && front[0] == 0x1f && front[1] == 0x8b) return KIND_CIFAR;
    if (got == 512 && memcmp(front + 257, "ustar", 5) == 0) return KIND_CIFAR;
    if (got >= 2 && front[0] == 0x80 && front[1] >= 2 && front[1] <= 5) return KIND_PICKLES;
    return ends_with(path, ".bin") ? KIND_CIFAR : KIND_UNKNOWN;
}

static bool name_check(const char *name, Error *error) {
    if (shapes_is_name(name))
        return error_set(error, "'shapes' is the built-in data set's name; choose another");
    bool good = isalnum((unsigned char)name[0]) && strlen(name) < 64;
    for (const char *letter = name; *letter; letter++)
        good = good && (isalnum((unsigned char)*letter) || strchr("_-.", *letter));
    if (good) return true;
    return error_set(error, "'%s' cannot name a data set: letters, digits, '_', '-' and '.', at most 63",
                     name);
}

static bool kind_import(Kind kind, DatasetInfo *info, const char *path, const char *folder, Error *error) {
    switch (kind) {
    case KIND_IMAGES:
        return import_images(info, path, folder, error);
    case KIND_CIFAR:
        return import_cifar(info, path, folder, error);
    case KIND_NPZ:
        return import_npz(info, path, folder, error);
    case KIND_PICKLES:
        return error_set(error,
                         "%s: these are Python pickles, which only Python can read; get the same data as "
                         "CIFAR-10's binary version (cifar-10-binary.tar.gz) or ImageNet's npz files",
                         path);
    default:
        return error_set(
            error,
            "%s: this is neither a zip or folder of PNG/JPEG files, nor CIFAR-10's binary version "
            "(cifar-10-binary.tar.gz or its .bin files), nor the downsampled ImageNet's npz files",
            path);
    }
}

/* Opens what was written, as a run will, and says what is in it. */
static bool import_report(const char *name, const char *folder, Error *error) {
    DataConfig config = {0};
    Dataset set;
    Text summary = {0};
    snprintf(config.name, sizeof config.name, "%s", name);
    if (!dataset_open(&config, folder, &set, error)) return false;
    dataset_summary(&set, &summary);
    log_info("%s", text_view(&summary));
    text_free(&summary);
    if (dataset_empty_classes(&set, &summary)) log_warn("%s: %s", name, text_view(&summary));
    text_free(&summary);
    dataset_close(&set);
    return true;
}

bool dataset_import(const char *name, const char *path, const char *folder, Error *error) {
    struct stat status;
    if (!name_check(name, error)) return false;
    if (stat(path, &status) != 0) return error_set(error, "%s: there is no such file or folder", path);
    const Kind kind = S_ISDIR(status.st_mode) ? folder_kind(path) : file_kind(path);
    DatasetInfo info = {.channels = 3};
    snprintf(info.name, sizeof info.name, "%s", name);
    snprintf(info.source, sizeof info.source, "%.255s", path_name(path));
    const double start = clock_monotonic();
    if (!kind_import(kind, &info, path, folder, error)) return false;
    log_info("%s/%s: images of %d x %d, imported in %.1f s", folder, name, info.width, info.height,
             clock_monotonic() - start);
    return import_report(name, folder, error);
}
