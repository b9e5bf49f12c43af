/* A network, recorded once as a list of fused ops and then run many times.
 *
 *   record    graph_conv(), graph_norm(), ... append one node each and return the Value (a tensor's number)
 *             that it makes;
 *   prepare   derives the backward order, finds out when every buffer is born and dies, lays all of them
 *             into one arena, and asks the backend for what each op needs (the plan of a convolution);
 *   run       graph_forward() and graph_backward() walk the list;
 *   ask       what it costs, as numbers, as text, as measured times.
 *
 * There are two schedules over the same nodes and the same plans, hence with identical rounding: EVALUATE
 * keeps nothing (teacher, sampling), TRAIN keeps what the backward pass reads. A graph is recorded without a
 * device, so that sizes, parameters and FLOPs of any network can be asked for anywhere.
 */
#ifndef ICT_GRAPH_GRAPH_H
#define ICT_GRAPH_GRAPH_H

#include "backend/backend.h"
#include <stdio.h>

typedef struct Graph Graph;
typedef int Value;
enum { NO_VALUE = -1 };

/* Parameters are named by their first element's place in the flat parameter arrays (model/param.h). */
typedef int64_t ParamOffset;
#define NO_PARAM ((ParamOffset)-1)

Graph *graph_create(void);
void graph_free(Graph *graph);

/* ---- record ---- */

/* Data that the caller binds before each run. `needs_gradient`: the backward pass computes its
 * gradient too. */
Value graph_input(Graph *, const char *name, DType dtype, int n, int h, int w, int c, bool needs_gradient);

/* Names a value that stays readable after graph_forward() and whose gradient the backward pass starts from;
 * there may be several (the taps of a feature network), and one may lie on the way to another. */
void graph_output(Graph *, Value);

/* Before recording: the parameters of this network are given and get no gradients. Only what leads to an
 * input that needs a gradient is differentiated. */
void graph_freeze(Graph *);

/* The following nodes' label in dumps and per-op tables ("enc.16x16_block0"). */
void graph_scope(Graph *, const char *name);

/* Whether the following nodes' products of fp32 tensors may round their factors to TF32 (at first they may
 * not). */
void graph_allow_tf32(Graph *, bool allowed);

typedef struct ConvNode {
    int c_out, kernel_h, kernel_w, stride, pad_h, pad_w;
    ParamOffset weight, bias;
    Value residual; /* NO_VALUE when absent */
    float scale;    /* y = scale * (conv + bias + residual) */
    bool wide;      /* y and residual are fp32, and so are the weights it is made with */
} ConvNode;
Value graph_conv(Graph *, Value x, ConvNode);

/* Room that several nodes write, each channels of its own, before anything reads it: a concatenation in which
 * nothing is copied. Forward only, as are the two that write into rooms. */
Value graph_room(Graph *, int n, int h, int w, int c);

/* Up to CONV_PARTS convolutions of one x, of one shape (`conv`, its c_out, weight and bias aside), side by
 * side; bias added, `activation` applied. */
typedef struct PartNode {
    Value room;
    int first, c_out; /* channels of the room */
    ParamOffset weight, bias;
    Activation activation;
} PartNode;
void graph_conv_parts(Graph *, Value x, ConvNode conv, const PartNode *parts, int count);

typedef struct LinearNode {
    int c_out;
    ParamOffset weight, bias;
    Value second; /* the concatenation's second half, or NO_VALUE */
    Value residual;
    float scale;
} LinearNode;
Value graph_linear(Graph *, Value x, LinearNode);

typedef struct NormNode {
    ParamOffset gamma, beta;
    int groups;
    float epsilon;
    Activation activation;
    Value second, bias, scale_shift;
    float dropout;
} NormNode;
Value graph_norm(Graph *, Value x, NormNode);

Value graph_resample(Graph *, Value x, int tap_count, const float *taps, int pad, bool up);
Value graph_smooth(Graph *, Value x, int tap_count, const float *taps, int pad); /* at every pixel */
Value graph_bilinear(Graph *, Value x, BilinearGrid, int h, int w);
/* Of bytes; `values` are 256 parameters, what each byte stands for. */
Value graph_bilinear_bytes(Graph *, Value x, BilinearGrid, int h, int w, ParamOffset values);
Value graph_attention(Graph *, Value qkv, int heads);
Value graph_act(Graph *, Value x, Activation);
Value graph_add(Graph *, Value a, Value b, float a_scale, float b_scale);    /* b may be NO_VALUE */
Value graph_pool(Graph *, Value x, PoolKind, int size, int stride, int pad); /* size 0: whole image */
/* activation(pool(x) + bias) in channels part.first ... of part.room; its c_out and weight are not read. */
void graph_pool_part(Graph *, Value x, PoolKind, int size, int stride, int pad, PartNode part);
Value graph_cast(Graph *, Value x, DType dtype); /* x itself when it has that type; no other consumer of x */
Value graph_noise_embed(Graph *, Value level, ParamOffset frequency, int channels,
                        NoiseEmbed embed); /* kind, order, scale */

/* ---- prepare ---- */

/* Plans without a device: graph_cost() then knows the arena that graph_prepare() would need, but for the
 * workspaces of ops. Such a graph cannot run. */
void graph_plan(Graph *, bool train);

/* Plans and allocates. `train` false leaves the TRAIN schedule out (smaller arena). */
void graph_prepare(Graph *, Device *, bool train);

/* ---- run ---- */

typedef struct GraphRun {
    const float *master; /* flat fp32 parameters */
    const void *cast;    /* the same in the network's dtype; equals master in fp32 */
    DrawKey draw;
    bool dropout;
} GraphRun;

typedef enum GraphSchedule { GRAPH_EVALUATE, GRAPH_TRAIN } GraphSchedule;

void graph_bind(Graph *, Value input, void *data);
void graph_forward(Graph *, GraphSchedule, const GraphRun *);

/* After a TRAIN forward, with the gradient of every output written into graph_gradient(output). Parameter
 * gradients go to the flat array `gradients` (added when `accumulate`); NULL for a frozen network. */
void graph_backward(Graph *, const GraphRun *, float *gradients, bool accumulate);

Tensor graph_shape(const Graph *, Value); /* its data is NULL */

/* Where a value, or its gradient, lies. Outputs, inputs with a gradient, and while their schedule runs,
 * everything. */
Tensor graph_value(const Graph *, GraphSchedule, Value);
Tensor graph_gradient(const Graph *, Value);

/* ---- ask ---- */

typedef struct GraphCost {
    double forward_flops, backward_flops; /* multiply-adds count as two */
    double forward_bytes, backward_bytes; /* each input read once, each output written once */
    size_t arena_bytes, naive_bytes;      /* planned, and one buffer a value and gradient */
    int nodes;
} GraphCost;
GraphCost graph_cost(const Graph *, GraphSchedule);

/* The plan as text: one line a node with shapes, buffers, lifetimes. */
void graph_dump(const Graph *, FILE *);

/* All nodes of one kind in one pass: means over the repeats. */
typedef struct GraphOpTime {
    const char *op;
    bool backward;
    int calls;
    double seconds, bytes, flops;
} GraphOpTime;
enum { GRAPH_MOST_OPS = 64 };

/* Times every node of a forward pass, and of a backward pass where the graph is prepared for it, `repeats`
 * times; one line per kind of op, then per node. Each op is waited for. Returns how many of `ops` were
 * filled, one for each kind and pass. */
int graph_profile(Graph *, const GraphRun *, float *gradients, int repeats, FILE *,
                  GraphOpTime ops[GRAPH_MOST_OPS]);

#endif
