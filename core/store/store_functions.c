/* The paper's quantities as SQL functions, so that an analytic figure is a question like any other:
 *
 *   SELECT 'linear' AS series, k, ct_levels('curriculum=linear s1=160', k, 400000) FROM ...
 *
 * Their first argument are settings below `ct.`, with the defaults of the configuration (the paper's CIFAR-10
 * model). What is computed is what training computes: the functions of core/ct. */
#include "ct/proposition.h"
#include "store/store_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- settings: "curriculum=linear s1=160" ---- */

static bool settings_parse(CtConfig *ct, const char *text, Error *error) {
    Config config = config_default();
    char words[256], *rest = NULL;
    bool ok = snprintf(words, sizeof words, "%s", text) < (int)sizeof words ||
              error_set(error, "settings of more than %zu letters", sizeof words - 1);
    for (char *word = strtok_r(words, " ", &rest); ok && word; word = strtok_r(NULL, " ", &rest)) {
        char *equals = strchr(word, '='), key[300];
        ok = equals != NULL || error_set(error, "'%s': expected key=value", word);
        if (!ok) break;
        *equals = 0;
        snprintf(key, sizeof key, "ct.%s", word);
        ok = config_set(&config, key, equals + 1, error);
    }
    *ct = config.ct;
    return ok;
}

/* Parsed once a statement: SQLite keeps what belongs to a constant argument. NULL after an error. */
static const CtConfig *settings_of(sqlite3_context *context, sqlite3_value **values) {
    const CtConfig *known = sqlite3_get_auxdata(context, 0);
    if (known) return known;
    const char *text = (const char *)sqlite3_value_text(values[0]);
    CtConfig *ct = malloc(sizeof *ct);
    Error error;
    CHECK(ct, "out of memory");
    if (!settings_parse(ct, text ? text : "", &error)) {
        sqlite3_result_error(context, error.text, -1);
        free(ct);
        return NULL;
    }
    sqlite3_set_auxdata(context, 0, ct, free);
    return sqlite3_get_auxdata(context, 0);
}

/* ---- schedules: (settings, i or k, N or K) ---- */

static void sql_levels(sqlite3_context *context, int count, sqlite3_value **values) {
    (void)count;
    const CtConfig *ct = settings_of(context, values);
    const int64_t k = sqlite3_value_int64(values[1]), K = sqlite3_value_int64(values[2]);
    if (!ct) return;
    if (K > 0 && ct->s0 <= ct->s1)
        sqlite3_result_int(context, ct_levels(ct, k, K));
    else
        sqlite3_result_error(context, "ct_levels: expected s0 <= s1 and at least one step", -1);
}

/* The level or pair i of N; false, with SQLite told, when there is no such thing. */
static bool place_of(sqlite3_context *context, sqlite3_value **values, int beyond, int *i, int *N) {
    *i = sqlite3_value_int(values[1]), *N = sqlite3_value_int(values[2]);
    if (*N >= 2 && *N <= 1000000 && *i >= 0 && *i < *N - beyond) return true;
    sqlite3_result_error(context, "no such noise level", -1);
    return false;
}

static void sql_sigma(sqlite3_context *context, int count, sqlite3_value **values) {
    (void)count;
    int i, N;
    const CtConfig *ct = settings_of(context, values);
    if (ct && place_of(context, values, 0, &i, &N)) sqlite3_result_double(context, ct_sigma(ct, i, N));
}

static void sql_weight(sqlite3_context *context, int count, sqlite3_value **values) {
    (void)count;
    int i, N;
    const CtConfig *ct = settings_of(context, values);
    if (ct && place_of(context, values, 1, &i, &N)) sqlite3_result_double(context, ct_weight(ct, i, N));
}

static void sql_probability(sqlite3_context *context, int count, sqlite3_value **values) {
    (void)count;
    int i, N;
    const CtConfig *ct = settings_of(context, values);
    if (!ct || !place_of(context, values, 1, &i, &N)) return;
    double *p = malloc(sizeof *p * (size_t)N);
    CHECK(p, "out of memory for %d probabilities", N);
    ct_pair_probabilities(ct, N, p);
    sqlite3_result_double(context, p[i]);
    free(p);
}

/* ---- Proposition 1: (sigma_min, sigma_max, N, theta, teacher, xi) ---- */

static ToyGrid toy_grid(sqlite3_value **values) {
    return (ToyGrid){sqlite3_value_double(values[0]), sqlite3_value_double(values[1]),
                     sqlite3_value_int(values[2])};
}

static bool toy_good(sqlite3_context *context, ToyGrid grid) {
    if (grid.N >= 2 && grid.sigma_min > 0 && grid.sigma_max > grid.sigma_min) return true;
    sqlite3_result_error(context, "expected 0 < sigma_min < sigma_max and N >= 2", -1);
    return false;
}

typedef double ToyFunction(ToyGrid, ToyState);
typedef struct ToyEntry {
    ToyFunction *function;
} ToyEntry;
static const ToyEntry loss = {toy_loss}, gradient = {toy_gradient}, loss_limit = {toy_loss_limit},
                      gradient_limit = {toy_gradient_limit};

static void sql_toy(sqlite3_context *context, int count, sqlite3_value **values) {
    (void)count;
    const ToyEntry *entry = sqlite3_user_data(context);
    const ToyGrid grid = toy_grid(values);
    const ToyState state = {sqlite3_value_double(values[3]), sqlite3_value_double(values[4]),
                            sqlite3_value_double(values[5])};
    if (toy_good(context, grid)) sqlite3_result_double(context, entry->function(grid, state));
}

/* (sigma_min, sigma_max, N, xi, mu, learning rate, steps) */
static void sql_toy_descent(sqlite3_context *context, int count, sqlite3_value **values) {
    (void)count;
    const ToyGrid grid = toy_grid(values);
    if (toy_good(context, grid))
        sqlite3_result_double(
            context, toy_descent(grid, sqlite3_value_double(values[3]), sqlite3_value_double(values[4]),
                                 sqlite3_value_double(values[5]), sqlite3_value_int(values[6])));
}

bool functions_register(Store *store, Error *error) {
    static const struct {
        const char *name;
        int arguments;
        const ToyEntry *toy;
        void (*function)(sqlite3_context *, int, sqlite3_value **);
    } all[] = {
        {"ct_levels", 3, NULL, sql_levels},
        {"ct_sigma", 3, NULL, sql_sigma},
        {"ct_weight", 3, NULL, sql_weight},
        {"ct_probability", 3, NULL, sql_probability},
        {"toy_loss", 6, &loss, sql_toy},
        {"toy_gradient", 6, &gradient, sql_toy},
        {"toy_loss_limit", 6, &loss_limit, sql_toy},
        {"toy_gradient_limit", 6, &gradient_limit, sql_toy},
        {"toy_descent", 7, NULL, sql_toy_descent},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (sqlite3_create_function(store->db, all[i].name, all[i].arguments,
                                    SQLITE_UTF8 | SQLITE_DETERMINISTIC, (void *)all[i].toy, all[i].function,
                                    NULL, NULL) != SQLITE_OK)
            return store_error(store, all[i].name, error);
    return true;
}
