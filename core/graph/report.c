/* What a graph costs: FLOPs and bytes by node, the plan as text, and measured times. */
#include "graph/internal.h"
#include "base/log.h"
#include "base/text.h"
#include <stdlib.h>

typedef struct NodeCost {
    double flops, backward_flops, bytes, backward_bytes;
} NodeCost;

static double area(const Graph *graph, Value value) {
    return value == NO_VALUE ? 0 : (double)tensor_count(&graph->values[value].shape);
}

/* Multiply-adds of a node's matrix product per element of its output, times the elements: 0 for the
 * memory-bound kinds. */
static double product_flops(const Graph *graph, const Node *node) {
    const Tensor in = graph->values[node->in[IN_X]].shape;
    const double out = area(graph, node->out);
    if (node->kind == NODE_PARTS)
        return 2 * (double)tensor_rows(&graph->values[node->out].shape) * node->conv.c_out *
               node->conv.kernel_h * node->conv.kernel_w * in.c;
    if (node->kind == NODE_CONV) return 2 * out * node->conv.kernel_h * node->conv.kernel_w * in.c;
    if (node->kind == NODE_LINEAR)
        return 2 * out *
               (in.c + (node->in[IN_SECOND] == NO_VALUE ? 0 : graph->values[node->in[IN_SECOND]].shape.c));
    if (node->kind == NODE_ATTENTION) return 4 * out * in.h * in.w;
    return 0;
}

/* Of a room, only what the node writes. */
static double written_bytes(const Graph *graph, const Node *node) {
    const double rows = (double)tensor_rows(&graph->values[node->out].shape);
    if (node->kind == NODE_PARTS) return rows * node->conv.c_out * (double)sizeof(float);
    if (node->part_count) return rows * graph->values[node->in[IN_X]].shape.c * (double)sizeof(float);
    return (double)value_bytes(graph, node->out);
}

/* Every tensor that a pass must read or write, once. Weights are counted once forward and twice backward. */
static NodeCost node_cost(const Graph *graph, const Node *node) {
    const NodeTraits *traits = &node_traits[node->kind];
    NodeCost cost = {.flops = product_flops(graph, node)};
    double weights = 0;
    if (node->kind == NODE_CONV || node->kind == NODE_LINEAR || node->kind == NODE_PARTS)
        weights = cost.flops / 2 / ((double)tensor_rows(&graph->values[node->out].shape)) * sizeof(float);
    const double out = written_bytes(graph, node);
    cost.bytes = out + weights;
    cost.backward_bytes = out + 2 * weights;
    for (int i = 0; i < MAX_INPUTS; i++) {
        if (node->in[i] == NO_VALUE) continue;
        const double in = (double)value_bytes(graph, node->in[i]);
        const bool writes = graph->values[node->in[i]].needs_gradient && traits->flow[i] != FLOW_NONE &&
                            traits->flow[i] != FLOW_IDENTITY;
        cost.bytes += in;
        cost.backward_bytes += in * ((traits->reads_input[i] ? 1 : 0) + (writes ? 1 : 0));
        if (i == IN_X) cost.backward_flops = cost.flops * (writes ? 2 : 1);
    }
    return cost;
}

GraphCost graph_cost(const Graph *graph, GraphSchedule schedule) {
    GraphCost total = {.nodes = graph->node_count,
                       .arena_bytes = graph->schedules[schedule].arena,
                       .naive_bytes = graph->schedules[schedule].naive};
    for (int i = 0; i < graph->node_count; i++) {
        const NodeCost cost = node_cost(graph, &graph->nodes[i]);
        total.forward_flops += cost.flops;
        total.forward_bytes += cost.bytes;
        total.backward_flops += cost.backward_flops;
        total.backward_bytes += cost.backward_bytes;
    }
    return total;
}

/* ---- the plan as text ---- */

static void dump_value(const Graph *graph, Value value, FILE *out) {
    const ValueInfo *info = &graph->values[value];
    if (info->producer < 0)
        fprintf(out, " %s", info->name);
    else
        fprintf(out, " %%%d", value);
}

