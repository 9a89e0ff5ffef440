#!/usr/bin/env python3
"""No signal of ours ends a call or makes it short or long, and every one of the program's own does what it did.

Ours are the ticks, and the one that asks for a report. The long form takes a quarter of an hour: ten minutes of nothing but
calls, and a thousand signals in each kind of them.
"""
import json
import os
import signal

from harness import FULL, Failure, Metrics, own_server, run_tests, test

SECONDS = 600 if FULL else 5
REQUESTS_SECONDS = 60 if FULL else 2
ROUNDS = 1000 if FULL else 30
REQUESTS_ROUNDS = 300 if FULL else 9
SHARED_MS = 1000 if FULL else 80
SAMPLES_A_SECOND = 50  # of its busy threads, at the least, however little of a core they get
SEVERAL = 5  # calls of one kind in a second, on a machine that does much else

# What ours may add to what the kernel and the load of the machine make of a time-out.
LATER_US_MAX = 1000
# A machine that is not ours alone takes its cores away at times; what is ours comes again.
TRIES = 3

LONG_MS = 300
LONG_KINDS = ["epoll_wait", "poll", "select", "nanosleep", "clock_nanosleep", "sem_timedwait", "recv, SO_RCVTIMEO",
              "connect, SO_SNDTIMEO"]


