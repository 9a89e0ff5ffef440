#!/usr/bin/env python3
"""Whether a program feels that profshim's own HTTP server, in one of its threads, is attacked."""
import math
import os
import re
import resource
import statistics
import subprocess
import time

from attacks import ATTACKS, MIXED, Attack, stand_in_on
from harness import FULL, Failure, free_ports, listening_pids, own_server, run_tests, test, wait_until
from real_servers import Nginx

BURST_SECONDS, SHARE = 0.5, 0.1  # serve.c: time that clients may have at once, and in the long run
MILLISECONDS = {"us": 1e-3, "ms": 1, "s": 1e3}


def asked_meanwhile(port, core):
    """(p99 in ms, requests a second) of two clients that ask as fast as they are answered."""
    told = subprocess.run(["wrk", "-t1", "-c2", "-d1", "--latency", "http://127.0.0.1:%d/hello" % port], check=True,
                          capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {core})).stdout
    number, unit = re.search(r"^ +99% +([\d.]+)(us|ms|s)$", told, re.MULTILINE).groups()
    return float(number) * MILLISECONDS[unit], float(re.search(r"^Requests/sec: +([\d.]+)$", told, re.MULTILINE).group(1))


def under_attack(port, attacked_port, core, ways, seconds_before=0.3):
    """What the program's own clients see, once what the attack may have in advance is used up; how much the attack did."""
    attack = Attack(attacked_port, core, ways)
    try:
        time.sleep(seconds_before)
        return (*asked_meanwhile(port, core), attack.done.value)
    finally:
        attack.stop()


def attack_alone(port, core, seconds):
    """(seconds, of these CPU time of the server's) while the program has nothing to do, so that nothing but its share keeps
    the server from taking its core."""
    (pid,) = listening_pids(port)
    attack = Attack(port, core, MIXED)
    began, cpu = time.monotonic(), cpu_of_own_thread(pid)
    time.sleep(seconds)
    took = time.monotonic() - began, cpu_of_own_thread(pid) - cpu
    attack.stop()
    return took


def cpu_of_own_thread(pid):
    """Seconds of profshim's thread, by proc(5): fields 14 and 15 of stat."""
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/stat" % (pid, task)) as file:
            name, _, rest = file.read().partition("(")[2].rpartition(")")
        if name == "profshim":
            return sum(map(int, rest.split()[11:13])) / os.sysconf("SC_CLK_TCK")
    raise Failure("process %d has no thread of profshim's" % pid)


def thread_status(pid, task):
    """(name, nice value, policy) of a thread, by proc(5): fields 2, 19 and 41 of stat."""
    with open("/proc/%d/task/%s/stat" % (pid, task)) as file:
        name, _, rest = file.read().partition("(")[2].rpartition(")")
    fields = rest.split()
    return name, int(fields[16]), int(fields[38])


def threads_by_owner(pids):
    """({(nice value, policy)} of profshim's threads, that of all others)."""
    ours, others = set(), set()
    for pid in pids:
        for task in os.listdir("/proc/%d/task" % pid):
            name, nice, policy = thread_status(pid, task)
            (ours if name == "profshim" else others).add((nice, policy))
    return ours, others


UNMOVED_MS = 0.5     # some stretches of 0.1 ms (pace.c), one upon another
RATE_SHARE = 0.8     # a tenth of the core is what clients may have (serve.c), and somewhat more is to do for it
PAIRS, PAIRS_MAX = (20, 60) if FULL else (3, 12)


def interval_of_median(values):
    """What holds the median in 95 of 100 cases, whatever the distribution: by ranks, of which the binomial one is known. Of
    fewer than six values it is all that they span."""
    values, below, rank = sorted(values), 0.0, 0
    while True:
        below += math.comb(len(values), rank) / 2 ** len(values)
        if below > 0.025:
            rank = max(rank - 1, 0)
            return values[rank], values[-1 - rank]
        rank += 1


