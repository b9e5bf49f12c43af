/* Where a step's images come from. Three ways, by what fits: a CPU reads them where they are mapped; a device
 * holds the whole set; or, when that is too large, the host gathers each step's batch into pinned memory,
 * from which the copy runs while the device still works on earlier steps. */
#ifndef ICT_TRAIN_SOURCE_H
#define ICT_TRAIN_SOURCE_H

#include "ct/objective.h"
#include "data/dataset.h"

enum { SOURCE_SLOTS = 16 };

typedef struct Source {
    const Dataset *data;
    Device *device;
    uint64_t seed;
    uint32_t batch;
    bool flip;
    /* Device memory: the set, or the batch of the step; NULL where the device reads the host's memory. */
    uint8_t *images;
    int32_t *labels;
    /* Gathering: `slots` batches in pinned memory. */
    int slots; /* 0: nothing is gathered */
    uint8_t *host_images;
    int32_t *host_labels;
} Source;

typedef enum SourcePlace { SOURCE_CHOOSE, SOURCE_GATHERED } SourcePlace;

Source source_create(const Dataset *, Device *, uint64_t seed, uint32_t batch, bool flip, SourcePlace);
void source_free(Source *);

/* What the objective reads. */
ImageSource source_images(const Source *);

/* The most steps between two synchronisations of the device: their batches have a slot each. */
int source_steps(const Source *);

/* Enqueues the copy of the batch of `step` (nothing where the set is at hand); `slot` counts from the last
 * synchronisation. */
void source_fetch(Source *, int slot, int64_t step);

#endif
