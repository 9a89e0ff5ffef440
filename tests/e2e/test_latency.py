#!/usr/bin/env python3
"""Durations against those that a server logs of its own requests, from 20 us to 1 s; and a download that takes as long as
its reader."""
import collections
import contextlib
import json
import math
import os
import random
import socket
import threading
import time

from harness import FULL, Failure, free_ports, own_server, run_tests, test, wait_until
from real_servers import HttpClient, Nginx

# What the profiler and the log may differ by.
SHARE, NS = 0.05, 5000
# How often a step may be measured: other programs of the machine take the CPU and its caches from this one when they like.
# What is near once in so many times has no error of its own.
ATTEMPTS = 8
BURST = 150  # requests without a pause: the slow log has room for 256 between two turns of the server
# After a pause, and on a new connection, nothing is in the caches of the CPU: neither the server's nor the profiler's own
# code and memory, whose some 10 us then stand between the clocks of the two. These requests warm both up.
WARMING = 4
DOWNLOAD_BYTES = 200 * 1000 * 1000
DOWNLOAD_SECONDS = 2

# Name, microseconds before the first byte, after it, how they pass, how many of them, over how many connections.
Step = collections.namedtuple("Step", "name first rest how count connections")
STEPS = [
    Step("twenty", 20, 0, "busy", 300, 1),
    Step("fifty", 25, 25, "busy", 300, 1),
    Step("hundreds", 100, 300, "busy", 300, 1),
    Step("one", 200, 800, "sleep", 300, 1),
    Step("three", 3000, 0, "busy", 150, 1),
    Step("ten", 5000, 5000, "sleep", 200, 4),
    Step("thirty", 30000, 0, "sleep", 96, 8),
    Step("threehundred", 1000, 299000, "sleep", 100, 25),
    Step("second", 900000, 100000, "sleep", 100, 100),
]
# Around each step's middle.
BUCKETS = "0.00002,0.000025,0.00003,0.00005,0.000055,0.00006,0.00007,0.00008,0.0001,0.0004,0.00042,0.00045,0.001,0.0011," \
          "0.0012,0.003,0.0032,0.0035,0.01,0.0105,0.011,0.03,0.0305,0.032,0.3,0.301,0.305,1,1.01,1.05"

Logged = collections.namedtuple("Logged", "name total_ns first_ns request_bytes response_bytes id preemptions")


class ClockedServer:
    def __init__(self, scene, file="/dev/null", **settings):
        self.port = free_ports()
        self.log = scene.path("clocked.log")
        self.program = scene.start([own_server("clocked_server"), str(self.port), self.log, file], "clocked", **settings)
        self.program.wait_for_port(self.port)
        self.program.wait_ready()

    def logged(self, count, seconds=10):
        def has_come():
            with open(self.log) as log:
                lines = log.read().splitlines()
            return len(lines) >= count and lines
        lines = wait_until(has_come, seconds, "the server logging %d requests" % count)
        return [Logged(*(int(field) if field.isdigit() else field for field in line.split("\t"))) for line in lines]


def quantile(values, share):
    """By nearest rank."""
    values = sorted(values)
    return values[max(0, math.ceil(share * len(values)) - 1)]


def tolerance(ns):
    return max(SHARE * ns, NS)


def check_ns(scene, what, got_ns, wanted_ns):
    scene.within(what, got_ns / 1000, wanted_ns / 1000, tolerance(wanted_ns) / 1000, " us")


def is_short(step):
    return step.first + step.rest < 1000


