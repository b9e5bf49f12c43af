/* Runs kernels on the processor: fibers for threads, in blocks, in clusters. cuda_runtime_api.h says why.
 *
 * The blocks of a cluster take turns, from one wait for the whole cluster to the next, so that only one of
 * them ever runs. Order of blocks and of the threads in them is drawn anew for each launch. */
#include "launch.h"
#include "cuda_pipeline.h"
#include <condition_variable>
#include <link.h>
#include <mutex>
#include <numeric>
#include <random>
#include <setjmp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <thread>
#include <ucontext.h>
#include <vector>

enum { MOST_CLUSTER = 8, STACK = 128 << 10 };

__thread uint3 threadIdx, blockIdx, blockDim, gridDim;
__thread float4 shared[MOST_SHARED / sizeof(float4)];

/* `expected` are those of its threads that have not ended. */
struct Barrier {
    int expected, arrived, turn;
};

/* `group` of the thread's asynchronous copies, counted from its first commit on. */
struct Copy {
    void *to;
    const void *from;
    size_t bytes;
    int group;
};

struct Fiber {
    ucontext_t beginning;
    jmp_buf place;
    uint3 index;
    bool begun, ended;
    const int *waits; /* for this, */
    int turn;         /* until it is no longer so much */
    int exchanges, groups;
    std::vector<Copy> copies;
};

typedef uint8_t Value[32]; /* a lane's, exchanged */

/* A block: what its system thread knows. Values of a warp are exchanged in two places in turn, so that
 * one wait an exchange is enough. */
struct Block {
    const std::function<void()> *kernel;
    const Launch *launch;
    jmp_buf scheduler;
    std::vector<Fiber> fibers;
    std::vector<int> order;
    Fiber *now;
    Barrier all, cluster, warps[MOST_THREADS / WARP];
    Value values[MOST_THREADS / WARP][2][WARP];
    std::shared_ptr<Hopper> hopper;
    unsigned rank;
    int alive;
    char *shared; /* this system thread's memory, */
    size_t size;
    char *const *others; /* and that of the cluster's blocks */
};

static __thread Block *block;

/* ---- waiting ---- */

void fiber_pause(const int *turn) {
    Fiber *f = block->now;
    f->waits = turn, f->turn = *turn;
    if (!_setjmp(f->place)) _longjmp(block->scheduler, 1);
}

/* swapcontext() would do, and asks the operating system each time. */
static void fiber_go_on(Fiber *f) {
    block->now = f;
    threadIdx = f->index;
    if (_setjmp(block->scheduler)) return;
    if (f->begun) _longjmp(f->place, 1);
    f->begun = true;
    setcontext(&f->beginning);
}

static void barrier_wait(Barrier *b) {
    if (++b->arrived == b->expected)
        b->arrived = 0, b->turn++;
    else
        fiber_pause(&b->turn);
}

/* The last to come waits too: for the other blocks, in segment_run(). */
void emulate_cluster_sync() {
    block->cluster.arrived++;
    fiber_pause(&block->cluster.turn);
}

static void barrier_leave(Barrier *b) {
    if (--b->expected > 0 && b->arrived == b->expected) b->arrived = 0, b->turn++;
}

