/* Which configuration runs a convolution: the first CANDIDATES deterministic ones that cuDNN recommends are
 * raced (backend/race.h), because its first choice is now and then half or a fortieth as fast as the best
 * (README of core/backend). Plans are cheap, a tenth of a millisecond each; running them is what takes time.
 * What was found is kept for the life of the device: the same shape is asked for by every block of a network,
 * and by every network.
 */
#include "backend/cuda/conv.h"
#include "backend/cuda/stopwatch.h"
#include <stdio.h>
#include <stdlib.h>

enum { CANDIDATES = 16 };
static const size_t WORKSPACE_MOST = (size_t)1 << 30;

struct ConvFound {
    ConvProblem problem;
    ConvKernel kernel;
    bool none; /* cuDNN has no kernel for it */
    ConvFound *next;
};

Tensor conv_tensor_x(const ConvShape *s) {
    return (Tensor){NULL, s->dtype, s->n, s->h, s->w, s->c_in};
}

Tensor conv_tensor_y(const ConvShape *s) {
    return (Tensor){NULL, s->wide ? DTYPE_F32 : s->dtype, s->n, conv_out_h(s), conv_out_w(s), s->c_out};
}

int64_t conv_weight_count(const ConvShape *s) {
    return (int64_t)s->c_out * s->kernel_h * s->kernel_w * s->c_in;
}

bool conv_same_problem(const ConvProblem *p, const ConvProblem *q) {
    const ConvShape *a = &p->shape, *b = &q->shape;
    const ConvEpilogue *e = &p->epilogue, *f = &q->epilogue;
    return a->n == b->n && a->h == b->h && a->w == b->w && a->c_in == b->c_in && a->c_out == b->c_out &&
           a->kernel_h == b->kernel_h && a->kernel_w == b->kernel_w && a->stride == b->stride &&
           a->pad_h == b->pad_h && a->pad_w == b->pad_w && a->dtype == b->dtype && p->tf32 == q->tf32 &&
           p->pass == q->pass && e->bias == f->bias && e->residual == f->residual && e->scale == f->scale;
}

static const char *conv_precision(const ConvProblem *p) {
    return p->shape.dtype == DTYPE_BF16  ? "bf16"
           : p->shape.dtype == DTYPE_F16 ? "fp16"
           : p->tf32                     ? "tf32"
                                         : "fp32";
}

void conv_problem_write(const ConvProblem *p, char out[128]) {
    static const char *const passes[] = {"forward", "data", "weight"};
    const ConvShape *s = &p->shape;
    snprintf(out, 128, "%s %s %d %dx%d %d>%d %dx%d /%d +%dx%d %d %d", conv_precision(p), passes[p->pass],
             s->n, s->h, s->w, s->c_in, s->c_out, s->kernel_h, s->kernel_w, s->stride, s->pad_h, s->pad_w,
             p->epilogue.bias, p->epilogue.residual);
}

/* Memory to try in. */
typedef struct Bench {
    Device *device;
    const ConvKernel *kernels;
    void *x, *weight, *y, *residual, *bias, *workspace;
    Stopwatch watch;
} Bench;

static void *ordinary_numbers(Device *device, size_t bytes) {
    void *memory = device->allocate(device, bytes);
    device->fill(device, memory, 0x3c, bytes); /* about 0.01 in fp32 and bf16, 1.06 in fp16 */
    return memory;
}

static Bench bench_open(Device *device, const ConvProblem *problem, const ConvKernel *kernels, int count) {
    size_t workspace = 0;
    const ConvShape *shape = &problem->shape;
    const Tensor x = conv_tensor_x(shape), y = conv_tensor_y(shape);
    const size_t element = dtype_size(shape->dtype);
    for (int i = 0; i < count; i++)
        if (kernels[i].workspace > workspace && kernels[i].workspace <= WORKSPACE_MOST)
            workspace = kernels[i].workspace;
    Bench b = {.device = device,
               .kernels = kernels,
               .x = ordinary_numbers(device, tensor_bytes(&x)),
               .weight = ordinary_numbers(device, (size_t)conv_weight_count(shape) * element),
               .y = ordinary_numbers(device, tensor_bytes(&y)),
               .workspace = device->allocate(device, workspace)};
    if (problem->epilogue.residual) b.residual = ordinary_numbers(device, tensor_bytes(&y));
    if (problem->epilogue.bias) b.bias = ordinary_numbers(device, (size_t)shape->c_out * element);
    b.watch = stopwatch_open(device);
    return b;
}

