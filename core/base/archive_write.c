/* Writing zip files with libzip, which writes a temporary file and renames it at the end. */
#include "base/archive.h"

#include <zip.h>

static bool member_add(zip_t *zip, const ArchiveMember *member) {
    enum { DATE_1980_01_01 = 0x21 };
    zip_source_t *source = zip_source_buffer(zip, member->bytes, member->size, 0);
    if (!source) return false;
    const zip_int64_t index = zip_file_add(zip, member->name, source, ZIP_FL_ENC_UTF_8);
    if (index < 0) {
        zip_source_free(source);
        return false;
    }
    return zip_set_file_compression(zip, (zip_uint64_t)index, ZIP_CM_STORE, 0) == 0 &&
           zip_file_set_dostime(zip, (zip_uint64_t)index, 0, DATE_1980_01_01, 0) == 0;
}

bool archive_write(const char *path, const ArchiveMember *members, int count, Error *error) {
    int code = 0;
    zip_t *zip = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, &code);
    if (!zip) {
        zip_error_t reason;
        zip_error_init_with_code(&reason, code);
        error_set(error, "%s: the zip cannot be made: %s", path, zip_error_strerror(&reason));
        zip_error_fini(&reason);
        return false;
    }
    bool done = true;
    for (int i = 0; i < count && done; i++) done = member_add(zip, &members[i]);
    if (done && zip_close(zip) == 0) return true;
    error_set(error, "%s: the zip cannot be written: %s", path, zip_strerror(zip));
    zip_discard(zip);
    return false;
}
