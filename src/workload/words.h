/* SPDX-License-Identifier: Apache-2.0
 *
 * words.h: comma-separated options such as "ro,bps=10M".
 */
#ifndef WORKLOAD_WORDS_H
#define WORKLOAD_WORDS_H

#include "base/error.h"

/* Refuses words of which two say the same thing, each something else: a key twice, or "ro" beside
 * "rw". -EINVAL; the error names flag, text and the second word. */
int workload_words_check(const char *words, const char *flag, const char *text,
                         struct pv_error *err);

#endif
