/* SPDX-License-Identifier: Apache-2.0
 *
 * control.h: the monitor's control socket (control.sock in the instance's run directory).
 *
 * A client connects and sends one request frame; the monitor answers with one reply frame
 * (CONTROL_OK with JSON, or CONTROL_ERROR) unless the request says otherwise. Several requests may
 * follow each other on a connection. Only the instance's owner can reach the socket (mode 0600).
 */
#ifndef WIRE_CONTROL_H
#define WIRE_CONTROL_H

enum wire_control_type {
    /* client to monitor */
    WIRE_CONTROL_STATUS = 128, /* reply OK: {"status": "...", ...} as in state.json */
    WIRE_CONTROL_STATS = 129,  /* reply OK: counters and guest statistics */
    /* Joins the main process. From then on the connection carries session frames (session.h). JSON
     * {"stdin": bool, "primary": bool}. primary: the CLI that started the machine: the monitor
     * starts the main process when it is attached; output produced before any client attached is
     * in the log only. At most one client has stdin. */
    WIRE_CONTROL_ATTACH = 130,
    WIRE_CONTROL_SIGNAL = 131, /* u32: sends the signal to the main process; reply OK */
    WIRE_CONTROL_STOP = 132,   /* u32 seconds of grace: SIGTERM (or JSON "signal") to the main
                                  process, then orderly power-off, then the end; reply OK at once */
    WIRE_CONTROL_KILL = 133,   /* ends the machine at once; reply OK */
    WIRE_CONTROL_WAIT = 134,   /* reply OK {"exit_code": n} when the machine has ended */
    WIRE_CONTROL_DETACH = 135, /* an attached client leaves and the workload goes on; without it
                                  the end of a primary client's connection ends the machine */
    /* Changes the running machine. JSON object; each key is one change: monitor/update.c has the
     * table. All are checked before any is made; a key that is not known is refused by name. Reply
     * OK: an object with the same keys and what holds now. */
    WIRE_CONTROL_UPDATE = 136,
    /* monitor to client */
    WIRE_CONTROL_OK = 144,    /* JSON */
    WIRE_CONTROL_ERROR = 145, /* u32 errno, then text */
};

#endif
