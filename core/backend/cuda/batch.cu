/* What a training step draws: images, noise levels and noise. The draws themselves are those of every device
 * (backend/draw.h, backend/order.h, base/philox.h); here is who makes them. */
#include "backend/cuda/elements.cuh"
#include "backend/draw.h"

/* ---- images: a block copies one ---- */

/* 0 .. 255 to -1 .. 1, as EDM has it. */
__device__ __forceinline__ float pixel_value(uint8_t byte) {
    return (float)byte / 127.5f - 1.0f;
}

__global__ void batch_gather_kernel(BatchGather op) {
    __shared__ uint32_t source;
    __shared__ bool mirror;
    __shared__ Shift shift;
    const uint32_t image = blockIdx.x;
    if (threadIdx.x == 0) {
        const uint32_t place = op.draw.first_sample + image;
        source =
            op.gathered ? place : order_image(op.draw.seed, op.draw.row->step, op.batch, place, op.count);
        mirror = op.flip && draw_flip(&op.draw, image);
        shift = draw_shift(&op.draw, op.shift, image);
    }
    __syncthreads();
    const int height = op.y.h, width = op.y.w, channels = op.y.c, count = height * width * channels;
    const uint8_t *from = op.images + (int64_t)source * count;
    float *to = (float *)op.y.data + (int64_t)image * count;
    for (int i = threadIdx.x; i < count; i += BLOCK) {
        const int pixel = i / channels, x = pixel % width, y = pixel / width;
        const int row = reflect_place(y + shift.y, height),
                  column = reflect_place((mirror ? width - 1 - x : x) + shift.x, width);
        to[i] = pixel_value(from[(row * width + column) * channels + i % channels]);
    }
    if (!op.labels) return;
    const int32_t label = op.labels[source];
    if (op.label && threadIdx.x == 0) op.label[image] = label;
    if (!op.one_hot.data) return;
    float *row = (float *)op.one_hot.data + (int64_t)image * op.one_hot.c;
    const float shown = draw_hides_label(&op.draw, op.label_dropout, image) ? 0.0f : 1.0f;
    for (int k = threadIdx.x; k < op.one_hot.c; k += BLOCK) row[k] = k == label ? shown : 0.0f;
}

void cuda_batch_gather(Device *device, const BatchGather *op) {
    CHECK(op->y.dtype == DTYPE_F32 && (!op->one_hot.data || op->one_hot.dtype == DTYPE_F32),
          "batch_gather: images are in fp32");
    CHECK(op->count > 0 && op->batch > 0, "batch_gather: an empty data set or batch");
    CHECK(op->labels || (!op->label && !op->one_hot.data), "batch_gather: the data set has no labels");
    CHECK(op->shift >= 0 && op->shift < op->y.h && op->shift < op->y.w, "batch_gather: shift by %d",
          op->shift);
    batch_gather_kernel<<<(unsigned)op->y.n, BLOCK, 0, cuda_stream(device)>>>(*op);
    CUDA_LAUNCHED("batch_gather");
}

/* ---- noise levels ---- */

__global__ void level_draw_kernel(LevelDraw op) {
    const int i = blockIdx.x * BLOCK + threadIdx.x;
    if (i >= op.n) return;
    const int32_t pair = draw_pair(&op.draw, op.table, (uint32_t)i);
    op.teacher[i] = op.table->level[pair];
    op.student[i] = op.table->level[pair + 1];
    if (op.index) op.index[i] = pair;
}

void cuda_level_draw(Device *device, const LevelDraw *op) {
    level_draw_kernel<<<blocks_for(op->n, BLOCK), BLOCK, 0, cuda_stream(device)>>>(*op);
    CUDA_LAUNCHED("level_draw");
}

/* ---- noise: a thread makes the four normals of one random block ---- */

/* input = c_in * noisy at element `i` of the image; the thread of a pixel's last channel also writes the
 * zeros that follow it where the network takes more channels than an image has. */
