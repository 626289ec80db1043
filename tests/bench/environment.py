# SPDX-License-Identifier: Apache-2.0
"""What a report says about the host that it was measured on."""
import datetime
import os
import platform
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))


def first_match(path, key):
    with open(path) as file:
        for line in file:
            if line.startswith(key):
                return line.split(":", 1)[1].strip()
    return None


def commit():
    done = subprocess.run(["git", "-C", HERE, "rev-parse", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or None


def describe(found):
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "cpu": first_match("/proc/cpuinfo", "model name"),
        "cpus": len(os.sched_getaffinity(0)),
        "memory": first_match("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "hypervisor": "hypervisor" in (first_match("/proc/cpuinfo", "flags") or "").split(),
        "kvm": os.path.exists("/dev/kvm"),
        "user": "root" if os.geteuid() == 0 else "plain user",
        "nice": os.nice(0),
        "load_before": os.getloadavg()[0],
        "commit": commit(),
        "versions": {peer.name: peer.version for peer in found if peer.version},
    }
