/* Rates beside a step's: each is measured for at least the seconds asked for, and what warms the device up
 * does not count. */
#include "command/bench_rates.h"

#include "base/log.h"
#include "base/philox.h"

#include <stdlib.h>

/* ---- products ---- */

/* Uniform in [-1, 1), in the type of the tensor. */
static Tensor matrix_make(Device *device, DType dtype, uint32_t sample) {
    const size_t count = (size_t)MATRIX_SIDE * MATRIX_SIDE;
    const Tensor wide = {
        device->allocate(device, count * sizeof(float)), DTYPE_F32, MATRIX_SIDE, 1, 1, MATRIX_SIDE};
    float *host = malloc(count * sizeof *host);
    CHECK(host, "out of memory");
    const int threads = device->threads;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (size_t i = 0; i < count; i += 4) {
        const Random4 block = random_block((RandomKey){.seed = 1, .sample = sample}, (uint32_t)(i / 4));
        for (size_t k = 0; k < 4; k++) host[i + k] = 2 * random_uniform(block.x[k]) - 1;
    }
    device->copy(device, wide.data, host, count * sizeof(float), COPY_TO_DEVICE);
    device->synchronise(device);
    free(host);
    if (dtype == DTYPE_F32) return wide;
    Tensor narrow = wide;
    narrow.dtype = dtype;
    narrow.data = device->allocate(device, tensor_bytes(&narrow));
    device->ops->add_scale(device, &(AddScale){.a = wide, .a_scale = 1, .y = narrow});
    device->synchronise(device);
    device->release(device, wide.data);
    return narrow;
}

double bench_matrix_rate(Device *device, Precision precision, double seconds) {
    enum { AT_ONCE = 20 };
    const DType dtype = precision_dtype(precision);
    const Tensor x = matrix_make(device, dtype, 0), weight = matrix_make(device, dtype, 1),
                 y = matrix_make(device, dtype, 2);
    const LinearForward product = {.x = {x}, .y = y, .weight = weight.data, .scale = 1};
    int products = 0;
    device->tf32 = precision == PRECISION_TF32;
    device->ops->linear_forward(device, &product);
    device->synchronise(device);
    const double began = clock_monotonic();
    double spent = 0;
    for (; spent < seconds; spent = clock_monotonic() - began, products += AT_ONCE) {
        for (int i = 0; i < AT_ONCE; i++) device->ops->linear_forward(device, &product);
        device->synchronise(device);
    }
    device->release(device, x.data);
    device->release(device, weight.data);
    device->release(device, y.data);
    return 2.0 * MATRIX_SIDE * MATRIX_SIDE * MATRIX_SIDE * products / spent;
}

/* ---- samples ---- */

/* As an evaluation draws them: several batches at once, so that the device computes while the host takes the
 * last one. Two come first: the second batch is recorded where the device records. */
double bench_sample_rate(Trainer *trainer, int classes, int image_size, double seconds, Error *error) {
    const SamplerConfig one_step = {.nfe = 1};
    enum { BATCHES = 8 };
    const int batch = trainer_micro_batch(trainer), count = batch * BATCHES;
    float *images = malloc((size_t)count * (size_t)image_size * sizeof *images);
    int32_t *labels = calloc((size_t)count, sizeof *labels);
    CHECK(images && labels, "out of memory for %d samples", count);
    double began = 0, spent = 0;
    int64_t drawn = 0;
    bool sound = true;
    for (int call = 0; sound && (call < 2 || spent < seconds); call++) {
        if (call == 1) began = clock_monotonic();
        const int now = call ? count : 2 * batch;
        sound = trainer_sample(trainer, "raw", &one_step, (uint32_t)(call * count), now,
                               classes ? labels : NULL, images, error);
        if (call) drawn += now, spent = clock_monotonic() - began;
    }
    free(images);
    free(labels);
    return sound ? (double)drawn / spent : 0;
}
