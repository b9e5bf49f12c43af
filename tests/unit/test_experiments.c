/* The experiments of this repository resolve to the paper's settings, network sizes included. The numbers are
 * those of Song & Dhariwal 2024 (iCT), Song et al. 2023 (CM) with OpenAI's launch scripts, and parameter
 * counts computed by hand from their code. */
#include "harness/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
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

/* What iCT keeps of CM: grid, preconditioning, RAdam. */
static void check_common(const Config *c) {
    assert_true(c->ct.sigma_min == 0.002 && c->ct.sigma_max == 80 && c->ct.sigma_data == 0.5 &&
                c->ct.rho == 7);
    assert_true(c->ct.sigma_shift && c->data.flip);
    const OptimiserConfig *o = &c->train.optimiser;
    assert_true(o->rectified && o->beta1 == 0.9 && o->beta2 == 0.999 && o->epsilon == 1e-8 &&
                o->weight_decay == 0);
    assert_true(c->evaluation.samples == 50000 && c->evaluation.nfes == 2);
    assert_true(c->model.noise_scale == 1 && !c->model.scale_shift);
}

/* iCT, sections 3.1 to 3.5. */
static void check_ict(const Config *c, int dimension, double huber_c) {
    assert_true(c->ct.curriculum == CURRICULUM_EXPONENTIAL && c->ct.s0 == 10 && c->ct.s1 == 1280);
    assert_true(c->ct.noise == NOISE_LOGNORMAL && c->ct.p_mean == -1.1 && c->ct.p_std == 2.0);
    assert_true(c->ct.weighting == WEIGHTING_INVERSE_GAP && c->ct.distance == DISTANCE_PSEUDO_HUBER);
    assert_true(c->ct.teacher_ema == 0 && c->train.optimiser.learning_rate == 1e-4);
    NEAR(ct_huber_c(&c->ct, dimension), huber_c, 5e-6);
    assert_int_equal(ct_levels(&c->ct, 0, c->train.steps), 11);
    assert_int_equal(ct_levels(&c->ct, c->train.steps / 8, c->train.steps), 21);
    assert_int_equal(ct_levels(&c->ct, c->train.steps - 1, c->train.steps), 1281);
}

static int64_t parameters(const Config *config, int resolution) {
    ParamSet params = {0};
    Graph *graph = graph_create();
    unet_record(&config->model, &params, graph, 1, resolution, 3, DTYPE_F32);
    const int64_t count = param_count(&params);
    graph_free(graph);
    param_free(&params);
    return count;
}

static void check_cifar10(Config c, int blocks, double sigma_mid, int64_t count) {
    check_common(&c);
    check_ict(&c, 3072, 0.02993);
    assert_string_equal(c.data.name, "cifar10");
    assert_true(c.train.steps == 400000 && c.train.batch == 1024 && c.precision == PRECISION_FP32);
    assert_true(c.train.optimiser.ema[2] == 0.99993 && strcmp(c.evaluation.weights, "ema:0.99993") == 0);
    assert_true(c.model.architecture == ARCHITECTURE_SONG && c.model.encoder == ENCODER_RESIDUAL);
    assert_true(c.model.embedding == EMBED_FOURIER && c.model.fourier_scale == 0.02f &&
                c.model.dropout == 0.3f);
    assert_true(c.model.dropout_max_resolution == 0 && !c.class_conditional && c.model.blocks == blocks);
    NEAR(c.evaluation.sigma_mid, sigma_mid, 0);
    assert_int_equal(parameters(&c, 32), count);
}

static void check_imagenet64(Config c, int blocks, double sigma_mid, int64_t count) {
    static const int mult[4] = {1, 2, 3, 4}, attention[3] = {32, 16, 8};
    check_common(&c);
    check_ict(&c, 12288, 0.05986);
    assert_string_equal(c.data.name, "imagenet64");
    assert_true(c.train.steps == 800000 && c.train.batch == 4096 && c.precision == PRECISION_FP16);
    assert_true(c.train.optimiser.ema[2] == 0.99997 && strcmp(c.evaluation.weights, "ema:0.99997") == 0);
    assert_true(c.model.architecture == ARCHITECTURE_ADM && c.model.channels == 192 && c.model.levels == 4);
    assert_memory_equal(c.model.multipliers, mult, sizeof mult);
    assert_memory_equal(c.model.attention, attention, sizeof attention);
    assert_true(c.model.attentions == 3 && c.model.head_channels == 64 &&
                c.model.embedding == EMBED_POSITIONAL);
    assert_true(c.model.dropout == 0.2f && c.model.dropout_max_resolution == 16 && c.model.blocks == blocks);
    NEAR(c.evaluation.sigma_mid, sigma_mid, 0);
    const int32_t label = 0;
    const Dataset data = {
        .name = "imagenet64", .height = 64, .width = 64, .count = 1281167, .classes = 1000, .labels = &label};
    Error error = {0};
    if (!config_bind(&c, &data, &error)) fail_msg("%s", error.text);
    assert_int_equal(c.model.classes, 1000);
    assert_int_equal(parameters(&c, 64), count);
}

static void the_papers_settings_are_the_papers(void **state) {
    (void)state;
    check_cifar10(paper("experiments/cifar10_main.yaml"), 4, 0.821, 56395523);
    check_cifar10(paper("experiments/cifar10_deep.yaml"), 8, 0.661, 97610499);
    check_imagenet64(paper("experiments/imagenet64_main.yaml"), 3, 1.526, 282168003);
    check_imagenet64(paper("experiments/imagenet64_deep.yaml"), 6, 0.973, 472767555);
}

/* Song et al. 2023, appendix C, and OpenAI's launch script. */
static void the_original_ct_is_the_original(void **state) {
    (void)state;
    const Config c = paper("experiments/cifar10_ct.yaml");
    check_common(&c);
    assert_true(c.ct.curriculum == CURRICULUM_SQUARE_ROOT && c.ct.s0 == 2 && c.ct.s1 == 150);
    assert_true(c.ct.noise == NOISE_UNIFORM && c.ct.weighting == WEIGHTING_ONE &&
                c.ct.distance == DISTANCE_L2);
    assert_true(c.ct.teacher_ema == 0.9 && c.ct.teacher_schedule == TEACHER_CT);
    assert_true(c.train.steps == 800000 && c.train.batch == 512 && c.train.optimiser.learning_rate == 4e-4);
    assert_true(c.model.fourier_scale == 16 && c.model.dropout == 0 && c.model.blocks == 4);
    assert_true(c.train.optimiser.ema[2] == 0.9999 && strcmp(c.evaluation.weights, "ema:0.9999") == 0);
    assert_int_equal(ct_levels(&c.ct, 0, c.train.steps), 2);
    assert_int_equal(ct_levels(&c.ct, c.train.steps, c.train.steps), 151);
    assert_int_equal(parameters(&c, 32), 56395523);
}

static void quickstart_stays_small(void **state) {
    (void)state;
    const RunSpec run = resolved("experiments/quickstart.yaml");
    ParamSet params = {0};
    Graph *graph = graph_create();
    assert_string_equal(run.config.data.name, "shapes");
    unet_record(&run.config.model, &params, graph, 1, run.config.data.resolution, 3, DTYPE_F32);
    assert_true(graph_cost(graph, GRAPH_EVALUATE).forward_flops <= 0.15e9);
    graph_free(graph);
    param_free(&params);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_papers_settings_are_the_papers),
        cmocka_unit_test(the_original_ct_is_the_original),
        cmocka_unit_test(quickstart_stays_small),
    };
    return cmocka_run_group_tests_name("experiments", tests, NULL, NULL);
}
