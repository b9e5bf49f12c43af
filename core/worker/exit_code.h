/* How a process of this program ends: a worker tells its queue so, and a command whoever called it. */
#ifndef ICT_WORKER_EXIT_CODE_H
#define ICT_WORKER_EXIT_CODE_H

enum ExitCode {
    EXIT_DONE = 0,
    EXIT_RUN_FAILED = 1,
    EXIT_USAGE = 2,   /* usage or configuration; nothing was started */
    EXIT_STOPPED = 75 /* stopped early with its state saved; the same command goes on */
};

#endif
