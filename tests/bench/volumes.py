#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Speed of shared folders: one program works in the same folder of the host as a volume of Paravane's
machines (each way to cache), through stock User Mode Linux's hostfs, and on the host itself.

The folder is on a tmpfs of the host, so that no medium is measured, only the way there. What the
guest keeps in its own cache is dropped before files are read or looked at.

Usage: tests/bench/volumes.py [--rounds N] [--only WAY,...]   part of tests/bench/run, too
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
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


def run(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=300, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: exit code {done.returncode}: {done.stderr.decode()[-300:]}")
    return done.stdout


class Ways:
    """Each method is one way to the same folder; its text is the column's title."""

    def __init__(self, build, image, uml_root, folder, rounds):
        self.paravane, self.image, self.uml_root = f"{build}/paravane", image, uml_root
        self.folder, self.rounds = folder, rounds
        os.chmod(folder, 0o755)
        self.share = f"{folder}/share"

    def make_share(self):
        """Anew: a way that failed leaves files."""
        shutil.rmtree(self.share, ignore_errors=True)
        os.mkdir(self.share)
        with open(f"{self.share}/work.py", "w") as file:
            file.write(WORK)

    def work(self, folder):
        return ["python3", f"{folder}/work.py", folder, str(self.rounds), str(MIB), str(FILES)]

    def in_machine(self, cache):
        return parse(run([self.paravane, "run", "--rm", "-m", "512M", "-v",
                          f"{self.share}:/v:cache={cache}", self.image, "--", *self.work("/v")]))

    def host(self):
        """host's folder"""
        return parse(run([*self.work(self.share), "keep"]))

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
        program = shutil.which("linux.uml")
        if not program or not self.uml_root:
            raise RuntimeError("not installed")
        script = f"{self.folder}/work.sh"
        text = ("mount -t proc proc /proc; mount -t tmpfs tmp /tmp\n"
                f"mount -t hostfs -o {self.share} none /mnt; {' '.join(self.work('/mnt'))} 2>&1\nexit\n")
        with open(script, "w") as file:  # whole sectors: a disk has no end within one
            file.write(text.ljust(4096, "\n"))
        done = subprocess.run(
            [program, "mem=512M", f"ubd0r={self.uml_root}", f"ubd1r={script}", "root=/dev/ubda", "ro",
             "rootfstype=ext4", "quiet", "con=null", "con0=fd:0,fd:1", f"uml_dir={self.folder}/",
             "init=/bench/init", "run", "/bin/sh", "/dev/ubdb"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=300, check=False)
        return parse(done.stdout)  # its exit code tells nothing


WAYS = ["host", "volume", "volume_none", "volume_always", "hostfs"]


def measure(build, image, uml_root, rounds, only=None, say=lambda text: None):
    """{way: {job: figure}} and {way: why it failed}."""
    figures, failures = {}, {}
    folder = tempfile.mkdtemp(prefix="paravane-bench.", dir="/dev/shm")
    try:
        ways = Ways(build, image, uml_root, folder, rounds)
        for way in only or WAYS:
            say(f"bench: shared folders: {getattr(ways, way).__doc__}")
            try:
                ways.make_share()
                figures[way] = getattr(ways, way)()
            except (RuntimeError, OSError, ValueError, subprocess.SubprocessError) as error:
                failures[way] = str(error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return figures, failures


def table(figures, failures):
    """Figures, and how many times the host's folder."""
    titles = [getattr(Ways, way).__doc__ for way in WAYS]
    lines = [["", "unit", *titles]]
    for job, title, unit in JOBS:
        line = [title, unit]
        for way in WAYS:
            figure, base = figures.get(way, {}).get(job), figures.get("host", {}).get(job)
            ratio = f" (x{figure / base:.3f})" if figure and base and way != "host" else ""
            line.append(f"{figure:.0f}{ratio}" if figure else "-")
        lines.append(line)
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
                     for line in lines)
    return text + "".join(f"\n{getattr(Ways, way).__doc__}: {why}" for way, why in failures.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only")
    arguments = parser.parse_args()
    build = os.path.abspath(os.environ.get("BUILD", f"{HERE}/../../build"))
    uml_root = f"{build}/bench/root.ext4"
    print(table(*measure(build, f"{build}/debian.squashfs",
                         uml_root if os.path.exists(uml_root) else None, arguments.rounds,
                         arguments.only.split(",") if arguments.only else None,
                         lambda text: print(text, file=sys.stderr, flush=True))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
