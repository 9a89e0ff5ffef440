#!/usr/bin/env python3
"""gRPC in C++, both its ends: every call is counted by its method and status, at 1, 10 and 100 streams at once, whichever
of gRPC's threads read and write the one connection; and the CPU time goes to the method that spent it."""
import collections
import subprocess
import urllib.parse

from harness import FULL, free_ports, own_server, requests_wanted, run_tests, test
from http2_servers import make_certificate

STREAMS = (1, 10, 100)
SERVED = "rpc_server_call_duration_seconds_count"
ASKED = "rpc_client_call_duration_seconds_count"
CODES = ("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
         "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
         "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED")

# What is called: kind, method, message, and the code that each such call must end with.
CALLS = [("unary", "Get", "hello", 0), ("list", "List", "5", 0), ("sum", "Sum", "1", 0), ("talk", "Talk", "hello", 0),
         ("cancel", "Talk", "hello", 1), ("unary", "None", "x", 12)]
CALLS += [("unary", "Fail", str(code), code) for code in range(1, len(CODES)) if code != 12]


class Server:
    """grpc_server; with files for TLS if there are any."""

    def __init__(self, scene, how, unit_us=0, files=(), **settings):
        self.scene, self.port = scene, free_ports()
        self.program = scene.start([own_server("grpc_server"), how, str(self.port), str(unit_us), *files], "grpc_server",
                                   stdin=subprocess.PIPE, **settings)
        self.program.wait_for_output("ready\n")
        if settings.get("shim", True):
            self.program.wait_ready()

    def call(self, streams, count, calls, certificate="-", **settings):
        """A client that makes count calls of each, and was told the code that each must have. It waits for its end."""
        methods = [word for kind, method, message, _ in calls for word in (kind, "/test.Shop/" + method, message)]
        client = self.scene.start([own_server("grpc_client"), str(self.port), certificate, str(streams), str(count), *methods],
                                  stdin=subprocess.PIPE, **settings)
        client.wait_for_output("done\n", 600)
        wanted = "".join("%s /test.Shop/%s %d %d\n" % (kind, method, code, count) for kind, method, _, code in calls)
        self.scene.equal("what the client was told at %d streams" % streams, client.stdout(), wanted + "done\n")
        return client


def wanted_of(calls, count):
    """{(method, code): how many} as it must be counted; a method that does not exist makes no endpoint."""
    wanted = collections.Counter()
    for kind, method, _, code in calls:
        wanted["_OTHER" if method == "None" else "test.Shop/" + method, CODES[code]] += count
        wanted["test.Shop/Last", "OK"] += kind == "cancel"
    return wanted


def as_counted(wanted):
    return {key: float(count) for key, count in wanted.items() if count}


def check_nothing_lost(scene, metrics):
    for family in ("profshim_requests_lost_total", "profshim_unclassified_connections_total"):
        scene.equal(family, metrics.sum(family), 0.0)


def call_everything(scene, how, files=()):
    """Each of CALLS at each number of streams."""
    server = Server(scene, how, files=files)
    wanted, count = collections.Counter(), requests_wanted(300)
    for streams in STREAMS:
        server.call(streams, count, CALLS, *files[:1], shim=False)
        wanted += wanted_of(CALLS, count)
    total = sum(wanted.values())
    metrics = server.program.metrics_when(lambda found: found.sum(SERVED) >= total)
    scene.equal("%d calls" % total, metrics.by(SERVED, "rpc_method", "rpc_response_status_code"), as_counted(wanted))
    scene.equal("connections", metrics.by("profshim_connections_accepted_total", "protocol"), {"http2": float(len(STREAMS))})
    scene.equal("requests of HTTP", metrics.sum("http_server_request_duration_seconds_count"), 0.0)
    check_nothing_lost(scene, metrics)


@test
def a_server_with_threads_counts_each_call(scene):
    call_everything(scene, "threads")


@test
def a_server_with_callbacks_counts_each_call(scene):
    call_everything(scene, "callbacks")


@test
def a_server_over_tls_counts_each_call(scene):
    call_everything(scene, "threads", make_certificate(scene))


@test
def many_calls_at_100_streams(scene):
    server = Server(scene, "threads")
    count = 1000000 if FULL else requests_wanted(20000)
    calls = [("unary", "Get", "hello", 0)]
    server.call(100, count, calls, shim=False)
    metrics = server.program.metrics_when(lambda found: found.sum(SERVED) >= count)
    scene.equal("calls", metrics.by(SERVED, "rpc_method", "rpc_response_status_code"), as_counted(wanted_of(calls, count)))
    check_nothing_lost(scene, metrics)


@test
def the_client_counts_what_it_asks(scene):
    server = Server(scene, "threads", shim=False)
    count = requests_wanted(300)
    for streams in STREAMS:
        client = server.call(streams, count, CALLS)
        wanted = wanted_of(CALLS, count)
        metrics = client.metrics_when(lambda found: found.sum(ASKED) >= sum(wanted.values()))
        scene.equal("calls at %d streams" % streams, metrics.by(ASKED, "rpc_method", "rpc_response_status_code"),
                    as_counted(wanted))
        check_nothing_lost(scene, metrics)


def own_seconds(server, endpoint, functions):
    """{function: own CPU seconds} of an endpoint."""
    report = server.program.json("/report?format=json&top=1000&endpoint=" + urllib.parse.quote(endpoint))
    return {row["function"]: row["tottime"] for row in report["functions"] if row["function"] in functions}


def check_shares(scene, how):
    """Calls of two methods whose costs stand 10 to 1, mixed on one connection."""
    server = Server(scene, how, unit_us=300, hz=1000)
    server.call(8, 40000 if FULL else 2000, [("both", "", "x", 0)], shim=False)
    metrics = server.program.metrics()
    found = metrics.by("profshim_endpoint_cpu_seconds_total", "endpoint")
    scene.say("by profshim: %s CPU seconds" % found)
    names = {"light": "grpc test.Shop/Light", "heavy": "grpc test.Shop/Heavy"}
    functions = {name: own_seconds(server, endpoint, ("serve_light", "serve_heavy")) for name, endpoint in names.items()}
    scene.say("functions by endpoint: %s" % functions)
    server.program.process.stdin.close()
    scene.equal("exit code", server.program.wait(), 0)
    true_ns = {name: int(ns) for name, _, ns in (line.split() for line in server.program.stdout().splitlines()[1:])}
    on_endpoints = {name: found.get(endpoint, 0) for name, endpoint in names.items()}
    total, true_total = sum(on_endpoints.values()), sum(true_ns.values())
    for name in names:
        scene.within("share of " + name, 100 * on_endpoints[name] / total, 100 * true_ns[name] / true_total, 3.0, " %")
    burnt = sum(sum(seconds.values()) for seconds in functions.values())
    wrong = functions["light"].get("serve_heavy", 0) + functions["heavy"].get("serve_light", 0)
    scene.at_most("burnt on the wrong endpoint", 100 * wrong / burnt, 2, " %")
    scene.at_least("burnt on an endpoint", 100 * burnt / (true_total / 1e9), 95, " %")
    check_nothing_lost(scene, metrics)


@test
def cpu_time_of_a_server_with_threads_goes_to_its_methods(scene):
    check_shares(scene, "threads")


@test
def cpu_time_of_a_server_with_callbacks_goes_to_its_methods(scene):
    check_shares(scene, "callbacks")


if __name__ == "__main__":
    run_tests()
