/* Planning. Time runs over the forward nodes 0 .. n-1, the loss at n, and the backward steps n+1 ...; every
 * buffer is alive from its first write to its last read, and buffers whose lives do not meet may share a
 * place in the arena. Which steps those are, backward.c derives.
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

void buffer_extend(BufferList *list, int buffer, int time) {
    if (buffer >= 0 && list->items[buffer].last < time) list->items[buffer].last = time;
}

size_t value_bytes(const Graph *graph, Value value) {
    return tensor_bytes(&graph->values[value].shape);
}

int *index_list(int count) {
    int *list = malloc((size_t)(count ? count : 1) * sizeof *list);
    CHECK(list, "out of memory");
    for (int i = 0; i < count; i++) list[i] = -1;
    return list;
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
