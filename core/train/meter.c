/* Sums over steps, in the order of the steps and the images: always the same bits for the same run. */
#include "train/meter.h"

#include <math.h>

int meter_bin(const CtConfig *ct, double sigma) {
    const double place = log(sigma / ct->sigma_min) / log(ct->sigma_max / ct->sigma_min);
    const int bin = (int)(place * SIGMA_BINS);
    return bin < 0 ? 0 : bin >= SIGMA_BINS ? SIGMA_BINS - 1 : bin;
}

/* Mean residual of the step; its images into the bins of their noise levels. */
static double levels_add(Meter *meter, const StepRecord *record) {
    double residual = 0;
    for (int i = 0; i < record->batch; i++) {
        const int bin = record->bin_of_pair[record->pair[i]];
        residual += record->residual[i];
        meter->bin_loss[bin] += record->loss[i];
        meter->bin_residual[bin] += record->residual[i];
        meter->bin_images[bin] += 1;
    }
    return residual / record->batch;
}

static double correct_share(const StepRecord *record) {
    int64_t correct = 0;
    for (int i = 0; i < record->batch; i++) correct += record->correct[i];
    return (double)correct / record->batch;
}

void meter_add(Meter *meter, const StepRecord *record) {
    double loss = 0;
    for (int i = 0; i < record->batch; i++) loss += record->loss[i];
    if (record->residual) meter->residual += levels_add(meter, record);
    if (record->correct) meter->accuracy += correct_share(record);
    const double update = sqrt(record->report.update_square), above = update - meter->update_mean;
    meter->steps += 1;
    meter->images += record->batch;
    meter->loss += loss / record->batch;
    if (!record->report.non_finite) meter->gradient_norm += sqrt(record->report.gradient_square);
    meter->update_mean += above / meter->steps;
    meter->update_spread += above * (update - meter->update_mean);
    meter->non_finite += (double)record->report.non_finite;
}
