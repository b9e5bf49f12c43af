/* cuDNN has a deterministic plan for every convolution of every experiment, in each precision; and the
 * program's tables of choices have every convolution of the paper's network. Plans
 * are made for a card from its description, so no card is needed; skipped in a build without CUDA. */
#include "plan/plan.h"
#include "train/network.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#ifdef ICT_CUDA
#include "backend/cuda/conv.h"
#include "backend/cuda/conv_wide.h"

/* What cuDNN asks to know of an NVIDIA H100 80GB HBM3. */
static const char h100[] =
    "{\"maxGridSize\": [2147483647, 65535, 65535], \"maxBlockSize\": [1024, 1024, 64], \"regsPerBlock\": "
    "65536, "
    "\"multiProcessorCount\": 132, \"smClockRateKHz\": 1980000, \"memClockRateKHz\": 2619000, "
    "\"l2CacheSize\": 52428800, \"warpSize\": 32, \"maxSharedMemoryPerBlock\": 49152, "
    "\"maxSharedMemoryPerBlockOptin\": 232448, \"reservedSharedMemoryPerBlock\": 1024, "
    "\"maxRegistersPerSM\": 65536, \"pciDeviceId\": 0, \"maxCtasPerSM\": 32, \"maxThreadsPerBlock\": 1024, "
    "\"maxThreadsPerSM\": 2048, \"isTccDriver\": 0, \"supportCoopLaunch\": 1, \"totalGlobalMem\": "
    "85029158912, "
    "\"deviceVer\": 900, \"driverVer\": 13000, \"cudaDeviceId\": 0, \"deviceName\": \"NVIDIA H100 80GB "
    "HBM3\"}";

static const char *const experiments[] = {
    "experiments/cifar10_main.yaml",    "experiments/cifar10_deep.yaml",    "experiments/cifar10_ct.yaml",
    "experiments/imagenet64_main.yaml", "experiments/imagenet64_deep.yaml", "experiments/imagenet64_ct.yaml",
    "experiments/quickstart.yaml"};
static const char *const precisions[] = {"fp32", "tf32", "bf16", "fp16"};

enum { PROBLEMS_MAX = 4096 };
static ConvPlanner planner;
static ConvProblem seen[PROBLEMS_MAX];
static int seen_count;
static const char *where;

/* ---- a device that plans and computes nothing ---- */

/* The epilogue may be left to a pass of its own: the convolution alone must have a plan. */
static OpPlan *paper_conv_prepare(Device *device, const ConvShape *shape, ConvPass pass,
                                  const ConvEpilogue *epilogue) {
    (void)epilogue;
    if (conv_is_wide(shape)) return calloc(1, sizeof(OpPlan)); /* a product, not cuDNN's */
    const ConvProblem problem = {*shape, pass, {.scale = 1}, shape->dtype == DTYPE_F32 && device->tf32};
    bool known = false;
    for (int i = 0; i < seen_count && !known; i++) known = conv_same_problem(&seen[i], &problem);
    if (!known) {
        ConvKernel kernel;
        if (!conv_kernels_list(&planner, &problem, &kernel, 1))
            fail_msg("%s: no plan for %dx%d, %d to %d channels, %d images of %dx%d, pass %d", where,
                     shape->kernel_h, shape->kernel_w, shape->c_in, shape->c_out, shape->n, shape->h,
                     shape->w, (int)pass);
        conv_kernel_release(&kernel);
        assert_true(seen_count < PROBLEMS_MAX);
        seen[seen_count++] = problem;
    }
    return calloc(1, sizeof(OpPlan));
}

static void paper_plan_release(Device *device, OpPlan *plan) {
    (void)device;
    free(plan);
}

static size_t paper_norm_workspace(Device *device, const NormForward *op) {
    (void)device, (void)op;
    return 0;
}

static size_t paper_attention_workspace(Device *device, const Tensor *qkv, int heads, bool backward) {
    (void)device, (void)qkv, (void)heads, (void)backward;
    return 0;
}

static void *paper_allocate(Device *device, size_t bytes) {
    (void)device, (void)bytes;
    return NULL;
}

static const Ops paper_ops = {.conv_prepare = paper_conv_prepare,
                              .plan_release = paper_plan_release,
                              .norm_backward_workspace = paper_norm_workspace,
                              .norm_mask_bytes = paper_norm_workspace,
                              .attention_workspace = paper_attention_workspace};

static void network_plan(const Ops *ops, const Config *config, Precision precision, int batch,
                         int resolution) {
    Device device = {.ops = ops, .kind = "cuda", .allocate = paper_allocate};
    ParamSet params = {0};
    Network network = network_create(&config->model, &params, &device, batch, resolution, 3, true, precision);
    network_free(&network);
    param_free(&params);
}

