/* As many images at a time as the network was recorded for: at 224 x 224 pixels a VGG-16 needs about 150 MB
 * an image, so a batch for the small network being trained would not fit.
 *
 * Both schedules of a graph share one arena. So the teacher's features, made in EVALUATE, are copied out
 * before the student's pass overwrites them. */
#include "ct/perceptual.h"

#include <stdlib.h>

struct Perceptual {
    const FeatureNetwork *network;
    Device *device;
    Tensor kept[PERCEPTUAL_TAPS]; /* the teacher's features */
};

Perceptual *perceptual_create(const FeatureNetwork *network, Device *device) {
    Perceptual *p = calloc(1, sizeof *p);
    CHECK(p, "out of memory");
    *p = (Perceptual){.network = network, .device = device};
    for (int i = 0; i < network->taps; i++) {
        p->kept[i] = graph_shape(network->graph, network->tap[i]);
        p->kept[i].data = device->allocate(device, tensor_bytes(&p->kept[i]));
    }
    return p;
}

void perceptual_free(Perceptual *p) {
    if (!p) return;
    for (int i = 0; i < p->network->taps; i++) p->device->release(p->device, p->kept[i].data);
    free(p);
}

/* The network's images from number `first` on. */
static void *images_at(const FeatureNetwork *network, Tensor images, int first) {
    return (float *)images.data + (int64_t)first * network->h * network->w * network->c;
}

static void features_keep(Perceptual *p, const GraphRun *weights, void *images) {
    const FeatureNetwork *network = p->network;
    graph_bind(network->graph, network->input, images);
    graph_forward(network->graph, GRAPH_EVALUATE, weights);
    for (int i = 0; i < network->taps; i++) {
        const Tensor made = graph_value(network->graph, GRAPH_EVALUATE, network->tap[i]);
        p->device->copy(p->device, p->kept[i].data, made.data, tensor_bytes(&made), COPY_ON_DEVICE);
    }
}

static void features_compare(Perceptual *p, const GraphRun *weights, const PerceptualRun *run, int first) {
    const FeatureNetwork *network = p->network;
    graph_bind(network->graph, network->input, images_at(network, run->a, first));
    graph_forward(network->graph, GRAPH_TRAIN, weights);
    for (int i = 0; i < network->taps; i++)
        p->device->ops->feature_distance(
            p->device, &(FeatureDistance){.a = graph_value(network->graph, GRAPH_TRAIN, network->tap[i]),
                                          .b = p->kept[i],
                                          .da = graph_gradient(network->graph, network->tap[i]),
                                          .weight = network->head[i],
                                          .level = run->level + first,
                                          .scale = run->scale,
                                          .distance = run->distance + first,
                                          .accumulate = i > 0});
}

void perceptual_run(Perceptual *p, const PerceptualRun *run) {
    const FeatureNetwork *network = p->network;
    const GraphRun weights = {.master = network->weights, .cast = network->weights};
    CHECK(run->a.n % network->n == 0 && run->a.h == network->h && run->a.w == network->w &&
              run->a.c == network->c,
          "perceptual: %d images of %dx%dx%d for a network that takes %d of %dx%dx%d", run->a.n, run->a.h,
          run->a.w, run->a.c, network->n, network->h, network->w, network->c);
    for (int first = 0; first < run->a.n; first += network->n) {
        features_keep(p, &weights, images_at(network, run->b, first));
        features_compare(p, &weights, run, first);
        graph_backward(network->graph, &weights, NULL, false);
        const Tensor da = graph_gradient(network->graph, network->input);
        p->device->copy(p->device, images_at(network, run->da, first), da.data, tensor_bytes(&da),
                        COPY_ON_DEVICE);
    }
}
