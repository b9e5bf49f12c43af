/* The schedules against numbers that were computed independently from the papers' formulas. */
#include "ct/ct.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/unit/near.h"

/* iCT, CIFAR-10. */
static CtConfig ict(void) {
    return (CtConfig){.sigma_min = 0.002,
                      .sigma_max = 80,
                      .sigma_data = 0.5,
                      .rho = 7,
                      .sigma_shift = true,
                      .curriculum = CURRICULUM_EXPONENTIAL,
                      .s0 = 10,
                      .s1 = 1280,
                      .noise = NOISE_LOGNORMAL,
                      .p_mean = -1.1,
                      .p_std = 2.0,
                      .weighting = WEIGHTING_INVERSE_GAP};
}

/* The earlier consistency training (CM), s0 = 2. */
static CtConfig cm(int s1, double mu0) {
    CtConfig ct = ict();
    ct.curriculum = CURRICULUM_SQUARE_ROOT;
    ct.s0 = 2;
    ct.s1 = s1;
    ct.noise = NOISE_UNIFORM;
    ct.weighting = WEIGHTING_ONE;
    ct.teacher_ema = mu0;
    ct.teacher_schedule = TEACHER_CT;
    return ct;
}

static void exponential_stages_begin_at_multiples_of_K_prime(void **state) {
    (void)state;
    const CtConfig ct = ict();
    const int stage[8] = {11, 21, 41, 81, 161, 321, 641, 1281};
    for (int64_t K = 400000; K <= 800000; K += 400000) {
        for (int s = 0; s < 8; s++) {
            assert_int_equal(ct_levels(&ct, s * (K / 8), K), stage[s]);
            assert_int_equal(ct_levels(&ct, (s + 1) * (K / 8) - 1, K), stage[s]);
        }
        assert_int_equal(ct_levels(&ct, K, K), 1281);
    }
    assert_int_equal(ct_levels_limit(&ct), 1281);
}

static void exponential_survives_runs_shorter_than_its_stages(void **state) {
    (void)state;
    const CtConfig ct = ict();
    const int expected[6] = {11, 21, 41, 81, 161, 321};
    for (int k = 0; k < 6; k++) assert_int_equal(ct_levels(&ct, k, 5), expected[k]);
}

static void square_root_and_mu_are_those_of_the_earlier_paper(void **state) {
    (void)state;
    const CtConfig cifar = cm(150, 0.9), imagenet = cm(200, 0.95);
    const struct {
        int64_t k;
        int cifar_N;
        double cifar_mu;
        int imagenet_N;
        double imagenet_mu;
    } row[7] = {{0, 2, 0.81, 2, 0.9025},
                {1, 3, 0.9, 3, 0.95},
                {1000, 6, 0.95873, 8, 0.98545},
                {10000, 17, 0.98692, 23, 0.99535},
                {100000, 54, 0.99603, 72, 0.99856},
                {400000, 107, 0.99801, 143, 0.99928},
                {800000, 151, 0.9986, 201, 0.99949}};
    for (int r = 0; r < 7; r++) {
        assert_int_equal(ct_levels(&cifar, row[r].k, 800000), row[r].cifar_N);
        assert_int_equal(ct_levels(&imagenet, row[r].k, 800000), row[r].imagenet_N);
        NEAR(ct_teacher_decay(&cifar, row[r].cifar_N), row[r].cifar_mu, 5.1e-6);
        NEAR(ct_teacher_decay(&imagenet, row[r].imagenet_N), row[r].imagenet_mu, 5.1e-6);
    }
}

