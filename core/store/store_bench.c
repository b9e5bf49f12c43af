/* How fast machines were: sessions of `bench`, what was measured in them by this program and by others, and
 * the time of every op. Independent of runs. */
#include "base/log.h"
#include "store/store_internal.h"

/* Numbers of two machines or commits under one name would be labelled with those of the first. */
static bool session_agrees(Store *store, const BenchSession *session, Error *error) {
    int64_t same = 0;
    return store_integer(store, error, &same, 0,
                         "SELECT count(*) FROM bench WHERE session = ? AND experiment = ? AND device = ? AND "
                         "git_commit = ?",
                         "tttt", session->id, session->experiment, session->device, session->commit) &&
           (same ||
            error_set(error,
                      "session '%s' of bench in %s is of another experiment, device or commit than %s, "
                      "%s, %.8s: give this one a name of its own",
                      session->id, store->path, session->experiment, session->device, session->commit));
}

bool store_bench(Store *store, const BenchSession *session, Error *error) {
    return store_execute(
               store, error,
               "INSERT OR IGNORE INTO bench(session, experiment, config, device, git_commit, versions, "
               "created) VALUES(?, ?, ?, ?, ?, ?, ?)",
               "ttttttd", session->id, session->experiment, session->config, session->device, session->commit,
               session->versions, clock_wall()) &&
           session_agrees(store, session, error);
}

static bool session_exists(Store *store, const char *session, Error *error) {
    int64_t count = 0;
    return store_integer(store, error, &count, 0, "SELECT count(*) FROM bench WHERE session = ?", "t",
                         session) &&
           (count ||
            error_set(error, "no session '%s' of bench in %s: measure this program first, with --session %s",
                      session, store->path, session));
}

/* On a machine that does other things too, a single turn says little: the best one is kept. */
bool store_bench_value(Store *store, const char *session, const BenchValue *value, Error *error) {
    return session_exists(store, session, error) &&
           store_execute(
               store, error,
               "INSERT INTO bench_value(session, program, precision, batch, name, value) VALUES(?, ?, ?, ?, "
               "?, ?) ON CONFLICT DO UPDATE SET value = CASE WHEN name LIKE '%/s' THEN max(value, "
               "excluded.value) ELSE min(value, excluded.value) END",
               "tttitd", session, value->program, value->precision, (int64_t)value->batch, value->name,
               value->value);
}

bool store_bench_op(Store *store, const char *session, const char *precision, int images,
                    const GraphOpTime *op, Error *error) {
    return store_execute(
        store, error,
        "INSERT OR REPLACE INTO bench_op(session, precision, images, op, pass, calls, seconds, bytes, "
        "flops) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "ttittiddd", session, precision, (int64_t)images, op->op, op->backward ? "backward" : "forward",
        (int64_t)op->calls, op->seconds, op->bytes, op->flops);
}

bool store_bench_has(Store *store, const char *session, const char *program, bool *has, Error *error) {
    int64_t count = 0;
    const bool done = store_integer(store, error, &count, 0,
                                    "SELECT count(*) FROM bench_value WHERE session = ? AND program = ?",
                                    "tt", session, program);
    *has = count > 0;
    return done;
}
