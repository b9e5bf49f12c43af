/* Sets of images from files, as other tools leave them: a folder or zip of PNG and JPEG files, an .npy of
 * bytes N x H x W x C, an .npz with such an array (`arr_0`, or the only one), as OpenAI's evaluator takes it.
 *
 * Grey pictures become RGB by repetition, as in torch-fidelity and pytorch-fid (PIL's convert("RGB")). 16-bit
 * PNG files and those with an alpha channel are refused: PIL saturates the first to white and drops the
 * second, and both tools then print a number. */
#ifndef ICT_EVAL_IMAGE_SET_H
#define ICT_EVAL_IMAGE_SET_H

#include "base/hash.h"
#include "data/dataset.h"

typedef struct ImageSet {
    Dataset data;    /* name: the path's last part; no labels; `hash` is of the bytes */
    uint8_t *images; /* owned */
    int skipped;     /* pictures that could not be read */
} ImageSet;

/* Pictures that cannot be read are counted; the first is named; without `skip_bad` they are an error.
 * Pictures of different sizes always are. */
bool image_set_read(const char *path, bool skip_bad, ImageSet *, Error *);
void image_set_free(ImageSet *);

#endif