static void every_curriculum_joins_s0_and_s1(void **state) {
    (void)state;
    CtConfig ct = ict();
    const struct {
        Curriculum curriculum;
        int at[5]; /* k = 0, 250, 500, 750, 1000 of 1000 */
    } row[] = {{CURRICULUM_CONSTANT, {1281, 1281, 1281, 1281, 1281}},
               {CURRICULUM_LINEAR, {11, 329, 646, 964, 1281}},
               {CURRICULUM_SQUARE, {11, 91, 329, 726, 1281}},
               {CURRICULUM_COSINE, {11, 197, 646, 1096, 1281}},
               {CURRICULUM_SQUARE_ROOT, {10, 641, 906, 1110, 1281}},
               {CURRICULUM_EXPONENTIAL, {11, 41, 161, 641, 1281}}};
    for (size_t r = 0; r < sizeof row / sizeof row[0]; r++) {
        ct.curriculum = row[r].curriculum;
        for (int q = 0; q <= 4; q++) assert_int_equal(ct_levels(&ct, 250 * q, 1000), row[r].at[q]);
    }
}

/* iCT's settings at K = 400,000, from exact rational arithmetic; the curricula in the enum's order. */
static void curricula_at_chosen_steps(void **state) {
    (void)state;
    CtConfig ct = ict();
    const struct {
        int64_t k;
        int levels[CURRICULUM_EXPONENTIAL + 1];
    } row[] = {{0, {1281, 10, 11, 11, 11, 11}},
               {1, {1281, 11, 12, 12, 12, 11}},
               {1000, {1281, 65, 15, 12, 12, 11}},
               {49999, {1281, 453, 170, 31, 60, 11}},
               {50000, {1281, 453, 170, 31, 60, 21}},
               {123456, {1281, 712, 403, 132, 287, 41}},
               {399999, {1281, 1281, 1281, 1281, 1281, 1281}},
               {400000, {1281, 1281, 1281, 1281, 1281, 1281}}};
    for (size_t r = 0; r < sizeof row / sizeof row[0]; r++) {
        for (int c = CURRICULUM_CONSTANT; c <= CURRICULUM_EXPONENTIAL; c++) {
            ct.curriculum = (Curriculum)c;
            assert_int_equal(ct_levels(&ct, row[r].k, 400000), row[r].levels[c]);
        }
    }
}

/* OpenAI's code floors the intervals at 1: one pair of levels at the start, where the formula gives one as
 * well only because s0 = 2; mu divides by the intervals, so mu(0) = mu_0^s0. */
static void the_original_codes_off_by_ones(void **state) {
    (void)state;
    CtConfig ct = cm(150, 0.9);
    assert_int_equal(ct_levels(&ct, 0, 800000), 2);
    assert_int_equal(ct_levels(&ct, 799999, 800000), 151);
    NEAR(ct_teacher_decay(&ct, 2), 0.9 * 0.9, 1e-12);
    NEAR(ct_teacher_decay(&ct, 3), 0.9, 1e-12);
    ct.s0 = 1; /* the formula gives 0 intervals */
    assert_int_equal(ct_levels(&ct, 0, 800000), 2);
}

static void curricula_never_go_back(void **state) {
    (void)state;
    CtConfig ct = ict();
    for (int c = CURRICULUM_CONSTANT; c <= CURRICULUM_EXPONENTIAL; c++) {
        ct.curriculum = (Curriculum)c;
        for (int k = 1, last = ct_levels(&ct, 0, 997); k <= 997; k++) {
            const int N = ct_levels(&ct, k, 997);
            assert_in_range(N, last, ct_levels_limit(&ct));
            last = N;
        }
    }
}

static void eleven_levels(void **state) {
    (void)state;
    const CtConfig ct = ict();
    const double sigma[11] = {.002,    .01672,   .08509,   .31828,   .96542, 2.51522,
                              5.83895, 12.38158, 24.40834, 45.31373, 80};
    const double law[10] = {.06263, .18174, .2455, .21349, .14245, .0806, .04108, .01958, .00894, .00398};
    double p[10], expectation = 0;
    NEAR(ct_pair_probabilities(&ct, 11, p), 0.99166, 5.1e-6);
    for (int i = 0; i < 11; i++) NEAR(ct_sigma(&ct, i, 11), sigma[i], 5.1e-6);
    for (int i = 0; i < 10; i++) NEAR(p[i], law[i], 5.1e-6);
    for (int i = 0; i < 10; i++) expectation += p[i] * ct_weight(&ct, i, 11);
    NEAR(expectation, 8.42, 0.0051);
    NEAR(ct_weight(&ct, 0, 11), 67.93, 0.0051);
    NEAR(ct_weight(&ct, 9, 11), 0.0288, 5.1e-5);
}

