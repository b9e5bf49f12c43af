/* The register-tile kernel behind gemm.h. GCC unrolls the loops over the tile because their bounds are
 * constants of each instance; TILE_CASE makes one instance per number of rows. */
#include "backend/cpu/gemm.h"

#include <stddef.h>

/* Where a tile of C lies and how many of its columns exist. */
typedef struct Tile {
    const GemmResult *result;
    int64_t row, column;
    int columns;
} Tile;

/* c = scale * sum + scale * bias + add_scale * add for whole vectors. */
VECTOR_INLINE void tile_write(int rows, int vectors, Vector sum[GEMM_ROWS][2], const Tile *tile) {
    const GemmResult *r = tile->result;
    const Vector scale = vector_set(r->scale), add_scale = vector_set(r->add_scale);
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) {
        const int64_t column = tile->column + v * GEMM_LANES;
        const Vector bias = r->bias ? vector_load(r->bias + column) : vector_set(0.0f);
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++) {
            Vector y = scale * (sum[i][v] + bias);
            if (r->add)
                y = vector_fma(add_scale, vector_load(r->add + (tile->row + i) * r->add_stride + column), y);
            vector_store(r->c + (tile->row + i) * r->stride + column, y);
        }
    }
}

/* The same where the last columns do not exist. */
VECTOR_INLINE void tile_write_part(int rows, int vectors, Vector sum[GEMM_ROWS][2], const Tile *tile) {
    const GemmResult *r = tile->result;
    float line[GEMM_PANEL] = {0};
    for (int i = 0; i < rows; i++) {
        for (int v = 0; v < vectors; v++) vector_store(line + v * GEMM_LANES, sum[i][v]);
        for (int j = 0; j < tile->columns; j++) {
            const int64_t column = tile->column + j;
            float y = r->scale * (line[j] + (r->bias ? r->bias[column] : 0.0f));
            if (r->add) y = __builtin_fmaf(r->add_scale, r->add[(tile->row + i) * r->add_stride + column], y);
            r->c[(tile->row + i) * r->stride + column] = y;
        }
    }
}

VECTOR_INLINE void tile_finish(int rows, int vectors, Vector sum[GEMM_ROWS][2], const Tile *tile) {
    if (tile->columns == vectors * GEMM_LANES)
        tile_write(rows, vectors, sum, tile);
    else
        tile_write_part(rows, vectors, sum, tile);
}

/* One step along the depth. Rows are addressed from every third one: base, + stride, + 2 stride are what an
 * instruction can address, so twelve rows need four registers. */
VECTOR_INLINE void tile_step(int rows, int vectors, Vector sum[GEMM_ROWS][2], const float *const base[4],
                             int64_t stride, const float *b) {
    Vector panel[2];
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) panel[v] = vector_load(b + v * GEMM_LANES);
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) {
        const Vector a = vector_set(base[i / 3][(i % 3) * stride]);
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) sum[i][v] = vector_fma(a, panel[v], sum[i][v]);
    }
}

VECTOR_INLINE void tile_run(int rows, int vectors, const GemmTerm *term, const float *b, const Tile *tile) {
    Vector sum[GEMM_ROWS][2];
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) sum[i][0] = sum[i][1] = vector_set(0.0f);
    const int64_t stride = term->row_stride;
    const float *a = term->a + tile->row * stride;
    for (int k = 0; k < term->depth; k++, a++, b += vectors * GEMM_LANES) {
        const float *const base[4] = {a, a + 3 * stride, a + 6 * stride, a + 9 * stride};
        tile_step(rows, vectors, sum, base, stride, b);
    }
    tile_finish(rows, vectors, sum, tile);
}

VECTOR_INLINE void tile_run_transposed(int rows, int vectors, const GemmTerm *term, const float *b,
                                       const Tile *tile) {
    Vector sum[GEMM_ROWS][2];
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) sum[i][0] = sum[i][1] = vector_set(0.0f);
    const float *a = term->a + tile->row;
    for (int k = 0; k < term->depth; k++, a += term->row_stride, b += vectors * GEMM_LANES) {
        const float *const base[4] = {a, a + 3, a + 6, a + 9};
        tile_step(rows, vectors, sum, base, 1, b);
    }
    tile_finish(rows, vectors, sum, tile);
}

#define TILE_CASE(rows)                                  \
    case rows:                                           \
        if (transposed && wide)                          \
            tile_run_transposed(rows, 2, term, b, tile); \
        else if (transposed)                             \
            tile_run_transposed(rows, 1, term, b, tile); \
        else if (wide)                                   \
            tile_run(rows, 2, term, b, tile);            \
        else                                             \
            tile_run(rows, 1, term, b, tile);            \
        break;