static void dump_buffer(const Graph *graph, GraphSchedule s, int buffer, const char *name, FILE *out) {
    if (buffer < 0) return;
    const Buffer *b = &graph->schedules[s].buffers.items[buffer];
    fprintf(out, "  %s @%zu +%zu [%d, %d]", name, b->offset, b->bytes, b->first, b->last);
}

static void dump_step(const Graph *graph, int s, FILE *out) {
    const BackwardStep *step = &graph->steps[s];
    const int time = graph->node_count + 1 + s;
    if (step->node < 0)
        fprintf(out, "%4d  sum of gradients of %%%d", time, step->sum_of);
    else
        fprintf(out, "%4d  %s' %s", time, node_traits[graph->nodes[step->node].kind].name,
                graph->nodes[step->node].scope);
    if (step->dy.scale != 1) fprintf(out, "  dy x %g", (double)step->dy.scale);
    for (int i = 0; i < MAX_INPUTS; i++) dump_buffer(graph, GRAPH_TRAIN, step->dx[i], "dx", out);
    fputc('\n', out);
}

void graph_dump(const Graph *graph, FILE *out) {
    const GraphSchedule s = graph->train ? GRAPH_TRAIN : GRAPH_EVALUATE;
    for (int i = 0; i < graph->node_count; i++) {
        const Node *node = &graph->nodes[i];
        const Tensor t = graph->values[node->out].shape;
        fprintf(out, "%4d  %-9s %-26s %%%d = %dx%dx%dx%d <-", i, node_traits[node->kind].name, node->scope,
                node->out, t.n, t.h, t.w, t.c);
        for (int k = 0; k < MAX_INPUTS; k++)
            if (node->in[k] != NO_VALUE) dump_value(graph, node->in[k], out);
        if (graph->device) dump_buffer(graph, s, graph->schedules[s].value[node->out], "", out);
        fputc('\n', out);
    }
    for (int i = 0; i < graph->step_count; i++) dump_step(graph, i, out);
    if (!graph->device) return;
    for (int k = GRAPH_EVALUATE; k <= (int)s; k++) {
        char planned[32], naive[32];
        const Schedule *schedule = &graph->schedules[k];
        fprintf(out, "%s: planned %s, one buffer each %s\n", k == GRAPH_TRAIN ? "train" : "evaluate",
                format_bytes(planned, (double)schedule->arena), format_bytes(naive, (double)schedule->naive));
    }
}

/* ---- measured times ---- */

typedef struct ProfileLine {
    double seconds, flops, bytes;
    int calls;
} ProfileLine;

static double timed(Device *device, double since) {
    device->synchronise(device);
    return clock_monotonic() - since;
}

static void profile_print(const char *kind, const char *where, const ProfileLine *line, double total,
                          int repeats, FILE *out) {
    if (!line->calls) return;
    const double s = line->seconds;
    fprintf(out, "%-11s %-28s %5d %9.3f %5.1f%% %9.2f %8.1f %9.4f %8.1f\n", kind, where, line->calls,
            s / repeats * 1e3, 100 * s / total, line->bytes * 1e-6, line->bytes * repeats / s * 1e-9,
            line->flops * 1e-9, line->flops * repeats / s * 1e-9);
}

static void profile_add(ProfileLine *line, double seconds, double flops, double bytes, int repeat) {
    line->seconds += seconds;
    if (repeat) return;
    line->flops += flops;
    line->bytes += bytes;
    line->calls++;
}

/* Lines 0 .. kinds-1 forward, kinds .. 2 kinds-1 backward, 2 kinds: sums of gradients; then one line a node
 * and pass. */
