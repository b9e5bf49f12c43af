/* Reading safetensors files; safetensors.h says what is checked and why. */
#include "base/safetensors.h"

#include "base/file.h"
#include "base/text.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_LIMIT = 100 << 20 }; /* the reference implementation's own limit */

typedef struct Storage {
    FileMap map;
    const uint8_t *data; /* what follows the header */
    size_t data_size;
} Storage;

/* ---- small questions ---- */

size_t safetensor_dtype_size(const char *dtype) {
    static const struct {
        const char *name;
        size_t size;
    } types[] = {{"F64", 8},  {"I64", 8}, {"U64", 8}, {"F32", 4}, {"I32", 4}, {"U32", 4}, {"F16", 2},
                 {"BF16", 2}, {"I16", 2}, {"U16", 2}, {"I8", 1},  {"U8", 1},  {"BOOL", 1}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(dtype, types[i].name) == 0) return types[i].size;
    }
    return 0;
}

int64_t safetensor_count(const SafeTensor *tensor) {
    int64_t count = 1;
    for (int i = 0; i < tensor->rank; i++) count *= tensor->shape[i];
    return count;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(((const SafeTensor *)a)->name, ((const SafeTensor *)b)->name);
}

const SafeTensor *safetensors_find(const SafeTensors *file, const char *name) {
    SafeTensor key = {0};
    if (strlen(name) >= sizeof key.name) return NULL;
    strcpy(key.name, name);
    return bsearch(&key, file->tensors, (size_t)file->count, sizeof key, compare_names);
}

const char *safetensors_metadata(const SafeTensors *file, const char *key) {
    for (int i = 0; i < file->metadata_count; i++) {
        if (strcmp(file->metadata[2 * i], key) == 0) return file->metadata[2 * i + 1];
    }
    return NULL;
}

/* ---- the header ---- */

/* A whole number from 0 to 2^53: what a double holds exactly. */
static bool json_whole(const cJSON *item, int64_t *value) {
    if (!cJSON_IsNumber(item)) return false;
    const double number = item->valuedouble;
    if (!(number >= 0 && number <= 9007199254740992.0)) return false;
    *value = (int64_t)number;
    return (double)*value == number;
}

static bool shape_parse(const cJSON *shape, SafeTensor *tensor, Error *error) {
    const int max_rank = (int)(sizeof tensor->shape / sizeof tensor->shape[0]);
    if (!cJSON_IsArray(shape)) return error_set(error, "its shape is not a list");
    for (const cJSON *size = shape->child; size; size = size->next) {
        if (tensor->rank == max_rank) return error_set(error, "it has more than %d dimensions", max_rank);
        if (!json_whole(size, &tensor->shape[tensor->rank++])) {
            return error_set(error, "its shape holds something other than whole numbers");
        }
    }
    return true;
}

static bool size_check(const SafeTensor *tensor, Error *error) {
    int64_t bytes = (int64_t)safetensor_dtype_size(tensor->dtype);
    bool overflow = false, empty = false;
    for (int i = 0; i < tensor->rank; i++) {
        if (tensor->shape[i] == 0) empty = true;
        if (tensor->shape[i] != 0) overflow |= __builtin_mul_overflow(bytes, tensor->shape[i], &bytes);
    }
    if (empty) bytes = 0;
    if (!overflow && (size_t)bytes == tensor->bytes) return true;
    return error_set(error, "its %zu bytes are not what its shape and type (%s) need", tensor->bytes,
                     tensor->dtype);
}

static bool place_parse(const cJSON *offsets, const Storage *storage, SafeTensor *tensor, Error *error) {
    int64_t begin, end;
    if (cJSON_GetArraySize(offsets) != 2 || !json_whole(cJSON_GetArrayItem(offsets, 0), &begin) ||
        !json_whole(cJSON_GetArrayItem(offsets, 1), &end)) {
        return error_set(error, "its data_offsets are not two whole numbers");
    }
    if (begin > end || (uint64_t)end > storage->data_size) {
        return error_set(error, "its data_offsets (%lld to %lld) lie outside the file's %zu bytes of data",
                         (long long)begin, (long long)end, storage->data_size);
    }
    tensor->data = storage->data + begin;
    tensor->bytes = (size_t)(end - begin);
    return true;
}

