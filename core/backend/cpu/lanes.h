/* Sums of many floats, in double, whose bits do not depend on the compiler: element i always goes to lane i %
 * LANES, and the lanes are added in order at the end. Written as blocks of LANES elements they vectorise on
 * any processor, while an OpenMP `reduction` would add in the order of whatever vector length a build happens
 * to use.
 *
 *     for (; i + LANES <= end; i += LANES) block(..., i, LANES, &sum);
 *     block(..., i, end - i, &sum);
 *
 * `block` is always inlined, so that LANES is a constant to the compiler.
 */
#ifndef ICT_BACKEND_CPU_LANES_H
#define ICT_BACKEND_CPU_LANES_H

enum { LANES = 16 };

typedef struct Lanes {
    double lane[LANES];
} Lanes;

static inline double lanes_total(const Lanes *sum) {
    double total = 0.0;
    for (int i = 0; i < LANES; i++) total += sum->lane[i];
    return total;
}

#endif
