/* Planning. Time runs over the forward nodes 0 .. n-1, the loss at n, and the backward steps n+1 ...; every
 * buffer is alive from its first write to its last read, and buffers whose lives do not meet may share a
 * place in the arena.
 *
 * Gradients are derived once: walking the nodes backwards, each input's gradient is either written by the
 * node's backward op (which can add what is there already) or is an alias of the output's gradient times a
 * constant, so that residual connections cost nothing until somebody adds to them.
 */
#include "graph/internal.h"
#include <stdlib.h>
#include <string.h>

enum { ARENA_ALIGNMENT = 256 };

int buffer_add(BufferList *list, size_t bytes, int first) {
    list->items = grow_list(list->items, list->count, &list->capacity, sizeof *list->items);
    bytes = (bytes + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
    list->items[list->count] = (Buffer){.bytes = bytes, .first = first, .last = first};
    return list->count++;
}

static int buffer_add_scratch(BufferList *list, size_t bytes, int time) {
    const int buffer = buffer_add(list, bytes, time);
    list->items[buffer].scratch = true;
    return buffer;
}

static void buffer_extend(BufferList *list, int buffer, int time) {
    if (buffer >= 0 && list->items[buffer].last < time) list->items[buffer].last = time;
}

size_t value_bytes(const Graph *graph, Value value) {
    return tensor_bytes(&graph->values[value].shape);
}

static int *index_list(int count) {
    int *list = malloc((size_t)(count ? count : 1) * sizeof *list);
    CHECK(list, "out of memory");
    for (int i = 0; i < count; i++) list[i] = -1;
    return list;
}

/* ---- backward order ---- */

float node_identity_scale(const Node *node, int input) {
    switch (node->kind) {
    case NODE_CONV:
        return node->conv.scale;
    case NODE_LINEAR:
        return node->linear.scale;
    case NODE_ADD:
        return node->add_scale[input];
    default:
        die(__FILE__, __LINE__, "%s has no identity path", node_traits[node->kind].name);
    }
}

static BackwardStep *step_add(Graph *graph, int node) {
    graph->steps = grow_list(graph->steps, graph->step_count, &graph->step_capacity, sizeof *graph->steps);
    BackwardStep *step = &graph->steps[graph->step_count++];
    *step = (BackwardStep){.node = node,
                           .sum_of = NO_VALUE,
                           .dy = {-1, 1},
                           .sums_step = -1,
                           .twin_step = -1,
                           .dx = {-1, -1, -1, -1},
                           .workspace = -1};
    for (int i = 0; i < MAX_INPUTS; i++) step->add[i] = (GradientTerm){-1, 1};
    return step;
}

static int step_time(const Graph *graph, int step) {
    return graph->node_count + 1 + step;
}

/* Gradients while the order is derived: `owned` says that the value's buffer is its own and may be added to
 * in place; `sums` is the norm's step that summed the gradient over each sample's pixels, or -1; `twin` the
 * step of the convolution whose residual the value is, as long as nobody else has anything to add, or -1. */
typedef struct Pending {
    GradientTerm *term;
    bool *owned;
    int *sums, *twin;
} Pending;

/* The factors that a convolution's data gradient has cost a pass over it, unless something is added in that
 * pass anyway: else they are left to whoever reads it. */
static float scale_left(const Graph *graph, const BackwardStep *step, bool adds) {
    const Node *node = &graph->nodes[step->node];
    return node->kind == NODE_CONV && !adds ? step->dy.scale * node->conv.scale : 1;
}

/* The op writes the gradient of `value` at step `s`, adding what is pending. */
static void flow_write(Graph *graph, Pending *pending, int s, int input, Value value) {
    BufferList *buffers = &graph->schedules[GRAPH_TRAIN].buffers;
    BackwardStep *step = &graph->steps[s];
    const GradientTerm before = pending->term[value];
    step->add[input] = before;
    buffer_extend(buffers, before.buffer, step_time(graph, s));
    step->dx[input] = pending->owned[value]
                          ? before.buffer
                          : buffer_add(buffers, value_bytes(graph, value), step_time(graph, s));
    pending->term[value] = (GradientTerm){step->dx[input], scale_left(graph, step, before.buffer >= 0)};
    pending->owned[value] = true;
    pending->sums[value] = pending->twin[value] = -1;
}

/* The gradient of `value` gains `term`: an alias when it is the first, otherwise a step that adds the two. */
static void flow_alias(Graph *graph, Pending *pending, Value value, GradientTerm term) {
    if (pending->term[value].buffer < 0) {
        pending->term[value] = term;
        return;
    }
    pending->sums[value] = pending->twin[value] = -1;
    BufferList *buffers = &graph->schedules[GRAPH_TRAIN].buffers;
    BackwardStep *sum = step_add(graph, -1);
    const int time = step_time(graph, graph->step_count - 1);
    sum->sum_of = value;
    sum->add[0] = pending->term[value];
    sum->add[1] = term;
    buffer_extend(buffers, sum->add[0].buffer, time);
    buffer_extend(buffers, sum->add[1].buffer, time);
    sum->dx[0] =
        pending->owned[value] ? sum->add[0].buffer : buffer_add(buffers, value_bytes(graph, value), time);
    pending->term[value] = (GradientTerm){sum->dx[0], 1};
    pending->owned[value] = true;
}

/* A norm's bias for each sample has the sums of x's gradient as its own; when nothing was added to that, they
 * are the sums of a whole gradient, from which the convolution before makes that of its bias. */
static void sums_note(const Graph *graph, Pending *pending, int s) {
    const BackwardStep *step = &graph->steps[s];
    const Node *node = &graph->nodes[step->node];
    if (node->kind == NODE_NORM && step->dx[IN_SIDE] >= 0 && step->dx[IN_X] >= 0 &&
        node->in[IN_SECOND] == NO_VALUE && step->add[IN_X].buffer < 0)
        pending->sums[node->in[IN_X]] = s;
}

static void sums_use(Graph *graph, const Pending *pending, int s) {
    const int norm = pending->sums[graph->nodes[graph->steps[s].node].out];
    graph->steps[s].sums_step = norm;
    if (norm >= 0)
        buffer_extend(&graph->schedules[GRAPH_TRAIN].buffers, graph->steps[norm].dx[IN_SIDE],
                      step_time(graph, s));
}

/* What a convolution adds to its product has the product's gradient, and so have their biases: where a linear
 * layer makes it, that layer's pass over the gradient serves both. */
static void twin_note(const Graph *graph, Pending *pending, int s) {
    const Node *node = &graph->nodes[graph->steps[s].node];
    const Value residual = node->in[IN_SIDE];
    if (node->kind == NODE_CONV && residual != NO_VALUE && node->conv.bias != NO_PARAM &&
        graph->steps[s].sums_step < 0 && pending->term[residual].buffer < 0)
        pending->twin[residual] = s;
}

static void twin_use(Graph *graph, const Pending *pending, int s) {
    const Node *node = &graph->nodes[graph->steps[s].node];
    const int twin = pending->twin[node->out];
    if (node->kind != NODE_LINEAR || twin < 0 || node->linear.bias == NO_PARAM || node->linear.scale != 1)
        return;
    graph->steps[s].twin_step = twin;
    graph->steps[twin].twin_step = s;
}

/* The node's own step, then its identity paths. */
static void backward_node(Graph *graph, Pending *pending, int index) {
    const Node *node = &graph->nodes[index];
    const NodeTraits *traits = &node_traits[node->kind];
    BufferList *buffers = &graph->schedules[GRAPH_TRAIN].buffers;
    const GradientTerm dy = pending->term[node->out];
    if (dy.buffer < 0) return; /* nobody asks for it */
    step_add(graph, index)->dy = dy;
    const int s = graph->step_count - 1;
    buffer_extend(buffers, dy.buffer, step_time(graph, s));
    if (node->kind == NODE_CONV) sums_use(graph, pending, s);
    twin_use(graph, pending, s);
    for (int i = 0; i < MAX_INPUTS; i++) {
        const Value in = node->in[i];
        if (in == NO_VALUE || !graph->values[in].needs_gradient) continue;
        CHECK(traits->flow[i] != FLOW_WRITING || pending->term[in].buffer < 0,
              "%s: a value read here has another consumer", node->scope);
        if (traits->flow[i] == FLOW_ADDING || traits->flow[i] == FLOW_WRITING)
            flow_write(graph, pending, s, i, in);
    }
    sums_note(graph, pending, s);
    twin_note(graph, pending, s);
    for (int i = 0; i < MAX_INPUTS; i++) {
        const Value in = node->in[i];
        if (in == NO_VALUE || !graph->values[in].needs_gradient || traits->flow[i] != FLOW_IDENTITY) continue;
        flow_alias(graph, pending, in, (GradientTerm){dy.buffer, dy.scale * node_identity_scale(node, i)});
    }
}

/* Gradients that the caller reads must be plain tensors, not scaled aliases. */
static void backward_finish_inputs(Graph *graph, Pending *pending) {
    BufferList *buffers = &graph->schedules[GRAPH_TRAIN].buffers;
    for (Value v = 0; v < graph->value_count; v++) {
        if (graph->values[v].producer >= 0 || !graph->values[v].needs_gradient || pending->term[v].buffer < 0)
            continue;
        if (!pending->owned[v] || pending->term[v].scale != 1) {
            BackwardStep *copy = step_add(graph, -1);
            const int time = step_time(graph, graph->step_count - 1);
            copy->sum_of = v;
            copy->add[0] = pending->term[v];
            buffer_extend(buffers, copy->add[0].buffer, time);
            copy->dx[0] = buffer_add(buffers, value_bytes(graph, v), time);
            pending->term[v] = (GradientTerm){copy->dx[0], 1};
        }
        graph->gradient[v] = pending->term[v].buffer;
    }
}

void backward_derive(Graph *graph) {
    BufferList *buffers = &graph->schedules[GRAPH_TRAIN].buffers;
    Pending pending = {calloc((size_t)graph->value_count, sizeof(GradientTerm)),
                       calloc((size_t)graph->value_count, sizeof(bool)), index_list(graph->value_count),
                       index_list(graph->value_count)};
    graph->gradient = calloc((size_t)graph->value_count, sizeof(int));
    CHECK(pending.term && pending.owned && graph->gradient, "out of memory");
    for (Value v = 0; v < graph->value_count; v++) {
        pending.term[v] = (GradientTerm){-1, 1};
        graph->gradient[v] = -1;
    }
    for (Value v = 0; v < graph->value_count; v++) { /* the caller writes them: plain tensors of their own */
        if (!graph->values[v].is_output) continue;
        graph->gradient[v] = buffer_add(buffers, value_bytes(graph, v), graph->node_count);
        pending.term[v] = (GradientTerm){graph->gradient[v], 1};
        pending.owned[v] = true;
    }
    for (int i = graph->node_count - 1; i >= 0; i--) backward_node(graph, &pending, i);
    backward_finish_inputs(graph, &pending);
    for (Value v = 0; v < graph->value_count; v++) /* what the caller reads lives to the end */
        if (graph->values[v].producer < 0)
            buffer_extend(buffers, graph->gradient[v], step_time(graph, graph->step_count));
    free(pending.term);
    free(pending.owned);
    free(pending.sums);
    free(pending.twin);
}

/* ---- lifetimes ---- */

static size_t statistics_bytes(const Graph *graph, const Node *node, bool train) {
    if (node->kind == NODE_ATTENTION && train)
        return (size_t)tensor_rows(&graph->values[node->out].shape) * (size_t)node->heads * sizeof(float);
    if (node->kind != NODE_NORM) return 0;
    return (size_t)graph->values[node->out].shape.n * (size_t)node->norm.groups * 2 * sizeof(float);
}

static NormForward norm_shapes(const Graph *graph, const Node *node) {
    return (NormForward){.x = {graph->values[node->in[IN_X]].shape},
                         .y = graph->values[node->out].shape,
                         .groups = node->norm.groups,
                         .activation = node->norm.activation};
}

static size_t mask_bytes(const Graph *graph, const Node *node) {
    if (!graph->device || node->kind != NODE_NORM || node->norm.dropout <= 0) return 0;
    const NormForward f = norm_shapes(graph, node);
    return graph->device->ops->norm_mask_bytes(graph->device, &f);
}

static size_t forward_workspace(const Graph *graph, const Node *node) {
    if (!graph->device) return 0;
    if (node->kind == NODE_CONV || node->kind == NODE_PARTS) return node->plan[CONV_FORWARD]->workspace;
    if (node->kind != NODE_ATTENTION) return 0;
    return graph->device->ops->attention_workspace(graph->device, &graph->values[node->in[IN_X]].shape,
                                                   node->heads, false);
}

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

static size_t backward_workspace(const Graph *graph, const Node *node) {
    if (!graph->device) return 0;
    const Ops *ops = graph->device->ops;
    switch (node->kind) {
    case NODE_CONV:
        return larger(node->plan[CONV_BACKWARD_DATA]->workspace,
                      graph->frozen ? 0 : node->plan[CONV_BACKWARD_WEIGHT]->workspace);
    case NODE_ATTENTION:
        return ops->attention_workspace(graph->device, &graph->values[node->in[IN_X]].shape, node->heads,
                                        true);
    case NODE_NORM: {
        const NormForward f = norm_shapes(graph, node);
        return ops->norm_backward_workspace(graph->device, &f);
    }
    default:
        return 0;
    }
}

/* Several nodes may write a room. */
static void value_write(const Graph *graph, Schedule *schedule, Value value, int time) {
    if (schedule->value[value] < 0)
        schedule->value[value] = buffer_add(&schedule->buffers, value_bytes(graph, value), time);
    else
        buffer_extend(&schedule->buffers, schedule->value[value], time);
}

static void schedule_forward(Graph *graph, Schedule *schedule, bool train) {
    schedule->value = index_list(graph->value_count);
    schedule->statistics = index_list(graph->node_count);
    schedule->mask = index_list(graph->node_count);
    schedule->workspace = index_list(graph->node_count);
    for (int i = 0; i < graph->node_count; i++) {
        const Node *node = &graph->nodes[i];
        const size_t statistics = statistics_bytes(graph, node, train),
                     workspace = forward_workspace(graph, node);
        const size_t mask = train ? mask_bytes(graph, node) : 0;
        value_write(graph, schedule, node->out, i);
        for (int k = 0; k < node->part_count; k++) value_write(graph, schedule, node->parts[k].room, i);
        if (statistics) schedule->statistics[i] = buffer_add(&schedule->buffers, statistics, i);
        if (mask) schedule->mask[i] = buffer_add(&schedule->buffers, mask, i);
        if (workspace) schedule->workspace[i] = buffer_add_scratch(&schedule->buffers, workspace, i);
        for (int k = 0; k < MAX_INPUTS; k++)
            if (node->in[k] != NO_VALUE) buffer_extend(&schedule->buffers, schedule->value[node->in[k]], i);
    }
    for (Value v = 0; v < graph->value_count; v++)
        if (graph->values[v].is_output)
            buffer_extend(&schedule->buffers, schedule->value[v], graph->node_count);
}

static void schedule_backward(Graph *graph, Schedule *schedule) {
    backward_derive(graph);
    for (int s = 0; s < graph->step_count; s++) {
        BackwardStep *step = &graph->steps[s];
        if (step->node < 0) continue;
        const Node *node = &graph->nodes[step->node];
        const NodeTraits *traits = &node_traits[node->kind];
        const int time = step_time(graph, s);
        const size_t workspace = backward_workspace(graph, node);
        if (workspace) step->workspace = buffer_add_scratch(&schedule->buffers, workspace, time);
        buffer_extend(&schedule->buffers, schedule->statistics[step->node], time);
        buffer_extend(&schedule->buffers, schedule->mask[step->node], time);
        if (traits->reads_output) buffer_extend(&schedule->buffers, schedule->value[node->out], time);
        for (int k = 0; k < MAX_INPUTS; k++)
            if (node->in[k] != NO_VALUE && traits->reads_input[k])
                buffer_extend(&schedule->buffers, schedule->value[node->in[k]], time);
    }
}

/* ---- the arena ---- */

static int by_size(const void *a, const void *b) {
    const Buffer *x = *(Buffer *const *)a, *y = *(Buffer *const *)b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return x->first != y->first ? x->first - y->first : (x < y ? -1 : 1);
}

static int by_offset(const void *a, const void *b) {
    const Buffer *x = *(Buffer *const *)a, *y = *(Buffer *const *)b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Lowest place where `buffer` fits between the already placed buffers that live at the same time. */
static size_t arena_place(const Buffer *buffer, Buffer **placed, int count, Buffer **conflicts) {
    int conflict_count = 0;
    for (int i = 0; i < count; i++)
        if (placed[i]->first <= buffer->last && buffer->first <= placed[i]->last)
            conflicts[conflict_count++] = placed[i];
    qsort(conflicts, (size_t)conflict_count, sizeof *conflicts, by_offset);
    size_t offset = 0;
    for (int i = 0; i < conflict_count; i++) {
        if (offset + buffer->bytes <= conflicts[i]->offset) break;
        offset = larger(offset, conflicts[i]->offset + conflicts[i]->bytes);
    }
    return offset;
}

/* Largest buffers first: the usual greedy rule, within a few per cent of the lower bound on
 * these networks. */
static void arena_plan(Schedule *schedule) {
    const int count = schedule->buffers.count;
    Buffer **order = malloc((size_t)count * sizeof *order),
           **conflicts = malloc((size_t)count * sizeof *conflicts);
    CHECK(order && conflicts, "out of memory");
    for (int i = 0; i < count; i++) order[i] = &schedule->buffers.items[i];
    qsort(order, (size_t)count, sizeof *order, by_size);
    for (int i = 0; i < count; i++) {
        order[i]->offset = arena_place(order[i], order, i, conflicts);
        schedule->arena = larger(schedule->arena, order[i]->offset + order[i]->bytes);
        if (!order[i]->scratch) schedule->naive += order[i]->bytes;
    }
    free(order);
    free(conflicts);
}

static ConvShape node_conv_shape(const Graph *graph, const Node *node) {
    const Tensor x = graph->values[node->in[IN_X]].shape;
    const ConvNode *c = &node->conv;
    return (ConvShape){x.n,         x.h,       x.w,      x.c,      c->c_out, c->kernel_h,
                       c->kernel_w, c->stride, c->pad_h, c->pad_w, x.dtype,  c->wide};
}

static void prepare_convolution(Graph *graph, Node *node, bool train) {
    const ConvShape shape = node_conv_shape(graph, node);
    const ConvNode *c = &node->conv;
    const ConvEpilogue epilogue = {c->bias != NO_PARAM, c->residual != NO_VALUE, c->scale};
    const ConvPass last = !train ? CONV_FORWARD : graph->frozen ? CONV_BACKWARD_DATA : CONV_BACKWARD_WEIGHT;
    for (ConvPass pass = CONV_FORWARD; pass <= last; pass++)
        node->plan[pass] = graph->device->ops->conv_prepare(graph->device, &shape, pass, &epilogue);
}

static void prepare_parts(Graph *graph, Node *node) {
    const ConvShape shape = node_conv_shape(graph, node);
    int c_out[CONV_PARTS];
    for (int i = 0; i < node->part_count; i++) c_out[i] = node->parts[i].c_out;
    node->plan[0] = graph->device->ops->conv_parts_prepare(graph->device, &shape, c_out, node->part_count);
}

static void prepare_convolutions(Graph *graph, bool train) {
    for (int i = 0; i < graph->node_count; i++) {
        Node *node = &graph->nodes[i];
        graph->device->tf32 = node->tf32;
        if (node->kind == NODE_CONV) prepare_convolution(graph, node, train);
        if (node->kind == NODE_PARTS) prepare_parts(graph, node);
    }
}

/* All schedules; bytes of the arena. */
static size_t schedules_plan(Graph *graph, bool train) {
    CHECK(!graph->schedules[GRAPH_EVALUATE].value, "a graph is planned once");
    CHECK(graph->output != NO_VALUE, "a graph needs an output");
    size_t arena = 0;
    graph->train = train;
    for (int s = GRAPH_EVALUATE; s <= (train ? GRAPH_TRAIN : GRAPH_EVALUATE); s++) {
        schedule_forward(graph, &graph->schedules[s], s == GRAPH_TRAIN);
        if (s == GRAPH_TRAIN) schedule_backward(graph, &graph->schedules[s]);
        arena_plan(&graph->schedules[s]);
        arena = larger(arena, graph->schedules[s].arena);
    }
    return arena;
}

void graph_plan(Graph *graph, bool train) {
    schedules_plan(graph, train);
}

void graph_prepare(Graph *graph, Device *device, bool train) {
    graph->device = device;
    prepare_convolutions(graph, train);
    graph->arena = device->allocate(device, schedules_plan(graph, train));
}

void graph_free(Graph *graph) {
    if (!graph) return;
    for (int i = 0; i < graph->node_count; i++)
        for (int pass = 0; pass < 3; pass++)
            if (graph->nodes[i].plan[pass])
                graph->device->ops->plan_release(graph->device, graph->nodes[i].plan[pass]);
    for (int s = 0; s < 2; s++) {
        Schedule *schedule = &graph->schedules[s];
        free(schedule->buffers.items);
        free(schedule->value);
        free(schedule->statistics);
        free(schedule->mask);
        free(schedule->workspace);
    }
    if (graph->arena) graph->device->release(graph->device, graph->arena);
    free(graph->nodes);
    free(graph->values);
    free(graph->steps);
    free(graph->gradient);
    free(graph);
}
