/* Recording: every function appends one node, works out the shape it makes, and returns its number. */
#include "graph/internal.h"
#include <stdlib.h>
#include <string.h>

const NodeTraits node_traits[NODE_KINDS] = {
    [NODE_CONV] = {"conv",
                   {FLOW_ADDING, FLOW_NONE, FLOW_IDENTITY, FLOW_NONE},
                   {true, false, false, false},
                   false},
    [NODE_LINEAR] = {"linear",
                     {FLOW_ADDING, FLOW_ADDING, FLOW_IDENTITY, FLOW_NONE},
                     {true, true, false, false},
                     false},
    [NODE_NORM] = {"norm",
                   {FLOW_ADDING, FLOW_ADDING, FLOW_WRITING, FLOW_WRITING},
                   {true, true, true, true},
                   false},
    [NODE_RESAMPLE] = {"resample", {FLOW_ADDING}, {false}, false},
    [NODE_BILINEAR] = {"bilinear", {FLOW_ADDING}, {false}, false},
    [NODE_ATTENTION] = {"attention", {FLOW_WRITING}, {true}, true},
    [NODE_ACT] = {"act", {FLOW_ADDING}, {true}, false},
    [NODE_ADD] = {"add", {FLOW_IDENTITY, FLOW_IDENTITY}, {false}, false},
    [NODE_POOL] = {"pool", {FLOW_ADDING}, {true}, true},
    [NODE_EMBED] = {"embed", {FLOW_NONE}, {false}, false},
    [NODE_CAST] = {"cast", {FLOW_WRITING}, {false}, false},
    [NODE_PARTS] = {"conv parts", {FLOW_NONE}, {false}, false},
};

void *grow_list(void *items, int count, int *capacity, size_t item_size) {
    if (count < *capacity) return items;
    *capacity = *capacity ? 2 * *capacity : 64;
    items = realloc(items, (size_t)*capacity * item_size);
    CHECK(items, "out of memory");
    return items;
}

Graph *graph_create(void) {
    Graph *graph = calloc(1, sizeof *graph);
    CHECK(graph, "out of memory");
    graph->output = NO_VALUE;
    return graph;
}

void graph_scope(Graph *graph, const char *name) {
    snprintf(graph->scope, sizeof graph->scope, "%s", name);
}

void graph_allow_tf32(Graph *graph, bool allowed) {
    graph->tf32 = allowed;
}

static Value value_add(Graph *graph, Tensor shape, int producer, bool needs_gradient) {
    CHECK(shape.n > 0 && shape.h > 0 && shape.w > 0 && shape.c > 0, "%s: empty tensor %dx%dx%dx%d",
          graph->scope, shape.n, shape.h, shape.w, shape.c);
    graph->values =
        grow_list(graph->values, graph->value_count, &graph->value_capacity, sizeof *graph->values);
    graph->values[graph->value_count] =
        (ValueInfo){.shape = shape, .producer = producer, .needs_gradient = needs_gradient};
    return graph->value_count++;
}

Value graph_input(Graph *graph, const char *name, DType dtype, int n, int h, int w, int c,
                  bool needs_gradient) {
    const Value value = value_add(graph, (Tensor){NULL, dtype, n, h, w, c}, -1, needs_gradient);
    snprintf(graph->values[value].name, sizeof graph->values[value].name, "%s", name);
    return value;
}

void graph_output(Graph *graph, Value value) {
    if (graph->output == NO_VALUE) graph->output = value;
    graph->values[value].is_output = true;
}

void graph_freeze(Graph *graph) {
    CHECK(graph->node_count == 0, "a graph is frozen before it is recorded");
    graph->frozen = true;
}

static Tensor shape_of(const Graph *graph, Value value) {
    CHECK(value >= 0 && value < graph->value_count, "%s: no value %d", graph->scope, value);
    return graph->values[value].shape;
}