__device__ __forceinline__ void input_write(const Tensor &input, int64_t image, int i, int channels,
                                            float value) {
    const int64_t pixel = image * input.h * input.w + i / channels;
    const int channel = i % channels;
    element_store(input, pixel * input.c + channel, value);
    if (channel == channels - 1)
        for (int c = channels; c < input.c; c++) element_store(input, pixel * input.c + c, 0.0f);
}

__global__ void noise_pair_kernel(NoisePair op, int count) {
    const int block = blockIdx.x * BLOCK + threadIdx.x, image = blockIdx.y;
    if (4 * block >= count) return;
    const Normal4 z =
        random_normal4(random_block(draw_key(&op.draw, STREAM_NOISE, (uint32_t)image), (uint32_t)block));
    const Level &high = op.student[image], &low = op.teacher[image];
#pragma unroll
    for (int k = 0; k < 4; k++) {
        const int i = 4 * block + k;
        const int64_t at = (int64_t)image * count + i;
        if (i >= count) return;
        const float x0 = ((const float *)op.x0.data)[at];
        const float student = fmaf(high.sigma, z.x[k], x0), teacher = fmaf(low.sigma, z.x[k], x0);
        ((float *)op.noisy_student.data)[at] = student;
        ((float *)op.noisy_teacher.data)[at] = teacher;
        input_write(op.input_student, image, i, op.x0.c, high.c_in * student);
        input_write(op.input_teacher, image, i, op.x0.c, low.c_in * teacher);
    }
}

void cuda_noise_pair(Device *device, const NoisePair *op) {
    const Tensor *noisy[] = {&op->x0, &op->noisy_student, &op->noisy_teacher};
    const Tensor *inputs[] = {&op->input_student, &op->input_teacher};
    for (int i = 0; i < 3; i++)
        CHECK(noisy[i]->dtype == DTYPE_F32 && tensor_count(noisy[i]) == tensor_count(&op->x0),
              "noise_pair: noisy images");
    for (int i = 0; i < 2; i++)
        CHECK(tensor_rows(inputs[i]) == tensor_rows(&op->x0) && inputs[i]->c >= op->x0.c,
              "noise_pair: input's size");
    const int count = (int)(tensor_count(&op->x0) / op->x0.n);
    const dim3 grid(blocks_for((count + 3) / 4, BLOCK), (unsigned)op->x0.n);
    noise_pair_kernel<<<grid, BLOCK, 0, cuda_stream(device)>>>(*op, count);
    CUDA_LAUNCHED("noise_pair");
}

__global__ void latent_noise_kernel(LatentNoise op, int count) {
    const int block = blockIdx.x * BLOCK + threadIdx.x, image = blockIdx.y;
    if (4 * block >= count) return;
    const RandomKey key = {0, STREAM_LATENT, op.step, op.first + (uint32_t)image};
    const Normal4 z = random_normal4(random_block(key, (uint32_t)block));
#pragma unroll
    for (int k = 0; k < 4; k++) {
        const int i = 4 * block + k;
        if (i >= count) return;
        float *x = (float *)op.x.data + (int64_t)image * count + i;
        const float from = op.go_on ? *x : 0.0f;
        *x = (op.clip ? fminf(fmaxf(from, -1.0f), 1.0f) : from) + op.scale * z.x[k];
        input_write(op.input, image, i, op.x.c, op.level[image].c_in * *x);
    }
}

void cuda_latent_noise(Device *device, const LatentNoise *op) {
    CHECK(op->x.dtype == DTYPE_F32 && tensor_rows(&op->input) == tensor_rows(&op->x) &&
              op->input.c >= op->x.c,
          "latent_noise: sizes differ");
    const int count = (int)(tensor_count(&op->x) / op->x.n);
    const dim3 grid(blocks_for((count + 3) / 4, BLOCK), (unsigned)op->x.n);
    latent_noise_kernel<<<grid, BLOCK, 0, cuda_stream(device)>>>(*op, count);
    CUDA_LAUNCHED("latent_noise");
}