static bool tensor_parse(const cJSON *item, const Storage *storage, SafeTensor *tensor, Error *error) {
    if (strlen(item->string) >= sizeof tensor->name) return error_set(error, "its name is too long");
    strcpy(tensor->name, item->string);
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(item, "dtype");
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(item, "shape");
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(item, "data_offsets");
    if (!cJSON_IsObject(item) || cJSON_GetArraySize(item) != 3 || !cJSON_IsString(dtype) || !shape ||
        !cJSON_IsArray(offsets)) {
        return error_set(error, "it must have dtype, shape and data_offsets, once each");
    }
    if (!safetensor_dtype_size(dtype->valuestring)) {
        return error_set(error, "its type \"%.20s\" is unknown", dtype->valuestring);
    }
    strcpy(tensor->dtype, dtype->valuestring);
    return shape_parse(shape, tensor, error) && place_parse(offsets, storage, tensor, error) &&
           size_check(tensor, error);
}

static bool metadata_parse(const cJSON *object, SafeTensors *file, Error *error) {
    if (!cJSON_IsObject(object)) return error_set(error, "__metadata__ is not an object");
    if (file->metadata) return error_set(error, "__metadata__ occurs twice");
    file->metadata = calloc(2 * (size_t)cJSON_GetArraySize(object) + 1, sizeof *file->metadata);
    if (!file->metadata) return error_set(error, "out of memory");
    for (const cJSON *item = object->child; item; item = item->next) {
        if (!cJSON_IsString(item))
            return error_set(error, "__metadata__ \"%.40s\" is not a text", item->string);
        if (safetensors_metadata(file, item->string)) {
            return error_set(error, "__metadata__ \"%.40s\" occurs twice", item->string);
        }
        file->metadata[2 * file->metadata_count] = text_copy(item->string);
        file->metadata[2 * file->metadata_count + 1] = text_copy(item->valuestring);
        file->metadata_count++;
    }
    return true;
}

static bool entries_parse(const cJSON *header, const Storage *storage, SafeTensors *file, Error *error) {
    if (!cJSON_IsObject(header)) return error_set(error, "the header is not a JSON object");
    file->tensors = calloc((size_t)cJSON_GetArraySize(header) + 1, sizeof *file->tensors);
    if (!file->tensors) return error_set(error, "out of memory");
    for (const cJSON *item = header->child; item; item = item->next) {
        if (strcmp(item->string, "__metadata__") == 0) {
            if (!metadata_parse(item, file, error)) return false;
        } else if (!tensor_parse(item, storage, &file->tensors[file->count++], error)) {
            return error_wrap(error, "tensor \"%.100s\"", item->string);
        }
    }
    return true;
}

/* ---- the whole ---- */

static int compare_places(const void *a, const void *b) {
    const SafeTensor *s = a, *t = b;
    if (s->data != t->data) return (const uint8_t *)s->data < (const uint8_t *)t->data ? -1 : 1;
    return s->bytes < t->bytes ? -1 : s->bytes > t->bytes;
}

/* The tensors must follow each other from the first byte of data to the last. Leaves them sorted by name. */
static bool layout_check(const Storage *storage, SafeTensors *file, Error *error) {
    qsort(file->tensors, (size_t)file->count, sizeof *file->tensors, compare_places);
    const uint8_t *end = storage->data;
    for (int i = 0; i < file->count; i++) {
        const SafeTensor *tensor = &file->tensors[i];
        if (tensor->data != end) {
            return error_set(error, "tensor \"%s\" %s the one before it", tensor->name,
                             (const uint8_t *)tensor->data < end ? "overlaps" : "leaves a hole after");
        }
        end += tensor->bytes;
    }
    const size_t left = (size_t)(storage->data + storage->data_size - end);
    if (left) return error_set(error, "%zu bytes after the last tensor belong to none", left);
    qsort(file->tensors, (size_t)file->count, sizeof *file->tensors, compare_names);
    for (int i = 1; i < file->count; i++) {
        if (strcmp(file->tensors[i - 1].name, file->tensors[i].name) == 0) {
            return error_set(error, "tensor \"%s\" occurs twice", file->tensors[i].name);
        }
    }
    return true;
}

static bool header_parse(const char *text, size_t size, const Storage *storage, SafeTensors *file,
                         Error *error) {
    const char *end = NULL;
    cJSON *header = cJSON_ParseWithLengthOpts(text, size, &end, false);
    if (!header) return error_set(error, "the header is not JSON");
    bool sound = true;
    for (; sound && end < text + size; end++) sound = strchr(" \t\r\n", *end) && *end;
    if (!sound) error_set(error, "something follows the JSON object in the header");
    sound = sound && entries_parse(header, storage, file, error) && layout_check(storage, file, error);
    cJSON_Delete(header);
    return sound;
}

