/* The table of keys: every type's good and bad values, the way back to text, what enters the identity, and
 * the checks between keys. */
#include "config/config_key.h"

#include "base/philox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/near.h"
#include "tests/unit/config_defaults.h"

static void set(Config *config, const char *key, const char *value) {
    Error error = {0};
    if (!config_set(config, key, value, &error)) fail_msg("%s", error.text);
}

static char *printed(const Config *config, ConfigPart part) {
    Text text = {0};
    text_append(&text, "%s", ""); /* nothing is "", not NULL */
    config_print(config, part, &text);
    return text.text;
}

static void defaults_stay_what_they_are(void **state) {
    (void)state;
    const Config config = config_default();
    Error error = {0};
    char *text = printed(&config, CONFIG_ALL), *identity = printed(&config, CONFIG_IDENTITY);
    assert_int_equal(NUMERICS_VERSION, 1);
    assert_string_equal(text, defaults);
    assert_string_equal(identity, "");
    assert_true(config_check(&config, &error));
    free(text);
    free(identity);
}

/* The table's rows are read by size and type; a field of another size would be read wrong without a word. */
static void rows_fit_their_fields(void **state) {
    (void)state;
    for (int i = 0; i < config_key_count; i++) {
        const Key *key = &config_keys[i];
        const char *word;
        if (key->type == KEY_BOOL) assert_int_equal(key->size, sizeof(bool));
        if (key->type == KEY_INT) assert_true(key->size == sizeof(int) || key->size == sizeof(int64_t));
        if (key->type == KEY_NUMBER) assert_true(key->size == sizeof(float) || key->size == sizeof(double));
        if (key->type == KEY_WORD) assert_true(key->size == sizeof(int) || key->size == sizeof(bool));
        if (key->type == KEY_WORD)
            assert_true(key_word(key, 1, &word) > 0); /* a choice has two words at least */
        assert_true(key->offset + key->size * (size_t)(key->capacity ? key->capacity : 1) <= sizeof(Config));
        for (int j = 0; j < i; j++) assert_string_not_equal(key->name, config_keys[j].name);
    }
}

typedef struct Refusal {
    const char *key, *value, *message;
} Refusal;

