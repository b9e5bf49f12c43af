/* Sampling: the formulas of one and two steps, noise that belongs to the image, and the way to bytes. */
#include "ct/sampler.h"

#include "base/philox.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "tests/unit/near.h"
#include "tests/unit/toy.h"

typedef struct Bench {
    CtConfig ct;
    ModelConfig model;
    Device *device;
    ParamSet params;
    Network network;
    Sampler *sampler;
    float *weights;
} Bench;

static Bench *bench_make(ModelConfig model, int n) {
    Bench *b = calloc(1, sizeof *b);
    b->ct = toy_ct();
    b->model = model;
    b->device = toy_device();
    b->network = network_create(&b->model, &b->params, b->device, n, TOY_SIZE, 3, false, PRECISION_FP32);
    b->sampler = sampler_create(&b->ct, &b->network, b->device);
    b->weights = calloc((size_t)b->params.total, sizeof(float));
    param_initialise(&b->params, 3, b->weights);
    for (int64_t i = b->params.frozen; i < b->params.total; i++)
        b->weights[i] += 0.05f * (float)((i * 37) % 11 - 5) / 5;
    return b;
}

static void bench_free(Bench *b) {
    sampler_free(b->sampler);
    network_free(&b->network);
    param_free(&b->params);
    device_close(b->device);
    free(b->weights);
    free(b);
}

static void draw(Bench *b, int nfe, uint32_t first, int count, const int32_t *labels, float *images) {
    const SamplerConfig config = {.nfe = nfe, .sigmas = {0.8, 0.3}};
    sampler_draw(b->sampler, &config, b->weights, b->weights, first, count, labels, images);
}

static void apply(Bench *b, const float *x, float sigma, bool raw, float *out) {
    sampler_apply(b->sampler, b->weights, b->weights, x, &sigma, NULL, 1, raw, out);
}

/* x += scale * z of image `seed` at sampling step `step`. */
static void noise_add(float *x, double scale, uint32_t seed, uint32_t step) {
    const RandomKey key = {.seed = 0, .stream = STREAM_LATENT, .step = step, .sample = seed};
    for (int i = 0; i < TOY_PIXELS; i++) {
        x[i] += (float)scale * random_normal4(random_block(key, (uint32_t)i / 4)).x[i % 4];
    }
}

static void images_near(const float *a, const float *b, double tolerance) {
    for (int i = 0; i < TOY_PIXELS; i++) NEAR(a[i], b[i], tolerance);
}

static void steps_follow_the_algorithm(void **state) {
    (void)state;
    Bench *b = bench_make(toy_model(), 3);
    float drawn[TOY_PIXELS], x[TOY_PIXELS] = {0};
    const double tau[3] = {80, 0.8, 0.3};
    for (int nfe = 1; nfe <= 3; nfe++) {
        const double added = nfe == 1 ? 80 : sqrt(tau[nfe - 1] * tau[nfe - 1] - 0.002 * 0.002);
        noise_add(x, added, 17, (uint32_t)nfe - 1);
        apply(b, x, (float)tau[nfe - 1], false, x);
        draw(b, nfe, 17, 1, NULL, drawn);
        images_near(drawn, x, 1e-5);
    }
    bench_free(b);
}

