/* CIFAR-10's binary version: archive, folder and single file, whole and damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/unit/imports.h"

#include "base/log.h"
#include "base/text.h"
#include "data/dataset.h"

#include <string.h>
#include <zlib.h>

static Dataset set_open(const char *name, int resolution, int count) {
    DataConfig config = {.resolution = resolution, .count = count};
    Dataset set;
    strcpy(config.name, name);
    if (!dataset_open(&config, data(), &set, &error)) fail_msg("%s", error.text);
    return set;
}

enum { RECORD = 3073 };

/* `count` records: label (first + i) % 10; red counts up, green is the image's number, blue 255. */
static Text records(int first, int count) {
    Text text = {0};
    for (int i = first; i < first + count; i++) {
        uint8_t record[RECORD];
        record[0] = (uint8_t)(i % 10);
        for (int p = 0; p < 1024; p++) {
            record[1 + p] = (uint8_t)p;
            record[1025 + p] = (uint8_t)i;
            record[2049 + p] = 255;
        }
        text_append_bytes(&text, record, RECORD);
    }
    return text;
}

static void tar_put(Text *tar, const char *name, char kind, const Text *content) {
    char header[512] = "";
    strcpy(header, name);
    snprintf(header + 100, 24, "0000644");
    snprintf(header + 124, 12, "%011zo", content->length);
    header[156] = kind;
    strcpy(header + 257, "ustar");
    memset(header + 148, ' ', 8);
    unsigned sum = 0;
    for (int i = 0; i < 512; i++) sum += (uint8_t)header[i];
    snprintf(header + 148, 8, "%06o", sum);
    text_append_bytes(tar, header, sizeof header);
    text_append_bytes(tar, text_view(content), content->length);
    while (tar->length % 512) text_append_bytes(tar, "", 1);
}

/* cifar-10-binary.tar.gz in little: batches out of order, the test set, and a file that is no batch. */
static const char *archive_make(void) {
    Text tar = {0}, first = records(0, 12), second = records(12, 8), empty = {0};
    tar_put(&tar, "cifar-10-batches-bin/", '5', &empty);
    tar_put(&tar, "cifar-10-batches-bin/data_batch_2.bin", '0', &second);
    tar_put(&tar, "cifar-10-batches-bin/test_batch.bin", '0', &second);
    tar_put(&tar, "cifar-10-batches-bin/data_batch_1.bin", '0', &first);
    static const char end[1024];
    text_append_bytes(&tar, end, sizeof end);
    const char *path = scratch("cifar.tar.gz");
    gzFile file = gzopen(path, "wb");
    assert_int_equal(gzwrite(file, tar.text, (unsigned)tar.length), tar.length);
    gzclose(file);
    text_free(&tar), text_free(&first), text_free(&second);
    return path;
}

static void assert_cifar(const Dataset *set, int first, int count) {
    assert_true(set->count == count && set->width == 32 && set->height == 32 && set->classes == 10);
    assert_string_equal(set->class_names[0], "airplane");
    assert_string_equal(set->class_names[9], "truck");
    for (int i = 0; i < count; i++) {
        assert_int_equal(set->labels[i], (first + i) % 10);
        for (int p = 0; p < 1024; p++) {
            const uint8_t *pixel = set->images + ((size_t)i * 1024 + (size_t)p) * 3;
            assert_true(pixel[0] == (uint8_t)p && pixel[1] == first + i && pixel[2] == 255);
        }
    }
}

static void cifar_archive_folder_and_file_are_imported(void **state) {
    (void)state;
    assert_true(dataset_import("archive", archive_make(), data(), &error));
    Text first = records(0, 12), second = records(12, 8);
    assert_true(folder_make(scratch("bin"), &error));
    assert_true(file_write_atomic(scratch("bin/data_batch_2.bin"), second.text, second.length, &error));
    assert_true(file_write_atomic(scratch("bin/data_batch_1.bin"), first.text, first.length, &error));
    assert_true(file_write_atomic(scratch("bin/test_batch.bin"), second.text, second.length, &error));
    text_free(&first), text_free(&second);
    assert_true(dataset_import("folder", scratch("bin"), data(), &error));
    assert_true(dataset_import("test", scratch("bin/test_batch.bin"), data(), &error));
    Dataset archive = set_open("archive", 0, 0), unpacked = set_open("folder", 0, 0),
            test = set_open("test", 0, 0);
    assert_cifar(&archive, 0, 20);
    assert_cifar(&unpacked, 0, 20);
    assert_cifar(&test, 12, 8);
    assert_string_equal(archive.hash.hex, unpacked.hash.hex);
    dataset_close(&archive), dataset_close(&unpacked), dataset_close(&test);
}

static void damaged_cifar_is_named(void **state) {
    (void)state;
    char *bytes;
    size_t size;
    assert_true(file_read(archive_make(), &bytes, &size, &error));
    for (size_t cut = 20; cut < size; cut += 97) {
        assert_true(file_write_atomic(scratch("cut.tar.gz"), bytes, cut, &error));
        assert_refused(scratch("cut.tar.gz"), "cut.tar.gz: the archive is damaged");
    }
    free(bytes);
    Text two = records(0, 2);
    assert_true(file_write_atomic(scratch("cut.bin"), two.text, two.length - 1, &error));
    assert_refused(scratch("cut.bin"),
                   "cut.bin has 6145 bytes, which is no multiple of CIFAR-10's 3073-byte records");
    two.text[RECORD] = 10;
    assert_true(file_write_atomic(scratch("label.bin"), two.text, two.length, &error));
    assert_refused(scratch("label.bin"), "record 1 has label 10");
    text_free(&two);
    gzFile file = gzopen(scratch("other.tar.gz"), "wb");
    static const char end[1024];
    assert_int_equal(gzwrite(file, end, sizeof end), sizeof end);
    gzclose(file);
    assert_refused(scratch("other.tar.gz"), "no data_batch_*.bin files");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(cifar_archive_folder_and_file_are_imported),
        IN_SCRATCH(damaged_cifar_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