Tensor graph_shape(const Graph *graph, Value value) {
    Tensor shape = shape_of(graph, value);
    shape.data = NULL;
    return shape;
}

/* Appends the node; its output needs a gradient when it has parameters or when any of its
 * inputs needs one. */
static Value node_add(Graph *graph, Node node, Tensor shape, bool has_parameters) {
    bool needs_gradient = has_parameters && !graph->frozen;
    for (int i = 0; i < MAX_INPUTS; i++)
        if (node.in[i] != NO_VALUE) needs_gradient |= graph->values[node.in[i]].needs_gradient;
    memcpy(node.scope, graph->scope, sizeof node.scope);
    node.tf32 = graph->tf32;
    node.out = value_add(graph, shape, graph->node_count, needs_gradient);
    graph->nodes = grow_list(graph->nodes, graph->node_count, &graph->node_capacity, sizeof *graph->nodes);
    graph->nodes[graph->node_count++] = node;
    return node.out;
}

static void check_same_shape(const Graph *graph, Value value, Tensor shape) {
    if (value == NO_VALUE) return;
    const Tensor t = shape_of(graph, value);
    CHECK(t.n == shape.n && t.h == shape.h && t.w == shape.w && t.c == shape.c,
          "%s: shapes differ: %dx%dx%dx%d and %dx%dx%dx%d", graph->scope, t.n, t.h, t.w, t.c, shape.n,
          shape.h, shape.w, shape.c);
}

Value graph_conv(Graph *graph, Value x, ConvNode conv) {
    const Tensor in = shape_of(graph, x);
    const ConvShape s = {in.n,          in.h,        in.w,       in.c,       conv.c_out, conv.kernel_h,
                         conv.kernel_w, conv.stride, conv.pad_h, conv.pad_w, in.dtype,   conv.wide};
    const Tensor out = {NULL,      conv.wide ? DTYPE_F32 : in.dtype, in.n, conv_out_h(&s), conv_out_w(&s),
                        conv.c_out};
    check_same_shape(graph, conv.residual, out);
    return node_add(graph,
                    (Node){.kind = NODE_CONV, .in = {x, NO_VALUE, conv.residual, NO_VALUE}, .conv = conv},
                    out, true);
}

Value graph_linear(Graph *graph, Value x, LinearNode linear) {
    Tensor out = shape_of(graph, x);
    out.c = linear.c_out;
    check_same_shape(graph, linear.residual, out);
    const Node node = {
        .kind = NODE_LINEAR, .in = {x, linear.second, linear.residual, NO_VALUE}, .linear = linear};
    return node_add(graph, node, out, true);
}

Value graph_norm(Graph *graph, Value x, NormNode norm) {
    Tensor out = shape_of(graph, x);
    if (norm.second != NO_VALUE) out.c += shape_of(graph, norm.second).c;
    CHECK(out.c % norm.groups == 0, "%s: %d groups do not divide %d channels", graph->scope, norm.groups,
          out.c);
    check_same_shape(graph, norm.bias, (Tensor){.n = out.n, .h = 1, .w = 1, .c = out.c});
    check_same_shape(graph, norm.scale_shift, (Tensor){.n = out.n, .h = 1, .w = 1, .c = 2 * out.c});
    const Node node = {.kind = NODE_NORM,
                       .in = {x, norm.second, norm.bias, norm.scale_shift},
                       .norm = norm,
                       .dropout_layer = graph->dropout_layers};
    if (norm.dropout > 0) graph->dropout_layers++;
    return node_add(graph, node, out, true);
}

Value graph_resample(Graph *graph, Value x, int tap_count, const float *taps, int pad, bool up) {
    Tensor out = shape_of(graph, x);
    Node node = {.kind = NODE_RESAMPLE,
                 .in = {x, NO_VALUE, NO_VALUE, NO_VALUE},
                 .resample = {.tap_count = tap_count, .pad = pad, .up = up}};
    CHECK(tap_count <= 8, "%s: %d taps, at most 8", graph->scope, tap_count);
    memcpy(node.resample.taps, taps, (size_t)tap_count * sizeof *taps);
    out.h = up ? (out.h - 1) * 2 - 2 * pad + tap_count : (out.h + 2 * pad - tap_count) / 2 + 1;
    out.w = up ? (out.w - 1) * 2 - 2 * pad + tap_count : (out.w + 2 * pad - tap_count) / 2 + 1;
    return node_add(graph, node, out, false);
}

