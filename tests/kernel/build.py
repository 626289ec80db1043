# SPDX-License-Identifier: Apache-2.0
"""Makes the image: Debian with stress-ng, and in /tests our own programs, LTP and the kernel's selftests,
both built from trees that the user names. All is kept in the cache; what was built there stays until
its folder is removed."""
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile

import lists

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
CACHE = os.path.join(os.environ.get("PARAVANE_CACHE") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "paravane"), "kernel-tests")
# What the programs of LTP and of the kernel are linked with, and what they call.
PACKAGES = ["gcc", "libc6-dev", "procps", "iproute2", "iputils-ping", "python3", "stress-ng", "libaio1",
            "libcap2", "libcap2-bin", "libnuma1", "libacl1", "libmnl0", "libcap-ng0", "attr", "acl",
            "keyutils", "libkeyutils1", "e2fsprogs", "xfsprogs", "btrfs-progs", "dosfstools", "kmod",
            "quota", "libattr1", "util-linux", "bc", "xz-utils", "file", "libfuse2", "uidmap",
            "psmisc"]
LTP_FOLDERS = ["testcases/lib", "testcases/kernel/mem", "testcases/kernel/sched",
               "testcases/kernel/syscalls", "testcases/misc/math", "runtest"]


def say(text):
    print(f"kernel tests: {text}", file=sys.stderr, flush=True)


def make(log, argv, may_fail=False, **kwargs):
    """Builds gently: it takes long, and the host has other work."""
    with open(log, "ab") as file:
        code = subprocess.run(["nice", "-n", "15", *argv], stdin=subprocess.DEVNULL, stdout=file,
                              stderr=file, check=False, **kwargs).returncode
    if code and not may_fail:
        raise RuntimeError(f"'{' '.join(argv[:4])}' failed: see {log}")


def jobs():
    return f"-j{len(os.sched_getaffinity(0))}"


def own_folder(name, source):
    """Where a tree is built: (folder, whether that is done)."""
    key = hashlib.sha256(os.path.realpath(source).encode()).hexdigest()[:8]
    folder = f"{CACHE}/{name}-{key}"
    os.makedirs(folder, exist_ok=True)
    return folder, os.path.exists(f"{folder}/built")


def done(folder):
    with open(f"{folder}/built", "wb"):
        pass


def build_ltp(source):
    """The folder that is /tests/ltp in the image."""
    folder, built = own_folder("ltp", source)
    if not built:
        say(f"building LTP in {folder}: that takes long")
        tree, log = f"{folder}/tree", f"{folder}/log"
        make(log, ["cp", "-a", "--no-target-directory", source, tree])
        make(log, ["make", "autotools"], cwd=tree)
        make(log, ["./configure", "--prefix=/tests/ltp", "--without-tirpc", "CFLAGS=-O1 -g0 -w"],
             cwd=tree)
        for part in LTP_FOLDERS:
            # A program that does not build here is missing in the list, no more.
            make(log, ["make", jobs(), "-k", "-C", part], may_fail=True, cwd=tree)
            make(log, ["make", "-k", f"DESTDIR={folder}/root", "-C", part, "install"], may_fail=True,
                 cwd=tree)
        done(folder)
    return f"{folder}/root/tests/ltp"


def build_kselftest(source):
    """The folder that is /tests/kselftest in the image; source is a tree of Linux."""
    folder, built = own_folder("kselftest", source)
    if not built:
        say(f"building the kernel's selftests in {folder}")
        tree, log = f"{folder}/tree", f"{folder}/log"
        os.makedirs(tree, exist_ok=True)
        for part in ("Makefile", "Kbuild", "Kconfig", "arch/x86", "include", "scripts", "tools", "usr",
                     "mm", "samples/check-exec"):
            os.makedirs(os.path.dirname(f"{tree}/{part}"), exist_ok=True)
            make(log, ["cp", "-a", "--no-target-directory", f"{source}/{part}", f"{tree}/{part}"])
        make(log, ["make", jobs(), "ARCH=x86", "headers"], cwd=tree)
        # Each folder is installed with what did build: -i.
        make(log, ["make", jobs(), "-k", "-i", "ARCH=x86", "CC=gcc -w", "-C", "tools/testing/selftests",
                   f"TARGETS={' '.join(lists.KSELFTESTS)}", f"INSTALL_PATH={folder}/root",
                   f"KHDR_INCLUDES=-isystem {tree}/usr/include", "install"], may_fail=True, cwd=tree)
        done(folder)
    return f"{folder}/root"


def own_programs(folder):
    """The folder that is /tests/own in the image."""
    os.makedirs(folder, exist_ok=True)
    for name in ("inside.py", "pressure"):
        shutil.copy(f"{HERE}/{name}", f"{folder}/{name}")
    subprocess.run(["gcc", "-O1", "-D_GNU_SOURCE", "-pthread", "-static", "-o", f"{folder}/memory",
                    f"{HERE}/memory.c"], check=True)
    return folder


def image(parts):
    """A squashfs file; parts is {name below /tests: folder}."""
    base = subprocess.run([f"{TOP}/tools/make-image", "--include", ",".join(PACKAGES)], check=True,
                          stdout=subprocess.PIPE, text=True).stdout.strip()
    parts = {"own": own_programs(f"{CACHE}/own"), **parts}
    key = hashlib.sha256(base.encode())
    for name, folder in sorted(parts.items()):
        for top, folders, files in os.walk(folder):
            folders.sort()
            for file in sorted(files):
                stat = os.lstat(f"{top}/{file}")
                stamp = "" if name == "own" else stat.st_mtime_ns
                key.update(f"{name} {top} {file} {stat.st_size} {stamp}\n".encode())
                if name == "own":
                    with open(f"{top}/{file}", "rb") as content:
                        key.update(content.read())
    path = f"{CACHE}/image-{key.hexdigest()[:16]}.squashfs"
    if not os.path.exists(path):
        say("making the image")
        with tempfile.TemporaryDirectory(dir=CACHE) as new:
            os.makedirs(f"{new}/root/tests")
            for name, folder in parts.items():
                subprocess.run(["cp", "-a", folder, f"{new}/root/tests/{name}"], check=True)
            shutil.copyfile(base, f"{new}/image")
            make(f"{CACHE}/image.log", ["mksquashfs", f"{new}/root", f"{new}/image", "-all-root",
                                        "-no-progress", "-no-recovery"])
            os.rename(f"{new}/image", path)
    return path
