# SPDX-License-Identifier: Apache-2.0
"""Starts programs and looks at their clocks and memory."""
import ctypes
import os
import select
import signal
import subprocess
import time

TIMEOUT = 120
LIBC = ctypes.CDLL(None)


def start(argv):
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL)


def run(argv):
    """Runs argv to its end. Returns {"total": ms, "output": bytes, "lines": {line: ms}, "code"}:
    each line with the time at which it arrived here, so all peers have the same clock."""
    begin = time.monotonic()
    process = start(argv)
    pidfd = os.pidfd_open(process.pid)
    poll = select.poll()
    poll.register(process.stdout, select.POLLIN)
    poll.register(pidfd, select.POLLIN)
    output, lines, ended = b"", {}, None
    while ended is None:
        events = poll.poll((begin + TIMEOUT - time.monotonic()) * 1000)
        now = time.monotonic()
        if not events:
            process.send_signal(signal.SIGKILL)
        for fd, _ in events:
            if fd == pidfd:
                process.wait()
                ended = time.monotonic()
        output += read_now(process.stdout, poll)
        for line in output.split(b"\n")[:-1]:
            lines.setdefault(line.strip().decode(errors="replace"), (now - begin) * 1e3)
    os.close(pidfd)
    process.stdout.close()
    return {"total": (ended - begin) * 1e3, "output": output, "lines": lines,
            "code": process.returncode}


def read_now(stream, poll):
    """What can be read without waiting."""
    fd, data = stream.fileno(), b""
    while select.select([fd], [], [], 0)[0]:
        piece = os.read(fd, 65536)
        if not piece:
            try:
                poll.unregister(fd)
            except KeyError:
                pass
            break
        data += piece
    return data


def wait_for_line(process, line):
    for found in process.stdout:
        if found.strip() == line:
            return
    raise RuntimeError(f"ended before it said '{line.decode()}'")


def descendants(pid):
    """All processes below pid, whatever namespace they are in."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:
                    parent = int(file.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry))
    found, left = [], [pid]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return found


def pss_kib(pid):
    """The proportional set size: a page that n processes share counts 1/n in each."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def address_spaces(pid):
    """Of pid and all below it one process for each address space: processes that share theirs (User
    Mode Linux has such helpers) would show the same pages twice."""
    found = []
    for each in [pid] + descendants(pid):
        if not any(share_memory(each, other) for other in found):
            found.append(each)
    return found


def share_memory(a, b):
    kcmp, kcmp_vm = 312, 1  # x86-64
    return LIBC.syscall(kcmp, a, b, kcmp_vm, 0, 0) == 0


def tree_pss_kib(pid):
    total = 0
    for each in address_spaces(pid):
        try:
            total += pss_kib(each)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
    return total


def unmapped_memory_kib(pid):
    """Memory of the process's memfds that no page table maps is in no PSS: what their files have
    allocated, less what the tree's PSS shows of them. (memory the guest gave back and the like)"""
    inodes = {}
    for entry in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{entry}"
        try:
            if os.readlink(path).startswith("/memfd:"):
                stat = os.stat(path)
                inodes[stat.st_ino] = stat.st_blocks // 2
        except OSError:
            continue
    mapped = sum(memfd_pss_kib(each) for each in address_spaces(pid))
    return max(0, sum(inodes.values()) - mapped)


def memfd_pss_kib(pid):
    total, ours = 0, False
    try:
        with open(f"/proc/{pid}/smaps") as file:
            for line in file:
                word = line.split(None, 1)[0]
                if not word.endswith(":"):
                    ours = "/memfd:" in line
                elif ours and word == "Pss:":
                    total += int(line.split()[1])
    except OSError:
        pass
    return total