static const Refusal refusals[] = {
    {"trian.batch", "3", "unknown key 'trian.batch'; did you mean 'train.batch'?"},
    {"batch", "3", "unknown key 'batch'; did you mean 'train.batch'?"},
    {"quite.something.else", "3", "unknown key 'quite.something.else'"},
    {"ct", "3", "'ct' is a group of keys, not a key: write 'ct: { ... }' or 'ct.KEY: ...'"},
    {"train.batch", "big", "train.batch: expected a whole number, found 'big'"},
    {"train.batch", "", "train.batch: expected a whole number, found ''"},
    {"train.batch", "1e3", "train.batch: expected a whole number, found '1e3'"},
    {"train.batch", "012", "train.batch: expected a whole number, found '012'"},
    {"train.batch", "0x10", "train.batch: expected a whole number, found '0x10'"},
    {"train.batch", "1_000", "train.batch: expected a whole number, found '1_000'"},
    {"train.batch", "0", "train.batch: 0 is outside [1, 1000000]"},
    {"train.batch", "99999999999", "train.batch: 99999999999 is outside what an integer can hold"},
    {"seed", "-1", "seed: -1 is outside [0, inf)"},
    {"seed", "9223372036854775808", "seed: 9223372036854775808 is outside what an integer can hold"},
    {"train.lr", "fast", "train.lr: expected a number, found 'fast'"},
    {"train.lr", "1e", "train.lr: expected a number, found '1e'"},
    {"train.lr", ".", "train.lr: expected a number, found '.'"},
    {"train.lr", "nan", "train.lr: expected a number, found 'nan'"},
    {"train.lr", "0x1p3", "train.lr: expected a number, found '0x1p3'"},
    {"train.lr", "0", "train.lr: 0 is outside (0, 10]"},
    {"ct.sigma_max", "1e999", "ct.sigma_max: 1e999 is outside (0, inf)"},
    {"model.dropout", "1", "model.dropout: 1 is outside [0, 1)"},
    {"model.dropout", "0.99999999999", "model.dropout: 0.99999999999 is outside [0, 1)"}, /* 1 as a float */
    {"data.flip", "yes", "data.flip: expected true or false, found 'yes'"},
    {"model.architecture", "Song",
     "model.architecture: expected one of song, adm; found 'Song'; did you mean 'song'?"},
    {"ct.noise", "pink", "ct.noise: expected one of uniform, lognormal; found 'pink'"},
    {"data.name", "../etc",
     "data.name: expected a name of letters, digits and, inside, . _ : + -; found '../etc'"},
    {"data.name", "", "data.name: expected a name of letters, digits and, inside, . _ : + -; found ''"},
    {"data.name", "a:", "data.name: expected a name of letters, digits and, inside, . _ : + -; found 'a:'"},
    {"evaluation.weights", "ema:0.00000000000000000000000000001",
     "evaluation.weights: at most 31 letters, found 'ema:0.00000000000000000000000000001'"},
    {"model.attention", "16", "model.attention: expected a list in brackets, found '16'"},
    {"model.attention", "[16, ]", "model.attention: expected a whole number, found ''"},
    {"model.attention", "[16, x]", "model.attention: expected a whole number, found 'x'"},
    {"model.attention", "[[16]]", "model.attention: expected a whole number, found '[16'"},
    {"model.attention", "[16]]", "model.attention: expected a list of values, found '[16]]'"},
    {"model.attention", "[1,2,3,4,5,6,7,8,9]", "model.attention: more than 8 values"},
    {"seed", "[0, 1]", "seed: one value expected, found the list [0, 1] (several go under 'grid:')"},
};

static void bad_values_are_refused_and_change_nothing(void **state) {
    (void)state;
    Config config = config_default();
    char *before = printed(&config, CONFIG_ALL);
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        Error error = {0};
        assert_false(config_set(&config, refusals[i].key, refusals[i].value, &error));
        assert_string_equal(error.text, refusals[i].message);
    }
    char *after = printed(&config, CONFIG_ALL);
    assert_string_equal(after, before);
    free(before);
    free(after);
}

static void the_key_decides_the_type(void **state) {
    (void)state;
    Config c = config_default();
    set(&c, "train.lr", "1e-4");
    assert_true(c.train.optimiser.learning_rate == 1e-4);
    set(&c, "train.lr", "+.5E-1");
    assert_true(c.train.optimiser.learning_rate == 0.05);
    set(&c, "ct.sigma_max", "100");
    assert_true(c.ct.sigma_max == 100);
    set(&c, "seed", "9007199254740993"); /* more than a double can tell apart */
    assert_true(c.seed == 9007199254740993);
    set(&c, "data.name", "no");
    assert_string_equal(c.data.name, "no");
    set(&c, "model.attention", "[ 32,16 , 8 ]");
    assert_true(c.model.attentions == 3 && c.model.attention[0] == 32 && c.model.attention[2] == 8);
    set(&c, "model.attention", "[]");
    assert_int_equal(c.model.attentions, 0);
    set(&c, "evaluation.metrics", "[fd-random, classifier]");
    assert_true(c.evaluation.metric_count == 2 && strcmp(c.evaluation.metrics[1], "classifier") == 0);
    set(&c, "model.class_conditional", "true");
    assert_true(c.class_conditional);
    set(&c, "train.optimizer", "adam");
    assert_false(c.train.optimiser.rectified);
}

