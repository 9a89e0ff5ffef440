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

    def start_client(self, streams, count, calls, certificate="-", **settings):
        """One that makes count calls of each, and then waits for its end."""
        methods = [word for kind, method, message, _ in calls for word in (kind, "/test.Shop/" + method, message)]
        return self.scene.start([own_server("grpc_client"), str(self.port), certificate, str(streams), str(count),
                                 *methods], stdin=subprocess.PIPE, **settings)

    def call(self, streams, count, calls, certificate="-", **settings):
        """A client that has made them, and was told the code that each must have."""
        client = self.start_client(streams, count, calls, certificate, **settings)
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
    scene.equal("connections", metrics.by("profshim_connections_accepted_total", "protocol"),
                {"http2": float(len(STREAMS))})
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


def own_seconds(server, endpoint):
    """{function: own CPU seconds} of an endpoint, of the two functions that burn."""
    report = server.program.json("/report?format=json&top=1000&endpoint=" + urllib.parse.quote(endpoint))
    burning = ("serve_light()", "serve_heavy()")
    return {row["function"]: row["tottime_seconds"] for row in report["rows"] if row["function"] in burning}


def check_shares(scene, how):
    """Calls of two methods whose costs stand 10 to 1, mixed on each of eight connections. Each sample has a function and an
    endpoint, which must agree; how often a function is met by a tick of the kernel is not for this test to say."""
    server = Server(scene, how, unit_us=1000, hz=1000)
    calls = [("both", "", "x", 0)]
    clients = [server.start_client(1, 1000 if FULL else 60, calls, shim=False) for _ in range(8)]
    for client in clients:
        client.wait_for_output("done\n", 600)
        client.process.stdin.close()
    metrics = server.program.metrics()
    found = metrics.by("profshim_endpoint_cpu_seconds_total", "endpoint")
    scene.say("by profshim: %s CPU seconds" % found)
    light, heavy = (own_seconds(server, "grpc test.Shop/" + name) for name in ("Light", "Heavy"))
    nobodys = sum(sum(own_seconds(server, endpoint).values()) for endpoint in ("_background", "_idle"))
    wrong = light.get("serve_heavy()", 0) + heavy.get("serve_light()", 0)
    burnt = sum(light.values()) + sum(heavy.values())
    scene.at_most("burnt on the wrong endpoint", 100 * wrong / burnt, 2, " %")
    scene.at_most("burnt on none", 100 * nobodys / (burnt + nobodys), 5, " %")
    shares = {"Light": light.get("serve_light()", 0) + heavy.get("serve_light()", 0)}
    shares["Heavy"] = burnt - shares["Light"]
    total = sum(found.get("grpc test.Shop/" + name, 0) for name in shares)
    for name, seconds in shares.items():
        scene.within("share of " + name, 100 * found["grpc test.Shop/" + name] / total, 100 * seconds / burnt, 3.0, " %")
    server.program.process.stdin.close()
    scene.equal("exit code", server.program.wait(), 0)
    scene.say("by the server's own clocks: %s" % " ".join(server.program.stdout().split()[1:]))
    check_nothing_lost(scene, metrics)


@test
def cpu_time_of_a_server_with_threads_goes_to_its_methods(scene):
    check_shares(scene, "threads")


@test
def cpu_time_of_a_server_with_callbacks_goes_to_its_methods(scene):
    check_shares(scene, "callbacks")


if __name__ == "__main__":
    run_tests()
