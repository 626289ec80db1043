#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs in each peer of tests/bench/programs: starts an application, loads it, and prints what came
out as one line, "figures {ROW: [sample, ...]}". All files that are written are on a tmpfs, so that no
disk is measured; what is measured once before is not counted: it brings programs into memory.

Usage: inside APPLICATION ROW,... SECONDS SAMPLES
"""
import contextlib
import os
import re
import subprocess
import sys
import time

WORK = "/tmp/bench"
# As much as any of the peers has for it: else Java would choose by the host's memory.
JAVA = {"JAVA_TOOL_OPTIONS": "-XX:+UseG1GC -Xms128m -Xmx1g"}
POSTGRES = "/usr/lib/postgresql/15/bin/"
SOURCES = 60  # files that make compiles


def run(*argv, **kwargs):
    """Runs a program that must succeed; what it printed."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, **kwargs)
    if done.returncode != 0:
        raise RuntimeError(f"{argv[0]}: exit code {done.returncode}: {done.stdout[-300:]}")
    return done.stdout


def milliseconds(*argv, **kwargs):
    begin = time.monotonic()
    run(*argv, **kwargs)
    return (time.monotonic() - begin) * 1e3


def prepare():
    """A guest that is not ours has nothing mounted."""
    if not os.path.exists("/proc/self"):
        run("mount", "-t", "proc", "proc", "/proc")
    if not os.path.exists("/dev/null"):
        run("mount", "-t", "devtmpfs", "dev", "/dev")
    run("mount", "-t", "tmpfs", "-o", "size=1400m,mode=1777", "bench", "/tmp")
    if not os.path.isdir("/dev/shm"):
        os.symlink("/tmp", "/dev/shm")
    os.mkdir(WORK)
    os.chmod(WORK, 0o777)
    os.chdir(WORK)


# --- PostgreSQL ----------------------------------------------------------------------------------

def postgres(program, *words):
    return run("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--inh-caps=-all",
               POSTGRES + program, *words)


def pgbench(*words):
    return float(re.search(r"tps = ([\d.]+)", postgres(
        "pgbench", "-h", WORK, "-n", "-c", "2", "-j", "2", *words, "postgres"))[1])


def measure_postgres(rows, seconds, samples):
    figures = {}
    begin = time.monotonic()
    postgres("initdb", "-D", f"{WORK}/data", "--no-sync", "--auth=trust", "--locale=C.UTF-8")
    figures["initdb"] = [(time.monotonic() - begin) * 1e3]
    if rows == ["initdb"]:
        return figures
    postgres("pg_ctl", "-D", f"{WORK}/data", "-l", f"{WORK}/log", "-w", "-t", "300", "start", "-o",
             f"-c fsync=off -c listen_addresses= -c unix_socket_directories={WORK} "
             "-c max_wal_size=512MB")
    try:
        postgres("pgbench", "-h", WORK, "-q", "-i", "-s", "5", "postgres")
        for row, words in ("pgbench_select", ["-S"]), ("pgbench_tpcb", []):
            if row in rows:
                pgbench(*words, "-T", "1")
                figures[row] = [pgbench(*words, "-T", str(seconds)) for _ in range(samples)]
    finally:
        postgres("pg_ctl", "-D", f"{WORK}/data", "-m", "immediate", "-w", "stop")
    return figures


# --- Java ----------------------------------------------------------------------------------------

def measure_java(rows, _, samples):
    environment = dict(os.environ, **JAVA)
    javac = ["javac", "-d", WORK, "/bench/Compute.java"]
    run(*javac, env=environment)
    figures = {}
    if "javac" in rows:
        figures["javac"] = [milliseconds(*javac, env=environment) for _ in range(samples)]
    for row, threads in ("java_1", "1"), ("java_2", "2"):
        if row in rows:
            figures[row] = [float(re.search(r"ms: ([\d.]+)", run(
                "java", "-cp", WORK, "Compute", threads, env=environment))[1])
                for _ in range(samples)]
    return figures


# --- compiling -----------------------------------------------------------------------------------

TEMPLATE = """#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int sum_NUMBER(const int *values, size_t count)
{
    int sum = NUMBER;
    for (size_t i = 0; i < count; i++)
        sum += values[i];
    return sum;
}

char *name_NUMBER(void)
{
    char text[32];
    snprintf(text, sizeof(text), "number %d", NUMBER);
    return strdup(text);
}
"""
MAKEFILE = """OBJECTS := $(patsubst %,out/%.o,$(shell seq COUNT))
all: out/all.a
out/all.a: $(OBJECTS)
\tar rc $@ $^
out/%.c: template
\tsed -e s/NUMBER/$*/ $< >$@.new && mv $@.new $@
out/%.o: out/%.c
\tgcc -O1 -c -o $@.new $< && cp $@.new $@ && rm $@.new
.PRECIOUS: out/%.c
"""


def compile_all(count):
    with open("Makefile", "w") as file:
        file.write(MAKEFILE.replace("COUNT", str(count)))
    run("rm", "-rf", "out")
    os.mkdir("out")
    return milliseconds("make", "-s", "-j2", "SHELL=/bin/sh")


def measure_make(_, __, samples):
    with open("template", "w") as file:
        file.write(TEMPLATE)
    compile_all(4)
    return {"compile": [compile_all(SOURCES) for _ in range(samples)]}


# --- Redis ---------------------------------------------------------------------------------------

@contextlib.contextmanager
def redis(address):
    server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", address, "--save", "",
                               "--appendonly", "no", "--dir", WORK], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not os.path.exists(address):
            if server.poll() is not None:
                raise RuntimeError(f"redis-server: exit code {server.returncode}")
            time.sleep(0.1)
        yield
    finally:
        server.kill()
        server.wait()


def requests(address, command, number):
    """Each second: number of them by 50 connections."""
    text = run("redis-benchmark", "-s", address, "-c", "50", "-n", str(number), "-t", command, "--csv")
    return float(re.search(rf'"{command}[^"]*","([\d.]+)"', text, re.I)[1])


def measure_redis(rows, seconds, samples):
    address, figures = f"{WORK}/redis", {}
    with redis(address):
        for row, command in ("redis_set", "set"), ("redis_get", "get"):
            if row in rows:
                number = max(1000, int(requests(address, command, 2000) * seconds))
                figures[row] = [requests(address, command, number) for _ in range(samples)]
    return figures


APPLICATIONS = {"postgres": measure_postgres, "java": measure_java, "make": measure_make,
                "redis": measure_redis}


def main():
    application, rows, seconds, samples = sys.argv[1:]
    os.environ.setdefault("LANG", "C.UTF-8")
    os.environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
    prepare()
    figures = APPLICATIONS[application](rows.split(","), int(seconds), int(samples))
    # As JSON, which python3-minimal cannot write.
    print("figures {" + ", ".join(f'"{row}": {found}' for row, found in figures.items()) + "}",
          flush=True)


if __name__ == "__main__":
    main()
