/* The experiments of this repository resolve to the papers' settings, key by key, network sizes included. The
 * numbers are those of Song & Dhariwal 2024 (iCT), Song et al. 2023 (CM) with OpenAI's launch scripts, and
 * parameter counts computed by hand from their code. */
#include "config/config_key.h"
#include "plan/plan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/near.h"

/* The only run that a file means at its own scale. */
static RunSpec resolved(const char *file) {
    Plan plan;
    Error error = {0};
    const PlanRequest request = {.files = &file, .file_count = 1, .without_data = true};
    if (!plan_make(&request, &plan, &error)) fail_msg("%s", error.text);
    assert_int_equal(plan.run_count, 1);
    const RunSpec run = plan.runs[0];
    plan_free(&plan);
    return run;
}

static Config paper(const char *file) {
    const RunSpec run = resolved(file);
    assert_string_equal(run.scale, "paper");
    return run.config;
}

/* ---- the tables ---- */

/* Every key that the papers decide, with its value as the program writes it. A later table wins. */
typedef struct Setting {
    const char *key, *value;
} Setting;

/* CM appendix C, sections 4 and 5; OpenAI's configurations. */
static const Setting common[] = {{"data.flip", "true"}, /* the only augmentation */
                                 {"model.augment_dim", "0"},
                                 {"ct.sigma_min", "0.002"},
                                 {"ct.sigma_max", "80"},
                                 {"ct.sigma_data", "0.5"},
                                 {"ct.rho", "7"},
                                 {"ct.sigma_shift", "true"}, /* c_skip = 1 and c_out = 0 at sigma_min */
                                 {"train.optimizer", "radam"},
                                 {"train.beta1", "0.9"},
                                 {"train.beta2", "0.999"},
                                 {"train.eps", "1e-08"},
                                 {"train.weight_decay", "0"},
                                 {"evaluation.samples", "50000"},
                                 {"evaluation.nfe", "[1, 2]"},
                                 {NULL, NULL}};

/* iCT, sections 3.1 to 3.5. */
static const Setting ict[] = {{"ct.curriculum", "exponential"},
                              {"ct.s0", "10"},
                              {"ct.s1", "1280"},
                              {"ct.noise", "lognormal"},
                              {"ct.p_mean", "-1.1"},
                              {"ct.p_std", "2"},
                              {"ct.weighting", "inverse_gap"},
                              {"ct.distance", "pseudo_huber"},
                              {"ct.huber_c", "0"}, /* 0.00054 sqrt(d) */
                              {"ct.teacher_ema", "0"},
                              {"train.lr", "0.0001"},
                              {NULL, NULL}};

/* CM section 5. */
static const Setting ct[] = {{"ct.curriculum", "square_root"},
                             {"ct.s0", "2"},
                             {"ct.noise", "uniform"},
                             {"ct.weighting", "one"},
                             {"ct.distance", "perceptual"},
                             {"ct.perceptual", "vgg16-lpips"},
                             {"ct.perceptual_size", "0"}, /* 224 */
                             {"ct.teacher_schedule", "ct"},
                             {"model.dropout", "0"},
                             {"model.dropout_max_resolution", "0"},
                             {"train.steps", "800000"},
                             {NULL, NULL}};

/* NCSN++ on CIFAR-10 (Song et al. 2021; OpenAI's cifar10 configurations), one head, embedding of 2 x 128 and
 * 4 x 128. */
static const Setting cifar10[] = {{"data.name", "cifar10"},
                                  {"precision", "fp32"},
                                  {"model.architecture", "song"},
                                  {"model.channels", "128"},
                                  {"model.channel_mult", "[2, 2, 2]"},
                                  {"model.blocks", "4"},
                                  {"model.attention", "[16]"},
                                  {"model.head_channels", "0"},
                                  {"model.embedding", "fourier"},
                                  {"model.noise_scale", "1"},
                                  {"model.noise_mult", "2"},
                                  {"model.embedding_mult", "4"},
                                  {"model.encoder", "residual"},
                                  {"model.filter", "[1, 3, 3, 1]"},
                                  {"model.dropout_max_resolution", "0"},
                                  {"model.scale_shift", "false"},
                                  {"model.class_conditional", "false"},
                                  {NULL, NULL}};

