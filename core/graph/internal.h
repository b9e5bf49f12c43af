/* What the files of this folder share: nodes, values, buffers and schedules. */
#ifndef ICT_GRAPH_INTERNAL_H
#define ICT_GRAPH_INTERNAL_H

#include "graph/graph.h"

typedef enum NodeKind {
    NODE_CONV,
    NODE_LINEAR,
    NODE_NORM,
    NODE_RESAMPLE,
    NODE_BILINEAR,
    NODE_ATTENTION,
    NODE_ACT,
    NODE_ADD,
    NODE_POOL,
    NODE_EMBED,
    NODE_CAST,
    NODE_PARTS,
    NODE_KINDS
} NodeKind;

/* What a node may read; which place means what is the same for every kind. */
enum {
    IN_X = 0,
    IN_SECOND = 1,
    IN_SIDE = 2 /* residual, or per-sample bias */,
    IN_SCALE_SHIFT = 3,
    MAX_INPUTS = 4
};

/* How the gradient of an input comes about in the backward pass. */
typedef enum Flow {
    FLOW_NONE,
    FLOW_ADDING,  /* the op writes it and can add another tensor on the way */
    FLOW_WRITING, /* the op writes it; the value must have no other consumer */
    FLOW_IDENTITY /* it is the output's gradient times a constant: an alias until somebody adds to it */
} Flow;

typedef struct Node {
    NodeKind kind;
    char scope[64];
    Value in[MAX_INPUTS], out;
    union {
        ConvNode conv;
        LinearNode linear;
        NormNode norm;
        Resample resample;
        struct {
            BilinearGrid grid;
            ParamOffset values;
        } bilinear;
        Activation activation;
        PoolForward pool; /* its bias: see parts */
        NoiseEmbed embed;
        int heads;
        float add_scale[2];
    };
    PartNode
        parts[CONV_PARTS]; /* NODE_PARTS, beside conv; NODE_POOL: the first, when it writes into a room */
    int part_count;
    ParamOffset frequency;  /* NODE_EMBED */
    uint32_t dropout_layer; /* NODE_NORM */
    OpPlan *plan[3];        /* NODE_CONV: one per ConvPass; NODE_PARTS: the first */
    bool tf32;              /* Device.tf32 while it is prepared and run */
} Node;

typedef struct ValueInfo {
    Tensor shape;  /* data is NULL, or what the caller bound */
    char name[32]; /* of inputs */
    int producer;  /* node, -1 for inputs */
    bool needs_gradient, is_output;
} ValueInfo;

/* A stretch of the arena that is in use from time `first` to time `last`, both included. */
typedef struct Buffer {
    size_t bytes, offset;
    int first, last;
    bool scratch; /* workspace: everybody shares it, so the naive count leaves it out */
} Buffer;

typedef struct BufferList {
    Buffer *items;
    int count, capacity;
} BufferList;

/* A gradient: scale * (what is in the buffer). */
typedef struct GradientTerm {
    int buffer; /* -1: none */
    float scale;
} GradientTerm;

/* One step backward: a node's backward ops, or (node < 0) the sum of two terms. */
typedef struct BackwardStep {
    int node;
    Value sum_of; /* of an addition: whose gradient it forms */
    GradientTerm dy;
    int sums_step; /* of a convolution: the norm's step that summed dy over the pixels on the way, or -1 */
    int twin_step; /* of a convolution and of the linear layer that makes its residual, whose biases have the
                      same gradient: each other's step, of which the layer's makes it; or -1 */
    int dx[MAX_INPUTS]; /* buffers written, -1: none */
    GradientTerm add[MAX_INPUTS];
    int workspace;
} BackwardStep;

/* Buffers of one schedule, by value or node number; -1: none. */
typedef struct Schedule {
    BufferList buffers;
    int *value, *statistics, *mask, *workspace; /* mask: of dropout, for the backward pass */
    size_t arena, naive;
} Schedule;

struct Graph {
    Node *nodes;
    int node_count, node_capacity;
    ValueInfo *values;
    int value_count, value_capacity;
    Value output; /* the first of them */
    bool frozen;
    char scope[64];
    bool tf32;
    uint32_t dropout_layers;

    Device *device; /* NULL until prepared */
    bool train;
    Schedule schedules[2];
    BackwardStep *steps;
    int step_count, step_capacity;
    int *gradient; /* buffer of each value's finished gradient, for graph_gradient() */
    uint8_t *arena;
};

/* What a kind of node needs to know about itself. */
typedef struct NodeTraits {
    const char *name;
    Flow flow[MAX_INPUTS];
    bool reads_input[MAX_INPUTS]; /* the backward pass reads these again */
    bool reads_output;
} NodeTraits;
extern const NodeTraits node_traits[NODE_KINDS];

void *grow_list(void *items, int count, int *capacity, size_t item_size);
int buffer_add(BufferList *, size_t bytes, int first);
void buffer_extend(BufferList *, int buffer, int time); /* buffer -1: nothing */
int *index_list(int count);                             /* of -1 */
int step_time(const Graph *, int step);
void backward_derive(Graph *); /* fills steps and the gradient buffers of the TRAIN schedule */
float node_identity_scale(const Node *, int input);
void node_forward(Graph *, GraphSchedule, const Node *, const GraphRun *);
void step_backward(Graph *, const BackwardStep *, const GraphRun *, float *gradients, bool accumulate);
size_t value_bytes(const Graph *, Value);

#endif
