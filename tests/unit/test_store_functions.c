/* The paper's quantities as SQL functions: a query gives what the C function gives, and a mistake gives a
 * message. */
#include "ct/proposition.h"
#include "store_fixture.h"

#include <math.h>

static void keep_first(void *context, int columns, const char *const *names, const char *const *values) {
    (void)names;
    assert_int_equal(columns, 1);
    *(double *)context = values[0] ? strtod(values[0], NULL) : NAN;
}

static double answer(Store *store, const char *sql) {
    double value = NAN;
    Error error;
    must(store_query(store, sql, NULL, 0, keep_first, &value, &error), &error);
    return value;
}

static void schedules_are_those_that_train(void **state) {
    Store *store = ((Fixture *)*state)->store;
    CtConfig ct = config_default().ct;
    assert_true(answer(store, "SELECT ct_levels('', 399999, 400000)") == ct_levels(&ct, 399999, 400000));
    assert_true(answer(store, "SELECT ct_sigma('', 329, 1281)") == ct_sigma(&ct, 329, 1281));
    assert_true(answer(store, "SELECT ct_weight('', 0, 1281)") == ct_weight(&ct, 0, 1281));
    double p[10];
    ct_pair_probabilities(&ct, 11, p);
    assert_true(answer(store, "SELECT ct_probability('', 2, 11)") == p[2]);
    ct.curriculum = CURRICULUM_LINEAR, ct.s1 = 160;
    assert_true(answer(store, "SELECT ct_levels('curriculum=linear s1=160', 7, 20)") ==
                ct_levels(&ct, 7, 20));
    assert_true(answer(store, "SELECT ct_probability('noise=uniform', 2, 11)") == 0.1);
}

static void settings_hold_for_their_own_call(void **state) {
    Store *store = ((Fixture *)*state)->store;
    const char *sql = "WITH s(text) AS (VALUES ('s1=20'), ('s1=40')) "
                      "SELECT sum(ct_levels(text, 100, 100)) FROM s";
    assert_true(answer(store, sql) == 21 + 41);
}

static void proposition_is_the_exact_one(void **state) {
    Store *store = ((Fixture *)*state)->store;
    const ToyGrid grid = {0.1, 1, 1000};
    const ToyState toy = {0.3, 0.25, 0.7};
    assert_true(answer(store, "SELECT toy_loss(0.1, 1, 1000, 0.3, 0.25, 0.7)") == toy_loss(grid, toy));
    assert_true(answer(store, "SELECT toy_gradient(0.1, 1, 1000, 0.3, 0.25, 0.7)") ==
                toy_gradient(grid, toy));
    assert_true(answer(store, "SELECT toy_loss_limit(0.1, 1, 2, 0.3, 0.25, 0.7)") ==
                toy_loss_limit(grid, toy));
    assert_true(answer(store, "SELECT toy_gradient_limit(0.1, 1, 2, 0.3, 0.25, 0.7) > 1e308") == 1);
    assert_true(answer(store, "SELECT toy_descent(0.1, 1, 41, 0.7, 0.99, 0.002, 400)") ==
                toy_descent((ToyGrid){0.1, 1, 41}, 0.7, 0.99, 0.002, 400));
}

static void settings_are_those_of_run_and_experiment(void **state) {
    Store *store = ((Fixture *)*state)->store;
    assert_sql(store, "SELECT setting('seed: 3' || char(10) || 'ct.s0: 7', 'ct.s0')", "7");
    assert_sql(store, "SELECT setting('ct.s0: 7', 'ct.s1') IS NULL", "1");
    const char *const protocols[][2] = {{"round", "1"},
                                        {"round; trained on 0-9", "1"},
                                        {"round; mean of 3 repeats", "0"},
                                        {"rounding", "0"},
                                        {"trunc", "0"}};
    for (int i = 0; i < 5; i++) {
        char sql[128];
        snprintf(sql, sizeof sql, "SELECT own_protocol('evaluation.rounding: round', '%s')", protocols[i][0]);
        assert_sql(store, sql, protocols[i][1]);
    }
    assert_sql(store, "SELECT experiment_setting('cifar10_main', 'ct.s1')", "1280");
    assert_sql(store, "SELECT experiment_setting('imagenet64_main', 'model.attention')", "[32, 16, 8]");
    assert_sql(store, "SELECT experiment_setting('cifar10_main', 'ct.s9') IS NULL", "1");
    assert_sql(store, "SELECT config_asked('', 'ablations/ema.yaml', 'EMA 0.98', 'desk') IS NULL", "1");
    assert_sql(store, "SELECT config_asked('', 'ablations/ema.yaml', 'EMA 0.99', 'dusk') IS NULL", "1");
    assert_sql(store, "SELECT config_asked('', 'ablations/emma.yaml', 'EMA 0.99', 'desk') IS NULL", "1");
    assert_sql(
        store,
        "SELECT setting(config_asked('seed: 7', 'ablations/ema.yaml', 'EMA 0.99', 'desk'), 'ct.teacher_ema')",
        "0.99");
    assert_sql(store,
               "SELECT setting(config_asked('seed: 7', 'ablations/ema.yaml', 'EMA 0.99', 'desk'), 'seed')",
               "7");
    assert_sql(store, "SELECT experiment_setting('../ablations/ema', 'ct.s1') IS NULL", "1");
}

static void mistakes_are_said(void **state) {
    Store *store = ((Fixture *)*state)->store;
    static const struct {
        const char *sql, *said;
    } mistakes[] = {
        {"SELECT ct_levels('curiculum=linear', 0, 1)", "ct.curriculum"},
        {"SELECT ct_levels('linear', 0, 1)", "key=value"},
        {"SELECT ct_levels('', 0, 0)", "at least one step"},
        {"SELECT ct_levels('s0=20 s1=10', 0, 1)", "s0 <= s1"},
        {"SELECT ct_sigma('', 11, 11)", "no such noise level"},
        {"SELECT ct_weight('', 10, 11)", "no such noise level"},
        {"SELECT toy_loss(1, 0.1, 10, 0, 0, 0)", "sigma_min < sigma_max"},
    };
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        double value = 0;
        Error error;
        assert_false(store_query(store, mistakes[i].sql, NULL, 0, keep_first, &value, &error));
        assert_non_null(strstr(error.text, mistakes[i].said));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(schedules_are_those_that_train),
        STORE_TEST(settings_hold_for_their_own_call),
        STORE_TEST(proposition_is_the_exact_one),
        STORE_TEST(settings_are_those_of_run_and_experiment),
        STORE_TEST(mistakes_are_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
