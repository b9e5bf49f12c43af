/* Builds a Network (ct/objective.h) from a ModelConfig. */
#include "train/network.h"

Network network_create(const ModelConfig *model, ParamSet *params, Device *device, int n, int resolution,
                       int channels, bool train) {
    Graph *graph = graph_create();
    const UNet unet = unet_record(model, params, graph, n, resolution, channels, DTYPE_F32);
    graph_prepare(graph, device, train);
    return (Network){.graph = graph,
                     .input = unet.input,
                     .level = unet.level,
                     .label = unet.label,
                     .augment = unet.augment,
                     .output = unet.output,
                     .dtype = DTYPE_F32,
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