/* iCT's appendix B. */
static const Setting cifar10_ict[] = {{"model.fourier_scale", "0.02"},
                                      {"model.dropout", "0.3"},
                                      {"train.steps", "400000"},
                                      {"train.batch", "1024"},
                                      {"train.ema", "[0.05, 0.1, 0.99993]"},
                                      {"evaluation.weights", "ema:0.99993"},
                                      {"evaluation.sigma_mid", "0.821"},
                                      {NULL, NULL}};
static const Setting cifar10_deep[] = {
    {"model.blocks", "8"}, {"evaluation.sigma_mid", "0.661"}, {NULL, NULL}};

/* The two-step level of that run is not known. */
static const Setting cifar10_ct[] = {{"ct.s1", "150"},
                                     {"ct.perceptual_pool", "max"},
                                     {"ct.teacher_ema", "0.9"},
                                     {"model.fourier_scale", "16"},
                                     {"train.batch", "512"},
                                     {"train.lr", "0.0004"},
                                     {"train.ema", "[0.05, 0.1, 0.9999]"},
                                     {"evaluation.weights", "ema:0.9999"},
                                     {NULL, NULL}};

/* ADM at 64 x 64 (Dhariwal & Nichol 2021), embedding of 192 and 4 x 192. */
static const Setting imagenet64[] = {{"data.name", "imagenet64"},
                                     {"precision", "fp16"},
                                     {"model.architecture", "adm"},
                                     {"model.channels", "192"},
                                     {"model.channel_mult", "[1, 2, 3, 4]"},
                                     {"model.blocks", "3"},
                                     {"model.attention", "[32, 16, 8]"},
                                     {"model.head_channels", "64"},
                                     {"model.embedding", "positional"},
                                     {"model.noise_mult", "1"},
                                     {"model.embedding_mult", "4"},
                                     {"model.encoder", "standard"},
                                     {"model.filter", "[1, 1]"},
                                     {"model.class_conditional", "true"},
                                     {NULL, NULL}};

/* noise_scale is this project's inference; see the file. */
static const Setting imagenet64_ict[] = {{"model.noise_scale", "1"},
                                         {"model.dropout", "0.2"},
                                         {"model.dropout_max_resolution", "16"},
                                         {"model.scale_shift", "false"},
                                         {"train.steps", "800000"},
                                         {"train.batch", "4096"},
                                         {"train.ema", "[0.05, 0.1, 0.99997]"},
                                         {"evaluation.weights", "ema:0.99997"},
                                         {"evaluation.sigma_mid", "1.526"},
                                         {NULL, NULL}};
static const Setting imagenet64_deep[] = {
    {"model.blocks", "6"}, {"evaluation.sigma_mid", "0.973"}, {NULL, NULL}};

/* The rate is the launch script's; CM's table has 8e-6. */
static const Setting imagenet64_ct[] = {{"ct.s1", "200"},
                                        {"ct.perceptual_pool", "mean"},
                                        {"ct.teacher_ema", "0.95"},
                                        {"model.noise_scale", "1000"},
                                        {"model.scale_shift", "true"},
                                        {"train.batch", "2048"},
                                        {"train.lr", "0.0001"},
                                        {"train.ema", "[0.05, 0.1, 0.999943]"},
                                        {"evaluation.weights", "ema:0.999943"},
                                        {"evaluation.sigma_mid", "1.913"},
                                        {NULL, NULL}};

typedef struct Published {
    const char *file;
    const Setting *tables[5];
    int resolution, classes; /* 0: unconditional */
    int64_t parameters;      /* trainable, counted from the papers' codes */
} Published;

static const Published published[] = {
    {"cifar10_main", {common, ict, cifar10, cifar10_ict}, 32, 0, 56395523},
    {"cifar10_deep", {common, ict, cifar10, cifar10_ict, cifar10_deep}, 32, 0, 97610499},
    {"cifar10_ct", {common, cifar10, ct, cifar10_ct}, 32, 0, 56395523},
    {"imagenet64_main", {common, ict, imagenet64, imagenet64_ict}, 64, 1000, 282168003},
    {"imagenet64_deep", {common, ict, imagenet64, imagenet64_ict, imagenet64_deep}, 64, 1000, 472767555},
    {"imagenet64_ct", {common, imagenet64, ct, imagenet64_ct}, 64, 1000, 295899267},
};
enum { PUBLISHED = sizeof published / sizeof *published };

/* ---- the checks ---- */

