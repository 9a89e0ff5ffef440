#!/usr/bin/env python3
"""CPU time goes to whom it belongs: endpoints and functions whose true shares are known because they are measured."""
import http.client
import itertools
import os
import random
import re
import socket
import statistics
import threading
import urllib.parse

from harness import FULL, Failure, children_of, free_ports, own_server, report_functions, run_tests, test, wait_until
from real_servers import Nginx

ENDPOINT_POINTS = 3.0
WRONG_PERCENT = 2.0
FUNCTION_POINTS = 2.0
FUNCTION_SAMPLES = 50000 if FULL else 5000
# Samples are taken at the kernel's ticks, every 4 ms where HZ is 250, whatever their weight. So short requests need many
# of them for the same precision: the long form has them, the short form has requests that last several ticks. And who
# waits for a processor gets it at a tick: what is short is then over before the next one sees it. So the servers run
# before all others where that is allowed, no more threads at once than there are processors, and never short of work.
UNIT_US, CPU_SECONDS = (300, 60) if FULL else (3000, 3)
CPU = "profshim_endpoint_cpu_seconds_total"
NAMES = ("light", "heavy", "left", "right")
PAIRS = (("heavy", "light", 1000 / 11), ("left", "right", 50.0))  # what they cost of both together, in percent


class Load:
    """Connections that ask for all endpoints, in an order of their own each, until they are told to stop."""

    def __init__(self, port, connections, depth=1):
        self.port, self.depth, self.is_over, self.problems = port, depth, False, []
        self.threads = [threading.Thread(target=self._ask, args=(seed,)) for seed in range(connections)]
        for thread in self.threads:
            thread.start()

    def _ask(self, seed):
        order = random.Random(seed)
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
                while not self.is_over:
                    self._ask_each(connection, order.sample(NAMES, len(NAMES)))
        except Exception as problem:  # told by stop(), on the test's own thread
            self.problems.append(problem)

    def _ask_each(self, connection, names):
        for first in range(0, len(names), self.depth):
            batch = names[first:first + self.depth]
            connection.sendall(b"".join(b"GET /%s HTTP/1.1\r\nHost: test\r\n\r\n" % name.encode() for name in batch))
            answers = b""
            while answers.count(b"\r\n\r\nok\n") < len(batch):
                more = connection.recv(65536)
                if not more:
                    raise Failure("a connection ended after %.200r" % answers)
                answers += more
            if answers.count(b"HTTP/1.1 200 OK\r\n") != len(batch):
                raise Failure("answers to %s: %.300r" % (batch, answers))

    def stop(self):
        self.is_over = True
        for thread in self.threads:
            thread.join()
        if self.problems:
            raise self.problems[0]


class Upstream:
    """A server in this process that answers at once, a thread for each connection."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:  # closed: the test is over
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    @staticmethod
    def _serve(connection):
        with connection:
            while connection.recv(4096):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def burnt(program, endpoint):
    """{name: CPU seconds that its function burnt} of what was credited to an endpoint of profshim's."""
    report = program.json("/report?top=0&format=json&endpoint=" + urllib.parse.quote(endpoint))
    times = {row["function"]: row["cumtime_seconds"] for row in report["rows"]}
    return {name: times.get("burn_" + name, 0.0) for name in NAMES}


def at_once(scene):
    """What starts a program so that it never waits for a processor while there is one without such a program on it."""
    command = ["chrt", "--fifo", "1"]
    if scene.run([*command, "true"], shim=False).returncode == 0:
        return command
    scene.say("not allowed to go before others: only a machine that does nothing else gives exact shares")
    return []


def serve_under_load(scene, argv, port, connections, depth, cpu_seconds):
    """A program that has spent so much CPU time on requests, and is idle now."""
    program = scene.start(at_once(scene) + argv, hz=1000)
    program.wait_for_output("ready\n")
    program.wait_ready()
    # Its own threads go before profshim's, which would make them under load when all are idle for a moment.
    wait_until(lambda: "until its table is made" not in program.get_ok("/self").text, 10, "tables for unwinding")
    load = Load(port, connections, depth)
    try:
        program.metrics_when(lambda metrics: metrics.sum(CPU) >= cpu_seconds, seconds=600 if FULL else 60)
    finally:
        load.stop()
    return program


