#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The rows, summaries and targets of tests/bench/programs; and that the programs know their rows.

Arguments: the folder of the benchmarks, bench-micro, bench-threads.
"""
import json
import os
import subprocess
import sys
import unittest

sys.dont_write_bytecode = True
FOLDER, MICRO, THREADS = sys.argv[1:4]
sys.path.insert(0, FOLDER)
# pylint: disable=wrong-import-position,import-error
import inside
import prepare
import program_peers
import program_rows

SAMPLES = {
    "native": {"syscall": [200.0, 100.0, 300.0], "fork": [100e3], "compute_2": [1.9]},
    "paravane": {"syscall": [7000.0, 8000.0, 7500.0], "fork": [301e3], "compute_2": [1.899]},
}


class Rows(unittest.TestCase):
    def setUp(self):
        self.rows = [row for rows in program_rows.choose(["syscall", "fork", "compute_2"]).values()
                     for row in rows]
        self.found = program_rows.summarize(self.rows, SAMPLES)

    def test_choose(self):
        self.assertEqual(set(program_rows.choose(None)), set(program_rows.PROGRAMS))
        self.assertEqual(program_rows.choose(["threads"]), {"threads": program_rows.THREADS})
        chosen = program_rows.choose(["fork", "condvar"])
        self.assertEqual({program: [row.name for row in rows] for program, rows in chosen.items()},
                         {"micro": ["fork"], "threads": ["condvar"]})
        self.assertRaisesRegex(ValueError, "no row 'frok'", program_rows.choose, ["frok"])

    def test_names_are_unique(self):
        names = [row.name for row in program_rows.every()]
        self.assertEqual(len(names), len(set(names)))
        self.assertFalse(set(names) & set(program_rows.PROGRAMS))

    def test_summary(self):
        cell = self.found["syscall"]["peers"]["paravane"]
        self.assertEqual((cell["median"], cell["best"], cell["max"]), (7.5, 7.0, 8.0))
        self.assertEqual((cell["median_ratio"], cell["best_ratio"]), (37.5, 70.0))
        self.assertEqual(self.found["compute_2"]["peers"]["native"]["best"], 1.9)

    def test_targets(self):
        found = program_rows.targets(self.rows, [("paravane", "Paravane"), ("absent", "Absent")],
                                     self.found)
        met = {(each["row"], each["peer"]): each["met"] for each in found}
        self.assertEqual(met, {("syscall", "paravane"): True, ("syscall", "absent"): None,
                               ("fork", "paravane"): False, ("fork", "absent"): None,
                               ("compute_2", "paravane"): False, ("compute_2", "absent"): None})
        self.assertIn("at least 1.9 times", program_rows.targets_text(found))

    def test_table(self):
        text = program_rows.table(self.rows, [("native", "native", None), ("uml", "UML", "not installed"),
                                              ("paravane", "Paravane", None)], self.found)
        lines = {line.split("  ")[0]: line for line in text.splitlines()}
        self.assertIn("7.50 ±7% (x37.5)", lines["system call (getppid)"])
        self.assertIn("not installed", lines["fork, exit, wait"])
        self.assertNotIn("(x", lines["2 threads compute"])


class Peers(unittest.TestCase):
    def test_names(self):
        everyone, default = program_peers.make("build", "folder", ["/a/old", "new=/b"], ["tiny=/c"])
        names = [peer.name for peer in everyone]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual(default, ["native", "old", "new", "tiny"])
        self.assertIn("new_unpinned", names)
        self.assertEqual([peer.name for peer in everyone if peer.pinned],
                         ["paravane", "old", "new", "tiny"])

    def test_missing(self):
        everyone, _ = program_peers.make("/nowhere", "/nowhere", ["other=/nowhere/at/all"], [])
        reasons = {peer.name: peer.missing() for peer in everyone
                   if isinstance(peer, program_peers.Paravane) and peer.name != "paravane_unpinned"}
        self.assertEqual(reasons["paravane"], "not built")
        self.assertEqual(reasons["other"], "there is no /nowhere/at/all")


class Applications(unittest.TestCase):
    def test_names(self):
        """What is asked for on the command line of stock User Mode Linux has neither a dot nor '='."""
        self.assertEqual(set(inside.APPLICATIONS), set(program_rows.APPLICATIONS))
        for row in program_rows.every():
            self.assertRegex(row.name, r"\A\w+\Z")

    def test_files(self):
        """What a peer is asked to run is there."""
        files = prepare.ApplicationFiles("build", __file__, None).added()
        for name in "inside", "Compute.java":
            self.assertTrue(os.path.exists(files[name]), name)
        self.assertEqual(files["init"], f"{os.getcwd()}/build/tests/bench/bench-init")


class Programs(unittest.TestCase):
    """Each program measures all its rows, and those only that it is asked for."""

    def measure(self, program, *words):
        done = subprocess.run([program, "--samples", "2", "--ms", "1", *words], check=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout)
        self.assertGreater(found.pop("cpus"), 0)
        self.assertEqual(found.pop("unit"), "ns")
        for row, samples in found.items():
            self.assertEqual(len(samples), 2, row)
            self.assertGreater(min(samples), 0, row)
        return list(found)

    def test_rows(self):
        for program, rows in (MICRO, program_rows.MICRO), (THREADS, program_rows.THREADS):
            names = [row.name for row in rows]
            self.assertEqual(self.measure(program), names)
            self.assertEqual(self.measure(program, "--rows", f"{names[-1]},{names[0]}"),
                             [names[-1], names[0]])

    def test_misuse(self):
        for words in ["--rows", "nonsense"], ["--samples", "0"], ["--samples", "65"], ["--ms"]:
            done = subprocess.run([MICRO, *words], capture_output=True, text=True)
            self.assertEqual(done.returncode, 2, words)
            self.assertIn("usage: ", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
