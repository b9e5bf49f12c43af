/* Where a result comes from: source tree, machine, libraries, environment. Stored with every run. */
#ifndef ICT_STORE_PROVENANCE_H
#define ICT_STORE_PROVENANCE_H

#include "backend/backend.h"
#include "store/store.h"

/* This process, this host, and of the source tree under `root` the commit and what has changed since
 * ("unknown" and nothing where git or the history is absent). The queue asks once, when it starts: later
 * edits are not what runs. */
Provenance provenance_of_source(const char *root);

/* This process and host, the device's name, and `versions`: a JSON object with the keys libraries, compiler,
 * build, sqlite, libc, kernel, processor, threads, program (SHA-256) and environment (variables that change
 * numbers or placement). */
Provenance provenance_of_machine(const Device *);
void provenance_free(Provenance *);

#endif
