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

/* A configuration that was chosen: in this process, by the one that wrote the run's file (conv_choice.c), or
 * by the one that wrote a table of the program (conv_table.c). */
struct ConvChoice {
    ConvProblem problem;
    int place; /* among the candidates that conv_kernels_list() gives; -1: there was none */
    int64_t engine;
    ConvChoice *next;
};

/* The run's, or else the table's, which is the run's from then on; NULL: none. */
const ConvChoice *conv_choice_find(Device *device, const ConvProblem *problem);
void conv_choice_add(Device *device, const ConvProblem *problem, int place, int64_t engine);
void conv_choice_keep(ConvChoice **list, ConvChoice choice); /* in front */
void conv_choices_release(ConvChoice **list);

/* As text: what begins a file for this card and cuDNN; a choice, without newlines; false: not one. */
void conv_choice_header(const Device *device, char out[256]);
void conv_choice_write(const ConvChoice *choice, char out[256]);
bool conv_choice_parse(const char *line, ConvChoice *choice);

/* Takes what `tables` has for this card and cuDNN as the device's table, with its hash. conv_tables(): those
 * built into the program. */
const char *conv_tables(void);
void conv_table_open(Device *device, const char *tables);

/* Whether one kernel serves both; `scale` may differ where only the configuration is asked for. */
bool conv_same_problem(const ConvProblem *a, const ConvProblem *b, bool scale);
Tensor conv_tensor_x(const ConvShape *shape);
Tensor conv_tensor_y(const ConvShape *shape);
int64_t conv_weight_count(const ConvShape *shape);

#endif
