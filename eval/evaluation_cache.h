/* Numbers that cost minutes and never change (floors, trivial generators), kept in a folder under the hash of
 * everything that decides them. */
#ifndef ICT_EVAL_EVALUATION_CACHE_H
#define ICT_EVAL_EVALUATION_CACHE_H

#include "eval/evaluate.h"

/* How many there are, at most `most`; -1 where there is no file under this key, or none that can be read. */
int evaluations_read(const char *folder, const Hash *key, Evaluation *out, int most);
bool evaluations_write(const char *folder, const Hash *key, const Evaluation *, int count, Error *);

#endif
