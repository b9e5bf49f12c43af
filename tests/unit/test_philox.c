/* Random numbers: the generator against the published known answers, its normals against double arithmetic
 * and against the law they claim to follow, and the data order made of it. All draws are fixed, so a test
 * that passes stays passed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "backend/order.h"

enum { DRAWS = 1 << 20 };

/* Random123's kat_vectors file, lines "philox4x32 10": counter, key, result. */
static void philox_gives_the_published_answers(void **state) {
    (void)state;
    static const uint32_t cases[3][10] = {{0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
                                          {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff,
                                           0xffffffff, 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
                                          {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822,
                                           0x299f31d0, 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}};
    for (int i = 0; i < 3; i++) {
        const Random4 block = philox4x32(cases[i], cases[i][4], cases[i][5]);
        assert_memory_equal(block.x, cases[i] + 6, sizeof block.x);
    }
}

static void every_part_of_the_key_matters(void **state) {
    (void)state;
    const RandomKey key = {.seed = 7, .stream = STREAM_NOISE, .step = 11, .sample = 13};
    RandomKey others[5] = {key, key, key, key, key};
    others[0].seed ^= 1;
    others[1].seed ^= 1ull << 32;
    others[2].stream++;
    others[3].step++;
    others[4].sample++;
    const Random4 block = random_block(key, 17), next = random_block(key, 18);
    assert_memory_not_equal(block.x, next.x, sizeof block.x);
    for (int i = 0; i < 5; i++) {
        const Random4 other = random_block(others[i], 17);
        assert_memory_not_equal(block.x, other.x, sizeof block.x);
    }
}

static void uniforms_stay_inside_the_open_interval(void **state) {
    (void)state;
    assert_true(random_uniform(0) == 0x1p-24f);
    assert_true(random_uniform(UINT32_MAX) == 1 - 0x1p-24f);
    assert_true(random_uniform(1u << 31) > 0.5f && random_uniform((1u << 31) - 1) < 0.5f);
}

static double ulps(float got, double expected) {
    return fabs(got - expected) / ldexp(1, ilogb(expected) - 23);
}

static void log_is_within_one_ulp(void **state) {
    (void)state;
    double worst = 0;
    for (uint32_t word = 0; word < 1u << 23; word++) {
        const float u = random_uniform(word << 9);
        worst = fmax(worst, ulps(philox_log(u), log(u)));
    }
    assert_true(worst < 1);
}

static double worst_of_pair(uint32_t word1, uint32_t word2) {
    const NormalPair pair = random_normal_pair(word1, word2);
    const double length = sqrt(-2 * log(random_uniform(word1))), angle = 2 * M_PI * random_uniform(word2);
    return fmax(ulps(pair.a, length * cos(angle)), ulps(pair.b, length * sin(angle)));
}

static void normals_are_within_three_ulps_of_box_and_muller(void **state) {
    (void)state;
    double worst = 0;
    for (uint32_t i = 0; i < DRAWS; i++) {
        const uint32_t even = i * 4096 + (i >> 8), scattered = i * 2654435761u;
        worst = fmax(worst, worst_of_pair(even, scattered));
        worst = fmax(worst, worst_of_pair(scattered, even));
    }
    assert_true(worst < 3);
    const NormalPair largest = random_normal_pair(0, 0), smallest = random_normal_pair(UINT32_MAX, 0);
    assert_true(fabsf(largest.a - 5.768107f) < 1e-5f && largest.b > 0 && largest.b < 1e-5f);
    assert_true(smallest.a > 0 && smallest.a < 4e-4f && smallest.b > 0);
}

/* The same bits on every machine and compiler: CUDA's tests pin the same numbers. */
static void normals_are_pinned(void **state) {
    (void)state;
    const RandomKey key = {.seed = 1, .stream = STREAM_NOISE, .step = 2, .sample = 3};
    const Normal4 normals = random_normal4(random_block(key, 4));
    static const float expected[4] = {-0x1.3498e2p+0f, -0x1.09ad62p-4f, 0x1.99b27ep+0f, -0x1.dbf3ap-1f};
    for (int i = 0; i < 4; i++) assert_true(normals.x[i] == expected[i]);
}

static float *normals_draw(void) {
    float *normals = malloc(DRAWS * sizeof *normals);
    assert_non_null(normals);
    const RandomKey key = {.seed = 2024, .stream = STREAM_NOISE, .step = 5, .sample = 6};
    for (uint32_t block = 0; block < DRAWS / 4; block++) {
        const Normal4 four = random_normal4(random_block(key, block));
        for (uint32_t i = 0; i < 4; i++) normals[4 * block + i] = four.x[i];
    }
    return normals;
}

/* Each bound is four to five standard deviations of the statistic for this many draws. */
static void normals_have_the_moments_and_tails_of_the_law(void **state) {
    (void)state;
    float *normals = normals_draw();
    double sums[5] = {0}, neighbours = 0, tails[5] = {0};
    for (int i = 0; i < DRAWS; i++) {
        const double z = normals[i];
        for (int power = 1; power <= 4; power++) sums[power] += pow(z, power) / DRAWS;
        if (i) neighbours += z * normals[i - 1] / DRAWS;
        for (int bound = 1; bound < 5; bound++) tails[bound] += fabs(z) > bound;
    }
    free(normals);
    const double unit = 4.5 / sqrt(DRAWS);
    assert_true(fabs(sums[1]) < unit && fabs(sums[2] - 1) < sqrt(2) * unit);
    assert_true(fabs(sums[3]) < sqrt(15) * unit && fabs(sums[4] - 3) < sqrt(96) * unit);
    assert_true(fabs(neighbours) < unit);
    for (int bound = 1; bound < 5; bound++) {
        const double expected = DRAWS * erfc(bound / sqrt(2));
        assert_true(fabs(tails[bound] - expected) < 4.5 * sqrt(expected));
    }
}

static int float_compare(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Kolmogorov and Smirnov: sqrt(n) times the largest distance of the laws exceeds 1.95 once in a thousand. */
static void normals_follow_the_normal_law(void **state) {
    (void)state;
    float *normals = normals_draw();
    qsort(normals, DRAWS, sizeof *normals, float_compare);
    double distance = 0;
    for (int i = 0; i < DRAWS; i++) {
        const double law = 0.5 * erfc(-normals[i] / sqrt(2));
        distance = fmax(distance, fmax(fabs(law - (double)i / DRAWS), fabs(law - (i + 1.0) / DRAWS)));
    }
    free(normals);
    assert_true(distance * sqrt(DRAWS) < 1.95);
}

static void order_is_a_permutation(void **state) {
    (void)state;
    static const uint32_t counts[] = {1, 2, 3, 4, 5, 16, 17, 1000, 50000, 65537};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        uint8_t *seen = calloc(counts[c], 1);
        assert_non_null(seen);
        for (uint32_t i = 0; i < counts[c]; i++) {
            const uint32_t place = order_permute(9, 3, i, counts[c]);
            assert_true(place < counts[c]);
            assert_int_equal(seen[place]++, 0);
        }
        free(seen);
    }
}

/* A random permutation has one fixed point, on average, one position that agrees with another permutation,
 * and ranks uncorrelated with positions (standard deviation 1 / sqrt(count)). */
static void order_looks_random_and_differs_by_epoch_and_seed(void **state) {
    (void)state;
    enum { COUNT = 50000 };
    for (uint32_t epoch = 0; epoch < 4; epoch++) {
        int fixed = 0, same_epoch = 0, same_seed = 0, steps_up = 0;
        double correlation = 0, serial = 0, before = 0;
        for (uint32_t i = 0; i < COUNT; i++) {
            const uint32_t place = order_permute(9, epoch, i, COUNT);
            fixed += place == i;
            same_epoch += place == order_permute(9, epoch + 1, i, COUNT);
            same_seed += place == order_permute(10, epoch, i, COUNT);
            const double x = (i + 0.5) / COUNT - 0.5, y = (place + 0.5) / COUNT - 0.5;
            correlation += 12 * x * y / COUNT;
            serial += 12 * before * y / COUNT;
            steps_up += y > before;
            before = y;
        }
        assert_true(fixed < 8 && same_epoch < 8 && same_seed < 8);
        assert_true(fabs(correlation) < 4.5 / sqrt(COUNT) && fabs(serial) < 4.5 / sqrt(COUNT));
        assert_true(abs(steps_up - COUNT / 2) < 4.5 * sqrt(COUNT / 12.0));
    }
}

/* Over many epochs each place must receive each image equally often. (Four Feistel rounds are uneven by a
 * quarter for sets of 5 to 8 images; from 16 on nothing is left of that.) */
static void order_of_a_small_set_is_even_over_epochs(void **state) {
    (void)state;
    enum { COUNT = 20, EPOCHS = 20000 };
    int hits[COUNT][COUNT] = {0};
    for (uint32_t epoch = 0; epoch < EPOCHS; epoch++)
        for (uint32_t i = 0; i < COUNT; i++) hits[i][order_permute(4, epoch, i, COUNT)]++;
    for (int i = 0; i < COUNT; i++)
        for (int j = 0; j < COUNT; j++) assert_true(abs(hits[i][j] - EPOCHS / COUNT) < 160);
}

static void order_runs_on_over_the_end_of_an_epoch(void **state) {
    (void)state;
    enum { COUNT = 10, BATCH = 4 };
    int seen[COUNT] = {0};
    for (uint32_t i = 0; i < 2 * COUNT; i++) {
        const uint32_t image = order_image(5, i / BATCH, BATCH, i % BATCH, COUNT);
        assert_int_equal(seen[image]++, i / COUNT);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_published_answers),
        cmocka_unit_test(every_part_of_the_key_matters),
        cmocka_unit_test(uniforms_stay_inside_the_open_interval),
        cmocka_unit_test(log_is_within_one_ulp),
        cmocka_unit_test(normals_are_within_three_ulps_of_box_and_muller),
        cmocka_unit_test(normals_are_pinned),
        cmocka_unit_test(normals_have_the_moments_and_tails_of_the_law),
        cmocka_unit_test(normals_follow_the_normal_law),
        cmocka_unit_test(order_is_a_permutation),
        cmocka_unit_test(order_looks_random_and_differs_by_epoch_and_seed),
        cmocka_unit_test(order_of_a_small_set_is_even_over_epochs),
        cmocka_unit_test(order_runs_on_over_the_end_of_an_epoch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