class Pairs:
    """Rounds of an attack on another's port and on ours, in turns: a round is p99 in ms, requests a second, attempts."""

    def __init__(self):
        self.elsewhere, self.ours = [], []

    def add(self, elsewhere, ours):
        self.elsewhere.append(elsewhere)
        self.ours.append(ours)

    def more_ms(self):
        return [ours[0] - elsewhere[0] for elsewhere, ours in zip(self.elsewhere, self.ours)]

    def rates(self):
        return [ours[1] / elsewhere[1] for elsewhere, ours in zip(self.elsewhere, self.ours)]

    def found(self):
        """What p99 was more, and what share of the requests was answered. In the long form the bad ends of the intervals: it is
        sure that it was no worse. In the short form, which may have few rounds and others beside it, the good ends: worse
        than allowed is only what surely is."""
        bad, good = (1, 0) if FULL else (0, 1)
        return interval_of_median(self.more_ms())[bad], interval_of_median(self.rates())[good]

    def is_felt(self):
        """So it seems: more rounds tell whether that was chance."""
        more_ms, rate = self.found()
        return more_ms > UNMOVED_MS or rate < RATE_SHARE

    def check(self, scene, what):
        for where, rounds in (("another's port", self.elsewhere), ("ours", self.ours)):
            scene.say("%s, attack on %s: p99 in ms %s; requests a second %s; attempts %d"
                      % (what, where, " ".join("%.2f" % one[0] for one in rounds), " ".join("%.0f" % one[1] for one in rounds),
                         sum(one[2] for one in rounds)))
        scene.say("p99 more in ms: median %.3f, interval %.3f to %.3f; share of requests: median %.3f, interval %.3f to %.3f"
                  % (statistics.median(self.more_ms()), *interval_of_median(self.more_ms()),
                     statistics.median(self.rates()), *interval_of_median(self.rates())))
        scene.at_least("attempts of the attack on ours", sum(one[2] for one in self.ours), 100 * len(self.ours))
        scene.at_least("requests that the program answered meanwhile", sum(one[1] for one in self.elsewhere + self.ours), 1)
        more_ms, rate = self.found()
        scene.at_most("what p99 of the program is more in %d pairs" % len(self.ours), more_ms, UNMOVED_MS, " ms")
        scene.at_least("share of the requests that it answers", rate, RATE_SHARE)


def export_cpu(program):
    return program.metrics().sum("profshim_overhead_seconds_total", phase="export")


def switches_of_own_thread(pid):
    """(of its own will, because the kernel took the core away), by proc(5)."""
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/status" % (pid, task)) as file:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        if status["Name"] == "profshim":
            return int(status["voluntary_ctxt_switches"]), int(status["nonvoluntary_ctxt_switches"])
    raise Failure("process %d has no thread of profshim's" % pid)


def nginx_on(scene, core):
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    nginx = Nginx(scene, workers=1)
    os.sched_setaffinity(0, before)
    nginx.program.wait_ready()
    return nginx


def attack_in_turns(nginx, other_port, core, ways=MIXED):
    """core: the clients', and the other's."""
    pairs, our_port = Pairs(), nginx.program.profiler_port
    under_attack(nginx.port, our_port, core, ways, 1)  # takes what clients have in advance
    while len(pairs.ours) < PAIRS or (pairs.is_felt() and len(pairs.ours) < PAIRS_MAX):
        ports = [other_port, our_port] if len(pairs.ours) % 2 else [our_port, other_port]
        found = {port: under_attack(nginx.port, port, core, ways) for port in ports}
        pairs.add(found[other_port], found[our_port])
    return pairs


