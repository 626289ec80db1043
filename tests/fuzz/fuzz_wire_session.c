/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_wire_session.c: the JSON that reaches the agent: the settings of a process, and the set-up
 * of a machine. What is accepted must survive being written and read again.
 */
#include "wire/session.h"
#include "wire/setup.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_equal(struct pv_json *a, struct pv_json *b)
{
    pv_auto_free char *text_a = a ? pv_json_print(a, false) : NULL;
    pv_auto_free char *text_b = b ? pv_json_print(b, false) : NULL;
    if (!text_a || !text_b || strcmp(text_a, text_b) != 0)
        abort();
}

static void check_process(const struct pv_json *json)
{
    struct wire_process p, again;
    struct pv_error err = PV_ERROR_INIT;
    if (wire_process_read(json, &p, &err) < 0)
        return;
    pv_auto(pv_json) struct pv_json *written = wire_process_write(&p);
    if (!written || wire_process_read(written, &again, &err) < 0)
        abort();
    pv_auto(pv_json) struct pv_json *written_again = wire_process_write(&again);
    check_equal(written, written_again);
    wire_process_done(&p);
    wire_process_done(&again);
}

static void check_setup(const struct pv_json *json)
{
    struct wire_setup s, again;
    struct pv_error err = PV_ERROR_INIT;
    if (wire_setup_read(json, &s, &err) < 0)
        return;
    pv_auto(pv_json) struct pv_json *written = wire_setup_write(&s);
    if (!written || wire_setup_read(written, &again, &err) < 0)
        abort();
    pv_auto(pv_json) struct pv_json *written_again = wire_setup_write(&again);
    check_equal(written, written_again);
    wire_setup_done(&s);
    wire_setup_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pv_auto(pv_json) struct pv_json *json = NULL;
    struct pv_error err = PV_ERROR_INIT;
    if (pv_json_parse((const char *)data, size, &json, &err) < 0)
        return 0;
    check_process(json);
    check_setup(json);
    return 0;
}
