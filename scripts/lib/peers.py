#!/usr/bin/env python3
"""peers - runs test suites that others wrote, without the shim and with it, and compares the verdicts test by test.

    peers.py BUILD CACHE [--list] [--quick] [--once] [--test] [--hz N] [--jobs N] [SUITE[/UNIT]...]

    --once   each unit once without the shim and once with it as a user has it, to begin with
    --test   as one of the project's tests: --quick, unless $PROFSHIM_TEST_FULL asks for all
    --jobs   how many units run at a time; 2, and 6 with --quick

A unit runs twice without the shim (once with --quick) and twice with it, sampled at 1 kHz: as a user has it, where only
the first program and what listens is profiled, and so that every program which it executes is profiled from its start
("every"), since many suites run each test as a program. A test whose verdict is another one then runs alone, up to three
times each way, and its unit once more; only what comes again under the shim, and never without, is called different, not
even if it runs there alone a dozen times more. A test that is not the same twice without the shim is unsteady, and said to
be; the table tells how often it had which verdict.

The last line is "N tests, same verdict M, different D"; the exit code is 1 where D is not 0 or a unit could not run.
"""
import argparse
import collections
import concurrent.futures
import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import peer_suites

EXIT = "(how it ended)"  # stands among the tests of each unit: its exit code, its signal, or the time limit
ABSENT = "absent"
ALONE = 3                # how often a test with another verdict runs alone, each way
ALONE_MORE = 12          # and without the shim, before what came again with it counts as ours


PLAIN, USUAL, EVERY = "without", "with", "every"  # how a unit runs


class Shim:
    REPORTS = 50  # of the sessions that a unit leaves, the largest files are read

    def __init__(self, build, hz):
        self.library = os.path.join(build, "shim", "setup", "libprofshim.so")
        self.program = os.path.join(build, "exporter", "cli", "profshim")
        self.firsts = os.path.join(build, "tests", "peers", "libfirsts.so")
        self.hz = hz
        for path in (self.library, self.program, self.firsts):
            if not os.path.exists(path):
                sys.exit("peers: there is no %s" % path)

    def environment(self, mode, directory, listen):
        os.mkdir(directory, 0o700)
        environment = {"LD_PRELOAD": self.library, "PROFSHIM_HZ": str(self.hz), "PROFSHIM_BUDGET": "0", "PROFSHIM_DIR": directory,
                       "PROFSHIM_LISTEN": listen}
        if mode == EVERY:
            # SIGUSR1 asks a profiled program for a report; the tests expect to die of it.
            environment.update({"LD_PRELOAD": self.library + ":" + self.firsts, "PROFSHIM_SIGNAL": "none"})
        return environment

    def samples(self, directory):
        """(sessions, samples, dropped) of the sessions in a directory, by what profshim reports of the largest."""
        paths = sorted((entry.path for entry in os.scandir(directory) if entry.name.endswith(".seg")),
                       key=lambda path: -os.stat(path).st_blocks)
        samples = dropped = 0
        for path in paths[:self.REPORTS]:
            report = subprocess.run([self.program, "report", "--top", "1", path], stdout=subprocess.PIPE,
                                    stderr=subprocess.DEVNULL, text=True).stdout
            found = re.search(r"(\d+) samples at .*?, (\d+) dropped", report)
            if found:
                samples, dropped = samples + int(found.group(1)), dropped + int(found.group(2))
        return len(paths), samples, dropped


def is_marked(pid, mark):
    try:
        with open("/proc/%d/environ" % pid, "rb") as environment:
            return mark in environment.read().split(b"\0")
    except OSError:
        return False  # it ended, or is another user's


