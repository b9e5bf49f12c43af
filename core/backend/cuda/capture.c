/* Recording what is enqueued and replaying it: a CUDA graph. A training step is some thousand kernels, and
 * each costs the host 3 to 5 microseconds to launch; a replayed graph costs one launch. Kernels, their order
 * and their arguments are the same either way, and so are the bits.
 *
 * The capture is of this thread alone. Whatever a library or the driver still has to load on first use would
 * break it, which is why the contract wants the work to have run once before.
 *
 * Also here, because a profiler sees only one of them at a time: NVTX ranges, which name the ops of a step
 * that is enqueued op by op (ICT_NVTX=1 in the environment; replayed kernels belong to no range).
 */
#include "backend/cuda/cuda.h"
#include <nvtx3/nvToolsExt.h>
#include <stdlib.h>

struct Capture {
    cudaGraphExec_t executable;
};

void cuda_capture_begin(Device *device) {
    CUDA_CHECK(cudaStreamBeginCapture(cuda_stream(device), cudaStreamCaptureModeThreadLocal));
}

Capture *cuda_capture_end(Device *device) {
    cudaGraph_t graph;
    Capture *capture = calloc(1, sizeof *capture);
    CHECK(capture, "out of memory");
    CUDA_CHECK(cudaStreamEndCapture(cuda_stream(device), &graph));
    CUDA_CHECK(cudaGraphInstantiate(&capture->executable, graph, 0));
    CUDA_CHECK(cudaGraphDestroy(graph));
    CUDA_CHECK(cudaGraphUpload(capture->executable, cuda_stream(device)));
    return capture;
}

void cuda_capture_replay(Device *device, Capture *capture) {
    CUDA_CHECK(cudaGraphLaunch(capture->executable, cuda_stream(device)));
}

void cuda_capture_release(Device *device, Capture *capture) {
    if (!capture) return;
    CUDA_CHECK(cudaStreamSynchronize(cuda_stream(device)));
    CUDA_CHECK(cudaGraphExecDestroy(capture->executable));
    free(capture);
}

void cuda_range(Device *device, const char *name) {
    (void)device;
    if (name)
        nvtxRangePushA(name);
    else
        nvtxRangePop();
}
