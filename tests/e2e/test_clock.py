#!/usr/bin/env python3
"""The sampling clock: its weights are CPU time, of every thread, at every rate, whatever the program does."""
import http.client
import re
import resource
import subprocess
import time

from harness import FULL, Failure, own_server, run_tests, test, wait_until

CPU = "profshim_endpoint_cpu_seconds_total"
RATES = (99, 1000, 10000)
TICK_S = time.clock_getres(6)  # CLOCK_MONOTONIC_COARSE (linux/time.h): its resolution is the kernel's tick
PERIOD_AND_TICK_S = 0.02  # what a thread that lives on may have used since its last sample at 99 Hz, and a tick
BY_SCHEDULER = 2  # include/linux/posix-timers_types.h: the CPU clock of the process of that id
STILL_S, LITTLE_NS = 60, 1e9  # who has much to do and uses less than that much CPU time in so long is stuck; our thread uses 0.1 s


def wait_while_it_gets_on(program, text):
    """Until the program has printed text, however long: its work is measured in CPU time, of which others may leave it little."""
    used_ns, look_at = 0, time.monotonic() + STILL_S

    def has_come():
        nonlocal used_ns, look_at
        if text in program.stdout():
            return True
        program.need_running()
        if time.monotonic() > look_at:
            before_ns, used_ns = used_ns, time.clock_gettime_ns((~program.pid << 3) | BY_SCHEDULER)
            look_at = time.monotonic() + STILL_S
            if used_ns - before_ns < LITTLE_NS:
                raise Failure("%s is stuck after %.1f s of CPU time, before printing %r" % (program.name, used_ns / 1e9, text))
        return False
    wait_until(has_come, float("inf"), "")


class Threads:
    """clock_threads under the shim at one rate, when all its threads have ended."""

    def __init__(self, scene, what, amount, **settings):
        settings = {"hz": 99, "budget": 0, **settings}
        self.program = scene.start([own_server("clock_threads"), what, str(amount)], stdin=subprocess.PIPE, **settings)
        wait_while_it_gets_on(self.program, "done\n")
        self.program.wait_ready()
        self.used_s = {}
        for line in self.program.stdout().splitlines()[:-1]:
            name, ns = line.split()
            self.used_s[name] = int(ns) / 1e9
        self.metrics = self.program.metrics()
        self.itself = self.program.json("/self")
        rows = self.program.json("/report?format=json&top=1000")["rows"]
        self.cumulative_s = {row["function"]: row["cumtime_seconds"] for row in rows}
        self.samples = self.metrics.sum("profshim_samples_total")

    def sum_s(self):
        return self.metrics.sum(CPU)

    def end(self, scene):
        self.program.process.stdin.close()
        scene.equal("exit code", self.program.wait(), 0)


@test
def eight_equal_threads_get_equal_weights(scene):
    seconds = 20 if FULL else 2
    for hz in (99, 1000) if FULL else (1000,):
        threads = Threads(scene, "equal", seconds, hz=hz)
        # A thread ends between two samples, and what is left then goes to whichever begins next: a period and a tick.
        bound = seconds * 0.01 + 1 / hz + TICK_S
        for number in range(8):
            name = "worker_%d" % number
            scene.within("at %d Hz weights of %s" % (hz, name), threads.cumulative_s.get(name, 0), threads.used_s[name], bound, " s")
        scene.say("stacks lost: %s" % threads.metrics.by("profshim_samples_dropped_total", "reason"))
        threads.end(scene)


