/* cuDNN has a deterministic plan for every convolution of every experiment, in each precision. Plans are made
 * for a card from its description, so no card is needed; skipped in a build without CUDA. */
#include "harness/plan.h"
#include "train/network.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#ifdef ICT_CUDA
#include "backend/cuda/conv.h"

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
                              .attention_workspace = paper_attention_workspace};

static void network_plan(const Config *config, Precision precision, int batch, int resolution) {
    Device device = {.ops = &paper_ops, .kind = "cuda", .allocate = paper_allocate};
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
            network_plan(&plan.runs[0].config, p, large ? 128 : 512, large ? 64 : 32);
        }
        plan_free(&plan);
    }
    conv_planner_release(&planner);
    assert_true(seen_count > 100);
}
#else
static void every_convolution_has_a_plan(void **state) {
    (void)state;
    skip();
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_convolution_has_a_plan)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
