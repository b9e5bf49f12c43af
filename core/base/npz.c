/* .npz: a zip of .npy files. Members are stored, not deflated (weights and features do not get smaller), with
 * a fixed date, so that equal arrays make equal files. The archive is put together in memory and written in
 * one atomic step. */
#include "base/archive.h"
#include "base/file.h"
#include "base/npy_bytes.h"

#include <stdlib.h>
#include <string.h>
#include <zip.h>

static bool zip_fails(Error *error, const char *path, zip_error_t *reason) {
    error_set(error, "%s: %s", path, zip_error_strerror(reason));
    zip_error_fini(reason);
    return false;
}

/* "a/b.npy" becomes "a/b"; other members of the zip are no arrays. */
static bool member_name(const char *name, char out[64], Error *error) {
    const size_t length = strlen(name);
    if (length < 5 || strcmp(name + length - 4, ".npy") != 0)
        return error_set(error, "member '%s' is no .npy file", name);
    if (length - 4 > 63) return error_set(error, "the name of member '%s' is too long", name);
    memcpy(out, name, length - 4);
    out[length - 4] = 0;
    return true;
}

static bool member_read(const Archive *archive, int index, NpzMember *member, Error *error) {
    uint8_t *bytes;
    size_t size;
    if (!member_name(archive_name(archive, index), member->name, error))
        return error_wrap(error, "%s", archive->path);
    return archive_read(archive, index, &bytes, &size, error) &&
           (npy_adopt(bytes, size, &member->array, error) ||
            error_wrap(error, "%s: '%s'", archive->path, member->name));
}

bool npz_read(const char *path, NpzMember **members, int *count, Error *error) {
    Archive archive;
    *members = NULL;
    *count = 0;
    if (!archive_open(&archive, path, error)) return false;
    NpzMember *all = calloc((size_t)archive.count + 1, sizeof *all);
    CHECK(all, "out of memory for the members of %s", path);
    int done = 0;
    while (done < archive.count && member_read(&archive, done, &all[done], error)) done++;
    const bool whole = done == archive.count;
    archive_close(&archive);
    if (!whole) {
        npz_free(all, done);
        return false;
    }
    *members = all;
    *count = done;
    return true;
}

/* `header` must live until the archive is closed. */
static bool member_add(zip_t *archive, const NpzMember *member, const Text *header) {
    const zip_buffer_fragment_t parts[2] = {
        {(zip_uint8_t *)header->text, header->length},
        {member->array.data, (zip_uint64_t)npy_count(&member->array) * npy_type_size(member->array.type)}};
    char name[80];
    snprintf(name, sizeof name, "%s.npy", member->name);
    zip_source_t *source = zip_source_buffer_fragment(archive, parts, parts[1].length ? 2 : 1, 0);
    if (!source) return false;
    const zip_int64_t index = zip_file_add(archive, name, source, ZIP_FL_ENC_UTF_8);
    if (index < 0) {
        zip_source_free(source);
        return false;
    }
    enum { DATE_1980_01_01 = 0x21 };
    return zip_set_file_compression(archive, (zip_uint64_t)index, ZIP_CM_STORE, 0) == 0 &&
           zip_file_set_dostime(archive, (zip_uint64_t)index, 0, DATE_1980_01_01, 0) == 0;
}

/* Fills `target` with a zip of the members. */
static bool archive_build(zip_source_t *target, const NpzMember *members, int count, zip_error_t *reason) {
    zip_source_keep(target);
    zip_t *archive = zip_open_from_source(target, ZIP_TRUNCATE, reason);
    if (!archive) {
        zip_source_free(target);
        return false;
    }
    Text *headers = calloc((size_t)count + 1, sizeof *headers);
    CHECK(headers, "out of memory for the headers of an .npz");
    bool done = true;
    for (int i = 0; i < count && done; i++) {
        npy_header(&members[i].array, &headers[i]);
        done = member_add(archive, &members[i], &headers[i]);
    }
    if (done) done = zip_close(archive) == 0;
    if (!done)
        zip_error_set(reason, zip_error_code_zip(zip_get_error(archive)),
                      zip_error_code_system(zip_get_error(archive)));
    if (!done) zip_discard(archive);
    for (int i = 0; i < count; i++) text_free(&headers[i]);
    free(headers);
    return done;
}

/* Copies the finished archive from memory to the file. */
static bool archive_save(zip_source_t *source, const char *path, Error *error) {
    enum { PIECE = 1 << 16 };
    char piece[PIECE];
    AtomicFile file;
    if (zip_source_open(source) != 0) return zip_fails(error, path, zip_source_error(source));
    if (!atomic_open(&file, path, error)) {
        zip_source_close(source);
        return false;
    }
    for (zip_int64_t got; (got = zip_source_read(source, piece, PIECE)) > 0;)
        atomic_write(&file, piece, (size_t)got);
    zip_source_close(source);
    return atomic_commit(&file, error);
}

bool npz_write(const char *path, const NpzMember *members, int count, Error *error) {
    zip_error_t reason;
    zip_error_init(&reason);
    zip_source_t *source = zip_source_buffer_create(NULL, 0, 0, &reason);
    if (!source) return zip_fails(error, path, &reason);
    const bool done = archive_build(source, members, count, &reason) ? archive_save(source, path, error)
                                                                     : zip_fails(error, path, &reason);
    zip_source_free(source);
    zip_error_fini(&reason);
    return done;
}

const NpyArray *npz_find(const NpzMember *members, int count, const char *name) {
    for (int i = 0; i < count; i++)
        if (strcmp(members[i].name, name) == 0) return &members[i].array;
    return NULL;
}

void npz_free(NpzMember *members, int count) {
    for (int i = 0; i < count; i++) npy_free(&members[i].array);
    free(members);
}
