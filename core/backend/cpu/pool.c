/* Pooling. Work is cut into (image, block of channels) pairs that share nothing, so the backward pass may add
 * window by window into its gradient without a race and always in the same order. Windows that overlap the
 * border are cut off there: padding neither wins a maximum nor counts in a mean. Within a block everything is
 * a short loop over channels, which vectorises.
 */
#include "backend/cpu/cpu.h"

enum { BLOCK = 64 }; /* channels at a time */

/* Where the work is: channels `channel` .. `channel + count - 1` of image `image`. */
typedef struct Block {
    int image, channel, count;
} Block;

/* The part of a window that lies inside the image. */
typedef struct Window {
    int top, bottom, left, right;
} Window;

static int block_count(const Tensor *x) {
    return x->n * ((x->c + BLOCK - 1) / BLOCK);
}

static Block block_make(const Tensor *x, int index) {
    const int per_image = (x->c + BLOCK - 1) / BLOCK;
    Block b = {.image = index / per_image, .channel = index % per_image * BLOCK};
    b.count = x->c - b.channel < BLOCK ? x->c - b.channel : BLOCK;
    return b;
}

static float *block_at(const Tensor *t, const Block *b, int y, int x) {
    return (float *)t->data + (((int64_t)b->image * t->h + y) * t->w + x) * t->c + b->channel;
}

static Window window_make(const PoolForward *op, int y, int x) {
    const Tensor *in = &op->x;
    if (op->size == 0) return (Window){0, in->h, 0, in->w};
    const int top = y * op->stride - op->pad, left = x * op->stride - op->pad;
    return (Window){.top = top < 0 ? 0 : top,
                    .bottom = top + op->size < in->h ? top + op->size : in->h,
                    .left = left < 0 ? 0 : left,
                    .right = left + op->size < in->w ? left + op->size : in->w};
}

static int window_area(const Window *w) {
    return (w->bottom - w->top) * (w->right - w->left);
}

/* In double: a mean over a whole image adds a thousand terms. */
static void window_mean(const PoolForward *op, const Block *b, const Window *w, float *y) {
    double sum[BLOCK] = {0};
    for (int i = w->top; i < w->bottom; i++) {
        for (int j = w->left; j < w->right; j++) {
            const float *x = block_at(&op->x, b, i, j);
#pragma omp simd
            for (int c = 0; c < b->count; c++) sum[c] += x[c];
        }
    }
    for (int c = 0; c < b->count; c++) y[c] = (float)(sum[c] / window_area(w));
}

/* Maximum and the row-major place in the image where it first stands. NaN wins, so that it is not hidden. */
static void window_max(const PoolForward *op, const Block *b, const Window *w, float *best, int32_t *place) {
    const int channels = b->count;
    for (int c = 0; c < channels; c++) best[c] = -__builtin_inff();
    for (int c = 0; c < channels; c++) place[c] = w->top * op->x.w + w->left;
    for (int i = w->top; i < w->bottom; i++) {
        for (int j = w->left; j < w->right; j++) {
            const float *x = block_at(&op->x, b, i, j);
            const int32_t here = i * op->x.w + j;
#pragma omp simd
            for (int c = 0; c < channels; c++) {
                const float value = x[c], last = best[c];
                const int wins = (value > last) | (value != value);
                best[c] = wins ? value : last;
                place[c] = wins ? here : place[c];
            }
        }
    }
}

static void check_pool(const PoolForward *op, const Tensor *x, const Tensor *y) {
    const int size = op->size, pad = op->pad, stride = op->stride;
    CHECK(x->n == y->n && op->first >= 0 && op->first + x->c <= y->c, "pool: images or channels differ");
    CHECK(op->activation != ACT_SILU, "pool: no activation but the rectifier");
    CHECK(size == 0 || (stride > 0 && pad >= 0 && 2 * pad <= size), "pool: window %d, padding %d", size, pad);
    CHECK(x->h + 2 * pad >= size && x->w + 2 * pad >= size, "pool: window %d is larger than the image", size);
    const int h = size == 0 ? 1 : (x->h + 2 * pad - size) / stride + 1;
    const int w = size == 0 ? 1 : (x->w + 2 * pad - size) / stride + 1;
    CHECK(y->h == h && y->w == w, "pool: output is %d x %d instead of %d x %d", y->h, y->w, h, w);
}