def check_on_endpoints(scene, program, spent, least_share=95.0):
    """What the functions burnt is on the endpoints that they burnt it for."""
    by_endpoint = {name: burnt(program, "GET /" + name) for name in NAMES}
    right = sum(by_endpoint[name][name] for name in NAMES)
    wrong = sum(by_endpoint[a][b] for a, b in itertools.permutations(NAMES, 2))
    nowhere = sum(sum(burnt(program, name).values()) for name in ("_background", "_idle") if name in spent)
    total = right + wrong + nowhere
    scene.say("on endpoints, by function: %s" % {name: {f: round(s, 3) for f, s in row.items()}
                                                 for name, row in by_endpoint.items()})
    scene.at_most("samples of the handlers on the wrong endpoint", 100 * wrong / total, WRONG_PERCENT, " %")
    scene.say("samples of the handlers on no endpoint: %.2f %%" % (100 * nowhere / total))
    scene.at_least("samples of the handlers on their own endpoint", 100 * right / total, least_share, " %")


def check_shares(scene, spent, true_ns):
    """What profshim says that the endpoints cost, beside what they really cost."""
    for one, other, share in PAIRS:
        true_pair, pair = true_ns[one] + true_ns[other], spent.get(one, 0) + spent.get(other, 0)
        scene.say("by the server's own clocks /%s took %.2f %% of /%s and /%s" %
                  (one, 100 * true_ns[one] / true_pair, one, other))
        scene.within("and that is about as it was made", 100 * true_ns[one] / true_pair, share, 4, " %")
        scene.within("share of /%s" % one, 100 * spent.get(one, 0) / pair, 100 * true_ns[one] / true_pair, ENDPOINT_POINTS,
                     " %")
    scene.within("CPU seconds on endpoints as a share of what the server measured",
                 100 * sum(spent.get(name, 0) for name in NAMES) / (sum(true_ns.values()) / 1e9), 100, 5, " %")


def true_times(program):
    """What the server prints at its end: {endpoint: CPU nanoseconds}."""
    return {name: int(ns) for name, _, ns in (line.split() for line in program.stdout().splitlines()[1:])}


def run_shape(scene, shape, threads=2, connections=2, depth=1, upstream=False, cpu_seconds=CPU_SECONDS):
    """The server, still running, and what profshim says that its endpoints cost."""
    port, asked = free_ports(), Upstream() if upstream else None
    argv = [own_server("ratio_server"), shape, str(port), str(threads), str(UNIT_US)]
    try:
        argv += [str(asked.port)] if asked else []
        program = serve_under_load(scene, argv, port, connections, depth, cpu_seconds)
    finally:
        if asked:
            asked.close()
    metrics = program.metrics()
    spent = {name.replace("GET /", ""): seconds for name, seconds in metrics.by(CPU, "endpoint").items()}
    scene.say("CPU seconds by profshim: %s" % spent)
    scene.equal("samples dropped", metrics.by("profshim_samples_dropped_total", "reason"), {})
    return program, spent


def check_shape(scene, *shape, **load):
    program, spent = run_shape(scene, *shape, **load)
    check_on_endpoints(scene, program, spent)
    scene.equal("exit code", program.stop(), 0)
    check_shares(scene, spent, true_times(program))


@test
def a_thread_for_each_connection(scene):
    check_shape(scene, "threads")


@test
def a_thread_for_each_connection_that_asks_an_upstream_in_the_middle(scene):
    check_shape(scene, "threads", upstream=True)


@test
def an_event_loop_with_64_pipelining_connections(scene):
    check_shape(scene, "loops", threads=1, connections=64, depth=4)  # the clients need the other processor


@test
def an_acceptor_that_hands_connections_to_workers(scene):
    check_shape(scene, "acceptor", connections=8)


@test
def workers_that_answer_what_another_thread_has_read(scene):
    check_shape(scene, "workers", connections=8)


