# SPDX-License-Identifier: Apache-2.0
"""Enters an image on the host and runs inside.py there. To be started by unshare, as root: all mounts
are in a namespace of their own. There are no devices but harmless ones, /proc/sys and /sys cannot be
written, and what would change the host itself is not allowed.

Usage: enter.py IMAGE FOLDER
"""
import ctypes
import os
import subprocess
import sys

PR_CAPBSET_DROP = 24
# linux/capability.h: sys_module, sys_rawio, sys_boot, sys_time, syslog, mac_override, mac_admin, bpf,
# perfmon, wake_alarm
DROPPED = [16, 17, 22, 25, 34, 32, 33, 39, 38, 35]
DEVICES = ["null", "zero", "full", "random", "urandom", "tty"]


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


def main():
    image, folder = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    mount("--make-rprivate", "/")
    mount("-t", "tmpfs", "-o", "size=4G,mode=755", "kernel-tests", folder)
    below, above, work, root = (f"{folder}/{name}" for name in ("below", "above", "work", "root"))
    for path in (below, above, work, root):
        os.mkdir(path, 0o755)
    mount("-t", "squashfs", "-o", "loop,ro", image, below)
    mount("-t", "overlay", "-o", f"lowerdir={below},upperdir={above},workdir={work}", "root", root)
    mount("-t", "proc", "proc", f"{root}/proc")
    for path in filter(os.path.exists, ("/proc/sys", "/proc/sysrq-trigger")):
        mount("--bind", root + path, root + path)
        mount("-o", "remount,bind,ro", root + path)
    mount("-t", "sysfs", "-o", "ro", "sysfs", f"{root}/sys")
    mount("-t", "tmpfs", "-o", "mode=755", "dev", f"{root}/dev")
    for name in DEVICES:
        open(f"{root}/dev/{name}", "wb").close()
        mount("--bind", f"/dev/{name}", f"{root}/dev/{name}")
    for name in ("pts", "shm"):
        os.mkdir(f"{root}/dev/{name}", 0o777)
    mount("-t", "devpts", "-o", "newinstance,ptmxmode=666", "devpts", f"{root}/dev/pts")
    mount("-t", "tmpfs", "-o", "mode=1777", "shm", f"{root}/dev/shm")
    os.symlink("pts/ptmx", f"{root}/dev/ptmx")
    os.symlink("/proc/self/fd", f"{root}/dev/fd")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    os.chroot(root)
    os.chdir("/")
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in DROPPED:
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            raise OSError(ctypes.get_errno(), f"capability {capability} stays")
    os.execv("/usr/bin/python3", ["python3", "-u", "/tests/own/inside.py"])


if __name__ == "__main__":
    main()
