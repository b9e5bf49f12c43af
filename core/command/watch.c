/* The alternate screen keeps what stood in the terminal before; lines are overwritten in place, so nothing
 * flickers. Keys come one by one and unseen (cbreak mode); Ctrl-C is noted and ends the loop like q. */
#include "command/watch.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static volatile sig_atomic_t stop_asked;

static void stop_note(int number) {
    (void)number;
    stop_asked = 1;
}

/* No SA_RESTART: waiting ends at once. A changed window size only ends the waiting. */
static void signals_catch(void) {
    struct sigaction action = {.sa_handler = stop_note};
    sigemptyset(&action.sa_mask);
    for (const int *s = (const int[]){SIGINT, SIGTERM, SIGHUP, 0}; *s; s++) sigaction(*s, &action, NULL);
}

typedef struct Keys {
    bool there; /* standard input is a terminal */
    struct termios before;
} Keys;

static Keys keys_begin(void) {
    Keys keys = {.there = tcgetattr(STDIN_FILENO, &keys.before) == 0};
    struct termios raw = keys.before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    if (keys.there) tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    return keys;
}

static void keys_end(const Keys *keys) {
    if (keys->there) tcsetattr(STDIN_FILENO, TCSANOW, &keys->before);
}

/* Waits; true when it is time to end. */
static bool end_awaited(const Keys *keys, double seconds) {
    struct pollfd input = {.fd = keys->there ? STDIN_FILENO : -1, .events = POLLIN};
    char key = 0;
    const int ready = poll(&input, 1, (int)(1000 * seconds));
    if (ready > 0 && read(STDIN_FILENO, &key, 1) <= 0) return true; /* the terminal is gone */
    return stop_asked || key == 'q' || key == 'Q';
}

/* Every line is followed by "clear to the end of the line", the last one by "clear to the end of
 * the screen". */
static void screen_put(const Text *page) {
    Text screen = {0};
    text_append(&screen, "\033[H");
    for (const char *line = text_view(page), *end; (end = strchr(line, '\n')); line = end + 1)
        text_append(&screen, "%.*s\033[K\r\n", (int)(end - line), line);
    text_append(&screen, "q ends\033[K\033[J");
    fputs(text_view(&screen), stdout);
    fflush(stdout);
    text_free(&screen);
}

static bool screen_draw(WatchDraw *draw, void *context, Error *error) {
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    Text page = {0};
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    const bool drawn =
        draw(context, size.ws_col ? size.ws_col : 80, size.ws_row ? size.ws_row - 1 : 23, &page, error);
    if (drawn) screen_put(&page);
    text_free(&page);
    return drawn;
}

bool watch_run(WatchDraw *draw, void *context, double seconds, Error *error) {
    if (!isatty(STDOUT_FILENO)) {
        Text page = {0};
        const bool drawn = draw(context, 0, 0, &page, error);
        fputs(text_view(&page), stdout);
        text_free(&page);
        return drawn;
    }
    signals_catch();
    const Keys keys = keys_begin();
    fputs("\033[?1049h\033[?25l", stdout); /* the alternate screen; no cursor */
    bool drawn;
    do drawn = screen_draw(draw, context, error);
    while (drawn && !end_awaited(&keys, seconds));
    fputs("\033[?25h\033[?1049l", stdout);
    fflush(stdout);
    keys_end(&keys);
    return drawn;
}
