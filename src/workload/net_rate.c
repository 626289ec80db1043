/* SPDX-License-Identifier: Apache-2.0
 *
 * net_rate.c: --net-rate.
 */
#include "workload/net_rate.h"

#include "base/str.h"
#include "workload/words.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FLAG "--net-rate"

static const struct {
    const char *key;
    bool is_size;
    size_t offset;
} limits[] = {
    {"bps=", true, offsetof(struct workload_net_rate, bytes.per_second)},
    {"bps-burst=", true, offsetof(struct workload_net_rate, bytes.burst)},
    {"pps=", false, offsetof(struct workload_net_rate, frames.per_second)},
    {"pps-burst=", false, offsetof(struct workload_net_rate, frames.burst)},
};

static int read_limit(const char *word, struct workload_net_rate *rate, const char *text,
                      struct pv_error *err)
{
    size_t i = 0;
    while (i < PV_ARRAY_SIZE(limits) && !pv_str_starts_with(word, limits[i].key))
        i++;
    if (i == PV_ARRAY_SIZE(limits))
        return pv_error_set(err, EINVAL,
                            FLAG " '%s': '%s' is no limit: write bps=SIZE,pps=N, with bps-burst= "
                                 "and pps-burst= if need be",
                            text, word);
    const char *value = word + strlen(limits[i].key);
    uint64_t *target = (uint64_t *)((char *)rate + limits[i].offset), number;
    int rc = limits[i].is_size ? pv_str_to_size(value, &number)
                               : pv_str_to_u64(value, 0, PV_RATE_MAX, &number);
    if (rc == 0 && number > PV_RATE_MAX)
        rc = -ERANGE;
    if (rc < 0)
        return pv_error_set(err, -rc, FLAG " '%s': '%s' is not %s", text, value,
                            limits[i].is_size
                                ? "an amount of bytes a second; write a number and a unit: 10M"
                                : "a number of frames a second");
    *target = number;
    return 0;
}

int workload_net_rate_parse(const char *text, struct workload_net_rate *ret_rate,
                            struct pv_error *err)
{
    struct workload_net_rate rate = {0};
    pv_auto_free char *copy = strdup(text);
    if (!copy)
        return pv_error_set(err, ENOMEM, FLAG ": out of memory");
    int twice = workload_words_check(text, FLAG, text, err);
    if (twice < 0)
        return twice;
    char *rest = copy, *word;
    while ((word = strsep(&rest, ","))) {
        int rc = read_limit(word, &rate, text, err);
        if (rc < 0)
            return rc;
    }
    if ((rate.bytes.burst && !rate.bytes.per_second) ||
        (rate.frames.burst && !rate.frames.per_second))
        return pv_error_set(err, EINVAL, FLAG " '%s': a burst needs its rate: bps= or pps=", text);
    *ret_rate = rate;
    return 0;
}
