/* Import of the downsampled ImageNet: an npz file, or a zip of them. */
#include "tests/fuzz/import.h"

FUZZ_REPAIR(repair_zip);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    import_try(fuzz_file(bytes, size));
    return 0;
}
