#!/usr/bin/env python3
"""CPU time goes to whom it belongs: endpoints and functions whose true shares are known because they are measured."""
import http.client
import threading

from harness import FULL, Failure, free_ports, own_server, report_functions, run_tests, test

SAMPLES = 50000 if FULL else 5000  # the least that the shares are judged by
ENDPOINT_POINTS = 3.0
FUNCTION_POINTS = 2.0
CPU = "profshim_endpoint_cpu_seconds_total"


class Load:
    """Connections that ask for both endpoints in turn until they are told to stop."""

    def __init__(self, port, connections):
        self.port, self.is_over, self.problems = port, False, []
        self.threads = [threading.Thread(target=self._ask) for _ in range(connections)]
        for thread in self.threads:
            thread.start()

    def _ask(self):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            while not self.is_over:
                for path in ("/heavy", "/light"):
                    connection.request("GET", path)
                    response = connection.getresponse()
                    if (response.status, response.read()) != (200, b"ok\n"):
                        raise Failure("%s gave %d" % (path, response.status))
            connection.close()
        except Exception as problem:  # told by stop(), on the test's own thread
            self.problems.append(problem)

    def stop(self):
        self.is_over = True
        for thread in self.threads:
            thread.join()
        if self.problems:
            raise self.problems[0]


def check_ratio(scene, shape):
    port = free_ports()
    program = scene.start([own_server("ratio_server"), shape, str(port), "2", "400"], hz=1000)
    program.wait_for_output("ready\n")
    program.wait_ready()
    load = Load(port, 4)
    try:
        metrics = program.metrics_when(lambda metrics: metrics.sum("profshim_samples_total") >= SAMPLES * 1.05,
                                       seconds=600 if FULL else 90)
    finally:
        load.stop()
    metrics = program.metrics()
    by_endpoint = metrics.by(CPU, "endpoint")
    scene.equal("exit code", program.stop(), 0)
    scene.at_least("samples", metrics.sum("profshim_samples_total"), SAMPLES)
    true_ns = {name: int(ns) for name, _, ns in (line.split() for line in program.stdout().splitlines()[1:])}
    scene.say("by the server's own clocks: heavy to light as %.2f to 1" % (true_ns["heavy"] / true_ns["light"]))
    on_endpoints = {name: by_endpoint.get("GET /" + name, 0) for name in ("heavy", "light")}
    total = sum(on_endpoints.values())
    scene.say("by profshim: %s CPU seconds" % by_endpoint)
    for name, true_share in (("heavy", 1000 / 11), ("light", 100 / 11)):
        scene.within("share of /%s" % name, 100 * on_endpoints[name] / total, true_share, ENDPOINT_POINTS, " %")
    busy = sum(by_endpoint.values()) - by_endpoint.get("_idle", 0)
    scene.at_least("busy samples on an endpoint", 100 * total / busy, 95, " %")
    scene.within("CPU seconds on endpoints as a share of what the server measured",
                 100 * total / (sum(true_ns.values()) / 1e9), 100, 5, " %")
    scene.equal("samples dropped", metrics.by("profshim_samples_dropped_total", "reason"), {})


@test
def endpoints_of_a_server_with_a_thread_per_connection_get_their_shares(scene):
    check_ratio(scene, "threads")


@test
def endpoints_of_a_server_with_event_loops_get_their_shares(scene):
    check_ratio(scene, "epoll")


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
    scene.at_least("samples", int(samples.split(" samples")[0].split()[-1]), SAMPLES)


if __name__ == "__main__":
    run_tests()
