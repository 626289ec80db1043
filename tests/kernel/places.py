# SPDX-License-Identifier: Apache-2.0
"""Where tests run: in machines, and in a chroot of this host. A place starts inside.py and reads what it
tells. When it dies or answers no more, the test that ran is named, and the others run in a new one."""
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time

import inside

HERE = os.path.dirname(os.path.abspath(__file__))
GRACE = 90           # seconds that inside.py may take beyond a test's limit, to kill and to tell
START_SECONDS = 120  # until it begins the first test
SWAP = 1 << 30


class Place:
    """A subclass says how to start inside.py."""

    def start(self, errors):
        raise NotImplementedError

    def results(self, tests):
        """Yields what happened to each test, in order."""
        left, futile = list(tests), 0
        while left and futile < 3:
            done = 0
            for result in self.one_life(left):
                yield result
                done += 1
            futile = 0 if done else futile + 1
            left = left[done:]
        if left:
            raise RuntimeError(f"{self.title}: it does not start")

    def one_life(self, tests):
        """The results of as many tests as one process ran; the last one may be its death."""
        with tempfile.TemporaryFile() as errors:
            process = self.start(errors)
            process.stdin.write((json.dumps(tests) + "\n").encode())
            process.stdin.close()
            limits = {test["name"]: test["limit"] for test in tests}
            running, begin = None, time.monotonic()
            end = "died"
            for line in lines_of(process.stdout, lambda: GRACE + limits[running] if running
                                 else START_SECONDS):
                if line is None:
                    end = "hung"
                    break
                if line.startswith("@begin "):
                    running, begin = line[7:], time.monotonic()
                elif line.startswith("@end ") and running:
                    yield json.loads(line[5:])
                    running, begin = None, time.monotonic()
            if running:
                seconds = time.monotonic() - begin
                self.stop(process, end)
                errors.write(f"\nexit code {process.returncode}\n".encode())
                errors.seek(max(0, errors.seek(0, os.SEEK_END) - 6000))
                yield {"name": running, "code": None, "seconds": round(seconds, 1), "end": end,
                       "output": errors.read().decode(errors="replace"), "kernel": []}
            else:
                self.stop(process, "")
                if end == "hung" or process.returncode:
                    errors.seek(0)
                    sys.stderr.write(errors.read().decode(errors="replace")[-2000:])

    def stop(self, process, _):
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
        process.stdout.close()
        process.wait()


def lines_of(stream, seconds):
    """Yields its lines, and None when there was none for so long; while we are stopped does not count."""
    fd, rest, patience = stream.fileno(), b"", inside.Patience(seconds())
    while True:
        if not select.select([fd], [], [], 0.4)[0]:
            if patience.is_over():
                yield None
                return
            continue
        piece = os.read(fd, 65536)
        if not piece:
            return
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace").rstrip("\r")
            patience = inside.Patience(seconds())


class Machine(Place):
    """Machines with a second disk, for swap."""

    def __init__(self, paravane, image, cpus, memory, flags, folder):
        self.title = f"machine with {cpus} CPUs" if cpus > 1 else "machine with one CPU"
        self.paravane, self.image, self.folder = paravane, image, folder
        self.flags = ["--cpus", str(cpus), "-m", memory, *flags]
        self.environment = {**os.environ, "PARAVANE_ROOT": f"{folder}/instances"}

    def command(self, argv, flags=()):
        return [self.paravane, "run", "--rm", "-i", *self.flags, *flags, self.image, "--", *argv]

    def start(self, errors):
        swap = f"{self.folder}/swap.raw"
        with open(swap, "wb") as file:
            file.truncate(SWAP)
        argv = ["python3", "-u", "/tests/own/inside.py", "--log"]
        return subprocess.Popen(self.command(argv, ["--disk", f"{swap}:format=raw"]),
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                                env=self.environment)

    def output(self, argv):
        done = subprocess.run(self.command(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env=self.environment, check=False, text=True)
        return done.stdout


class Host(Place):
    """This host: the same image in namespaces, without the rights to change the host itself, and with no
    more memory than a control group gives."""
    title = "host"

    def __init__(self, image, memory, folder):
        self.image, self.folder = image, folder
        self.group = make_group(memory)

    def start(self, errors):
        return subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--net", "--uts", "--ipc",
             sys.executable, "-B", f"{HERE}/enter.py", self.image, f"{self.folder}/root"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            preexec_fn=lambda: write(f"{self.group}/cgroup.procs", str(os.getpid())))

    def close(self):
        os.rmdir(self.group)


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def make_group(memory):
    """A control group for the host's part, of version 1 or 2."""
    name = f"paravane-kernel-tests-{os.getpid()}"
    for top, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
                       ("/sys/fs/cgroup", "memory.max")):
        group = f"{top}/{name}"
        try:
            os.mkdir(group)
        except OSError:
            continue
        if os.path.exists(f"{group}/{limit}"):
            write(f"{group}/{limit}", memory)
            return group
        os.rmdir(group)
    raise RuntimeError("there is no control group of memory: use --no-host")
