/* cuDNN has a deterministic plan for every convolution of every experiment, in each precision; and of the
 * configurations that the run's file, the program's table and the clock name, the first one's is taken. Plans
 * are made for a card from its description, so no card is needed; skipped in a build without CUDA. */
#include "plan/plan.h"
#include "train/network.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/unit/scratch.h"

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
    for (int i = 0; i < seen_count && !known; i++) known = conv_same_problem(&seen[i], &problem, true);
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

static const char line[] = "bf16 data 512 16x16 256>256 3x3 /1 +1x1 0 0 2 67";

/* A card without a card: what choices need to know of it. */
static CudaContext context;
static Device card = {.context = &context, .name = "NVIDIA H100 80GB HBM3"};

static void card_reset(void) {
    conv_choices_release(&context.choices);
    conv_choices_release(&context.table);
    context = (CudaContext){0};
}

/* Calls visit() with each choice of the program's tables. */
static void tables_read(void (*visit)(const char *text, const ConvChoice *)) {
    char text[256];
    ConvChoice choice;
    for (const char *at = conv_tables(); *at; at += strcspn(at, "\n"), at += *at == '\n') {
        snprintf(text, sizeof text, "%.*s", (int)strcspn(at, "\n"), at);
        visit(text, conv_choice_parse(text, &choice) ? &choice : NULL);
    }
}

static ConvProblem line_problem(void) {
    ConvChoice choice;
    assert_true(conv_choice_parse(line, &choice));
    return choice.problem;
}

static void table_put(const char *body) {
    char header[256], text[1024];
    conv_choice_header(&card, header);
    snprintf(text, sizeof text, "cuDNN 1 on a card\n%s 9\n%s\n%s\ncuDNN 2 on a card\n", line, header, body);
    conv_table_open(&card, text);
}

static int headers;

static void line_check(const char *text, const ConvChoice *choice) {
    char again[256];
    if (strncmp(text, "cuDNN ", 6) == 0) {
        conv_choices_release(&context.table);
        headers++;
        return;
    }
    if (!choice) fail_msg("not a choice: %s", text);
    conv_choice_write(choice, again);
    assert_string_equal(text, again);
    for (const ConvChoice *c = context.table; c; c = c->next)
        if (conv_same_problem(&c->problem, &choice->problem, false)) fail_msg("twice: %s", text);
    conv_choice_keep(&context.table, *choice);
}

static void built_in_tables_are_whole(void **state) {
    (void)state;
    tables_read(line_check);
    assert_true(headers > 0);
    card_reset();
}

static int listed, missing;

static void line_keep(const char *text, const ConvChoice *choice) {
    (void)text;
    if (choice) conv_choice_keep(&context.table, *choice);
}

/* The encoder's pyramid has stride 2 since the table was made: two convolutions in three passes are timed at
 * each start. This exception goes with the next table. */
static bool newer_than_the_table(const ConvShape *shape) {
    return shape->stride == 2 && (shape->c_in == 3 || shape->c_in == 256);
}

/* As the card's conv_prepare() asks: with its epilogue, and alone where that has no kernel. */
static OpPlan *listed_conv_prepare(Device *device, const ConvShape *shape, ConvPass pass,
                                   const ConvEpilogue *epilogue) {
    (void)device;
    ConvProblem problem = {.shape = *shape, .pass = pass, .epilogue = {.scale = 1}};
    if (pass == CONV_FORWARD && epilogue) problem.epilogue = *epilogue;
    const ConvChoice *choice = conv_is_wide(shape) ? NULL : conv_choice_find(&card, &problem);
    if (choice && choice->place < 0) {
        problem.epilogue = (ConvEpilogue){.scale = 1};
        choice = conv_choice_find(&card, &problem);
    }
    char text[256];
    conv_choice_write(&(ConvChoice){.problem = problem, .place = -1}, text);
    if (choice)
        listed++;
    else if (newer_than_the_table(shape))
        missing++;
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
    assert_int_equal(missing, 2 * 3 * 4); /* in two precisions and batches; 0: see newer_than_the_table() */
    plan_free(&plan);
    card_reset();
}

static void a_table_is_for_one_card_and_library(void **state) {
    (void)state;
    const ConvProblem problem = line_problem();
    char hash[16];
    conv_table_open(&card, "cuDNN 1 on a card\n");
    assert_null(context.table);
    assert_string_equal(context.table_hash, "");
    table_put(line);
    assert_non_null(context.table);
    assert_null(context.table->next); /* other cards' lines are not taken */
    assert_int_equal(conv_choice_find(&card, &problem)->place, 2);
    snprintf(hash, sizeof hash, "%s", context.table_hash);
    assert_int_equal(strlen(hash), 12);
    card_reset();
    table_put(line);
    assert_string_equal(context.table_hash, hash);
    card_reset();
    table_put("bf16 data 512 16x16 256>256 3x3 /1 +1x1 0 0 3 67");
    assert_string_not_equal(context.table_hash, hash);
    cuda_tune(&card);
    assert_null(conv_choice_find(&card, &problem));
    assert_string_equal(context.table_hash, "");
    card_reset();
}

/* A run that began with other choices than today's table goes on with them; one that begins keeps the
 * table's. */
static void the_run_goes_before_the_table(void **state) {
    (void)state;
    const ConvProblem problem = line_problem();
    char header[256], text[1024], *bytes;
    size_t size;
    conv_choice_header(&card, header);
    snprintf(text, sizeof text, "%s\nbf16 data 512 16x16 256>256 3x3 /1 +1x1 0 0 5 67", header);
    assert_true(file_write_atomic(scratch("old.txt"), text, strlen(text), NULL));
    table_put(line);
    cuda_remember(&card, scratch("old.txt"));
    assert_int_equal(conv_choice_find(&card, &problem)->place, 5);
    card_reset();
    table_put(line);
    cuda_remember(&card, scratch("new.txt"));
    assert_int_equal(conv_choice_find(&card, &problem)->place, 2);
    assert_int_equal(conv_choice_find(&card, &problem)->place, 2); /* written once */
    assert_true(file_read(scratch("new.txt"), &bytes, &size, NULL));
    snprintf(text, sizeof text, "%s\n%s", header, line);
    assert_string_equal(bytes, text);
    free(bytes);
    card_reset();
}
#else
static void skipped(void **state) {
    (void)state;
    skip();
}
#define every_convolution_has_a_plan skipped
#define built_in_tables_are_whole skipped
#define the_table_has_the_whole_network skipped
#define a_table_is_for_one_card_and_library skipped
#define the_run_goes_before_the_table skipped
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(built_in_tables_are_whole),
        cmocka_unit_test(the_table_has_the_whole_network),
        cmocka_unit_test(a_table_is_for_one_card_and_library),
        IN_SCRATCH(the_run_goes_before_the_table),
        cmocka_unit_test(every_convolution_has_a_plan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
