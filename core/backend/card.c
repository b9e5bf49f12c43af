/* Each reason why a program cannot compute on a card, asked for from the driver upwards, so that the message
 * names the first thing to mend and not what follows from it. */
#include "backend/card.h"

/* Compute capability 8.0 is the first with bf16. cuDNN 9.14 is the oldest that was tried. */
enum { CAPABILITY_LEAST = 8, CUDNN_LEAST = 91400 };

static bool driver_judge(const CardFacts *f, Error *error) {
    if (!f->driver)
        return error_set(
            error,
            "device 'cuda:%d': no NVIDIA driver is loaded; install it (nvidia-smi shows it), let a "
            "container have it (--gpus all), or use --device cpu",
            f->index);
    /* Within a major version an older driver runs newer programs. */
    if (f->driver / 1000 < f->runtime / 1000)
        return error_set(
            error,
            "device 'cuda:%d': the driver is for CUDA up to %d.%d and this program was built with "
            "%d.%d; update the driver, or build with an older toolkit (CUDA_HOME=)",
            f->index, f->driver / 1000, f->driver % 1000 / 10, f->runtime / 1000, f->runtime % 1000 / 10);
    if (f->problem[0])
        return error_set(error, "device 'cuda:%d': %s; check the driver with nvidia-smi, or use --device cpu",
                         f->index, f->problem);
    return true;
}

static bool cards_judge(const CardFacts *f, Error *error) {
    if (f->index < f->cards) return true;
    return error_set(
        error,
        "device 'cuda:%d': this machine has %d CUDA card%s, counted from 0 (CUDA_VISIBLE_DEVICES "
        "may hide some); choose another, or --device cpu",
        f->index, f->cards, f->cards == 1 ? "" : "s");
}

static bool architecture_judge(const CardFacts *f, Error *error) {
    if (f->major < CAPABILITY_LEAST)
        return error_set(
            error,
            "device 'cuda:%d': %s has compute capability %d.%d, without bf16; 8.0 (A100, RTX 30) "
            "or later is needed",
            f->index, f->name, f->major, f->minor);
    return f->kernels ||
           error_set(
               error,
               "device 'cuda:%d': this program has no kernels for %s, compute capability %d.%d; build it "
               "with CUDA_ARCH=%d%d among others",
               f->index, f->name, f->major, f->minor, f->major, f->minor);
}

static bool libraries_judge(const CardFacts *f, Error *error) {
    if (f->cudnn >= CUDNN_LEAST) return true;
    return error_set(
        error,
        "device 'cuda:%d': cuDNN %zu.%zu.%zu is loaded and %d.%d or later is needed; put a newer "
        "one first in LD_LIBRARY_PATH",
        f->index, f->cudnn / 10000, f->cudnn / 100 % 100, f->cudnn % 100, CUDNN_LEAST / 10000,
        CUDNN_LEAST / 100 % 100);
}

bool card_judge(const CardFacts *f, Error *error) {
    return driver_judge(f, error) && cards_judge(f, error) && architecture_judge(f, error) &&
           libraries_judge(f, error);
}
