# SPDX-License-Identifier: Apache-2.0
"""harness.py: what every end-to-end test stands on.

A test runs the built command as a user would, in directories of its own, and finds its host as it
was before: MachineTest compares after every test. Processes are found by descent, not by name: this
process is the reaper of all that it started (PR_SET_CHILD_SUBREAPER), so a monitor, a guest kernel
or an address-space stub that outlives its machine is a descendant that is still here.

The environment says what to test (tests/e2e/run sets it):
  PARAVANE_TEST_BIN    the paravane program
  PARAVANE_TEST_IMAGE  a Debian root file system as squashfs
  PARAVANE_TEST_DIR    a directory of ours, writable: everything happens below it
  PARAVANE_TEST_SMALL  an almost full file system, writable, or empty: tests of it are skipped
  PARAVANE_TEST_TREE   a root file system that root made, readable by all, or empty
  PARAVANE_TEST_NET    the interface that plays the outside, in a network namespace of the tests'
                       own, or empty: tests of it are skipped
  PARAVANE_TEST_ENOSYS the program that hides system calls, or empty
  PARAVANE_TEST_SERVER the program that serves our devices to other front ends, or empty
  PARAVANE_TEST_PC_INIT    the first program of a PC with such devices, or empty
  PARAVANE_TEST_SCATTERED  the program that wants many mappings, or empty
  PARAVANE_TEST_PC_KERNEL  the folder of a PC's kernel (tools/make-pc-kernel), or empty
  PARAVANE_TEST_BENCH      the folder of the benchmarks, or empty
"""
import ctypes
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest

PARAVANE = os.environ.get('PARAVANE_TEST_BIN', '')
IMAGE = os.environ.get('PARAVANE_TEST_IMAGE', '')
BASE_DIR = os.environ.get('PARAVANE_TEST_DIR', '')
SMALL_DIR = os.environ.get('PARAVANE_TEST_SMALL', '')
TREE = os.environ.get('PARAVANE_TEST_TREE', '')
ENOSYS = os.environ.get('PARAVANE_TEST_ENOSYS', '')
NET = os.environ.get('PARAVANE_TEST_NET', '')
SERVER = os.environ.get('PARAVANE_TEST_SERVER', '')
PC_INIT = os.environ.get('PARAVANE_TEST_PC_INIT', '')
SCATTERED = os.environ.get('PARAVANE_TEST_SCATTERED', '')
PC_KERNEL = os.environ.get('PARAVANE_TEST_PC_KERNEL', '')
BENCH = os.environ.get('PARAVANE_TEST_BENCH', '')
ROOT = os.geteuid() == 0

# The outside: addresses of the host's interface NET (tests/e2e/run). Servers on them are remote
# machines for a guest; there is nobody else on these networks, and no way to others.
OUTSIDE4, OTHER4, OUTSIDE6 = '192.0.2.1', '198.51.100.1', '2001:db8::1'

# A loaded host is no failure: limits are far above what anything takes.
TIMEOUT = 60
# A test that has not ended by then fails where it stands.
TEST_SECONDS = 240
# How long the rest of a machine may live once one part of it is dead.
END_SECONDS = 5

PR_SET_CHILD_SUBREAPER = 36


# --- processes ---------------------------------------------------------------------------------

def read_text(path):
    """The content of a file, or '' when it is not there (a process has ended)."""
    try:
        with open(path, errors='replace') as f:
            return f.read()
    except OSError:
        return ''


