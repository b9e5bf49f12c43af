/* Running: each node turned into the backend's arguments, forward and backward. */
#include "graph/internal.h"

static void *buffer_data(const Graph *graph, GraphSchedule schedule, int buffer) {
    return buffer < 0 ? NULL : graph->arena + graph->schedules[schedule].buffers.items[buffer].offset;
}

Tensor graph_value(const Graph *graph, GraphSchedule schedule, Value value) {
    if (value == NO_VALUE) return (Tensor){0};
    Tensor tensor = graph->values[value].shape;
    if (graph->values[value].producer >= 0)
        tensor.data = buffer_data(graph, schedule, graph->schedules[schedule].value[value]);
    else
        CHECK(tensor.data, "input '%s' is not bound", graph->values[value].name);
    return tensor;
}

Tensor graph_gradient(const Graph *graph, Value value) {
    CHECK(graph->train && graph->gradient[value] >= 0, "value %d has no gradient to read", value);
    Tensor tensor = graph->values[value].shape;
    tensor.data = buffer_data(graph, GRAPH_TRAIN, graph->gradient[value]);
    return tensor;
}

void graph_bind(Graph *graph, Value input, void *data) {
    CHECK(input >= 0 && graph->values[input].producer < 0, "only inputs are bound");
    graph->values[input].shape.data = data;
}

/* Parameters in the dtype of the tensor they meet. */
static const void *weight_at(const GraphRun *run, DType dtype, ParamOffset offset) {
    return dtype == DTYPE_F32 ? (const void *)(run->master + offset)
                              : (const uint8_t *)run->cast + (size_t)offset * dtype_size(dtype);
}

static const float *master_at(const GraphRun *run, ParamOffset offset) {
    return offset == NO_PARAM ? NULL : run->master + offset;
}

static float *gradient_at(float *gradients, ParamOffset offset) {
    return offset == NO_PARAM || !gradients ? NULL : gradients + offset;
}

/* ---- forward ---- */

static float *statistics_of(const Graph *graph, GraphSchedule s, const Node *node) {
    return buffer_data(graph, s, graph->schedules[s].statistics[node - graph->nodes]);
}

static NormForward norm_arguments(const Graph *graph, GraphSchedule s, const Node *node,
                                  const GraphRun *run) {
    const NormNode *norm = &node->norm;
    return (NormForward){
        .x = {graph_value(graph, s, node->in[IN_X]), graph_value(graph, s, node->in[IN_SECOND])},
        .y = graph_value(graph, s, node->out),
        .bias = graph_value(graph, s, node->in[IN_SIDE]),
        .scale_shift = graph_value(graph, s, node->in[IN_SCALE_SHIFT]),
        .gamma = master_at(run, norm->gamma),
        .beta = master_at(run, norm->beta),
        .groups = norm->groups,
        .epsilon = norm->epsilon,
        .activation = norm->activation,
        .dropout = {.rate = run->dropout ? norm->dropout : 0,
                    .layer = node->dropout_layer,
                    .draw = run->draw},
        .statistics = statistics_of(graph, s, node),
        .mask = buffer_data(graph, s, graph->schedules[s].mask[node - graph->nodes]),
    };
}

static void conv_forward(Graph *graph, GraphSchedule s, const Node *node, const GraphRun *run,
                         void *workspace) {
    const Tensor x = graph_value(graph, s, node->in[IN_X]);
    graph->device->ops->conv_forward(
        graph->device,
        &(ConvForward){.plan = node->plan[CONV_FORWARD],
                       .x = x,
                       .y = graph_value(graph, s, node->out),
                       .residual = graph_value(graph, s, node->in[IN_SIDE]),
                       .weight = weight_at(run, node->conv.wide ? DTYPE_F32 : x.dtype, node->conv.weight),
                       .bias = master_at(run, node->conv.bias),
                       .scale = node->conv.scale,
                       .workspace = workspace});
}

static void linear_forward(Graph *graph, GraphSchedule s, const Node *node, const GraphRun *run) {
    const Tensor x = graph_value(graph, s, node->in[IN_X]);
    graph->device->ops->linear_forward(
        graph->device, &(LinearForward){.x = {x, graph_value(graph, s, node->in[IN_SECOND])},
                                        .y = graph_value(graph, s, node->out),
                                        .residual = graph_value(graph, s, node->in[IN_SIDE]),
                                        .weight = weight_at(run, x.dtype, node->linear.weight),
                                        .bias = master_at(run, node->linear.bias),
                                        .scale = node->linear.scale});
}

