/* The algorithm of a large product is chosen by timing when the product is first needed, which leaves nothing
 * behind but a line in the run's file; whoever goes on with the file times nothing and makes the same bits.
 * Skipped where there is no card. */
#include "backend/backend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "tests/unit/scratch.h"

enum { LARGE = 1 << 19, SMALL = 1 << 10, WIDTH = 16 };

static bool emulated;

static Tensor tensor_make(Device *device, int rows, int width, int byte) {
    const Tensor t = {NULL, DTYPE_F32, 1, 1, rows, width};
    Tensor made = t;
    made.data = device->allocate(device, tensor_bytes(&t));
    device->fill(device, made.data, byte, tensor_bytes(&t));
    return made;
}

/* A linear layer of two sources, whose second product adds to the first; the result is the caller's. */
static float *layer_run(Device *device, int rows) {
    Tensor t[] = {tensor_make(device, rows, WIDTH, 0x3c), tensor_make(device, rows, WIDTH, 0x3d),
                  tensor_make(device, WIDTH, 2 * WIDTH, 0x3e), tensor_make(device, rows, WIDTH, 0xff)};
    float *result = malloc(tensor_bytes(&t[3]));
    assert_non_null(result);
    device->ops->linear_forward(
        device, &(LinearForward){.x = {t[0], t[1]}, .y = t[3], .weight = t[2].data, .scale = 1});
    device->copy(device, result, t[3].data, tensor_bytes(&t[3]), COPY_TO_HOST);
    for (int i = 0; i < 4; i++) device->release(device, t[i].data);
    return result;
}

static Device *card_open(const char *path) {
    Device *device;
    Error error;
    if (!device_open("cuda", 2, &device, &error)) skip();
    emulated = strcmp(device->name, "kernels on the processor") == 0;
    device->remember(device, path);
    return device;
}

static char *text_read(const char *path) {
    char *bytes;
    size_t size;
    assert_true(file_read(path, &bytes, &size, NULL));
    return bytes;
}

static void lines_check(const char *text) {
    int lines = 0;
    for (const char *at = text; (at = strstr(at, "\ncuBLAS ")); at++) lines++;
    assert_int_equal(lines, 2);
    if (!emulated) return;
    const char *place = text; /* of the last line: before the last word */
    for (const char *at = text; *at; at++)
        if (*at == ' ' && strchr(at + 1, ' ')) place = at;
    assert_int_equal(atoi(place), 1);
}

static void a_resumed_run_makes_the_same_products(void **state) {
    (void)state;
    const char *path = scratch("kernels.txt");
    Device *device = card_open(path);
    float *raced = layer_run(device, LARGE), *again = layer_run(device, LARGE);
    char *text = text_read(path);
    assert_int_equal(device->races.races, 2);
    assert_memory_equal(raced, again, (size_t)LARGE * WIDTH * sizeof *raced);
    lines_check(text);
    device_close(device);
    free(again);
    device = card_open(path);
    again = layer_run(device, LARGE);
    assert_int_equal(device->races.races, 0);
    assert_memory_equal(raced, again, (size_t)LARGE * WIDTH * sizeof *raced);
    char *kept = text_read(path);
    assert_string_equal(kept, text);
    device_close(device);
    free(again), free(raced), free(text), free(kept);
}

/* A choice whose number is not that of what stands at its place now is made again. */
static void what_has_changed_is_timed_again(void **state) {
    (void)state;
    const char *path = scratch("kernels.txt");
    Device *device = card_open(path);
    free(layer_run(device, LARGE));
    device_close(device);
    char *text = text_read(path);
    text[strlen(text) - 1] ^= 1; /* another digit */
    assert_true(file_write_atomic(path, text, strlen(text), NULL));
    free(text);
    device = card_open(path);
    free(layer_run(device, LARGE));
    assert_int_equal(device->races.races, 1);
    device_close(device);
}

static void small_products_are_not_timed(void **state) {
    (void)state;
    Device *device = card_open(scratch("kernels.txt"));
    free(layer_run(device, SMALL));
    assert_int_equal(device->races.races, 0);
    device_close(device);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(a_resumed_run_makes_the_same_products),
        IN_SCRATCH(what_has_changed_is_timed_again),
        IN_SCRATCH(small_products_are_not_timed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
