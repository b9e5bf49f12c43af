/* The transforms of Winograd's F(4x4, 3x3): one vector of channels of one tile at a time. conv_winograd.c
 * says what they are for. The matrices follow from the points 0, a, -a, b, -b and infinity at which the
 * polynomials behind the algorithm are evaluated; with ab = 1, s = a^2 + b^2, u = 2 a^2 (a^2 - b^2) and
 * v = 2 b^2 (b^2 - a^2) they are
 *
 *          1   0   -s   0   1  0             1  1   1   1   1   0            1     0     0
 *          0 -ab^2 -b^2  a  1  0             0  a  -a   b  -b   0            1/u  a/u  a^2/u
 *     B' = 0  ab^2 -b^2 -a  1  0        A' = 0 a^2 a^2 b^2 b^2  0        G = 1/u -a/u  a^2/u
 *          0 -a^2b -a^2  b  1  0             0 a^3 -a^3 b^3 -b^3 1           1/v  b/v  b^2/v
 *          0  a^2b -a^2 -b  1  0                                             1/v -b/v  b^2/v
 *          0   1    0   -s  0  1                                             0     0     1
 *
 * Textbooks take 1 and 2. 2/3 and 3/2 cost the same and keep the entries closer together: the largest error
 * is a third.
 */
#ifndef ICT_BACKEND_CPU_WINOGRAD_H
#define ICT_BACKEND_CPU_WINOGRAD_H

#include "backend/cpu/vector.h"
#include <stdbool.h>
#include <stdint.h>

enum { TILE = 4, PATCH = 6, POINTS = PATCH * PATCH };

#define WINOGRAD_A (2.0f / 3.0f)
#define WINOGRAD_B 1.5f
#define WINOGRAD_A2 (WINOGRAD_A * WINOGRAD_A)
#define WINOGRAD_B2 (WINOGRAD_B * WINOGRAD_B)
#define WINOGRAD_U (2.0f * WINOGRAD_A2 * (WINOGRAD_A2 - WINOGRAD_B2))
#define WINOGRAD_V (2.0f * WINOGRAD_B2 * (WINOGRAD_B2 - WINOGRAD_A2))

/* ---- along one dimension ---- */

/* B' d */
VECTOR_INLINE void winograd_input_line(const Vector d[PATCH], Vector out[PATCH]) {
    const Vector a = vector_set(WINOGRAD_A), a2 = vector_set(WINOGRAD_A2);
    const Vector b = vector_set(WINOGRAD_B), b2 = vector_set(WINOGRAD_B2), s = a2 + b2;
    const Vector even_a = vector_fma(-b2, d[2], d[4]), odd_a = vector_fma(-b2, d[1], d[3]);
    const Vector even_b = vector_fma(-a2, d[2], d[4]), odd_b = vector_fma(-a2, d[1], d[3]);
    out[0] = vector_fma(-s, d[2], d[0] + d[4]);
    out[1] = vector_fma(a, odd_a, even_a);
    out[2] = vector_fma(-a, odd_a, even_a);
    out[3] = vector_fma(b, odd_b, even_b);
    out[4] = vector_fma(-b, odd_b, even_b);
    out[5] = vector_fma(-s, d[3], d[1] + d[5]);
}

/* A' m */
VECTOR_INLINE void winograd_output_line(const Vector m[PATCH], Vector out[TILE]) {
    const Vector a = vector_set(WINOGRAD_A), a2 = vector_set(WINOGRAD_A2), a3 = a * a2;
    const Vector b = vector_set(WINOGRAD_B), b2 = vector_set(WINOGRAD_B2), b3 = b * b2;
    const Vector p = m[1] + m[2], q = m[1] - m[2], r = m[3] + m[4], s = m[3] - m[4];
    out[0] = m[0] + p + r;
    out[1] = vector_fma(a, q, b * s);
    out[2] = vector_fma(a2, p, b2 * r);
    out[3] = vector_fma(a3, q, vector_fma(b3, s, m[5]));
}

/* A e */
VECTOR_INLINE void winograd_spread_line(const Vector e[TILE], Vector out[PATCH]) {
    const Vector a = vector_set(WINOGRAD_A), a2 = vector_set(WINOGRAD_A2);
    const Vector b = vector_set(WINOGRAD_B), b2 = vector_set(WINOGRAD_B2);
    const Vector even_a = vector_fma(a2, e[2], e[0]), odd_a = vector_fma(a2, e[3], e[1]);
    const Vector even_b = vector_fma(b2, e[2], e[0]), odd_b = vector_fma(b2, e[3], e[1]);
    out[0] = e[0];
    out[1] = vector_fma(a, odd_a, even_a);
    out[2] = vector_fma(-a, odd_a, even_a);
    out[3] = vector_fma(b, odd_b, even_b);
    out[4] = vector_fma(-b, odd_b, even_b);
    out[5] = e[3];
}

