/* Convolutions on cuDNN, cut in three: conv_graph.c describes one to cuDNN and lists the configurations that
 * may run it, conv_search.c times those and keeps the fastest, conv.c has the ops. */
#ifndef ICT_BACKEND_CUDA_CONV_H
#define ICT_BACKEND_CUDA_CONV_H

#include "backend/cuda/cuda.h"
#include <cudnn_graph.h>

/* The tensors of a convolution, as a plan knows them. x and y are those of the forward pass in every pass. */
enum { UID_X = 1, UID_WEIGHT = 2, UID_Y = 3, UID_RESIDUAL = 4, UID_BIAS = 5, UID_VIRTUAL = 100 };

/* What is to be computed: of the forward pass y = scale * (conv + residual) + bias, bias in the shape's
 * dtype. Backward passes have the epilogue {.scale = 1}. tf32: of fp32 tensors, whose factors may be rounded
 * to TF32. */
typedef struct ConvProblem {
    ConvShape shape;
    ConvPass pass;
    ConvEpilogue epilogue;
    bool tf32;
} ConvProblem;

/* One way to run a convolution. */
typedef struct ConvKernel {
    cudnnBackendDescriptor_t plan;
    size_t workspace;
    int64_t engine;
} ConvKernel;

/* For whom plans are made: the card behind a handle, or one of which only a description is there. */
typedef struct ConvPlanner {
    cudnnHandle_t handle;
    cudnnBackendDescriptor_t card;
} ConvPlanner;

/* `properties`: cuDNN's JSON text of a card's properties. */
ConvPlanner conv_planner_for(const char *properties);
void conv_planner_release(ConvPlanner *);

/* Fills `kernels` with up to `limit` deterministic configurations, in the order in which cuDNN recommends
 * them. */
int conv_kernels_list(const ConvPlanner *, const ConvProblem *, ConvKernel *kernels, int limit);
void conv_kernel_release(ConvKernel *kernel);

/* Writes y, x or weight, whichever the pass makes, in the shape's dtype. */
typedef struct ConvPointers {
    const void *x, *weight, *y, *residual, *bias; /* what the problem lacks is NULL */
} ConvPointers;
void conv_kernel_run(Device *device, const ConvKernel *kernel, const ConvPointers *at, void *workspace);

/* The fastest configuration, found once per device and problem, which the device's context owns; NULL when
 * cuDNN has none for this epilogue. */
const ConvKernel *conv_kernel_find(Device *device, const ConvProblem *problem);

/* In words and numbers, without the scale: what its choice is kept under (backend/choice.h). Precision and
 * pass, images, their size, channels in and out, kernel, stride, padding, whether a bias and a residual are
 * added. */
void conv_problem_write(const ConvProblem *problem, char out[128]);

/* Whether one kernel serves both. */
bool conv_same_problem(const ConvProblem *a, const ConvProblem *b);
Tensor conv_tensor_x(const ConvShape *shape);
Tensor conv_tensor_y(const ConvShape *shape);
int64_t conv_weight_count(const ConvShape *shape);

#endif
