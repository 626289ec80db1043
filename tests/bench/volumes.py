#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Speed of shared folders: one program works in the same folder of the host as a volume of Paravane's
machines (each way to cache), through stock User Mode Linux's hostfs, and on the host itself.

The folder is on a tmpfs of the host, so that no medium is measured, only the way there. What the
guest keeps in its own cache is dropped before files are read or looked at.

Usage: tests/bench/volumes.py [--rounds N] [--only WAY,...]   part of tests/bench/run, too
"""
import json
import os
import shutil
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import ways

MIB = 128
FILES = 1000
# id, title, unit
JOBS = [
    ("write", "sequential writes of 1 MiB, fsync", "MiB/s"),
    ("read", "sequential reads of 1 MiB", "MiB/s"),
    ("create", "create files of 100 bytes", "1/s"),
    ("stat", "look at them", "1/s"),
    ("open", "open and read them", "1/s"),
    ("list", "list them", "1/s"),
    ("remove", "remove them", "1/s"),
]

# Runs in the guest and on the host: FOLDER ROUNDS MIB FILES [keep]; prints one line of JSON.
WORK = r'''
import json, os, sys, time
folder, rounds, mib, files = sys.argv[1], *map(int, sys.argv[2:5])
figures = {}
def forget():
    if sys.argv[5:] != ["keep"]:
        with open("/proc/sys/vm/drop_caches", "w") as f:
            f.write("3\n")
def measure(name, amount, work):
    begin = time.monotonic()
    work()
    figures.setdefault(name, []).append(amount / (time.monotonic() - begin))
names = ["%s/many/file%04d" % (folder, i) for i in range(files)]
big, block = folder + "/big", bytearray(os.urandom(1 << 20))
def write():
    fd = os.open(big, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for _ in range(mib):
        os.write(fd, block)
    os.fsync(fd)
    os.close(fd)
def read():
    with open(big, "rb", buffering=0) as f:
        while f.readinto(block):
            pass
def create():
    for name in names:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(fd, b"x" * 100)
        os.close(fd)
def stat():
    for name in names:
        os.stat(name)
def open_all():
    for name in names:
        fd = os.open(name, os.O_RDONLY)
        os.read(fd, 4096)
        os.close(fd)
def list_all():
    assert len(os.listdir(folder + "/many")) == files
def remove():
    for name in names:
        os.unlink(name)
for _ in range(rounds):
    measure("write", mib, write)
    forget()
    measure("read", mib, read)
    os.unlink(big)
    os.mkdir(folder + "/many")
    measure("create", files, create)
    for name, work in ("stat", stat), ("open", open_all), ("list", list_all), ("remove", remove):
        forget()
        measure(name, files, work)
    os.rmdir(folder + "/many")
print("figures", json.dumps({k: sorted(v)[len(v) // 2] for k, v in figures.items()}), flush=True)
'''


def parse(output):
    """{job: how much a second}, the medians of the rounds, of what the program printed."""
    for line in output.decode(errors="replace").splitlines():
        if line.startswith("figures {"):
            return json.loads(line.split(" ", 1)[1])
    raise RuntimeError("no figures: " + output.decode(errors="replace")[-300:])


class Volumes(ways.Ways):
    subject, where, ratio = "shared folders", "/dev/shm", 3
    order = ["host", "volume", "volume_none", "volume_always", "hostfs"]
    jobs = JOBS

    def __init__(self, build, image, uml_root, folder, rounds):
        super().__init__(build, image, uml_root, folder)
        self.rounds = rounds
        self.share = f"{folder}/share"

    def prepare(self):
        """Anew: a way that failed leaves files."""
        shutil.rmtree(self.share, ignore_errors=True)
        os.mkdir(self.share)
        with open(f"{self.share}/work.py", "w") as file:
            file.write(WORK)

    def work(self, folder):
        return ["python3", f"{folder}/work.py", folder, str(self.rounds), str(MIB), str(FILES)]

    def in_machine(self, cache):
        return parse(self.machine(["-m", "512M", "-v", f"{self.share}:/v:cache={cache}"],
                                  self.work("/v")))

    def host(self):
        """host's folder"""
        return parse(ways.check([*self.work(self.share), "keep"]))

    def volume(self):
        """Paravane"""
        return self.in_machine("auto")

    def volume_none(self):
        """Paravane, cache=none"""
        return self.in_machine("none")

    def volume_always(self):
        """Paravane, cache=always"""
        return self.in_machine("always")

    def hostfs(self):
        """stock UML, hostfs"""
        return parse(self.stock_uml([], f"mount -t hostfs -o {self.share} none /mnt; "
                                        f"{' '.join(self.work('/mnt'))} 2>&1"))


def measure(build, image, uml_root, rounds, only=None, say=lambda text: None):
    """{way: {job: figure}} and {way: why it failed}."""
    return ways.measure(lambda folder: Volumes(build, image, uml_root, folder, rounds), Volumes, only,
                        say)


def table(figures, failures):
    return ways.table(Volumes, figures, failures)


if __name__ == "__main__":
    sys.exit(ways.main(__doc__, Volumes, measure, "rounds", 3, int, "hostfs"))
