/* obstruct: runs a command and makes its writes fail, as a full, a read-only or a broken disk would, or kills
 * it there.
 *
 *     obstruct -b FOLDER [-l LIST] [-e ERROR [-s SITE] [-n N] [-o]] COMMAND...
 *
 * Every system call of the command and its children that changes something below FOLDER is a write. -l
 * appends one line for each to LIST, its site: the call and the path, with '#' for digits. With -e ENOSPC,
 * EROFS, EACCES, EIO or KILL, writes fail from the N-th on (of those at SITE, when one is named), or with -o
 * only the N-th. Exit status: the command's (128 + signal), or 77 where the kernel does not let processes
 * watch system calls (Linux 5.8 does, most containers do).
 *
 * System calls and not library calls, because the C library's own (fwrite, posix_fallocate), SQLite's,
 * gnuplot's and those of sanitized programs are met alike. A filter hands the calls in question to this
 * process (seccomp, user notification), which answers "go on" or an error. The filter is a thread's: a second
 * thread installs it and starts the command. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CANNOT = 77, PATH_LENGTH = 4096, NONE = -1 };

/* Which argument tells the file: a descriptor, or a path with the folder it is relative to (NONE: the working
 * directory), or an address in a mapped file. `flags`: the argument that must have one of the bits in `mask`.
 */
typedef struct Call {
    int number;
    const char *name;
    int descriptor, path, folder, address, flags;
    unsigned mask;
} Call;

#define BY_DESCRIPTOR(call) \
    { __NR_##call, #call, 0, NONE, NONE, NONE, NONE, 0 }
#define BY_PATH(call) \
    { __NR_##call, #call, NONE, 0, NONE, NONE, NONE, 0 }
#define BY_PATH_AT(call) \
    { __NR_##call, #call, NONE, 1, 0, NONE, NONE, 0 }
static const Call calls[] = {
    BY_DESCRIPTOR(write),
    BY_DESCRIPTOR(writev),
    BY_DESCRIPTOR(pwrite64),
    BY_DESCRIPTOR(pwritev),
    BY_DESCRIPTOR(ftruncate),
    BY_DESCRIPTOR(fallocate),
    BY_DESCRIPTOR(fsync),
    BY_DESCRIPTOR(fdatasync),
    BY_PATH_AT(mkdirat),
    BY_PATH_AT(unlinkat),
    BY_PATH_AT(renameat),
    BY_PATH_AT(renameat2),
#ifdef __NR_open
    {__NR_open, "open", NONE, 0, NONE, NONE, 1, O_CREAT | O_WRONLY | O_RDWR},
    BY_PATH(mkdir),
    BY_PATH(rmdir),
    BY_PATH(unlink),
    BY_PATH(rename),
#endif
    {__NR_openat, "open", NONE, 1, 0, NONE, 2, O_CREAT | O_WRONLY | O_RDWR},
    {__NR_mmap, "mmap", 4, NONE, NONE, NONE, 2, PROT_WRITE}, /* shared: a private map has no site */
    {__NR_msync, "msync", NONE, NONE, NONE, 0, NONE, 0},
};
enum { CALLS = sizeof calls / sizeof *calls };

static struct {
    char folder[PATH_LENGTH];
    const char *site;
    FILE *list;
    int error, first, met; /* error: 0 none, -1 kill */
    bool once;
    char **command;
    int listener, child;
} want = {.first = 1, .listener = -1};

/* ---- where a call writes ---- */

static bool link_read(char out[PATH_LENGTH], const char *link) {
    const ssize_t length = readlink(link, out, PATH_LENGTH - 1);
    out[length > 0 ? length : 0] = 0;
    return length > 0;
}

/* A text in the memory of the process, which may end at the end of a page. */
static void text_read(int pid, uint64_t address, char out[PATH_LENGTH]) {
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/mem", pid);
    const int memory = open(name, O_RDONLY | O_CLOEXEC);
    size_t done = 0;
    while (memory >= 0 && done < PATH_LENGTH - 1 &&
           pread(memory, out + done, 1, (off_t)(address + done)) == 1 && out[done])
        done++;
    out[done] = 0;
    if (memory >= 0) close(memory);
}

static void path_find(const Call *call, int pid, const uint64_t *arguments, char out[PATH_LENGTH]) {
    char name[PATH_LENGTH], link[64];
    text_read(pid, arguments[call->path], name);
    const int folder = call->folder == NONE ? AT_FDCWD : (int)arguments[call->folder];
    if (folder == AT_FDCWD)
        snprintf(link, sizeof link, "/proc/%d/cwd", pid);
    else
        snprintf(link, sizeof link, "/proc/%d/fd/%d", pid, folder);
    if (name[0] == '/')
        strcpy(out, name);
    else if (link_read(out, link) && strlen(out) + strlen(name) + 2 <= PATH_LENGTH)
        strcat(strcat(out, "/"), name);
}

/* The file that is mapped at this address, read from lines "begin-end rights offset device inode path". */
static void map_find(int pid, uint64_t address, char out[PATH_LENGTH]) {
    char line[PATH_LENGTH + 128];
    snprintf(line, sizeof line, "/proc/%d/maps", pid);
    FILE *maps = fopen(line, "re");
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long begin, end;
        int path = 0;
        if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %n", &begin, &end, &path) == 2 && path &&
            address >= begin && address < end)
            snprintf(out, PATH_LENGTH, "%.*s", (int)strcspn(line + path, "\n"), line + path);
    }
    if (maps) fclose(maps);
}

static void file_find(const Call *call, int pid, const uint64_t *arguments, char out[PATH_LENGTH]) {
    char link[64];
    out[0] = 0;
    if (call->address != NONE) map_find(pid, arguments[call->address], out);
    if (call->path != NONE) path_find(call, pid, arguments, out);
    if (call->descriptor == NONE) return;
    snprintf(link, sizeof link, "/proc/%d/fd/%d", pid, (int)arguments[call->descriptor]);
    link_read(out, link);
}

/* "write runs/#f#-quickstart/config.yaml.#-#.tmp"; false outside the folder, and for a folder that is there
 * already. */
static bool site_find(const struct seccomp_notif *request, char site[PATH_LENGTH]) {
    char path[PATH_LENGTH];
    const Call *call = calls;
    while (call < calls + CALLS && call->number != request->data.nr) call++;
    const uint64_t *arguments = (const uint64_t *)request->data.args;
    const size_t length = strlen(want.folder);
    if (call == calls + CALLS || (call->number == __NR_mmap && !(arguments[3] & MAP_SHARED))) return false;
    file_find(call, (int)request->pid, arguments, path);
    if (strncmp(path, want.folder, length) || (path[length] && path[length] != '/')) return false;
    if (!strncmp(call->name, "mkdir", 5) && access(path, F_OK) == 0) return false;
    char *to = site + sprintf(site, "%s ", call->name);
    for (const char *from = path + length + (path[length] == '/'); *from; from++) {
        const bool digit = *from >= '0' && *from <= '9';
        if (!digit || to[-1] != '#') *to++ = digit ? '#' : *from;
    }
    *to = 0;
    return true;
}

/* ---- answering ---- */

/* The error to answer with, 0 to let the call go on. */
static int answer(const struct seccomp_notif *request) {
    char site[PATH_LENGTH + 32];
    if (!site_find(request, site)) return 0;
    if (want.list) fprintf(want.list, "%s\n", site), fflush(want.list);
    if (!want.error || (want.site && strcmp(site, want.site))) return 0;
    want.met++;
    if (want.met < want.first || (want.once && want.met > want.first)) return 0;
    if (want.error > 0) return want.error;
    kill((int)request->pid, SIGKILL);
    return EINTR;
}

/* Until nobody is left who is watched. A request that is gone (its process was killed) is no error. */
static void calls_watch(void) {
    for (;;) {
        struct pollfd ready = {.fd = want.listener, .events = POLLIN};
        if (poll(&ready, 1, -1) < 0 && errno != EINTR) return;
        if (ready.revents & (POLLHUP | POLLERR | POLLNVAL)) return;
        struct seccomp_notif request = {0};
        if (!(ready.revents & POLLIN) || ioctl(want.listener, SECCOMP_IOCTL_NOTIF_RECV, &request) != 0)
            continue;
        const int error = answer(&request);
        struct seccomp_notif_resp response = {
            .id = request.id, .error = -error, .flags = error ? 0 : SECCOMP_USER_NOTIF_FLAG_CONTINUE};
        ioctl(want.listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
    }
}

/* ---- the filter ---- */

/* For each call: "is it this number? are its flags of interest? then ask". Other machines' numbers cannot
 * occur: the programs that run here are this machine's. */
static int filter_make(struct sock_filter *code) {
    int n = 0;
    for (int i = 0; i < CALLS; i++) {
        const unsigned skip = calls[i].flags == NONE ? 1 : 3;
        code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i].number, 0,
                                                 (unsigned char)skip);
        if (calls[i].flags != NONE) {
            const unsigned place =
                (unsigned)(offsetof(struct seccomp_data, args) + 8u * (unsigned)calls[i].flags);
            code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, place);
            code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, calls[i].mask, 0, 1);
        }
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    return n;
}

