/* A convolution described to cuDNN's graph interface, from C: descriptors for the three tensors, the
 * convolution, the operation and the graph around it; heuristics that list engine configurations; and from a
 * configuration an execution plan.
 *
 * Not every configuration is taken. Those marked non-deterministic would give other bits run after run; those
 * that compile at run time cost seconds; and fp32 means fp32, so the ones that round their inputs to TF32 for
 * the tensor cores are left out unless the problem allows it.
 */
#include "backend/cuda/conv.h"

typedef cudnnBackendDescriptor_t Descriptor;

static Descriptor descriptor_make(cudnnBackendDescriptorType_t type) {
    Descriptor d;
    DNN_CHECK(cudnnBackendCreateDescriptor(type, &d));
    return d;
}

static void descriptor_set(Descriptor d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                           int64_t count, const void *values) {
    DNN_CHECK(cudnnBackendSetAttribute(d, name, type, count, values));
}

static void descriptor_free(Descriptor d) {
    DNN_CHECK(cudnnBackendDestroyDescriptor(d));
}

static cudnnDataType_t data_type(DType dtype) {
    CHECK(dtype == DTYPE_F32 || dtype == DTYPE_F16 || dtype == DTYPE_BF16, "conv: floats only");
    return dtype == DTYPE_F32 ? CUDNN_DATA_FLOAT : dtype == DTYPE_F16 ? CUDNN_DATA_HALF : CUDNN_DATA_BFLOAT16;
}

/* ---- the graph ---- */

/* Dimensions in cuDNN's order (n, c, h, w), strides of NHWC; a weight's outputs stand in for n. What lies
 * between two operations is virtual: it has no memory. */
