/* The ways of the CPU backend to convolve. Each makes plans of its own that begin with ConvPlan; conv.c picks
 * one per shape and pass, and calls it through the plan. */
#ifndef ICT_BACKEND_CPU_CONV_H
#define ICT_BACKEND_CPU_CONV_H

#include "backend/cpu/cpu.h"

#ifndef ICT_ONEDNN
#define ICT_ONEDNN 0
#endif

typedef struct ConvPlan ConvPlan;

typedef struct ConvMethod {
    const char *name;
    bool (*suits)(const ConvShape *, ConvPass);
    ConvPlan *(*prepare)(Device *, const ConvShape *, ConvPass);
    void (*release)(ConvPlan *); /* frees the plan itself too */
    void (*forward)(Device *, const ConvPlan *, const ConvForward *);
    void (*backward_data)(Device *, const ConvPlan *, const ConvBackwardData *);
    void (*backward_weight)(Device *, const ConvPlan *, const ConvBackwardWeight *);
} ConvMethod;

/* conv.c fills in method, shape and pass; the method adds to plan.workspace what it needs. */
struct ConvPlan {
    OpPlan plan;
    const ConvMethod *method;
    ConvShape shape;
    ConvPass pass;
};

#if ICT_ONEDNN
extern const ConvMethod conv_onednn;
void conv_onednn_version(char out[64]);
#endif
extern const ConvMethod conv_portable, conv_winograd;

/* The plan of a given method, for tests and measurements. */
OpPlan *conv_prepare_with(Device *device, const ConvMethod *method, const ConvShape *shape, ConvPass pass);

static inline int64_t conv_weight_count(const ConvShape *s) {
    return (int64_t)s->c_out * s->kernel_h * s->kernel_w * s->c_in;
}

/* Reserves workspace, cache line by cache line; returns the offset in bytes where it begins. */
static inline size_t conv_reserve(ConvPlan *plan, int64_t floats) {
    const size_t at = plan->plan.workspace;
    plan->plan.workspace += ((size_t)floats * sizeof(float) + 63) / 64 * 64;
    return at;
}

static inline float *conv_memory(void *workspace, size_t at) {
    return (float *)workspace + at / sizeof(float);
}

/* y = a_scale * a + b_scale * b by all threads; y may be either; b may be NULL. */
void conv_sum_scaled(const Device *device, float *y, const float *a, float a_scale, const float *b,
                     float b_scale, int64_t count);

#endif
