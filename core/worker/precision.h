/* A run's precision beside what is known of its card: the evidence for a choice that the
 * configuration makes. */
#ifndef ICT_WORKER_PRECISION_H
#define ICT_WORKER_PRECISION_H

#include "store/store.h"

/* One sentence for the run's log. True: a warning, because the rounding is beyond ROUNDING_BOUND. */
bool precision_describe(const RoundingKnown *, Precision, char out[512]);

/* Says it, for a run on a card; on the CPU there is nothing to say. */
bool precision_note(Store *, const Device *, Precision, Error *);

#endif
