#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Becomes a program of another root, as chroot does, with /proc and /dev in it. With --namespaces
as container engines do: user, pid, mount, uts and ipc namespaces of its own. All users have their
own numbers in it when root starts it; else only root is there.

Usage: enter.py [--namespaces] ROOT PROGRAM [ARG...]
"""
import ctypes
import os
import signal
import sys

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID = 0x10000000, 0x20000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


def call(name, *arguments):
    if getattr(LIBC, name)(*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")


def mount(source, target, kind, flags):
    call("mount", source.encode(), target.encode(), kind and kind.encode(),
         ctypes.c_ulong(flags), None)


def map_users():
    """In a new user namespace. Root's maps are written from outside, by a helper."""
    if os.geteuid() != 0:
        users, groups = (f"0 {number} 1" for number in (os.geteuid(), os.getegid()))
        call("unshare", CLONE_NEWUSER)
        write("/proc/self/setgroups", "deny")
        write("/proc/self/uid_map", users)
        write("/proc/self/gid_map", groups)
        return
    parent, (ready, told) = os.getpid(), os.pipe()
    helper = os.fork()
    if helper == 0:
        os.close(told)
        os.read(ready, 1)
        for kind in ("uid", "gid"):
            write(f"/proc/{parent}/{kind}_map", "0 0 65536")
        os._exit(0)
    call("unshare", CLONE_NEWUSER)
    os.close(told)
    if os.waitpid(helper, 0)[1] != 0:
        sys.exit("enter: users cannot be mapped")
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def become_first():
    """The first process of the new pid namespace goes on; we wait and end as it does."""
    child = os.fork()
    if child == 0:
        call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        return
    status = os.waitpid(child, 0)[1]
    os._exit(os.waitstatus_to_exitcode(status) & 255)


def main():
    words = sys.argv[1:]
    namespaces = words[:1] == ["--namespaces"]
    root, *command = words[namespaces:]
    if namespaces:
        map_users()
        call("unshare", CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC)
        become_first()
    call("unshare", CLONE_NEWNS)
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount(root, root, None, MS_BIND | MS_REC)
    mount("/dev", f"{root}/dev", None, MS_BIND | MS_REC)
    mount("proc", f"{root}/proc", "proc", 0)
    os.chroot(root)
    os.chdir("/")
    os.execve(command[0], command, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"})


if __name__ == "__main__":
    main()
