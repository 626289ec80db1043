# SPDX-License-Identifier: Apache-2.0
"""What Paravane is measured against, and Paravane itself: how each runs one command.

A peer has a name, says why it is missing (or None), and gives the command line that runs a program
of the common root file system and ends. `environment()` surrounds every start; `idle()` yields the
processes of an instance that waits.
"""
import contextlib
import ctypes
import json
import os
import shutil
import subprocess
import time

import measure

MEMORY_MIB = 256


class Peer:
    name = title = version = None
    slow = False  # boots for seconds: fewer repeats

    def __init__(self, files):
        self.files = files
        self.reason = self.missing()

    def missing(self):
        return None

    def command(self, argv):
        raise NotImplementedError

    @contextlib.contextmanager
    def environment(self):
        yield

    def run(self, argv):
        """Runs argv in the peer to its end. What failed has no figures: RuntimeError."""
        with self.environment():
            result = measure.run(self.command(argv))
        if not self.succeeded(result):
            raise RuntimeError(f"{argv[0]}: exit code {result['code']}")
        return result

    def succeeded(self, result):
        return result["code"] == 0

    @contextlib.contextmanager
    def idle(self):
        """An instance of MEMORY_MIB whose command waits; yields the pid of its first process."""
        with self.environment():
            process = measure.start(self.command(["/bench/init", "sleep"]))
        try:
            measure.wait_for_line(process, b"main")
            yield process.pid
        finally:
            end_tree(process)


def end_tree(process):
    """Ends what we started and everything below it, by pid."""
    pids = measure.descendants(process.pid)
    for pid in [process.pid] + pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
    process.stdout.close()
    process.wait()


def first_line(argv):
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    except OSError:
        return None
    return (done.stdout or done.stderr).strip().split("\n")[0]


class Native(Peer):
    name, title = "native", "native"

    def command(self, argv):
        return [self.files.root + argv[0] if argv[0].startswith("/bench/") else argv[0]] + argv[1:]


class Container(Peer):
    """crun and runc: a bundle with the specification that the program itself writes as default."""

    def missing(self):
        self.program = shutil.which(self.name)
        if not self.program:
            return "not installed"
        self.version = first_line([self.program, "--version"])
        self.bundle = f"{self.files.folder}/bundle-{self.name}"
        self.counter = 0
        return self.try_out()

    def try_out(self):
        self.write_bundle(["/bin/true"])
        with self.environment():
            done = subprocess.run(self.command(["/bin/true"]), capture_output=True, text=True)
        return None if done.returncode == 0 else "does not run here: " + done.stderr.strip()

    def write_bundle(self, argv):
        os.makedirs(self.bundle, exist_ok=True)
        path = self.bundle + "/config.json"
        if os.path.exists(path):
            os.unlink(path)
        rootless = [] if os.geteuid() == 0 else ["--rootless"]
        subprocess.run([self.program, "spec"] + rootless, cwd=self.bundle, check=True)
        with open(path) as file:
            config = json.load(file)
        config["process"]["terminal"] = False
        config["process"]["args"] = argv
        config["root"] = {"path": self.files.root, "readonly": True}
        with open(path, "w") as file:
            json.dump(config, file)

    def command(self, argv):
        self.counter += 1
        return [self.program, "run", "--bundle", self.bundle,
                f"paravane-bench-{os.getpid()}-{self.counter}"]

    def run(self, argv):
        self.write_bundle(argv)
        return super().run(argv)

    @contextlib.contextmanager
    def idle(self):
        """Detached, as under an engine: only the container's own processes are there."""
        self.write_bundle(["/bench/init", "sleep"])
        command = self.command([])
        name = command[-1]
        with self.environment():
            subprocess.run(command[:2] + ["--detach"] + command[2:], check=True,
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            state = json.loads(subprocess.run([self.program, "state", name], check=True,
                                              capture_output=True).stdout)
        try:
            yield state["pid"]
        finally:
            with self.environment():
                subprocess.run([self.program, "delete", "--force", name], check=False)


class Crun(Container):
    name = title = "crun"
    namespace = None

    @contextlib.contextmanager
    def environment(self):
        """crun refuses a hybrid cgroup host that has controllers in its v2 tree: there it runs in a
        mount namespace without that tree. The change of namespace is not part of what is timed."""
        unified = "/sys/fs/cgroup/unified/cgroup.controllers"
        hybrid = os.geteuid() == 0 and os.path.exists(unified) and open(unified).read().strip()
        if not hybrid and not self.namespace:
            yield
            return
        if not self.namespace:
            self.namespace = private_namespace("umount /sys/fs/cgroup/unified")
        home, cwd = os.open("/proc/self/ns/mnt", os.O_RDONLY), os.getcwd()
        enter_namespace(self.namespace, cwd)
        try:
            yield
        finally:
            enter_namespace(home, cwd)
            os.close(home)


def private_namespace(command):
    """A descriptor of a new mount namespace in which the shell command has run."""
    process = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c",
                                command + " && echo done && read -r end"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    fd = os.open(f"/proc/{process.pid}/ns/mnt", os.O_RDONLY)
    process.communicate()
    return fd


def enter_namespace(fd, cwd):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, 0) != 0:
        raise OSError(ctypes.get_errno(), "setns")
    os.chdir(cwd)


