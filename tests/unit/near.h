/* NEAR(value, expected, tolerance): cmocka before 1.1.6 has no comparison of floating-point numbers. Include
 * it after <cmocka.h>. */
#ifndef ICT_TESTS_NEAR_H
#define ICT_TESTS_NEAR_H

#include <math.h>

#define NEAR(value, expected, tolerance) near_check(value, expected, tolerance, #value, __FILE__, __LINE__)

static inline void near_check(double value, double expected, double tolerance, const char *text,
                              const char *file, int line) {
    if (fabs(value - expected) <= tolerance) return;
    print_error("%s is %.9g, expected %.9g within %.2g\n", text, value, expected, tolerance);
    _fail(file, line);
}

#endif
