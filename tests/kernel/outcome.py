# SPDX-License-Identifier: Apache-2.0
"""What a test's end means, and the difference between two places."""

PASS, SKIP, FAIL = "pass", "skip", "fail"


def judge(result):
    """(pass, skip or fail; why) of what inside.py or the place told about one test."""
    suite, code = result["name"].split("/")[0], result["code"]
    if result["kernel"]:
        return FAIL, "the kernel complained: " + result["kernel"][0]
    if result["end"] != "exit":
        return FAIL, {"limit": "no end within its time", "unkillable": "it cannot be killed",
                      "died": "the machine died", "hung": "the machine answered no more"}[result["end"]]
    if code == 0:
        return PASS, "the kernel had to wait for long" if result.get("waited") else ""
    # Each suite has its own way to say that it did not test; it says why in its output.
    if suite == "ltp" and not code & ~(32 | 4) and code & 32:
        return SKIP, "TCONF: not for this configuration"
    if suite == "kselftest" and code == 4:
        return SKIP, "KSFT_SKIP: something that it needs is not there"
    if suite == "stress-ng" and code == 3:
        return SKIP, "stress-ng: too few resources"
    if suite == "stress-ng" and (code == 4 or "No stress workers invoked" in result["output"]):
        return SKIP, "stress-ng: not for this kernel or user"
    return FAIL, f"exit code {code}" if code >= 0 else f"signal {-code}"


def difference(guest, host, known):
    """Sorts a place's failures: {"unknown", "known", "both", "alone"}, each [(name, why)]. `both` fails
    on the host as well, `alone` could not be compared; those that are known are nothing else."""
    found = {"unknown": [], "known": [], "both": [], "alone": []}
    for name, result in guest.items():
        verdict, why = judge(result)
        if verdict != FAIL:
            continue
        there = judge(host[name])[0] if name in host else None
        reason = known(name)
        if reason:
            found["known"].append((name, reason))
        elif there == FAIL and result["end"] not in ("died", "hung", "unkillable") \
                and not result["kernel"]:
            found["both"].append((name, why))
        elif there == PASS:
            found["unknown"].append((name, why))
        else:
            found["alone"].append((name, why))
    return found


def count(results):
    verdicts = [judge(result)[0] for result in results.values()]
    return {verdict: verdicts.count(verdict) for verdict in (PASS, SKIP, FAIL)}


def tail(result, lines=6):
    """The last of what a failed test said, complaints of the kernel first."""
    said = [line for line in result["output"].splitlines() if line.strip()]
    marked = [line for line in said if "TFAIL" in line or "TBROK" in line or line.startswith("not ok")]
    return result["kernel"][:12] + (marked or said)[-lines:]
