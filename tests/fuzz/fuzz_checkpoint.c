/* A run's checkpoint, resumed from. */
#include "tests/fuzz/fuzz.h"

#include "train/checkpoint.h"

#include <string.h>

FUZZ_REPAIR(repair_safetensors);

/* Of a device only what reading needs; a whole one would make the fuzzer large. */
static void host_copy(Device *device, void *to, const void *from, size_t bytes, CopyKind kind) {
    (void)device, (void)kind;
    memcpy(to, from, bytes);
}

static void host_synchronise(Device *device) {
    (void)device;
}

/* One parameter of two numbers; lives as long as the program. */
static CheckpointState *state_get(void) {
    static Device device = {.copy = host_copy, .synchronise = host_synchronise};
    static const OptimiserConfig config = {.learning_rate = 1e-3};
    static float arrays[3][1024];
    static ParamSet params;
    static Optimiser optimiser;
    static CheckpointState state = {&params, &optimiser, &config};
    if (params.count) return &state;
    param_declare(&params, (Param){.name = "w", .rank = 1, .shape = {2}, .in_file = true});
    CHECK(params.total <= 1024, "the parameters grew");
    optimiser = (Optimiser){.device = &device,
                            .total = params.total,
                            .weight = arrays[0],
                            .momentum = arrays[1],
                            .variance = arrays[2]};
    return &state;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    CheckpointFacts facts = {.seed = 7, .batch = 4};
    Error error;
    if (!checkpoint_read(fuzz_file(bytes, size), state_get(), &facts, &error)) fuzz_refused(&error);
    return 0;
}