/* E_p[lambda], E_p[ln sigma_i], the likeliest pair and the lower sigma of the median pair. */
typedef struct LawSummary {
    double weight, log_sigma, median;
    int likeliest;
} LawSummary;

static LawSummary law_summary(const CtConfig *ct, int N) {
    double *p = calloc((size_t)N - 1, sizeof(double)), below = 0;
    LawSummary s = {0};
    ct_pair_probabilities(ct, N, p);
    for (int i = 0; i < N - 1; i++) {
        s.weight += p[i] * ct_weight(ct, i, N);
        s.log_sigma += p[i] * log(ct_sigma(ct, i, N));
        if (below < 0.5 && below + p[i] >= 0.5) s.median = ct_sigma(ct, i, N);
        below += p[i];
        if (p[i] > p[s.likeliest]) s.likeliest = i;
    }
    free(p);
    return s;
}

static void twenty_one_and_1281_levels(void **state) {
    (void)state;
    const CtConfig ct = ict();
    NEAR(law_summary(&ct, 11).median, 0.3183, 5.1e-5);
    const LawSummary coarse = law_summary(&ct, 21), fine = law_summary(&ct, 1281);
    NEAR(ct_weight(&ct, 0, 21), 234.4, 0.051);
    NEAR(ct_weight(&ct, 19, 21), 0.0514, 5.1e-5);
    NEAR(coarse.weight, 17.4529, 5.1e-5);
    assert_int_equal(coarse.likeliest, 5);
    NEAR(ct_weight(&ct, 0, 1281), 25584.7, 0.051);
    NEAR(ct_weight(&ct, 1279, 1281), 2.936, 5.1e-4);
    NEAR(fine.weight, 1129.136, 5.1e-4);
    assert_int_equal(fine.likeliest, 329);
    NEAR(fine.median, 0.3335, 5.1e-5);
    NEAR(fine.log_sigma, -1.0931, 5.1e-5);
}

static void the_sampling_levels_of_the_paper_are_grid_points(void **state) {
    (void)state;
    const CtConfig ct = ict();
    NEAR(ct_sigma(&ct, 492, 1281), 0.82087, 5.1e-6);
    NEAR(ct_sigma(&ct, 571, 1281), 1.52577, 5.1e-6);
    NEAR(ct_sigma(&ct, 466, 1281), 0.66098, 5.1e-6);
    NEAR(ct_sigma(&ct, 513, 1281), 0.97318, 5.1e-6);
}

static void the_mass_does_not_depend_on_N(void **state) {
    (void)state;
    const CtConfig ct = ict();
    double p[1280];
    for (int N = 2; N <= 1281; N = 2 * N - 1) {
        NEAR(ct_pair_probabilities(&ct, N, p), 0.99166, 5.1e-6);
        double total = 0;
        for (int i = 0; i < N - 1; i++) total += p[i];
        NEAR(total, 1, 1e-12);
    }
}

/* Far above the mean erf() is 1 to the last digit; the law must keep its shape there. */
static void the_law_keeps_its_digits_in_a_tail(void **state) {
    (void)state;
    CtConfig ct = ict();
    ct.p_mean = -30;
    double low[40], high[40];
    ct_pair_probabilities(&ct, 41, low);
    for (int i = 1; i < 40; i++) assert_true(low[i] > 0 && low[i] < low[i - 1]);
    /* Mirrored: ln sigma -> -ln sigma + const maps one tail to the other on a logarithmic grid. */
    ct.rho = 1e6;
    ct.p_mean = log(0.002) - 20;
    ct_pair_probabilities(&ct, 41, low);
    ct.p_mean = log(80) + 20;
    ct_pair_probabilities(&ct, 41, high);
    for (int i = 0; i < 40; i++) NEAR(log(low[i]) - log(high[39 - i]), 0, 1e-3);
}

