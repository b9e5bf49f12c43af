/* The table of all keys. To add a setting: a field in its module's struct, and a row here; YAML, overrides,
 * help, the stored configuration and the hash follow. The defaults are the paper's CIFAR-10 model (iCT,
 * section 4 and appendix B). */
#include "config/config_key.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define ONE(field) offsetof(Config, field), sizeof(((Config *)0)->field), 0, NOT_A_LIST
#define MANY(field, count)                                                             \
    offsetof(Config, field), sizeof(((Config *)0)->field[0]), offsetof(Config, count), \
        sizeof(((Config *)0)->field) / sizeof(((Config *)0)->field[0])

enum { IDENTITY = true, NO_IDENTITY = false };

const Key config_keys[] = {
    {"task", KEY_WORD, ONE(task), IDENTITY, "consistency", "consistency|classifier",
     "what is trained: a consistency model, or a classifier as judge or loss network (section classifier)"},
    {"seed", KEY_INT, ONE(seed), IDENTITY, "0", "[0, inf)", "initial weights, data order, noise and dropout"},
    {"precision", KEY_WORD, ONE(precision), IDENTITY, "fp32", "fp32|tf32|bf16|fp16",
     "of activations and convolutions; the CPU has fp32"},

    {"data.name", KEY_NAME, ONE(data.name), IDENTITY, "cifar10", NULL,
     "a set under data/, or the built-in shapes"},
    {"data.resolution", KEY_INT, ONE(data.resolution), IDENTITY, "0", "[0, 1024]",
     "of shapes (0: 32); stored sets have their own"},
    {"data.count", KEY_INT, ONE(data.count), IDENTITY, "0", "[0, inf)",
     "how many shapes to draw (0: 10000); of a stored set the first so many (0: all)"},
    {"data.seed", KEY_INT, ONE(data.seed), IDENTITY, "0", "[0, inf)", "of shapes"},
    {"data.flip", KEY_BOOL, ONE(data.flip), IDENTITY, "true", NULL, "mirror images left to right at random"},

    {"model.architecture", KEY_WORD, ONE(model.architecture), IDENTITY, "song", "song|adm",
     "song: NCSN++ and DDPM++ (EDM's SongUNet); adm: ADM (DhariwalUNet)"},
    {"model.channels", KEY_INT, ONE(model.channels), IDENTITY, "128", "[4, 4096]", "base width"},
    {"model.channel_mult", KEY_INT, MANY(model.multipliers, model.levels), IDENTITY, "[2, 2, 2]", "[1, 64]",
     "width of each resolution, from the highest, in base widths"},
    {"model.blocks", KEY_INT, ONE(model.blocks), IDENTITY, "4", "[1, 64]",
     "residual blocks at each resolution"},
    {"model.attention", KEY_INT, MANY(model.attention, model.attentions), IDENTITY, "[16]", "[1, 1024]",
     "resolutions with self-attention"},
    {"model.head_channels", KEY_INT, ONE(model.head_channels), IDENTITY, "0", "[0, 4096]",
     "channels of an attention head; 0: a single head"},
    {"model.embedding", KEY_WORD, ONE(model.embedding), IDENTITY, "fourier", "fourier|positional",
     "of the noise level"},
    {"model.fourier_scale", KEY_NUMBER, ONE(model.fourier_scale), IDENTITY, "0.02", "(0, 1000]",
     "of the Fourier embedding: 16 in CM, 0.02 in iCT"},
    {"model.noise_scale", KEY_NUMBER, ONE(model.noise_scale), IDENTITY, "1", "(0, 1000000]",
     "multiplies c_noise = ln(sigma)/4; OpenAI's ADM weights need 1000"},
    {"model.noise_mult", KEY_INT, ONE(model.noise_multiplier), IDENTITY, "2", "[1, 16]",
     "width of the noise embedding, in base widths"},
    {"model.embedding_mult", KEY_INT, ONE(model.embedding_multiplier), IDENTITY, "4", "[1, 16]",
     "width of the embedding's MLP, in base widths"},
    {"model.encoder", KEY_WORD, ONE(model.encoder), IDENTITY, "residual", "standard|residual|skip",
     "residual: NCSN++'s learned pyramid of the input; skip: the input itself, made smaller (song)"},
    {"model.decoder", KEY_WORD, ONE(model.decoder), IDENTITY, "standard", "standard|skip",
     "skip: an image at every resolution, added up (song)"},
    {"model.filter", KEY_INT, MANY(model.filter, model.filter_taps), IDENTITY, "[1, 3, 3, 1]", "[0, 1000]",
     "taps of the resampling filter, not normalised: [1, 1] or [1, 3, 3, 1]"},
    {"model.dropout", KEY_NUMBER, ONE(model.dropout), IDENTITY, "0.3", "[0, 1)", "in every residual block"},
    {"model.dropout_max_resolution", KEY_INT, ONE(model.dropout_max_resolution), IDENTITY, "0", "[0, 1024]",
     "dropout only at resolutions up to this one; 0: everywhere"},
    {"model.scale_shift", KEY_BOOL, ONE(model.scale_shift), IDENTITY, "false", NULL,
     "the embedding scales and shifts (adaptive group norm) instead of being added"},
    {"model.class_conditional", KEY_BOOL, ONE(class_conditional), IDENTITY, "false", NULL,
     "the network sees the class; the data set says how many there are"},
    {"model.label_dropout", KEY_NUMBER, ONE(model.label_dropout), IDENTITY, "0", "[0, 1)",
     "share of the training images whose class is hidden from the network"},
    {"model.augment_dim", KEY_INT, ONE(model.augment_dim), IDENTITY, "0", "[0, 64]",
     "EDM's augmentation labels, for converted weights; 0: none"},

    {"ct.sigma_min", KEY_NUMBER, ONE(ct.sigma_min), IDENTITY, "0.002", "(0, inf)",
     "the lowest noise level, where f(x) = x"},
    {"ct.sigma_max", KEY_NUMBER, ONE(ct.sigma_max), IDENTITY, "80", "(0, inf)",
     "the highest noise level, where sampling starts"},
    {"ct.sigma_data", KEY_NUMBER, ONE(ct.sigma_data), IDENTITY, "0.5", "(0, inf)",
     "standard deviation of the data"},
    {"ct.rho", KEY_NUMBER, ONE(ct.rho), IDENTITY, "7", "(0, 1000]", "curvature of the Karras grid"},
    {"ct.sigma_shift", KEY_BOOL, ONE(ct.sigma_shift), IDENTITY, "true", NULL,
     "c_skip and c_out see sigma - sigma_min (CM); false: sigma (ECT)"},
    {"ct.curriculum", KEY_WORD, ONE(ct.curriculum), IDENTITY, "exponential",
     "constant|square_root|linear|square|cosine|exponential", "how the number of levels N(k) grows"},
    {"ct.s0", KEY_INT, ONE(ct.s0), IDENTITY, "10", "[1, 1000000]",
     "intervals at the start; N = s0 + 1 levels"},
    {"ct.s1", KEY_INT, ONE(ct.s1), IDENTITY, "1280", "[1, 1000000]", "intervals at the end"},
    {"ct.noise", KEY_WORD, ONE(ct.noise), IDENTITY, "lognormal", "uniform|lognormal",
     "law of the noise level in training"},
    {"ct.p_mean", KEY_NUMBER, ONE(ct.p_mean), IDENTITY, "-1.1", "[-100, 100]",
     "mean of ln(sigma), lognormal law"},
    {"ct.p_std", KEY_NUMBER, ONE(ct.p_std), IDENTITY, "2", "(0, 100]",
     "standard deviation of ln(sigma), lognormal law"},
    {"ct.weighting", KEY_WORD, ONE(ct.weighting), IDENTITY, "inverse_gap", "one|inverse_gap",
     "lambda: 1, or 1/(sigma_i+1 - sigma_i)"},
    {"ct.distance", KEY_WORD, ONE(ct.distance), IDENTITY, "pseudo_huber", "pseudo_huber|l2|l1|perceptual",
     "between student and teacher; l2 is squared, l2 and l1 are means over pixels, perceptual is LPIPS's"},
    {"ct.huber_c", KEY_NUMBER, ONE(ct.huber_c), IDENTITY, "0", "[0, inf)",
     "c of pseudo-Huber; 0: 0.00054 sqrt(d)"},
    {"ct.perceptual", KEY_NAME, ONE(ct.perceptual.name), IDENTITY, "vgg16-lpips", NULL,
     "the network of the perceptual distance, a name under weights/; classifier: the data set's loss "
     "network"},
    {"ct.perceptual_hash", KEY_NAME, ONE(ct.perceptual.hash), IDENTITY, "any", NULL,
     "SHA-256 that its file must have; any: filled in from weights/ when a run is planned"},
    {"ct.perceptual_pool", KEY_WORD, ONE(ct.perceptual.pool), IDENTITY, "max", "mean|max",
     "between a vgg16's stages: max (CM's CIFAR-10 code), mean (its ImageNet code)"},
    {"ct.perceptual_size", KEY_INT, ONE(ct.perceptual.size), IDENTITY, "0", "[0, 1024]",
     "images are resized to this; 0: to what the network was made for (vgg16: 224)"},
    {"ct.perceptual_pixels", KEY_NUMBER, ONE(ct.perceptual.pixels), IDENTITY, "0", "[0, 1000]",
     "weight of the image itself beside the network's stages; group norm hides contrast from a classifier"},
    {"ct.teacher_ema", KEY_NUMBER, ONE(ct.teacher_ema), IDENTITY, "0", "[0, 1)",
     "mu of the teacher's moving average; 0: the student itself, without gradient"},
    {"ct.teacher_schedule", KEY_WORD, ONE(ct.teacher_schedule), IDENTITY, "fixed", "fixed|ct",
     "ct: teacher_ema is mu_0 and mu grows with N(k), as in CM"},

    {"train.steps", KEY_INT, ONE(train.steps), IDENTITY, "400000", "[1, 1000000000]", "length of the run, K"},
    {"train.batch", KEY_INT, ONE(train.batch), IDENTITY, "1024", "[1, 1000000]", "images a step"},
    {"train.micro_batch", KEY_INT, ONE(train.micro_batch), NO_IDENTITY, "0", "[0, 1000000]",
     "images at a time, to save memory; 0: chosen for the device"},
    {"train.loss_scale", KEY_NUMBER, ONE(train.loss_scale), IDENTITY, "65536", "(0, 1e38]",
     "of fp16: the first one; it halves when a gradient overflows, and doubles after 2000 steps that do not"},
    {"train.optimizer", KEY_WORD, ONE(train.optimiser.rectified), IDENTITY, "radam", "adam|radam",
     "the update rule"},
    {"train.lr", KEY_NUMBER, ONE(train.optimiser.learning_rate), IDENTITY, "1e-4", "(0, 10]",
     "learning rate"},
    {"train.beta1", KEY_NUMBER, ONE(train.optimiser.beta1), IDENTITY, "0.9", "[0, 1)",
     "decay of the gradient's mean"},
    {"train.beta2", KEY_NUMBER, ONE(train.optimiser.beta2), IDENTITY, "0.999", "[0, 1)",
     "decay of the gradient's square"},
    {"train.eps", KEY_NUMBER, ONE(train.optimiser.epsilon), IDENTITY, "1e-8", "(0, 1]",
     "added to the denominator"},
    {"train.weight_decay", KEY_NUMBER, ONE(train.optimiser.weight_decay), IDENTITY, "0", "[0, 1)",
     "L2 penalty"},
    {"train.ema", KEY_NUMBER, MANY(train.optimiser.ema, train.optimiser.emas), IDENTITY,
     "[0.05, 0.1, 0.99993]", "(0, 1)",
     "averages of the weights for sampling: a relative width (below 0.288) or a fixed decay (above 0.5)"},
    {"train.tick", KEY_INT, ONE(train.tick_steps), NO_IDENTITY, "100", "[1, 1000000000]",
     "steps between two rows of metrics"},
    {"train.checkpoint", KEY_INT, ONE(train.checkpoint_steps), NO_IDENTITY, "2000", "[0, 1000000000]",
     "steps between checkpoints; 0: only at evaluations and the end"},

    {"evaluation.at", KEY_NUMBER, MANY(train.evaluate_at, train.evaluations), IDENTITY,
     "[0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1]", "[0, 1]", "when to evaluate, in shares of the run"},
    {"evaluation.samples", KEY_INT, ONE(evaluation.samples), IDENTITY, "50000", "[1, 100000000]",
     "samples of each evaluation"},
    {"evaluation.samples_last", KEY_INT, ONE(evaluation.samples_last), IDENTITY, "0", "[0, 100000000]",
     "samples of the last one, judged beside its first evaluation.samples; 0: no more than those"},
    {"evaluation.nfe", KEY_INT, MANY(evaluation.nfe, evaluation.nfes), IDENTITY, "[1, 2]", "[1, 16]",
     "network evaluations a sample: one step, two steps, ..."},
    {"evaluation.sigma_mid", KEY_NUMBER, ONE(evaluation.sigma_mid), IDENTITY, "0.821", "(0, inf)",
     "the level between the two steps"},
    {"evaluation.sigmas", KEY_NUMBER, MANY(evaluation.sigmas, evaluation.sigma_count), IDENTITY, "[]",
     "(0, inf)",
     "the levels between more than two steps, decreasing; for other numbers of steps: points of a Karras "
     "grid"},
    {"evaluation.weights", KEY_NAME, ONE(evaluation.weights), IDENTITY, "ema:0.99993", NULL,
     "raw, or ema:X with X one of train.ema"},
    {"evaluation.clip", KEY_BOOL, ONE(evaluation.clip), IDENTITY, "false", NULL,
     "keep images in [-1, 1] between sampling steps, as OpenAI's codes do"},
    {"evaluation.rounding", KEY_WORD, ONE(evaluation.rounding), IDENTITY, "round", "round|trunc",
     "to bytes: round as EDM, trunc as OpenAI"},
    {"evaluation.metrics", KEY_NAME, MANY(evaluation.metrics, evaluation.metric_count), IDENTITY,
     "[fd-random]", NULL,
     "what to measure: {fd,kd,precision,recall,density,coverage}-{random,classifier,classifier-loss,vgg16}; "
     "fid, kid, is, precision, recall; classifier (eval/README.md)"},
    {"evaluation.grid", KEY_INT, ONE(evaluation.grid), NO_IDENTITY, "64", "[0, 1024]",
     "images in the sample picture; 0: none"},

    {"classifier.role", KEY_WORD, ONE(classifier.role), IDENTITY, "judge", "judge|loss",
     "judge: residual, on the second half of the images but the last tenth; loss: vgg, on the first half"},
    {"classifier.widths", KEY_INT, MANY(classifier.network.widths, classifier.network.stages), IDENTITY,
     "[64, 128, 224]", "[1, 4096]", "channels of each stage, from the highest resolution"},
    {"classifier.depth", KEY_INT, ONE(classifier.network.depth), IDENTITY, "1", "[1, 8]",
     "residual blocks (judge) or convolutions (loss) a stage"},
    {"classifier.dropout", KEY_NUMBER, ONE(classifier.network.dropout), IDENTITY, "0", "[0, 1)",
     "within each block (judge), at the end of each stage (loss)"},
    {"classifier.smoothing", KEY_NUMBER, ONE(classifier.smoothing), IDENTITY, "0.1", "[0, 1)",
     "share of the target that all classes have in common"},
    {"classifier.warmup", KEY_NUMBER, ONE(classifier.warmup), IDENTITY, "0.2", "[0, 1)",
     "share of the run in which the rate rises to train.lr; it falls to 0 after that"},
    {"classifier.shift", KEY_INT, ONE(classifier.shift), IDENTITY, "4", "[0, 1024]",
     "images are moved by up to so many pixels at random"},
    {"classifier.noise", KEY_NUMBER, ONE(classifier.noise), IDENTITY, "0", "[0, 100]",
     "the strongest noise on images, whose range is -1 to 1"},
};

