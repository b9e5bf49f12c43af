/* Reading a log that somebody else is writing. */
#include "worker/relay.h"
#include "base/file.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool begins_with(const char *line, const char *word) {
    return !strncmp(line, word, strlen(word));
}

bool relay_open(Relay *relay, const char *log, Error *error) {
    *relay = (Relay){.descriptor = open(log, O_RDONLY | O_CREAT | O_CLOEXEC, 0666)};
    if (relay->descriptor < 0) return file_error(error, log, "cannot be opened", errno);
    lseek(relay->descriptor, 0, SEEK_END);
    return true;
}

static void complaint_note(Relay *relay, const char *line) {
    const bool complains = begins_with(line, "error: ") || begins_with(line, "fatal: ");
    if (!*line || (relay->complained && !complains)) return;
    relay->complained = complains;
    snprintf(relay->complaint, sizeof relay->complaint, "%s", complains ? line + 7 : line);
}

static void line_take(Relay *relay, const char *line, bool show) {
    const bool progress = begins_with(line, RELAY_PROGRESS);
    if (progress)
        snprintf(relay->progress, sizeof relay->progress, "%s", line);
    else
        complaint_note(relay, line);
    if (show && progress)
        log_progress(false, "%s", line);
    else if (show)
        log_info("%s", line);
}

static void lines_take(Relay *relay, bool show) {
    char *line = relay->partial.text, *end;
    while (line && (end = strchr(line, '\n'))) {
        *end = 0;
        line_take(relay, line, show);
        line = end + 1;
    }
    if (!line || line == relay->partial.text) return;
    const size_t rest = strlen(line);
    memmove(relay->partial.text, line, rest + 1);
    relay->partial.length = rest;
}

void relay_poll(Relay *relay, bool show) {
    char piece[8192];
    ssize_t got;
    while ((got = read(relay->descriptor, piece, sizeof piece)) > 0) {
        for (ssize_t i = 0; i < got; i++)
            if (!piece[i]) piece[i] = '?'; /* a byte 0 would hide the rest of its line */
        text_append_bytes(&relay->partial, piece, (size_t)got);
        lines_take(relay, show);
    }
}

void relay_close(Relay *relay) {
    if (relay->descriptor >= 0) close(relay->descriptor);
    relay->descriptor = -1;
    text_free(&relay->partial);
}

void relay_print_tail(const char *log, int lines) {
    char *bytes;
    size_t size;
    if (!file_read(log, &bytes, &size, NULL)) return;
    size_t from = size;
    for (int seen = 0; from > 0; from--)
        if (bytes[from - 1] == '\n' && from < size && ++seen == lines) break;
    for (char *line = bytes + from, *end; *line; line = end + 1) {
        end = strchr(line, '\n');
        log_info("    %.*s", (int)(end ? end - line : (ptrdiff_t)strlen(line)), line);
        if (!end) break;
    }
    free(bytes);
}