@test
def a_thread_that_waits_often_has_the_rate_asked_for_unless_a_budget_caps_the_cost(scene):
    for budget in (0, "50%"):
        threads = Threads(scene, "waiting", 10 if FULL else 1.5, hz=1000, budget=budget)
        sampling, used = threads.itself["sampling"], threads.used_s["waiting_thread"]
        rate = threads.samples / (used + threads.used_s["main"])
        scene.equal("rate in force with a budget of %s" % budget, sampling["hz"], 1000)
        if budget or sampling["perf_refused"]:
            scene.equal("perf clocks begun, for a budget of %s" % budget, sampling["perf_threads_begun"], 0)
            scene.at_most("its samples", rate, 1.1 / TICK_S, " Hz")
        else:
            scene.equal("perf clocks begun without a budget", sampling["perf_threads_begun"], 1)
            scene.at_least("its samples", rate, 750, " Hz")
        # Beside a perf clock the timer's time is held back for eight ticks, or until one meets the thread in a system call.
        all_used = used + threads.used_s["main"]
        scene.within("all weights", threads.sum_s(), all_used, all_used * 0.01 + (0 if FULL else 9 * TICK_S), " s")
        threads.end(scene)


@test
def a_perf_clock_is_begun_only_where_the_budget_has_room_for_what_it_costs_here(scene):
    sample_s = 4.5e-6  # without an expiry of the perf clock: a tick's timer, its signal and the handler
    for budget in (0.01, 0.5):
        threads = Threads(scene, "calling", 10 if FULL else 1.5, hz=1000, budget="%g%%" % (100 * budget))
        sampling = threads.itself["sampling"]
        expiry_s = sampling["perf_expiry_seconds"]
        scene.equal("an expiry was measured", expiry_s > 0, not sampling["perf_refused"])
        room_hz = (budget / 2 - sample_s / TICK_S) / (expiry_s + sample_s)
        is_expected = expiry_s > 0 and room_hz >= min(1000, 2 / TICK_S)
        scene.say("an expiry takes %.1f us: room for %.0f Hz" % (expiry_s * 1e6, room_hz))
        used = threads.used_s["calling_thread"] + threads.used_s["main"]
        scene.equal("perf clocks begun", sampling["perf_threads_begun"] > 0, is_expected)
        if not is_expected:
            scene.at_most("samples", threads.samples / used, 1.1 / TICK_S, " Hz")
            scene.equal("rate in force", sampling["hz"], 1000)
        scene.within("all weights", threads.sum_s(), used, used * 0.01 + (0 if FULL else 9 * TICK_S), " s")
        threads.end(scene)


@test
def weights_sum_to_the_cpu_time_at_every_rate(scene):
    seconds = 20 if FULL else 1.5
    for what in ("kernel", "calling"):
        for hz in RATES if FULL or what == "kernel" else (10000,):
            threads = Threads(scene, what, seconds, hz=hz)
            used = threads.used_s[what + "_thread"] + threads.used_s["main"]
            # A thread may have ended a period and a tick after its last sample: that is within 1 % in the long form.
            scene.within("%s at %d Hz, all weights" % (what, hz), threads.sum_s(), used, used * 0.01 + (0 if FULL else PERIOD_AND_TICK_S), " s")
            scene.say("%d samples of %.2f s: %.0f Hz" % (threads.samples, used, threads.samples / used))
            if what == "kernel":
                # Drawn by ticks: four standard deviations of a share of a half.
                sigma = (0.25 / (used * 250)) ** 0.5
                reads = threads.cumulative_s.get("{read}", 0) / threads.used_s["kernel_thread"]
                scene.within("share of system calls at %d Hz" % hz, reads, threads.used_s["read"] / threads.used_s["kernel_thread"],
                             4 * sigma + 0.02)
            threads.end(scene)


@test
def ten_thousand_short_threads_are_all_there(scene):
    for hz in RATES if FULL else (99,):
        threads = Threads(scene, "short", 10000 if FULL else 4000, hz=hz)
        used = threads.used_s["short_thread"] + threads.used_s["main"]
        scene.within("at %d Hz all weights" % hz, threads.sum_s(), used, used * 0.05, " s")
        scene.say("in short_thread %.2f of %.2f s, by %d samples" % (threads.cumulative_s.get("short_thread", 0),
                                                                     threads.used_s["short_thread"], threads.samples))
        scene.equal("timers that could not be made", threads.metrics.sum("profshim_timers_failed_total"), 0)
        threads.end(scene)


