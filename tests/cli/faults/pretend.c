/* pretend: a library to preload (LD_PRELOAD) that shows a program another clock or another file system.
 *
 *     PRETEND_CLOCK=FILE       the wall clock is off by the number of seconds in FILE, which may change
 *     PRETEND_SYSTEM=0x6969    every file system has this number in statfs(2) (0x6969: NFS)
 *
 * The clock is read without a system call, so that it cannot be met where obstruct.c meets writes. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

static time_t clock_offset(void) {
    const char *path = getenv("PRETEND_CLOCK");
    long long seconds = 0;
    FILE *file = path ? fopen(path, "re") : NULL;
    if (file && fscanf(file, "%lld", &seconds) != 1) seconds = 0;
    if (file) fclose(file);
    return (time_t)seconds;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    const int code = (int)syscall(SYS_clock_gettime, clock, now);
    if (code == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += clock_offset();
    return code;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &exact) != 0) return -1;
    *now = (struct timeval){exact.tv_sec, exact.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *out) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}

static int pretended(int code, struct statfs *status) {
    const char *number = getenv("PRETEND_SYSTEM");
    if (code == 0 && number) status->f_type = strtol(number, NULL, 0);
    return code;
}

int statfs(const char *path, struct statfs *status) {
    return pretended((int)syscall(SYS_statfs, path, status), status);
}

int fstatfs(int file, struct statfs *status) {
    return pretended((int)syscall(SYS_fstatfs, file, status), status);
}