Value graph_smooth(Graph *graph, Value x, int tap_count, const float *taps, int pad) {
    Tensor out = shape_of(graph, x);
    Node node = {.kind = NODE_RESAMPLE,
                 .in = {x, NO_VALUE, NO_VALUE, NO_VALUE},
                 .resample = {.tap_count = tap_count, .pad = pad, .smooth = true}};
    CHECK(tap_count <= 8, "%s: %d taps, at most 8", graph->scope, tap_count);
    memcpy(node.resample.taps, taps, (size_t)tap_count * sizeof *taps);
    out.h += 2 * pad - tap_count + 1;
    out.w += 2 * pad - tap_count + 1;
    return node_add(graph, node, out, false);
}

Value graph_bilinear(Graph *graph, Value x, BilinearGrid grid, int h, int w) {
    Tensor out = shape_of(graph, x);
    out.h = h, out.w = w;
    const Node node = {
        .kind = NODE_BILINEAR, .in = {x, NO_VALUE, NO_VALUE, NO_VALUE}, .bilinear = {grid, NO_PARAM}};
    return node_add(graph, node, out, false);
}

Value graph_bilinear_bytes(Graph *graph, Value x, BilinearGrid grid, int h, int w, ParamOffset values) {
    Tensor out = shape_of(graph, x);
    out.h = h, out.w = w, out.dtype = DTYPE_F32;
    CHECK(shape_of(graph, x).dtype == DTYPE_U8, "%s: bytes were expected", graph->scope);
    const Node node = {
        .kind = NODE_BILINEAR, .in = {x, NO_VALUE, NO_VALUE, NO_VALUE}, .bilinear = {grid, values}};
    return node_add(graph, node, out, false);
}

Value graph_attention(Graph *graph, Value qkv, int heads) {
    Tensor out = shape_of(graph, qkv);
    CHECK(out.c % (3 * heads) == 0, "%s: %d channels are not 3 x %d heads", graph->scope, out.c, heads);
    out.c /= 3;
    const Node node = {.kind = NODE_ATTENTION, .in = {qkv, NO_VALUE, NO_VALUE, NO_VALUE}, .heads = heads};
    return node_add(graph, node, out, false);
}

Value graph_act(Graph *graph, Value x, Activation activation) {
    const Node node = {.kind = NODE_ACT, .in = {x, NO_VALUE, NO_VALUE, NO_VALUE}, .activation = activation};
    return node_add(graph, node, shape_of(graph, x), false);
}

Value graph_add(Graph *graph, Value a, Value b, float a_scale, float b_scale) {
    const Node node = {.kind = NODE_ADD, .in = {a, b, NO_VALUE, NO_VALUE}, .add_scale = {a_scale, b_scale}};
    check_same_shape(graph, b, shape_of(graph, a));
    return node_add(graph, node, shape_of(graph, a), false);
}

static Tensor pool_shape(const Graph *graph, Value x, int size, int stride, int pad) {
    Tensor out = shape_of(graph, x);
    out.h = size ? (out.h + 2 * pad - size) / stride + 1 : 1;
    out.w = size ? (out.w + 2 * pad - size) / stride + 1 : 1;
    return out;
}

Value graph_pool(Graph *graph, Value x, PoolKind kind, int size, int stride, int pad) {
    const Node node = {.kind = NODE_POOL,
                       .in = {x, NO_VALUE, NO_VALUE, NO_VALUE},
                       .pool = {.kind = kind, .size = size, .stride = stride, .pad = pad}};
    return node_add(graph, node, pool_shape(graph, x, size, stride, pad), false);
}

