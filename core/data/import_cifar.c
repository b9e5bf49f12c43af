/* Imports CIFAR-10's binary version: records of 3073 bytes, a label and then 1024 red, 1024 green and 1024
 * blue values. From the archive or folder the five training files are taken, in order; a single .bin file
 * (the test set, for instance) is taken as it is. */
#include "data/dataset_internal.h"

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { SIDE = 32, PLANE = SIDE * SIDE, RECORD = 1 + 3 * PLANE, CLASSES = 10, BLOCK = 512 };

static const char *const class_names[CLASSES] = {"airplane", "automobile", "bird",  "cat",  "deer",
                                                 "dog",      "frog",       "horse", "ship", "truck"};

/* Training files as they come; the archive does not keep them in order. */
enum { FILES_MAX = 64 };
typedef struct Batches {
    char names[FILES_MAX][64];
    Text bytes[FILES_MAX];
    int count;
} Batches;

static bool batch_is(const char *name) {
    const size_t length = strlen(name);
    return strncmp(name, "data_batch", 10) == 0 && length > 4 && length < 64 &&
           !strcmp(name + length - 4, ".bin");
}

/* NULL when there are more files than any version of CIFAR has. */
static Text *batch_add(Batches *batches, const char *name, Error *error) {
    if (batches->count == FILES_MAX) {
        error_set(error, "there are more than %d data_batch files", FILES_MAX);
        return NULL;
    }
    snprintf(batches->names[batches->count], sizeof batches->names[0], "%.63s", name);
    return &batches->bytes[batches->count++];
}

static void batches_free(Batches *batches) {
    for (int i = 0; i < batches->count; i++) text_free(&batches->bytes[i]);
}

/* ---- the archive: tar inside gzip (or plain; zlib reads both) ---- */

static bool archive_bytes(gzFile archive, const char *path, void *to, size_t size, Error *error) {
    const int got = gzread(archive, to, (unsigned)size);
    if (got == (int)size) return true;
    int code;
    const char *reason = gzerror(archive, &code);
    return error_set(error, "%s: the archive is damaged: %s", path,
                     code == Z_OK ? "it is cut short" : reason);
}

/* Moves `size` bytes, padded to whole blocks, from the archive into `to` (or nowhere). */
static bool entry_read(gzFile archive, const char *path, uint64_t size, Text *to, Error *error) {
    char block[BLOCK];
    for (uint64_t left = size; left > 0;) {
        const size_t part = left < BLOCK ? (size_t)left : BLOCK;
        if (!archive_bytes(archive, path, block, BLOCK, error)) return false;
        if (to) text_append_bytes(to, block, part);
        left -= part;
    }
    return true;
}

/* A tar header: name at 0, size in octal at 124, kind at 156, and a checksum at 148 that counts itself as
 * blanks. */
static bool header_good(const uint8_t header[BLOCK]) {
    unsigned sum = 0;
    char stated[9] = ""; /* the field itself need not end in a zero */
    memcpy(stated, header + 148, 8);
    for (int i = 0; i < BLOCK; i++) sum += i >= 148 && i < 156 ? ' ' : header[i];
    return sum == strtoul(stated, NULL, 8);
}

static bool archive_entries(gzFile archive, const char *path, Batches *batches, Error *error) {
    for (;;) {
        uint8_t header[BLOCK];
        if (!archive_bytes(archive, path, header, BLOCK, error)) return false;
        if (!header[0]) return true; /* an empty block ends a tar file */
        if (!header_good(header)) return error_set(error, "%s: the archive is damaged: bad tar header", path);
        header[136] = 0;
        const uint64_t size = strtoull((const char *)header + 124, NULL, 8);
        char name[101] = "";
        memcpy(name, header, 100);
        const bool file = header[156] == '0' || header[156] == 0;
        const bool wanted = file && batch_is(path_name(name));
        Text *to = wanted ? batch_add(batches, path_name(name), error) : NULL;
        if (wanted && !to) return error_wrap(error, "%s", path);
        if (!entry_read(archive, path, size, to, error)) return false;
    }
}

static bool archive_read(const char *path, Batches *batches, Error *error) {
    gzFile archive = gzopen(path, "rb");
    if (!archive) return error_set(error, "%s: cannot be opened: %s", path, strerror(errno));
    gzbuffer(archive, 1 << 17);
    const bool done = archive_entries(archive, path, batches, error);
    gzclose(archive);
    return done;
}

