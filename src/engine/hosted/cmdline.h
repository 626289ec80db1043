/* SPDX-License-Identifier: Apache-2.0
 *
 * cmdline.h: the command line of a hosted guest kernel.   Spec: docs/guest-interface.md, 1.
 */
#ifndef ENGINE_HOSTED_CMDLINE_H
#define ENGINE_HOSTED_CMDLINE_H

#include "engine/engine.h"

/* The numbers of the descriptors in the guest. */
#define ENGINE_HOSTED_CONSOLE_FD 2
#define ENGINE_HOSTED_MEMORY_FD 3
#define ENGINE_HOSTED_INITRAMFS_FD 4
#define ENGINE_HOSTED_DEVICE_FD 5 /* the first device; the others follow */

/* The kernel joins its arguments in a buffer of this size. */
#define ENGINE_HOSTED_CMDLINE_MAX 2048

/* Fills argv (empty) from the options. -E2BIG when it is longer than a guest kernel takes. */
int engine_hosted_cmdline(const struct engine_options *options, struct pv_strv *argv,
                          struct pv_error *err);

#endif