static void one_value_has_one_text(void **state) {
    (void)state;
    static const char *const pairs[][3] = {
        {"train.lr", "0.00010", "0.0001"},
        {"train.eps", ".00000001", "1e-08"},
        {"ct.sigma_max", "8e1", "80"},
        {"model.dropout", "3e-1", "0.3"},
        {"ct.p_mean", "-0", "0"},
        {"model.fourier_scale", "0.020", "0.02"},
        {"seed", "0", "0"},
        {"model.attention", "[16,8]", "[16, 8]"},
        {"train.ema", "[.1]", "[0.1]"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        Config config = config_default();
        Text text = {0};
        set(&config, pairs[i][0], pairs[i][1]);
        assert_true(config_get(&config, pairs[i][0], &text));
        assert_string_equal(text_view(&text), pairs[i][2]);
        text_free(&text);
    }
}

/* A value other than the default's, drawn for the type of the key. */
static void other_value(const Key *key, uint32_t number, char value[64]) {
    const Random4 r = random_block((RandomKey){.seed = 1, .stream = STREAM_DATA, .sample = number}, 0);
    const char *word = "";
    if (key->type == KEY_BOOL) snprintf(value, 64, "%s", strcmp(key->initial, "true") ? "true" : "false");
    if (key->type == KEY_INT && key->capacity) snprintf(value, 64, "[%d]", 1 + (int)(r.x[0] % 2));
    if (key->type == KEY_INT && !key->capacity) snprintf(value, 64, "%d", 5 + (int)(r.x[0] % 4));
    if (key->type == KEY_NUMBER)
        snprintf(value, 64, key->capacity ? "[%.17g]" : "%.17g", ((double)r.x[0] + 0.5) / 4294967296.0);
    if (key->type == KEY_NAME) snprintf(value, 64, key->capacity ? "[x-%u]" : "x-%u", r.x[0]);
    if (key->type != KEY_WORD) return;
    const size_t length = strlen(key->initial);
    for (int i = 0; strncmp(word, key->initial, length) == 0 || !*word; i++)
        assert_true(key_word(key, i, &word) > 0);
    snprintf(value, 64, "%.*s", (int)strcspn(word, "|"), word);
}

static void every_key_enters_the_identity_but_four(void **state) {
    (void)state;
    const Config base = config_default();
    char *identity = printed(&base, CONFIG_IDENTITY);
    int left_out = 0;
    for (int i = 0; i < config_key_count; i++) {
        const Key *key = &config_keys[i];
        Config config = base;
        char value[64];
        other_value(key, 0, value);
        set(&config, key->name, value);
        char *other = printed(&config, CONFIG_IDENTITY);
        const bool differs = strcmp(identity, other) != 0;
        const bool expected = strcmp(key->name, "train.micro_batch") && strcmp(key->name, "train.tick") &&
                              strcmp(key->name, "train.checkpoint") && strcmp(key->name, "evaluation.grid");
        if (differs != expected)
            fail_msg("%s %s the identity", key->name, differs ? "enters" : "does not enter");
        left_out += !expected;
        free(other);
    }
    assert_int_equal(left_out, 4);
    free(identity);
}

static void printing_reads_back_to_the_same_bytes(void **state) {
    (void)state;
    for (uint32_t number = 0; number < 50; number++) {
        Config config = config_default(), back;
        Error error = {0};
        for (int i = 0; i < config_key_count; i++) {
            char value[64];
            other_value(&config_keys[i], number * 1000 + (uint32_t)i, value);
            if ((number + (uint32_t)i) % 3) set(&config, config_keys[i].name, value);
        }
        char *text = printed(&config, CONFIG_ALL);
        if (!config_parse(text, strlen(text), "stored", &back, &error)) fail_msg("%s", error.text);
        char *again = printed(&back, CONFIG_ALL);
        assert_string_equal(again, text);
        assert_memory_equal(&config.ct, &back.ct, sizeof config.ct);
        assert_memory_equal(&config.evaluation, &back.evaluation, sizeof config.evaluation);
        free(text);
        free(again);
    }
}

static void a_stored_configuration_is_checked_too(void **state) {
    (void)state;
    Config config;
    Error error = {0};
    const char *text = "seed: 3\ntrain.bach: 4\nseed: 5\nct.s0: ten\n";
    assert_false(config_parse(text, strlen(text), "run 1f", &config, &error));
    assert_string_equal(error.text, "run 1f:3:1: 'seed' is given twice; first at line 1\n"
                                    "run 1f:2:1: unknown key 'train.bach'; did you mean 'train.batch'?\n"
                                    "run 1f:4:1: ct.s0: expected a whole number, found 'ten'");
    assert_false(config_parse("[1]", 3, "run 1f", &config, &error));
    assert_string_equal(error.text, "run 1f: expected lines 'key: value'");
}

/* ---- checks between keys ---- */

static const Refusal contradictions[] = {
    {"model.channels", "36",
     "model.channels: the decoder at level 1 has 144 channels, which do not fall into 32 equal groups for "
     "normalisation"},
    {"model.channels", "6",
     "model.channels: the decoder at level 0 has 18 channels, which do not fall into 4 equal groups for "
     "normalisation"},
    {"model.head_channels", "48",
     "model.head_channels: 48 does not divide the 256 channels of level 2, which has attention"},
    {"model.channel_mult", "[]", "model.channel_mult: at least one resolution is needed"},
    {"model.architecture", "adm",
     "model.encoder: the adm architecture has no input pyramid: set it to standard"},
    {"model.label_dropout", "0.1",
     "model.label_dropout: a network without classes has none to hide: set model.class_conditional"},
    {"model.filter", "[1, 2, 1]", "model.filter: 2 or 4 taps are needed, with a sum above 0"},
    {"model.filter", "[0, 0]", "model.filter: 2 or 4 taps are needed, with a sum above 0"},
    {"ct.sigma_min", "90", "ct.sigma_min: 90 is not below ct.sigma_max 80"},
    {"ct.s0", "2000", "ct.s0: 2000 is above ct.s1 1280"},
    {"train.steps", "7", "train.steps: 7 steps are too few for the 8 stages from ct.s0 10 to ct.s1 1280"},
    {"ct.teacher_schedule", "ct", "ct.teacher_ema: the ct schedule needs a start mu_0 above 0"},
    {"train.micro_batch", "300", "train.micro_batch: 300 does not divide train.batch 1024"},
    {"train.ema", "[0.29, 0.99993]",
     "train.ema: 0.29 is neither a relative width (below 0.288) nor a decay (above 0.5)"},
    {"evaluation.at", "[0.5, 0.5]", "evaluation.at: 0.5 does not come after 0.5"},
    {"evaluation.weights", "ema:0.2",
     "evaluation.weights: 'ema:0.2' is neither raw nor ema:X with X one of train.ema"},
    {"evaluation.weights", "ema",
     "evaluation.weights: 'ema' is neither raw nor ema:X with X one of train.ema"},
    {"evaluation.nfe", "[]", "evaluation.nfe: at least one number of steps is needed"},
    {"evaluation.sigmas", "[1]", "evaluation.sigmas: the one level of two steps is evaluation.sigma_mid"},
    {"evaluation.sigmas", "[1, 2]", "evaluation.sigmas: 2 is not below 1, which comes before it"},
    {"evaluation.sigmas", "[90, 2]",
     "evaluation.sigmas: 90 is not between ct.sigma_min 0.002 and ct.sigma_max 80"},
    {"evaluation.sigmas", "[3, 2]",
     "evaluation.sigmas: 2 levels are for 3 steps, which evaluation.nfe lacks"},
    {"evaluation.sigma_mid", "80",
     "evaluation.sigma_mid: 80 is not between ct.sigma_min 0.002 and ct.sigma_max 80"},
    {"evaluation.metrics", "[fd-randon]",
     "evaluation.metrics: no metric 'fd-randon'; did you mean 'fd-random'?"},
};

static void contradictions_are_found(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof contradictions / sizeof *contradictions; i++) {
        Config config = config_default();
        Error error = {0};
        set(&config, contradictions[i].key, contradictions[i].value);
        assert_false(config_check(&config, &error));
        if (!strstr(error.text, contradictions[i].message))
            fail_msg("expected: %s\nfound: %s", contradictions[i].message, error.text);
    }
}

