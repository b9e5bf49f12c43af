/* .npy in place and by copy, as a mapped data set and a loaded array are. */
#include "tests/fuzz/fuzz.h"

#include "base/npy.h"

#include <string.h>

FUZZ_REPAIR(repair_nothing);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    NpyArray array, copy;
    Error error;
    uint8_t *exact = malloc(size ? size : 1); /* so that the byte behind the last is seen to be none */
    memcpy(exact, bytes, size);
    const bool parsed = npy_parse(exact, size, &array, &error);
    if (parsed)
        fuzz_touch(array.data, (size_t)npy_count(&array) * npy_type_size(array.type));
    else
        fuzz_refused(&error);
    const bool read = npy_read(fuzz_file(bytes, size), &copy, &error);
    CHECK(read || !parsed, "%s", error.text);
    if (read) fuzz_touch(copy.data, (size_t)npy_count(&copy) * npy_type_size(copy.type));
    if (read) npy_free(&copy);
    free(exact);
    return 0;
}
