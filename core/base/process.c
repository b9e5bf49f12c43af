/* Child processes by posix_spawn: for facts (git) and for runs (this program itself). */
#define _GNU_SOURCE /* pipe2, memfd_create */
#include "base/process.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* posix_spawn wants `char *const *` and promises not to write. */
static char *const *spawn_arguments(const char *const *arguments) {
    return (char *const *)(uintptr_t)arguments;
}

static bool output_read(int descriptor, Text *output) {
    char piece[4096];
    ssize_t got;
    while ((got = read(descriptor, piece, sizeof piece)) != 0) {
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return false;
        text_append_bytes(output, piece, (size_t)got);
    }
    return true;
}

static int exit_status(int pid) {
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return -1;
    return status;
}

/* Complaints go to a file in memory: two pipes would have to be read by turns. */
bool process_capture(const char *const *arguments, Text *output, Text *complaints) {
    int ends[2], pid;
    if (pipe2(ends, O_CLOEXEC) != 0) return false;
    const int errors = memfd_create("complaints", MFD_CLOEXEC);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
    const bool started = errors >= 0 && posix_spawnp(&pid, arguments[0], &actions, NULL,
                                                     spawn_arguments(arguments), environ) == 0;
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    bool done = started && output_read(ends[0], output);
    close(ends[0]);
    if (started) done = exit_status(pid) == 0 && done;
    if (started && complaints && lseek(errors, 0, SEEK_SET) == 0) output_read(errors, complaints);
    if (errors >= 0) close(errors);
    return done;
}

/* The child starts with no signal blocked and the usual handling: the parent's choices are not its own. */
static void attributes_make(posix_spawnattr_t *attributes) {
    sigset_t none, usual;
    sigemptyset(&none);
    sigemptyset(&usual);
    for (const int *s = (const int[]){SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGCHLD, SIGPIPE, 0}; *s; s++)
        sigaddset(&usual, *s);
    posix_spawnattr_init(attributes);
    posix_spawnattr_setsigmask(attributes, &none);
    posix_spawnattr_setsigdefault(attributes, &usual);
    posix_spawnattr_setpgroup(attributes, 0);
    posix_spawnattr_setflags(attributes,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
}

int process_start_self(const char *const *arguments, const char *log, Error *error) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int pid;
    attributes_make(&attributes);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log, O_WRONLY | O_CREAT | O_APPEND, 0666);
    posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
    const int reason =
        posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, spawn_arguments(arguments), environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (reason == 0) return pid;
    file_error(error, log, "no child process with its output there can be started", reason);
    return -1;
}

/* SIGTERM and not SIGKILL: the child then saves its state. Asking after the request closes the gap in which
 * the parent may have died unseen. */
bool process_follow_parent(int parent) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    return getppid() == parent;
}

/* The first line of a small file; "" when it cannot be read. */
static void line_read(const char *path, char out[512]) {
    FILE *stream = fopen(path, "re");
    if (!stream || !fgets(out, 512, stream)) *out = 0;
    if (stream) fclose(stream);
    out[strcspn(out, "\n")] = 0;
}

/* Ticks after boot at which the process was started: field 22 of its stat, counted behind the name, which may
 * hold anything. */
static bool start_read(int pid, unsigned long long *start) {
    char path[32], stat[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    line_read(path, stat);
    const char *at = strrchr(stat, ')');
    for (int field = 2; at && field < 22; field++) at = strchr(at + 1, ' ');
    return at && sscanf(at, "%llu", start) == 1;
}

const char *process_mark(int pid, char out[96]) {
    char boot[512], space[64] = "";
    unsigned long long start;
    line_read("/proc/sys/kernel/random/boot_id", boot);
    const ssize_t length = readlink("/proc/self/ns/pid", space, sizeof space - 1);
    if (!*boot || length <= 0 || !start_read(pid, &start)) return strcpy(out, "");
    snprintf(out, 96, "%.36s/%.20s/%llu", boot, space, start);
    return out;
}

bool process_mark_is_near(const char *mark) {
    char own[96];
    const char *end = strrchr(process_mark(getpid(), own), '/');
    return end && !strncmp(mark, own, (size_t)(end + 1 - own));
}

/* What most often sends these. */
static const char *signal_reason(int number) {
    return number == SIGKILL  ? ": out of memory, or by somebody"
           : number == SIGBUS ? ": the disk fails, or a mapped file was cut"
                              : "";
}

const char *process_ending(int status, char out[96]) {
    if (WIFSIGNALED(status))
        snprintf(out, 96, "killed by signal %d (%s%s)", WTERMSIG(status), strsignal(WTERMSIG(status)),
                 signal_reason(WTERMSIG(status)));
    else
        snprintf(out, 96, "ended with exit status %d", WEXITSTATUS(status));
    return out;
}
