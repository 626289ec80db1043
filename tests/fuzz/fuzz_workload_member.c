/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_workload_member.c: a member's file of a private network. What can be read is written and
 * read again, and must be the same.
 */
#include "workload/member.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct workload_member m, again;
    if (size > WORKLOAD_MEMBER_BYTES_MAX ||
        workload_member_read((const char *)data, size, &m, NULL) < 0)
        return 0;
    assert(workload_member_has_name(&m, m.name, strlen(m.name)));
    pv_auto_free char *text = workload_member_write(&m);
    if (!text || workload_member_read(text, strlen(text), &again, NULL) < 0)
        abort();
    assert(strcmp(m.id, again.id) == 0 && m.aliases.count == again.aliases.count);
    workload_member_done(&again);
    workload_member_done(&m);
    return 0;
}