/* One step leaves a picture that reaches beyond [-1, 1]; the second sees it clipped, or as it is. */
static void images_are_clipped_between_steps_when_asked(void **state) {
    (void)state;
    Bench *b = bench_make(toy_model(), 3);
    SamplerConfig config = {.nfe = 2, .sigmas = {0.8}};
    float one[TOY_PIXELS], drawn[2][TOY_PIXELS], expected[2][TOY_PIXELS];
    for (int64_t i = b->params.frozen; i < b->params.total; i++) b->weights[i] *= 4;
    draw(b, 1, 17, 1, NULL, one);
    float largest = 0;
    for (int i = 0; i < TOY_PIXELS; i++) largest = fmaxf(largest, fabsf(one[i]));
    assert_true(largest > 1.05f);
    for (int clip = 0; clip < 2; clip++) {
        config.clip = clip;
        sampler_draw(b->sampler, &config, b->weights, b->weights, 17, 1, NULL, drawn[clip]);
        for (int i = 0; i < TOY_PIXELS; i++) expected[clip][i] = clip ? fminf(fmaxf(one[i], -1), 1) : one[i];
        noise_add(expected[clip], sqrt(0.8 * 0.8 - 0.002 * 0.002), 17, 1);
        apply(b, expected[clip], 0.8f, false, expected[clip]);
        images_near(drawn[clip], expected[clip], 1e-5);
    }
    double difference = 0;
    for (int i = 0; i < TOY_PIXELS; i++) difference += fabs((double)drawn[0][i] - (double)drawn[1][i]);
    assert_true(difference > 0.01);
    bench_free(b);
}

/* Whatever is drawn beside an image, in front of it or behind it. */
static void an_image_depends_on_its_seed_alone(void **state) {
    (void)state;
    static float many[7 * TOY_PIXELS], few[2 * TOY_PIXELS], one[TOY_PIXELS];
    Bench *three = bench_make(toy_model(), 3), *five = bench_make(toy_model(), 5);
    draw(three, 2, 40, 7, NULL, many);
    draw(five, 2, 44, 2, NULL, few);
    draw(three, 2, 45, 1, NULL, one);
    images_near(many + 4 * TOY_PIXELS, few, 1e-4);
    images_near(many + 5 * TOY_PIXELS, one, 1e-4);
    double difference = 0;
    for (int i = 0; i < TOY_PIXELS; i++) difference += fabs(many[i] - many[i + TOY_PIXELS]);
    assert_true(difference > 1);
    bench_free(three);
    bench_free(five);
}

/* The seeds' own noise, given as an array, over batches that do not divide it. */
static void latents_take_the_place_of_seeds(void **state) {
    (void)state;
    static float latents[5 * TOY_PIXELS], drawn[5 * TOY_PIXELS], given[5 * TOY_PIXELS];
    Bench *b = bench_make(toy_model(), 3);
    for (int i = 0; i < 5; i++) noise_add(latents + i * TOY_PIXELS, 1, 40 + (uint32_t)i, 0);
    const SamplerConfig config = {.nfe = 2, .sigmas = {0.8}, .latents = latents};
    draw(b, 2, 40, 5, NULL, drawn);
    sampler_draw(b->sampler, &config, b->weights, b->weights, 40, 5, NULL, given);
    for (int i = 0; i < 5; i++) images_near(given + i * TOY_PIXELS, drawn + i * TOY_PIXELS, 1e-4);
    latents[3 * TOY_PIXELS] += 1; /* of one image: only that one changes */
    sampler_draw(b->sampler, &config, b->weights, b->weights, 40, 5, NULL, given);
    images_near(given + 2 * TOY_PIXELS, drawn + 2 * TOY_PIXELS, 1e-4);
    double difference = 0;
    for (int i = 3 * TOY_PIXELS; i < 4 * TOY_PIXELS; i++)
        difference += fabs((double)given[i] - (double)drawn[i]);
    assert_true(difference > 1e-3);
    bench_free(b);
}

static void at_sigma_min_f_is_the_identity(void **state) {
    (void)state;
    Bench *b = bench_make(toy_model(), 2);
    float x[TOY_PIXELS] = {0}, f[TOY_PIXELS];
    noise_add(x, 0.5, 1, 0);
    Level level = ct_level(&b->ct, 0.002);
    assert_true(level.c_skip == 1 && level.c_out == 0);
    apply(b, x, 0.002f, false, f);
    images_near(f, x, 1e-6); /* 0.002 as a float is not sigma_min itself */
    bench_free(b);
}

