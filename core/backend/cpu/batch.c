/* What a training step draws: images, noise levels and noise. An image of the micro-batch stands for its
 * place in the global batch, and every draw is a function of that place (backend/draw.h), so batches of any
 * size draw alike, and so does every device.
 */
#include "backend/cpu/cpu.h"
#include "backend/draw.h"
#include <math.h>
#include <string.h>

/* ---- images ---- */

/* 0 .. 255 to -1 .. 1, as EDM has it. */
static float pixel_value(uint8_t byte) {
    return (float)byte / 127.5f - 1.0f;
}

static void row_copy(const uint8_t *from, float *to, int64_t count) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++) to[i] = pixel_value(from[i]);
}

/* The row moved by `shift` pixels, then mirrored when asked. */
static void row_move(const uint8_t *from, float *to, int width, int channels, int shift, bool mirror) {
    for (int x = 0; x < width; x++) {
        const int seen = reflect_place((mirror ? width - 1 - x : x) + shift, width);
        for (int c = 0; c < channels; c++) to[x * channels + c] = pixel_value(from[seen * channels + c]);
    }
}

static void label_write(const BatchGather *op, int64_t image, int32_t label) {
    if (op->label) op->label[image] = label;
    if (!op->one_hot.data) return;
    const int classes = op->one_hot.c;
    CHECK(label >= 0 && label < classes, "batch_gather: label %d of %d classes", label, classes);
    float *row = (float *)op->one_hot.data + image * classes;
    memset(row, 0, (size_t)classes * sizeof(float));
    row[label] = draw_hides_label(&op->draw, op->label_dropout, (uint32_t)image) ? 0.0f : 1.0f;
}

static void gather_image(const BatchGather *op, int64_t image) {
    const DrawKey *draw = &op->draw;
    const Tensor *y = &op->y;
    const uint32_t place = draw->first_sample + (uint32_t)image;
    const uint32_t source =
        op->gathered ? place : order_image(draw->seed, draw->row->step, op->batch, place, op->count);
    const int64_t row = (int64_t)y->w * y->c;
    const uint8_t *from = op->images + source * row * y->h;
    float *to = (float *)y->data + image * row * y->h;
    const bool mirror = op->flip && draw_flip(draw, (uint32_t)image);
    const Shift shift = draw_shift(draw, op->shift, (uint32_t)image);
    for (int i = 0; i < y->h; i++) {
        const uint8_t *seen = from + reflect_place(i + shift.y, y->h) * row;
        if (mirror || shift.x)
            row_move(seen, to + i * row, y->w, y->c, shift.x, mirror);
        else
            row_copy(seen, to + i * row, row);
    }
    if (op->labels) label_write(op, image, op->labels[source]);
}

void cpu_batch_gather(Device *device, const BatchGather *op) {
    CHECK_F32(op->y);
    CHECK_F32(op->one_hot);
    CHECK(op->count > 0 && op->batch > 0, "batch_gather: an empty data set or batch");
    CHECK(op->labels || (!op->label && !op->one_hot.data), "batch_gather: the data set has no labels");
    CHECK(op->shift >= 0 && op->shift < op->y.h && op->shift < op->y.w, "batch_gather: shift by %d",
          op->shift);
    const int parts = cpu_parts(device, tensor_count(&op->y));
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int part = 0; part < parts; part++) {
        const Range range = range_part(op->y.n, part, parts);
        for (int64_t i = range.begin; i < range.end; i++) gather_image(op, i);
    }
}

/* ---- noise levels ---- */

void cpu_level_draw(Device *device, const LevelDraw *op) {
    (void)device;
    CHECK(op->table->levels >= 2, "level_draw: %d levels make no pair", op->table->levels);
    for (int i = 0; i < op->n; i++) {
        const int32_t pair = draw_pair(&op->draw, op->table, (uint32_t)i);
        op->teacher[i] = op->table->level[pair];
        op->student[i] = op->table->level[pair + 1];
        if (op->index) op->index[i] = pair;
    }
}

/* ---- noise ---- */

/* Normals of elements 0 .. count-1 of a sample. The blocks are independent, so the loop
 * vectorises over them. */
static void normals_write(RandomKey key, float *z, int64_t count) {
    const int64_t whole = count / 4;
#pragma omp simd
    for (int64_t block = 0; block < whole; block++) {
        const Normal4 normals = random_normal4(random_block(key, (uint32_t)block));
        for (int k = 0; k < 4; k++) z[4 * block + k] = normals.x[k];
    }
    const Normal4 last = random_normal4(random_block(key, (uint32_t)whole));
    for (int64_t i = 4 * whole; i < count; i++) z[i] = last.x[i % 4];
}

