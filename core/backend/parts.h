/* The arguments of conv_parts, with which networks that only judge are made, and what they share with other
 * ops. Part of the contract with a device (backend.h). */
#ifndef ICT_BACKEND_PARTS_H
#define ICT_BACKEND_PARTS_H

#include "backend/tensor.h"

typedef enum Activation { ACT_NONE, ACT_SILU, ACT_RELU } Activation;

/* Made by a prepare, embedded as the first member of the backend's own struct. */
typedef struct OpPlan {
    size_t workspace; /* bytes needed by every run */
} OpPlan;

/* Convolutions of one x side by side, for networks that only judge: channels first .. first + c_out - 1 of
 * y_i = activation(conv(x, weight_i) + bias_i), in fp32; the activation is a rectifier or none. A y that
 * several ops write is a concatenation that nobody copies. Factors may be rounded to TF32 where Device.tf32
 * stood when it was prepared. */
enum { CONV_PARTS = 4 };
typedef struct ConvPart {
    Tensor y;
    int first, c_out;
    const float *weight, *bias;
    Activation activation;
} ConvPart;
typedef struct ConvParts {
    OpPlan *plan;
    Tensor x;
    ConvPart part[CONV_PARTS];
    int parts;
    void *workspace;
} ConvParts;

#endif
