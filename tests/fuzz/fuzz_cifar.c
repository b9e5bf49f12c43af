/* Import of CIFAR-10's binary version: an archive, or else a bare .bin file. */
#include "tests/fuzz/import.h"

#include <string.h>

FUZZ_REPAIR(repair_tar);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    const bool archive =
        size >= 512 && (memcmp(bytes, "\x1f\x8b", 2) == 0 || memcmp(bytes + 257, "ustar", 5) == 0);
    char path[1024];
    if (archive) {
        import_try(fuzz_file(bytes, size));
    } else if (file_write_atomic(path_join(path, fuzz_folder(), "test.bin"), bytes, size, NULL)) {
        import_try(path);
    }
    return 0;
}
