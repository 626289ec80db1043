# SPDX-License-Identifier: Apache-2.0
"""Runs tests one by one, in a machine or in a chroot of the host: the part of the runner that is in
the image. It needs nothing but Python.

Standard input is one line of JSON, a list of tests: {"name", "command" (a shell's), "limit" (seconds),
"setup" (variables), "folder"}. Each test begins with the line "@begin NAME" and ends with
"@end JSON": {"name", "code", "seconds", "end" (how: exit, limit, unkillable), "output" (its last part),
"kernel" (what the kernel complained about meanwhile), "waited" (it said that it had to)}. Whoever reads
knows from that in which test a machine died.

What a test leaves running is killed. When something cannot be killed, nothing more is run.
"""
import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PR_SET_CHILD_SUBREAPER = 36
KEPT = 3000          # bytes of a test's output
KILL_SECONDS = 30    # how long a killed process may take to go
COMPLAINT = re.compile(r"BUG:|WARNING:|Oops|general protection|[Bb]ad page|Bad rss|Kernel panic|"
                       r"list_(add|del) corruption|refcount_t|scheduling while atomic")
# A machine that its host let wait for long says so: that proves nothing.
WAITED = re.compile(r"rcu: INFO|blocked for more")


def read_text(path):
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def stat_of(pid):
    """(state, parent) of a process, or None."""
    text = read_text(f"/proc/{pid}/stat")
    fields = text[text.rfind(")") + 2:].split()
    return (fields[0], int(fields[1])) if len(fields) > 1 else None


def living_below(top):
    """The processes below one that have not ended."""
    found = {int(name): stat_of(name) for name in os.listdir("/proc") if name.isdigit()}
    below, more = {top}, True
    while more:
        more = {pid for pid, stat in found.items() if stat and stat[1] in below} - below
        below |= more
    return {pid for pid in below - {top} if found[pid][0] not in "ZX"}


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


class Patience:
    """Seconds in which this process could run: the host may stop a machine, or be busy with others."""

    def __init__(self, seconds):
        self.left, self.last = seconds, time.monotonic()

    def is_over(self):
        now = time.monotonic()
        self.left -= min(now - self.last, 0.5)
        self.last = now
        return self.left <= 0


def wait(process, seconds):
    """Its exit code, or None when it has not ended by then."""
    patience = Patience(seconds)
    while not patience.is_over():
        try:
            return process.wait(0.2)
        except subprocess.TimeoutExpired:
            pass
    return None


def kill_all_below(top):
    """Those that did not go."""
    patience = Patience(KILL_SECONDS)
    while left := living_below(top):
        if patience.is_over():
            return left
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.02)
        reap()
    reap()
    return set()


class KernelLog:
    """What a machine's kernel says; on the host it is not ours to judge."""

    def __init__(self, path="/dev/kmsg"):
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            os.lseek(self.fd, 0, os.SEEK_END)
        except OSError:
            self.fd = None

    def complaints(self):
        """(The lines from the first complaint since the last call, whether the kernel had to wait)."""
        lines = []
        while self.fd is not None:
            try:
                record = os.read(self.fd, 8192).decode(errors="replace")
            except BlockingIOError:
                break
            except OSError:  # it overran: there are newer ones
                continue
            lines.append(record.partition(";")[2].splitlines()[0])
        first = next((i for i, line in enumerate(lines) if COMPLAINT.search(line)), None)
        return (lines[first:first + 40] if first is not None else [],
                any(WAITED.search(line) for line in lines))


def run_one(test, log):
    folder = tempfile.mkdtemp(prefix="kernel-test-")
    os.chmod(folder, 0o777)
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "TMPDIR": folder,
                   **test.get("setup", {})}
    begin, end = time.monotonic(), "exit"
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(["/bin/sh", "-c", test["command"]], stdin=subprocess.DEVNULL,
                                   stdout=output, stderr=output, env=environment,
                                   cwd=test.get("folder", folder), start_new_session=True)
        code = wait(process, test["limit"])
        if code is None:
            end = "limit"
        left = kill_all_below(os.getpid())
        seconds = time.monotonic() - begin
        size = output.seek(0, os.SEEK_END)
        output.seek(max(0, size - KEPT))
        text = output.read().decode(errors="replace")
    if left:
        end = "unkillable"
        for pid in left:
            text += f"\nleft: {pid} {read_text(f'/proc/{pid}/comm').strip()} {stat_of(pid)} " \
                    f"{read_text(f'/proc/{pid}/wchan')}\n{read_text(f'/proc/{pid}/stack')}"
    shutil.rmtree(folder, ignore_errors=True)
    kernel, waited = log.complaints()
    return {"name": test["name"], "code": code, "seconds": round(seconds, 1), "end": end,
            "output": text, "kernel": kernel, "waited": waited}


def main():
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # Tests signal their group and session, close their terminal, use up the memory: not ours.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("-1000")
    except OSError:
        pass
    # A test may cover or remove /dev and its own folder; these are open by then.
    log = KernelLog() if "--log" in sys.argv else KernelLog("")
    for test in json.loads(sys.stdin.readline()):
        print("@begin " + test["name"], flush=True)
        result = run_one(test, log)
        print("@end " + json.dumps(result), flush=True)
        if result["end"] == "unkillable":
            return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