@test
def the_programs_own_p99_does_not_feel_an_attack_on_our_port(scene):
    """The same attack on a port of somebody else's on this machine is what it is compared with, in turns: what its clients
    take is not our doing. The program and its server share one core, everybody else has the other one.

    Unmoved means: the median of the differences of p99, pair by pair, is at most UNMOVED_MS. In the long form the interval of
    that median lies below it as a whole, in the short form not above it. Nothing is allowed for how the rounds differ among
    themselves, nor in proportion to p99."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    cores = sorted(os.sched_getaffinity(0))
    nginx = nginx_on(scene, cores[0])
    other, other_port = stand_in_on(cores[-1])
    began, cpu = time.monotonic(), export_cpu(nginx.program)
    try:
        pairs = attack_in_turns(nginx, other_port, cores[-1])
        alone_seconds, alone_cpu = attack_alone(nginx.program.profiler_port, cores[-1], 2)
    finally:
        other.kill()
        other.join()
    wait_until(nginx.program.is_ready, 20, "an answer after the attack")
    seconds = time.monotonic() - began
    # Looks for the dead and for new modules are not the clients' doing.
    scene.at_most("CPU seconds of the thread that serves, in %.1f s" % seconds, export_cpu(nginx.program) - cpu,
                  BURST_SECONDS + (SHARE + 0.03) * seconds)
    # What clients have in advance they have taken by then; a view that is begun is ended.
    scene.at_most("of which in %.1f s when it had its core to itself" % alone_seconds, alone_cpu, (SHARE + 0.1) * alone_seconds)
    pairs.check(scene, "all at once")


@test
def nor_does_it_where_program_attack_and_server_have_one_core_among_them(scene):
    """Nobody but our thread can be what differs: the other's server is on that core, too. It gives the core up by itself
    before it is taken away. Unmoved means the same."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    core = min(os.sched_getaffinity(0))
    nginx = nginx_on(scene, core)
    (pid,) = listening_pids(nginx.program.profiler_port)
    other, other_port = stand_in_on(core)
    before = switches_of_own_thread(pid)
    try:
        pairs = attack_in_turns(nginx, other_port, core)
    finally:
        other.kill()
        other.join()
    willing, forced = (after - first for after, first in zip(switches_of_own_thread(pid), before))
    scene.at_most("of %d times that our thread left its core it was made to" % (willing + forced), forced, (willing + forced) / 4)
    pairs.check(scene, "all at once")


def nor_does_it_feel_any_of_these_attacks_by_itself(scene):
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    cores = sorted(os.sched_getaffinity(0))
    nginx = nginx_on(scene, cores[0])
    other, other_port = stand_in_on(cores[-1])
    try:
        for what, way in ATTACKS.items():
            attack_in_turns(nginx, other_port, cores[-1], [way]).check(scene, what)
    finally:
        other.kill()
        other.join()


if FULL:  # a minute of each
    test(nor_does_it_feel_any_of_these_attacks_by_itself)


@test
def the_thread_that_serves_gives_way_and_the_programs_own_are_as_they_were(scene):
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    nginx = Nginx(scene)
    nginx.program.wait_ready()
    workers = wait_until(nginx.workers, 5, "workers")
    ours, _ = threads_by_owner(listening_pids(nginx.program.profiler_port))
    scene.equal("nice value and policy of the thread that serves", ours, {(nice, os.SCHED_BATCH)})
    _, others = threads_by_owner([nginx.program.pid, *workers])
    scene.equal("of the program's", others, {(nice, os.SCHED_OTHER)})
    port = free_ports()
    program = scene.start([own_server("signal_server"), "none", str(port)],
                          preexec=lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
    program.wait_ready()
    ours, others = threads_by_owner([program.pid])
    scene.equal("policy of profshim's where the program runs in real time", {policy for _, policy in ours}, {os.SCHED_BATCH})
    scene.equal("of that program's", {policy for _, policy in others}, {os.SCHED_FIFO})


BUSY = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
for _ in os.sched_getaffinity(0):
    if os.fork() == 0:
        break
while True:
    pass
"""


@test
def a_scrape_comes_through_where_the_program_keeps_every_core_busy(scene):
    program = scene.start(["/usr/bin/python3", "-c", BUSY, str(free_ports())], "busy")
    program.wait_ready()
    times = []
    for _ in range(9):
        began = time.monotonic()
        program.get_ok("/metrics")
        times.append(time.monotonic() - began)
    scene.say("seconds: " + " ".join("%.3f" % took for took in times))
    scene.at_most("seconds until a scrape was answered, median", statistics.median(times), 1)


if __name__ == "__main__":
    run_tests()
