/* Sums over steps, in the order of the steps and the images: always the same bits for the same run. */
#include "train/meter.h"

#include <math.h>

int meter_bin(const CtConfig *ct, double sigma) {
    const double place = log(sigma / ct->sigma_min) / log(ct->sigma_max / ct->sigma_min);
    const int bin = (int)(place * SIGMA_BINS);
    return bin < 0 ? 0 : bin >= SIGMA_BINS ? SIGMA_BINS - 1 : bin;
}

void meter_add(Meter *meter, const StepRecord *record) {
    double loss = 0, residual = 0;
    for (int i = 0; i < record->batch; i++) {
        const int bin = record->bin_of_pair[record->pair[i]];
        loss += record->loss[i];
        residual += record->residual[i];
        meter->bin_loss[bin] += record->loss[i];
        meter->bin_residual[bin] += record->residual[i];
        meter->bin_images[bin] += 1;
    }
    const double update = sqrt(record->report.update_square), above = update - meter->update_mean;
    meter->steps += 1;
    meter->images += record->batch;
    meter->loss += loss / record->batch;
    meter->residual += residual / record->batch;
    if (!record->report.non_finite) meter->gradient_norm += sqrt(record->report.gradient_square);
    meter->update_mean += above / meter->steps;
    meter->update_spread += above * (update - meter->update_mean);
    meter->non_finite += (double)record->report.non_finite;
}
