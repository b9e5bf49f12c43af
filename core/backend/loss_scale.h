/* The rule by which a loss scale moves (backend.h), for every device. Compiled by gcc and nvcc alike. */
#ifndef ICT_BACKEND_LOSS_SCALE_H
#define ICT_BACKEND_LOSS_SCALE_H

#include "backend/backend.h"
#include "base/philox.h"

/* After a step; `skipped`: its gradient was not finite. 2^30 is far above every useful scale and far below
 * what overflows fp32 itself. */
PHILOX_FUNCTION LossScale loss_scale_next(LossScale now, bool skipped) {
    const bool grows = !skipped && now.sound + 1 >= LOSS_SCALE_GROWTH && now.scale <= 536870912.0f;
    LossScale next = {skipped ? 0.5f * now.scale
                      : grows ? 2.0f * now.scale
                              : now.scale,
                      skipped || grows ? 0 : now.sound + 1};
    return next;
}

#endif
