/* Importing: finds out from the file (or folder) itself what it is, and hands it to the importer of that
 * kind. */
#include "train/dataset_internal.h"

#include "base/file.h"
#include "base/log.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

typedef enum Kind { KIND_UNKNOWN, KIND_IMAGES, KIND_CIFAR } Kind;

static bool ends_with(const char *text, const char *end) {
    const size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

/* A folder with .bin files is CIFAR's, any other is taken for images. */
static Kind folder_kind(const char *path) {
    DIR *folder = opendir(path);
    Kind kind = KIND_IMAGES;
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if (ends_with(entry->d_name, ".bin")) kind = KIND_CIFAR;
    if (folder) closedir(folder);
    return kind;
}

static Kind file_kind(const char *path) {
    unsigned char front[512] = {0};
    FILE *stream = fopen(path, "rb");
    const size_t got = stream ? fread(front, 1, sizeof front, stream) : 0;
    if (stream) fclose(stream);
    if (got >= 4 && memcmp(front, "PK", 2) == 0) return KIND_IMAGES;
    if (got >= 2 && front[0] == 0x1f && front[1] == 0x8b) return KIND_CIFAR;
    if (got == 512 && memcmp(front + 257, "ustar", 5) == 0) return KIND_CIFAR;
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

bool dataset_import(const char *name, const char *path, const char *folder, Error *error) {
    struct stat status;
    if (!name_check(name, error)) return false;
    if (stat(path, &status) != 0) return error_set(error, "%s: there is no such file or folder", path);
    const Kind kind = S_ISDIR(status.st_mode) ? folder_kind(path) : file_kind(path);
    DatasetInfo info = {.channels = 3};
    snprintf(info.name, sizeof info.name, "%s", name);
    snprintf(info.source, sizeof info.source, "%.255s", path_name(path));
    const double start = clock_monotonic();
    switch (kind) {
    case KIND_IMAGES:
        if (!import_images(&info, path, folder, error)) return false;
        break;
    case KIND_CIFAR:
        if (!import_cifar(&info, path, folder, error)) return false;
        break;
    default:
        return error_set(
            error,
            "%s: this is neither a zip or folder of PNG/JPEG files nor CIFAR-10's binary version "
            "(cifar-10-binary.tar.gz or its .bin files)",
            path);
    }
    log_info("%s/%s: %d images of %d x %d, %d classes, imported in %.1f s", folder, name, info.count,
             info.width, info.height, info.classes, clock_monotonic() - start);
    return true;
}