class Process:
    """A process of the host as /proc shows it."""

    def __init__(self, pid, stat):
        self.pid = pid
        self.comm = stat[stat.index('(') + 1:stat.rindex(')')]
        fields = stat[stat.rindex(')') + 2:].split()
        self.state = fields[0]
        self.ppid = int(fields[1])
        self.start_time = int(fields[19])

    @staticmethod
    def find(pid):
        stat = read_text(f'/proc/{pid}/stat')
        return Process(pid, stat) if ')' in stat else None

    @property
    def ended(self):
        """A zombie whose other threads are gone, too: they hold its descriptors until then."""
        if self.state not in 'ZX':
            return False
        try:
            return len(os.listdir(f'/proc/{self.pid}/task')) <= 1
        except OSError:
            return True

    def status(self):
        """The fields of /proc/PID/status."""
        lines = read_text(f'/proc/{self.pid}/status').splitlines()
        return {k: v.strip() for k, _, v in (line.partition(':') for line in lines)}

    def __str__(self):
        cmdline = read_text(f'/proc/{self.pid}/cmdline').replace('\0', ' ').strip()
        return f'{self.pid} ({self.comm}, state {self.state}, parent {self.ppid}) {cmdline[:200]}'


def all_processes():
    found = {}
    for name in os.listdir('/proc'):
        if name.isdigit():
            process = Process.find(int(name))
            if process:
                found[process.pid] = process
    return found


def descendants(pid):
    """The living processes below pid, the nearest first."""
    processes = all_processes()
    children = {}
    for process in processes.values():
        children.setdefault(process.ppid, []).append(process)
    found, todo = [], list(children.get(pid, []))
    while todo:
        process = todo.pop(0)
        found.append(process)
        todo += children.get(process.pid, [])
    return [process for process in found if not process.ended]


class Reaper(threading.Thread):
    """Waits for the orphans that this process inherits; subprocess waits for what it started."""

    def __init__(self):
        super().__init__(daemon=True)
        self.own = set()
        self.lock = threading.Lock()

    def run(self):
        while True:
            time.sleep(0.05)
            with self.lock:
                for process in all_processes().values():
                    if process.ppid == os.getpid() and process.state == 'Z' \
                            and process.pid not in self.own:
                        try:
                            os.waitpid(process.pid, os.WNOHANG)
                        except ChildProcessError:
                            pass

    def popen(self, *args, **kwargs):
        with self.lock:
            process = subprocess.Popen(*args, **kwargs)
            self.own.add(process.pid)
        return process


reaper = Reaper()


def become_reaper():
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), 'prctl(PR_SET_CHILD_SUBREAPER)')
    reaper.start()


def run_tool(*argv, **kwargs):
    """Runs a program of the host (mke2fs, ...) that must succeed; its stdout as text."""
    process = reaper.popen([str(a) for a in argv], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)
    out, err = process.communicate(timeout=TIMEOUT)
    if process.returncode != 0:
        raise AssertionError(f'{argv}: exit code {process.returncode}: {err.decode()}')
    return out.decode()


# --- files -------------------------------------------------------------------------------------

def tree(*tops):
    """All names below the directories."""
    found = set()
    for top in tops:
        for folder, folders, files in os.walk(top):
            found.update(os.path.join(folder, name) for name in folders + files)
    return found


def sha256(path_or_bytes):
    digest = hashlib.sha256()
    if isinstance(path_or_bytes, bytes):
        digest.update(path_or_bytes)
    else:
        with open(path_or_bytes, 'rb') as f:
            while chunk := f.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def our_mounts(top):
    return {line for line in read_text('/proc/self/mountinfo').splitlines() if top in line}


def cgroup_folders():
    """Where a machine's cgroup may be made: the top of each hierarchy, and all on the way to us."""
    found = set()
    own = {}
    for line in read_text('/proc/self/cgroup').splitlines():
        _, controllers, path = line.split(':', 2)
        own.update({controller: path for controller in controllers.split(',')})
    for line in read_text('/proc/self/mountinfo').splitlines():
        left, _, right = line.partition(' - ')
        kind, _, options = right.split(' ', 2)
        if kind not in ('cgroup', 'cgroup2'):
            continue
        place = left.split()[4]
        paths = [own[o] for o in options.split(',') if o in own] if kind == 'cgroup' else \
            [own.get('', '/')]
        found.add(place)
        for path in paths:
            while path not in ('', '/'):
                found.add(place + path)
                path = os.path.dirname(path)
    return found


