/* What keeps a program from computing on a card is named, with what to do about it; no card is needed. */
#include "backend/card.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static CardFacts h100(void) {
    return (CardFacts){.cards = 1,
                       .driver = 13000,
                       .runtime = 13000,
                       .name = "NVIDIA H100 80GB HBM3",
                       .major = 9,
                       .kernels = true,
                       .cudnn = 91400};
}

static void refused(CardFacts facts, const char *what, const char *remedy) {
    Error error = {0};
    assert_false(card_judge(&facts, &error));
    if (!strstr(error.text, what) || !strstr(error.text, remedy))
        fail_msg("'%s' says neither '%s' nor '%s'", error.text, what, remedy);
}

static void a_sound_one_is_taken(void **state) {
    (void)state;
    Error error = {0};
    CardFacts facts = h100();
    assert_true(card_judge(&facts, &error));
    facts.driver = 13020; /* of a newer minor version, and an older one */
    assert_true(card_judge(&facts, &error));
    facts.driver = 13000, facts.runtime = 13010;
    assert_true(card_judge(&facts, &error));
    facts.major = 8, facts.minor = 6, facts.cudnn = 100000, facts.cards = 2, facts.index = 1;
    assert_true(card_judge(&facts, &error));
}

static void no_driver(void **state) {
    (void)state;
    CardFacts facts = {.runtime = 13000, .problem = "driver version is insufficient", .cudnn = 91900};
    refused(facts, "device 'cuda:0': no NVIDIA driver is loaded", "--device cpu");
}

static void a_driver_too_old(void **state) {
    (void)state;
    CardFacts facts = h100();
    facts.driver = 12040, facts.problem[0] = 'x';
    refused(facts, "CUDA up to 12.4 and this program was built with 13.0", "update the driver");
}

static void the_runtimes_own_words(void **state) {
    (void)state;
    CardFacts facts = h100();
    strcpy(facts.problem, "system has unsupported display driver / cuda driver combination");
    refused(facts, "unsupported display driver", "nvidia-smi");
}

static void a_card_that_is_not_there(void **state) {
    (void)state;
    CardFacts facts = h100();
    facts.index = 1;
    refused(facts, "device 'cuda:1': this machine has 1 CUDA card,", "counted from 0");
    facts.index = facts.cards = 0;
    refused(facts, "has 0 CUDA cards", "CUDA_VISIBLE_DEVICES");
}

static void a_card_without_bf16(void **state) {
    (void)state;
    CardFacts facts = h100();
    strcpy(facts.name, "Tesla T4");
    facts.major = 7, facts.minor = 5;
    refused(facts, "Tesla T4 has compute capability 7.5, without bf16", "8.0");
}

static void a_build_for_other_cards(void **state) {
    (void)state;
    CardFacts facts = h100();
    facts.kernels = false, facts.major = 8, facts.minor = 9;
    refused(facts, "no kernels for NVIDIA H100 80GB HBM3, compute capability 8.9", "CUDA_ARCH=89");
}

static void an_old_cudnn(void **state) {
    (void)state;
    CardFacts facts = h100();
    facts.cudnn = 90803;
    refused(facts, "cuDNN 9.8.3 is loaded and 9.14 or later is needed", "LD_LIBRARY_PATH");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_one_is_taken),     cmocka_unit_test(no_driver),
        cmocka_unit_test(a_driver_too_old),         cmocka_unit_test(the_runtimes_own_words),
        cmocka_unit_test(a_card_that_is_not_there), cmocka_unit_test(a_card_without_bf16),
        cmocka_unit_test(a_build_for_other_cards),  cmocka_unit_test(an_old_cudnn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
