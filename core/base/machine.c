/* Facts about the machine, from /proc, the control group and the file system. */
#define _GNU_SOURCE /* sched_getaffinity */
#include "base/machine.h"
#include "base/file.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

const char *machine_processor(char out[128]) {
    char line[256];
    strcpy(out, "unknown");
    FILE *stream = fopen("/proc/cpuinfo", "r");
    while (stream && fgets(line, sizeof line, stream)) {
        const char *colon = strchr(line, ':');
        if (!colon || !colon[1] || (strncmp(line, "model name", 10) && strncmp(line, "Model", 5))) continue;
        snprintf(out, 128, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (stream) fclose(stream);
    return out;
}

int machine_processors(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

/* The number in a file of one line; `otherwise` where there is none ("max" in a control group without a
 * limit). */
static double number_in(const char *path, double otherwise) {
    double value = otherwise;
    FILE *stream = fopen(path, "r");
    if (stream && fscanf(stream, "%lf", &value) != 1) value = otherwise;
    if (stream) fclose(stream);
    return value;
}

double machine_memory(void) {
    double kilobytes = -1;
    char line[128];
    FILE *stream = fopen("/proc/meminfo", "r");
    while (stream && fgets(line, sizeof line, stream))
        if (sscanf(line, "MemAvailable: %lf", &kilobytes) == 1) break;
    if (stream) fclose(stream);
    const double available = kilobytes < 0 ? -1 : 1024 * kilobytes;
    const double limit = number_in("/sys/fs/cgroup/memory.max", -1);
    const double used = number_in("/sys/fs/cgroup/memory.current", 0);
    return limit > 0 && (available < 0 || limit - used < available) ? limit - used : available;
}

double machine_peak_memory(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? 1024 * (double)usage.ru_maxrss : -1;
}

double machine_disk(const char *path) {
    char folder[1024];
    struct statvfs status;
    snprintf(folder, sizeof folder, "%s", path);
    while (!file_exists(folder) && strcmp(folder, ".") && strcmp(folder, "/")) {
        char parent[1024];
        snprintf(folder, sizeof folder, "%s", path_folder(parent, folder));
    }
    return statvfs(folder, &status) == 0 ? (double)status.f_bavail * (double)status.f_frsize : -1;
}
