/* PNG and JPEG. */
#include "tests/fuzz/fuzz.h"

#include "base/image.h"

FUZZ_REPAIR(repair_png);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    Image image;
    Error error;
    if (!image_decode(bytes, size, "picture", &image, &error)) {
        fuzz_refused(&error);
        return 0;
    }
    fuzz_touch(image.pixels, (size_t)image.width * (size_t)image.height * 3);
    image_free(&image);
    return 0;
}
