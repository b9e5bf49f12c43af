/* .npz: a zip, unpacked, of arrays. */
#include "tests/fuzz/fuzz.h"

#include "base/npy.h"

FUZZ_REPAIR(repair_zip);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    NpzMember *members;
    Error error;
    int count;
    if (!npz_read(fuzz_file(bytes, size), &members, &count, &error)) {
        fuzz_refused(&error);
        return 0;
    }
    for (int i = 0; i < count; i++) {
        const NpyArray *array = &members[i].array;
        fuzz_touch(array->data, (size_t)npy_count(array) * npy_type_size(array->type));
    }
    npz_free(members, count);
    return 0;
}
