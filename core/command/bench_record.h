/* What `bench` keeps in the database: its own numbers, and those that a peer program printed. */
#ifndef ICT_COMMAND_BENCH_RECORD_H
#define ICT_COMMAND_BENCH_RECORD_H

#include "config/config.h"
#include "config/paths.h"
#include "store/store.h"

/* What is measured of whole steps; 0: was not measured here. */
typedef struct BenchResult {
    int batch, micro_batch;
    double rate, sample_rate; /* images/s of training, of one-step sampling */
    double flops, matrix;     /* FLOP/s of a step, of a product of matrices */
    double ready, first_step; /* seconds after the command began */
    double memory;            /* bytes: in use on the card, or the process's peak */
} BenchResult;

/* Where and what of. */
typedef struct BenchPlace {
    Store *store;
    const Paths *paths;
    const char *session, *experiment;
    const Config *config;
    const Device *device;
} BenchPlace;

/* The first start of a session and later ones are kept apart: the first one finds no library
 * in memory yet. */
bool bench_record(const BenchPlace *, const BenchResult *, const GraphOpTime *ops, int op_count, Error *);

/* Lines "peer <tab> name <tab> value" of a file ("-": standard input) as scripts/bench_peer.py prints them;
 * the first ones are `program`, `precision` and `batch`. Other lines are passed over. */
bool bench_record_peer(Store *, const char *session, const char *path, Error *);

#endif