static void f_is_made_of_the_bare_network(void **state) {
    (void)state;
    Bench *b = bench_make(toy_model(), 2);
    float x[TOY_PIXELS] = {0}, input[TOY_PIXELS], F[TOY_PIXELS], f[TOY_PIXELS];
    noise_add(x, 3, 1, 0);
    const Level level = ct_level(&b->ct, 3);
    for (int i = 0; i < TOY_PIXELS; i++) input[i] = level.c_in * x[i];
    apply(b, input, 3, true, F);
    apply(b, x, 3, false, f);
    double size = 0;
    for (int i = 0; i < TOY_PIXELS; i++) {
        NEAR(f[i], level.c_skip * x[i] + level.c_out * F[i], 1e-5);
        size += fabs(F[i]);
    }
    assert_true(size > 1);
    bench_free(b);
}

static void labels_reach_the_network(void **state) {
    (void)state;
    ModelConfig model = toy_model();
    model.classes = 2;
    Bench *b = bench_make(model, 2);
    static float both[3 * TOY_PIXELS], other[TOY_PIXELS];
    const int32_t labels[3] = {0, 0, 1}, one[1] = {0};
    draw(b, 1, 8, 3, labels, both);
    draw(b, 1, 10, 1, one, other);
    double difference = 0;
    for (int i = 0; i < TOY_PIXELS; i++) difference += fabs(both[2 * TOY_PIXELS + i] - other[i]);
    assert_true(difference > 0.01);
    draw(b, 1, 10, 1, labels + 2, other);
    images_near(both + 2 * TOY_PIXELS, other, 1e-5);
    bench_free(b);
}

/* Label -1: what any class gives when the network is deaf to classes. */
static void no_class_is_a_row_of_zeros(void **state) {
    (void)state;
    ModelConfig model = toy_model();
    model.classes = 2;
    Bench *b = bench_make(model, 2);
    static float none[TOY_PIXELS], deaf[TOY_PIXELS];
    const int32_t no_class[1] = {-1}, one[1] = {1};
    draw(b, 1, 4, 1, no_class, none);
    const Param *weight = param_find(&b->params, "map_label.weight");
    memset(b->weights + weight->offset, 0, (size_t)weight->count * sizeof(float));
    draw(b, 1, 4, 1, one, deaf);
    assert_memory_equal(none, deaf, sizeof none);
    bench_free(b);
}

static void bytes_are_rounded_and_clipped(void **state) {
    (void)state;
    const float x[8] = {-1, 0, 1, -7, 7, NAN, 0.999f, -0.9961f};
    const uint8_t rounded[8] = {0, 128, 255, 0, 255, 0, 255, 0},
                  truncated[8] = {0, 127, 255, 0, 255, 0, 254, 0};
    uint8_t bytes[8];
    images_to_bytes(x, 8, ROUNDING_ROUND, bytes);
    for (int i = 0; i < 8; i++) assert_int_equal(bytes[i], rounded[i]);
    images_to_bytes(x, 8, ROUNDING_TRUNC, bytes);
    for (int i = 0; i < 8; i++) assert_int_equal(bytes[i], truncated[i]);
    /* Both ways back and forth keep every byte. */
    for (int i = 0; i < 256; i++) {
        const float value = (float)i / 127.5f - 1;
        images_to_bytes(&value, 1, ROUNDING_ROUND, bytes);
        assert_int_equal(bytes[0], i);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_follow_the_algorithm),
        cmocka_unit_test(images_are_clipped_between_steps_when_asked),
        cmocka_unit_test(an_image_depends_on_its_seed_alone),
        cmocka_unit_test(latents_take_the_place_of_seeds),
        cmocka_unit_test(at_sigma_min_f_is_the_identity),
        cmocka_unit_test(f_is_made_of_the_bare_network),
        cmocka_unit_test(labels_reach_the_network),
        cmocka_unit_test(no_class_is_a_row_of_zeros),
        cmocka_unit_test(bytes_are_rounded_and_clipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