def in_real_time():
    """A preexec: where it is permitted, as it is to root, nobody else's work makes the program late."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        pass


def rows_of(text):
    return {(row["call"], row.get("signal", 0), row.get("mask", 0)): row for row in map(json.loads, text.splitlines())}


def begin(scene, words, shim=True, preexec=None, **settings):
    settings = dict(dict(listen="off", hz=1000), **settings) if shim else {}
    return scene.start([own_server("blocking_calls"), *map(str, words)], shim=shim, preexec=preexec, **settings)


def end(scene, program, seconds=120):
    """Its rows; it has told nothing else."""
    scene.equal("exit code and stderr of " + " ".join(program.argv[1:]), (program.wait(seconds), program.stderr()), (0, ""))
    return rows_of(program.stdout())


def check_all_well(scene, rows):
    for what in ("eintr", "wrong", "short"):
        scene.equal(what, {key[0]: row[what] for key, row in rows.items() if row[what]}, {})


@test
def no_call_ends_with_eintr_or_early(scene):
    programs = begin(scene, ["quiet", min(SECONDS, 30)], shim=False), begin(scene, ["quiet", SECONDS])
    plain, rows = (end(scene, program, SECONDS + 60) for program in programs)
    scene.equal("kinds of calls", len(rows), len(plain))
    scene.say("%d calls of %d kinds in %d s" % (sum(row["calls"] for row in rows.values()), len(rows), SECONDS))
    check_all_well(scene, rows)
    told = Metrics(scene.profshim("report", "--view=metrics"))
    scene.at_least("samples, each of them a signal", told.sum("profshim_samples_total"), SAMPLES_A_SECOND * SECONDS)
    for (name, _, _), row in rows.items():
        # One waits for a second, until the other side asks again.
        scene.check("%s: %d calls" % (name, row["calls"]), row["calls"] >= (1 if name == "connect, no end" else SEVERAL))
    # A kind whose time-outs the kernel counts in jiffies is late by up to one; one of ours never adds another.
    latest = max(rows, key=lambda key: rows[key]["late_us"] - plain[key]["late_us"])
    scene.at_most("us that the most belated kind (%s) is later than without the shim" % latest[0],
                  rows[latest]["late_us"] - plain[latest]["late_us"], LATER_US_MAX)


@test
def no_call_ends_with_eintr_or_early_because_a_report_is_asked_for(scene):
    # To each thread; and to the process, where another thread takes it. That one has the cores for itself, so not at once.
    asked = ["signal=%d" % signal.SIGUSR1]
    for words, preexec, sent in ((["quiet", REQUESTS_SECONDS], None, REQUESTS_SECONDS * 10),
                                 (["shared", SHARED_MS // 2], in_real_time, SHARED_MS // 8)):
        report = scene.path("report-" + words[0])
        rows = end(scene, begin(scene, words + asked, preexec=preexec, report=report), REQUESTS_SECONDS + 40)
        check_all_well(scene, rows)
        fewest = min(rows, key=lambda key: rows[key]["sent"])
        scene.at_least("signals in the kind that got fewest (%s)" % fewest[0], rows[fewest]["sent"], sent)
        scene.at_least("kinds", len(rows), 50)
        scene.check("a report was written", os.path.exists(report), report)


# --- time-outs ---

def both(scene, words, preexec, only, **settings):
    """Begins it, plain and under the shim. words: without a signal, since what asks for a report would end it plain."""
    kinds = ["kind=" + name for name in only]
    asked = settings.pop("asked", [])
    return (begin(scene, words + kinds, shim=False, preexec=preexec), begin(scene, words + asked + kinds, preexec=preexec, **settings))


def later_by(plain, shimmed, share):
    """By how many us the call at this share of them, rising, is later than the same one without the shim; but of the last ones, two
    of which do not count, later than the last."""
    if share == 0.99:
        return shimmed[max(min(len(shimmed) - 3, int(len(shimmed) * share)), 0)] - plain[-1]
    return shimmed[int(len(shimmed) * share)] - plain[int(len(plain) * share)]


def late_kinds(scene, programs, shares):
    """{kind: us} of those that are too late at one of these shares of their calls; fails if a call did not end by its time."""
    plain, shimmed = (end(scene, program, 600) for program in programs)
    check_all_well(scene, shimmed)
    late = {}
    for key, row in shimmed.items():
        if "lates_us" not in row:
            continue
        later = max(later_by(plain[key]["lates_us"], row["lates_us"], share) for share in shares)
        late[key[0]] = later
    worst = max(late, key=late.get)
    scene.say("%s: %d kinds, the latest is %s, by %d us" % (" ".join(programs[1].argv[1:])[:70], len(late), worst, late[worst]))
    return {kind: later for kind, later in late.items() if later > LATER_US_MAX}


def check_not_later(scene, runs, shares):
    """runs: of both, each (words, preexec, only, settings). Kinds that are late are tried again by themselves."""
    for attempt in range(1, TRIES + 1):
        begun = [both(scene, words, preexec, only, **settings) for words, preexec, only, settings in runs]
        late = [late_kinds(scene, programs, shares) for programs in begun]
        runs = [(run[0], run[1], sorted(kinds), run[3]) for run, kinds in zip(runs, late) if kinds]
        if not runs:
            return
        scene.say("try %d of %d: %s" % (attempt, TRIES, late))
    raise Failure("time-outs that end later than without the shim by more than %d us: %s" % (LATER_US_MAX, late))


def pressed(calls, *options):
    return ["pressed", calls, *options]


@test
def a_time_out_keeps_its_length_however_often_it_is_interrupted(scene):
    """Some thirty times, and once or twice: what a restart loses, and what the last one does."""
    asked = {"asked": ["signal=%d" % signal.SIGUSR1], "report": scene.path("report")}
    short, sparse, many = pressed(12, "period=200"), pressed(12, "period=4000"), pressed(3, "period=200", "timeout=%d" % LONG_MS)
    runs = [(short, in_real_time, [], {}), (sparse, in_real_time, [], {}), (many, in_real_time, LONG_KINDS, {})]
    if FULL:
        runs = [(pressed(200, *short[2:]), in_real_time, [], {}), (pressed(200, *sparse[2:]), in_real_time, [], {}),
                (pressed(30, *many[2:]), in_real_time, [], {}), (pressed(100, *short[2:]), in_real_time, [], asked)]
    check_not_later(scene, runs, (0.5, 0.99))


@test
def a_time_out_does_not_grow_by_what_the_kernel_may_sleep_longer(scene):
    # So much at each restart would be 6 ms; in real time the kernel sleeps no longer. What comes from the load of the machine
    # is not in all calls.
    check_not_later(scene, [(pressed(100 if FULL else 8, "period=200", "slack=100"), None, [], {})], (0.25,))


@test
def no_call_ends_for_a_signal_that_another_thread_takes(scene):
    check_not_later(scene, [(["shared", SHARED_MS], in_real_time, [], {})], (0.5, 0.99))


# --- the program's own ---

def check_as_plain(scene, rounds, options, **settings):
    programs = (begin(scene, ["own", rounds, *options], shim=False), begin(scene, ["own", rounds, *options], **settings))
    plain, rows = (end(scene, program, 900 if FULL else 120) for program in programs)
    scene.say("%d signals in %d kinds of calls" % (sum(row["sent"] for row in rows.values()), len(rows)))
    ended = {key: row["eintr"] for key, row in plain.items()}
    scene.check("all kinds were tried, and some end by EINTR", len(rows) >= 38 and sum(ended.values()) >= 30 * rounds)
    scene.equal("calls that ended with EINTR", {key: row["eintr"] for key, row in rows.items()}, ended)
    for what in ("lost", "rests"):
        for name, table in (("plain", plain), ("shim", rows)):
            scene.equal("%s, %s" % (what, name), {key: row[what] for key, row in table.items() if row[what]}, {})


@test
def every_signal_of_the_programs_own_ends_its_call(scene):
    check_as_plain(scene, ROUNDS, [])


@test
def a_signal_that_asks_for_a_report_besides_ends_its_call_if_it_is_the_programs(scene):
    check_as_plain(scene, REQUESTS_ROUNDS, ["signal=%d" % signal.SIGUSR1], signal="USR1", report=scene.path("report"))
    scene.check("reports were written, too", os.path.exists(scene.path("report")))


if __name__ == "__main__":
    run_tests()
