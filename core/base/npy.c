/* .npy: six bytes of magic, two of version, the length of a header that is the text of a Python dictionary,
 * and then the raw array. The header is written by few programs and always in one form, so it is searched for
 * its three keys and not parsed as Python. What this project has no use for (big-endian, Fortran order, other
 * types) is refused by name. */
#include "base/npy.h"

#include "base/file.h"
#include "base/npy_bytes.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    char descr[4];
    size_t size;
} types[] = {
    [NPY_U8] = {"|u1", 1},  [NPY_I32] = {"<i4", 4}, [NPY_I64] = {"<i8", 8},
    [NPY_F32] = {"<f4", 4}, [NPY_F64] = {"<f8", 8},
};
enum { TYPE_COUNT = sizeof types / sizeof *types, RANK_MAX = 8, HEADER_MAX = 1 << 16 };

size_t npy_type_size(NpyType type) {
    CHECK((unsigned)type < TYPE_COUNT, "there is no array type %d", (int)type);
    return types[type].size;
}

int64_t npy_count(const NpyArray *array) {
    int64_t count = 1;
    for (int i = 0; i < array->rank; i++) count *= array->shape[i];
    return count;
}

/* The text after 'key': in the header, or NULL. */
static const char *header_value(const char *header, const char *key) {
    const char *found = strstr(header, key);
    if (!found) return NULL;
    found += strlen(key);
    return found + strspn(found, " ");
}

static bool type_parse(const char *header, NpyArray *array, Error *error) {
    const char *value = header_value(header, "'descr':");
    if (!value || *value != '\'') return error_set(error, "the .npy header has no plain type ('descr')");
    const int length = (int)strcspn(++value, "'");
    for (int type = 0; type < TYPE_COUNT; type++) {
        /* One-byte types have no byte order, and either mark is seen. */
        const bool same = length == 3 && memcmp(value + 1, types[type].descr + 1, 2) == 0;
        if (!same || (types[type].size > 1 && value[0] != '<')) continue;
        array->type = (NpyType)type;
        return true;
    }
    return error_set(error, "the array's type is '%.*s'; only little-endian u1, i4, i8, f4 and f8 are read",
                     length, value);
}

static bool shape_parse(const char *header, NpyArray *array, Error *error) {
    const char *value = header_value(header, "'shape':");
    if (!value || *value != '(') return error_set(error, "the .npy header has no shape");
    int64_t bytes = (int64_t)types[array->type].size;
    for (value++; value += strspn(value, " ,"), *value != ')';) {
        char *end;
        const long long extent = strtoll(value, &end, 10);
        if (end == value || extent < 0) return error_set(error, "the .npy header's shape cannot be read");
        if (array->rank == RANK_MAX)
            return error_set(error, "the array has more than %d dimensions", RANK_MAX);
        array->shape[array->rank++] = extent;
        if (__builtin_mul_overflow(bytes, (int64_t)extent, &bytes))
            return error_set(error, "the array's shape is larger than any memory");
        value = end;
    }
    return true;
}

static bool header_parse(const char *header, NpyArray *array, Error *error) {
    if (!type_parse(header, array, error) || !shape_parse(header, array, error)) return false;
    const char *order = header_value(header, "'fortran_order':");
    if (!order) return error_set(error, "the .npy header does not say its order ('fortran_order')");
    if (strncmp(order, "False", 5) == 0 || array->rank < 2) return true;
    return error_set(error, "the array is in Fortran order; save numpy.ascontiguousarray(it)");
}

/* Where the header's text begins and how long it is; false when this is no .npy file. */
static bool header_find(const uint8_t *bytes, size_t size, size_t *begin, size_t *length) {
    if (size < 12 || memcmp(bytes, "\x93NUMPY", 6) != 0 || bytes[6] < 1 || bytes[6] > 3) return false;
    *begin = bytes[6] == 1 ? 10 : 12;
    *length = bytes[8] | (size_t)bytes[9] << 8;
    if (bytes[6] > 1) *length |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    return *length < HEADER_MAX;
}

