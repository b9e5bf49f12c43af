/* The board is read as a whole and then printed, so that a redraw shows one moment. */
#include "command/board.h"
#include "base/columns.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BAR_CELLS = 16 };

/* ---- reading ---- */

static const char progress_sql[] =
    "SELECT run.id,"
    " (SELECT printf('%.4g', value) FROM metric WHERE run_id = run.id AND name = 'loss' ORDER BY step DESC "
    "LIMIT 1),"
    " (SELECT value FROM metric WHERE run_id = run.id AND name = 'images_per_second' ORDER BY step DESC "
    "LIMIT 1),"
    " (SELECT metric || ' ' || printf('%.4g', value) || iif(nfe, ', ' || nfe || '-step', '') FROM evaluation "
    "WHERE run_id = run.id AND (nfe > 0 OR metric = 'held-out-accuracy')"
    "  AND metric NOT LIKE '%-class-%' ORDER BY step DESC, nfe, metric DESC, samples DESC LIMIT 1) FROM run";

static void progress_take(void *context, int columns, const char *const *names, const char *const *values) {
    const Board *board = context;
    (void)columns, (void)names;
    for (int i = 0; i < board->count; i++) {
        BoardRun *run = &board->runs[i];
        if (strcmp(run->row.id, values[0])) continue;
        snprintf(run->loss, sizeof run->loss, "%s", values[1] ? values[1] : "");
        run->rate = values[2] ? atof(values[2]) : 0;
        snprintf(run->evaluation, sizeof run->evaluation, "%s", values[3] ? values[3] : "");
    }
}

static bool row_matches(const RunRow *row, char *const *words) {
    const char *const fields[] = {row->id, row->experiment, row->arm, row->scale, run_state_name(row->state)};
    for (; *words; words++) {
        bool found = false;
        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
            found = found || strstr(fields[i], *words);
        if (!found) return false;
    }
    return true;
}

/* ---- what is left ---- */

static double batch_of(const RunRow *row) {
    char batch[32];
    return config_text_get(row->config, "train.batch", batch, sizeof batch) ? atof(batch) : 0;
}

typedef enum Likeness { SAME_EXPERIMENT, SAME_SCALE } Likeness;

static bool is_like(const RunRow *row, const RunRow *like, Likeness how) {
    return !strcmp(row->scale, like->scale) &&
           (how == SAME_SCALE || !strcmp(row->experiment, like->experiment));
}

/* Seconds an image of finished runs, from start to end; 0: there are none. */
static double pace_finished(const Board *board, const RunRow *like, Likeness how) {
    double seconds = 0, images = 0;
    for (int i = 0; i < board->count; i++) {
        const RunRow *row = &board->runs[i].row;
        if (row->state != RUN_DONE || row->ended <= row->started || !is_like(row, like, how)) continue;
        seconds += row->ended - row->started;
        images += (double)row->steps * batch_of(row);
    }
    return images > 0 ? seconds / images : 0;
}

/* Of what trains now. */
static double pace_running(const Board *board, const RunRow *like) {
    double seconds = 0;
    int count = 0;
    for (int i = 0; i < board->count; i++) {
        const BoardRun *run = &board->runs[i];
        if (run->row.state != RUN_RUNNING || run->rate <= 0 || !is_like(&run->row, like, SAME_SCALE))
            continue;
        seconds += 1 / run->rate;
        count++;
    }
    return count ? seconds / count : 0;
}

/* By the nearest runs that there are: a scale's runs are about alike, also where their questions differ. */
static double pace_of(const Board *board, const RunRow *like) {
    double pace = pace_finished(board, like, SAME_EXPERIMENT);
    if (pace <= 0) pace = pace_finished(board, like, SAME_SCALE);
    return pace > 0 ? pace : pace_running(board, like);
}

static bool is_ahead(const RunRow *row) {
    return row->state == RUN_QUEUED || row->state == RUN_RUNNING || row->state == RUN_INTERRUPTED ||
           row->state == RUN_LOST;
}

static double seconds_left(const Board *board, const BoardRun *run) {
    if (!is_ahead(&run->row)) return 0;
    const double images = (double)(run->row.steps - run->row.step) * batch_of(&run->row);
    const double pace = fmax(pace_of(board, &run->row), run->rate > 0 ? 1 / run->rate : 0);
    return pace > 0 ? images * pace : NAN;
}

double board_seconds_left(const Board *board, int *unknown) {
    double total = 0, longest = 0;
    int running = 0;
    *unknown = 0;
    for (int i = 0; i < board->count; i++) {
        const BoardRun *run = &board->runs[i];
        running += run->row.state == RUN_RUNNING;
        if (isnan(run->seconds_left)) {
            ++*unknown;
            continue;
        }
        total += run->seconds_left;
        longest = fmax(longest, run->seconds_left);
    }
    return fmax(longest, total / (running ? running : 1));
}

bool board_read(Store *store, char *const *words, Board *board, Error *error) {
    RunRow *rows;
    int count;
    *board = (Board){0};
    if (!store_list_runs(store, &rows, &count, error)) return false;
    board->runs = calloc((size_t)count + 1, sizeof *board->runs);
    CHECK(board->runs, "out of memory for %d runs", count);
    for (int i = 0; i < count; i++) {
        if (row_matches(&rows[i], words))
            board->runs[board->count++].row = rows[i];
        else
            run_row_free(&rows[i]);
    }
    free(rows);
    const bool done = store_query(store, progress_sql, NULL, 0, progress_take, board, error);
    for (int i = 0; i < board->count; i++) board->runs[i].seconds_left = seconds_left(board, &board->runs[i]);
    if (!done) board_free(board);
    return done;
}

