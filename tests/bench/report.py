# SPDX-License-Identifier: Apache-2.0
"""Figures as a table and as JSON: medians, ratios, targets."""
import statistics

# id, title, unit, divisor from the samples' unit, what a ratio refers to
ROWS = [
    ("true", "/bin/true, start to exit", "ms", 1, "crun"),
    ("pid1", "start to PID 1 of the guest", "ms", 1, "crun"),
    ("main", "start to the command's first line", "ms", 1, "crun"),
    ("monitor", "PSS of the monitor", "MiB", 1024, None),
    ("idle", "PSS of an idle 256 MiB machine, in all", "MiB", 1024, "crun"),
    ("syscall", "system call (getppid)", "us", 1000, "native"),
    ("fault", "page fault (anonymous, in sequence)", "us", 1000, "native"),
    ("fork", "fork, exit, wait", "us", 1000, "native"),
    ("exec", "vfork, exec, exit, wait", "us", 1000, "native"),
    ("pipe", "pipe, round trip", "us", 1000, "native"),
    ("compute", "computing, 1000 steps", "us", 1000, "native"),
]
MICRO = [row for row, _, _, divisor, _ in ROWS if divisor == 1000]  # what micro.c is asked for


def summarize(samples):
    """samples: {peer: {row: [values]}} -> {row: {peer: {...}}}"""
    rows = {}
    for row, _, unit, divisor, reference in ROWS:
        cells = {}
        for peer, measured in samples.items():
            values = [value / divisor for value in measured.get(row, [])]
            if values:
                cells[peer] = {"median": statistics.median(values), "min": min(values),
                               "max": max(values), "samples": values}
        base = cells.get(reference)
        for cell in cells.values():
            cell["ratio"] = cell["median"] / base["median"] if base else None
        rows[row] = {"unit": unit, "ratio_to": reference if base else None, "peers": cells}
    return rows


def number(value):
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cell_text(cell):
    if not cell:
        return "-"
    if cell["ratio"] is None:
        return number(cell["median"])
    return f"{number(cell['median'])} (x{number(cell['ratio'])})"


def table(peers, rows):
    """peers: [(name, title, reason or None)]; a peer with a reason has it in its column."""
    lines = [["", "unit"] + [title for _, title, _ in peers]]
    for row, title, unit, _, _ in ROWS:
        cells = rows[row]["peers"]
        against = rows[row]["ratio_to"]
        lines.append([title + (f" (x{against})" if against else ""), unit] + [
            column_reason(reason) if reason else cell_text(cells.get(name))
            for name, _, reason in peers])
    return layout(lines)


def layout(lines):
    """Lines of cells as columns, the first line as heading."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = []
    for line in lines:
        text.append("  ".join(word.ljust(width) if i == 0 else word.rjust(width)
                              for i, (word, width) in enumerate(zip(line, widths))).rstrip())
    text.insert(1, "-" * len(text[0]))
    return "\n".join(text)


def column_reason(reason):
    return reason if reason in ("not installed", "not built") else "cannot run"


def targets(rows):
    """[(text, figure, limit, unit, met)], figure None when it was not measured."""
    true, uml = median(rows, "true", "paravane"), median(rows, "true", "uml")
    fifth = uml / 5 if uml else None
    wanted = [
        ("/bin/true, start to exit, at most 250 ms", true, 250, "ms"),
        ("/bin/true, start to exit, at most a fifth of stock UML", true, fifth, "ms"),
        ("PSS of the monitor at most 4 MiB", median(rows, "monitor", "paravane"), 4, "MiB"),
        ("an idle 256 MiB machine at most 40 MiB in all", median(rows, "idle", "paravane"), 40,
         "MiB"),
    ]
    return [{"target": text, "figure": figure, "limit": limit, "unit": unit,
             "met": figure <= limit if figure is not None and limit is not None else None}
            for text, figure, limit, unit in wanted]


def median(rows, row, peer):
    cell = rows[row]["peers"].get(peer)
    return cell["median"] if cell else None


def targets_text(found):
    lines = ["Targets"]
    for each in found:
        if each["met"] is None:
            verdict = "not measured"
        else:
            verdict = (f"{'yes' if each['met'] else 'NO'}: {number(each['figure'])} of "
                       f"{number(each['limit'])} {each['unit']}")
        lines.append(f"  {each['target']:<58} {verdict}")
    return "\n".join(lines)
