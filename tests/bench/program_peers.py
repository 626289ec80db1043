# SPDX-License-Identifier: Apache-2.0
"""Where tests/bench/programs runs its programs: natively, in namespaces, in Paravane's machines with
one guest kernel or several, in stock User Mode Linux.

A peer has a name, a title, the reason why it is missing (or None), and says what a program of the
common root printed. Guests have 2 GiB and, but for stock User Mode Linux, which knows no more than
one, 2 virtual CPUs.

"Pinned": each virtual CPU, and the host processes that run guest programs for it, are bound to one
host CPU, as Paravane does by itself (um_cpus= on the guest kernel's command line). "Unpinned": the
host's scheduler places them, Paravane's choice is taken back (unpin.c).
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

import peers
import ways

HERE = os.path.dirname(os.path.abspath(__file__))
MEMORY_MIB = 2048
CPUS = 2
STATIC = ["/bench/micro", "/bench/threads"]
FOREVER = 1800  # seconds, for what takes two minutes natively


class Peer:
    name = title = version = None
    forms = ["squashfs", "root"]  # of the root file system, which it needs (prepare.py)
    slow = False                  # takes several times as long: fewer rounds
    pinned = False                # does it have targets?

    def missing(self):
        return None

    def run(self, files, argv):
        """What argv, a program of the root and its words, printed. RuntimeError when it failed."""
        raise NotImplementedError


class Native(Peer):
    """The host itself, in the root by chroot, which only root can; static programs need none."""
    name = title = "native"
    words = []

    def run(self, files, argv):
        if os.geteuid() != 0 and not self.words:
            if argv[0] not in STATIC:
                raise RuntimeError("needs root, for chroot")
            return ways.check([files.root + argv[0], *argv[1:]])
        return ways.check([sys.executable, f"{HERE}/enter.py", *self.words, files.root, *argv],
                          seconds=FOREVER)


class Namespace(Native):
    """As in a container: namespaces of its own, but for the network, and the root by chroot."""
    name, title = "namespace", "namespaces"
    words = ["--namespaces"]

    def missing(self):
        done = subprocess.run(["unshare", "--user", "--map-root-user", "--pid", "--fork", "true"],
                              capture_output=True, text=True)
        return None if done.returncode == 0 else f"does not run here: {done.stderr.strip()}"


class Paravane(Peer):
    name, title, pinned = "paravane", "Paravane", True
    forms = ["squashfs"]
    libexec = None  # the folder of another guest kernel

    def __init__(self, build):
        self.build = build
        self.program = f"{build}/paravane"

    def missing(self):
        if not os.access(self.program, os.X_OK):
            return "not built"
        self.version = peers.first_line([self.program, "--version"])
        return None

    def run(self, files, argv):
        environment = dict(os.environ)
        if self.libexec:
            environment["PARAVANE_LIBEXEC"] = self.libexec
        return ways.check([self.program, "run", "--rm", "-m", f"{MEMORY_MIB}M", "--cpus", str(CPUS),
                           files.squashfs, "--", *argv], seconds=FOREVER, env=environment)


class OtherParavane(Paravane):
    """With another kernel (or another monitor, or initramfs), or unpinned: a folder of links to what
    was named and, where that does not have it, to what was built."""

    def __init__(self, build, folder, name, title, source=None, pinned=True):
        super().__init__(build)
        self.name, self.title, self.pinned = name, title, pinned
        self.libexec, self.source = f"{folder}/libexec-{name}", source

    def missing(self):
        if self.source and not os.path.exists(self.source):
            return f"there is no {self.source}"
        shutil.rmtree(self.libexec, ignore_errors=True)
        os.makedirs(self.libexec)
        for target in ("paravane-monitor", "linux", "initramfs.cpio"):
            path = self.find(target)
            if not path:
                return f"there is no {target}"
            if target == "paravane-monitor" and not self.pinned:
                shutil.copy(f"{self.build}/tests/bench/bench-unpin", f"{self.libexec}/{target}")
                target += ".real"
            os.symlink(path, f"{self.libexec}/{target}")
        return super().missing()

    def find(self, name):
        if self.source and os.path.isfile(self.source) and name == "linux":
            return os.path.abspath(self.source)
        for folder in (self.source, self.build, f"{self.build}/guest"):
            if folder and os.path.isfile(f"{folder}/{name}"):
                return os.path.abspath(f"{folder}/{name}")
        return None


class StockUml(Peer):
    """Debian's user-mode-linux, one virtual CPU, placed by the host's scheduler."""
    name, title, slow = "uml", "stock UML", True
    forms = ["squashfs", "root", "ext4"]
    before = []

    def missing(self):
        self.program = shutil.which("linux.uml")
        if not self.program:
            return "not installed"
        self.version = peers.first_line([self.program, "--version"])
        return None

    def kernel(self, files, folder):
        return [self.program, f"mem={MEMORY_MIB}M", f"ubd0r={files.ext4}", "root=/dev/ubda", "ro",
                "rootfstype=ext4", "init=/bench/init", f"uml_dir={folder}/"]

    def run(self, files, argv):
        """Its own exit code tells nothing: now and then it aborts after the guest's power-off."""
        with tempfile.TemporaryDirectory(prefix="paravane-bench.") as folder:
            output = ways.run(
                [*self.before, *self.kernel(files, folder), "quiet", "con=null", "con0=fd:0,fd:1",
                 "run", *("@" + word for word in argv)], seconds=FOREVER,
                stderr=subprocess.STDOUT)[1]
        text = output.replace(b"\r", b"").decode(errors="replace")
        if "\nexit 0\n" not in text:
            panic = re.search(r"Kernel panic.*", text)
            raise RuntimeError(f"{argv[0]}: {panic[0] if panic else text.strip()[-300:]}")
        return text.encode()


