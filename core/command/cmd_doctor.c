/* `doctor`: one line for everything that a run needs, ✓ with the facts or ✗ with the reason and
 * → the remedy. */
#include "base/file.h"
#include "base/log.h"
#include "command/cli.h"
#include "command/doctor_card.h"
#include "base/machine.h"
#include "base/process.h"
#include "store/provenance.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;

PRINTF_LIKE(2, 3) static void good(const char *what, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    printf("✓ %-10s %s\n", what, text);
}

/* `needed` problems make the command fail; others only cost a feature. */
static void bad(bool needed, const char *what, const char *reason, const char *remedy) {
    failures += needed;
    printf("%s %-10s %s\n  %-10s → %s\n", needed ? "✗" : "·", what, reason, "", remedy);
}

/* ---- machine and libraries ---- */

/* The card's libraries and memory, and what fits into it. */
static void card_check(Device *device, const Paths *paths) {
    size_t available = 0, total = 0;
    char versions[512], text[2][32];
    device_versions(device, versions, sizeof versions);
    device->memory(device, &available, &total);
    good("device", "cuda: %s, %s of %s free", device->name, format_bytes(text[0], (double)available),
         format_bytes(text[1], (double)total));
    good("libraries", "%s", versions);
    doctor_fits(paths, (double)available);
}

static void device_check(const Paths *paths) {
    Device *device;
    Error error;
    char versions[512];
    if (!device_open("cpu", 0, &device, &error)) {
        bad(true, "device", error.text, "build again: make clean && make");
        return;
    }
    device_versions(device, versions, sizeof versions);
    good("device", "cpu: %s, %d thread%s", device->name, device->threads, device->threads == 1 ? "" : "s");
    good("libraries", "%s, SQLite %s", versions, store_library_version());
    device_close(device);
    if (device_open("cuda", 0, &device, &error)) {
        card_check(device, paths);
        device_close(device);
    } else
        bad(false, "cuda", error.text, "not needed: everything runs on the CPU too, more slowly");
}

static void space_check(const Paths *paths) {
    char text[32];
    const double memory = machine_memory(), disk = machine_disk(paths->results);
    if (memory < 0 || memory >= 1e9)
        good("memory", "%s free", memory < 0 ? "unknown" : format_bytes(text, memory));
    else
        bad(true, "memory", "less than 1 GB is free", "close something, or take a smaller train.micro_batch");
    if (disk < 0 || disk >= 1e9)
        good("disk", "%s free in %s", disk < 0 ? "unknown" : format_bytes(text, disk), paths->results);
    else
        bad(true, "disk", "less than 1 GB is free for results",
            "free some space, or name another place with --db PATH");
}

static void tool_check(const char *name, const char *use, const char *remedy) {
    Text text = {0};
    if (process_capture((const char *[]){name, "--version", NULL}, &text, NULL))
        good(name, "%.*s", (int)strcspn(text_view(&text), "\n"), text_view(&text));
    else
        bad(false, name, use, remedy);
    text_free(&text);
}

static void source_check(const Paths *paths) {
    Provenance from = provenance_of_source(paths->root);
    if (strcmp(from.commit, "unknown"))
        good("source", "commit %.12s%s", from.commit, *from.diff ? ", with uncommitted changes" : "");
    else
        bad(false, "source", "the commit cannot be found out",
            "results will not say which version made them; use a git clone");
    provenance_free(&from);
}

/* ---- data and database ---- */

static void data_check(const Paths *paths) {
    Error error;
    printf("  data sets in %s:\n", paths->data);
    fflush(stdout);
    if (!dataset_list(paths->data, &error)) bad(true, "data", error.text, "./run data import NAME PATH");
}

static void state_count(void *context, int columns, const char *const *names, const char *const *values) {
    (void)columns, (void)names;
    text_append(context, ", %s %s", values[1], values[0]);
}

static void database_check(const Paths *paths) {
    Store *store = NULL;
    Error error;
    char journal[16] = "";
    Text problems = {0}, states = {0};
    if (!file_exists(paths->database)) {
        good("database", "%s: none yet; the first run makes it", paths->database);
        return;
    }
    if (!store_open(paths->database, &store, &error) || !store_check(store, journal, &problems, &error) ||
        !store_query(store, "SELECT state, count(*) FROM run GROUP BY state", NULL, 0, state_count, &states,
                     &error))
        bad(true, "database", error.text, "see the message");
    else if (strcmp(text_view(&problems), "ok"))
        bad(true, "database", text_view(&problems),
            "rescue what is in it: sqlite3 FILE .recover | sqlite3 NEW.db");
    else
        good("database", "%s: sound, journal %s%s", paths->database, journal, text_view(&states));
    store_close(store);
    text_free(&problems);
    text_free(&states);
}

static int doctor_run(int argc, char **argv) {
    Paths paths;
    int count, gigabytes = 0;
    const Option list[] = {
        {"card", 0, OPTION_COUNT, &gigabytes, "GB", "also what trains on a card with so much memory free"}};
    options_parse(&command_doctor, argc, argv, list, sizeof list / sizeof *list, &paths, &count);
    if (count) {
        log_error("usage: ./run %s", command_doctor.usage);
        return EXIT_USAGE;
    }
    failures = 0;
    device_check(&paths);
    if (gigabytes) doctor_fits(&paths, 1e9 * gigabytes);
    space_check(&paths);
    source_check(&paths);
    tool_check("git", "git is not installed: results will not say which version made them",
               "apt-get install git");
    tool_check("gnuplot", "gnuplot is not installed: figures cannot be drawn", "apt-get install gnuplot-nox");
    database_check(&paths);
    data_check(&paths);
    return failures ? EXIT_RUN_FAILED : EXIT_DONE;
}

const Command command_doctor = {"doctor", "doctor",
                                "check libraries, device, memory, disk, data, database, source", doctor_run};