/* cJSON before 1.7.18 looks at the byte after a text that breaks off; behind a mapped file there may be none,
 * behind this copy there is a zero. */
static bool header_copy_parse(const uint8_t *bytes, size_t size, const Storage *storage, SafeTensors *file,
                              Error *error) {
    char *text = malloc(size + 1);
    if (!text) return error_set(error, "out of memory for a header of %zu bytes", size);
    memcpy(text, bytes, size);
    text[size] = 0;
    const bool sound = header_parse(text, size, storage, file, error);
    free(text);
    return sound;
}

static bool file_parse(Storage *storage, SafeTensors *file, Error *error) {
    const FileMap map = storage->map;
    if (map.size < 8) return error_set(error, "%zu bytes are too few for a safetensors file", map.size);
    uint64_t header = 0;
    for (int i = 0; i < 8; i++) header |= (uint64_t)map.bytes[i] << (8 * i);
    if (header > HEADER_LIMIT || header > map.size - 8) {
        return error_set(error, "a header of %llu bytes is announced, %zu bytes follow",
                         (unsigned long long)header, map.size - 8);
    }
    storage->data = map.bytes + 8 + header;
    storage->data_size = map.size - 8 - (size_t)header;
    return header_copy_parse(map.bytes + 8, (size_t)header, storage, file, error);
}

bool safetensors_open(const char *path, SafeTensors *file, Error *error) {
    *file = (SafeTensors){0};
    Storage *storage = calloc(1, sizeof *storage);
    if (!storage) return error_set(error, "%s: out of memory", path);
    file->storage = storage;
    if (!file_map(path, &storage->map, error)) {
        safetensors_close(file);
        return false;
    }
    if (file_parse(storage, file, error)) return true;
    safetensors_close(file);
    return error_wrap(error, "%s: damaged or no safetensors file", path);
}

void safetensors_close(SafeTensors *file) {
    Storage *storage = file->storage;
    if (storage) file_unmap(&storage->map);
    for (int i = 0; i < 2 * file->metadata_count; i++) free(file->metadata[i]);
    free(file->metadata);
    free(file->tensors);
    free(storage);
    *file = (SafeTensors){0};
}

/* ---- the checksum ---- */

/* FNV-1a by words of eight bytes: any one changed word changes the result. */
static uint64_t hash_continue(uint64_t hash, const void *bytes, size_t size) {
    const uint64_t prime = 0x100000001B3u;
    const uint8_t *at = bytes;
    uint64_t word;
    for (; size >= 8; at += 8, size -= 8) {
        memcpy(&word, at, 8);
        hash = (hash ^ word) * prime;
    }
    word = 0;
    if (size) memcpy(&word, at, size);
    return (hash ^ word) * prime;
}

static const uint64_t hash_begin = 0xCBF29CE484222325u;

uint64_t safetensor_hash(const SafeTensor *tensor, const void *bytes) {
    uint64_t hash = hash_continue(hash_begin, tensor->name, strlen(tensor->name));
    hash = hash_continue(hash, tensor->dtype, strlen(tensor->dtype));
    hash = hash_continue(hash, tensor->shape, (size_t)tensor->rank * sizeof *tensor->shape);
    return hash_continue(hash, bytes, tensor->bytes);
}

uint64_t metadata_hash(const char *key, const char *value) {
    return hash_continue(hash_continue(hash_begin, key, strlen(key)), value, strlen(value));
}

bool safetensors_verify(const SafeTensors *file, const char *path, Error *error) {
    const char *stored = safetensors_metadata(file, SAFETENSORS_CHECKSUM);
    if (!stored) return true;
    uint64_t sum = 0;
    for (int i = 0; i < file->count; i++) {
        sum += safetensor_hash(&file->tensors[i], file->tensors[i].data);
    }
    for (int i = 0; i < file->metadata_count; i++) {
        const char *key = file->metadata[2 * i], *value = file->metadata[2 * i + 1];
        if (strcmp(key, SAFETENSORS_CHECKSUM) != 0) sum += metadata_hash(key, value);
    }
    char computed[17];
    snprintf(computed, sizeof computed, "%016llx", (unsigned long long)sum);
    return strcmp(computed, stored) == 0 ||
           error_set(error, "%s: damaged: the content has the checksum %s, the file says %.16s", path,
                     computed, stored);
}
