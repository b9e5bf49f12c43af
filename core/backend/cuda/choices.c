/* The choices of a card's convolutions and products (backend/choice.h), and the tables of them that are built
 * into the program (plans/). A choice of a product names cuBLAS's version itself (product_search.c).
 */
#include "backend/choice.h"
#include "backend/cuda/conv.h"
#include <stdio.h>

/* One after the other; the assembler reads them. */
extern const char choice_tables_text[];
__asm__(".pushsection .rodata\n"
        ".global choice_tables_text\n"
        "choice_tables_text:\n"
        ".incbin \"core/backend/cuda/plans/h100-80gb-hbm3-cudnn-9.14.txt\"\n"
        ".byte 0\n"
        ".popsection");

const char *cuda_choice_tables(void) {
    return choice_tables_text;
}

void cuda_choice_header(const Device *device, char out[256]) {
    snprintf(out, 256, "cuDNN %zu on %s", cudnnGetVersion(), device->name);
}

void cuda_choices_open(Device *device, const char *tables) {
    char header[256];
    cuda_choice_header(device, header);
    choices_open(&cuda_context(device)->choices, header, tables);
}

void cuda_remember(Device *device, const char *path) {
    choices_remember(&cuda_context(device)->choices, path);
}

void cuda_tune(Device *device) {
    choices_forget_table(&cuda_context(device)->choices);
    device->races.each = device->races.all = INFINITY;
}