/* NULL when the papers leave the key open. */
static const char *published_value(const Published *row, const char *key) {
    const char *value = NULL;
    for (int t = 0; t < 5 && row->tables[t]; t++)
        for (const Setting *s = row->tables[t]; s->key; s++)
            if (strcmp(s->key, key) == 0) value = s->value;
    return value;
}

/* Keys the papers leave open are at their defaults, which do what the program did before there was the key;
 * these two are not, where they have no effect or are unknown. */
static bool is_free(const char *key) {
    return strcmp(key, "model.fourier_scale") == 0 || strcmp(key, "evaluation.sigma_mid") == 0;
}

static void check_keys(const Published *row, const Config *config) {
    const Config defaults = config_default();
    for (int i = 0; i < config_key_count; i++) {
        const char *key = config_keys[i].name, *expected = published_value(row, key);
        Text found = {0}, initial = {0};
        assert_true(config_get(config, key, &found) && config_get(&defaults, key, &initial));
        if (!expected && !is_free(key)) expected = initial.text;
        if (expected && strcmp(found.text, expected) != 0)
            fail_msg("%s: %s is %s, the paper's is %s", row->file, key, found.text, expected);
        text_free(&found);
        text_free(&initial);
    }
}

/* A misspelt key in a table would never be looked at. */
static void the_tables_name_keys_that_exist(void **state) {
    (void)state;
    for (int r = 0; r < PUBLISHED; r++)
        for (int t = 0; t < 5 && published[r].tables[t]; t++)
            for (const Setting *s = published[r].tables[t]; s->key; s++)
                if (!config_has_key(s->key)) fail_msg("there is no key %s", s->key);
}

/* With the number of classes that the data set will say. */
static int64_t parameters(const Config *config, int resolution, int classes) {
    ModelConfig model = config->model;
    ParamSet params = {0};
    Graph *graph = graph_create();
    model.classes = config->class_conditional ? classes : 0;
    unet_record(&model, &params, graph, 1, resolution, 3, PRECISION_FP32);
    const int64_t count = param_count(&params);
    graph_free(graph);
    param_free(&params);
    return count;
}

static void the_papers_settings_are_the_papers(void **state) {
    (void)state;
    for (int r = 0; r < PUBLISHED; r++) {
        char file[128];
        snprintf(file, sizeof file, "experiments/%s.yaml", published[r].file);
        const Config config = paper(file);
        check_keys(&published[r], &config);
        assert_int_equal(parameters(&config, published[r].resolution, published[r].classes),
                         published[r].parameters);
    }
}

/* Root mean square change of the angles of the noise embedding per unit of ln sigma. */
static double embedding_sensitivity(const Config *config) {
    ModelConfig model = config->model;
    ParamSet params = {0};
    Graph *graph = graph_create();
    double sum = 0;
    model.levels = model.blocks = 1; /* the embedding is the same on the smallest network */
    unet_record(&model, &params, graph, 1, 32, 3, PRECISION_FP32);
    const Param *frequency = param_find(&params, "map_noise.freqs");
    assert_non_null(frequency);
    float *values = calloc((size_t)params.total, sizeof *values);
    param_initialise(&params, 0, values);
    const double turn = config->model.embedding == EMBED_FOURIER ? 2 * M_PI : 1;
    for (int64_t i = 0; i < frequency->count; i++)
        sum += pow(turn * (double)values[frequency->offset + i] * (double)config->model.noise_scale / 4, 2);
    const double sensitivity = sqrt(sum / (double)frequency->count);
    free(values);
    graph_free(graph);
    param_free(&params);
    return sensitivity;
}

/* iCT makes the embedding 800 times less sensitive than CM's; ADM's positional one is near that without the
 * factor 1000 of OpenAI's code, and only without it. Random frequencies: expected value within their spread.
 */
static void embeddings_are_as_sensitive_as_meant(void **state) {
    (void)state;
    const struct {
        const char *file;
        double expected, tolerance;
    } row[] = {{"experiments/cifar10_ct.yaml", 25.1, 0.15},
               {"experiments/cifar10_main.yaml", 0.0314, 0.15},
               {"experiments/imagenet64_main.yaml", 0.0611, 1e-3},
               {"experiments/imagenet64_ct.yaml", 61.1, 1e-3}};
    for (size_t r = 0; r < sizeof row / sizeof *row; r++) {
        const Config config = paper(row[r].file);
        NEAR(embedding_sensitivity(&config) / row[r].expected, 1, row[r].tolerance);
    }
}

