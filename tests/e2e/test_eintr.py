#!/usr/bin/env python3
"""No signal of ours ends a call or makes it short, and every one of the program's own does what it did.

The long form takes ten minutes, and a thousand signals in each kind of call.
"""
import json

from harness import FULL, own_server, run_tests, test

SECONDS = 600 if FULL else 5
ROUNDS = 1000 if FULL else 30
SHARED_MS = 1000 if FULL else 80
SEVERAL = 5  # calls of one kind in a second, on a machine that does much else

# Of the middle of all late wake-ups: what ours adds to what the kernel and the load of the machine make of it.
LATER_US_MAX = 1000


def rows_of(result):
    return {(row["call"], row.get("signal", 0)): row for row in map(json.loads, result.stdout.splitlines())}


@test
def no_call_ends_with_eintr_or_early(scene):
    argv = [own_server("blocking_calls"), "quiet"]
    plain = rows_of(scene.run(argv + [str(min(SECONDS, 30))], shim=False, timeout=SECONDS + 60))
    result = scene.run(argv + [str(SECONDS)], timeout=SECONDS + 60, hz=1000, listen="off")
    rows = rows_of(result)
    scene.equal("exit code and stderr", (result.returncode, result.stderr), (0, b""))
    scene.equal("kinds of calls", len(rows), len(plain))
    scene.say("%d calls of %d kinds in %d s" % (sum(row["calls"] for row in rows.values()), len(rows), SECONDS))
    for what in ("eintr", "wrong", "short"):
        scene.equal(what, {key[0]: row[what] for key, row in rows.items() if row[what]}, {})
    for (name, _), row in rows.items():
        scene.check("%s: %d calls" % (name, row["calls"]), row["calls"] >= SEVERAL)
    # A kind whose time-outs the kernel counts in jiffies is late by up to one; one of ours never adds another.
    latest = max(rows, key=lambda key: rows[key]["late_us"] - plain[key]["late_us"])
    scene.at_most("us that the most belated kind (%s) is later than without the shim" % latest[0],
                  rows[latest]["late_us"] - plain[latest]["late_us"], LATER_US_MAX)


@test
def no_call_ends_for_a_signal_that_another_thread_takes(scene):
    result = scene.run([own_server("blocking_calls"), "shared", str(SHARED_MS)], timeout=120, hz=1000, listen="off")
    rows = rows_of(result)
    scene.equal("exit code and stderr", (result.returncode, result.stderr), (0, b""))
    scene.check("all kinds were tried", len(rows) >= 50)
    for what in ("eintr", "wrong", "short"):
        scene.equal(what, {key[0]: row[what] for key, row in rows.items() if row[what]}, {})


@test
def every_signal_of_the_programs_own_ends_its_call(scene):
    result = scene.run([own_server("blocking_calls"), "own", str(ROUNDS)], timeout=600 if FULL else 120, hz=1000, listen="off")
    rows = rows_of(result)
    scene.equal("exit code and stderr", (result.returncode, result.stderr), (0, b""))
    scene.say("%d signals in %d kinds of calls" % (sum(row["sent"] for row in rows.values()), len(rows)))
    scene.check("all kinds were tried", len(rows) >= 60)
    scene.equal("calls that did not end as they do without the shim",
                {key: row for key, row in rows.items() if row["eintr"] != row["wanted"] or row["lost"]}, {})


if __name__ == "__main__":
    run_tests()