/* noisy = x0 + sigma z, rounded once. */
static void noise_add(const float *x0, const float *z, float sigma, float *noisy, int64_t count) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++) noisy[i] = __builtin_fmaf(sigma, z[i], x0[i]);
}

/* input = c_in * noisy, followed in each pixel by zeros where the network takes more channels than an image
 * has. */
static void input_write(const NoisePair *op, const float *noisy, float c_in, const Tensor *input,
                        int64_t image) {
    const int channels = op->x0.c, wide = input->c;
    const int64_t pixels = (int64_t)op->x0.h * op->x0.w;
    float *to = (float *)input->data + image * pixels * wide;
    if (wide == channels) {
#pragma omp simd
        for (int64_t i = 0; i < pixels * wide; i++) to[i] = c_in * noisy[i];
        return;
    }
    for (int64_t p = 0; p < pixels; p++)
        for (int c = 0; c < wide; c++)
            to[p * wide + c] = c < channels ? c_in * noisy[p * channels + c] : 0.0f;
}

/* The student's noisy image holds the normals until it is written itself: an op may not allocate. */
static void noise_pair_image(const NoisePair *op, int64_t image) {
    const int64_t count = tensor_count(&op->x0) / op->x0.n, at = image * count;
    const float *x0 = (const float *)op->x0.data + at;
    float *student = (float *)op->noisy_student.data + at, *teacher = (float *)op->noisy_teacher.data + at;
    const Level *high = &op->student[image], *low = &op->teacher[image];
    normals_write(draw_key(&op->draw, STREAM_NOISE, (uint32_t)image), student, count);
    noise_add(x0, student, low->sigma, teacher, count);
    noise_add(x0, student, high->sigma, student, count);
    input_write(op, student, high->c_in, &op->input_student, image);
    input_write(op, teacher, low->c_in, &op->input_teacher, image);
}

static void check_noise_pair(const NoisePair *op) {
    const Tensor *noisy[] = {&op->x0, &op->noisy_student, &op->noisy_teacher};
    const Tensor *inputs[] = {&op->input_student, &op->input_teacher};
    for (int i = 0; i < 3; i++) {
        CHECK_F32(*noisy[i]);
        CHECK(tensor_count(noisy[i]) == tensor_count(&op->x0), "noise_pair: sizes differ");
    }
    for (int i = 0; i < 2; i++) {
        CHECK_F32(*inputs[i]);
        CHECK(tensor_rows(inputs[i]) == tensor_rows(&op->x0) && inputs[i]->c >= op->x0.c,
              "noise_pair: input's size");
    }
}

void cpu_noise_pair(Device *device, const NoisePair *op) {
    check_noise_pair(op);
    const int parts = cpu_parts(device, 16 * tensor_count(&op->x0));
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int part = 0; part < parts; part++) {
        const Range range = range_part(op->x0.n, part, parts);
        for (int64_t i = range.begin; i < range.end; i++) noise_pair_image(op, i);
    }
}

/* The input holds the normals until it is written itself. */
static void latent_noise_image(const LatentNoise *op, int64_t image) {
    const int64_t count = tensor_count(&op->x) / op->x.n, at = image * count;
    float *x = (float *)op->x.data + at, *z = (float *)op->input.data + at;
    const RandomKey key = {
        .seed = 0, .stream = STREAM_LATENT, .step = op->step, .sample = op->first + (uint32_t)image};
    const float scale = op->scale, c_in = op->level[image].c_in;
    normals_write(key, z, count);
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        const float from = op->go_on ? x[i] : 0.0f;
        x[i] = (op->clip ? fminf(fmaxf(from, -1.0f), 1.0f) : from) + scale * z[i];
        z[i] = c_in * x[i];
    }
}

void cpu_latent_noise(Device *device, const LatentNoise *op) {
    CHECK_F32(op->x);
    CHECK_F32(op->input);
    CHECK(tensor_count(&op->x) == tensor_count(&op->input), "latent_noise: sizes differ");
    const int parts = cpu_parts(device, 16 * tensor_count(&op->x));
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int part = 0; part < parts; part++) {
        const Range range = range_part(op->x.n, part, parts);
        for (int64_t i = range.begin; i < range.end; i++) latent_noise_image(op, i);
    }
}
