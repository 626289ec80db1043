/* SPDX-License-Identifier: Apache-2.0
 *
 * place.c: chooses the state and run folders:
 *
 *   PARAVANE_ROOT set     $PARAVANE_ROOT and $PARAVANE_ROOT/run
 *   root                  /var/lib/paravane and /run/paravane
 *   a user                $XDG_STATE_HOME/paravane or ~/.local/state/paravane
 *                         (without a usable home: /var/tmp/paravane-UID), and
 *                         $XDG_RUNTIME_DIR/paravane, else run/ in the state folder
 *
 * An instance remembers its own folders, so a changed environment does not lose it. Root's folders
 * can be passed through but not listed by others, because each machine's monitor has a user of its
 * own there.
 */
#include "instance/place.h"

#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ROOT_STATE "/var/lib/paravane"
#define ROOT_RUN "/run/paravane"
#define MODE_ROOT 0711
#define MODE_USER 0700

int instance_place_make(const char *path, unsigned mode, struct pv_error *err)
{
    pv_auto_free char *copy = strdup(path);
    if (!copy)
        return pv_error_set(err, ENOMEM, "create '%s': out of memory", path);
    for (char *end = copy + 1;; end++) {
        char cut = *end;
        if (cut != '/' && cut != '\0')
            continue;
        *end = '\0';
        if (mkdir(copy, mode) < 0 && errno != EEXIST && errno != EISDIR)
            return pv_error_set(err, errno, "create '%s': %s", copy, strerror(errno));
        *end = cut;
        if (!cut)
            break;
    }
    return 0;
}

/* The folder must be ours alone: a folder that another user prepared could feed us its own
 * configuration. */
static int check_owner(const char *path, struct pv_error *err)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return pv_error_set(err, errno, "'%s': %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return pv_error_set(err, ENOTDIR, "'%s' is no folder: remove it or set PARAVANE_ROOT",
                            path);
    if (st.st_uid != geteuid() || (st.st_mode & 022))
        return pv_error_set(err, EPERM,
                            "'%s' belongs to another user or others may write to it: remove it or "
                            "set PARAVANE_ROOT",
                            path);
    return 0;
}

static int make_checked(const char *path, unsigned mode, struct pv_error *err)
{
    int rc = instance_place_make(path, mode, err);
    if (rc == 0)
        rc = check_owner(path, err);
    if (rc == 0 && access(path, W_OK | X_OK) < 0)
        rc = pv_error_set(err, errno, "'%s': %s", path, strerror(errno));
    return rc;
}

static bool is_absolute(const char *path)
{
    return path && path[0] == '/';
}

/* The state folder of a plain user: at home, else in /var/tmp. */
static int find_user_state(char **ret_state, struct pv_error *err)
{
    const char *state_home = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    char *path = NULL;
    if (is_absolute(state_home))
        path = pv_strf("%s/paravane", state_home);
    else if (is_absolute(home) && strcmp(home, "/") != 0)
        path = pv_strf("%s/.local/state/paravane", home);
    if (path && make_checked(path, MODE_USER, err) == 0) {
        *ret_state = path;
        return 0;
    }
    free(path);

    pv_auto_free char *fallback = pv_strf("/var/tmp/paravane-%u", (unsigned)geteuid());
    if (!fallback)
        return pv_error_set(err, ENOMEM, "choose the state folder: out of memory");
    int rc = make_checked(fallback, MODE_USER, err);
    if (rc == 0)
        *ret_state = pv_take_ptr(fallback);
    return rc;
}

static int find_user_run(const char *state, char **ret_run, struct pv_error *err)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (is_absolute(runtime) && check_owner(runtime, NULL) == 0) {
        pv_auto_free char *path = pv_strf("%s/paravane", runtime);
        if (path && make_checked(path, MODE_USER, NULL) == 0) {
            *ret_run = pv_take_ptr(path);
            return 0;
        }
    }
    pv_auto_free char *path = pv_strf("%s/run", state);
    if (!path)
        return pv_error_set(err, ENOMEM, "choose the run folder: out of memory");
    int rc = make_checked(path, MODE_USER, err);
    if (rc == 0)
        *ret_run = pv_take_ptr(path);
    return rc;
}

static int find_given(const char *root, unsigned mode, struct instance_place *place,
                      struct pv_error *err)
{
    if (!is_absolute(root))
        return pv_error_set(err, EINVAL, "PARAVANE_ROOT='%s': write an absolute path", root);
    place->state = strdup(root);
    place->run = pv_strf("%s/run", root);
    if (!place->state || !place->run)
        return pv_error_set(err, ENOMEM, "choose the state folder: out of memory");
    int rc = make_checked(place->state, mode, err);
    return rc == 0 ? make_checked(place->run, mode, err) : rc;
}

static int find_root(struct instance_place *place, struct pv_error *err)
{
    place->state = strdup(ROOT_STATE);
    place->run = strdup(ROOT_RUN);
    if (!place->state || !place->run)
        return pv_error_set(err, ENOMEM, "choose the state folder: out of memory");
    int rc = make_checked(ROOT_STATE, MODE_ROOT, err);
    return rc == 0 ? make_checked(ROOT_RUN, MODE_ROOT, err) : rc;
}

static int find_user(struct instance_place *place, struct pv_error *err)
{
    int rc = find_user_state(&place->state, err);
    return rc == 0 ? find_user_run(place->state, &place->run, err) : rc;
}

int instance_place_find(struct instance_place *ret_place, struct pv_error *err)
{
    struct instance_place place = {0};
    const char *given = getenv("PARAVANE_ROOT");
    bool root = geteuid() == 0;
    int rc;
    if (given && *given) {
        rc = find_given(given, root ? MODE_ROOT : MODE_USER, &place, err);
    } else if (root) {
        rc = find_root(&place, err);
        if (rc == -EACCES || rc == -EROFS || rc == -EPERM) { /* root of a user namespace only */
            instance_place_done(&place);
            rc = find_user(&place, err);
        }
    } else {
        rc = find_user(&place, err);
    }
    if (rc < 0) {
        instance_place_done(&place);
        pv_error_prefix(err, "state folder");
        return rc;
    }
    *ret_place = place;
    return 0;
}

void instance_place_done(struct instance_place *place)
{
    free(place->state);
    free(place->run);
    *place = (struct instance_place){0};
}
