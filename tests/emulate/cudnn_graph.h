/* What conv.h names of cuDNN; products.c has the convolutions. */
#ifndef ICT_TESTS_EMULATE_CUDNN_GRAPH_H
#define ICT_TESTS_EMULATE_CUDNN_GRAPH_H

typedef void *cudnnBackendDescriptor_t, *cudnnHandle_t;

#endif
