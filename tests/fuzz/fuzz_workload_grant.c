/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_workload_grant.c: a file of grants. What is taken must have a canonical form that parses to
 * the same grant.
 */
#include "workload/grant.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    struct pv_strv texts = {0};
    struct pv_error err = PV_ERROR_INIT;
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (workload_grants_read_text("fuzz", text, &texts, &err) < 0)
        assert(err.text[0]);
    for (size_t i = 0; i < texts.count; i++) {
        struct workload_grant g;
        char again[WORKLOAD_GRANT_TEXT_MAX];
        if (strcmp(texts.items[i], WORKLOAD_GRANT_NOTHING) == 0)
            continue;
        int rc = workload_grant_parse(texts.items[i], &g, NULL);
        assert(rc == 0);
        assert(strcmp(workload_grant_text(&g, again), texts.items[i]) == 0);
    }
    pv_strv_done(&texts);
    free(text);
    return 0;
}
