/* Proposition 1 of iCT against numbers that were computed independently. */
#include "ct/proposition.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/near.h"

static void without_ema_the_gradient_has_a_limit(void **state) {
    (void)state;
    const ToyState toy = {.theta = 0.3, .teacher = 0.3, .xi = 0.7};
    const double expected[5] = {-0.4887, -0.37343, -0.36133, -0.36013, -0.360013};
    const double digit[5] = {5.1e-5, 5.1e-6, 5.1e-6, 5.1e-6, 5.1e-7};
    for (int e = 0, N = 10; e < 5; e++, N *= 10) {
        NEAR(toy_gradient((ToyGrid){0.1, 1, N}, toy), expected[e], digit[e]);
    }
    NEAR(toy_gradient_limit((ToyGrid){0.1, 1, 2}, toy), -0.36, 1e-12);
    NEAR(toy_gradient_limit((ToyGrid){0.002, 80, 2}, toy), -0.004999875, 1e-12);
    NEAR(toy_gradient((ToyGrid){0.002, 80, 10000}, toy), -0.00825, 5.1e-6);
    NEAR(toy_gradient((ToyGrid){0.002, 80, 100000}, toy), -0.00565, 5.1e-6);
}

static void with_ema_it_grows_without_bound(void **state) {
    (void)state;
    const ToyState behind = {.theta = 0.3, .teacher = 0.25, .xi = 0.7};
    const ToyState ahead = {.theta = 0.3, .teacher = 0.35, .xi = 0.7};
    NEAR(toy_gradient((ToyGrid){0.1, 1, 10000}, behind), 653, 0.51);
    NEAR(toy_gradient((ToyGrid){0.1, 1, 100000}, behind), 6536, 0.51);
    NEAR(toy_gradient((ToyGrid){0.1, 1, 10000}, ahead), -654, 0.51);
    NEAR(toy_gradient((ToyGrid){0.1, 1, 100000}, ahead), -6537, 0.51);
    assert_true(toy_gradient_limit((ToyGrid){0.1, 1, 2}, behind) == INFINITY);
    assert_true(toy_gradient_limit((ToyGrid){0.1, 1, 2}, ahead) == -INFINITY);
}

static void with_ema_the_loss_forgets_the_data(void **state) {
    (void)state;
    const ToyGrid grid = {0.1, 1, 100000};
    ToyState toy = {.theta = 0.3, .teacher = 0.25, .xi = 0.7};
    NEAR(toy_loss_limit(grid, toy), 0.00147079, 5.1e-9);
    NEAR(toy_loss(grid, toy), 0.00147061, 5.1e-9);
    toy.xi = -5;
    NEAR(toy_loss(grid, toy), 0.0014729, 5.1e-8);
    toy.xi = 5;
    NEAR(toy_loss(grid, toy), 0.0014689, 5.1e-8);
}

static void the_lag_costs_more_the_finer_the_grid(void **state) {
    (void)state;
    const double mu[4] = {0, 0.9, 0.99, 0.999};
    const struct {
        int N;
        double theta[4];
    } row[3] = {
        {11, {.431, .379, .185, .077}}, {41, {.381, .235, .056, .018}}, {161, {.365, .102, .015, .004}}};
    for (int r = 0; r < 3; r++) {
        for (int m = 0; m < 4; m++) {
            NEAR(toy_descent((ToyGrid){0.1, 1, row[r].N}, 0.7, mu[m], 0.002, 400), row[r].theta[m], 5.1e-4);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_ema_the_gradient_has_a_limit),
        cmocka_unit_test(with_ema_it_grows_without_bound),
        cmocka_unit_test(with_ema_the_loss_forgets_the_data),
        cmocka_unit_test(the_lag_costs_more_the_finer_the_grid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