const int config_key_count = (int)(sizeof config_keys / sizeof *config_keys);

const Key *key_find(const char *name) {
    for (int i = 0; i < config_key_count; i++)
        if (strcmp(config_keys[i].name, name) == 0) return &config_keys[i];
    return NULL;
}

bool config_has_key(const char *name) {
    return key_find(name) != NULL;
}

bool config_has_section(const char *name) {
    const size_t length = strlen(name);
    for (int i = 0; i < config_key_count; i++)
        if (strncmp(config_keys[i].name, name, length) == 0 && config_keys[i].name[length] == '.')
            return true;
    return false;
}

const char *config_suggestion(const char *name, char out[128]) {
    static const char *const sections[] = {"data", "model", "ct", "train", "evaluation", "classifier"};
    const char *candidates[sizeof config_keys / sizeof *config_keys + sizeof sections / sizeof *sections];
    int count = 0;
    for (int i = 0; i < config_key_count; i++) candidates[count++] = config_keys[i].name;
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) candidates[count++] = sections[i];
    const int nearest = text_nearest(name, candidates, count);
    out[0] = 0;
    if (nearest >= 0) snprintf(out, 128, "; did you mean '%s'?", candidates[nearest]);
    return out;
}

Config config_default(void) {
    Config config;
    memset(&config, 0, sizeof config); /* padding too: configurations can be compared byte by byte */
    for (int i = 0; i < config_key_count; i++) {
        Error error;
        CHECK(config_set(&config, config_keys[i].name, config_keys[i].initial, &error), "default: %s",
              error.text);
    }
    return config;
}
