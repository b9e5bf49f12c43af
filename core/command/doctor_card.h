/* The part of `doctor` that knows cards: which micro-batch of each experiment fits into one's memory. */
#ifndef ICT_COMMAND_DOCTOR_CARD_H
#define ICT_COMMAND_DOCTOR_CARD_H

#include "config/paths.h"

/* A line for each experiment under experiments/, for a card with that many bytes free. */
void doctor_fits(const Paths *, double bytes);

#endif
