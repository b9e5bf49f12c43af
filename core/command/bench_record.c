/* What was measured, put into the database: a session is made when its first numbers come, and only numbers
 * of the same work on the same machine may join it. */
#include "command/bench_record.h"

#include "base/file.h"
#include "store/provenance.h"
#include "train/network.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool session_make(const BenchPlace *place, Error *error) {
    Text config = {0};
    Provenance source = provenance_of_source(place->paths->root),
               machine = provenance_of_machine(place->device);
    config_print(place->config, CONFIG_ALL, &config);
    const BenchSession session = {.id = place->session,
                                  .experiment = place->experiment,
                                  .config = text_view(&config),
                                  .device = machine.device,
                                  .commit = source.commit,
                                  .versions = machine.versions};
    const bool done = store_bench(place->store, &session, error);
    text_free(&config);
    provenance_free(&source);
    provenance_free(&machine);
    return done;
}

static void text_keep(void *context, int columns, const char *const *names, const char *const *values) {
    (void)columns, (void)names;
    *(char **)context = text_copy(values[0]);
}

static char *work_print(const Config *config) {
    Text text = {0};
    config_print(config, CONFIG_ALL, &text);
    return text.text;
}

/* Whether the session's configuration is ours but for what stands with each number. */
static bool work_agrees(const BenchPlace *place, Error *error) {
    const char *const parameters[] = {"session", place->session};
    char *stored = NULL;
    Config theirs, ours = *place->config;
    if (!store_query(place->store, "SELECT config FROM bench WHERE session = :session", parameters, 1,
                     text_keep, &stored, error))
        return false;
    const bool read = config_parse(stored, strlen(stored), place->session, &theirs, error);
    free(stored);
    if (!read) return false;
    ours.precision = theirs.precision;
    ours.train.batch = theirs.train.batch, ours.train.micro_batch = theirs.train.micro_batch;
    char *one = work_print(&theirs), *other = work_print(&ours);
    const bool same = !strcmp(one, other);
    free(one);
    free(other);
    return same || error_set(error,
                             "session '%s' of bench has another configuration of %s (precision and batch may "
                             "differ): give this one a name of its own",
                             place->session, place->experiment);
}

/* ---- this program ---- */

static bool values_store(const BenchPlace *place, const BenchResult *result, bool again, Error *error) {
    const struct {
        const char *name;
        double value;
    } values[] = {{"training images/s", result->rate},
                  {"sampling images/s", result->sample_rate},
                  {"training FLOP/s", result->flops},
                  {"product FLOP/s", result->matrix},
                  {again ? "ready s, later starts" : "ready s, first start", result->ready},
                  {again ? "first step s, later starts" : "first step s, first start", result->first_step},
                  {"memory B", result->memory}};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        const BenchValue value = {.program = "ict",
                                  .precision = precision_name(place->config->precision),
                                  .batch = result->batch,
                                  .name = values[i].name,
                                  .value = values[i].value};
        if (value.value > 0 && !store_bench_value(place->store, place->session, &value, error)) return false;
    }
    return true;
}

bool bench_record(const BenchPlace *place, const BenchResult *result, const GraphOpTime *ops, int op_count,
                  Error *error) {
    const char *precision = precision_name(place->config->precision);
    bool again;
    if (!session_make(place, error) || !work_agrees(place, error) ||
        !store_bench_has(place->store, place->session, "ict", &again, error) ||
        !values_store(place, result, again, error))
        return false;
    for (int i = 0; i < op_count; i++)
        if (!store_bench_op(place->store, place->session, precision, result->micro_batch, &ops[i], error))
            return false;
    return true;
}

/* ---- others ---- */

typedef struct Peer {
    char program[128], precision[16];
    int batch;
} Peer;

/* "name <tab> value", which says who is measured or what was. */
static bool line_take(Store *store, const char *session, Peer *peer, char *line, const char *path,
                      Error *error) {
    char *value = strchr(line, '\t'), *end;
    if (!value) return error_set(error, "%s: the line 'peer %s' has no value after a tab", path, line);
    *value++ = 0;
    if (!strcmp(line, "program"))
        snprintf(peer->program, sizeof peer->program, "%s", value);
    else if (!strcmp(line, "precision"))
        snprintf(peer->precision, sizeof peer->precision, "%s", value);
    else if (!strcmp(line, "batch"))
        peer->batch = atoi(value);
    else {
        const BenchValue one = {peer->program, peer->precision, peer->batch, line, strtod(value, &end)};
        if (end == value || *end || !isfinite(one.value) || !*peer->program)
            return error_set(error, "%s: '%s' of '%s' is not a finite number of a named program: '%s'", path,
                             line, peer->program, value);
        return store_bench_value(store, session, &one, error);
    }
    return true;
}

static bool stream_take(Store *store, const char *session, FILE *stream, const char *path, Error *error) {
    Peer peer = {.program = ""};
    char *line = NULL;
    size_t room = 0;
    int taken = 0;
    bool done = true;
    while (done && getline(&line, &room, stream) > 0) {
        line[strcspn(line, "\r\n")] = 0;
        if (strncmp(line, "peer\t", 5)) continue;
        done = line_take(store, session, &peer, line + 5, path, error);
        taken++;
    }
    free(line);
    if (done && !taken) return error_set(error, "%s: no line begins with 'peer' and a tab", path);
    return done;
}

bool bench_record_peer(Store *store, const char *session, const char *path, Error *error) {
    FILE *stream = strcmp(path, "-") ? fopen(path, "r") : stdin;
    if (!stream) return file_error(error, path, "cannot be read", errno);
    const bool done = stream_take(store, session, stream, path, error);
    if (stream != stdin) fclose(stream);
    return done;
}
