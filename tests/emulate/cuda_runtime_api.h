/* CUDA's language and run-time interface, as far as our kernels use them, for an ordinary compiler and a
 * machine without a card: the tests of parity compile the kernels of core/backend/cuda with this folder in
 * front of CUDA's headers and run them on the processor. Why: a kernel's mistakes are mostly those of plain
 * programs (a wrong place, a missing barrier, a value read before it is written), and those can be found
 * anywhere, in seconds. What a card alone can tell, rounding of its special functions, what is fast, whether
 * a library's product is right, stays with the same tests on a card, which remain the authority.
 *
 * A thread of a block is a fiber (launch.cc): it runs until it waits. Blocks follow each other; those of a
 * cluster run side by side, each in a system thread, so that __shared__ can be thread_local. Orders differ
 * from launch to launch, and shared memory begins as NaN: a missing barrier changes results, which the tests
 * see, for they compare two launches bit by bit. Threads that wait for each other in vain end the program.
 */
#ifndef ICT_TESTS_EMULATE_CUDA_RUNTIME_API_H
#define ICT_TESTS_EMULATE_CUDA_RUNTIME_API_H

#include <stddef.h>
#include <stdint.h>

typedef enum cudaError_t { cudaSuccess, cudaErrorInvalidValue } cudaError_t;
typedef struct EmulatedStream *cudaStream_t;
typedef struct EmulatedEvent *cudaEvent_t;
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone };

/* Events tell a clock of ours (products_lt.c). */
#ifdef __cplusplus
extern "C" {
#endif
cudaError_t cudaEventCreate(cudaEvent_t *);
cudaError_t cudaEventDestroy(cudaEvent_t);
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t);
cudaError_t cudaEventSynchronize(cudaEvent_t);
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t begin, cudaEvent_t end);
cudaError_t cudaStreamIsCapturing(cudaStream_t, enum cudaStreamCaptureStatus *);

typedef enum cudaDeviceAttr {
    cudaDevAttrClusterLaunch,
    cudaDevAttrMultiProcessorCount,
    cudaDevAttrMaxSharedMemoryPerBlockOptin,
    cudaDevAttrComputeCapabilityMajor,
    cudaDevAttrComputeCapabilityMinor
} cudaDeviceAttr;
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device);
#ifdef __cplusplus
}
#endif

#ifdef __cplusplus
#include <algorithm>
#include <cstring>
#include <functional>
#include <tuple>

#define __CUDA_ARCH__ 900
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __shared__ thread_local
#define __align__(bytes) alignas(bytes)

using std::max;
using std::min;

struct uint3 {
    unsigned x, y, z;
};
struct dim3 : uint3 {
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : uint3{x, y, z} {}
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};

static inline float2 make_float2(float x, float y) {
    return float2{x, y};
}

static inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) {
    return uint4{x, y, z, w};
}

static inline float __uint_as_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* ---- of the thread that runs ---- */

extern __thread uint3 threadIdx, blockIdx, blockDim, gridDim;

void __syncthreads();
void __syncwarp();
uint64_t emulate_exchange(uint64_t value, unsigned from);
/* all[lane]: what each lane of the warp gave, up to 32 bytes */
void emulate_gather(const void *mine, size_t bytes, void *all);
void *emulate_remote(void *mine, unsigned rank);
void emulate_cluster_sync();

template <typename T> T __shfl_xor_sync(unsigned mask, T value, unsigned offset) {
    uint64_t bits = 0;
    static_assert(sizeof value <= sizeof bits, "a word or two");
    memcpy(&bits, &value, sizeof value);
    bits = emulate_exchange(mask == 0xffffffffu ? bits : ~(uint64_t)0, (threadIdx.x % 32) ^ offset);
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* ---- launching ---- */

struct Launch {
    dim3 grid, block;
    size_t shared; /* bytes */
    cudaStream_t stream;
    unsigned cluster; /* blocks */
    Launch(dim3 grid, dim3 block, size_t shared = 0, cudaStream_t stream = NULL, unsigned cluster = 1)
        : grid(grid), block(block), shared(shared), stream(stream), cluster(cluster) {}
};

cudaError_t emulate_launch(const Launch &, const std::function<void()> &kernel);

/* kernel<<<grid, block, ...>>>(...) comes as kernel % Launch(grid, block, ...) % std::make_tuple(...). */
template <typename... P> struct Launched {
    void (*kernel)(P...);
    Launch launch;
};

template <typename... P> Launched<P...> operator%(void (*kernel)(P...), const Launch &launch) {
    return Launched<P...>{kernel, launch};
}

template <typename... P, typename... A>
cudaError_t operator%(const Launched<P...> &launched, const std::tuple<A...> &given) {
    const std::tuple<P...> arguments(given);
    return emulate_launch(launched.launch, [&] { std::apply(launched.kernel, arguments); });
}

enum cudaLaunchAttributeID { cudaLaunchAttributeClusterDimension };
struct cudaLaunchAttribute {
    cudaLaunchAttributeID id;
    struct {
        struct {
            unsigned x, y, z;
        } clusterDim;
    } val;
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    cudaLaunchAttribute *attrs;
    unsigned numAttrs;
};

template <typename... P, typename... A>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *c, void (*kernel)(P...), const A &...given) {
    const unsigned cluster = c->numAttrs ? c->attrs->val.clusterDim.x : 1;
    return kernel % Launch(c->gridDim, c->blockDim, c->dynamicSmemBytes, c->stream, cluster) %
           std::make_tuple(given...);
}

enum { cudaFuncAttributeMaxDynamicSharedMemorySize };
template <typename Kernel> cudaError_t cudaFuncSetAttribute(Kernel *, int, int) {
    return cudaSuccess;
}

struct cudaFuncAttributes {
    int ptxVersion;
};
template <typename Kernel> cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, Kernel *) {
    attributes->ptxVersion = 90;
    return cudaSuccess;
}

static inline cudaError_t cudaGetLastError() {
    return cudaSuccess; /* emulate_launch() ends the program instead */
}
#endif

#endif