static void every_convolution_has_a_plan(void **state) {
    (void)state;
    planner = conv_planner_for(h100);
    for (size_t i = 0; i < sizeof experiments / sizeof *experiments; i++) {
        Plan plan;
        Error error = {0};
        const PlanRequest request = {.files = &experiments[i], .file_count = 1, .without_data = true};
        if (!plan_make(&request, &plan, &error)) fail_msg("%s", error.text);
        const bool large = strstr(experiments[i], "imagenet");
        for (Precision p = PRECISION_FP32; p <= PRECISION_FP16; p++) {
            char text[128];
            snprintf(text, sizeof text, "%s in %s", experiments[i], precisions[p]);
            where = text;
            network_plan(&paper_ops, &plan.runs[0].config, p, large ? 128 : 512, large ? 64 : 32);
        }
        plan_free(&plan);
    }
    conv_planner_release(&planner);
    assert_true(seen_count > 100);
}

/* ---- tables of choices ---- */

/* A card without a card: what choices need to know of it. */
static CudaContext context;
static Device card = {.context = &context, .name = "NVIDIA H100 80GB HBM3"};

/* Calls visit() with each line of the program's tables. */
static void tables_read(void (*visit)(const char *text)) {
    char text[256];
    for (const char *at = cuda_choice_tables(); *at; at += strcspn(at, "\n"), at += *at == '\n') {
        snprintf(text, sizeof text, "%.*s", (int)strcspn(at, "\n"), at);
        visit(text);
    }
}

static int headers;

static void line_check(const char *text) {
    char again[256];
    Choice choice;
    if (strncmp(text, "cuDNN ", 6) == 0) {
        choices_release(&context.choices);
        headers++;
        return;
    }
    if (!choice_parse(text, &choice)) fail_msg("not a choice: %s", text);
    choice_write(&choice, again);
    assert_string_equal(text, again);
    if (choice_find(&context.choices, choice.problem)) fail_msg("twice: %s", text);
    choice_add(&context.choices, choice.problem, choice.place, choice.number);
}

static void built_in_tables_are_whole(void **state) {
    (void)state;
    tables_read(line_check);
    assert_true(headers > 0);
    choices_release(&context.choices);
}

static int listed;

static void line_keep(const char *text) {
    Choice choice;
    if (choice_parse(text, &choice))
        choice_add(&context.choices, choice.problem, choice.place, choice.number);
}

static const Choice *conv_choice(const ConvProblem *problem) {
    char text[128];
    conv_problem_write(problem, text);
    return choice_find(&context.choices, text);
}

/* As the card's conv_prepare() asks: with its epilogue, and alone where that has no kernel. */
static OpPlan *listed_conv_prepare(Device *device, const ConvShape *shape, ConvPass pass,
                                   const ConvEpilogue *epilogue) {
    (void)device;
    ConvProblem problem = {.shape = *shape, .pass = pass, .epilogue = {.scale = 1}};
    if (pass == CONV_FORWARD && epilogue) problem.epilogue = *epilogue;
    const Choice *choice = conv_is_wide(shape) ? NULL : conv_choice(&problem);
    if (choice && choice->place < 0) {
        problem.epilogue = (ConvEpilogue){.scale = 1};
        choice = conv_choice(&problem);
    }
    char text[128];
    conv_problem_write(&problem, text);
    if (choice)
        listed++;
    else if (!conv_is_wide(shape))
        fail_msg("%s: not in the table, and timed at each start: %s", where, text);
    return calloc(1, sizeof(OpPlan));
}

/* Where a table is there, a start of the paper's network times nothing else, so that two fresh runs agree. */
static void the_table_has_the_whole_network(void **state) {
    (void)state;
    Plan plan;
    Error error = {0};
    Ops ops = paper_ops;
    ops.conv_prepare = listed_conv_prepare;
    const PlanRequest request = {.files = &experiments[0], .file_count = 1, .without_data = true};
    if (!plan_make(&request, &plan, &error)) fail_msg("%s", error.text);
    tables_read(line_keep);
    for (Precision p = PRECISION_BF16; p <= PRECISION_FP16; p++)
        for (int batch = 512; batch <= 1024; batch *= 2) {
            where = precisions[p];
            network_plan(&ops, &plan.runs[0].config, p, batch, 32);
        }
    assert_true(listed > 100);
    plan_free(&plan);
    choices_release(&context.choices);
}

/* The tables of other cards, and of none, are not taken; tuning forgets a table. */
static void the_cards_table_is_found(void **state) {
    (void)state;
    char header[256], text[512];
    cuda_choice_header(&card, header);
    snprintf(text, sizeof text, "cuDNN 1 on a card\nb 1 1\n%s\na 2 67\n", header);
    cuda_choices_open(&card, text);
    assert_int_equal(choice_find(&context.choices, "a")->number, 67);
    assert_null(choice_find(&context.choices, "b"));
    choices_release(&context.choices);
    cuda_choices_open(&card, text);
    cuda_tune(&card);
    assert_null(choice_find(&context.choices, "a"));
    choices_release(&context.choices);
}
#else
static void skipped(void **state) {
    (void)state;
    skip();
}
#define every_convolution_has_a_plan skipped
#define built_in_tables_are_whole skipped
#define the_table_has_the_whole_network skipped
#define the_cards_table_is_found skipped
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(built_in_tables_are_whole),
        cmocka_unit_test(the_table_has_the_whole_network),
        cmocka_unit_test(the_cards_table_is_found),
        cmocka_unit_test(every_convolution_has_a_plan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