static void parts_forward(Graph *graph, GraphSchedule s, const Node *node, const GraphRun *run,
                          void *workspace) {
    ConvParts op = {.plan = node->plan[0],
                    .x = graph_value(graph, s, node->in[IN_X]),
                    .parts = node->part_count,
                    .workspace = workspace};
    for (int i = 0; i < node->part_count; i++) {
        const PartNode *part = &node->parts[i];
        op.part[i] = (ConvPart){
            graph_value(graph, s, part->room), part->first,     part->c_out, master_at(run, part->weight),
            master_at(run, part->bias),        part->activation};
    }
    graph->device->ops->conv_parts(graph->device, &op);
}

/* Nodes that read one or two tensors and have no parameters. */
static void plain_forward(Graph *graph, GraphSchedule s, const Node *node, const GraphRun *run,
                          void *workspace) {
    Device *device = graph->device;
    const Tensor x = graph_value(graph, s, node->in[IN_X]), y = graph_value(graph, s, node->out);
    if (node->kind == NODE_RESAMPLE) {
        Resample resample = node->resample;
        resample.x = x, resample.y = y, resample.scale = 1;
        device->ops->resample(device, &resample);
    } else if (node->kind == NODE_BILINEAR) {
        device->ops->bilinear(device, &(Bilinear){.x = x,
                                                  .y = y,
                                                  .grid = node->bilinear.grid,
                                                  .scale = 1,
                                                  .values = master_at(run, node->bilinear.values)});
    } else if (node->kind == NODE_ATTENTION) {
        device->ops->attention_forward(
            device, &(AttentionForward){x, y, node->heads, statistics_of(graph, s, node), workspace});
    } else if (node->kind == NODE_ACT) {
        device->ops->act_forward(device, &(ActForward){x, y, node->activation});
    } else if (node->kind == NODE_ADD) {
        const Tensor b = graph_value(graph, s, node->in[IN_SECOND]);
        device->ops->add_scale(device, &(AddScale){x, b, y, node->add_scale[0], node->add_scale[1]});
    } else if (node->kind == NODE_CAST) {
        device->ops->add_scale(device, &(AddScale){.a = x, .y = y, .a_scale = 1});
    } else if (node->kind == NODE_POOL) {
        PoolForward pool = node->pool;
        pool.x = x, pool.y = y;
        if (node->part_count) pool.bias = master_at(run, node->parts[0].bias);
        device->ops->pool_forward(device, &pool);
    } else {
        NoiseEmbed embed = node->embed;
        embed.level = x, embed.y = y, embed.frequency = master_at(run, node->frequency);
        device->ops->noise_embed(device, &embed);
    }
}

/* Before and after the ops of a node. */
static void node_enter(Graph *graph, const Node *node) {
    graph->device->tf32 = node->tf32;
    if (graph->device->range) graph->device->range(graph->device, node->scope);
}

static void node_leave(Graph *graph) {
    if (graph->device->range) graph->device->range(graph->device, NULL);
}

void node_forward(Graph *graph, GraphSchedule s, const Node *node, const GraphRun *run) {
    const int index = (int)(node - graph->nodes);
    void *workspace = buffer_data(graph, s, graph->schedules[s].workspace[index]);
    node_enter(graph, node);
    if (node->kind == NODE_CONV) {
        conv_forward(graph, s, node, run, workspace);
    } else if (node->kind == NODE_LINEAR) {
        linear_forward(graph, s, node, run);
    } else if (node->kind == NODE_NORM) {
        const NormForward arguments = norm_arguments(graph, s, node, run);
        graph->device->ops->norm_forward(graph->device, &arguments);
    } else if (node->kind == NODE_PARTS) {
        parts_forward(graph, s, node, run, workspace);
    } else {
        plain_forward(graph, s, node, run, workspace);
    }
    node_leave(graph);
}

void graph_forward(Graph *graph, GraphSchedule schedule, const GraphRun *run) {
    CHECK(graph->device && (graph->train || schedule == GRAPH_EVALUATE),
          "the graph is not prepared for this");
    for (int i = 0; i < graph->node_count; i++) node_forward(graph, schedule, &graph->nodes[i], run);
}

/* ---- backward ---- */

static Tensor gradient_tensor(const Graph *graph, Value value, int buffer) {
    if (value == NO_VALUE || buffer < 0) return (Tensor){0};
    Tensor tensor = graph->values[value].shape;
    tensor.data = buffer_data(graph, GRAPH_TRAIN, buffer);
    return tensor;
}

/* What a step's backward ops have in common. */
typedef struct StepTensors {
    Tensor dy, dy_sums, dx[MAX_INPUTS], add[MAX_INPUTS];
    const Node *twin; /* whose bias has the same gradient (BackwardStep.twin_step), or NULL */
    float add_scale[MAX_INPUTS];
    void *workspace;
} StepTensors;

