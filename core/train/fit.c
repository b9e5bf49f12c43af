/* The network is recorded and planned for each micro-batch in question, which takes milliseconds; only what
 * libraries want for themselves cannot be known, and gets an allowance. */
#include "train/fit.h"

#include "train/optimiser.h"

/* The widest workspace that a convolution may take is 1 GiB (backend/cuda/conv_search.c); kernels, handles
 * and the driver's own tables take most of another. */
static const size_t LIBRARIES = (size_t)2 << 30;

size_t fit_total(const FitNeeds *needs) {
    return needs->arena + needs->images + needs->state + needs->libraries;
}

/* Weights, gradient, two moments, teacher and averages in fp32; in 16 bits a copy for products of each set of
 * weights that is trained or sampled. */
static size_t state_bytes(const FitRequest *request, size_t parameters) {
    const size_t teacher = request->teacher, copies = 2 + teacher;
    const DType dtype = precision_dtype(request->precision);
    return parameters * ((4 + teacher + (size_t)request->train->optimiser.emas) * sizeof(float) +
                         (dtype == DTYPE_F32 ? 0 : copies * dtype_size(dtype)));
}

FitNeeds fit_needs(const FitRequest *request, int micro_batch) {
    ParamSet params = {0};
    Graph *graph = graph_create();
    unet_record(request->model, &params, graph, micro_batch, request->resolution, request->channels,
                request->precision);
    graph_plan(graph, true);
    const size_t image =
        (size_t)request->resolution * (size_t)request->resolution * (size_t)request->channels;
    const FitNeeds needs = {.arena = graph_cost(graph, GRAPH_TRAIN).arena_bytes,
                            .images = 9 * image * sizeof(float) * (size_t)micro_batch,
                            .state = state_bytes(request, (size_t)params.total),
                            .libraries = LIBRARIES};
    graph_free(graph);
    param_free(&params);
    return needs;
}

int fit_micro_batch(const FitRequest *request, size_t available) {
    const int batch = request->train->batch;
    for (int parts = 1; parts <= batch; parts++) {
        if (batch % parts) continue;
        const FitNeeds needs = fit_needs(request, batch / parts);
        if (fit_total(&needs) <= available) return batch / parts;
    }
    return 0;
}
