/* Convolutions on cuDNN, cut in three: conv_graph.c describes one to cuDNN and lists the configurations that
 * may run it, conv_search.c times those and keeps the fastest, conv.c has the ops. */
#ifndef ICT_BACKEND_CUDA_CONV_H
#define ICT_BACKEND_CUDA_CONV_H

#include "backend/cuda/cuda.h"
#include <cudnn_graph.h>

/* The tensors of a convolution, as a plan knows them. x and y are those of the forward pass in every pass. */
enum { UID_X = 1, UID_WEIGHT = 2, UID_Y = 3 };

/* One way to run a convolution. */
typedef struct ConvKernel {
    cudnnBackendDescriptor_t plan;
    size_t workspace;
    int64_t engine;
} ConvKernel;

/* Fills `kernels` with up to `limit` deterministic configurations, in the order in which cuDNN recommends
 * them. */
int conv_kernels_list(Device *device, const ConvShape *shape, ConvPass pass, ConvKernel *kernels, int limit);
void conv_kernel_release(ConvKernel *kernel);

/* Writes y, x or weight, whichever the pass makes, in the shape's dtype. */
void conv_kernel_run(Device *device, const ConvKernel *kernel, const void *x, const void *weight,
                     const void *y, void *workspace);

/* The fastest configuration; found once per device, shape and pass. The device's context owns it. */
const ConvKernel *conv_kernel_find(Device *device, const ConvShape *shape, ConvPass pass);

/* A configuration that was chosen, in this process or by the one that wrote the file (conv_choice.c). */
struct ConvChoice {
    ConvShape shape;
    ConvPass pass;
    int place; /* among the candidates that conv_kernels_list() gives */
    int64_t engine;
    ConvChoice *next;
};

const ConvChoice *conv_choice_find(Device *device, const ConvShape *shape, ConvPass pass); /* NULL: none */
void conv_choice_add(Device *device, const ConvShape *shape, ConvPass pass, int place, int64_t engine);
void conv_choices_release(CudaContext *context);

bool conv_same_shape(const ConvShape *a, const ConvShape *b);
Tensor conv_tensor_x(const ConvShape *shape);
Tensor conv_tensor_y(const ConvShape *shape);
int64_t conv_weight_count(const ConvShape *shape);

#endif
