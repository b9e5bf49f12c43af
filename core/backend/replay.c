/* The first run is never recorded: what a library loads on first use cannot be. */
#include "backend/replay.h"

/* A profiler's ranges belong to work that is enqueued, so nothing is recorded while they are wanted. */
void replay_run(Replay *replay, Device *device, void (*enqueue)(void *context), void *context) {
    if (!replay->ran || !device->capture_begin || device->range) {
        enqueue(context);
        replay->ran = true;
        return;
    }
    if (!replay->capture) {
        device->capture_begin(device);
        enqueue(context);
        replay->capture = device->capture_end(device);
    }
    device->capture_replay(device, replay->capture);
}

void replay_release(Replay *replay, Device *device) {
    if (replay->capture) device->capture_release(device, replay->capture);
    *replay = (Replay){0};
}
