/* The backward steps, derived once: walking the nodes backwards, each input's gradient is either written by
 * the node's backward op (which can add what is there already) or is an alias of the output's gradient times
 * a constant, so that residual connections cost nothing until somebody adds to them.
 */
#include "graph/internal.h"
#include <stdlib.h>

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

int step_time(const Graph *graph, int step) {
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
