# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks of disks and of shared folders have in common: several ways to the same bytes,
each measured by itself, a table of what came out, and stock User Mode Linux as one of the ways."""
import argparse
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile

import measure as processes
import prepare

HERE = os.path.dirname(os.path.abspath(__file__))
PR_SET_CHILD_SUBREAPER = 36


@contextlib.contextmanager
def no_strays():
    """What is started inside and still there behind it is ended: also what lost its parent, as the
    processes of a machine do that did not come to its end."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = set(processes.descendants(os.getpid()))
    try:
        yield
    finally:
        while strays := set(processes.descendants(os.getpid())) - before:
            for pid in strays:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
            for pid in strays:  # those that are not our children yet come in the next round
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)


def run(command, seconds=300, **kwargs):
    """Runs a command to its end, and no longer than that; what it printed."""
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    kwargs.setdefault("stderr", subprocess.PIPE)
    with no_strays(), subprocess.Popen(command, stdout=subprocess.PIPE, **kwargs) as process:
        try:
            output, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise RuntimeError(f"{command[0]}: no end after {seconds} s") from None
    return process.returncode, output, errors


def check(command, **kwargs):
    """The same for one that must succeed."""
    code, output, errors = run(command, **kwargs)
    if code != 0:
        raise RuntimeError(f"{command[0]}: exit code {code}: {errors.decode()[-300:]}")
    return output


class Ways:
    """Each method that a subclass names in `order` is one way, and its text the column's title. It
    returns {job: figure}."""
    subject = order = None
    jobs = []      # id, title, unit
    where = None   # in which folder of the host the bytes are
    ratio = 2      # digits of "times the host's own"

    def __init__(self, build, image, uml_root, folder):
        self.paravane, self.image = f"{build}/paravane", image
        self.uml_root, self.folder = uml_root, folder
        os.chmod(folder, 0o755)

    def prepare(self):
        """Before each way."""

    def machine(self, flags, command):
        """What a command prints in a machine."""
        return check([self.paravane, "run", "--rm", *flags, self.image, "--", *command])

    def stock_uml(self, disks, script):
        """What lines of a shell print in stock User Mode Linux, where disks are ubdb and so on."""
        program = shutil.which("linux.uml")
        if not program:
            raise RuntimeError("user-mode-linux is not installed")
        if not self.uml_root:
            raise RuntimeError("there is no root file system for it")
        path = f"{self.folder}/script"
        text = ("mount -t proc proc /proc; mount -t tmpfs tmp /tmp\n"
                f"mount -t devtmpfs dev /dev 2>/dev/null; cd /tmp; {script}\nexit\n")
        with open(path, "w") as file:  # whole sectors: a disk has no end within one
            file.write(text.ljust(4096, "\n"))
        names = "bcdefg"
        flags = [f"ubd{i + 1}={disk}" for i, disk in enumerate(disks)]
        last = len(disks) + 1
        # Its exit code tells nothing.
        return run([program, "mem=512M", f"ubd0r={self.uml_root}", *flags, f"ubd{last}r={path}",
                    "root=/dev/ubda", "ro", "rootfstype=ext4", "quiet", "con=null", "con0=fd:0,fd:1",
                    f"uml_dir={self.folder}/", "init=/bench/init", "run", "/bin/sh",
                    f"/dev/ubd{names[last - 1]}"], stderr=subprocess.DEVNULL)[1]


def measure(make, kind, only=None, say=lambda text: None):
    """make(folder) gives the ways. {way: {job: figure}} and {way: why it failed}."""
    figures, failures = {}, {}
    folder = tempfile.mkdtemp(prefix="paravane-bench.", dir=kind.where)
    try:
        ways = make(folder)
        for way in only or kind.order:
            say(f"bench: {kind.subject}: {getattr(ways, way).__doc__}")
            try:
                ways.prepare()
                figures[way] = getattr(ways, way)()
            except (RuntimeError, OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
                failures[way] = str(error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return figures, failures


def table(kind, figures, failures):
    """Figures, and how many times those of the host itself."""
    lines = [["", "unit", *(getattr(kind, way).__doc__ for way in kind.order)]]
    for job, title, unit in kind.jobs:
        line = [title, unit]
        for way in kind.order:
            figure, base = figures.get(way, {}).get(job), figures.get("host", {}).get(job)
            times = f" (x{figure / base:.{kind.ratio}f})" if figure and base and way != "host" else ""
            line.append(f"{figure:.0f}{times}" if figure else "-")
        lines.append(line)
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
                     for line in lines)
    return text + "".join(f"\n{getattr(kind, way).__doc__}: {why}" for way, why in failures.items())


def main(text, kind, measure_them, amount, default, number=int, uml=None):
    """A benchmark started by itself. It makes the root file system that stock User Mode Linux
    boots, as tests/bench/run does, if that way is asked for."""
    parser = argparse.ArgumentParser(description=text.split("\n\n")[0])
    parser.add_argument(f"--{amount}", type=number, default=default)
    parser.add_argument("--only", help=", ".join(kind.order))
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended then, too
    only = arguments.only.split(",") if arguments.only else None
    for way in only or []:
        if way not in kind.order:
            parser.error(f"there is no '{way}', but {', '.join(kind.order)}")
    build = os.path.abspath(os.environ.get("BUILD", f"{HERE}/../../build"))
    root = None
    if uml in (only or kind.order) and shutil.which("linux.uml"):
        files = prepare.Files(build, f"{build}/debian.squashfs", None)
        files.make()
        root = files.ext4
    print(table(kind, *measure_them(build, f"{build}/debian.squashfs", root,
                                    getattr(arguments, amount), only,
                                    lambda line: print(line, file=sys.stderr, flush=True))))
    return 0
