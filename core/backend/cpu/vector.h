/* As many floats as the processor computes with at once, for the few loops that the compiler would not turn
 * into vector code as well. Without AVX, four floats and a product and a sum that round separately. */
#ifndef ICT_BACKEND_CPU_VECTOR_H
#define ICT_BACKEND_CPU_VECTOR_H

#if defined(__AVX512F__)
#include <immintrin.h>
typedef __m512 Vector;
enum { VECTOR_LANES = 16 };
#define vector_load(p) _mm512_loadu_ps(p)
#define vector_store(p, v) _mm512_storeu_ps(p, v)
#define vector_set(x) _mm512_set1_ps(x)
#define vector_fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
typedef __m256 Vector;
enum { VECTOR_LANES = 8 };
#define vector_load(p) _mm256_loadu_ps(p)
#define vector_store(p, v) _mm256_storeu_ps(p, v)
#define vector_set(x) _mm256_set1_ps(x)
#define vector_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#else
typedef float Vector __attribute__((vector_size(16), aligned(4)));
enum { VECTOR_LANES = 4 };
#define vector_load(p) (*(const Vector *)(p))
#define vector_store(p, v) (*(Vector *)(p) = (v))
#define vector_set(x) ((Vector){x, x, x, x})
#define vector_fma(a, b, c) ((a) * (b) + (c))
#endif

#define VECTOR_INLINE static inline __attribute__((always_inline))

#endif