static void tile_dispatch(int rows, bool transposed, const GemmTerm *term, const float *b, const Tile *tile) {
    const bool wide = tile->columns > GEMM_LANES;
    switch (rows) {
        TILE_CASE(1)
        TILE_CASE(2)
        TILE_CASE(3)
        TILE_CASE(4)
#if GEMM_ROWS >= 6
        TILE_CASE(5)
        TILE_CASE(6)
#endif
#if GEMM_ROWS >= 12
        TILE_CASE(7)
        TILE_CASE(8)
        TILE_CASE(9)
        TILE_CASE(10)
        TILE_CASE(11)
        TILE_CASE(12)
#endif
    }
}

/* A tile in pieces: every term by itself, and long ones DEPTH at a time. Each piece is summed from zero and
 * added to C as a whole: a sum's rounding errors grow with its length, and in networks as wide as the paper's
 * CIFAR-10 model (256 and 512 channels) long sums were the largest source of error. At depth 256 the trips
 * through C cost 3 to 4 % of a product's time, and the error of that network's output falls by a fifth;
 * pieces of 64 cost 10 % and bring little more. */
static void tile_pieces(int rows, bool transposed, const GemmTerm *term, int terms, const float *packed,
                        Tile tile) {
    enum { DEPTH = 128 };
    const GemmResult *whole = tile.result;
    const GemmResult more = {whole->c, whole->stride, whole->scale, NULL, whole->c, whole->stride, 1.0f};
    const int width = tile.columns > GEMM_LANES ? GEMM_PANEL : GEMM_LANES;
    for (int t = 0; t < terms; t++)
        for (int k = 0; k < term[t].depth; k += DEPTH, tile.result = &more) {
            const int left = term[t].depth - k, depth = left < DEPTH ? left : DEPTH;
            const GemmTerm piece = {term[t].a + k * (transposed ? term[t].row_stride : 1), term[t].row_stride,
                                    depth};
            tile_dispatch(rows, transposed, &piece, packed, &tile);
            packed += depth * width;
        }
}

/* Blocks of a few tiles of rows stay in the innermost cache while all panels pass by; tiles of a block are of
 * nearly equal height, because a low tile cannot keep the multipliers busy. */
static void blocks_run(bool transposed, const GemmTerm *term, int terms, int depth, const float *packed,
                       int rows, int n, const GemmResult *result) {
    enum { BLOCK = 8 * GEMM_ROWS };
    for (int first = 0; first < rows; first += BLOCK) {
        const int height = rows - first < BLOCK ? rows - first : BLOCK;
        const int tiles = (height + GEMM_ROWS - 1) / GEMM_ROWS;
        for (int column = 0; column < n; column += GEMM_PANEL) {
            const int columns = n - column < GEMM_PANEL ? n - column : GEMM_PANEL;
            for (int t = 0; t < tiles; t++) {
                const int begin = height * t / tiles, end = height * (t + 1) / tiles;
                const Tile tile = {result, first + begin, column, columns};
                tile_pieces(end - begin, transposed, term, terms, packed + (int64_t)column * depth, tile);
            }
        }
    }
}

void gemm_run(const GemmTerm *term, int terms, const float *packed, int rows, int n,
              const GemmResult *result) {
    int depth = 0;
    for (int t = 0; t < terms; t++) depth += term[t].depth;
    blocks_run(false, term, terms, depth, packed, rows, n, result);
}

void gemm_run_transposed(const float *a, int64_t depth_stride, int depth, const float *packed, int rows,
                         int n, const GemmResult *result) {
    const GemmTerm term = {a, depth_stride, depth};
    blocks_run(true, &term, 1, depth, packed, rows, n, result);
}

/* Rows of whole vectors, the usual case: memcpy() would be a call for a hundred bytes. */
VECTOR_INLINE void pack_whole(float *packed, const float *b, int64_t depth_stride, int depth, int vectors) {
    for (int k = 0; k < depth; k++, b += depth_stride, packed += vectors * GEMM_LANES)
        for (int v = 0; v < vectors; v++)
            vector_store(packed + v * GEMM_LANES, vector_load(b + v * GEMM_LANES));
}

static void pack_panel(float *packed, const float *b, int64_t depth_stride, int64_t column_stride, int depth,
                       int columns, int width) {
    if (column_stride == 1 && columns == GEMM_PANEL) {
        pack_whole(packed, b, depth_stride, depth, 2);
    } else if (column_stride == 1 && columns == GEMM_LANES) {
        pack_whole(packed, b, depth_stride, depth, 1);
    } else {
        for (int k = 0; k < depth; k++, b += depth_stride, packed += width) {
            for (int j = 0; j < columns; j++) packed[j] = b[j * column_stride];
            for (int j = columns; j < width; j++) packed[j] = 0.0f;
        }
    }
}

void gemm_pack(float *packed, const float *b, int64_t depth_stride, int64_t column_stride, int depth, int n) {
    for (int column = 0; column < n; column += GEMM_PANEL) {
        const int columns = n - column < GEMM_PANEL ? n - column : GEMM_PANEL;
        const int width = columns > GEMM_LANES ? GEMM_PANEL : GEMM_LANES;
        pack_panel(packed + (int64_t)column * depth, b + column * column_stride, depth_stride, column_stride,
                   depth, columns, width);
    }
}
