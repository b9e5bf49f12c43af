/* A consistency model small enough for tests of the method: 8 x 8 images of two kinds, a network of a few
 * thousand parameters with every part that matters here (attention, dropout, labels). Include it after
 * <cmocka.h>. */
#ifndef ICT_TESTS_TOY_H
#define ICT_TESTS_TOY_H

#include "train/network.h"
#include "train/trainer.h"

#include <stdlib.h>
#include <string.h>

enum { TOY_SIZE = 8, TOY_IMAGES = 50, TOY_PIXELS = TOY_SIZE * TOY_SIZE * 3 };

static inline ModelConfig toy_model(void) {
    return (ModelConfig){.architecture = ARCHITECTURE_SONG,
                         .channels = 8,
                         .multipliers = {1, 2},
                         .levels = 2,
                         .blocks = 1,
                         .attention = {4},
                         .attentions = 1,
                         .embedding = EMBED_FOURIER,
                         .fourier_scale = 0.02f,
                         .noise_scale = 1,
                         .noise_multiplier = 2,
                         .embedding_multiplier = 4,
                         .encoder = ENCODER_RESIDUAL,
                         .filter = {1, 3, 3, 1},
                         .filter_taps = 4,
                         .dropout = 0.3f};
}

static inline CtConfig toy_ct(void) {
    return (CtConfig){.sigma_min = 0.002,
                      .sigma_max = 80,
                      .sigma_data = 0.5,
                      .rho = 7,
                      .sigma_shift = true,
                      .curriculum = CURRICULUM_EXPONENTIAL,
                      .s0 = 4,
                      .s1 = 16,
                      .noise = NOISE_LOGNORMAL,
                      .p_mean = -1.1,
                      .p_std = 2.0,
                      .weighting = WEIGHTING_INVERSE_GAP,
                      .distance = DISTANCE_PSEUDO_HUBER};
}

static inline TrainConfig toy_train(void) {
    return (TrainConfig){.steps = 30,
                         .batch = 8,
                         .micro_batch = 4,
                         .optimiser = {.rectified = true,
                                       .learning_rate = 1e-3,
                                       .beta1 = 0.9,
                                       .beta2 = 0.999,
                                       .epsilon = 1e-8,
                                       .ema = {0.1, 0.9},
                                       .emas = 2},
                         .tick_steps = 7,
                         .checkpoint_steps = 10};
}

static uint8_t toy_images[TOY_IMAGES * TOY_PIXELS];
static int32_t toy_labels[TOY_IMAGES];

/* Bright left halves (label 0) and dark ones (label 1), each of its own shade. */
static inline Dataset toy_data(void) {
    for (int i = 0; i < TOY_IMAGES; i++) {
        toy_labels[i] = i % 2;
        for (int p = 0; p < TOY_PIXELS; p++) {
            const bool left = p / 3 % TOY_SIZE < TOY_SIZE / 2;
            toy_images[i * TOY_PIXELS + p] = (uint8_t)((left == (i % 2 == 0) ? 180 : 20) + i);
        }
    }
    return (Dataset){.name = "toy",
                     .count = TOY_IMAGES,
                     .height = TOY_SIZE,
                     .width = TOY_SIZE,
                     .channels = 3,
                     .classes = 2,
                     .images = toy_images,
                     .labels = toy_labels,
                     .hash = {"70f"}};
}

static inline Device *toy_device(void) {
    Device *device = NULL;
    Error error;
    if (!device_open("cpu", 1, &device, &error)) fail_msg("%s", error.text);
    return device;
}

#endif