class NewNames:
    """Notices the names that appear in a folder, however short they live (inotify(7))."""

    IN_CREATE, IN_MOVED_TO = 0x100, 0x80

    def __init__(self, folder):
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0 or libc.inotify_add_watch(self.fd, os.fsencode(folder),
                                                 self.IN_CREATE | self.IN_MOVED_TO) < 0:
            raise OSError(ctypes.get_errno(), f'inotify: {folder}')

    def take(self):
        """All names since the beginning; closes."""
        names = set()
        try:
            while data := os.read(self.fd, 1 << 16):
                while data:
                    length = int.from_bytes(data[12:16], 'little')
                    names.add(data[16:16 + length].rstrip(b'\0').decode())
                    data = data[16 + length:]
        except BlockingIOError:
            pass
        os.close(self.fd)
        return names


def make_small_root(path):
    """A directory with a root file system of a few MiB, taken from the Debian image."""
    programs = ('dash sh cat ls stat touch mkdir rm id env sleep dd df sync true false cp mv '
                'sha256sum head tail wc uname test printf echo').split()
    names = ['bin', 'lib', 'lib64', 'sbin', 'etc/passwd', 'etc/group',
             'usr/lib64/ld-linux-x86-64.so.2']
    names += ['usr/bin/' + name for name in programs]
    names += ['usr/lib/x86_64-linux-gnu/' + name for name in
              ('libc.so.6', 'ld-linux-x86-64.so.2', 'libselinux.so.1', 'libpcre2-8.so.0*',
               'libcrypto.so.3', 'libacl.so.1*', 'libattr.so.1*', 'libgmp.so.10*')]
    run_tool('unsquashfs', '-q', '-n', '-no-xattrs', '-d', path, IMAGE, *names)
    for name in ('proc', 'sys', 'dev', 'tmp', 'root'):
        os.mkdir(os.path.join(path, name))  # without device nodes: a copy of one never ends
    for folder, folders, _ in os.walk(path):
        os.chmod(folder, 0o755)
    os.chmod(os.path.join(path, 'tmp'), 0o1777)
    return path


# --- results -----------------------------------------------------------------------------------

class Result:
    """How a command ended: exit code, stdout and stderr as bytes."""

    def __init__(self, argv, rc, out, err):
        self.argv, self.rc, self.out, self.err = argv, rc, out, err

    @property
    def text(self):
        return self.out.decode(errors='replace')

    @property
    def errors(self):
        return self.err.decode(errors='replace')

    def __str__(self):
        return (f'{" ".join(map(str, self.argv))[:600]}\n  exit code {self.rc}\n'
                f'  stdout {self.out[:2000]!r}\n  stderr {self.err[:4000]!r}')


def signal_code(rc):
    """The exit code that a shell would show: subprocess has -N for a process killed by N."""
    return 128 - rc if rc < 0 else rc


# --- the base class ----------------------------------------------------------------------------