static StepTensors step_tensors(const Graph *graph, const BackwardStep *step, const Node *node) {
    StepTensors t = {.dy = gradient_tensor(graph, node->out, step->dy.buffer),
                     .workspace = buffer_data(graph, GRAPH_TRAIN, step->workspace)};
    for (int i = 0; i < MAX_INPUTS; i++) {
        t.dx[i] = gradient_tensor(graph, node->in[i], step->dx[i]);
        t.add[i] = gradient_tensor(graph, node->in[i], step->add[i].buffer);
        t.add_scale[i] = step->add[i].scale;
    }
    if (step->twin_step >= 0) t.twin = &graph->nodes[graph->steps[step->twin_step].node];
    if (step->sums_step >= 0) {
        const BackwardStep *norm = &graph->steps[step->sums_step];
        t.dy_sums = gradient_tensor(graph, graph->nodes[norm->node].in[IN_SIDE], norm->dx[IN_SIDE]);
    }
    return t;
}

static void conv_backward(Graph *graph, const Node *node, const StepTensors *t, float dy_scale,
                          const GraphRun *run, float *gradients, bool accumulate) {
    const Tensor x = graph_value(graph, GRAPH_TRAIN, node->in[IN_X]);
    const float scale = dy_scale * node->conv.scale;
    if (gradients)
        graph->device->ops->conv_backward_weight(
            graph->device,
            &(ConvBackwardWeight){.plan = node->plan[CONV_BACKWARD_WEIGHT],
                                  .x = x,
                                  .dy = t->dy,
                                  .dy_sums = t->dy_sums,
                                  .dweight = gradients + node->conv.weight,
                                  .dbias = t->twin ? NULL : gradient_at(gradients, node->conv.bias),
                                  .dy_scale = scale,
                                  .accumulate = accumulate,
                                  .workspace = t->workspace});
    if (t->dx[IN_X].data)
        graph->device->ops->conv_backward_data(
            graph->device, &(ConvBackwardData){.plan = node->plan[CONV_BACKWARD_DATA],
                                               .dy = t->dy,
                                               .dx = t->dx[IN_X],
                                               .add = t->add[IN_X],
                                               .weight = weight_at(run, node->conv.wide ? DTYPE_F32 : x.dtype,
                                                                   node->conv.weight),
                                               .dy_scale = t->add[IN_X].data ? scale : 1,
                                               .add_scale = t->add_scale[IN_X],
                                               .workspace = t->workspace});
}

/* Both have been the same sum from the first share of the batch on: a copy is right when they accumulate. */
static void twin_copy(Graph *graph, const Node *node, const Node *twin, float *gradients) {
    const Tensor from = {gradients + node->linear.bias, DTYPE_F32, 1, 1, 1, node->linear.c_out};
    Tensor to = from;
    to.data = gradients + twin->conv.bias;
    graph->device->ops->add_scale(graph->device, &(AddScale){.a = from, .y = to, .a_scale = 1});
}

static void linear_backward(Graph *graph, const Node *node, const StepTensors *t, float dy_scale,
                            const GraphRun *run, float *gradients, bool accumulate) {
    const Tensor x = graph_value(graph, GRAPH_TRAIN, node->in[IN_X]);
    const Tensor second = graph_value(graph, GRAPH_TRAIN, node->in[IN_SECOND]);
    const float scale = dy_scale * node->linear.scale;
    if (gradients)
        graph->device->ops->linear_backward_weight(
            graph->device, &(LinearBackwardWeight){.x = {x, second},
                                                   .dy = t->dy,
                                                   .dweight = gradients + node->linear.weight,
                                                   .dbias = gradient_at(gradients, node->linear.bias),
                                                   .dy_scale = scale,
                                                   .accumulate = accumulate});
    if (gradients && t->twin) twin_copy(graph, node, t->twin, gradients);
    if (t->dx[IN_X].data || t->dx[IN_SECOND].data)
        graph->device->ops->linear_backward_data(
            graph->device, &(LinearBackwardData){.dy = t->dy,
                                                 .dx = {t->dx[IN_X], t->dx[IN_SECOND]},
                                                 .add = {t->add[IN_X], t->add[IN_SECOND]},
                                                 .weight = weight_at(run, x.dtype, node->linear.weight),
                                                 .c = {x.c, second.c},
                                                 .dy_scale = scale,
                                                 .add_scale = {t->add_scale[IN_X], t->add_scale[IN_SECOND]}});
}