void board_free(Board *board) {
    for (int i = 0; i < board->count; i++) run_row_free(&board->runs[i].row);
    free(board->runs);
    *board = (Board){0};
}

/* ---- printing ---- */

static const char *left_text(const BoardRun *run, char out[32]) {
    if (run->row.state != RUN_RUNNING || isnan(run->seconds_left)) return strcpy(out, "");
    return format_duration(out, run->seconds_left);
}

void board_list(const Board *board, FILE *out) {
    static const char *const titles[] = {"id",    "state", "experiment", "arm",  "scale",          ">seed",
                                         ">step", ">loss", ">images/s",  ">ETA", "last evaluation"};
    Columns table = columns_begin(sizeof titles / sizeof *titles, titles);
    for (int i = 0; i < board->count; i++) {
        const BoardRun *run = &board->runs[i];
        const RunRow *row = &run->row;
        char seed[24], step[48], rate[32] = "", left[32];
        snprintf(seed, sizeof seed, "%lld", (long long)row->seed);
        snprintf(step, sizeof step, "%lld/%lld", (long long)row->step, (long long)row->steps);
        if (run->rate > 0) format_count(rate, run->rate);
        columns_add(&table, (const char *[]){row->id, run_state_name(row->state), row->experiment, row->arm,
                                             row->scale, seed, step, run->loss, rate, left_text(run, left),
                                             run->evaluation});
    }
    columns_print(&table, out);
    columns_free(&table);
}

/* "━━━━━━          " */
static const char *bar_text(const RunRow *row, char out[3 * BAR_CELLS + 1]) {
    const double share = row->steps > 0 ? (double)row->step / (double)row->steps : 0;
    const int full = (int)(share * BAR_CELLS + 1e-9);
    *out = 0;
    for (int i = 0; i < BAR_CELLS; i++) strcat(out, i < full ? "━" : "·");
    return out;
}

static void run_show(Columns *table, const BoardRun *run) {
    const RunRow *row = &run->row;
    char seed[24], share[16], bar[3 * BAR_CELLS + 1], rate[32] = "", left[32];
    snprintf(seed, sizeof seed, "%lld", (long long)row->seed);
    snprintf(share, sizeof share, "%.0f%%", row->steps ? 100.0 * (double)row->step / (double)row->steps : 0);
    if (run->rate > 0) format_count(rate, run->rate);
    columns_add(table,
                (const char *[]){run_state_name(row->state), bar_text(row, bar), share, left_text(run, left),
                                 row->id, row->experiment, row->arm, seed, run->loss, rate, run->evaluation});
}

/* What happens now, what needs somebody, what waits, what is over. */
static const RunState shown[] = {RUN_RUNNING,     RUN_LOST,   RUN_FAILED, RUN_DIVERGED,
                                 RUN_INTERRUPTED, RUN_QUEUED, RUN_DONE};
enum { STATES = sizeof shown / sizeof *shown };

static void summary_show(const Board *board, Text *out) {
    char left[32];
    int unknown;
    const double seconds = board_seconds_left(board, &unknown);
    text_append(out, "%d run%s", board->count, board->count == 1 ? "" : "s");
    for (int s = 0; s < STATES; s++) {
        int count = 0;
        for (int i = 0; i < board->count; i++) count += board->runs[i].row.state == shown[s];
        if (count) text_append(out, ", %d %s", count, run_state_name(shown[s]));
    }
    if (seconds > 0) text_append(out, "; about %s left", format_duration(left, seconds));
    if (unknown)
        text_append(out, "%s %d run%s not estimated yet", seconds > 0 ? " and" : ";", unknown,
                    unknown == 1 ? "" : "s");
    text_append(out, "\n");
}

/* Appends the line's first `width` letters. */
static void line_cut(Text *out, const char *line, size_t length, int width) {
    size_t end = 0;
    for (int letters = 0; end < length; end++) {
        if ((line[end] & 0xC0) == 0x80) continue;
        if (width && ++letters > width) break;
    }
    text_append_bytes(out, line, end);
    text_append(out, "\n");
}

static void table_show(const Columns *table, int width, Text *out) {
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    CHECK(stream, "out of memory for the board");
    columns_print(table, stream);
    fclose(stream);
    for (const char *line = text, *end; *line && (end = strchr(line, '\n')); line = end + 1)
        line_cut(out, line, (size_t)(end - line), width);
    free(text);
}

void board_show(const Board *board, int width, int lines, Text *out) {
    static const char *const titles[] = {"state",          "progress", ">",     ">left", "id",
                                         "experiment",     "arm",      ">seed", ">loss", ">images/s",
                                         "last evaluation"};
    const int room = lines ? lines - 3 : board->count;
    int rows = 0;
    Columns table = columns_begin(sizeof titles / sizeof *titles, titles);
    for (int s = 0; s < STATES; s++)
        for (int i = board->count - 1; i >= 0;
             i--) { /* of each state the newest first, but what waits in its order */
            const BoardRun *run = &board->runs[shown[s] == RUN_QUEUED ? board->count - 1 - i : i];
            if (run->row.state == shown[s] && rows < room) run_show(&table, run), rows++;
        }
    Text all = {0};
    summary_show(board, &all);
    line_cut(out, text_view(&all), all.length - 1, width);
    text_free(&all);
    table_show(&table, width, out);
    if (rows < board->count) text_append(out, "... and %d more\n", board->count - rows);
    columns_free(&table);
}
