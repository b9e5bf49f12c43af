/* Log lines and the progress line, both on stderr. On a terminal the progress line is redrawn in place, and a
 * log line first wipes it; the next progress call draws it again. In a file everything is a plain line. */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static LogLevel lowest = LOG_INFO;
static bool progress_shown;

void log_set_level(LogLevel level) {
    lowest = level;
}

static void progress_wipe(void) {
    if (progress_shown) fputs("\r\033[K", stderr);
    progress_shown = false;
}

void log_line(LogLevel level, const char *format, ...) {
    static const char *const prefixes[] = {"debug: ", "", "warning: ", "error: "};
    if (level < lowest) return;
    pthread_mutex_lock(&lock);
    progress_wipe();
    fputs(prefixes[level], stderr);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    fflush(stderr);
    pthread_mutex_unlock(&lock);
}

/* A line wider than the terminal would wrap and could not be redrawn: it is cut, never in the middle of a
 * UTF-8 letter. */
static void progress_cut(char *text) {
    struct winsize window;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) != 0 || window.ws_col < 2) return;
    size_t length = window.ws_col - 1u;
    if (strlen(text) <= length) return;
    while (length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80) length--;
    text[length] = 0;
}

void log_progress(bool final, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    const bool redraw = !final && isatty(STDERR_FILENO);
    pthread_mutex_lock(&lock);
    progress_wipe();
    if (redraw) progress_cut(text);
    fprintf(stderr, redraw ? "%s" : "%s\n", text);
    fflush(stderr);
    progress_shown = redraw;
    pthread_mutex_unlock(&lock);
}

static double clock_seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double clock_monotonic(void) {
    return clock_seconds(CLOCK_MONOTONIC);
}

double clock_wall(void) {
    return clock_seconds(CLOCK_REALTIME);
}
