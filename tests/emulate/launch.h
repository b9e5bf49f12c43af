/* What launch.cc, which runs the threads of a block, and hopper.cc, which does what they leave to be done,
 * know of each other. */
#ifndef ICT_TESTS_EMULATE_LAUNCH_H
#define ICT_TESTS_EMULATE_LAUNCH_H

#include "backend/cuda/cuda.h"
#include <memory>

enum { WARP = 32, MOST_THREADS = 1024, MOST_SHARED = 227 << 10 };

extern __thread float4 shared[MOST_SHARED / sizeof(float4)]; /* what a launch asks for */

/* ---- of the thread that runs ---- */

unsigned thread_number();
/* Until *turn has changed. */
void fiber_pause(const int *turn);

/* ---- of the block that runs ---- */

struct Hopper; /* its barriers, boxes and products */

size_t block_shared(); /* bytes of `shared` that it may use */
/* Empty until something is begun. */
std::shared_ptr<Hopper> &block_hopper();

/* Lets a box arrive or products come to their end, or not, as it happens; `must`: if any are under way.
 * Whether it did. */
bool hopper_move(Hopper &, bool must);
/* Nothing is under way when a block ends. */
void hopper_end(const Hopper &);

#endif