class StockUmlPinned(StockUml):
    """All its processes on one host CPU."""
    name, title = "uml_pinned", "stock UML pinned"

    def __init__(self):
        self.before = ["taskset", "-c", str(max(os.sched_getaffinity(0)))]


class Bare(StockUml):
    """A guest kernel of ours without monitor and jail, for small kernels without the devices of a
    machine, which are built fast. There is nothing in it but the static programs."""
    slow, forms = False, ["static"]

    def __init__(self, name, title, program, pinned=True):
        self.name, self.title, self.program, self.pinned = name, title, program, pinned

    def missing(self):
        return None if os.path.isfile(self.program) else f"there is no {self.program}"

    def kernel(self, files, folder):
        cpus = sorted(os.sched_getaffinity(0))
        words = [self.program, f"mem={MEMORY_MIB}M", f"ncpus={CPUS}", "seccomp=on", "panic=-1",
                 f"initrd={files.static}", "rdinit=/bench/init", f"uml_dir={folder}/"]
        if self.pinned and len(cpus) >= CPUS:
            words.append("um_cpus=" + ",".join(str(cpu) for cpu in cpus[:CPUS]))
        return words

    def run(self, files, argv):
        if argv[0] not in STATIC:
            raise RuntimeError("only micro and threads run without a machine")
        return super().run(files, argv)


def named(text):
    """NAME=PATH, or a path whose last word is the name."""
    name, separator, path = text.partition("=")
    if not separator:
        name, path = os.path.basename(text.rstrip("/")), text
    return name, path


def make(build, folder, kernels, bare):
    """All peers, and those that are measured when none are named: all that every host can have, or
    native and the kernels that were named."""
    everyone = [Native(), Namespace(), Paravane(build),
                OtherParavane(build, folder, "paravane_unpinned", "Paravane unpinned", pinned=False),
                StockUml(), StockUmlPinned()]
    default = [peer.name for peer in everyone]
    if kernels or bare:
        default = ["native"]
    for name, path in map(named, kernels):
        everyone.append(OtherParavane(build, folder, name, name, path))
        everyone.append(OtherParavane(build, folder, f"{name}_unpinned", f"{name} unpinned", path,
                                      False))
        default.append(name)
    for name, path in map(named, bare):
        everyone.append(Bare(name, f"{name}, bare", path))
        everyone.append(Bare(f"{name}_unpinned", f"{name}, bare, unpinned", path, False))
        default.append(name)
    return everyone, default
