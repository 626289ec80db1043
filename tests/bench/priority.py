# SPDX-License-Identifier: Apache-2.0
"""Niceness that counts. A host divides its CPUs between control groups first, and, where it has
automatic groups (sched_autogroup_enabled), between sessions; `nice` only divides what one of them has.
A machine is in a control group of its own, and its monitor has a session of its own."""
import contextlib
import os
import threading

import measure

DEFAULTS = {"cpu.shares": 1024, "cpu.weight.nice": 0}


def read(path):
    with contextlib.suppress(OSError), open(path) as file:
        return file.read().strip()
    return None


def write(path, value):
    with contextlib.suppress(OSError), open(path, "w") as file:
        file.write(str(value))


def weights(pid, nice):
    """{file: what stands for nice in it} of all groups that the process is in."""
    found = {f"/proc/{pid}/autogroup": nice}
    for line in (read(f"/proc/{pid}/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        while path not in ("", "/"):
            if controllers == "":
                found[f"/sys/fs/cgroup{path}/cpu.weight.nice"] = nice
            elif "cpu" in controllers.split(","):
                # As the kernel's own table: a step of niceness is a quarter.
                found[f"/sys/fs/cgroup/{controllers}{path}/cpu.shares"] = int(1024 * 1.25 ** -nice)
            path = os.path.dirname(path)
    return found


@contextlib.contextmanager
def of_all():
    """Inside, we and all that is started have the niceness that we were started with, also in front
    of what is in other groups. Control groups that stay have their default afterwards."""
    nice, changed, end = os.nice(0), set(), threading.Event()
    if nice == 0:
        yield
        return

    def change(pid):
        for path, value in weights(pid, nice).items():
            now = read(path) if path not in ours else None
            if now is not None and now.split()[-1] != str(value):
                write(path, value)
                changed.add(path)

    def follow():
        while not end.wait(0.2):
            for pid in measure.descendants(os.getpid()):
                change(pid)

    ours = weights(os.getpid(), nice)
    write("/proc/self/autogroup", nice)
    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        for path in changed:
            if path.startswith("/sys/"):
                write(path, DEFAULTS[os.path.basename(path)])
        write("/proc/self/autogroup", 0)
