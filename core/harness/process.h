/* Child processes: posix_spawn only. A bare fork() would copy a process with OpenMP threads, SQLite locks and
 * perhaps a CUDA context, none of which survive it. */
#ifndef ICT_HARNESS_PROCESS_H
#define ICT_HARNESS_PROCESS_H

#include "base/text.h"

/* Runs a program found on PATH and collects what it prints (its complaints are dropped). False when it cannot
 * be started or does not exit with 0. `arguments` ends with NULL. */
bool process_capture(const char *const *arguments, Text *output);

/* Starts this very program with other arguments (arguments[0] is only a name), in a process group of its own
 * so that Ctrl-C reaches it only through us; standard input is empty, both outputs are appended to `log`.
 * Returns its process id, -1 on error. */
int process_start_self(const char *const *arguments, const char *log, Error *);

/* In a child: asks for SIGTERM when the parent dies. False when it is dead already. */
bool process_follow_parent(int parent);

/* "killed by signal 11 (Segmentation fault)", "ended with exit status 3" of a status from waitpid(). */
const char *process_ending(int status, char out[96]);

#endif
