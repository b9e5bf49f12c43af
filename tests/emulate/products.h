/* Products in plain loops (products.c), for what stands for cuBLASLt (products_lt.c). */
#ifndef ICT_TESTS_EMULATE_PRODUCTS_H
#define ICT_TESTS_EMULATE_PRODUCTS_H

#include "backend/cuda/product.h"

void product_run(const Product *p);

#endif