static void profile_pass(Graph *graph, const GraphRun *run, float *gradients, int repeat, ProfileLine *kinds,
                         ProfileLine *nodes) {
    for (int i = 0; i < graph->node_count; i++) {
        const NodeCost cost = node_cost(graph, &graph->nodes[i]);
        const double start = clock_monotonic();
        node_forward(graph, graph->train ? GRAPH_TRAIN : GRAPH_EVALUATE, &graph->nodes[i], run);
        const double seconds = timed(graph->device, start);
        profile_add(&kinds[graph->nodes[i].kind], seconds, cost.flops, cost.bytes, repeat);
        profile_add(&nodes[2 * i], seconds, cost.flops, cost.bytes, repeat);
    }
    if (!graph->train) return;
    const Tensor dy = graph_gradient(graph, graph->output);
    graph->device->fill(graph->device, dy.data, 0x3c,
                        tensor_bytes(&dy)); /* an ordinary number in every dtype */
    for (int i = 0; i < graph->step_count; i++) {
        const BackwardStep *step = &graph->steps[i];
        const double start = clock_monotonic();
        step_backward(graph, step, run, gradients, false);
        const double seconds = timed(graph->device, start);
        if (step->node < 0) {
            profile_add(&kinds[2 * NODE_KINDS], seconds, 0, 3 * (double)value_bytes(graph, step->sum_of),
                        repeat);
            continue;
        }
        const NodeCost cost = node_cost(graph, &graph->nodes[step->node]);
        profile_add(&kinds[NODE_KINDS + graph->nodes[step->node].kind], seconds, cost.backward_flops,
                    cost.backward_bytes, repeat);
        profile_add(&nodes[2 * step->node + 1], seconds, cost.backward_flops, cost.backward_bytes, repeat);
    }
}

static int profile_ops(const ProfileLine *kinds, int repeats, GraphOpTime ops[GRAPH_MOST_OPS]) {
    _Static_assert(2 * NODE_KINDS + 1 <= GRAPH_MOST_OPS, "more kinds of nodes than there is room for");
    int count = 0;
    for (int i = 0; i <= 2 * NODE_KINDS; i++) {
        const ProfileLine *line = &kinds[i];
        if (!line->calls) continue;
        ops[count++] = (GraphOpTime){.op = i < 2 * NODE_KINDS ? node_traits[i % NODE_KINDS].name : "sum",
                                     .backward = i >= NODE_KINDS,
                                     .calls = line->calls,
                                     .seconds = line->seconds / repeats,
                                     .bytes = line->bytes,
                                     .flops = line->flops};
    }
    return count;
}

int graph_profile(Graph *graph, const GraphRun *run, float *gradients, int repeats, FILE *out,
                  GraphOpTime ops[GRAPH_MOST_OPS]) {
    ProfileLine kinds[2 * NODE_KINDS + 1] = {{0}};
    ProfileLine *nodes = calloc(2 * (size_t)graph->node_count, sizeof *nodes);
    CHECK(nodes, "out of memory");
    double total = 0;
    for (int repeat = 0; repeat < repeats; repeat++)
        profile_pass(graph, run, gradients, repeat, kinds, nodes);
    for (int i = 0; i <= 2 * NODE_KINDS; i++) total += kinds[i].seconds;
    fprintf(out, "%-11s %-28s %5s %9s %6s %9s %8s %9s %8s\n", "op", "where", "calls", "ms", "share", "MB",
            "GB/s", "GFLOP", "GFLOP/s");
    for (int i = 0; i < NODE_KINDS; i++) {
        profile_print(node_traits[i].name, "all, forward", &kinds[i], total, repeats, out);
        profile_print(node_traits[i].name, "all, backward", &kinds[NODE_KINDS + i], total, repeats, out);
    }
    profile_print("sum", "gradients", &kinds[2 * NODE_KINDS], total, repeats, out);
    for (int i = 0; i < graph->node_count; i++) {
        profile_print(node_traits[graph->nodes[i].kind].name, graph->nodes[i].scope, &nodes[2 * i], total,
                      repeats, out);
        profile_print(node_traits[graph->nodes[i].kind].name, "  backward", &nodes[2 * i + 1], total, repeats,
                      out);
    }
    free(nodes);
    return profile_ops(kinds, repeats, ops);
}
