#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Speed of disks: fio on the same 256 MiB in Paravane's machines (a raw file, a qcow2 image, a disk
that qemu-storage-daemon serves), in stock User Mode Linux (ubd), and on the host's file itself.

All go through the host's page cache, which holds the file; the guests' own caches are passed by
(direct=1). What is measured is the way there, not the medium.

Usage: tests/bench/disks.py [--seconds N] [--only WAY,...]   part of tests/bench/run, too
"""
import json
import os
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import ways

BYTES = 256 << 20
# id, title, unit, fio's words
JOBS = [
    ("randread1", "4k random reads, depth 1", "1/s", "--rw=randread --bs=4k --iodepth=1"),
    ("randread32", "4k random reads, depth 32", "1/s", "--rw=randread --bs=4k --iodepth=32"),
    ("randwrite1", "4k random writes, depth 1", "1/s", "--rw=randwrite --bs=4k --iodepth=1"),
    ("randwrite32", "4k random writes, depth 32", "1/s", "--rw=randwrite --bs=4k --iodepth=32"),
    ("read", "sequential reads, 1 MiB", "MiB/s", "--rw=read --bs=1M --iodepth=4"),
    ("write", "sequential writes, 1 MiB", "MiB/s", "--rw=write --bs=1M --iodepth=4"),
]


def fio_words(path, seconds, direct=1):
    # Whole numbers: of "0.3" fio takes the 0, which is no limit.
    words = ["fio", "--output-format=json", f"--filename={path}", f"--size={BYTES}",
             "--ioengine=libaio", f"--direct={direct}", "--invalidate=0", "--time_based",
             f"--runtime={int(seconds * 1000)}ms", "--ramp_time=300ms", "--randrepeat=1",
             "--thread"]
    for name, _, _, job in JOBS:
        words += [f"--name={name}", "--stonewall", *job.split()]
    return words


def parse(output):
    """{job: operations a second, or MiB a second} of what fio printed among other lines."""
    text = output.decode(errors="replace").replace("\r", "")
    found = {job["jobname"]: job for job in
             json.loads(text[text.index("{\n"):text.rindex("\n}") + 2])["jobs"]}
    result = {}
    for name, _, unit, words in JOBS:
        side = found[name]["read" if "read" in words.split()[0] else "write"]
        result[name] = side["bw_bytes"] / (1 << 20) if unit == "MiB/s" else side["iops"]
    return result


class Disks(ways.Ways):
    subject, where = "disks", "/var/tmp"
    order = ["host", "raw_disk", "qcow2_disk", "storage_daemon", "ubd"]
    jobs = [(name, title, unit) for name, title, unit, _ in JOBS]

    def __init__(self, build, image, uml_root, folder, seconds):
        super().__init__(build, image, uml_root, folder)
        self.seconds = seconds
        self.raw, self.qcow2 = f"{folder}/disk.img", f"{folder}/disk.qcow2"
        with open(self.raw, "wb") as file:
            for _ in range(BYTES >> 20):
                file.write(os.urandom(1 << 20))

    def in_machine(self, disk):
        return parse(self.machine(["--disk", disk], fio_words("/dev/vdc", self.seconds)))

    def host(self):
        """host's file"""
        return parse(ways.check(fio_words(self.raw, self.seconds, direct=0)))

    def raw_disk(self):
        """Paravane, raw"""
        return self.in_machine(self.raw)

    def qcow2_disk(self):
        """Paravane, qcow2"""
        ways.check(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", self.raw, self.qcow2])
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
        return parse(self.stock_uml([self.raw], " ".join(fio_words("/dev/ubdb", self.seconds))))


def measure(build, image, uml_root, seconds, only=None, say=lambda text: None):
    """{way: {job: figure}} and {way: why it failed}."""
    return ways.measure(lambda folder: Disks(build, image, uml_root, folder, seconds), Disks, only,
                        say)


def table(figures, failures):
    return ways.table(Disks, figures, failures)


if __name__ == "__main__":
    sys.exit(ways.main(__doc__, Disks, measure, "seconds", 3.0, float, "ubd"))
