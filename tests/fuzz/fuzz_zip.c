/* Import of a zip of pictures with dataset.json. */
#include "tests/fuzz/import.h"

FUZZ_REPAIR(repair_zip);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    import_try(fuzz_file(bytes, size));
    return 0;
}