class MachineTest(unittest.TestCase):
    """A class has directories of its own; a test leaves its host as it was."""

    maxDiff = None
    dirs = ('root', 'cache', 'tmp', 'home', 'work')

    @classmethod
    def setUpClass(cls):
        cls.top = tempfile.mkdtemp(prefix=cls.__name__ + '.', dir=BASE_DIR)
        # Passable: root's machines run as users of their own.
        os.chmod(cls.top, 0o711)
        for name in cls.dirs:
            path = os.path.join(cls.top, name)
            os.mkdir(path)
            os.chmod(path, 0o711)
            setattr(cls, name + '_dir', path)
        cls.env = {
            'PATH': os.environ['PATH'],
            'HOME': cls.home_dir,
            'TMPDIR': cls.tmp_dir,
            'LC_ALL': 'C.UTF-8',
            'PARAVANE_ROOT': cls.root_dir,
            'XDG_CACHE_HOME': cls.cache_dir,
        }
        cls.image = IMAGE

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.top, ignore_errors=True)

    def setUp(self):
        self.note = ''  # shown beside a failure
        signal.signal(signal.SIGALRM, self.on_alarm)
        signal.alarm(TEST_SECONDS)
        self.addCleanup(signal.alarm, 0)
        self.mounts_before = our_mounts(self.top)
        os.makedirs(os.path.join(self.root_dir, 'instances'), 0o711, exist_ok=True)
        self.ids = NewNames(os.path.join(self.root_dir, 'instances'))
        self.children = []
        self.addCleanup(self.check_nothing_left)

    def on_alarm(self, *_):
        signal.alarm(TEST_SECONDS)  # for the cleanups
        self.fail(f'no end after {TEST_SECONDS} s\n{self.consoles()}')

    # -- running the command --

    def popen(self, *args, env=None, argv0=(), **kwargs):
        """Starts the command; it is killed at the end of the test if it still runs."""
        kwargs.setdefault('stdin', subprocess.DEVNULL)
        kwargs.setdefault('stdout', subprocess.PIPE)
        kwargs.setdefault('stderr', subprocess.PIPE)
        kwargs.setdefault('cwd', self.work_dir)
        argv = [str(a) for a in (*argv0, PARAVANE, *args)]
        process = reaper.popen(argv, env={**self.env, **(env or {})}, **kwargs)
        self.children.append(process)
        return process

    def pv(self, *args, stdin=None, timeout=TIMEOUT, rc=None, **kwargs):
        """Runs the command to its end. rc: the exit code that it must have."""
        process = self.popen(*args, stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                             **kwargs)
        try:
            out, err = process.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            try:
                out, err = process.communicate(timeout=END_SECONDS)
            except subprocess.TimeoutExpired:
                out, err = b'', b'(somebody else holds its stdout or stderr)'
            self.fail(f'no end after {timeout} s: {Result(args, None, out, err)}\n{self.consoles()}')
        result = Result(args, signal_code(process.returncode), out, err)
        if rc is not None:
            self.assertEqual(result.rc, rc, f'{result}\n{self.consoles()}')
        return result

    def run_in(self, *command, flags=(), image=None, **kwargs):
        """run --rm FLAGS IMAGE -- COMMAND"""
        return self.pv('run', '--rm', *flags, image or self.image, '--', *command, **kwargs)

    def sh(self, script, flags=(), rc=0, **kwargs):
        """A script of the guest's shell in a machine of its own, which must succeed."""
        return self.run_in('/bin/sh', '-c', script, flags=flags, rc=rc, **kwargs)

    def start(self, *command, name='box', flags=(), image=None):
        """run -d: the name of an instance that the end of the test removes."""
        result = self.pv('run', '-d', '--name', name, *flags, image or self.image, '--',
                         *command, rc=0)
        self.addCleanup(self.remove, name)
        self.assertRegex(result.text, r'\A[0-9a-f]{64}\n\Z')
        return name

    def remove(self, name):
        """Removes an instance that the test made; no matter if it did so itself."""
        if name in self.names():
            self.pv('rm', '-f', name, rc=0)

    def names(self, *flags):
        """The names of all instances."""
        listed = self.pv('ps', '-a', '--format', 'json', *flags, rc=0).text
        return [json.loads(line)['name'] for line in listed.splitlines()]

    def inspect(self, name):
        """What inspect shows, with what the monitor wrote (state) on the same level."""
        found = json.loads(self.pv('inspect', name, rc=0).text)
        self.assertEqual(len(found), 1)
        return {**found[0].get('state', {}), **found[0]}

    def status(self, name):
        return self.inspect(name)['status']

    def exec(self, name, *command, flags=(), **kwargs):
        return self.pv('exec', *flags, name, *command, **kwargs)

    # -- waiting and looking --

    def wait_for(self, what, predicate, timeout=TIMEOUT):
        """Waits until predicate() is true and returns its value."""
        end = time.monotonic() + timeout
        while True:
            value = predicate()
            if value:
                return value
            if time.monotonic() > end:
                self.fail(f'not within {timeout} s: {what}\n{self.consoles()}')
            time.sleep(0.03)

    def wait_output(self, name, text):
        """Waits until the log of an instance has the text."""
        self.wait_for(f'{text!r} in the log of {name}',
                      lambda: text in self.pv('logs', name, rc=0).text)

    def machine(self, name):
        """The processes of a running instance: (monitor, guest kernel, its stubs)."""
        state = self.inspect(name)
        monitor = Process.find(state['monitor']['pid'])
        guest = Process.find(state['guest']['pid'])
        self.assertIsNotNone(monitor, f'no monitor: {state}')
        self.assertIsNotNone(guest, f'no guest kernel: {state}')
        self.assertEqual(monitor.start_time, state['monitor']['start_time'])
        self.assertEqual(guest.start_time, state['guest']['start_time'])
        return monitor, guest, descendants(guest.pid)

    def living(self):
        return descendants(os.getpid())

    def assert_all_end(self, seconds=END_SECONDS):
        """No process of ours lives any more, soon."""
        end = time.monotonic() + seconds
        while self.living():
            if time.monotonic() > end:
                self.fail(f'after {seconds} s these still live:\n  ' +
                          '\n  '.join(map(str, self.living())) + '\n' + self.consoles())
            time.sleep(0.03)

    def consoles(self):
        """The console text of the instances there are: what a failure is explained with."""
        texts = []
        for path in tree(self.top):
            if os.path.basename(path).startswith(('console', 'monitor.')) and os.path.isfile(path):
                texts.append(f'--- {path}:\n' + read_text(path)[-3000:])
        return '\n'.join(texts)

    # -- what must be true after every test --

    def leftovers(self):
        """Names in our directories that belong to an instance which is gone."""
        skeleton = {os.path.join(self.root_dir, name)
                    for name in ('instances', 'names', 'networks', 'run')}
        return tree(self.root_dir, self.tmp_dir) - skeleton

    def cgroups(self):
        """Cgroups of the instances that this test made."""
        ids = self.ids.take()
        return [path for folder in cgroup_folders() for id in ids
                if os.path.exists(path := f'{folder}/paravane/{id}')]

    def check_nothing_left(self):
        """Ends what the test started, removes no instance: that is the test's task."""
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream:
                    stream.close()
        try:
            self.assert_all_end()
            names = self.names()
            for name in names:
                self.pv('rm', '-f', name, rc=0)
            self.assertEqual(names, [], 'instances that the test did not remove')
            self.assertEqual(self.leftovers(), set(), 'files of instances that are gone')
            self.assertEqual(our_mounts(self.top) - self.mounts_before, set())
            self.assertEqual(self.cgroups(), [])
        finally:
            self.clean_by_force()

    def clean_by_force(self):
        """So that one test's failure stays its own."""
        for process in self.living():
            try:
                os.kill(process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        for folder in (self.root_dir, self.tmp_dir):
            for name in os.listdir(folder):
                path = os.path.join(folder, name)
                if os.path.isdir(path) and not os.path.islink(path):
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    os.unlink(path)


def needs_root(test):
    return unittest.skipUnless(ROOT, 'needs root')(test)


def needs_network(test):
    test.uses_network = True  # tests/e2e/run looks at it
    return unittest.skipUnless(NET, 'needs a network of the tests\' own: run them as root, or where '
                                    'users may make user namespaces')(test)


def needs_plain_user(test):
    return unittest.skipIf(ROOT, 'for a plain user: root may do everything')(test)
