/* Work that is enqueued again and again with the same arguments: as it is the first time, recorded the second
 * time, replayed from then on, where the device can record (Device.capture_*). The bits are the same each
 * time. */
#ifndef ICT_BACKEND_REPLAY_H
#define ICT_BACKEND_REPLAY_H

#include "backend/backend.h"

/* Zero-initialise. */
typedef struct Replay {
    Capture *capture;
    bool ran;
} Replay;

void replay_run(Replay *, Device *, void (*enqueue)(void *context), void *context);
/* Afterwards, or before the arguments change. */
void replay_release(Replay *, Device *);

#endif