def end_leftovers(group, mark):
    """Ends what a unit left running: its process group, and what has left that but still carries the unit's mark."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if is_marked(int(pid), mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def read_text(path):
    with open(path, errors="replace") as file:
        return file.read()


class Outcome:
    def __init__(self, verdicts, sessions, samples, dropped, seconds):
        self.verdicts, self.seconds = verdicts, seconds
        self.sessions, self.samples, self.dropped = sessions, samples, dropped


class Runner:
    """Runs units, each in a directory of its own below one that is removed at the end; what they wrote stays in logs."""

    def __init__(self, shim, cache, quick):
        self.shim, self.quick = shim, quick
        self.logs = os.path.join(cache, "logs")
        os.makedirs(self.logs, exist_ok=True)
        # Short: paths of Unix sockets end after 107 bytes.
        self.base = tempfile.mkdtemp(prefix="peers-")
        self.runs = itertools.count(1)
        self.groups = set()  # leaders of what runs at the moment
        self.alone = collections.defaultdict(threading.Lock)

    def close(self):
        """Ends what runs; units that wait for their turn are the caller's."""
        for group in list(self.groups):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        shutil.rmtree(self.base, ignore_errors=True)

    def run(self, suite, unit, mode, only=None, turn=1):
        """An Outcome; only: of this test alone; turn: tells its log from others'."""
        with self.alone[suite.name] if suite.is_alone else contextlib.nullcontext():
            return self._run(suite, unit, mode, only, turn)

    def _run(self, suite, unit, mode, only, turn):
        directory = os.path.join(self.base, str(next(self.runs)))
        work, temporary, sessions = (os.path.join(directory, name) for name in ("work", "tmp", "sessions"))
        os.makedirs(work)
        os.mkdir(temporary)
        argv, cwd, extra = suite.command(unit, work, self.quick, only)
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": directory, "LANG": "C.UTF-8",
                       "TMPDIR": temporary, **extra}
        if mode != PLAIN:
            environment.update(self.shim.environment(mode, sessions, suite.listen))
        log = os.path.join(self.logs, "%s.%s.%s%s.%d" % (suite.name, unit.replace("/", "-"), mode,
                                                         ".alone" if only else "", turn))
        began = time.monotonic()
        with open(log + ".out", "wb") as stdout, open(log + ".err", "wb") as stderr:
            process = subprocess.Popen(argv, cwd=cwd, env=environment, start_new_session=True, stdin=subprocess.DEVNULL,
                                       stdout=stdout, stderr=stderr)
            self.groups.add(process.pid)
            try:
                code = process.wait(suite.limit_seconds)
                ended = "exit code %d" % code if code >= 0 else signal.Signals(-code).name
            except subprocess.TimeoutExpired:
                ended = "time limit"
            finally:
                end_leftovers(process.pid, b"TMPDIR=" + temporary.encode())
                process.wait()
                self.groups.discard(process.pid)
        seconds = time.monotonic() - began
        verdicts = suite.verdicts(unit, work, read_text(log + ".out") + "\n" + read_text(log + ".err"))
        verdicts[EXIT] = ended
        seen = (0, 0, 0) if mode == PLAIN else self.shim.samples(sessions)
        shutil.rmtree(directory, ignore_errors=True)
        return Outcome(verdicts, *seen, seconds)


class Row:
    """What is known of one test. state: same, failing (the same, but not well), unsteady, different; other, until it is
    known whether that is ours."""

    def __init__(self, suite, unit, test, without, under):
        """without: verdicts; under: {mode: verdict}."""
        self.suite, self.unit, self.test = suite, unit, test
        self.without, self.under = list(without), list(under.values())
        self.modes = [mode for mode, verdict in under.items() if self.is_other(verdict)]
        self.state = self._first_state()

    def name(self):
        return "%s/%s %s" % (self.suite.name, self.unit, self.test)

    def _first_state(self):
        if self.modes:
            return "other"
        if len(set(self.without)) > 1:
            return "unsteady"
        return "same" if self.under[0] in ("passed", "skipped", "exit code 0", "expected-failure") else "failing"

    def is_other(self, verdict):
        return verdict not in self.without

    def columns(self):
        return "%-9s %-70s %-24s %s" % (self.state, self.name(), tally(self.without), tally(self.under))

    def run(self, runner, mode, only, turn):
        return runner.run(self.suite, self.unit, mode, only, turn).verdicts.get(self.test, ABSENT)


def tally(verdicts):
    """"failed", or "failed 11, passed 1"."""
    counts = collections.Counter(verdicts)
    return ", ".join("%s %d" % pair for pair in counts.most_common()) if len(counts) > 1 else verdicts[0]


def settle(runner, row):
    """Runs a test that had another verdict alone, each way, then its unit again, until it is seen to be ours or not."""
    alone = None if row.test == EXIT else row.test
    turns = range(1, ALONE + 1 if alone else 1)
    row.without += [row.run(runner, PLAIN, alone, turn) for turn in turns]
    # Last in company: some fail only after what another test has left behind.
    for mode, (only, turn) in itertools.product(row.modes, [(alone, turn) for turn in turns] + [(None, 2)]):
        row.under.append(row.run(runner, mode, only, turn))
        if row.is_other(row.under[-1]):
            break
    more = range(ALONE + 1, ALONE + ALONE_MORE + 1 if alone else 1)
    for turn in more:
        if not row.is_other(row.under[-1]):
            break
        row.without.append(row.run(runner, PLAIN, alone, turn))
    row.state = "different" if row.is_other(row.under[-1]) else "unsteady"