static void all_contradictions_come_at_once(void **state) {
    (void)state;
    Config config = config_default();
    Error error = {0};
    set(&config, "model.architecture", "adm");
    set(&config, "model.encoder", "skip");
    set(&config, "model.decoder", "skip");
    set(&config, "ct.s0", "2000");
    set(&config, "ct.teacher_schedule", "ct");
    set(&config, "train.micro_batch", "300");
    assert_false(config_check(&config, &error));
    assert_string_equal(
        error.text, "model.encoder: the adm architecture has no input pyramid: set it to standard\n"
                    "model.decoder: the adm architecture makes one image, at the end: set it to standard\n"
                    "ct.s0: 2000 is above ct.s1 1280\n"
                    "ct.teacher_ema: the ct schedule needs a start mu_0 above 0\n"
                    "train.micro_batch: 300 does not divide train.batch 1024");
}

static void the_data_set_fills_in_and_contradicts(void **state) {
    (void)state;
    Config config = config_default();
    Error error = {0};
    const int32_t labels[1] = {0};
    Dataset data = {.name = "cifar10",
                    .height = 32,
                    .width = 32,
                    .channels = 3,
                    .count = 50000,
                    .classes = 10,
                    .labels = labels};
    set(&config, "model.class_conditional", "true");
    assert_true(config_bind(&config, &data, &error));
    assert_true(config.model.classes == 10 && config.data.resolution == 32 && config.data.count == 50000);
    set(&config, "model.class_conditional", "false");
    assert_true(config_bind(&config, &data, &error));
    assert_int_equal(config.model.classes, 0);

    set(&config, "model.class_conditional", "true");
    set(&config, "model.attention", "[16, 12]");
    data.labels = NULL;
    data.height = data.width = 30;
    assert_false(config_bind(&config, &data, &error));
    assert_string_equal(error.text,
                        "model.class_conditional: cifar10 has no labels\n"
                        "model.channel_mult: 3 resolutions: 30 pixels cannot be halved 2 times\n"
                        "model.attention: the network has no resolution 16 (it has 30 down to 7)\n"
                        "model.attention: the network has no resolution 12 (it has 30 down to 7)");
}

