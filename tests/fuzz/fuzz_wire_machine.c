/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_wire_machine.c: the description of a machine. What is accepted must survive being written
 * and read again.
 */
#include "wire/machine.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(const struct wire_machine *m)
{
    struct wire_machine again;
    pv_auto(pv_json) struct pv_json *json = wire_machine_write(m);
    if (!json || wire_machine_read(json, &again, NULL) < 0)
        abort();
    pv_auto(pv_json) struct pv_json *json_again = wire_machine_write(&again);
    pv_auto_free char *text = pv_json_print(json, false);
    pv_auto_free char *text_again = pv_json_print(json_again, false);
    if (!text || !text_again || strcmp(text, text_again) != 0)
        abort();
    wire_machine_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pv_auto(pv_json) struct pv_json *json = NULL;
    struct pv_error err = PV_ERROR_INIT;
    if (pv_json_parse((const char *)data, size, &json, &err) < 0)
        return 0;
    struct wire_machine m;
    if (wire_machine_read(json, &m, &err) == 0)
        check_round_trip(&m);
    wire_machine_done(&m);
    return 0;
}