static void norm_backward(Graph *graph, const Node *node, const StepTensors *t, float dy_scale,
                          const GraphRun *run, float *gradients, bool accumulate) {
    graph->device->ops->norm_backward(
        graph->device, &(NormBackward){.forward = norm_arguments(graph, GRAPH_TRAIN, node, run),
                                       .dy = t->dy,
                                       .dx = {t->dx[IN_X], t->dx[IN_SECOND]},
                                       .add = {t->add[IN_X], t->add[IN_SECOND]},
                                       .dbias = t->dx[IN_SIDE],
                                       .dscale_shift = t->dx[IN_SCALE_SHIFT],
                                       .dy_scale = dy_scale,
                                       .add_scale = {t->add_scale[IN_X], t->add_scale[IN_SECOND]},
                                       .dgamma = gradient_at(gradients, node->norm.gamma),
                                       .dbeta = gradient_at(gradients, node->norm.beta),
                                       .accumulate = accumulate,
                                       .workspace = t->workspace});
}

static void plain_backward(Graph *graph, const Node *node, const StepTensors *t, float dy_scale) {
    Device *device = graph->device;
    const Tensor dx = t->dx[IN_X], add = t->add[IN_X];
    const float add_scale = t->add_scale[IN_X];
    if (!dx.data) return;
    if (node->kind == NODE_RESAMPLE) {
        Resample resample = node->resample;
        resample.x = t->dy, resample.y = dx, resample.add = add;
        resample.scale = dy_scale, resample.add_scale = add_scale, resample.adjoint = true;
        device->ops->resample(device, &resample);
    } else if (node->kind == NODE_BILINEAR) {
        device->ops->bilinear(
            device, &(Bilinear){t->dy, dx, add, node->bilinear.grid, true, dy_scale, add_scale, NULL});
    } else if (node->kind == NODE_ATTENTION) {
        device->ops->attention_backward(
            device, &(AttentionBackward){.qkv = graph_value(graph, GRAPH_TRAIN, node->in[IN_X]),
                                         .y = graph_value(graph, GRAPH_TRAIN, node->out),
                                         .dy = t->dy,
                                         .dqkv = dx,
                                         .heads = node->heads,
                                         .statistics = statistics_of(graph, GRAPH_TRAIN, node),
                                         .dy_scale = dy_scale,
                                         .workspace = t->workspace});
    } else if (node->kind == NODE_ACT) {
        const Tensor x = graph_value(graph, GRAPH_TRAIN, node->in[IN_X]);
        device->ops->act_backward(device,
                                  &(ActBackward){x, t->dy, dx, add, node->activation, dy_scale, add_scale});
    } else if (node->kind == NODE_CAST) {
        device->ops->add_scale(device, &(AddScale){.a = t->dy, .y = dx, .a_scale = dy_scale});
    } else if (node->kind == NODE_POOL) {
        PoolForward pool = node->pool;
        pool.x = graph_value(graph, GRAPH_TRAIN, node->in[IN_X]);
        pool.y = graph_value(graph, GRAPH_TRAIN, node->out);
        device->ops->pool_backward(device, &(PoolBackward){pool, t->dy, dx, add, dy_scale, add_scale});
    }
}

/* An addition of gradients: dx = add0 + add1. */
static void sum_backward(Graph *graph, const BackwardStep *step) {
    graph->device->ops->add_scale(graph->device,
                                  &(AddScale){.a = gradient_tensor(graph, step->sum_of, step->add[0].buffer),
                                              .a_scale = step->add[0].scale,
                                              .b = gradient_tensor(graph, step->sum_of, step->add[1].buffer),
                                              .b_scale = step->add[1].scale,
                                              .y = gradient_tensor(graph, step->sum_of, step->dx[0])});
}

void step_backward(Graph *graph, const BackwardStep *step, const GraphRun *run, float *gradients,
                   bool accumulate) {
    if (step->node < 0) {
        sum_backward(graph, step);
        return;
    }
    const Node *node = &graph->nodes[step->node];
    const StepTensors tensors = step_tensors(graph, step, node);
    node_enter(graph, node);
    if (node->kind == NODE_CONV)
        conv_backward(graph, node, &tensors, step->dy.scale, run, gradients, accumulate);
    else if (node->kind == NODE_LINEAR)
        linear_backward(graph, node, &tensors, step->dy.scale, run, gradients, accumulate);
    else if (node->kind == NODE_NORM)
        norm_backward(graph, node, &tensors, step->dy.scale, run, gradients, accumulate);
    else
        plain_backward(graph, node, &tensors, step->dy.scale);
    node_leave(graph);
}

void graph_backward(Graph *graph, const GraphRun *run, float *gradients, bool accumulate) {
    CHECK(graph->train, "the graph is not prepared for training");
    CHECK(!gradients || !graph->frozen, "a frozen network has no parameter gradients");
    for (int s = 0; s < graph->step_count; s++)
        step_backward(graph, &graph->steps[s], run, gradients, accumulate);
}
