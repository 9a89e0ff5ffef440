#!/usr/bin/env python3
"""Many processes that come and go: what they served is counted exactly, nothing of them is left over, somebody serves."""
import os
import random
import re
import resource
import signal
import struct
import threading
import time

from filters import REFUSE, start_filtered
from harness import (FULL, Failure, Metrics, listening_pids, free_ports, living_of_group, own_server, run_tests, test,
                     wait_until)
from real_databases import Counted, Postgres
from real_servers import Nginx

DURATIONS = "http_server_request_duration_seconds_count"
EXITS = "profshim_process_exits_total"
TAKE_OVER_SECONDS = 2
GAUGES_SECONDS = 1


class SteadyClient:
    """Asks the port for a path without end from several connections, in a process of its own."""

    def __init__(self, scene, port, threads, path):
        reading_end, self.writing_end = os.pipe()
        self.program = scene.start([own_server("steady_client"), str(port), str(threads), path], shim=False,
                                   stdin=reading_end)
        os.close(reading_end)

    def finish(self):
        """(answers that were read whole, requests that were not answered)."""
        os.close(self.writing_end)
        if self.program.wait(30):
            raise Failure("the client ended with code %d: %s" % (self.program.process.returncode, self.program.stderr()))
        numbers = re.match(r"answers (\d+) broken (\d+)$", self.program.stdout().strip())
        return int(numbers.group(1)), int(numbers.group(2))


def used(program, table):
    return program.json("/self")["memory"]["tables"][table]["used"]


def check_nothing_is_left(scene, program, processes):
    """Once clients and all other processes are gone: gauges within a second, and places in the tables."""
    began = time.monotonic()

    def gauges(metrics):
        return {name: int(metrics.sum(name)) for name in
                ("http_server_active_requests", "profshim_connections_open", "profshim_streams_open", "profshim_processes")}
    wanted = {"http_server_active_requests": 0, "profshim_connections_open": 0, "profshim_streams_open": 0,
              "profshim_processes": processes}
    # Who asks again and again meanwhile is answered late, for clients have a share of a core only.
    time.sleep(GAUGES_SECONDS)
    metrics = program.metrics()
    scene.equal("gauges", gauges(metrics), wanted)
    scene.say("seconds until that was asked and answered: %.2f" % (time.monotonic() - began))
    scene.equal("connections that are listed", len(program.json("/connections")["connections"]), 0)
    scene.equal("places of processes in use", used(program, "processes"), processes)
    scene.equal("places of connections in use", used(program, "connections"), 0)
    # Each process has one thread, and one of ours where it may have to serve.
    wait_until(lambda: used(program, "threads") <= 2 * processes, 2, "the slots of dead threads being free again")
    scene.at_most("slots of threads in use", used(program, "threads"), 2 * processes)
    scene.equal("threads without a slot", int(metrics.sum("profshim_label_overflow_total", family="thread_slot")), 0)
    return metrics


def check_exits(scene, program, wanted):
    """Those that were killed are counted when they are buried."""
    def exits(metrics):
        return {cause: int(count) for cause, count in metrics.by(EXITS, "cause").items()}
    scene.equal("processes that ended", exits(program.metrics_when(lambda metrics: exits(metrics) == wanted, 2)), wanted)


def counted(program):
    return int(program.metrics().sum(DURATIONS))


