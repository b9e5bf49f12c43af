/* `ls` and `log`: how the runs stand, and what they say. */
#include "base/file.h"
#include "base/log.h"
#include "command/board.h"
#include "command/cli.h"
#include "command/watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double REDRAW_SECONDS = 1;

/* ---- ls ---- */

typedef struct Listing {
    Store *store;
    char **words;
} Listing;

static bool board_draw(void *context, int width, int lines, Text *out, Error *error) {
    const Listing *listing = context;
    Board board;
    if (!board_read(listing->store, listing->words, &board, error)) return false;
    board_show(&board, width, lines, out);
    board_free(&board);
    return true;
}

static bool list_print(const Listing *listing, Error *error) {
    Board board;
    if (!board_read(listing->store, listing->words, &board, error)) return false;
    board_list(&board, stdout);
    board_free(&board);
    return true;
}

static int ls_run(int argc, char **argv) {
    bool watch = false;
    Paths paths;
    Error error;
    int count;
    const Option list[] = {{"watch", 'w', OPTION_FLAG, &watch, NULL,
                            "a live board with what is left (q ends it); printed once into a pipe"}};
    char **words = options_parse(&command_ls, argc, argv, list, 1, &paths, &count);
    Listing listing = {cli_store(&paths), words};
    if (!listing.store) return EXIT_USAGE;
    const bool done =
        watch ? watch_run(board_draw, &listing, REDRAW_SECONDS, &error) : list_print(&listing, &error);
    store_close(listing.store);
    return done ? EXIT_DONE : cli_fail(EXIT_USAGE, &error);
}

const Command command_ls = {"ls", "ls [WORD...] [--watch]",
                            "one line a run; with words, those runs that have all of them", ls_run};

/* ---- log ---- */

/* Prints from where the last call ended. */
static void log_copy(FILE *stream) {
    char piece[8192];
    clearerr(stream); /* the end of the file may have moved */
    for (size_t got; (got = fread(piece, 1, sizeof piece, stream)) > 0;) fwrite(piece, 1, got, stdout);
    fflush(stdout);
}

static bool is_running(Store *store, const char *id) {
    RunRow row;
    if (!store_get_run(store, id, &row, NULL)) return false;
    run_row_free(&row);
    return row.state == RUN_RUNNING;
}

static int log_print(Store *store, const Paths *paths, const RunRow *row, bool follow) {
    char folder[1024], path[1024];
    path_join(path, paths_run_folder(paths->results, row->id, row->experiment, folder), "log.txt");
    FILE *stream = fopen(path, "r");
    if (!stream) {
        log_error("run %s has left no log (%s)", row->id, path);
        return EXIT_USAGE;
    }
    log_copy(stream);
    while (follow && is_running(store, row->id)) {
        usleep(300000);
        log_copy(stream);
    }
    fclose(stream);
    return EXIT_DONE;
}

static int log_run(int argc, char **argv) {
    bool follow = false;
    Paths paths;
    RunRow row;
    const Option list[] = {{"follow", 'f', OPTION_FLAG, &follow, NULL, "go on while the run does"}};
    Store *store = cli_open_run(&command_log, argc, argv, list, 1, &paths, &row);
    if (!store) return EXIT_USAGE;
    const int code = log_print(store, &paths, &row, follow);
    run_row_free(&row);
    store_close(store);
    return code;
}

const Command command_log = {"log", "log ID [-f]", "what a run has printed", log_run};