static Descriptor tensor_describe(int64_t uid, DType dtype, int64_t n, int64_t h, int64_t w, int64_t c) {
    const int64_t dims[4] = {n, c, h, w}, strides[4] = {h * w * c, 1, w * c, c}, alignment = 16;
    const bool is_virtual = uid >= UID_VIRTUAL;
    const cudnnDataType_t type = data_type(dtype);
    const Descriptor d = descriptor_make(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    descriptor_set(d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    descriptor_set(d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dims);
    descriptor_set(d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides);
    descriptor_set(d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid);
    descriptor_set(d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    descriptor_set(d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
    DNN_CHECK(cudnnBackendFinalize(d));
    return d;
}

static Descriptor convolution_describe(const ConvShape *s) {
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    const int64_t axes = 2, dilations[2] = {1, 1}, strides[2] = {s->stride, s->stride},
                  pads[2] = {s->pad_h, s->pad_w};
    const Descriptor d = descriptor_make(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    descriptor_set(d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    descriptor_set(d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    descriptor_set(d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &axes);
    descriptor_set(d, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilations);
    descriptor_set(d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, strides);
    descriptor_set(d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, pads);
    descriptor_set(d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, pads);
    DNN_CHECK(cudnnBackendFinalize(d));
    return d;
}

/* How cuDNN names the parts of each pass. */
typedef struct PassNames {
    cudnnBackendDescriptorType_t operation;
    cudnnBackendAttributeName_t convolution, x, weight, y, alpha, beta;
} PassNames;

static const PassNames pass_names[] = {
    [CONV_FORWARD] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    [CONV_BACKWARD_DATA] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    [CONV_BACKWARD_WEIGHT] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
};

/* The convolution alone, its result (of the forward pass) in tensor `y_uid`, times alpha. */
static Descriptor operation_describe(const ConvProblem *p, int64_t y_uid, float alpha) {
    const PassNames *names = &pass_names[p->pass];
    const ConvShape *s = &p->shape;
    const float beta = 0;
    const Tensor x = conv_tensor_x(s), y = conv_tensor_y(s);
    const DType y_dtype = y_uid >= UID_VIRTUAL ? DTYPE_F32 : s->dtype;
    Descriptor parts[4] = {convolution_describe(s), tensor_describe(UID_X, s->dtype, x.n, x.h, x.w, x.c),
                           tensor_describe(UID_WEIGHT, s->dtype, s->c_out, s->kernel_h, s->kernel_w, s->c_in),
                           tensor_describe(y_uid, y_dtype, y.n, y.h, y.w, y.c)};
    const Descriptor operation = descriptor_make(names->operation);
    descriptor_set(operation, names->convolution, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &parts[0]);
    descriptor_set(operation, names->x, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &parts[1]);
    descriptor_set(operation, names->weight, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &parts[2]);
    descriptor_set(operation, names->y, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &parts[3]);
    descriptor_set(operation, names->alpha, CUDNN_TYPE_FLOAT, 1, &alpha);
    descriptor_set(operation, names->beta, CUDNN_TYPE_FLOAT, 1, &beta);
    DNN_CHECK(cudnnBackendFinalize(operation));
    for (int i = 0; i < 4; i++) descriptor_free(parts[i]);
    return operation;
}

/* out = alpha1 * in + alpha2 * more, `more` being like y (residual) or a value a channel (bias). */
static Descriptor addition_describe(const ConvShape *s, int64_t in, int64_t more, int64_t out, float alpha1,
                                    float alpha2) {
    const cudnnPointwiseMode_t mode = CUDNN_POINTWISE_ADD;
    const cudnnDataType_t precision = CUDNN_DATA_FLOAT;
    const Tensor y = conv_tensor_y(s);
    const bool wide = more == UID_RESIDUAL;
    const Descriptor how = descriptor_make(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    descriptor_set(how, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    descriptor_set(how, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &precision);
    DNN_CHECK(cudnnBackendFinalize(how));
    Descriptor parts[4] = {
        how, tensor_describe(in, DTYPE_F32, y.n, y.h, y.w, y.c),
        wide ? tensor_describe(more, s->dtype, y.n, y.h, y.w, y.c)
             : tensor_describe(more, s->dtype, 1, 1, 1, y.c),
        tensor_describe(out, out >= UID_VIRTUAL ? DTYPE_F32 : s->dtype, y.n, y.h, y.w, y.c)};
    const Descriptor operation = descriptor_make(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    descriptor_set(operation, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                   &parts[0]);
    descriptor_set(operation, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                   &parts[1]);
    descriptor_set(operation, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                   &parts[2]);
    descriptor_set(operation, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                   &parts[3]);
    descriptor_set(operation, CUDNN_ATTR_OPERATION_POINTWISE_ALPHA1, CUDNN_TYPE_FLOAT, 1, &alpha1);
    descriptor_set(operation, CUDNN_ATTR_OPERATION_POINTWISE_ALPHA2, CUDNN_TYPE_FLOAT, 1, &alpha2);
    DNN_CHECK(cudnnBackendFinalize(operation));
    for (int i = 0; i < 4; i++) descriptor_free(parts[i]);
    return operation;
}

/* y = scale * conv (+ scale * residual) (+ bias), the one spelling for which cuDNN has precompiled kernels:
 * the bias comes last, in the type of the images, and multiplied by the scale already. */
static int operations_describe(const ConvProblem *p, Descriptor *list) {
    const ConvEpilogue *e = &p->epilogue;
    const float scale = e->scale;
    if (!e->bias && !e->residual) {
        list[0] = operation_describe(p, UID_Y, scale);
        return 1;
    }
    list[0] = operation_describe(p, UID_VIRTUAL, 1);
    if (!e->residual || !e->bias) {
        list[1] = e->residual ? addition_describe(&p->shape, UID_VIRTUAL, UID_RESIDUAL, UID_Y, scale, scale)
                              : addition_describe(&p->shape, UID_VIRTUAL, UID_BIAS, UID_Y, scale, 1);
        return 2;
    }
    list[1] = addition_describe(&p->shape, UID_VIRTUAL, UID_RESIDUAL, UID_VIRTUAL + 1, scale, scale);
    list[2] = addition_describe(&p->shape, UID_VIRTUAL + 1, UID_BIAS, UID_Y, 1, 1);
    return 3;
}

static Descriptor graph_describe(const ConvPlanner *planner, const ConvProblem *problem) {
    Descriptor operations[3];
    const int count = operations_describe(problem, operations);
    const Descriptor graph = descriptor_make(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    if (planner->handle)
        descriptor_set(graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &planner->handle);
    descriptor_set(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, operations);
    DNN_CHECK(cudnnBackendFinalize(graph));
    for (int i = 0; i < count; i++) descriptor_free(operations[i]);
    return graph;
}

/* ---- configurations ---- */

enum { CONFIGURATIONS = 64, NOTES = 32 };

/* Up to CONFIGURATIONS of them, best first, to be freed by the caller. */
static int configurations_list(const ConvPlanner *planner, Descriptor graph, cudnnBackendHeurMode_t mode,
                               Descriptor *list) {
    int64_t count = 0;
    const Descriptor heuristic = descriptor_make(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    descriptor_set(heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                   &graph);
    descriptor_set(heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    if (planner->card)
        descriptor_set(heuristic, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                       &planner->card);
    for (int i = 0; i < CONFIGURATIONS; i++) list[i] = descriptor_make(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    if (cudnnBackendFinalize(heuristic) == CUDNN_STATUS_SUCCESS)
        DNN_CHECK(cudnnBackendGetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                           CUDNN_TYPE_BACKEND_DESCRIPTOR, CONFIGURATIONS, &count, list));
    descriptor_free(heuristic);
    return (int)count;
}

/* Whether the engine's notes allow it; *engine receives its number. `exact`: factors are not rounded. */
static bool configuration_allowed(Descriptor configuration, bool exact, int64_t *engine) {
    Descriptor d = descriptor_make(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    cudnnBackendNumericalNote_t numbers[NOTES];
    cudnnBackendBehaviorNote_t behaviours[NOTES];
    int64_t got, count = 0, behaviour_count = 0;
    bool allowed = true;
    DNN_CHECK(cudnnBackendGetAttribute(configuration, CUDNN_ATTR_ENGINECFG_ENGINE,
                                       CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &got, &d));
    DNN_CHECK(cudnnBackendGetAttribute(d, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, NOTES,
                                       &count, numbers));
    DNN_CHECK(cudnnBackendGetAttribute(d, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE, NOTES,
                                       &behaviour_count, behaviours));
    DNN_CHECK(cudnnBackendGetAttribute(d, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &got, engine));
    for (int64_t i = 0; i < count; i++) {
        const cudnnBackendNumericalNote_t note = numbers[i];
        if (note == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC ||
            note == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION)
            allowed = false;
        if (exact &&
            (note == CUDNN_NUMERICAL_NOTE_TENSOR_CORE || note == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS))
            allowed = false;
    }
    for (int64_t i = 0; i < behaviour_count; i++)
        if (behaviours[i] == CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION) allowed = false;
    descriptor_free(d);
    return allowed;
}

/* cuDNN also lists configurations that it then cannot build for this card; those are passed over. */
static bool kernel_make(const ConvPlanner *planner, Descriptor configuration, ConvKernel *kernel) {
    int64_t got, workspace = 0;
    kernel->plan = descriptor_make(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    if (planner->handle)
        descriptor_set(kernel->plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1,
                       &planner->handle);
    else
        descriptor_set(kernel->plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                       &planner->card);
    descriptor_set(kernel->plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                   &configuration);
    if (cudnnBackendFinalize(kernel->plan) != CUDNN_STATUS_SUCCESS) {
        descriptor_free(kernel->plan);
        return false;
    }
    DNN_CHECK(cudnnBackendGetAttribute(kernel->plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                       CUDNN_TYPE_INT64, 1, &got, &workspace));
    kernel->workspace = (size_t)workspace;
    return true;
}

static int kernels_from(const ConvPlanner *planner, Descriptor graph, cudnnBackendHeurMode_t mode, bool exact,
                        ConvKernel *kernels, int limit) {
    Descriptor list[CONFIGURATIONS];
    const int listed = configurations_list(planner, graph, mode, list);
    int count = 0;
    for (int i = 0; i < listed && count < limit; i++)
        if (configuration_allowed(list[i], exact, &kernels[count].engine) &&
            kernel_make(planner, list[i], &kernels[count]))
            count++;
    for (int i = 0; i < CONFIGURATIONS; i++) descriptor_free(list[i]);
    return count;
}

int conv_kernels_list(const ConvPlanner *planner, const ConvProblem *problem, ConvKernel *kernels,
                      int limit) {
    const bool exact = problem->shape.dtype == DTYPE_F32 && !problem->tf32;
    const Descriptor graph = graph_describe(planner, problem);
    int count = kernels_from(planner, graph, CUDNN_HEUR_MODE_A, exact, kernels, limit);
    if (count < limit)
        count +=
            kernels_from(planner, graph, CUDNN_HEUR_MODE_FALLBACK, exact, kernels + count, limit - count);
    descriptor_free(graph);
    return count;
}

void conv_kernel_release(ConvKernel *kernel) {
    descriptor_free(kernel->plan);
}

void conv_kernel_run(Device *device, const ConvKernel *kernel, const ConvPointers *at, void *workspace) {
    const int64_t uids[5] = {UID_X, UID_WEIGHT, UID_Y, UID_RESIDUAL, UID_BIAS};
    const void *all[5] = {at->x, at->weight, at->y, at->residual, at->bias}, *pointers[5];
    int64_t used[5], count = 0;
    for (int i = 0; i < 5; i++)
        if (all[i]) used[count] = uids[i], pointers[count++] = all[i];
    const Descriptor pack = descriptor_make(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    descriptor_set(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, used);
    descriptor_set(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, pointers);
    descriptor_set(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
    DNN_CHECK(cudnnBackendFinalize(pack));
    DNN_CHECK(cudnnBackendExecute(cuda_context(device)->dnn, kernel->plan, pack));
    descriptor_free(pack);
}

/* ---- planning for a card that is not there ---- */

ConvPlanner conv_planner_for(const char *properties) {
    ConvPlanner planner = {.card = descriptor_make(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR)};
    descriptor_set(planner.card, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                   (int64_t)strlen(properties) + 1, properties);
    DNN_CHECK(cudnnBackendFinalize(planner.card));
    return planner;
}

void conv_planner_release(ConvPlanner *planner) {
    if (planner->card) descriptor_free(planner->card);
}