/* G g */
VECTOR_INLINE void winograd_weight_line(const Vector g[3], Vector out[PATCH]) {
    const Vector even_a = vector_set(1.0f / WINOGRAD_U) * vector_fma(vector_set(WINOGRAD_A2), g[2], g[0]);
    const Vector even_b = vector_set(1.0f / WINOGRAD_V) * vector_fma(vector_set(WINOGRAD_B2), g[2], g[0]);
    const Vector a = vector_set(WINOGRAD_A / WINOGRAD_U), b = vector_set(WINOGRAD_B / WINOGRAD_V);
    out[0] = g[0];
    out[1] = vector_fma(a, g[1], even_a);
    out[2] = vector_fma(-a, g[1], even_a);
    out[3] = vector_fma(b, g[1], even_b);
    out[4] = vector_fma(-b, g[1], even_b);
    out[5] = g[2];
}

/* G' u */
VECTOR_INLINE void winograd_gather_line(const Vector u[PATCH], Vector out[3]) {
    const Vector even_a = vector_set(1.0f / WINOGRAD_U) * (u[1] + u[2]);
    const Vector even_b = vector_set(1.0f / WINOGRAD_V) * (u[3] + u[4]);
    const Vector a = vector_set(WINOGRAD_A / WINOGRAD_U), b = vector_set(WINOGRAD_B / WINOGRAD_V);
    out[0] = u[0] + even_a + even_b;
    out[1] = vector_fma(a, u[1] - u[2], b * (u[3] - u[4]));
    out[2] = vector_fma(vector_set(WINOGRAD_A2), even_a, vector_fma(vector_set(WINOGRAD_B2), even_b, u[5]));
}

/* ---- of a tile; what lies in memory as 36 matrices is `stride` floats from point to point ---- */

/* B' d B of the 6x6 pixels at pixel[] + c */
VECTOR_INLINE void winograd_input(const float *const pixel[POINTS], int c, float *to, int64_t stride) {
    Vector half[PATCH][PATCH], line[PATCH], out[PATCH];
    for (int i = 0; i < PATCH; i++) {
        for (int j = 0; j < PATCH; j++) line[j] = vector_load(pixel[i * PATCH + j] + c);
        winograd_input_line(line, half[i]);
    }
    for (int j = 0; j < PATCH; j++) {
        for (int i = 0; i < PATCH; i++) line[i] = half[i][j];
        winograd_input_line(line, out);
        for (int i = 0; i < PATCH; i++) vector_store(to + (i * PATCH + j) * stride, out[i]);
    }
}

/* A e A' of the 4x4 pixels at pixel[] + c, whose sum is returned */
VECTOR_INLINE Vector winograd_spread(const float *const pixel[TILE * TILE], int c, float *to,
                                     int64_t stride) {
    Vector sum = vector_set(0.0f);
    Vector half[TILE][PATCH], line[TILE], out[PATCH];
    for (int i = 0; i < TILE; i++) {
        for (int j = 0; j < TILE; j++) line[j] = vector_load(pixel[i * TILE + j] + c);
        sum += (line[0] + line[1]) + (line[2] + line[3]);
        winograd_spread_line(line, half[i]);
    }
    for (int j = 0; j < PATCH; j++) {
        for (int i = 0; i < TILE; i++) line[i] = half[i][j];
        winograd_spread_line(line, out);
        for (int i = 0; i < PATCH; i++) vector_store(to + (i * PATCH + j) * stride, out[i]);
    }
    return sum;
}

/* A' m A */
VECTOR_INLINE void winograd_output(const float *from, int64_t stride, Vector y[TILE * TILE]) {
    Vector half[PATCH][TILE], line[PATCH], out[TILE];
    for (int i = 0; i < PATCH; i++) {
        for (int j = 0; j < PATCH; j++) line[j] = vector_load(from + (i * PATCH + j) * stride);
        winograd_output_line(line, half[i]);
    }
    for (int j = 0; j < TILE; j++) {
        for (int i = 0; i < PATCH; i++) line[i] = half[i][j];
        winograd_output_line(line, out);
        for (int i = 0; i < TILE; i++) y[i * TILE + j] = out[i];
    }
}

/* G g G' of the nine taps g that lie `tap_stride` apart, in reverse order when `mirrored`. */
VECTOR_INLINE void winograd_weight(const float *g, int64_t tap_stride, bool mirrored, float *to,
                                   int64_t stride) {
    Vector half[3][PATCH], line[3], out[PATCH];
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 3; j++)
            line[j] = vector_load(g + (mirrored ? 8 - 3 * i - j : 3 * i + j) * tap_stride);
        winograd_weight_line(line, half[i]);
    }
    for (int j = 0; j < PATCH; j++) {
        for (int i = 0; i < 3; i++) line[i] = half[i][j];
        winograd_weight_line(line, out);
        for (int i = 0; i < PATCH; i++) vector_store(to + (i * PATCH + j) * stride, out[i]);
    }
}

/* G' u G */
VECTOR_INLINE void winograd_gather(const Vector u[POINTS], Vector g[9]) {
    Vector half[PATCH][3], line[PATCH], out[3];
    for (int i = 0; i < PATCH; i++) winograd_gather_line(u + i * PATCH, half[i]);
    for (int j = 0; j < 3; j++) {
        for (int i = 0; i < PATCH; i++) line[i] = half[i][j];
        winograd_gather_line(line, out);
        for (int i = 0; i < 3; i++) g[3 * i + j] = out[i];
    }
}

#endif
