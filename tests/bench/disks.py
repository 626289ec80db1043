#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Speed of disks: fio on the same 256 MiB in Paravane's machines (a raw file, a qcow2 image, a disk
that qemu-storage-daemon serves), in stock User Mode Linux (ubd), and on the host's file itself.

All go through the host's page cache, which holds the file; the guests' own caches are passed by
(direct=1). What is measured is the way there, not the medium.

Usage: tests/bench/disks.py [--seconds N] [--only WAY,...]   part of tests/bench/run, too
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
BYTES = 256 << 20
# id, title, fio's words, whether bytes are what counts
JOBS = [
    ("randread1", "4k random reads, depth 1", "--rw=randread --bs=4k --iodepth=1", False),
    ("randread32", "4k random reads, depth 32", "--rw=randread --bs=4k --iodepth=32", False),
    ("randwrite1", "4k random writes, depth 1", "--rw=randwrite --bs=4k --iodepth=1", False),
    ("randwrite32", "4k random writes, depth 32", "--rw=randwrite --bs=4k --iodepth=32", False),
    ("read", "sequential reads, 1 MiB", "--rw=read --bs=1M --iodepth=4", True),
    ("write", "sequential writes, 1 MiB", "--rw=write --bs=1M --iodepth=4", True),
]


def fio_words(path, seconds, direct=1):
    words = ["fio", "--output-format=json", f"--filename={path}", f"--size={BYTES}",
             "--ioengine=libaio", f"--direct={direct}", "--invalidate=0", "--time_based", f"--runtime={seconds}",
             "--ramp_time=0.3", "--randrepeat=1", "--thread"]
    for name, _, job, _ in JOBS:
        words += [f"--name={name}", "--stonewall", *job.split()]
    return words


def parse(output):
    """{job: operations a second, or MiB a second} of what fio printed among other lines."""
    text = output.decode(errors="replace").replace("\r", "")
    found = {job["jobname"]: job for job in
             json.loads(text[text.index("{\n"):text.rindex("\n}") + 2])["jobs"]}
    result = {}
    for name, _, words, in_bytes in JOBS:
        side = found[name]["read" if "read" in words.split()[0] else "write"]
        result[name] = side["bw_bytes"] / (1 << 20) if in_bytes else side["iops"]
    return result


def run(command, **kwargs):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=300, check=False, **kwargs)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: exit code {done.returncode}: {done.stderr.decode()[-300:]}")
    return done.stdout


class Ways:
    """Each method is one way to the same bytes; its text is the column's title."""

    def __init__(self, build, image, uml_root, folder, seconds):
        self.paravane, self.image = f"{build}/paravane", image
        self.uml_root, self.folder, self.seconds = uml_root, folder, seconds
        self.raw, self.qcow2 = f"{folder}/disk.img", f"{folder}/disk.qcow2"
        os.chmod(folder, 0o755)
        with open(self.raw, "wb") as file:
            for _ in range(BYTES >> 20):
                file.write(os.urandom(1 << 20))

    def in_machine(self, disk):
        return parse(run([self.paravane, "run", "--rm", "--disk", disk, self.image, "--",
                          *fio_words("/dev/vdc", self.seconds)]))

    def host(self):
        """host's file"""
        return parse(run(fio_words(self.raw, self.seconds, direct=0)))

    def raw_disk(self):
        """Paravane, raw"""
        return self.in_machine(self.raw)

    def qcow2_disk(self):
        """Paravane, qcow2"""
        run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", self.raw, self.qcow2])
        return self.in_machine(self.qcow2)

    def storage_daemon(self):
        """Paravane on qemu-storage-daemon"""
        address = f"{self.folder}/disk.sock"
        daemon = subprocess.Popen(
            ["qemu-storage-daemon", "--blockdev", f"driver=file,filename={self.raw},node-name=f",
             "--export", f"type=vhost-user-blk,id=e,node-name=f,addr.type=unix,addr.path={address},"
             "writable=on"], stdin=subprocess.DEVNULL)
        try:
            for _ in range(100):
                if os.path.exists(address):
                    break
                time.sleep(0.05)
            return self.in_machine(address + ":format=vhost-user")
        finally:
            daemon.kill()
            daemon.wait()

    def ubd(self):
        """stock UML, ubd"""
        program = shutil.which("linux.uml")
        if not program or not self.uml_root:
            raise RuntimeError("not installed")
        words = " ".join(fio_words("/dev/ubdb", self.seconds))
        script = f"{self.folder}/fio.sh"
        text = ("mount -t proc proc /proc; mount -t tmpfs tmp /tmp\n"
                f"mount -t devtmpfs dev /dev 2>/dev/null; cd /tmp; {words}\nexit\n")
        with open(script, "w") as file:  # whole sectors: a disk has no end within one
            file.write(text.ljust(4096, "\n"))
        done = subprocess.run(
            [program, "mem=512M", f"ubd0r={self.uml_root}", f"ubd1={self.raw}", f"ubd2r={script}",
             "root=/dev/ubda", "ro", "rootfstype=ext4", "quiet", "con=null", "con0=fd:0,fd:1",
             f"uml_dir={self.folder}/", "init=/bench/init", "run", "/bin/sh", "/dev/ubdc"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=120, check=False)
        return parse(done.stdout)  # its exit code tells nothing


WAYS = ["host", "raw_disk", "qcow2_disk", "storage_daemon", "ubd"]


def measure(build, image, uml_root, seconds, only=None, say=lambda text: None):
    """{way: {job: figure}} and {way: why it failed}."""
    figures, failures = {}, {}
    folder = tempfile.mkdtemp(prefix="paravane-bench.", dir="/var/tmp")
    try:
        ways = Ways(build, image, uml_root, folder, seconds)
        for way in only or WAYS:
            say(f"bench: disks: {getattr(ways, way).__doc__}")
            try:
                figures[way] = getattr(ways, way)()
            except (RuntimeError, OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
                failures[way] = str(error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return figures, failures


def table(figures, failures):
    """Figures, and how many times the host's file."""
    titles = [getattr(Ways, way).__doc__ for way in WAYS]
    lines = [["", "unit", *titles]]
    for job, title, _, in_bytes in JOBS:
        line = [title, "MiB/s" if in_bytes else "1/s"]
        for way in WAYS:
            figure, base = figures.get(way, {}).get(job), figures.get("host", {}).get(job)
            ratio = f" (x{figure / base:.2f})" if figure and base and way != "host" else ""
            line.append(f"{figure:.0f}{ratio}" if figure else "-")
        lines.append(line)
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
                     for line in lines)
    return text + "".join(f"\n{getattr(Ways, way).__doc__}: {why}" for way, why in failures.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--only")
    arguments = parser.parse_args()
    build = os.path.abspath(os.environ.get("BUILD", f"{HERE}/../../build"))
    uml_root = f"{build}/bench/root.ext4"
    print(table(*measure(build, f"{build}/debian.squashfs",
                         uml_root if os.path.exists(uml_root) else None, arguments.seconds,
                         arguments.only.split(",") if arguments.only else None,
                         lambda text: print(text, file=sys.stderr, flush=True))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