static void thresholds_draw_the_law(void **state) {
    (void)state;
    CtConfig ct = ict();
    for (int law = NOISE_UNIFORM; law <= NOISE_LOGNORMAL; law++) {
        ct.noise = (NoiseLaw)law;
        double p[1280];
        ct_pair_probabilities(&ct, 1281, p);
        LevelTable table = ct_table(&ct, 1281);
        int64_t before = -1;
        for (int i = 0; i < 1280; i++) {
            NEAR(((double)table.threshold[i] - (double)before) / 4294967296.0, p[i], 3e-10);
            before = table.threshold[i];
        }
        assert_int_equal(before, UINT32_MAX);
        ct_table_free(&table);
    }
}

static void table_holds_the_coefficients(void **state) {
    (void)state;
    const CtConfig ct = ict();
    LevelTable table = ct_table(&ct, 11);
    assert_int_equal(table.levels, 11);
    assert_true(table.level[0].c_skip == 1 && table.level[0].c_out == 0);
    assert_true(table.level[0].weight == 0);
    for (int i = 1; i < 11; i++) {
        const double sigma = ct_sigma(&ct, i, 11), norm = sqrt(sigma * sigma + 0.25), above = sigma - 0.002;
        NEAR(table.level[i].sigma / sigma, 1, 1e-7);
        NEAR(table.level[i].c_in * norm, 1, 1e-6);
        NEAR(table.level[i].c_skip * (above * above + 0.25), 0.25, 1e-7);
        NEAR(table.level[i].c_out * norm / above, 0.5, 1e-6);
        NEAR(table.level[i].c_noise, log(sigma) / 4, 1e-6);
        NEAR(table.level[i].weight / ct_weight(&ct, i - 1, 11), 1, 1e-6);
    }
    ct_table_free(&table);
}

static void the_shift_is_a_choice(void **state) {
    (void)state;
    CtConfig ct = ict();
    ct.sigma_shift = false;
    const Level level = ct_level(&ct, 0.5);
    NEAR(level.c_skip, 0.5, 1e-7);
    NEAR(level.c_out, 0.5 * 0.5 / sqrt(0.5), 1e-7);
}

static void weightings_teachers_and_c(void **state) {
    (void)state;
    CtConfig ct = ict();
    NEAR(ct_huber_c(&ct, 3072), 0.02993, 5.1e-6);
    NEAR(ct_huber_c(&ct, 12288), 0.05986, 5.1e-6);
    ct.huber_c = 0.06;
    NEAR(ct_huber_c(&ct, 3072), 0.06, 0);
    NEAR(ct_teacher_decay(&ct, 11), 0, 0);
    ct.teacher_schedule = TEACHER_CT;
    NEAR(ct_teacher_decay(&ct, 11), 0, 0);
    ct.teacher_schedule = TEACHER_FIXED;
    ct.teacher_ema = 0.99;
    NEAR(ct_teacher_decay(&ct, 1281), 0.99, 0);
    ct.weighting = WEIGHTING_ONE;
    NEAR(ct_weight(&ct, 0, 1281), 1, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exponential_stages_begin_at_multiples_of_K_prime),
        cmocka_unit_test(exponential_survives_runs_shorter_than_its_stages),
        cmocka_unit_test(square_root_and_mu_are_those_of_the_earlier_paper),
        cmocka_unit_test(every_curriculum_joins_s0_and_s1),
        cmocka_unit_test(curricula_at_chosen_steps),
        cmocka_unit_test(the_original_codes_off_by_ones),
        cmocka_unit_test(curricula_never_go_back),
        cmocka_unit_test(eleven_levels),
        cmocka_unit_test(twenty_one_and_1281_levels),
        cmocka_unit_test(the_sampling_levels_of_the_paper_are_grid_points),
        cmocka_unit_test(the_mass_does_not_depend_on_N),
        cmocka_unit_test(the_law_keeps_its_digits_in_a_tail),
        cmocka_unit_test(thresholds_draw_the_law),
        cmocka_unit_test(table_holds_the_coefficients),
        cmocka_unit_test(the_shift_is_a_choice),
        cmocka_unit_test(weightings_teachers_and_c),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
