#!/usr/bin/env python3
"""tests - which tests meson knows, and how many single tests passed and failed in its last run.

    tests.py list BUILD FILTER    the names of the tests of meson that contain FILTER ("redis", "e2e/redis"), one a line;
                                  those that have no short form only with $PROFSHIM_TEST_FULL
    tests.py count LOG            one line for each failure, then "N passed, N failed"; exit code 1 unless all passed

A test program that speaks TAP counts as many tests as it announces; any other counts as one. What was announced and
not seen, and what was skipped, failed: a test that did not run has shown nothing.
"""
import json
import os
import re
import subprocess
import sys

PLAN = re.compile(r"^1\.\.(\d+)")
RESULT = re.compile(r"^(not )?ok\b\s*(\d+)?\s*(?:-\s*)?(.*)$")
SKIPPED = re.compile(r"#\s*skip", re.IGNORECASE)
LONG_ONLY = {"fuzz"}  # suites


def full_names(build):
    tests = json.loads(subprocess.check_output(["meson", "introspect", "--tests", build]))
    is_full = bool(os.environ.get("PROFSHIM_TEST_FULL"))
    for test in tests:
        if not is_full and any(suite.split(":")[-1] in LONG_ONLY for suite in test["suite"]):
            continue
        yield test["name"], ["%s / %s" % (suite, test["name"]) for suite in test["suite"]]


def list_tests(build, pattern):
    for name, titles in full_names(build):
        if any(all(part in title for part in pattern.split("/")) for title in titles):
            print(name)


def tap_outcomes(output, ended_well):
    """(description, passed) of each test in a TAP text, or None if it is none."""
    planned, outcomes = None, []
    for line in output.splitlines():
        plan, result = PLAN.match(line), RESULT.match(line)
        if plan:
            planned = int(plan.group(1))
        elif result:
            outcomes.append((result.group(3), not result.group(1) and not SKIPPED.search(line)))
    if planned is None and not outcomes:
        return None
    if planned is None:
        outcomes.append(("announced no plan", False))
    else:
        outcomes += [("announced and not seen", False)] * (planned - len(outcomes))
    if not ended_well and all(passed for _, passed in outcomes):
        outcomes.append(("the program itself ended badly", False))
    return outcomes


def outcomes_of(test):
    ended_well = test["result"] in ("OK", "EXPECTEDFAIL")
    outcomes = tap_outcomes(test.get("stdout") or "", ended_well)
    return outcomes or [("ended with %s" % test["result"], ended_well)]


def count_tests(log):
    passed_count = failed_count = 0
    try:
        with open(log) as lines:
            tests = [json.loads(line) for line in lines]
    except OSError as error:
        tests = []
        print("no record of the run: %s" % error)
    for test in tests:
        for description, passed in outcomes_of(test):
            passed_count += passed
            failed_count += not passed
            if not passed:
                print("FAILED %s: %s" % (test["name"], description))
    if failed_count:
        print("all output: %s" % re.sub("json$", "txt", log))
    print("%d passed, %d failed" % (passed_count, failed_count))
    return 0 if passed_count and not failed_count else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["list"] and len(sys.argv) == 4:
        list_tests(*sys.argv[2:])
    elif sys.argv[1:2] == ["count"] and len(sys.argv) == 3:
        sys.exit(count_tests(sys.argv[2]))
    else:
        sys.exit(__doc__)
