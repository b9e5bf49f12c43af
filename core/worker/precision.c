/* Which precision a run computes in stands in its configuration, and so in its id: the same command means the
 * same run on whatever machine it is issued, before any device is opened, and whatever has been measured
 * meanwhile. What was measured is said here, when the run starts.
 */
#include "worker/precision.h"

#include "base/log.h"
#include "train/network.h"

#include <stdio.h>
#include <string.h>

bool precision_describe(const RoundingKnown *known, Precision precision, char out[512]) {
    const char *name = precision_name(precision);
    const RoundingRow *own = NULL;
    for (int i = 0; i < known->count; i++)
        if (known->rows[i].precision == precision) own = &known->rows[i];
    if (!own) {
        snprintf(
            out, 512,
            "precision %s: nothing is known of rounding on this card; ./run rounding ID measures it on a "
            "trained network",
            name);
        return false;
    }
    const char *choice = precision_name(rounding_choice(known->rows, known->count, own->N));
    const bool beyond = !(own->median <= ROUNDING_BOUND);
    snprintf(
        out, 512,
        "precision %s: on this card rounding was %.2g of the residual at N = %d (run %s), %s the bound of "
        "%g; %s is the fastest within it",
        name, own->median, own->N, known->run, beyond ? "beyond" : "within", ROUNDING_BOUND, choice);
    return beyond;
}

bool precision_note(Store *store, const Device *device, Precision precision, Error *error) {
    RoundingKnown known;
    char text[512];
    if (!strcmp(device->kind, "cpu")) return true;
    if (!store_rounding_known(store, device->name, &known, error)) return false;
    if (precision_describe(&known, precision, text))
        log_warn("%s", text);
    else
        log_info("%s", text);
    return true;
}