/* ---- rooms ---- */

Value graph_room(Graph *graph, int n, int h, int w, int c) {
    return value_add(graph, (Tensor){NULL, DTYPE_F32, n, h, w, c}, graph->node_count, false);
}

/* A node that writes into rooms has no value of its own: the first of them stands for it. */
static void node_add_into(Graph *graph, Node node) {
    CHECK(!graph->values[node.in[IN_X]].needs_gradient && graph->frozen,
          "%s: what is written into a room has no backward pass", graph->scope);
    memcpy(node.scope, graph->scope, sizeof node.scope);
    node.tf32 = graph->tf32;
    node.out = node.parts[0].room;
    graph->nodes = grow_list(graph->nodes, graph->node_count, &graph->node_capacity, sizeof *graph->nodes);
    graph->nodes[graph->node_count++] = node;
}

static void check_room(const Graph *graph, const PartNode *part, Tensor made) {
    const Tensor room = shape_of(graph, part->room);
    CHECK(room.n == made.n && room.h == made.h && room.w == made.w && part->first >= 0 &&
              part->first + made.c <= room.c,
          "%s: a room of %dx%dx%dx%d for %d channels of %dx%dx%d from %d on", graph->scope, room.n, room.h,
          room.w, room.c, made.c, made.n, made.h, made.w, part->first);
}

void graph_conv_parts(Graph *graph, Value x, ConvNode conv, const PartNode *parts, int count) {
    const Tensor in = shape_of(graph, x);
    Node node = {
        .kind = NODE_PARTS, .in = {x, NO_VALUE, NO_VALUE, NO_VALUE}, .conv = conv, .part_count = count};
    CHECK(count > 0 && count <= CONV_PARTS, "%s: %d parts, at most %d", graph->scope, count, CONV_PARTS);
    node.conv.c_out = 0;
    for (int i = 0; i < count; i++) {
        const ConvShape s = {in.n,           in.h,          in.w,          in.c,
                             parts[i].c_out, conv.kernel_h, conv.kernel_w, conv.stride,
                             conv.pad_h,     conv.pad_w,    in.dtype,      false};
        check_room(graph, &parts[i], (Tensor){NULL, in.dtype, in.n, conv_out_h(&s), conv_out_w(&s), s.c_out});
        node.conv.c_out += parts[i].c_out;
        node.parts[i] = parts[i];
    }
    node_add_into(graph, node);
}

void graph_pool_part(Graph *graph, Value x, PoolKind kind, int size, int stride, int pad, PartNode part) {
    check_room(graph, &part, pool_shape(graph, x, size, stride, pad));
    node_add_into(graph, (Node){.kind = NODE_POOL,
                                .in = {x, NO_VALUE, NO_VALUE, NO_VALUE},
                                .pool = {.kind = kind,
                                         .size = size,
                                         .stride = stride,
                                         .pad = pad,
                                         .first = part.first,
                                         .activation = part.activation},
                                .parts = {part},
                                .part_count = 1});
}

Value graph_cast(Graph *graph, Value x, DType dtype) {
    Tensor out = shape_of(graph, x);
    if (out.dtype == dtype) return x;
    out.dtype = dtype;
    const Node node = {.kind = NODE_CAST, .in = {x, NO_VALUE, NO_VALUE, NO_VALUE}};
    return node_add(graph, node, out, false);
}

Value graph_noise_embed(Graph *graph, Value level, ParamOffset frequency, int channels, NoiseEmbed embed) {
    const Tensor in = shape_of(graph, level);
    const Node node = {.kind = NODE_EMBED,
                       .in = {level, NO_VALUE, NO_VALUE, NO_VALUE},
                       .frequency = frequency,
                       .embed = embed};
    return node_add(graph, node, (Tensor){NULL, DTYPE_F32, in.n, 1, 1, channels}, false);
}
