/* Child processes: posix_spawn only. A bare fork() would copy a process with OpenMP threads, SQLite locks and
 * perhaps a CUDA context, none of which survive it. */
#ifndef ICT_BASE_PROCESS_H
#define ICT_BASE_PROCESS_H

#include "base/text.h"

/* Runs a program found on PATH and collects what it prints, and what it complains about (NULL: dropped).
 * False when it cannot be started or does not exit with 0. `arguments` ends with NULL. */
bool process_capture(const char *const *arguments, Text *output, Text *complaints);

/* Starts this very program with other arguments (arguments[0] is only a name), in a process group of its own
 * so that Ctrl-C reaches it only through us; standard input is empty, both outputs are appended to `log`.
 * Returns its process id, -1 on error. */
int process_start_self(const char *const *arguments, const char *log, Error *);

/* In a child: asks for SIGTERM when the parent dies. False when it is dead already. */
bool process_follow_parent(int parent);

/* A process beyond doubt: "BOOT/NAMESPACE/START", because process ids are given out again, at the latest
 * after a reboot. "" when there is no such process. Up to the last '/' it says where ids are comparable at
 * all: process_mark_is_near() tells whether that is here, so that a missing process is a dead one and not
 * another machine's. */
const char *process_mark(int pid, char out[96]);
bool process_mark_is_near(const char *mark);

/* "killed by signal 11 (Segmentation fault)", "ended with exit status 3" of a status from waitpid(). */
const char *process_ending(int status, char out[96]);

#endif
