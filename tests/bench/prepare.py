# SPDX-License-Identifier: Apache-2.0
"""The one root file system in the forms that the peers take: Paravane a squashfs image, containers a
directory, stock UML an ext4 file, QEMU an initramfs with the little that the measurements run."""
import fcntl
import hashlib
import os
import shutil
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
LIBRARIES = ["/bin/true", "/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"]


class Files:
    programs = ["micro", "threads", "init"]  # stand in the root as /bench/NAME
    # And files from beside us by what they are called there. What is run has no dot: such words on a
    # kernel's command line are meant for its modules.
    scripts = {}
    forms = ["squashfs", "root", "ext4", "initramfs", "static"]

    def __init__(self, build, image, kernel, folder=None):
        self.build = os.path.abspath(build)
        self.image = os.path.realpath(image)
        self.kernel = kernel or None
        self.folder = folder or f"{self.build}/bench"
        self.root = f"{self.folder}/root"
        self.squashfs = f"{self.folder}/root.squashfs"
        self.ext4 = f"{self.folder}/root.ext4"
        self.initramfs = f"{self.folder}/initramfs.cpio"
        self.static = f"{self.folder}/static.cpio"  # an initramfs of our programs alone
        self.libexec = f"{self.folder}/libexec"

    def program(self, name):
        return f"{self.build}/tests/bench/bench-{name}"

    def added(self):
        """{name in /bench: its path here}"""
        return {**{name: self.program(name) for name in self.programs},
                **{name: f"{HERE}/{file}" for name, file in self.scripts.items()}}

    def make(self, forms=None):
        """These forms, or what tests/bench/run takes, unless they are there and of the same image and
        programs."""
        os.makedirs(self.folder, exist_ok=True)
        with open(f"{self.folder}/lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.make_locked(forms or self.forms[:-1])
        if not forms:
            self.make_libexec()

    def make_locked(self, forms):
        key, key_file = self.key(), f"{self.folder}/key"
        if not (os.path.exists(key_file) and open(key_file).read() == key):
            quiet(["rm", "-rf", key_file, *(getattr(self, form) for form in self.forms)])
            with open(key_file, "w") as file:
                file.write(key)
        for form in forms:
            path = getattr(self, form)
            if not os.path.exists(path):
                quiet(["rm", "-rf", path + ".new"])
                getattr(self, "make_" + form)(path + ".new")
                os.rename(path + ".new", path)

    def key(self):
        stat = os.stat(self.image)
        text = f"{self.image} {stat.st_size} {stat.st_mtime_ns}"
        for path in self.added().values():
            with open(path, "rb") as file:
                text += " " + hashlib.sha256(file.read()).hexdigest()
        return text

    def make_squashfs(self, path):
        programs = f"{self.folder}/bench"
        quiet(["rm", "-rf", programs])
        os.makedirs(programs)
        for name, source in self.added().items():
            shutil.copy(source, f"{programs}/{name}")
        shutil.copyfile(self.image, path)
        quiet(["mksquashfs", programs, path, "-keep-as-directory", "-all-root", "-no-progress"],
              cwd=self.folder)

    def make_root(self, path):
        # Without root, device nodes and owners are not kept; no measurement needs them.
        quiet(["unsquashfs", "-q", "-n", "-no-exit-code", "-d", path, self.squashfs])

    def make_ext4(self, path):
        used = int(subprocess.run(["du", "-sk", self.root], check=True, capture_output=True,
                                  text=True).stdout.split()[0])
        quiet(["mke2fs", "-q", "-t", "ext4", "-d", self.root, path, f"{used * 3 // 2 // 1024 + 64}M"])

    def make_initramfs(self, path):
        with open(path, "wb") as file:
            archive = Cpio(file)
            for folder in ("bin", "lib", "lib/x86_64-linux-gnu", "lib64"):
                archive.add(folder, 0o40755)
            self.add_programs(archive, ["micro", "init"])
            for library in LIBRARIES:
                archive.add(library[1:], 0o100755, self.inside(library))
            archive.add("TRAILER!!!", 0)

    def make_static(self, path):
        with open(path, "wb") as file:
            archive = Cpio(file)
            self.add_programs(archive, self.programs)
            archive.add("TRAILER!!!", 0)

    def add_programs(self, archive, names):
        for folder in ("dev", "bench"):
            archive.add(folder, 0o40755)
        archive.add("dev/console", 0o20600, device=(5, 1))
        for name in names:
            archive.add(f"bench/{name}", 0o100755, self.program(name))

    def inside(self, path):
        """A file of the root file system whose links are followed inside of it."""
        path = self.root + path
        while os.path.islink(path):
            target = os.readlink(path)
            path = self.root + target if target[0] == "/" else os.path.join(
                os.path.dirname(path), target)
        return path

    def make_libexec(self):
        """Paravane's programs with a monitor that notes when it was started (stamp.c)."""
        os.makedirs(self.libexec, exist_ok=True)
        for name, target in (("paravane-monitor.real", "paravane-monitor"),
                             ("linux", "guest/linux"), ("initramfs.cpio", None)):
            source = f"{self.build}/{target}" if target else self.find("initramfs.cpio")
            link = f"{self.libexec}/{name}"
            if os.path.lexists(link):
                os.unlink(link)
            os.symlink(source, link)
        shutil.copy(self.program("stamp"), f"{self.libexec}/paravane-monitor")

    def find(self, name):
        for folder in ("", "/guest", "/guest/agent"):
            if os.path.exists(f"{self.build}{folder}/{name}"):
                return f"{self.build}{folder}/{name}"
        return f"{self.build}/{name}"


class ApplicationFiles(Files):
    """The same with what tests/bench/inside.py needs."""
    programs, scripts = ["init"], {"inside": "inside.py", "Compute.java": "Compute.java"}


class Cpio:
    """The format of an initramfs: "newc" (Linux, Documentation/driver-api/early-userspace)."""

    def __init__(self, file):
        self.file, self.inode = file, 0

    def add(self, name, mode, source=None, device=(0, 0)):
        data = b""
        if source:
            with open(source, "rb") as file:
                data = file.read()
        self.inode += 1
        name = name.encode() + b"\0"
        fields = (self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        for part in (header + name, data):
            self.file.write(part + b"\0" * (-len(part) % 4))


def quiet(argv, cwd=None):
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{argv[0]}: {done.stderr.strip() or done.stdout.strip()}")
