/* What compute capability 9.0 alone has: barriers in shared memory that count bytes, copies of boxes of a
 * matrix by the tensor memory accelerator (TMA), and products of four warps (wgmma) whose factors lie in
 * shared memory. PTX ISA, "Asynchronous Warpgroup Level Matrix Multiply-Accumulate Instructions" and
 * "Tensors".
 *
 * Boxes are 64 numbers of 16 bits wide, 128 bytes, so that the accelerator's 128-byte swizzle puts eight rows
 * into 1,024 bytes without conflicts; such a box begins at a multiple of 1,024. Compiled for other cards, or
 * translated by the driver, these functions stop the kernel; no host code launches it there.
 */
#ifndef ICT_BACKEND_CUDA_HOPPER_CUH
#define ICT_BACKEND_CUDA_HOPPER_CUH

#include "backend/cuda/elements.cuh"

enum { HOPPER_ALIGNMENT = 1024, HOPPER_BOX = 64 };

#ifdef __CUDACC__
#include <cuda.h>

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define HOPPER_ASM(...) asm volatile(__VA_ARGS__)
#else
#define HOPPER_ASM(...) __trap()
#endif

__device__ __forceinline__ uint32_t shared_address(const void *at) {
    return (uint32_t)__cvta_generic_to_shared(at);
}

/* ---- barriers: a phase is over when `arrivals` have come, and the bytes that were expected ---- */

typedef uint64_t Barrier;

