/* assert_mentions(&error, text): the message names what it should. Include it after <cmocka.h>. */
#ifndef ICT_TESTS_MENTIONS_H
#define ICT_TESTS_MENTIONS_H

#include "base/error.h"

#include <string.h>

static inline void assert_mentions(const Error *error, const char *what) {
    if (!strstr(error->text, what)) fail_msg("'%s' does not mention '%s'", error->text, what);
}

#endif
