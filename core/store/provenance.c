/* Collects what a reader needs to know to trust or to repeat a result: commit and uncommitted changes,
 * program, libraries, machine, environment. Nothing here may fail a run: what cannot be found out is
 * "unknown". */
#include "store/provenance.h"
#include "base/hash.h"
#include "base/machine.h"
#include "base/process.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <gnu/libc-version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#ifndef ICT_CONFIGURATION
#define ICT_CONFIGURATION "unknown"
#endif

/* A change larger than this is not a change to a harness but somebody's data in the index. */
enum { DIFF_LONGEST = 4 << 20 };

static Provenance provenance_begin(void) {
    Provenance from = {.pid = getpid(), .commit = "unknown"};
    gethostname(from.host, sizeof from.host - 1);
    return from;
}

/* ---- source tree ---- */

static char *source_diff(const char *root) {
    Text diff = {0};
    if (!process_capture((const char *[]){"git", "-C", root, "diff", "--no-ext-diff", "HEAD", NULL}, &diff,
                         NULL))
        text_clear(&diff);
    char *text = diff.length > DIFF_LONGEST ? text_format("%.*s\n[%zu bytes more are left out]\n",
                                                          DIFF_LONGEST, diff.text, diff.length - DIFF_LONGEST)
                                            : text_copy(text_view(&diff));
    text_free(&diff);
    return text;
}

Provenance provenance_of_source(const char *root) {
    Provenance from = provenance_begin();
    Text commit = {0};
    if (process_capture((const char *[]){"git", "-C", root, "rev-parse", "HEAD", NULL}, &commit, NULL))
        snprintf(from.commit, sizeof from.commit, "%.*s", (int)strcspn(text_view(&commit), "\n"),
                 text_view(&commit));
    text_free(&commit);
    from.diff = source_diff(root);
    return from;
}

/* ---- machine ---- */

static void environment_add(cJSON *object) {
    static const char *const prefixes[] = {"OMP_",    "GOMP_",  "OPENBLAS_", "DNNL_",  "ONEDNN_", "CUDA_",
                                           "CUBLAS_", "CUDNN_", "NVIDIA_",   "SLURM_", "ICT_"};
    extern char **environ;
    for (char **entry = environ; *entry; entry++) {
        const char *equals = strchr(*entry, '=');
        for (size_t i = 0; equals && i < sizeof prefixes / sizeof *prefixes; i++) {
            if (strncmp(*entry, prefixes[i], strlen(prefixes[i]))) continue;
            char *name = text_format("%.*s", (int)(equals - *entry), *entry);
            cJSON_AddStringToObject(object, name, equals + 1);
            free(name);
        }
    }
}

static char *versions_json(const Device *device) {
    char text[512], threads[16];
    Hash program = {"unknown"};
    struct utsname kernel = {0};
    cJSON *object = cJSON_CreateObject();
    device_versions(device, text, sizeof text);
    cJSON_AddStringToObject(object, "libraries", text);
    cJSON_AddStringToObject(object, "compiler", "gcc " __VERSION__);
    cJSON_AddStringToObject(object, "build", ICT_CONFIGURATION);
    cJSON_AddStringToObject(object, "sqlite", store_library_version());
    snprintf(text, sizeof text, "glibc %s", gnu_get_libc_version());
    cJSON_AddStringToObject(object, "libc", text);
    uname(&kernel);
    snprintf(text, sizeof text, "%s %s %s", kernel.sysname, kernel.release, kernel.machine);
    cJSON_AddStringToObject(object, "kernel", text);
    cJSON_AddStringToObject(object, "processor", machine_processor(text));
    snprintf(threads, sizeof threads, "%d", device->threads);
    cJSON_AddStringToObject(object, "threads", threads);
    hash_file("/proc/self/exe", &program, NULL);
    cJSON_AddStringToObject(object, "program", program.hex);
    environment_add(cJSON_AddObjectToObject(object, "environment"));
    char *printed = cJSON_PrintUnformatted(object);
    cJSON_Delete(object);
    CHECK(printed, "out of memory for the versions");
    return printed;
}

Provenance provenance_of_machine(const Device *device) {
    Provenance from = provenance_begin();
    snprintf(from.device, sizeof from.device, "%s: %s", device->kind, device->name);
    from.versions = versions_json(device);
    return from;
}

void provenance_free(Provenance *from) {
    free(from->versions);
    free(from->diff);
    from->versions = from->diff = NULL;
}