/* What follows from them. */
static void the_schedules_are_the_papers(void **state) {
    (void)state;
    for (int r = 0; r < PUBLISHED; r++) {
        char file[128];
        snprintf(file, sizeof file, "experiments/%s.yaml", published[r].file);
        const Config c = paper(file);
        const int64_t K = c.train.steps;
        if (c.ct.teacher_ema == 0) {
            for (int stage = 0; stage < 8; stage++)
                assert_int_equal(ct_levels(&c.ct, stage * K / 8, K), (10 << stage) + 1);
            NEAR(ct_huber_c(&c.ct, 3 * published[r].resolution * published[r].resolution),
                 published[r].resolution == 32 ? 0.02993 : 0.05986, 5e-6);
            NEAR(ct_teacher_decay(&c.ct, 11), 0, 0);
        } else {
            assert_int_equal(ct_levels(&c.ct, 0, K), 2);
            assert_int_equal(ct_levels(&c.ct, K, K), c.ct.s1 + 1);
            NEAR(ct_teacher_decay(&c.ct, c.ct.s1 + 1), c.ct.s1 == 150 ? 0.9986 : 0.99949, 5e-6);
        }
    }
    const Config c = paper("experiments/imagenet64_ct.yaml"); /* 107th of 201 levels, descending */
    NEAR(ct_sigma(&c.ct, 200 - 106, 201), c.evaluation.sigma_mid, 5e-4);
}

static void quickstart_stays_small(void **state) {
    (void)state;
    const RunSpec run = resolved("experiments/quickstart.yaml");
    ParamSet params = {0};
    Graph *graph = graph_create();
    assert_string_equal(run.config.data.name, "shapes");
    unet_record(&run.config.model, &params, graph, 1, run.config.data.resolution, 3, PRECISION_FP32);
    assert_true(graph_cost(graph, GRAPH_EVALUATE).forward_flops <= 0.15e9);
    graph_free(graph);
    param_free(&params);
}

/* Parameters of the classifier that a run trains on images of ten classes. */
static int64_t classifier_parameters(const Config *config, int resolution) {
    const Dataset data = {.count = 50000, .height = resolution, .width = resolution, .channels = 3};
    const ClassifierTask task = config_classifier(config, &data);
    ParamSet params = {0};
    Graph *graph = graph_create();
    const Value images = graph_input(graph, "image", DTYPE_F32, 1, resolution, resolution, 3, false);
    classifier_record(&task.network, &params, graph, images, 10, PRECISION_FP32);
    const int64_t count = param_count(&params);
    graph_free(graph);
    param_free(&params);
    return count;
}

/* A judge of 1,000 samples may have 250 features; and it must cost little beside what it judges. */
static void classifiers_stay_small(void **state) {
    (void)state;
    static const char *const files[] = {"experiments/classifier_cifar10.yaml",
                                        "experiments/classifier_shapes.yaml"};
    for (int i = 0; i < 2; i++) {
        Plan plan;
        Error error;
        const PlanRequest request = {.files = &files[i], .file_count = 1, .without_data = true};
        if (!plan_make(&request, &plan, &error)) fail_msg("%s", error.text);
        assert_int_equal(plan.run_count, 2);
        for (int k = 0; k < 2; k++) {
            const Config *config = &plan.runs[k].config;
            const ClassifierConfig *network = &config->classifier.network;
            assert_int_equal(config->classifier.role, k ? CLASSIFIER_LOSS : CLASSIFIER_JUDGE);
            assert_in_range(network->widths[network->stages - 1], 16, 250);
            assert_in_range(classifier_parameters(config, i ? 16 : 32), 100000, 1500000);
            assert_true(config->data.flip == !i); /* a mirrored crescent is another shape */
        }
        plan_free(&plan);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tables_name_keys_that_exist),
        cmocka_unit_test(the_papers_settings_are_the_papers),
        cmocka_unit_test(the_schedules_are_the_papers),
        cmocka_unit_test(embeddings_are_as_sensitive_as_meant),
        cmocka_unit_test(quickstart_stays_small),
        cmocka_unit_test(classifiers_stay_small),
    };
    return cmocka_run_group_tests_name("experiments", tests, NULL, NULL);
}
