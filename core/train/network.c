/* Builds a Network (ct/objective.h) from a ModelConfig. */
#include "train/network.h"

#include <string.h>

Precision network_precision(const Device *device, Precision wanted) {
    return strcmp(device->kind, "cpu") == 0 ? PRECISION_FP32 : wanted;
}

const char *precision_name(Precision precision) {
    static const char *const names[] = {"fp32", "tf32", "bf16", "fp16"};
    return names[precision];
}

Network network_create(const ModelConfig *model, ParamSet *params, Device *device, int n, int resolution,
                       int channels, bool train, Precision precision) {
    Graph *graph = graph_create();
    const UNet unet = unet_record(model, params, graph, n, resolution, channels, precision);
    graph_prepare(graph, device, train);
    return (Network){.graph = graph,
                     .input = unet.input,
                     .level = unet.level,
                     .label = unet.label,
                     .augment = unet.augment,
                     .output = unet.output,
                     .dtype = precision_dtype(precision),
                     .n = n,
                     .h = resolution,
                     .w = resolution,
                     .c = channels,
                     .classes = model->classes,
                     .augment_dim = model->augment_dim,
                     .label_dropout = model->label_dropout};
}

void network_free(Network *network) {
    graph_free(network->graph);
    *network = (Network){0};
}

const void *network_cast(const Network *network, Device *device, const ParamSet *params, const float *master,
                         void **cast) {
    if (network->dtype == DTYPE_F32) return master;
    const int total = (int)params->total;
    if (!*cast) *cast = device->allocate(device, (size_t)total * dtype_size(network->dtype));
    const Tensor from = {(void *)(uintptr_t)master, DTYPE_F32, 1, 1, 1, total},
                 to = {*cast, network->dtype, 1, 1, 1, total};
    device->ops->add_scale(device, &(AddScale){.a = from, .y = to, .a_scale = 1});
    return *cast;
}