/* ---- files ---- */

static bool file_add(const char *path, Batches *batches, Error *error) {
    char *bytes;
    size_t size;
    if (!file_read(path, &bytes, &size, error)) return false;
    Text *to = batch_add(batches, path_name(path), error);
    if (to) text_append_bytes(to, bytes, size);
    free(bytes);
    return to != NULL;
}

static bool folder_read(const char *path, Batches *batches, Error *error) {
    DIR *folder = opendir(path);
    if (!folder) return error_set(error, "%s: cannot be opened: %s", path, strerror(errno));
    bool good = true;
    for (struct dirent *entry; good && (entry = readdir(folder));) {
        char file[1024];
        if (batch_is(entry->d_name)) good = file_add(path_join(file, path, entry->d_name), batches, error);
    }
    closedir(folder);
    return good;
}

static bool batches_read(const char *path, Batches *batches, Error *error) {
    const size_t length = strlen(path);
    if (file_size(path) >= 0 && length > 4 && strcmp(path + length - 4, ".bin") == 0)
        return file_add(path, batches, error);
    DIR *folder = opendir(path);
    if (!folder) return archive_read(path, batches, error);
    closedir(folder);
    return folder_read(path, batches, error);
}

/* ---- records ---- */

static bool records_check(const Batches *batches, const char *path, int *count, Error *error) {
    *count = 0;
    for (int i = 0; i < batches->count; i++) {
        const Text *bytes = &batches->bytes[i];
        if (bytes->length == 0 || bytes->length % RECORD)
            return error_set(error,
                             "%s: %s has %zu bytes, which is no multiple of CIFAR-10's %d-byte records", path,
                             batches->names[i], bytes->length, RECORD);
        *count += (int)(bytes->length / RECORD);
        for (size_t at = 0; at < bytes->length; at += RECORD)
            if ((uint8_t)bytes->text[at] >= CLASSES)
                return error_set(error, "%s: %s: record %zu has label %d, CIFAR-10 has %d classes", path,
                                 batches->names[i], at / RECORD, (uint8_t)bytes->text[at], CLASSES);
    }
    if (*count) return true;
    return error_set(error, "%s: there are no data_batch_*.bin files in it; is it CIFAR-10's binary version?",
                     path);
}

static void record_convert(const uint8_t *record, uint8_t *image, int32_t *label) {
    *label = record[0];
    for (int i = 0; i < PLANE; i++)
        for (int c = 0; c < 3; c++) image[3 * i + c] = record[1 + c * PLANE + i];
}

/* Places of the batches in the order of their names. */
static void batches_sort(const Batches *batches, int order[FILES_MAX]) {
    for (int i = 0; i < batches->count; i++) {
        int place = i;
        while (place > 0 && strcmp(batches->names[order[place - 1]], batches->names[i]) > 0) {
            order[place] = order[place - 1];
            place--;
        }
        order[place] = i;
    }
}

static void records_convert(const Batches *batches, DatasetWriter *writer) {
    int order[FILES_MAX], image = 0;
    batches_sort(batches, order);
    for (int b = 0; b < batches->count; b++) {
        const Text *bytes = &batches->bytes[order[b]];
        for (size_t at = 0; at < bytes->length; at += RECORD, image++)
            record_convert((const uint8_t *)bytes->text + at, writer->images + (size_t)image * 3 * PLANE,
                           &writer->labels[image]);
    }
}

bool import_cifar(DatasetInfo *info, const char *path, const char *folder, Error *error) {
    Batches *batches = calloc(1, sizeof *batches);
    CHECK(batches, "out of memory");
    DatasetWriter writer;
    info->height = info->width = SIDE;
    info->classes = CLASSES;
    for (int i = 0; i < CLASSES; i++) strcpy(info->class_names[i], class_names[i]);
    bool done = batches_read(path, batches, error) && records_check(batches, path, &info->count, error) &&
                writer_open(&writer, info, folder, error);
    if (done) {
        records_convert(batches, &writer);
        done = writer_commit(&writer, error);
        writer_cancel(&writer);
    }
    batches_free(batches);
    free(batches);
    return done;
}