class Runc(Container):
    name = title = "runc"


class StockUml(Peer):
    """Debian's user-mode-linux, with its defaults, on an ext4 copy of the root file system."""
    name, title, slow = "uml", "stock UML", True

    def succeeded(self, result):
        """Its own exit code tells nothing: now and then it aborts after the guest's power-off."""
        return "exit 0" in result["lines"]

    def missing(self):
        self.program = shutil.which("linux.uml")
        if not self.program:
            return "not installed"
        self.version = first_line([self.program, "--version"])
        return None

    def command(self, argv):
        folder = f"{self.files.folder}/uml"
        os.makedirs(folder, exist_ok=True)
        return [self.program, f"mem={MEMORY_MIB}M", f"ubd0r={self.files.ext4}", "root=/dev/ubda",
                "ro", "rootfstype=ext4", "quiet", "con=null", "con0=fd:0,fd:1",
                f"uml_dir={folder}/", "init=/bench/init", "run"] + argv


class StockUmlPinned(StockUml):
    name, title = "uml_pinned", "stock UML pinned"

    def command(self, argv):
        cpu = max(os.sched_getaffinity(0))
        return ["taskset", "-c", str(cpu)] + super().command(argv)


class Qemu(Peer):
    """QEMU without KVM, Debian's kernel for clouds, and the programs in an initramfs: no disk, no
    network, no firmware menus: the least that boots."""
    name, title, slow = "qemu", "QEMU TCG", True

    def missing(self):
        self.program = shutil.which("qemu-system-x86_64")
        if not self.program:
            return "not installed"
        self.version = first_line([self.program, "--version"])
        return None if self.files.kernel else "no kernel for it installed"

    def command(self, argv):
        return [self.program, "-accel", "tcg", "-machine", "pc", "-nodefaults", "-no-user-config",
                "-display", "none", "-serial", "stdio", "-no-reboot", "-m", f"{MEMORY_MIB}M",
                "-kernel", self.files.kernel, "-initrd", self.files.initramfs, "-append",
                " ".join(["console=ttyS0 quiet panic=-1 rdinit=/bench/init run"] + argv)]


class Paravane(Peer):
    name, title = "paravane", "Paravane"
    flags = []

    def missing(self):
        self.program = f"{self.files.build}/paravane"
        if not os.access(self.program, os.X_OK):
            return "not built"
        self.version = first_line([self.program, "--version"])
        done = subprocess.run(self.command(["/bin/true"]), capture_output=True, text=True,
                              stdin=subprocess.DEVNULL)
        if done.returncode == 0:
            return None
        return f"does not run here (exit code {done.returncode}): {done.stderr.strip()}"

    def command(self, argv):
        return [self.program, "run", "--rm", "-m", f"{MEMORY_MIB}M"] + self.flags + [
            self.files.squashfs, "--"] + argv

    def inspect(self, name):
        done = subprocess.run([self.program, "inspect", name], check=True, capture_output=True)
        found = json.loads(done.stdout)
        return found[0] if isinstance(found, list) else found

    def run_to_first_process(self):
        """Milliseconds from the command to the agent's first word: until the command has started
        its monitor (stamp.c), and from there by the monitor's own clock (boot_ns)."""
        name = f"bench-{os.getpid()}"
        environment = dict(os.environ, PARAVANE_LIBEXEC=self.files.libexec)
        command = [word for word in self.command(["/bin/true"]) if word != "--rm"]
        command[2:2] = ["--name", name]
        begin = time.monotonic()
        subprocess.run(command, check=True, env=environment, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL)
        with open(f"{self.files.libexec}/paravane-monitor.stamp") as file:
            started = float(file.read()) - begin
        state = find_key(self.inspect(name), "boot_ns")
        subprocess.run([self.program, "rm", name], check=True, stdout=subprocess.DEVNULL)
        return started * 1e3 + state / 1e6

    @contextlib.contextmanager
    def idle(self):
        """Detached: the command is gone, the monitor and the guest kernel's processes are there."""
        name = f"bench-{os.getpid()}"
        command = self.command(["/bench/init", "sleep"])
        command[2:2] = ["--detach", "--name", name]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            self.wait_until_running(name)
            yield find_key(self.inspect(name), "monitor")["pid"]
        finally:
            subprocess.run([self.program, "rm", "--force", name], check=False,
                           stdout=subprocess.DEVNULL)

    def wait_until_running(self, name):
        for _ in range(100):
            logs = subprocess.run([self.program, "logs", name], capture_output=True)
            if b"main" in logs.stdout:
                return
            time.sleep(0.1)
        raise RuntimeError("the idle machine did not start its command")


class ParavaneTwo(Paravane):
    name, title = "paravane_2cpus", "Paravane 2 CPUs"
    flags = ["--cpus", "2"]


def find_key(tree, key):
    """The first value of key in nested objects."""
    if isinstance(tree, dict):
        if key in tree:
            return tree[key]
        tree = list(tree.values())
    if isinstance(tree, list):
        for branch in tree:
            found = find_key(branch, key)
            if found is not None:
                return found
    return None


CLASSES = [Native, Crun, Runc, Paravane, ParavaneTwo, StockUml, StockUmlPinned, Qemu]