/* Sets everything but array->data, from the front of a file of `size` bytes, of which `known` are here;
 * `offset` is where the data begins. Whether it is aligned is the caller's concern. */
static bool array_parse(const uint8_t *bytes, size_t known, size_t size, NpyArray *array, size_t *offset,
                        Error *error) {
    size_t begin, length;
    *array = (NpyArray){0};
    if (!header_find(bytes, known, &begin, &length)) return error_set(error, "this is not a .npy file");
    if (length > known - begin) return error_set(error, "the .npy file ends within its header");
    Text header = {0};
    text_append_bytes(&header, bytes + begin, length);
    const bool parsed = header_parse(text_view(&header), array, error);
    text_free(&header);
    if (!parsed) return false;
    *offset = begin + length;
    const size_t needed = (size_t)npy_count(array) * types[array->type].size;
    if (size - *offset >= needed) return true;
    return error_set(error, "the .npy file is cut short: its array takes %zu bytes, %zu are there", needed,
                     size - *offset);
}

size_t npy_front_size(const uint8_t first[NPY_FIRST]) {
    size_t begin, length;
    return header_find(first, NPY_FIRST, &begin, &length) ? begin + length : 0;
}

bool npy_front_parse(const void *front, size_t front_size, size_t size, NpyArray *array, Error *error) {
    size_t offset;
    return array_parse(front, front_size, size, array, &offset, error);
}

bool npy_parse(const void *bytes, size_t size, NpyArray *array, Error *error) {
    size_t offset;
    if (!array_parse(bytes, size, size, array, &offset, error)) return false;
    const uint8_t *data = (const uint8_t *)bytes + offset;
    if ((uintptr_t)data % types[array->type].size != 0)
        return error_set(error, "the .npy file's array is not aligned; save it again with numpy.save");
    array->data = (void *)(uintptr_t)data;
    return true;
}

bool npy_adopt(void *bytes, size_t size, NpyArray *array, Error *error) {
    size_t offset;
    if (!array_parse(bytes, size, size, array, &offset, error)) {
        free(bytes);
        return false;
    }
    memmove(bytes, (uint8_t *)bytes + offset, (size_t)npy_count(array) * types[array->type].size);
    array->data = bytes;
    return true;
}

bool npy_read(const char *path, NpyArray *array, Error *error) {
    char *bytes;
    size_t size;
    *array = (NpyArray){0};
    if (!file_read(path, &bytes, &size, error)) return false;
    return npy_adopt(bytes, size, array, error) || error_wrap(error, "%s", path);
}

void npy_header(const NpyArray *array, Text *header) {
    CHECK((unsigned)array->type < TYPE_COUNT && array->rank >= 0 && array->rank <= RANK_MAX,
          "an array without a type or shape");
    Text shape = {0};
    for (int i = 0; i < array->rank; i++)
        text_append(&shape, i ? ", %lld" : "%lld", (long long)array->shape[i]);
    if (array->rank == 1) text_append(&shape, ",");
    Text text = {0};
    text_append(&text, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", types[array->type].descr,
                text_view(&shape));
    while ((10 + text.length + 1) % 64 != 0) text_append(&text, " ");
    text_append(&text, "\n");
    const uint8_t front[10] = {
        0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (uint8_t)text.length, (uint8_t)(text.length >> 8)};
    text_append_bytes(header, front, sizeof front);
    text_append_bytes(header, text.text, text.length);
    text_free(&text);
    text_free(&shape);
}

bool npy_write(const char *path, const NpyArray *array, Error *error) {
    AtomicFile file;
    if (!atomic_open(&file, path, error)) return false;
    Text header = {0};
    npy_header(array, &header);
    atomic_write(&file, header.text, header.length);
    atomic_write(&file, array->data, (size_t)npy_count(array) * types[array->type].size);
    text_free(&header);
    return atomic_commit(&file, error);
}

void npy_free(NpyArray *array) {
    free(array->data);
    *array = (NpyArray){0};
}
