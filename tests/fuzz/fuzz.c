/* Files in memory and a folder that goes; see fuzz.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memfd_create */
#endif
#include "tests/fuzz/fuzz.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/* A file that claims too much must not fill the memory behind /dev/shm either: files end at 256 MiB. */
static void limits_set(void) {
    const struct rlimit limit = {256u << 20, 256u << 20};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
}

const char *fuzz_file(const uint8_t *bytes, size_t size) {
    static int file = -1;
    static char path[64];
    if (file < 0) {
        limits_set();
        file = memfd_create("fuzz", MFD_CLOEXEC);
        snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    }
    CHECK(file >= 0 && ftruncate(file, 0) == 0 && pwrite(file, bytes, size, 0) == (ssize_t)size,
          "no file in memory of %zu bytes", size);
    return path;
}

static char folder[512];

static void folder_end(void) {
    folder_remove(folder, NULL);
}

const char *fuzz_folder(void) {
    if (folder[0]) return folder;
    const char *parent = getenv("TMPDIR");
    if (!parent) parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(folder, sizeof folder, "%s/ict-fuzz-XXXXXX", parent);
    CHECK(mkdtemp(folder), "%s: cannot be made", folder);
    atexit(folder_end);
    limits_set();
    return folder;
}

void fuzz_touch(const void *bytes, size_t size) {
    static volatile uint64_t sum;
    for (size_t i = 0; i < size; i++) sum += ((const uint8_t *)bytes)[i];
}

void fuzz_refused(const Error *error) {
    const size_t length = strnlen(error->text, sizeof error->text);
    CHECK(length > 0 && length < sizeof error->text, "refused without a word");
#ifndef ICT_LIBFUZZER
    printf("# refused: %s\n", error->text);
#endif
}
