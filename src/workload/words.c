/* SPDX-License-Identifier: Apache-2.0 */
#include "workload/words.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static bool is_access(const char *word, size_t len)
{
    return len == 2 && (memcmp(word, "ro", 2) == 0 || memcmp(word, "rw", 2) == 0);
}

static bool are_about_the_same(const char *a, size_t a_len, const char *b, size_t b_len)
{
    return (a_len == b_len && memcmp(a, b, a_len) == 0) ||
           (is_access(a, a_len) && is_access(b, b_len));
}

int workload_words_check(const char *words, const char *flag, const char *text,
                         struct pv_error *err)
{
    for (const char *b = words; (b = strchr(b, ','));) {
        b++;
        for (const char *a = words; a < b; a = strchr(a, ',') + 1)
            if (are_about_the_same(a, strcspn(a, "=,"), b, strcspn(b, "=,")))
                return pv_error_set(err, EINVAL,
                                    "%s '%s': '%.*s' comes after a word that says the same thing: "
                                    "leave one of them out",
                                    flag, text, (int)strcspn(b, ","), b);
    }
    return 0;
}