def ask_for(step, client, number, request_id, generator):
    """One request of a step, now with a body in several pieces, now answered in some."""
    spread = generator.uniform(0.8, 1.2)
    query = "first=%d&rest=%d&how=%s&pieces=%d&bytes=%d" % (step.first * spread, step.rest * spread, step.how, number % 4 + 1,
                                                           number % 3 * 3000 + 1000)
    body = b"b" * (number % 5 * 1000)
    client.request("POST", "/%s?%s" % (step.name, query), ["Content-Length: %d" % len(body), "X-Request-ID: " + request_id],
                   body[:len(body) // 2])
    if body:
        client.send(body[len(body) // 2:])
    if client.answer("POST")[0] != 200:
        raise Failure("no 200 for " + query)


def warming_of(step):
    return WARMING if is_short(step) else 0


def warm_up(step, client):
    for _ in range(warming_of(step)):
        client.ask("POST", "/warm?first=20&bytes=100", ["Content-Length: 2", "X-Request-ID: warm"], b"ok")


def run_step(port, step, attempt):
    failures = []

    def run_connection(share, seed):
        generator = random.Random(seed)
        client = HttpClient(port)
        try:
            for number in range(share):
                if number % BURST == 0:  # a new connection, and the slow log keeps up
                    time.sleep(0.4)
                    client.close()
                    client = HttpClient(port)
                    warm_up(step, client)
                ask_for(step, client, number, "%s.%d.%d.%d" % (step.name, attempt, seed, number), generator)
        except Exception as failure:  # told by the thread that waits
            failures.append(failure)
        client.close()
    threads = [threading.Thread(target=run_connection, args=(step.count // step.connections, number))
               for number in range(step.connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def slow_log(scene, count):
    """What it tells of each request, once all are told."""
    def has_come():
        try:
            with open(scene.path("slow.jsonl")) as log:
                lines = log.read().splitlines()
        except FileNotFoundError:
            return None
        return len(lines) >= count and lines
    return [json.loads(line) for line in wait_until(has_come, 10, "a line in the slow log for each of %d requests" % count)]


def ns_of(request, member):
    return round(request[member] * 1e9)


MEMBERS = (("duration_seconds", "total_ns"), ("time_to_first_byte_seconds", "first_ns"))


def quantiles_of(told, logged):
    """{what: (by profshim in ns, by the log in ns)}"""
    return {"p%d of %s" % (share * 100, member): (quantile([ns_of(request, member) for request in told], share),
                                                  quantile([getattr(line, field) for line in logged], share))
            for member, field in MEMBERS for share in (0.5, 0.99)}


def is_nearer(one, other):
    return other is None or abs(one[0] - one[1]) - tolerance(one[1]) < abs(other[0] - other[1]) - tolerance(other[1])


def are_near(quantiles):
    return all(abs(got - wanted) <= tolerance(wanted) for got, wanted in quantiles.values())


@contextlib.contextmanager
def kept_apart(server):
    """The server on one CPU and the client on the others: it would take the CPU from it in the very moment of an answer."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) > 1:
        os.sched_setaffinity(server.program.pid, cpus[:1])
        os.sched_setaffinity(0, cpus[1:])
    yield
    os.sched_setaffinity(0, cpus)


def measure(scene, server, step, asked):
    """Runs a step until each of its quantiles was that of the log, and tells them. How many requests that took, warming included.

    Of those below a millisecond, left out on both sides are requests whose thread may have lost the CPU between the
    profiler's clock and the server's own, as the server knows: what those took depends on who looks."""
    nearest = {}
    for attempt in range(1, ATTEMPTS + 1):
        run_step(server.port, step, attempt)
        bursts = math.ceil(step.count / step.connections / BURST) * step.connections
        count = (step.count + bursts * warming_of(step)) * attempt
        prefix = "%s.%d." % (step.name, attempt)
        logged = [line for line in server.logged(asked + count) if line.id.startswith(prefix)]
        told = {request["request_id"]: request for request in slow_log(scene, asked + count)}
        if set(line.id for line in logged) != set(key for key in told if key.startswith(prefix)) or len(logged) != step.count:
            raise Failure("%s: other requests are told than were made" % step.name)
        undisturbed = [line for line in logged if not line.preemptions] if is_short(step) else logged
        quantiles = quantiles_of([told[line.id] for line in undisturbed], undisturbed)
        scene.say("%s: attempt %d, %d of %d requests: %s" % (
            step.name, attempt, len(undisturbed), len(logged),
            ", ".join("%s %.1f us (log: %.1f)" % (what, got / 1000, wanted / 1000) for what, (got, wanted) in quantiles.items())))
        nearest.update({what: both for what, both in quantiles.items() if is_nearer(both, nearest.get(what))})
        if are_near(nearest):
            break
    for what, (got, wanted) in nearest.items():
        check_ns(scene, "%s: %s" % (step.name, what), got, wanted)
    scene.at_least("%s: requests compared" % step.name, len(undisturbed), len(logged) / 10)
    return count


def check_histograms(scene, step, metrics, told):
    """They say of the same requests the same to the nanosecond."""
    for name, labels, member in (
            ("http_server_request_duration_seconds", {"http_route": "/" + step.name}, "duration_seconds"),
            ("profshim_time_to_first_byte_seconds", {"endpoint": "POST /" + step.name}, "time_to_first_byte_seconds")):
        durations = [ns_of(request, member) for request in told]
        got = {bound: int(count) for bound, count in metrics.by(name + "_bucket", "le", **labels).items()}
        wanted = {bound: sum(ns <= float(bound) * 1e9 for ns in durations) for bound in got}
        scene.equal("%s: buckets of %s" % (step.name, name), got, wanted)
        scene.equal("%s: count" % step.name, int(metrics.sum(name + "_count", **labels)), len(durations))
        scene.equal("%s: nanoseconds" % step.name, round(metrics.sum(name + "_sum", **labels) * 1e9), sum(durations))


def check_sizes(scene, step, metrics, logged):
    for name, wanted in (("http_server_request_body_size_bytes", sum(line.request_bytes for line in logged)),
                         ("http_server_response_body_size_bytes", sum(line.response_bytes for line in logged))):
        scene.equal("%s: %s" % (step.name, name), int(metrics.sum(name + "_sum", http_route="/" + step.name)), wanted)


@test
def durations_are_those_that_the_server_logs_from_20_us_to_1_s(scene):
    # Everything is slow here, so that each request is told by itself, with its exact duration.
    server = ClockedServer(scene, hz=0, slow="1us", slow_log=scene.path("slow.jsonl"), buckets=BUCKETS,
                           routes="/warm," + ",".join("/" + step.name for step in STEPS))
    count = 0
    with kept_apart(server):
        for step in STEPS:
            count += measure(scene, server, step, count)
    logged, told = server.logged(count), slow_log(scene, count)
    metrics = server.program.metrics()
    scene.equal("slow requests that came too fast for the log", int(metrics.sum("profshim_slow_requests_unlogged_total")), 0)
    for step in STEPS:
        check_histograms(scene, step, metrics, [request for request in told if request["endpoint"] == "POST /" + step.name])
        check_sizes(scene, step, metrics, [line for line in logged if line.name == "/" + step.name])


@test
def a_response_without_length_lasts_to_its_last_byte_however_late_the_server_closes(scene):
    server = ClockedServer(scene, hz=0)
    for _ in range(10):
        client = HttpClient(server.port)
        status, _, body = client.ask("GET", "/unframed?first=2000&how=sleep&bytes=100&close=100")
        client.close()
        if (status, len(body)) != (200, 100):
            raise Failure("%d with %d bytes" % (status, len(body)))
    logged = server.logged(10)
    metrics = server.program.metrics_when(
        lambda metrics: metrics.sum("http_server_request_duration_seconds_count", http_route="/unframed") == 10)
    check_ns(scene, "mean", metrics.sum("http_server_request_duration_seconds_sum", http_route="/unframed") * 1e9 / 10,
             sum(line.total_ns for line in logged) / 10)


def download_slowly(port, target, seconds):
    """GETs over a connection that reads evenly for so many seconds; seconds until the first and until the last byte."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.connect(("127.0.0.1", port))
    client.settimeout(10)
    began = time.monotonic()
    client.sendall(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % target.encode())
    taken, buffer = 0, bytearray(1 << 16)
    n = client.recv_into(buffer)
    first = time.monotonic()
    taken -= buffer.index(b"\r\n\r\n") + 4  # the head comes in one piece
    while taken < DOWNLOAD_BYTES and n:
        taken += n
        n = client.recv_into(buffer) if taken < DOWNLOAD_BYTES else 0
        ended = time.monotonic()
        ahead = taken / DOWNLOAD_BYTES * seconds - (ended - began)
        if ahead > 0.001:
            time.sleep(ahead)
    client.close()
    if taken != DOWNLOAD_BYTES:
        raise Failure("%d bytes came" % taken)
    return first - began, ended - began


def make_file(path):
    with open(path, "wb") as file:
        file.truncate(DOWNLOAD_BYTES)
    os.chmod(path, 0o644)
    return path


def download_of_metrics(program, endpoint):
    route = endpoint.split(" ")[1]
    durations = "http_server_request_duration_seconds"
    metrics = program.metrics_when(lambda metrics: metrics.sum(durations + "_count", http_route=route) == 1)
    return (metrics.sum(durations + "_sum", http_route=route),
            metrics.sum("profshim_time_to_first_byte_seconds_sum", endpoint=endpoint),
            int(metrics.sum("http_server_response_body_size_bytes_sum", http_route=route)))


@test
def a_download_by_sendfile_lasts_until_the_last_send_returned(scene):
    server = ClockedServer(scene, file=make_file(scene.path("large")), hz=0)
    download_slowly(server.port, "/large?file=1&bytes=%d" % DOWNLOAD_BYTES, DOWNLOAD_SECONDS * (10 if FULL else 1))
    logged = server.logged(1)[0]
    seconds, first, size = download_of_metrics(server.program, "GET /large")
    scene.equal("bytes", size, DOWNLOAD_BYTES)
    check_ns(scene, "duration", seconds * 1e9, logged.total_ns)
    scene.at_least("duration", seconds, DOWNLOAD_SECONDS * 0.9, " s")
    scene.at_most("time to the first byte", first, 0.1, " s")


@test
def a_download_from_nginx_lasts_as_long_as_its_reader(scene):
    nginx = Nginx(scene, hz=0)
    nginx.program.wait_ready()
    make_file(scene.path("www/files/huge.bin"))
    first_seen, seen = download_slowly(nginx.port, "/files/huge.bin", DOWNLOAD_SECONDS * (10 if FULL else 1))
    seconds, first, size = download_of_metrics(nginx.program, "GET /files/huge.bin")
    scene.equal("bytes", size, DOWNLOAD_BYTES)
    # What lies in the kernel's buffers when the last send returns is some megabytes at most.
    scene.within("duration", seconds, seen, 0.05 * seen, " s")
    scene.at_most("time to the first byte", first, min(0.1, first_seen), " s")


if __name__ == "__main__":
    run_tests()
