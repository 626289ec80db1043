# SPDX-License-Identifier: Apache-2.0
"""The rows of tests/bench/programs: which program measures each, what it should reach, and the report.

Times are better when less, scaling and rates when more. A target is a figure of its own ("at") or
a ratio to native in the same run ("x"); it is for Paravane with pinned virtual CPUs.
"""
import collections
import statistics

import report

Row = collections.namedtuple("Row", "name title unit divisor better target")


def time_row(name, title, target=None, unit="us", divisor=1000):
    return Row(name, title, unit, divisor, "less", target)


def scale_row(name, title, target=None):
    return Row(name, title, "times", 1, "more", target)


def rate_row(name, title, target=None):
    return Row(name, title, "1/s", 1, "more", target)


# Programs of the peers' root and the rows that each gives.
MICRO = [
    time_row("syscall", "system call (getppid)", ("at", 7.5)),
    time_row("clock", "clock_gettime", ("at", 60), "ns", 1),
    time_row("getcpu", "getcpu", None, "ns", 1),
    time_row("fault", "page fault, in sequence, 4 KiB pages", ("at", 5)),
    time_row("fault_plain", "page fault, in sequence, any pages"),
    time_row("fault_random", "page fault, at random, 4 KiB pages"),
    time_row("fork", "fork, exit, wait", ("x", 3)),
    time_row("exec", "vfork, exec, exit, wait", ("x", 1.7)),
    time_row("fork_exec", "fork, exec, exit, wait"),
    time_row("pipe", "pipe, round trip"),
    time_row("compute", "computing, 1000 steps"),
]
THREADS = [
    time_row("condvar", "mutex and condition, a turn", ("at", 20)),
    scale_row("compute_2", "2 threads compute", ("at", 1.9)),
    scale_row("compute_4", "4 threads compute"),
    scale_row("call_2", "2 threads make system calls"),
    scale_row("call_4", "4 threads make system calls"),
    scale_row("touch_2", "2 threads touch new pages"),
    scale_row("touch_4", "4 threads touch new pages"),
]
# Applications: inside.py loads them.
POSTGRES = [
    time_row("initdb", "initdb", None, "ms", 1),
    rate_row("pgbench_select", "pgbench -S, 2 clients", ("x", 0.30)),
    rate_row("pgbench_tpcb", "pgbench, TPC-B, 2 clients", ("x", 0.35)),
]
JAVA = [
    time_row("javac", "javac of one file", ("x", 1.8), "ms", 1),
    time_row("java_1", "Java, 1 thread computes", None, "ms", 1),
    time_row("java_2", "Java, 2 threads compute", ("x", 1.05), "ms", 1),
]
MAKE = [time_row("compile", "make -j2, 60 files in C", None, "ms", 1)]
REDIS = [
    rate_row("redis_set", "redis-benchmark, SET"),
    rate_row("redis_get", "redis-benchmark, GET"),
]
APPLICATIONS = {"postgres": POSTGRES, "java": JAVA, "make": MAKE, "redis": REDIS}
PROGRAMS = {"micro": MICRO, "threads": THREADS, **APPLICATIONS}
# What their image is made of.
PACKAGES = "gcc,libc6-dev,make,openjdk-17-jdk-headless,postgresql-15,python3-minimal,redis-server"


def every():
    return [row for rows in PROGRAMS.values() for row in rows]


def choose(names):
    """{program: [row]} of the rows with these names, which may be those of programs, too; all
    without. ValueError names one that there is not."""
    known = {row.name for row in every()} | set(PROGRAMS)
    for name in names or []:
        if name not in known:
            raise ValueError(f"there is no row '{name}', but {', '.join(r.name for r in every())}")
    chosen = {program: [row for row in rows
                        if not names or row.name in names or program in names]
              for program, rows in PROGRAMS.items()}
    return {program: rows for program, rows in chosen.items() if rows}


def best(row, values, middle):
    """Of a comparison of two times the most is no good sign: one of the two was disturbed."""
    if row.unit == "times":
        return middle
    return values[0] if row.better == "less" else values[-1]


def summarize(rows, samples, base="native"):
    """samples: {peer: {row: [value]}} -> {row: {"unit", "better", "peers": {peer: {...}}}}. The
    spread is half of what lies between the quartiles, as a part of the median."""
    found = {}
    for row in rows:
        cells = {}
        for peer, measured in samples.items():
            values = sorted(value / row.divisor for value in measured.get(row.name, []))
            if values:
                middle = statistics.median(values)
                quartiles = statistics.quantiles(values, n=4) if len(values) > 1 else [middle] * 3
                cells[peer] = {"median": middle, "min": values[0], "max": values[-1],
                               "spread": (quartiles[2] - quartiles[0]) / 2 / middle if middle else 0,
                               "best": best(row, values, middle),
                               "samples": values}
        reference = cells.get(base)
        for peer, cell in cells.items():
            for key in ("median", "best"):
                cell[key + "_ratio"] = (cell[key] / reference[key]
                                        if reference and reference[key] and peer != base else None)
        found[row.name] = {"unit": row.unit, "better": row.better, "peers": cells}
    return found


def cell_text(row, cell, what):
    if not cell:
        return "-"
    text = report.number(cell[what])
    if what == "median" and len(cell["samples"]) > 1:
        text += f" ±{cell['spread'] * 100:.0f}%"
    if cell[what + "_ratio"] is not None and row.unit != "times":
        text += f" (x{report.number(cell[what + '_ratio'])})"
    return text


def table(rows, peers, found, what="median"):
    """peers: [(name, title, reason or None)]. In brackets the ratio to native."""
    lines = [["", "unit"] + [title for _, title, _ in peers]]
    for row in rows:
        cells = found[row.name]["peers"]
        lines.append([row.title, row.unit] + [
            report.column_reason(reason) if reason else cell_text(row, cells.get(name), what)
            for name, _, reason in peers])
    return report.layout(lines)


def targets(rows, peers, found, what="median"):
    """What rows should reach, for each of the peers that it counts for. [(name, title)]"""
    result = []
    for row in rows:
        if not row.target:
            continue
        kind, limit = row.target
        for name, title in peers:
            cell = found[row.name]["peers"].get(name)
            figure = cell[what if kind == "at" else what + "_ratio"] if cell else None
            met = None
            if figure is not None:
                met = figure <= limit if row.better == "less" else figure >= limit
            result.append({"row": row.name, "peer": name, "title": f"{row.title}, {title}",
                           "better": row.better, "limit": limit, "figure": figure, "met": met,
                           "unit": row.unit if kind == "at" else "x native"})
    return result


def targets_text(found):
    lines = []
    for each in found:
        words = "at most" if each["better"] == "less" else "at least"
        target = f"{each['title']}: {words} {each['limit']:g} {each['unit']}"
        verdict = "not measured"
        if each["met"] is not None:
            verdict = f"{'yes' if each['met'] else 'NO'}: {each['figure']:.3g}"
        lines.append((target, verdict))
    width = max(len(target) for target, _ in lines) if lines else 0
    return "\n".join(["Targets", *(f"  {target.ljust(width)}  {verdict}" for target, verdict in lines)])