@test
def workers_that_are_woken_by_an_eventfd_and_ask_an_upstream(scene):
    check_shape(scene, "eventfd", connections=8, upstream=True)


@test
def threads_made_for_a_request_work_for_it(scene):
    """Their shares are not judged: of a thread nothing is seen that it does after its last tick."""
    for shape in ("spawn", "helpers"):
        program, spent = run_shape(scene, shape, cpu_seconds=CPU_SECONDS / 3)
        check_on_endpoints(scene, program, spent)
        scene.equal("exit code", program.stop(), 0)


@test
def workers_that_touch_no_socket_work_for_no_endpoint(scene):
    program, spent = run_shape(scene, "returned", connections=8, cpu_seconds=CPU_SECONDS / 3)
    check_on_endpoints(scene, program, spent, least_share=0.0)
    scene.at_least("what they burnt in the background", 100 * sum(burnt(program, "_background").values()) /
                   sum(spent.values()), 95, " %")
    report = program.get_ok("/report").text
    scene.check("the report shows it", re.search(r" (9\d|100)\.\d% .* _background$", report, re.MULTILINE), report)
    scene.equal("exit code", program.stop(), 0)


# What nginx packs with gzip, in bytes: to light stands heavy as 10 to 1, left and right are alike.
FILES = {"light": 300000, "heavy": 3000000, "left": 1500000, "right": 1500000}


class NginxLoad:
    """Asks nginx for files, and reads each answer to its end."""

    def __init__(self, port):
        self.port = port
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, path):
        self.connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
        response = self.connection.getresponse()
        if response.status != 200 or not response.read():
            raise Failure("GET %s gave %d" % (path, response.status))

    def ask_in_threads(self, paths, connections):
        """All of paths, dealt out to so many connections."""
        dealt, problems = [paths[i::connections] for i in range(connections)], []

        def ask_dealt(mine):
            try:
                load = NginxLoad(self.port)
                for path in mine:
                    load.ask(path)
                load.connection.close()
            except Exception as problem:  # told below, on the test's own thread
                problems.append(problem)
        threads = [threading.Thread(target=ask_dealt, args=(mine,)) for mine in dealt]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if problems:
            raise problems[0]


def cpu_ns(pids):
    """CPU time of these processes' first threads, as the scheduler counts it."""
    total = 0
    for pid in pids:
        with open("/proc/%d/task/%d/schedstat" % (pid, pid)) as file:
            total += int(file.read().split()[0])
    return total


def nginx_with_files(scene):
    """nginx, its workers, and the paths of FILES and of one more file that is not packed but searched."""
    words = ["%x" % random.Random(n).getrandbits(28) for n in range(3000)]
    paths = {name: "/packed/%s.txt" % name for name in FILES}
    paths["marked"] = "/marked/words.txt"
    nginx = Nginx(scene, hz=1000, routes=",".join(paths.values()))
    text = " ".join(random.Random(1).choices(words, k=400000))
    for name, length in FILES.items():
        scene.write("www/packed/%s.txt" % name, text[:length])
    scene.write("www/marked/words.txt", "a word and another\n" * 1500)
    nginx.program.wait_ready()
    workers = children_of(nginx.program.pid)
    if at_once(scene):
        for pid in workers:
            os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))
    return nginx, workers, paths


def costs_alone(load, workers, paths, times, rounds):
    """{name: CPU nanoseconds of one request}, each measured while nothing else is asked for. A processor is not equally
    fast at all times, so each has its turn in every round, and the median of the rounds counts."""
    costs = {name: [] for name in paths}
    for path in paths.values():
        load.ask(path)
    for _ in range(rounds):
        for name, path in paths.items():
            before = cpu_ns(workers)
            load.ask_in_threads([path] * times[name], 2)
            costs[name].append((cpu_ns(workers) - before) / times[name])
    return {name: statistics.median(of_rounds) for name, of_rounds in costs.items()}