@test
def eight_workers_are_reloaded_under_load_and_every_request_is_counted(scene):
    reloads = 100 if FULL else 10
    nginx = Nginx(scene, workers=8)
    nginx.program.wait_ready()
    wait_until(lambda: len(nginx.workers()) == 8, 5, "eight workers")
    client = SteadyClient(scene, nginx.port, 8, "/hello")
    for _ in range(reloads):
        before = set(nginx.workers())
        nginx.program.send_signal(signal.SIGHUP)
        wait_until(lambda: len(set(nginx.workers()) - before) >= 8, 20, "new workers")
    wait_until(lambda: len(nginx.workers()) == 8, 20, "the old workers' end")
    answers, broken = client.finish()
    scene.say("%d answers, %d requests that a closing worker did not read" % (answers, broken))
    logged = len(nginx.logged(answers))
    scene.at_least("requests in nginx's log", logged, answers)
    nginx.program.metrics_when(lambda metrics: metrics.sum(DURATIONS) >= logged)
    metrics = check_nothing_is_left(scene, nginx.program, 9)
    scene.equal("requests counted", int(metrics.sum(DURATIONS)), logged)
    check_exits(scene, nginx.program, {"exit": 8 * reloads})


@test
def short_backends_of_postgres_are_counted_and_leave_nothing(scene):
    backends = 10000 if FULL else 300
    postgres = Postgres(scene)
    before = Counted(postgres.program, "postgresql")
    accepted = postgres.program.metrics().sum("profshim_connections_accepted_total", protocol="postgres")
    processes = int(postgres.program.metrics().sum("profshim_processes"))
    done = postgres.pgbench("SELECT 1;\n", "-C", "-c", "4", "-t", str(backends // 4))
    scene.equal("transactions that pgbench counts", done, backends)
    found, failed = before.since()
    scene.equal("operations counted", found, {"SELECT": backends})
    scene.equal("of those that failed", failed, {})
    time.sleep(GAUGES_SECONDS)
    metrics = postgres.program.metrics()
    scene.equal("processes within a second", int(metrics.sum("profshim_processes")), processes)
    scene.equal("open connections", int(metrics.sum("profshim_connections_open")), 0)
    # pgbench asks for the server's version over one more.
    scene.within("connections accepted",
                 metrics.sum("profshim_connections_accepted_total", protocol="postgres") - accepted, backends + 0.5, 0.6)
    scene.equal("places of processes in use", used(postgres.program, "processes"), processes)
    scene.equal("processes that were killed", int(metrics.sum(EXITS, cause="killed")), 0)
    scene.equal("processes without a place", int(metrics.sum("profshim_label_overflow_total", family="process_slot")), 0)
    wait_until(lambda: used(postgres.program, "threads") <= 2 * processes, 2, "the slots of dead threads being free again")


@test
def killed_workers_lose_no_more_than_what_they_were_answering(scene):
    kills = 1000 if FULL else 50
    nginx = Nginx(scene, workers=4)
    nginx.program.wait_ready()
    wait_until(lambda: len(nginx.workers()) == 4, 5, "four workers")
    client = SteadyClient(scene, nginx.port, 8, "/users/1")
    dead = set()
    for _ in range(kills):
        time.sleep(random.uniform(0, 0.02))
        # One that is dead stays a child until its parent has looked at it.
        worker = random.choice(wait_until(lambda: [pid for pid in nginx.workers() if pid not in dead], 5, "a worker"))
        dead.add(worker)
        os.kill(worker, signal.SIGKILL)
    answers, broken = client.finish()
    wait_until(lambda: len(nginx.workers()) == 4, 5, "four workers")
    metrics = check_nothing_is_left(scene, nginx.program, 5)
    logged, found = len(nginx.log_lines()), int(metrics.sum(DURATIONS))
    scene.say("%d kills: %d in nginx's log, %d counted, %d answers read, %d requests without one"
              % (kills, logged, found, answers, broken))
    # nginx sends, we count, nginx logs; a worker may die between any two of these, with one request.
    scene.at_least("requests counted, of those in the log", found, logged)
    scene.at_most("requests counted, of those answered", found, answers)
    scene.at_most("answered and not counted", answers - found, kills)
    scene.at_most("counted and not in the log", found - logged, kills)
    check_exits(scene, nginx.program, {"killed": kills})


FORKS = 1000  # a second
PARENTS = 4


@test
def a_process_for_each_request_is_counted_and_leaves_nothing(scene):
    """Of 1,000 forks a second, each of which answers a request, in the same run in which all of them are counted."""
    count = 30000 if FULL else 1500
    port = free_ports()
    program = scene.start([own_server("many_server"), "parents", str(port), str(PARENTS), "/bin/true"], report_at_exit=1, hz=997)
    program.wait_for_output("ready")
    program.wait_ready()
    ask = [own_server("closing_client"), str(port)]
    began = time.monotonic()
    scene.run_ok([*ask, str(count), "16", "/one"], shim=False, timeout=600)
    rate = count / (time.monotonic() - began)
    scene.at_least("forks a second", rate, FORKS if FULL else FORKS / 4)  # others may have most of the machine for a while
    program.metrics_when(lambda metrics: metrics.sum(DURATIONS) == count)
    metrics = check_nothing_is_left(scene, program, PARENTS)
    scene.equal("requests counted", int(metrics.sum(DURATIONS)), count)
    scene.equal("connections accepted", int(metrics.sum("profshim_connections_accepted_total")), count)
    scene.equal("calls of fork", int(metrics.sum("profshim_calls_total", call="fork")), count + PARENTS - 1)
    scene.equal("processes without a place", int(metrics.sum("profshim_label_overflow_total", family="process_slot")), 0)
    check_exits(scene, program, {"exit": count - count // 10, "exec": count // 10})
    scene.equal("exit code", program.stop(), 0)
    scene.equal("what it answered by its own count", program.stdout().splitlines()[-1], "answered %d" % count)
    scene.check("the last process wrote the report", "in %d requests" % count in program.stderr(), program.stderr()[:300])


@test
def children_that_are_killed_before_they_begin_keep_no_place(scene):
    port = free_ports()
    program = scene.start([own_server("many_server"), "doomed", str(port)], report_at_exit=1)
    program.wait_for_output("ready")
    program.wait_ready()
    client = SteadyClient(scene, port, 4, "/one")
    wait_until(lambda: counted(program) > 300, 20, "some hundred requests")
    answers, broken = client.finish()
    program.metrics_when(lambda metrics: metrics.sum(DURATIONS) == answers)
    metrics = check_nothing_is_left(scene, program, 1)
    scene.equal("requests counted", int(metrics.sum(DURATIONS)), answers)
    forks = int(metrics.sum("profshim_calls_total", call="fork"))
    check_exits(scene, program, {"exit": forks - forks // 10, "killed": forks // 10})
    scene.at_most("requests without an answer, of those whose process was killed", broken, forks // 10)
    scene.equal("exit code", program.stop(), 0)
    scene.check("the last process wrote the report", "in %d requests" % answers in program.stderr(), program.stderr()[:300])


@test
def more_processes_than_there_are_places_for_are_counted_all_the_same(scene):
    # Under a low ceiling there are fewer places.
    crowd, memory = (1100, "32M") if FULL else (300, "1M")
    port = free_ports()
    program = scene.start([own_server("many_server"), "crowd", str(port), str(crowd)], memory=memory)
    program.wait_for_output("ready")
    program.wait_ready()
    places = program.json("/self")["memory"]["tables"]["processes"]["capacity"]
    scene.check("fewer places than processes", places < crowd, places)
    client = SteadyClient(scene, port, 8, "/one")
    wait_until(lambda: counted(program) > 2000, 60, "two thousand requests")
    answers, broken = client.finish()
    metrics = program.metrics_when(lambda metrics: metrics.sum(DURATIONS) == answers)
    scene.equal("requests counted", int(metrics.sum(DURATIONS)), answers)
    scene.equal("requests without an answer", broken, 0)
    scene.equal("profshim_processes", int(metrics.sum("profshim_processes")), places)
    scene.equal("processes without a place", int(metrics.sum("profshim_label_overflow_total", family="process_slot")),
                crowd + 1 - places)
    scene.at_least("threads without a slot", int(metrics.sum("profshim_label_overflow_total", family="thread_slot")), crowd - places)
    program.send_signal(signal.SIGTERM)
    scene.equal("exit code", program.wait(60), 0)
    scene.equal("what it answered by its own count", program.stdout().splitlines()[-1], "answered %d" % answers)
    text = scene.profshim("report")
    scene.check("the report tells of all requests", "in %d requests" % answers in text, text[:300])


class Poll:
    """Asks profshim who it is as often as it answers, and keeps what it said."""

    def __init__(self, program):
        self.program, self.is_ending = program, False
        self.answers = []  # (when, server's pid)
        self.thread = threading.Thread(target=self._run, daemon=True)  # a test that fails does not finish it
        self.thread.start()

    def _run(self):
        while not self.is_ending:
            try:
                pid = self.program.json("/self")["server_pid"]
                self.answers.append((time.monotonic(), pid))
            except (OSError, ValueError, Failure):
                pass
            except Exception:  # http.client's own, of an answer that was cut short
                pass
            time.sleep(0.005)

    def finish(self):
        self.is_ending = True
        self.thread.join()
        return self.answers

    def seconds_until_another(self, dead):
        began = time.monotonic()

        def is_another():
            return any(when > began and pid != dead for when, pid in self.answers[-20:])
        wait_until(is_another, 10, "another than process %d serving" % dead)
        return next(when for when, pid in self.answers if when > began and pid != dead) - began


def alone(found):
    return found if len(found) == 1 else None


def kill_whoever_serves(scene, kills, refused=()):
    port = free_ports()
    argv = [own_server("many_server"), "siblings", str(port), "6"]
    program = start_filtered(scene, refused, REFUSE, argv, "siblings") if refused else scene.start(argv)
    program.wait_for_output("ready")
    program.wait_ready()
    client = SteadyClient(scene, port, 4, "/one")
    poll = Poll(program)
    wait_until(lambda: poll.answers, 5, "an answer of profshim's")
    gaps = []
    for _ in range(kills):
        # A child has its parent's socket until it has closed it, right after the fork.
        (dead,) = wait_until(lambda: alone(listening_pids(program.profiler_port)), 5, "one process listening")
        os.kill(dead, signal.SIGKILL)
        gaps.append(poll.seconds_until_another(dead))
    answers, _ = client.finish()
    pids = [pid for _, pid in poll.finish()]
    scene.at_most("longest time without a server (median %.2f s)" % sorted(gaps)[len(gaps) // 2], max(gaps), TAKE_OVER_SECONDS)
    turns = [pid for i, pid in enumerate(pids) if i == 0 or pids[i - 1] != pid]
    scene.equal("servers, each in one turn", len(turns), len(set(turns)))
    scene.at_least("servers", len(turns), kills + 1)
    metrics = program.metrics_when(lambda metrics: metrics.sum("profshim_processes") == 6 and
                                   not metrics.sum("profshim_connections_open"))
    scene.equal("processes", int(metrics.sum("profshim_processes")), 6)
    found = int(metrics.sum(DURATIONS))
    scene.at_most("requests counted, of those answered", found, answers)
    scene.at_most("answered and not counted", answers - found, kills)
    check_exits(scene, program, {"killed": kills})


@test
def whoever_serves_may_be_killed_over_and_over(scene):
    kill_whoever_serves(scene, 30 if FULL else 6)


@test
def so_may_who_serves_where_our_thread_goes_on_as_another_to_have_descriptors_of_its_own(scene):
    # As in containers of old.
    kill_whoever_serves(scene, 10 if FULL else 2, ["unshare", "close_range", "pidfd_getfd", "kcmp", "process_vm_readv", "perf_event_open"])


@test
def so_may_who_serves_where_our_thread_cannot_fetch_descriptors_of_the_programs(scene):
    kill_whoever_serves(scene, 10 if FULL else 2, ["pidfd_getfd", "kcmp", "process_vm_readv", "perf_event_open"])


def standing_by(program):
    """Processes of the program with a thread of profshim's."""
    found = []
    for pid in living_of_group(program.pid):
        names = []
        for task in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/comm" % (pid, task)) as comm:
                names.append(comm.read().strip())
        if "profshim" in names:
            found.append(pid)
    return found


@test
def when_all_that_stand_by_are_killed_at_once_another_process_serves(scene):
    port = free_ports()
    program = scene.start([own_server("many_server"), "crowd", str(port), "24"])
    program.wait_for_output("ready")
    program.wait_ready()
    client = SteadyClient(scene, port, 4, "/one")
    wait_until(lambda: counted(program) > 500, 20, "some hundred requests")
    time.sleep(0.5)  # who stands by is decided
    victims = standing_by(program)
    scene.at_least("processes that stand by", len(victims), 4)
    scene.at_most("processes that stand by", len(victims), 8)
    poll = Poll(program)
    wait_until(lambda: poll.answers, 5, "an answer of profshim's")
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    found = wait_until(lambda: [when for when, pid in poll.answers if when > began and pid not in victims], 10,
                       "one of the others serving")
    scene.at_most("seconds until another serves", found[0] - began, TAKE_OVER_SECONDS)
    poll.finish()
    client.finish()
    scene.equal("processes", int(program.metrics_when(lambda metrics: metrics.sum("profshim_processes") == 25 - len(victims))
                                 .sum("profshim_processes")), 25 - len(victims))


def export_cpu(program):
    return program.metrics().sum("profshim_overhead_seconds_total", phase="export")


def scrape_cost(program, scrapes=30):
    """CPU seconds of a scrape by profshim's own account, the smallest of a few, and the label sets of the last one."""
    costs = []
    for _ in range(3):
        time.sleep(0.3)  # accounted for at ticks
        before = export_cpu(program)
        for _ in range(scrapes):
            text = program.get_ok("/metrics").text
        time.sleep(0.3)
        costs.append((export_cpu(program) - before) / (scrapes + 1))
    return min(costs), {(name, *sorted(labels.items())) for name, labels, _ in Metrics(text).samples}


@test
def a_scrape_costs_the_same_however_many_processes_have_been(scene):
    count = 10000 if FULL else 600
    port = free_ports()
    program = scene.start([own_server("many_server"), "children", str(port)], hz=0)
    program.wait_for_output("ready")
    program.wait_ready()
    ask = [own_server("closing_client"), str(port)]
    scene.run_ok([*ask, "10", "2", "/one"], shim=False)
    check_nothing_is_left(scene, program, 1)
    few, labels_before = scrape_cost(program)
    scene.run_ok([*ask, str(count), "4", "/one"], shim=False, timeout=600)
    check_nothing_is_left(scene, program, 1)
    many, labels_after = scrape_cost(program)
    scene.say("CPU of a scrape: %.0f us after 10 processes, %.0f us after %d" % (few * 1e6, many * 1e6, count))
    scene.equal("label sets that came with them", labels_after - labels_before, set())
    scene.at_most("CPU of a scrape after many, compared with few", many / few, 1.5)


def fork_often(scene, shim):
    """Of FORKS children, one after the other: fork's own median in us, how many a second, and the CPU time of each in us."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    median_us, _, rate = map(float, scene.run_ok([own_server("many_server"), "cost", str(FORKS)], shim=shim).split())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return median_us, rate, (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / FORKS * 1e6


@test
def what_a_fork_costs_more_is_bounded(scene):
    with_shim, without = [], []
    for _ in range(10 if FULL else 3):
        with_shim.append(fork_often(scene, True))
        without.append(fork_often(scene, False))
    for name, found in (("profshim", with_shim), ("nothing", without)):
        scene.say("with %s: median of fork in us %s; forks a second %s; us of CPU each %s"
                  % (name, *([round(number) for number in column] for column in zip(*found))))
    scene.at_most("what a fork costs more, in us", min(with_shim)[0] - min(without)[0], 250)
    # What the processor does in a second, whoever else wants it.
    scene.at_most("us of CPU of a fork, its child and its end", min(cpu_us for _, _, cpu_us in with_shim), 1e6 / FORKS)
    if FULL:
        scene.at_least("forks a second, where without profshim there are %.0f" % max(rate for _, rate, _ in without),
                       max(rate for _, rate, _ in with_shim), FORKS)


CREATED = struct.Struct("<Q")


def age_session(path, seconds):
    """Makes a dead session's file one of so many seconds ago: wherever its header has a time near now."""
    with open(path, "r+b") as file:
        head = bytearray(file.read(65536))
        now = time.time_ns()
        for at in range(0, len(head) - 8, 8):
            value = CREATED.unpack_from(head, at)[0]
            if abs(value - now) < 3600 * 10**9:
                CREATED.pack_into(head, at, value - seconds * 10**9)
        file.seek(0)
        file.write(head)


def session_files(scene):
    return {name for name in os.listdir(scene.session_dir) if name.endswith(".seg")}


def leave_killed_sessions(scene, count):
    """Names of the files that so many servers left behind that were killed, in their order."""
    names = []
    for number in range(count):
        before = session_files(scene)
        program = scene.start([own_server("signal_server"), "none", str(free_ports())], "killed-%d" % number)
        program.wait_for_output("ready\n")
        program.kill_all()
        names += session_files(scene) - before
    return names


@test
def of_sessions_that_are_over_the_newest_are_kept(scene):
    killed = leave_killed_sessions(scene, 20)
    for number, name in enumerate(killed):
        age_session(os.path.join(scene.session_dir, name), 3600 - number)
    others = scene.write("session/notes.txt", "not a session's file\n")
    old = killed[-3:]
    for name in old:
        age_session(os.path.join(scene.session_dir, name), 8 * 86400)
    living = scene.start([own_server("signal_server"), "none", str(free_ports())], "living")
    living.wait_for_output("ready\n")
    own = session_files(scene) - set(killed)
    scene.equal("files of the session that lives", len(own), 1)
    wanted = set(killed[1:-3]) | own
    wait_until(lambda: session_files(scene) == wanted, 10, "only the newest 16 of the last seven days being left")
    scene.equal("session files", session_files(scene), wanted)
    scene.check("a file of another kind stays", os.path.exists(others))
    listed = scene.profshim("ls").splitlines()[1:]
    scene.equal("sessions listed", len(listed), 17)
    scene.check("the killed ones as killed", sum(line.rstrip().endswith("killed") for line in listed) == 16, listed)
    newest = scene.profshim("report", killed[-4][:-len(".seg")])
    scene.check("and what they counted can be read", "signal_server" in newest, newest[:200])


@test
def sessions_that_are_over_take_no_more_than_128_mib(scene):
    killed = leave_killed_sessions(scene, 8)
    for number, name in enumerate(killed):
        path = os.path.join(scene.session_dir, name)
        age_session(path, 3600 - number)
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.path.getsize(path))
    largest = os.path.getsize(os.path.join(scene.session_dir, killed[0]))
    fit = (128 << 20) // largest
    scene.check("fewer fit than there are", 1 <= fit < len(killed), "%d of %d bytes" % (fit, largest))
    living = scene.start([own_server("signal_server"), "none", str(free_ports())], "living")
    living.wait_for_output("ready\n")
    wait_until(lambda: len(session_files(scene)) == fit + 1, 10, "the oldest sessions being removed")
    scene.check("the newest ones are left", set(killed[-fit:]) <= session_files(scene), session_files(scene))


if __name__ == "__main__":
    run_tests()
