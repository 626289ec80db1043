# SPDX-License-Identifier: Apache-2.0
"""Which tests there are, each with the command that runs it in the image. A name is SUITE/LIST/TEST."""
import fnmatch
import os
import re

# A machine is some times slower than its host, more so when the host has other work.
LTP_SETUP = {"LTPROOT": "/tests/ltp", "LTP_TIMEOUT_MUL": "4", "LTP_RUNTIME_MUL": "0.2",
             "LTP_COLORIZE_OUTPUT": "0", "KCONFIG_PATH": "/proc/config.gz",
             "PATH": "/tests/ltp/testcases/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
LTP_LISTS = ["syscalls", "mm", "sched", "math"]
KSELFTESTS = ["mm", "futex", "timers", "vDSO", "signal", "clone3", "exec", "rseq",
              "membarrier", "pidfd", "ptrace", "timens", "mincore", "mqueue", "splice", "kcmp",
              "core", "prctl", "rlimits", "proc", "seccomp", "syscall_user_dispatch",
              "mseal_system_mappings", "pid_namespace", "sync", "breakpoints", "x86"]
STRESS_CLASSES = ["vm", "os", "scheduler", "cpu"]
MEMORY_THREADS = [1, 2, 3, 8]


def ltp(folder, seconds):
    """Those lines of LTP's lists whose program was built."""
    tests = []
    for name in LTP_LISTS:
        with open(f"{folder}/runtest/{name}", encoding="utf-8") as file:
            lines = [line.split(None, 1) for line in file if line.strip() and line[0] != "#"]
        for test, command in (line for line in lines if len(line) == 2):
            program = command.replace("'", " ").split()[0]
            if "=" in program or os.path.exists(f"{folder}/testcases/bin/{program}"):
                tests.append({"name": f"ltp/{name}/{test}", "command": command.strip(),
                              "limit": seconds, "setup": LTP_SETUP})
    return tests


def kselftest(folder, seconds):
    """What was built and installed, as the kernel's own runner would run it."""
    with open(f"{folder}/kselftest-list.txt", encoding="utf-8") as file:
        # What a Makefile says while it installs is in that file, too.
        lines = sorted({line.strip() for line in file if re.fullmatch(r"[^\s:]+:[^\s:]+", line.strip())})
    return [{"name": f"kselftest/{line.replace(':', '/', 1)}",
             "command": f"./{line.split(':', 1)[1]}", "limit": seconds,
             "folder": f"/tests/kselftest/{line.split(':', 1)[0]}"} for line in lines]


def stress(classes, seconds, stressor_seconds):
    """Each of stress-ng's stressors by itself; classes is {class: its stressors}."""
    tests, seen = [], set()
    for name, stressors in classes.items():
        for stressor in stressors:
            if stressor not in seen:
                seen.add(stressor)
                tests.append({"name": f"stress-ng/{name}/{stressor}", "limit": seconds,
                              "command": f"exec stress-ng --{stressor} 3 --verify --timestamp "
                                         f"--timeout {stressor_seconds} --oomable"})
    return tests


def memory(seconds):
    """Our own stress of mappings, alone and while memory is short and moved about."""
    tests = []
    for kind in ("alone", "pressed"):
        for threads in MEMORY_THREADS:
            command = f"/tests/own/memory {threads} {seconds}"
            if kind == "pressed":
                command = f"/tests/own/pressure /dev/vdc {seconds} {command}"
            tests.append({"name": f"memory/{kind}/{threads}-threads", "command": command,
                          "limit": 3 * seconds + 120})
    return tests


def choose(tests, patterns):
    """Those whose name begins with a pattern or fits it."""
    if not patterns:
        return tests
    return [test for test in tests if any(
        test["name"] == p or test["name"].startswith(p.rstrip("/") + "/") or
        fnmatch.fnmatchcase(test["name"], p) for p in patterns)]


def read_reasons(path):
    """{pattern: reason} of a file of lines "PATTERN: REASON"; a line that is indented goes on."""
    found, pattern = {}, None
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line[0] in "#\n":
                continue
            if line[0].isspace():
                found[pattern] += " " + line.strip()
                continue
            pattern, _, reason = (part.strip() for part in line.partition(": "))
            if not reason:
                raise ValueError(f"{path}: '{line.strip()}' has no reason")
            found[pattern] = reason
    return found


def reason_for(name, reasons):
    return next((reason for pattern, reason in reasons.items()
                 if fnmatch.fnmatchcase(name, pattern)), None)