@test
def nginx_with_files_of_known_cost(scene):
    nginx, workers, paths = nginx_with_files(scene)
    load, factor = NginxLoad(nginx.port), 20 if FULL else 1
    costs = costs_alone(load, workers, paths, {"light": 20, "heavy": 2, "left": 4, "right": 4, "marked": 6}, rounds=7)
    scene.say("alone, in ms of CPU a request: %s" % {name: round(ns / 1e6, 3) for name, ns in costs.items()})
    before = nginx.program.metrics()
    order = [path for name, path in paths.items() for _ in range(70 * factor)]
    random.Random(2).shuffle(order)
    load.ask_in_threads(order, 8)
    after = nginx.program.metrics()
    spent = {name: after.sum(CPU, endpoint="GET " + path) - before.sum(CPU, endpoint="GET " + path)
             for name, path in paths.items()}
    scene.say("CPU seconds by profshim: %s" % {name: round(seconds, 3) for name, seconds in spent.items()})
    for one, other in (("heavy", "light"), ("left", "right")):
        scene.within("share of /%s with /%s" % (one, other), 100 * spent[one] / (spent[one] + spent[other]),
                     100 * costs[one] / (costs[one] + costs[other]), ENDPOINT_POINTS, " %")
    wrong = packing_seconds(nginx.program, paths["marked"])
    total = sum(packing_seconds(nginx.program, path) for path in paths.values())
    scene.at_most("samples of packing on an endpoint that packs nothing", 100 * wrong / total, WRONG_PERCENT, " %")
    outside = sum(after.by(CPU, "endpoint").get(name, 0) for name in ("_background", "_idle"))
    scene.say("on no endpoint: %.2f %% of all" % (100 * outside / after.sum(CPU)))


def packing_seconds(program, path):
    """CPU seconds in zlib on behalf of an endpoint."""
    report = program.json("/report?top=0&by=module&format=json&endpoint=" + urllib.parse.quote("GET " + path))
    return sum(row["tottime_seconds"] for row in report["rows"] if row["module"].startswith("libz."))


def true_shares(output):
    """{function: (own, cumulative)} in percent, from what cpu_shares measured; run_round is all of it."""
    own_ns = {name: int(ns) for name, _, ns in (line.split() for line in output.splitlines())}
    total = sum(own_ns.values())
    own = {name: 100 * ns / total for name, ns in own_ns.items()}
    shares = {name: (share, share) for name, share in own.items()}
    shares["spend_outer_tenth"] = (own["spend_outer_tenth"], own["spend_outer_tenth"] + own["spend_inner_tenth"])
    shares["run_round"] = (0.0, 100.0)
    return shares


@test
def functions_get_their_own_and_cumulative_shares_and_recursion_counts_once(scene):
    path = scene.path("report")
    # Timers give at most 250 samples a second on a kernel of HZ=250, whatever their weight.
    result = scene.run([own_server("cpu_shares"), "2", "200" if FULL else "22"], hz=1000, report=path, report_at_exit=1,
                       top=1000, timeout=600)
    scene.equal("exit code and stderr", (result.returncode, result.stderr), (0, b""))
    with open(path) as report:
        text = report.read()
    scene.say("\n".join(text.splitlines()[:16]))
    rows, shares = report_functions(text), true_shares(result.stdout.decode())
    total = sum(row["tottime"] for row in rows.values())
    for name, (own, cumulative) in sorted(shares.items()):
        if name not in rows:
            raise Failure("%s is not in the report: %s" % (name, sorted(rows)))
        scene.within("tottime of " + name, 100 * rows[name]["tottime"] / total, own, FUNCTION_POINTS, " %")
        scene.within("cumtime of " + name, 100 * rows[name]["cumtime"] / total, cumulative, FUNCTION_POINTS, " %")
        scene.check("%s has its file and line" % name, rows[name]["where"].startswith("cpu_shares.c:"),
                    rows[name]["where"])
    recursion = rows["spend_recursively"]
    scene.check("ncalls of the recursion are total/primitive", recursion["ncalls"] > recursion["primitive"],
                "%d/%d" % (recursion["ncalls"], recursion["primitive"]))
    samples = scene.profshim("report", "--top=1")
    scene.say(samples.splitlines()[0])
    scene.at_least("samples", int(samples.split(" samples")[0].split()[-1]), FUNCTION_SAMPLES)


if __name__ == "__main__":
    run_tests()