/* What stands behind the pooling. */
static void block_finish(const PoolForward *op, const Block *b, float *y) {
    const bool rectify = op->activation == ACT_RELU;
    if (!op->bias && !rectify) return;
    for (int c = 0; c < b->count; c++) {
        const float value = y[c] + (op->bias ? op->bias[b->channel + c] : 0.0f);
        y[c] = rectify && value < 0.0f ? 0.0f : value;
    }
}

static void pool_forward_block(const PoolForward *op, const Block *b) {
    int32_t place[BLOCK];
    for (int y = 0; y < op->y.h; y++) {
        for (int x = 0; x < op->y.w; x++) {
            const Window w = window_make(op, y, x);
            float *to = block_at(&op->y, b, y, x) + op->first;
            if (op->kind == POOL_MAX)
                window_max(op, b, &w, to, place);
            else
                window_mean(op, b, &w, to);
            block_finish(op, b, to);
        }
    }
}

void cpu_pool_forward(Device *device, const PoolForward *op) {
    CHECK_F32(op->x);
    CHECK_F32(op->y);
    check_pool(op, &op->x, &op->y);
    const int blocks = block_count(&op->x), parts = cpu_parts(device, tensor_count(&op->x));
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int part = 0; part < parts; part++) {
        const Range range = range_part(blocks, part, parts);
        for (int64_t i = range.begin; i < range.end; i++) {
            const Block b = block_make(&op->x, (int)i);
            pool_forward_block(op, &b);
        }
    }
}

/* dx = add_scale * add: what the windows are then added to. */
static void backward_start(const PoolBackward *op, const Block *b) {
    for (int y = 0; y < op->dx.h; y++) {
        for (int x = 0; x < op->dx.w; x++) {
            float *dx = block_at(&op->dx, b, y, x);
            const float *add = op->add.data ? block_at(&op->add, b, y, x) : NULL;
            for (int c = 0; c < b->count; c++) dx[c] = add ? op->add_scale * add[c] : 0.0f;
        }
    }
}

static void backward_mean(const PoolBackward *op, const Block *b, const Window *w, const float *dy) {
    const float scale = op->dy_scale / (float)window_area(w);
    for (int i = w->top; i < w->bottom; i++) {
        for (int j = w->left; j < w->right; j++) {
            float *dx = block_at(&op->dx, b, i, j);
#pragma omp simd
            for (int c = 0; c < b->count; c++) dx[c] += scale * dy[c];
        }
    }
}

/* To each channel's winner alone; found again, which costs less than storing places in the forward pass. */
static void backward_max(const PoolBackward *op, const Block *b, const Window *w, const float *dy) {
    const int channels = b->count;
    const float scale = op->dy_scale;
    float best[BLOCK];
    int32_t place[BLOCK];
    window_max(&op->forward, b, w, best, place);
    for (int i = w->top; i < w->bottom; i++) {
        for (int j = w->left; j < w->right; j++) {
            float *dx = block_at(&op->dx, b, i, j);
            const int32_t here = i * op->dx.w + j;
#pragma omp simd
            for (int c = 0; c < channels; c++) dx[c] += place[c] == here ? scale * dy[c] : 0.0f;
        }
    }
}

static void pool_backward_block(const PoolBackward *op, const Block *b) {
    backward_start(op, b);
    for (int y = 0; y < op->dy.h; y++) {
        for (int x = 0; x < op->dy.w; x++) {
            const Window w = window_make(&op->forward, y, x);
            const float *dy = block_at(&op->dy, b, y, x);
            if (op->forward.kind == POOL_MAX)
                backward_max(op, b, &w, dy);
            else
                backward_mean(op, b, &w, dy);
        }
    }
}

void cpu_pool_backward(Device *device, const PoolBackward *op) {
    CHECK_F32(op->forward.x);
    CHECK_F32(op->dy);
    CHECK_F32(op->dx);
    CHECK_F32(op->add);
    check_pool(&op->forward, &op->dx, &op->dy);
    CHECK(tensor_count(&op->forward.x) == tensor_count(&op->dx) && op->dy.c == op->dx.c,
          "pool_backward: x and dx differ in size");
    CHECK(!op->add.data || tensor_count(&op->add) == tensor_count(&op->dx), "pool_backward: size of add");
    const int blocks = block_count(&op->dx), parts = cpu_parts(device, tensor_count(&op->dx));
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int part = 0; part < parts; part++) {
        const Range range = range_part(blocks, part, parts);
        for (int64_t i = range.begin; i < range.end; i++) {
            const Block b = block_make(&op->dx, (int)i);
            pool_backward_block(op, &b);
        }
    }
}