static void bench_close(Bench *b) {
    void *memory[] = {b->x, b->weight, b->y, b->residual, b->bias, b->workspace};
    for (int i = 0; i < 6; i++)
        if (memory[i]) b->device->release(b->device, memory[i]);
    stopwatch_close(&b->watch);
}

/* Race.lap */
static double kernel_lap(void *context, int i) {
    const Bench *b = context;
    if (b->kernels[i].workspace > WORKSPACE_MOST) return INFINITY;
    stopwatch_start(&b->watch);
    conv_kernel_run(b->device, &b->kernels[i], &(ConvPointers){b->x, b->weight, b->y, b->residual, b->bias},
                    b->workspace);
    return stopwatch_stop(&b->watch);
}

/* The place of the fastest, or -1. */
static int kernel_search(Device *device, const ConvProblem *problem, const ConvKernel *kernels, int count) {
    if (!count) return -1;
    Bench bench = bench_open(device, problem, kernels, count);
    const int best = race_run(&(Race){count, kernel_lap, &bench}, &device->races);
    bench_close(&bench);
    return best;
}

/* All but the chosen one (-1: none) are released. */
static bool kernel_take(ConvKernel *kernels, int count, int chosen, ConvKernel *kernel) {
    for (int i = 0; i < count; i++)
        if (i != chosen) conv_kernel_release(&kernels[i]);
    if (chosen >= 0) *kernel = kernels[chosen];
    return chosen >= 0;
}

/* A choice known from before, if the engine at its place is still the one it was. Only candidates up to that
 * place are built: all of them for each of a network's convolutions are hundreds. */
static bool kernel_known(const ConvPlanner *planner, const ConvProblem *problem, const Choice *choice,
                         ConvKernel *kernel) {
    ConvKernel kernels[CANDIDATES];
    if (choice->place < 0 || choice->place >= CANDIDATES) return false;
    const int count = conv_kernels_list(planner, problem, kernels, choice->place + 1);
    const bool same = count > choice->place && kernels[choice->place].engine == choice->number;
    return kernel_take(kernels, count, same ? choice->place : -1, kernel);
}

/* The one that was chosen before, or else the fastest; false when there is none. */
static bool kernel_choose(Device *device, const ConvProblem *problem, ConvKernel *kernel) {
    ConvKernel kernels[CANDIDATES];
    const ConvPlanner planner = {.handle = cuda_context(device)->dnn};
    Choices *choices = &cuda_context(device)->choices;
    char text[128];
    conv_problem_write(problem, text);
    const Choice *choice = choice_find(choices, text);
    if (choice && choice->place < 0) return false;
    if (choice && kernel_known(&planner, problem, choice, kernel)) return true;
    const int count = conv_kernels_list(&planner, problem, kernels, CANDIDATES);
    const int chosen = kernel_search(device, problem, kernels, count);
    choice_add(choices, text, chosen, chosen < 0 ? -1 : kernels[chosen].engine);
    return kernel_take(kernels, count, chosen, kernel);
}

const ConvKernel *conv_kernel_find(Device *device, const ConvProblem *problem) {
    CudaContext *context = cuda_context(device);
    for (ConvFound *found = context->convolutions; found; found = found->next)
        if (conv_same_problem(&found->problem, problem)) return found->none ? NULL : &found->kernel;
    ConvFound *found = malloc(sizeof *found);
    CHECK(found, "out of memory");
    *found = (ConvFound){.problem = *problem, .next = context->convolutions};
    found->none = !kernel_choose(device, problem, &found->kernel);
    context->convolutions = found;
    return found->none ? NULL : &found->kernel;
}

void cuda_convolutions_release(CudaContext *context) {
    while (context->convolutions) {
        ConvFound *found = context->convolutions;
        context->convolutions = found->next;
        if (!found->none) conv_kernel_release(&found->kernel);
        free(found);
    }
}
