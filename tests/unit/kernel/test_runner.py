#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The parts of tests/kernel/run: what results mean, which tests are chosen, and that a place that dies
costs one test only. Argument: the folder tests/kernel.
"""
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
FOLDER = sys.argv[1]
sys.path.insert(0, FOLDER)
# pylint: disable=wrong-import-position,import-error
import lists
import outcome
import places


def result(name, code=0, end="exit", kernel=(), output=""):
    return {"name": name, "code": code, "end": end, "kernel": list(kernel), "output": output}


class Outcome(unittest.TestCase):
    def verdict(self, *args, **kwargs):
        return outcome.judge(result(*args, **kwargs))[0]

    def test_codes_of_each_suite(self):
        self.assertEqual(self.verdict("ltp/mm/a", 32), outcome.SKIP)
        self.assertEqual(self.verdict("ltp/mm/a", 36), outcome.SKIP)
        self.assertEqual(self.verdict("ltp/mm/a", 33), outcome.FAIL)
        self.assertEqual(self.verdict("ltp/mm/a", 4), outcome.FAIL)
        self.assertEqual(self.verdict("ltp/mm/a", -11), outcome.FAIL)
        self.assertEqual(self.verdict("kselftest/mm/a", 4), outcome.SKIP)
        self.assertEqual(self.verdict("kselftest/mm/a", 32), outcome.FAIL)
        self.assertEqual(self.verdict("stress-ng/vm/a", 3), outcome.SKIP)
        self.assertEqual(self.verdict("stress-ng/vm/a", 2), outcome.FAIL)
        self.assertEqual(self.verdict("memory/alone/1-threads", 4), outcome.FAIL)

    def test_a_complaint_of_the_kernel_fails_what_passed(self):
        self.assertEqual(self.verdict("ltp/mm/a", 0), outcome.PASS)
        self.assertEqual(self.verdict("ltp/mm/a", 0, kernel=["WARNING: x"]), outcome.FAIL)

    def test_every_bad_end_fails(self):
        for end in ("limit", "unkillable", "died", "hung"):
            self.assertEqual(self.verdict("ltp/mm/a", None, end), outcome.FAIL)

    def test_difference(self):
        names = ["here", "both", "known", "alone", "good", "dead"]
        guest = {name: result(name, 1) for name in names}
        guest["good"]["code"] = 0
        guest["dead"].update(code=None, end="died")
        host = {name: result(name, 0) for name in ("here", "known")}
        host.update({name: result(name, 1) for name in ("both", "dead")})
        found = outcome.difference(guest, host, {"known": "why"}.get)
        self.assertEqual({kind: [name for name, _ in each] for kind, each in found.items()},
                         {"unknown": ["here"], "both": ["both"], "known": ["known"],
                          "alone": ["alone", "dead"]})
        self.assertEqual(found["known"], [("known", "why")])
        self.assertEqual(outcome.count(guest), {"pass": 1, "skip": 0, "fail": 5})


class Lists(unittest.TestCase):
    def test_choose(self):
        tests = [{"name": name} for name in ("ltp/mm/mmap1", "ltp/mm/brk1", "ltp/mmap/x", "memory/a/1")]
        for patterns, number in (([], 4), (["ltp/mm"], 2), (["ltp"], 3), (["ltp/mm/mmap*"], 1),
                                 (["memory/a/1"], 1), (["mem"], 0)):
            self.assertEqual(len(lists.choose(tests, patterns)), number, patterns)

    def test_reasons(self):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("# text\n\nltp/mm/*: because\n  of this\nhost:a: b: c\n")
            file.flush()
            reasons = lists.read_reasons(file.name)
        self.assertEqual(reasons, {"ltp/mm/*": "because of this", "host:a": "b: c"})
        self.assertEqual(lists.reason_for("ltp/mm/brk1", reasons), "because of this")
        self.assertIsNone(lists.reason_for("ltp/mmap/x", reasons))

    def test_the_files_of_reasons_can_be_read(self):
        for name in ("known-failures", "left-out"):
            lists.read_reasons(f"{FOLDER}/{name}")

    def test_a_test_without_a_reason_is_refused(self):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("ltp/mm/a\n")
            file.flush()
            self.assertRaisesRegex(ValueError, "no reason", lists.read_reasons, file.name)


class Here(places.Place):
    """inside.py as it is, without a machine around it: what kills it stands for a machine's death."""
    title = "here"

    def start(self, errors):
        return subprocess.Popen([sys.executable, "-B", f"{FOLDER}/inside.py"], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=errors)


class Places(unittest.TestCase):
    def test_a_death_costs_one_test(self):
        commands = {"good": "echo said", "bad": "exit 7", "death": "echo last >&2; kill -9 $PPID",
                    "signal": "kill -11 $$", "slow": "sleep 1000", "stray": "setsid sleep 1000 & exit 0"}
        tests = [{"name": name, "command": command, "limit": 1 if name == "slow" else 60}
                 for name, command in commands.items()]
        found = {each["name"]: each for each in Here().results(tests)}
        self.assertEqual(list(found), list(commands))
        self.assertEqual((found["good"]["code"], found["good"]["output"]), (0, "said\n"))
        self.assertEqual((found["bad"]["code"], found["signal"]["code"]), (7, -11))
        self.assertEqual((found["death"]["end"], found["slow"]["end"]), ("died", "limit"))
        self.assertEqual(found["stray"]["code"], 0)

    def test_a_place_that_does_not_start(self):
        class Broken(places.Place):
            title = "broken"

            def start(self, errors):
                return subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=errors)
        with self.assertRaisesRegex(RuntimeError, "does not start"):
            list(Broken().results([{"name": "a", "command": "true", "limit": 1}]))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