@test
def a_thread_that_no_hook_saw_begin_is_met_within_a_second(scene):
    threads = Threads(scene, "late", 3)
    scene.at_least("weights of late_thread", threads.cumulative_s.get("late_thread", 0), threads.used_s["late_thread"] - 1, " s")
    threads.end(scene)


@test
def a_thread_without_memory_of_its_own_is_left_alone(scene):
    threads = Threads(scene, "raw", 1, hz=1000)
    scene.equal("weights of raw_thread", threads.cumulative_s.get("raw_thread", 0), 0)
    threads.end(scene)


def post(program, path):
    connection = http.client.HTTPConnection("127.0.0.1", program.profiler_port, timeout=10)
    connection.request("POST", path, headers={"Content-Length": "0"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def timer_rates(program):
    """Of all timers of a process, as the kernel tells their clocks (proc(5)): how many there are of threads."""
    with open("/proc/%d/timers" % program.pid) as timers:
        return len(re.findall("^ID:", timers.read(), re.M))


@test
def threads_follow_the_switches_whether_they_call_or_not(scene):
    for what in ("calling", "equal"):
        program = scene.start([own_server("clock_threads"), what, "60"], hz=99, name=what)
        program.wait_ready()
        count = 2 if what == "calling" else 9
        wait_until(lambda: timer_rates(program) == count, 10, "%d timers" % count)
        scene.equal("disable", post(program, "/control/disable"), 200)
        wait_until(lambda: timer_rates(program) <= (1 if what == "calling" else 0), 10, "no timers of threads that are running")
        before = program.metrics().sum("profshim_samples_total")
        scene.equal("rate while disabled", program.metrics().sum("profshim_sampling_rate_hertz"), 0)
        time.sleep(1)
        scene.equal("samples while disabled", program.metrics().sum("profshim_samples_total") - before, 0)
        scene.equal("enable", post(program, "/control/enable"), 200)
        wait_until(lambda: program.metrics().sum("profshim_samples_total") > before + 20, 20, "samples again")
        scene.equal("hz", post(program, "/control/hz?value=7"), 200)
        wait_until(lambda: program.json("/self")["sampling"]["hz"] == 7, 5, "7 Hz in force")
        program.kill_all()


@test
def a_budget_lowers_the_rate_and_leaves_the_sums_alone(scene):
    threads = Threads(scene, "calling", 20 if FULL else 3, hz=1000, budget="0.1%", log="info")
    sampling = threads.itself["sampling"]
    scene.at_most("rate in force of 1000 Hz", sampling["hz"], 500, " Hz")
    scene.at_least("times that it was lowered", threads.metrics.sum("profshim_sampling_rate_changes_total", direction="down"), 1)
    scene.equal("budget", sampling["budget_ratio"], 0.001)
    scene.check("the log tells it", "over the budget: sampling at" in threads.program.stderr(), threads.program.stderr()[-300:])
    used = threads.used_s["calling_thread"] + threads.used_s["main"]
    scene.within("all weights", threads.sum_s(), used, used * 0.01 + 2 / sampling["hz"], " s")
    threads.end(scene)


@test
def without_timers_the_rest_goes_on(scene):
    uid, allowed = 54321, 4
    threads = Threads(scene, "equal", 1, preexec=scene.limited_user(uid, resource.RLIMIT_SIGPENDING, allowed))
    scene.equal("threads without a timer", threads.itself["sampling"]["threads_without_timer"], 9 - allowed)
    scene.equal("the same in the metrics", threads.metrics.sum("profshim_timers_failed_total"), 9 - allowed)
    lines = [line for line in threads.program.stderr().splitlines() if "no CPU timer" in line]
    scene.equal("lines about it", len(lines), 1)
    met = [name for name in threads.used_s if name in threads.cumulative_s and name != "main"]
    scene.equal("workers that were met", len(met), allowed - 1)
    scene.equal("exact calls", threads.metrics.sum("profshim_calls_total", call="pthread_create"), 8)
    threads.end(scene)


run_tests()