def run_units(runner, units, jobs, is_once):
    """Runs units, so many at a time, and yields (rows, run under the shim) of each in the order asked for. Two at a time
    may disturb one another: whatever comes out otherwise is run again by itself."""
    pool = concurrent.futures.ThreadPoolExecutor(jobs)
    try:
        turns = range(1, 2 if runner.quick or is_once else 3)
        modes = (USUAL,) if is_once else (USUAL, EVERY)
        runs = [([pool.submit(runner.run, suite, unit, PLAIN, None, turn) for turn in turns],
                 {mode: pool.submit(runner.run, suite, unit, mode) for mode in modes}) for suite, unit in units]
        for (suite, unit), (plain, under) in zip(units, runs):
            plain, under = [run.result() for run in plain], {mode: run.result() for mode, run in under.items()}
            rows = rows_of(suite, unit, plain, under)
            print_unit(suite, unit, rows, plain[0], under)
            yield rows, under
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def rows_of(suite, unit, plain, under):
    names = dict.fromkeys(name for outcome in plain + list(under.values()) for name in outcome.verdicts)
    return [Row(suite, unit, name, (outcome.verdicts.get(name, ABSENT) for outcome in plain),
                {mode: outcome.verdicts.get(name, ABSENT) for mode, outcome in under.items()}) for name in names]


def print_unit(suite, unit, rows, plain, under):
    print("%-34s %4d tests, %3d other verdicts; %5.1f s %s" % (
        "%s/%s" % (suite.name, unit), len(rows) - 1, sum(row.state == "other" for row in rows), plain.seconds,
        "".join("; %s %5.1f s, %d sessions, %d samples, %d dropped"
                % (mode, run.seconds, run.sessions, run.samples, run.dropped) for mode, run in under.items())), flush=True)


def settle_unit(runner, rows):
    """Judges the tests of a unit whose verdicts were other ones under the shim. How the unit ended follows from them: it
    is judged by itself only where no test explains it, or where it ended by a signal or the time limit."""
    other = [row for row in rows if row.state == "other"]
    tests = [row for row in other if row.test != EXIT]
    for row in tests:
        settle(runner, row)
    for row in other:
        if row.test != EXIT:
            continue
        if tests and all(verdict.startswith("exit code") for verdict in row.under):
            row.state = "different" if any(test.state == "different" for test in tests) else "unsteady"
        else:
            settle(runner, row)


def chosen_units(suites, words, quick):
    """(suite, unit) of what was asked for; a word is a suite or suite/unit."""
    for word in words:
        if word.split("/")[0] not in [suite.name for suite in suites]:
            sys.exit("peers: there is no suite %r; they are: %s" % (word, ", ".join(suite.name for suite in suites)))
    for suite in suites:
        mine = [word for word in words if word.split("/")[0] == suite.name]
        if words and not mine or quick and not suite.is_short:
            continue
        suite.prepare()
        for unit in suite.units(quick):
            if not mine or suite.name in mine or "%s/%s" % (suite.name, unit) in mine:
                yield suite, unit


def print_table(rows, path):
    with open(path, "w") as table:
        for row in rows:
            table.write(row.columns() + "\n")
    print("\n%-9s %-70s %-24s %s" % ("", "test", "without", "with"))
    for state in ("failing", "unsteady", "different"):
        for row in rows:
            if row.state == state:
                print(row.columns())
    print("\nfailing: the same without us; unsteady: not the same twice, or not again; all rows are in %s" % path)


def main():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("build")
    parser.add_argument("cache")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--test", action="store_true")
    parser.add_argument("--hz", type=int, default=1000)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("words", nargs="*")
    how = parser.parse_intermixed_args()
    how.quick = how.quick or how.test and not os.environ.get("PROFSHIM_TEST_FULL")
    how.cache = os.path.abspath(how.cache)
    sources = peer_suites.Sources(how.cache)
    suites = [kind(how.cache, sources) for kind in peer_suites.SUITES]
    try:
        units = list(chosen_units(suites, how.words, how.quick))
    except peer_suites.Unavailable as reason:
        sys.exit("peers: %s" % reason)
    if not units:
        sys.exit("peers: nothing of that name")
    if how.list:
        print("\n".join("%s/%s" % (suite.name, unit) for suite, unit in units))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    runner = Runner(Shim(how.build, how.hz), how.cache, how.quick)
    rows, samples, unseen = [], 0, []
    try:
        by_unit = []
        for found, under in run_units(runner, units, how.jobs or (6 if how.quick else 2), how.once):
            by_unit.append(found)
            samples += sum(run.samples for run in under.values())
            if not all(run.sessions for run in under.values()) or len(found) < 2:
                unseen.append("%s/%s" % (found[0].suite.name, found[0].unit))
        for found in by_unit:
            settle_unit(runner, found)
            rows += found
    finally:
        runner.close()
    print_table(rows, os.path.join(how.cache, "table.txt"))
    for name in unseen:
        print("%s ran no test, or left no session: nothing is shown by it" % name)
    if not samples:
        print("not one sample was taken: nothing is shown by this")
    tests = [row for row in rows if row.test != EXIT or row.state == "different"]
    different = sum(row.state == "different" for row in tests)
    print("%d tests, same verdict %d, different %d" % (len(tests), len(tests) - different, different))
    return 1 if different or unseen or not samples else 0


if __name__ == "__main__":
    sys.exit(main())
