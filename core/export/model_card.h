/* The README.md of an exported model, with the header of YAML that model hubs read. */
#ifndef ICT_EXPORT_MODEL_CARD_H
#define ICT_EXPORT_MODEL_CARD_H

#include "store/store.h"

/* Appends the card of these weights of a run at this step: what it is, how to sample from it, how good it is
 * (the evaluations of these weights at this step, under the names they have in the database), where it comes
 * from. The licence is left to whoever publishes. */
bool model_card(Store *, const RunRow *, const Config *, int64_t step, const char *weights, Text *card,
                Error *);

#endif