unsigned thread_number() {
    return (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
}

void __syncthreads() {
    barrier_wait(&block->all);
}

void __syncwarp() {
    barrier_wait(&block->warps[thread_number() / WARP]);
}

/* What each lane of the warp gives, where it stands until the exchange after the next. */
static const Value *values_exchange(const void *mine, size_t bytes) {
    const unsigned number = thread_number(), warp = number / WARP;
    Value *values = block->values[warp][block->now->exchanges++ % 2];
    CHECK(block->warps[warp].expected == WARP, "a warp exchanges values, and some of its threads have ended");
    memcpy(values[number % WARP], mine, bytes);
    barrier_wait(&block->warps[warp]);
    return values;
}

void emulate_gather(const void *mine, size_t bytes, void *all) {
    const Value *values = values_exchange(mine, bytes);
    for (int i = 0; i < WARP; i++) memcpy((char *)all + i * bytes, values[i], bytes);
}

uint64_t emulate_exchange(uint64_t value, unsigned from) {
    memcpy(&value, values_exchange(&value, sizeof value)[from], sizeof value);
    return value;
}

size_t block_shared() {
    return block->launch->shared;
}

std::shared_ptr<Hopper> &block_hopper() {
    return block->hopper;
}

void *emulate_remote(void *mine, unsigned rank) {
    CHECK(rank < block->launch->cluster, "block %u of a cluster of %u", rank, block->launch->cluster);
    return block->others[rank] + ((char *)mine - block->shared);
}

void __pipeline_memcpy_async(void *to, const void *from, size_t bytes) {
    CHECK(((uintptr_t)to | (uintptr_t)from) % bytes == 0, "an asynchronous copy of %zu bytes is not aligned",
          bytes);
    block->now->copies.push_back(Copy{to, from, bytes, block->now->groups});
}

void __pipeline_commit() {
    block->now->groups++;
}

/* All but the newest `groups` of the groups that were committed. */
void __pipeline_wait_prior(int groups) {
    std::vector<Copy> &copies = block->now->copies;
    size_t arrived = 0;
    for (; arrived < copies.size() && copies[arrived].group < block->now->groups - groups; arrived++)
        memcpy(copies[arrived].to, copies[arrived].from, copies[arrived].bytes);
    copies.erase(copies.begin(), copies.begin() + arrived);
}

/* ---- a block ---- */

static void fiber_main() {
    (*block->kernel)();
    Fiber *f = block->now;
    CHECK(f->copies.empty(), "a thread ended and did not wait for its asynchronous copies");
    f->ended = true;
    block->alive--;
    barrier_leave(&block->warps[thread_number() / WARP]);
    barrier_leave(&block->all);
    _longjmp(block->scheduler, 1);
}

/* Memory of the stacks, made once. */
static char *stack_of(unsigned rank, unsigned thread) {
    static char *stacks[MOST_CLUSTER];
    if (!stacks[rank])
        stacks[rank] = (char *)mmap(NULL, (size_t)MOST_THREADS * STACK, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(stacks[rank] != MAP_FAILED, "out of memory");
    return stacks[rank] + (size_t)thread * STACK;
}

/* The program's thread_local variables of this system thread: all __shared__ ones are among them. */
static int shared_find(struct dl_phdr_info *info, size_t, void *context) {
    Block *b = (Block *)context;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_TLS)
            b->shared = (char *)info->dlpi_tls_data, b->size = info->dlpi_phdr[i].p_memsz;
    return 1; /* the program itself comes first */
}

/* All __shared__ memory to NaN, and what else is thread_local to what it was. */
static void shared_poison(Block *b) {
    const uint3 size = blockDim, grid = gridDim;
    memset(b->shared, 0xFF, b->size);
    block = b, blockDim = size, gridDim = grid;
}

static void fiber_begin(Block *b, unsigned number) {
    const dim3 size = b->launch->block;
    Fiber *f = &b->fibers[number];
    f->index = uint3{number % size.x, number / size.x % size.y, number / size.x / size.y};
    f->begun = f->ended = false, f->waits = NULL, f->exchanges = f->groups = 0;
    getcontext(&f->beginning);
    f->beginning.uc_stack.ss_sp = stack_of(b->rank, number);
    f->beginning.uc_stack.ss_size = STACK;
    f->beginning.uc_link = NULL;
    makecontext(&f->beginning, fiber_main, 0);
}

static void block_begin(Block *b, unsigned number) {
    const dim3 size = b->launch->block, grid = b->launch->grid;
    const int threads = (int)(size.x * size.y * size.z);
    blockDim = size, gridDim = grid;
    shared_poison(b);
    blockIdx = uint3{number % grid.x, number / grid.x % grid.y, number / grid.x / grid.y};
    b->alive = threads;
    b->all = b->cluster = Barrier{threads, 0, 0};
    for (int i = 0; i < threads; i += WARP) b->warps[i / WARP] = Barrier{min((int)WARP, threads - i), 0, 0};
    for (int i = 0; i < threads; i++) fiber_begin(b, (unsigned)i);
}

/* Until all threads have ended (true) or wait for the cluster. */
static bool segment_run(Block *b) {
    if (b->cluster.arrived) b->cluster.arrived = 0, b->cluster.turn++;
    for (bool moved = true; moved;) {
        moved = false;
        for (int i : b->order) {
            Fiber &f = b->fibers[i];
            if (f.ended || (f.waits && *f.waits == f.turn)) continue;
            fiber_go_on(&f);
            moved = true;
            if (b->hopper) hopper_move(*b->hopper, false);
        }
        if (!moved && b->hopper) moved = hopper_move(*b->hopper, true);
    }
    CHECK(b->cluster.arrived == b->alive, "threads of block %u,%u wait for threads that never come",
          blockIdx.x, blockIdx.y);
    if (b->alive) return false;
    if (b->hopper) hopper_end(*b->hopper);
    b->hopper.reset();
    const size_t used = b->launch->shared;
    const uint8_t *behind = (const uint8_t *)shared + used;
    CHECK(used == MOST_SHARED || (*behind == 0xFF && !memcmp(behind, behind + 1, MOST_SHARED - used - 1)),
          "a block wrote behind its %zu bytes of shared memory", used);
    shared_poison(b); /* a neighbour that still reads it shall notice */
    return true;
}

/* ---- a launch ---- */

/* Whose turn it is among the blocks of a cluster. */
struct Turns {
    std::mutex mutex;
    std::condition_variable passed;
    unsigned next, size, ended;
    char *shared[MOST_CLUSTER];

    void take(unsigned rank) {
        std::unique_lock<std::mutex> lock(mutex);
        passed.wait(lock, [&] { return next == rank; });
    }
    void pass() {
        std::unique_lock<std::mutex> lock(mutex);
        next = (next + 1) % size;
        passed.notify_all();
    }
};

static void cluster_run(Block *b, Turns *turns, const std::vector<int> &clusters) {
    for (int cluster : clusters) {
        turns->take(b->rank);
        turns->ended = 0;
        turns->shared[b->rank] = b->shared;
        block_begin(b, (unsigned)cluster * turns->size + b->rank);
        turns->pass();
        for (bool ended = false; !ended;) {
            turns->take(b->rank);
            ended = segment_run(b);
            turns->ended += ended;
            turns->pass();
            turns->take(b->rank); /* all have run */
            CHECK(turns->ended == (ended ? turns->size : 0),
                  "a block has ended, and others of its cluster wait for it");
            turns->pass();
        }
    }
}

static std::vector<int> order_draw(size_t count) {
    static std::mt19937 random;
    std::vector<int> order(count);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    return order;
}

static void launch_check(const Launch &l) {
    const size_t threads = (size_t)l.block.x * l.block.y * l.block.z;
    CHECK(threads > 0 && threads <= MOST_THREADS, "%zu threads in a block", threads);
    CHECK(l.grid.x > 0 && l.grid.y > 0 && l.grid.y < 65536 && l.grid.z == 1, "a grid of %u x %u x %u blocks",
          l.grid.x, l.grid.y, l.grid.z);
    CHECK(l.shared <= MOST_SHARED, "%zu bytes of shared memory", l.shared);
    CHECK(l.cluster > 0 && l.cluster <= MOST_CLUSTER && l.grid.x % l.cluster == 0,
          "clusters of %u among %u blocks", l.cluster, l.grid.x);
}

cudaError_t emulate_launch(const Launch &launch, const std::function<void()> &kernel) {
    launch_check(launch);
    const size_t threads = (size_t)launch.block.x * launch.block.y * launch.block.z;
    const std::vector<int> clusters = order_draw((size_t)launch.grid.x * launch.grid.y / launch.cluster);
    const std::vector<int> order = order_draw(threads);
    std::vector<std::thread> workers;
    Turns turns;
    turns.next = 0, turns.size = launch.cluster;
    for (unsigned rank = 0; rank < launch.cluster; rank++)
        workers.emplace_back([&, rank] {
            Block b = {};
            b.kernel = &kernel, b.launch = &launch, b.rank = rank, b.others = turns.shared;
            b.fibers.resize(threads), b.order = order;
            dl_iterate_phdr(shared_find, &b);
            cluster_run(&b, &turns, clusters);
        });
    for (std::thread &worker : workers) worker.join();
    return cudaSuccess;
}
