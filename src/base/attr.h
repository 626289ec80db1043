/* SPDX-License-Identifier: Apache-2.0
 *
 * attr.h: cleanup attributes and the few macros that the whole house uses.
 *
 * An owner is declared with pv_auto_*, and ownership is handed over with pv_take_*.
 */
#ifndef PV_BASE_ATTR_H
#define PV_BASE_ATTR_H

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#define PV_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define PV_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define PV_CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define PV_MIN(a, b)                                                                               \
    ({                                                                                             \
        __typeof__(a) pv_a_ = (a);                                                                 \
        __typeof__(b) pv_b_ = (b);                                                                 \
        pv_a_ < pv_b_ ? pv_a_ : pv_b_;                                                             \
    })
#define PV_MAX(a, b)                                                                               \
    ({                                                                                             \
        __typeof__(a) pv_a_ = (a);                                                                 \
        __typeof__(b) pv_b_ = (b);                                                                 \
        pv_a_ > pv_b_ ? pv_a_ : pv_b_;                                                             \
    })

static inline void pv_cleanup_free(void *p)
{
    free(*(void **)p);
}

/* Closes once: a retry after EINTR could close another thread's new descriptor. */
static inline void pv_cleanup_fd(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

/* Frees with free() at the end of the scope. */
#define pv_auto_free __attribute__((cleanup(pv_cleanup_free)))
/* Closes a descriptor (>= 0) at the end of the scope. */
#define pv_auto_fd __attribute__((cleanup(pv_cleanup_fd)))

/* Defines the cleanup function of a type: PV_DEFINE_AUTO(pv_loop, struct pv_loop *, pv_loop_free)
 * gives the attribute body for `__attribute__((cleanup(pv_loop_auto)))`. */
#define PV_DEFINE_AUTO(name, type, release)                                                        \
    static inline void name##_auto(type *p)                                                        \
    {                                                                                              \
        release(*p);                                                                               \
    }
/* Declares an owner of a type with PV_DEFINE_AUTO: pv_auto(pv_loop) struct pv_loop *loop = NULL; */
#define pv_auto(name) __attribute__((cleanup(name##_auto)))

/* Hands a descriptor over: the variable no longer owns it. */
static inline int pv_take_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

/* Hands a pointer over: the variable no longer owns it. */
#define pv_take_ptr(p)                                                                             \
    ({                                                                                             \
        __typeof__(p) pv_taken_ = (p);                                                             \
        (p) = NULL;                                                                                \
        pv_taken_;                                                                                 \
    })

#endif