__device__ __forceinline__ void barrier_init(Barrier *b, int arrivals) {
    HOPPER_ASM("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(arrivals));
}

/* After all are initialised, before the other threads are let in: copies see them too. */
__device__ __forceinline__ void barriers_publish() {
    HOPPER_ASM("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void barrier_arrive(Barrier *b) {
    HOPPER_ASM("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(b)) : "memory");
}

/* Arrives, and the phase waits for so many bytes more. */
__device__ __forceinline__ void barrier_expect(Barrier *b, int bytes) {
    HOPPER_ASM("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(b)), "r"(bytes)
               : "memory");
}

/* Until the phase of that parity is over; phases count from 0. */
__device__ __forceinline__ void barrier_wait(Barrier *b, int parity) {
    HOPPER_ASM("{\n.reg .pred over;\n"
               "again: mbarrier.try_wait.parity.shared::cta.b64 over, [%0], %1;\n"
               "@!over bra again;\n}" ::"r"(shared_address(b)),
               "r"(parity)
               : "memory");
}

/* ---- boxes ---- */

/* Starts to copy the box of `map` whose first number is in (row, column); the barrier gets its bytes. By one
 * thread. */
__device__ __forceinline__ void box_begin(void *to, const CUtensorMap &map, int row, int column, Barrier *b) {
    HOPPER_ASM("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
               "[%0], [%1, {%3, %4}], [%2];" ::"r"(shared_address(to)),
               "l"(&map), "r"(shared_address(b)), "r"(column), "r"(row)
               : "memory");
}

/* ---- products of four warps ---- */

/* Before the first product that reads registers or memory written otherwise. */
__device__ __forceinline__ void products_fence() {
    HOPPER_ASM("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void products_commit() {
    HOPPER_ASM("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/* Until at most PENDING groups of products are under way. */
template <int PENDING> __device__ __forceinline__ void products_wait() {
    HOPPER_ASM("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

#define HOPPER_8(d, i)                                                                          \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
        "+f"(d[i + 6]), "+f"(d[i + 7])
#define HOPPER_PRODUCT(type)                                                                       \
    HOPPER_ASM("{\n.reg .pred adds;\nsetp.ne.b32 adds, %66, 0;\n"                                  \
               "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type " {"                   \
               "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "            \
               "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "  \
               "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "  \
               "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, " \
               "%64, %65, adds, 1, 1, %67, %68;\n}"                                                \
               : HOPPER_8(sum, 0), HOPPER_8(sum, 8), HOPPER_8(sum, 16), HOPPER_8(sum, 24),         \
                 HOPPER_8(sum, 32), HOPPER_8(sum, 40), HOPPER_8(sum, 48), HOPPER_8(sum, 56)        \
               : "l"(left), "l"(right), "r"((int)adds), "n"((int)LEFT_BY_TERMS), "n"((int)RIGHT_BY_TERMS))

/* sum (+)= left right over 16 terms: 64 rows of `left`, 128 columns of `right`. Warp w of the four has rows
 * 16 w ..; with g = lane / 4 and t = lane % 4, sum[4 i + 2 h + k] is in row g + 8 h, column 8 i + 2 t + k. */
template <typename T, bool LEFT_BY_TERMS, bool RIGHT_BY_TERMS>
__device__ __forceinline__ void product_begin(float (&sum)[64], uint64_t left, uint64_t right, bool adds) {
    if constexpr (std::is_same_v<T, __half>)
        HOPPER_PRODUCT("f16");
    else
        HOPPER_PRODUCT("bf16");
}

#undef HOPPER_8
#undef HOPPER_PRODUCT

/* The same for 8 columns: sums[2 h + k] is in row g + 8 h, column 2 t + k. */
#define HOPPER_NARROW(type)                                               \
    HOPPER_ASM("{\n.reg .pred adds;\nsetp.ne.b32 adds, %6, 0;\n"          \
               "wgmma.mma_async.sync.aligned.m64n8k16.f32." type "." type \
               " {%0, %1, %2, %3}, %4, %5, adds, "                        \
               "1, 1, %7, 0;\n}"                                          \
               : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])   \
               : "l"(left), "l"(right), "r"((int)adds), "n"((int)LEFT_BY_TERMS))

template <typename T, bool LEFT_BY_TERMS>
__device__ __forceinline__ void product_narrow_begin(float (&sum)[4], uint64_t left, uint64_t right,
                                                     bool adds) {
    if constexpr (std::is_same_v<T, __half>)
        HOPPER_NARROW("f16");
    else
        HOPPER_NARROW("bf16");
}
#undef HOPPER_NARROW

/* What a thread has written into shared memory itself is there for products, behind the next barrier. */
__device__ __forceinline__ void products_see() {
    HOPPER_ASM("fence.proxy.async.shared::cta;" ::: "memory");
}

/* ---- on the host ---- */

/* A matrix by rows, and the box that is taken from it: `box` rows of 64 columns. */
static inline CUtensorMap box_map(const void *data, DType dtype, int64_t rows, int columns, int box) {
    typedef decltype(&cuTensorMapEncodeTiled) Encode;
    void *encode = NULL;
    cudaDriverEntryPointQueryResult found;
    CUDA_CHECK(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &encode, 12000, cudaEnableDefault,
                                                &found));
    CHECK(found == cudaDriverEntryPointSuccess, "the driver has no cuTensorMapEncodeTiled");
    const cuuint64_t size[2] = {(cuuint64_t)columns, (cuuint64_t)rows}, stride[1] = {(cuuint64_t)columns * 2};
    const cuuint32_t sides[2] = {HOPPER_BOX, (cuuint32_t)box}, steps[2] = {1, 1};
    CUtensorMap map;
    const CUresult result = ((Encode)encode)(
        &map, dtype == DTYPE_F16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2,
        (void *)data, size, stride, sides, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
        CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    CHECK(result == CUDA_SUCCESS, "a matrix of %lld x %d at %p cannot be copied in boxes: driver error %d",
          (long long)rows, columns, data, (int)result);
    return map;
}

#else
#include "hopper_emulated.h" /* of the tests, for machines without a card */
#endif

/* ---- factors: how a product finds its numbers in shared memory ---- */

/* PTX's matrix descriptor; its two distances, in bytes, mean something else in every layout. */
__device__ __forceinline__ uint64_t factor_at(const void *first, uint64_t leading, uint64_t stride,
                                              bool swizzled) {
    return (shared_address(first) >> 4 & 0x3fff) | leading >> 4 << 16 | stride >> 4 << 32 |
           (uint64_t)swizzled << 62;
}

/* A box of rows of the product (or columns), whose 64 terms lie beside each other ("K-major"): the stride is
 * that of eight rows. */
__device__ __forceinline__ uint64_t factor_by_rows(const void *box) {
    return factor_at(box, 0, 1024, true);
}

/* Boxes of 64 terms, whose 64 rows (or columns) lie beside each other ("MN-major"): the next 64 are in the
 * next box, the stride is that of eight terms. */
__device__ __forceinline__ uint64_t factor_by_terms(const void *box) {
    return factor_at(box, HOPPER_BOX * 128, 1024, true);
}

/* How far 16 terms on are, to be added to a factor. */
enum { BY_ROWS_STEP = 32 >> 4, BY_TERMS_STEP = 16 * 128 >> 4 };

/* Eight columns of 16 terms, written by threads: 128 bytes of the first eight terms of each, then of the
 * others. */
__device__ __forceinline__ uint64_t factor_plain(const void *first) {
    return factor_at(first, 128, 128, false);
}

/* ---- a block's memory ---- */

/* The first place for it in what a launch gives, which is HOPPER_ALIGNMENT more than its size. */
template <typename Memory> __device__ __forceinline__ Memory &memory_align(void *given) {
    return *reinterpret_cast<Memory *>(((uintptr_t)given + HOPPER_ALIGNMENT - 1) / HOPPER_ALIGNMENT *
                                       HOPPER_ALIGNMENT);
}

#endif