static void help_names_every_key(void **state) {
    (void)state;
    Text help = {0};
    config_help(&help);
    for (int i = 0; i < config_key_count; i++) {
        char line[128];
        snprintf(line, sizeof line, "\n%s%s: ", config_keys[i].name, config_keys[i].identity ? "" : " *");
        if (!strstr(text_view(&help), line)) fail_msg("no help for %s", config_keys[i].name);
    }
    assert_non_null(strstr(text_view(&help), "\n    one of pseudo_huber, l2, l1, perceptual\n"));
    assert_non_null(strstr(text_view(&help), "\n    list of at most 8, each a whole number in [1, 1024]\n"));
    text_free(&help);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_stay_what_they_are),
        cmocka_unit_test(rows_fit_their_fields),
        cmocka_unit_test(bad_values_are_refused_and_change_nothing),
        cmocka_unit_test(the_key_decides_the_type),
        cmocka_unit_test(one_value_has_one_text),
        cmocka_unit_test(every_key_enters_the_identity_but_four),
        cmocka_unit_test(printing_reads_back_to_the_same_bytes),
        cmocka_unit_test(a_stored_configuration_is_checked_too),
        cmocka_unit_test(contradictions_are_found),
        cmocka_unit_test(all_contradictions_come_at_once),
        cmocka_unit_test(the_data_set_fills_in_and_contradicts),
        cmocka_unit_test(help_names_every_key),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