static void *command_start(void *nothing) {
    static struct sock_filter code[5 * CALLS + 1];
    const struct sock_fprog program = {(unsigned short)filter_make(code), code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return nothing;
    want.listener =
        (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    if (want.listener < 0) return nothing;
    want.child = fork();
    if (want.child) return nothing;
    execvp(want.command[0], want.command);
    _exit(127);
}

static int error_number(const char *name) {
    static const struct {
        const char *name;
        int number;
    } errors[] = {{"ENOSPC", ENOSPC}, {"EROFS", EROFS}, {"EACCES", EACCES}, {"EIO", EIO}, {"KILL", -1}};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (!strcmp(name, errors[i].name)) return errors[i].number;
    fprintf(stderr, "obstruct: no error %s\n", name);
    exit(2);
}

static void options_read(int argc, char **argv) {
    for (int option; (option = getopt(argc, argv, "+b:l:e:s:n:o")) != -1;) {
        if (option == '?') exit(2);
        if (option == 'b' && !realpath(optarg, want.folder)) perror(optarg), exit(2);
        if (option == 'l') want.list = fopen(optarg, "ae");
        if (option == 'e') want.error = error_number(optarg);
        if (option == 's') want.site = optarg;
        if (option == 'n') want.first = atoi(optarg);
        if (option == 'o') want.once = true;
    }
    want.command = argv + optind;
}

int main(int argc, char **argv) {
    pthread_t starter;
    int status = 0;
    options_read(argc, argv);
    if (pthread_create(&starter, NULL, command_start, NULL) != 0) return CANNOT;
    pthread_join(starter, NULL);
    if (want.listener < 0) {
        fprintf(stderr, "obstruct: system calls cannot be watched here: %s\n", strerror(errno));
        return CANNOT;
    }
    calls_watch();
    if (waitpid(want.child, &status, 0) < 0) return CANNOT;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
