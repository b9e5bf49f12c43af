/* Tensors and the types of their elements. Part of the contract with a device (backend.h). */
#ifndef ICT_BACKEND_TENSOR_H
#define ICT_BACKEND_TENSOR_H

#include <stddef.h>
#include <stdint.h>

typedef enum DType { DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_U8, DTYPE_I32 } DType;

/* What a network computes in. tf32: fp32 tensors whose products round their factors to TF32's 11 bits; bf16
 * and fp16: activations and products, while weights, noise levels and loss stay in fp32. */
typedef enum Precision { PRECISION_FP32, PRECISION_TF32, PRECISION_BF16, PRECISION_FP16 } Precision;
static inline DType precision_dtype(Precision precision) {
    return precision == PRECISION_BF16 ? DTYPE_BF16 : precision == PRECISION_FP16 ? DTYPE_F16 : DTYPE_F32;
}

typedef struct Tensor {
    void *data;
    DType dtype;
    int n, h, w, c;
} Tensor;

static inline size_t dtype_size(DType dtype) {
    return dtype == DTYPE_U8 ? 1 : dtype == DTYPE_F16 || dtype == DTYPE_BF16 ? 2 : 4;
}
static inline int64_t tensor_rows(const Tensor *t) {
    return (int64_t)t->n * t->h * t->w;
}
static inline int64_t tensor_count(const Tensor *t) {
    return tensor_rows(t) * t->c;
}
static inline size_t tensor_bytes(const Tensor *t) {
    return (size_t)tensor_count(t) * dtype_size(t->dtype);
}

#endif
