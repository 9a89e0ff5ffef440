#!/usr/bin/env python3
"""Slow requests, what waits for an answer, and what is said of both: /requests/slow, PROFSHIM_SLOW_LOG, exemplars,
/requests/active, /connections."""
import calendar
import http.client
import json
import os
import re
import signal
import socket
import threading
import time
import urllib.parse
import urllib.request

from harness import Failure, children_of, free_ports, own_server, requests_wanted, run_tests, test, wait_until

SLOW_MS = 50
KEPT = 32  # of each endpoint
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CANARY = "cAnArY-5d41402abc4b2a76"


class SlowServer:
    def __init__(self, scene, workers=0, **settings):
        self.port = free_ports()
        self.log = scene.path("slow.json")
        settings = {"slow": "%dms" % SLOW_MS, "slow_log": self.log, "hz": 1000, **settings}
        self.program = scene.start([own_server("slow_server"), str(self.port), str(workers)], **settings)
        self.program.wait_for_output("ready")
        self.program.wait_ready()

    def ask(self, path, method="GET", body=None, **headers):
        """One request on a connection of its own; its status."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body=body, headers={key.replace("_", "-"): value for key, value in headers.items()})
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()

    def lines(self):
        """What the log has, each line taken apart; whole lines only."""
        if not os.path.exists(self.log):
            return []
        with open(self.log) as log:
            text = log.read()
        if text and not text.endswith("\n"):
            raise Failure("the log ends within a line: %r" % text[-100:])
        return [json.loads(line) for line in text.splitlines()]

    def lines_when(self, count):
        return wait_until(lambda: len(self.lines()) >= count and self.lines(), 5, "%d lines in the log" % count)

    def slow(self, endpoint=None):
        """{endpoint: requests} of /requests/slow."""
        path = "/requests/slow" + ("?" + urllib.parse.urlencode({"endpoint": endpoint}) if endpoint else "")
        return {entry["endpoint"]: entry for entry in self.program.json(path)}

    def active(self):
        return self.program.json("/requests/active")


def seconds_of(text):
    """Unix time of RFC 3339 text with nanoseconds."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{9})Z", text)
    if not match:
        raise Failure("no time of RFC 3339: %r" % text)
    return calendar.timegm(time.strptime(match.group(1), "%Y-%m-%dT%H:%M:%S")) + float(match.group(2))


@test
def a_slow_request_is_kept_with_all_that_is_known_of_it(scene):
    server = SlowServer(scene)
    began = time.time()
    server.ask("/burn/120", traceparent="00-%s-%s-01" % (TRACE, SPAN), X_Request_ID="order-7", method="POST", body=b"b" * 300)
    server.ask("/first/80", b3="%s-%s-1" % (TRACE[::-1], SPAN[::-1]))
    server.ask("/fail/60")
    server.ask("/sleep/1")
    ended = time.time()
    slow = server.slow()
    scene.equal("endpoints with slow requests", sorted(slow), ["GET /fail/{id}", "GET /first/{id}", "POST /burn/{id}"])
    burned = slow["POST /burn/{id}"]["requests"][0]
    scene.check("it began when it was sent", began <= seconds_of(burned["start"]) <= ended, burned["start"])
    scene.at_least("its duration", burned["duration_seconds"], 0.1)
    scene.at_most("its time to first byte", burned["time_to_first_byte_seconds"], burned["duration_seconds"])
    known = {key: burned[key] for key in ("request_body_bytes", "response_body_bytes", "status", "error_type", "scheme", "pid",
                                         "trace_id", "span_id", "request_id", "protocol")}
    scene.equal("what else is known of it", known,
                {"request_body_bytes": 300, "response_body_bytes": 1000, "status": "200", "error_type": None, "scheme": "http",
                 "pid": server.program.pid, "trace_id": TRACE, "span_id": SPAN, "request_id": "order-7", "protocol": "http"})
    scene.check("its thread is not the main one", burned["tid"] > server.program.pid, burned["tid"])
    scene.at_least("its CPU seconds", burned["cpu_seconds"], 0.06)
    scene.equal("samples of its stacks", sum(stack["samples"] for stack in burned["stacks"]), burned["samples"])
    heaviest = burned["stacks"][0]["frames"]
    scene.equal("leaf of its heaviest stack, and who called", heaviest[-2:], ["work_for_request", "burn_in_here"])
    scene.check("the stack begins at the thread's root", "serve_connection" in heaviest, heaviest)
    first = slow["GET /first/{id}"]["requests"][0]
    scene.at_most("time to first byte where the rest came late", first["time_to_first_byte_seconds"], first["duration_seconds"] - 0.05)
    scene.equal("ids from b3", [first["trace_id"], first["span_id"], first["request_id"]], [TRACE[::-1], SPAN[::-1], None])
    failed = slow["GET /fail/{id}"]["requests"][0]
    scene.equal("status, error and ids of the failed one", [failed[key] for key in ("status", "error_type", "trace_id", "request_id")],
                ["503", "503", None, None])
    scene.equal("the filter", list(server.slow("GET /first/{id}")), ["GET /first/{id}"])
    scene.equal("an endpoint that is none", server.program.get("/requests/slow?endpoint=GET+/nowhere").status, 400)
    metrics = server.program.metrics()
    scene.equal("profshim_slow_requests_total", metrics.by("profshim_slow_requests_total", "endpoint"),
                {"GET /fail/{id}": 1, "GET /first/{id}": 1, "POST /burn/{id}": 1})
    scene.equal("errors", metrics.by("profshim_request_errors_total", "endpoint", "error_type"), {("GET /fail/{id}", "503"): 1})
    scene.equal("times to first byte", int(metrics.sum("profshim_time_to_first_byte_seconds_count")), 4)


@test
def the_32_slowest_are_kept_and_all_are_logged(scene):
    server = SlowServer(scene, slow="10ms", hz=0)
    wanted = requests_wanted(60)

    def ask_some(first):
        for i in range(first, wanted, 6):
            server.ask("/sleep/%d" % (20 + 3 * i), X_Request_ID="id-%d" % i)
    threads = [threading.Thread(target=ask_some, args=(first,)) for first in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = server.lines_when(wanted)
    scene.equal("requests in the log", sorted(line["request_id"] for line in lines), sorted("id-%d" % i for i in range(wanted)))
    kept = server.slow()["GET /sleep/{id}"]
    scene.equal("slow requests of the endpoint", kept["slow_requests"], wanted)
    slowest = sorted(lines, key=lambda line: -line["duration_seconds"])[:KEPT]
    scene.equal("kept are the slowest of the log, in order", [line["request_id"] for line in kept["requests"]],
                [line["request_id"] for line in slowest])
    metrics = server.program.metrics()
    scene.equal("profshim_slow_requests_total", int(metrics.sum("profshim_slow_requests_total")), wanted)
    scene.equal("profshim_slow_requests_unlogged_total", int(metrics.sum("profshim_slow_requests_unlogged_total")), 0)
    scene.equal("mode of the log", oct(os.stat(server.log).st_mode & 0o7777), "0o600")


@test
def a_line_of_the_log_says_what_the_page_says(scene):
    server = SlowServer(scene)
    server.ask("/burn/100", traceparent="00-%s-%s-01" % (TRACE, SPAN))
    server.ask("/sleep/60")
    lines = {line["endpoint"]: line for line in server.lines_when(2)}
    shown = {name: entry["requests"][0] for name, entry in server.slow().items()}
    scene.equal("endpoints", sorted(lines), sorted(shown))
    for name, line in lines.items():
        if line["stacks_left_out"]:  # the line has less room
            line["stacks"] = shown[name]["stacks"] = line["stacks_left_out"] = shown[name]["stacks_left_out"] = None
        scene.equal("the line of %s" % name, line, shown[name])


def ends_with_all_logged(scene, workers):
    server = SlowServer(scene, workers=workers)
    for i in range(5):
        server.ask("/sleep/60", X_Request_ID="end-%d" % i)
    scene.equal("exit code", server.program.stop(), 0)
    scene.equal("requests in the log", [line["request_id"] for line in server.lines()], ["end-%d" % i for i in range(5)])


@test
def a_program_that_ends_has_logged_all_its_slow_requests(scene):
    ends_with_all_logged(scene, 0)


@test
def workers_that_end_one_after_the_other_have_logged_all(scene):
    ends_with_all_logged(scene, 2)


@test
def who_serves_next_logs_nothing_twice(scene):
    server = SlowServer(scene, workers=3, hz=0)
    sent = []

    def ask_some(worker):
        for i in range(12):
            name = "%d-%d" % (worker, i)
            try:
                server.ask("/sleep/60", X_Request_ID=name)
                sent.append(name)
            except OSError:
                pass  # its process was killed
    threads = [threading.Thread(target=ask_some, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    os.kill(server.program.json("/self")["server_pid"], signal.SIGKILL)
    for thread in threads:
        thread.join()
    wait_until(server.program.is_ready, 5, "another process serving")
    lines = server.lines_when(len(sent) - 1)
    ids = [line["request_id"] for line in lines]
    scene.equal("requests logged twice", sorted(name for name in set(ids) if ids.count(name) > 1), [])
    scene.at_most("answered requests that are not logged", len(set(sent) - set(ids)), 1)


@test
def a_log_that_cannot_be_written_is_told_and_counted(scene):
    server = SlowServer(scene, slow_log="/proc/nowhere/slow.json")
    for _ in range(3):
        scene.equal("status", server.ask("/sleep/60"), 200)
    metrics = server.program.metrics_when(lambda metrics: metrics.sum("profshim_slow_requests_unlogged_total") == 3)
    scene.equal("profshim_slow_requests_unlogged_total", int(metrics.sum("profshim_slow_requests_unlogged_total")), 3)
    scene.equal("lines that say so", server.program.stderr().count("slow requests cannot be logged to /proc/nowhere/slow.json"), 1)
    scene.check("the report says so", "slow requests are not in the log" in server.program.get_ok("/report").text)


@test
def exemplars_lead_from_a_bucket_to_a_trace(scene):
    server = SlowServer(scene, slow_log=None)
    server.ask("/sleep/60", traceparent="00-%s-%s-01" % (TRACE, SPAN))
    server.ask("/sleep/1")
    accept = {"Accept": "application/openmetrics-text;version=1.0.0"}
    text = server.program.get_ok("/metrics", accept).text
    found = re.findall(r'^http_server_request_duration_seconds_bucket\{.*le="([^"]*)"\} \d+ # (\{.*\}) (\S+) (\S+)$', text, re.M)
    scene.equal("exemplars", len(found), 1)
    bound, labels, value, at = found[0]
    scene.equal("its labels", labels, '{trace_id="%s",span_id="%s"}' % (TRACE, SPAN))
    scene.check("its value lies in its bucket", 0.06 <= float(value) <= float(bound), found[0])
    scene.at_most("its age", abs(time.time() - float(at)), 30, " s")
    scene.check("the classic format has none", TRACE not in server.program.get_ok("/metrics").text)

    port = free_ports()
    scene.write("prometheus.yml", "scrape_configs: [{job_name: it, scrape_interval: 500ms, static_configs: "
                "[{targets: ['127.0.0.1:%d']}]}]\n" % server.program.profiler_port)
    scene.start(["prometheus", "--config.file=" + scene.path("prometheus.yml"), "--storage.tsdb.path=" + scene.path("tsdb"),
                 "--web.listen-address=127.0.0.1:%d" % port, "--enable-feature=exemplar-storage"], shim=False)

    def stored():
        query = urllib.parse.urlencode({"query": "http_server_request_duration_seconds_bucket", "start": time.time() - 60,
                                        "end": time.time() + 60})
        try:
            with urllib.request.urlopen("http://127.0.0.1:%d/api/v1/query_exemplars?%s" % (port, query)) as answer:
                return json.load(answer)["data"]
        except OSError:
            return None  # it is still starting
    data = wait_until(stored, 20, "Prometheus knowing the exemplar")
    scene.equal("trace ids that Prometheus knows", {one["labels"]["trace_id"] for series in data for one in series["exemplars"]}, {TRACE})
    with urllib.request.urlopen("http://127.0.0.1:%d/api/v1/targets" % port) as answer:
        targets = json.load(answer)["data"]["activeTargets"]
    scene.equal("what Prometheus says of the scrape", [(target["health"], target["lastError"]) for target in targets], [("up", "")])


def hang(port, path):
    """Sends a request that gets no answer; the connection."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode())
    return connection


@test
def what_waits_for_an_answer_is_active_until_it_has_one(scene):
    server = SlowServer(scene)
    scene.equal("active at first", server.active(), [])
    server.ask("/sleep/1")  # from now on its route is known
    waiting = threading.Thread(target=server.ask, args=("/sleep/1500",))
    waiting.start()
    active = wait_until(server.active, 5, "the request being active")
    scene.equal("active requests", len(active), 1)
    scene.equal("what is known of it", {key: active[0][key] for key in active[0] if key not in ("age_seconds", "tid", "fd")},
                {"endpoint": "GET /sleep/{id}", "protocol": "http", "method": "GET", "kind": "served", "is_stream": False,
                 "in_flight": 1, "scheme": "http", "pid": server.program.pid})
    time.sleep(0.3)
    scene.at_least("its age", server.active()[0]["age_seconds"], 0.25)
    scene.equal("by its endpoint", len(server.program.json("/requests/active?endpoint=GET+/sleep/{id}")), 1)
    connections = server.program.json("/connections")
    scene.equal("open connections", [(entry["kind"], entry["requests"], entry["in_flight"], entry["sent_bytes"])
                                     for entry in connections["connections"]], [("served", 0, 1, 0)])
    scene.equal("gauge", int(server.program.metrics().sum("http_server_active_requests")), 1)
    scene.check("no address is told", "127.0.0.1" not in json.dumps(connections) + json.dumps(server.active()))
    waiting.join()
    wait_until(lambda: not server.active(), 1, "nothing being active any more")
    scene.equal("gauge afterwards", int(server.program.metrics().sum("http_server_active_requests")), 0)


@test
def a_route_that_was_never_answered_is_active_without_its_name(scene):
    server = SlowServer(scene)
    connection = hang(server.port, "/hang/by/" + CANARY)
    active = wait_until(server.active, 5, "the request being active")
    scene.equal("what is known of it", [active[0][key] for key in ("endpoint", "method", "protocol")], ["_OTHER", "GET", "http"])
    connection.close()


@test
def nothing_is_active_of_a_worker_that_was_killed(scene):
    server = SlowServer(scene, workers=2)
    connections = [hang(server.port, "/hang") for _ in range(6)]
    wait_until(lambda: len(server.active()) == 6, 5, "six active requests")
    pids = {entry["pid"] for entry in server.active()}
    scene.check("they are of the workers", pids <= set(children_of(server.program.pid)), pids)
    scene.equal("gauge", int(server.program.metrics().sum("http_server_active_requests")), 6)
    for pid in children_of(server.program.pid):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not server.active(), 3, "nothing being active")
    scene.equal("open connections", server.program.json("/connections")["connections"], [])
    metrics = server.program.metrics_when(lambda metrics: not metrics.sum("http_server_active_requests"))
    scene.equal("gauge after the kill", int(metrics.sum("http_server_active_requests")), 0)
    scene.equal("gauge of connections", int(metrics.sum("profshim_connections_open")), 0)
    for connection in connections:
        connection.close()


@test
def no_secret_is_in_what_is_said_of_requests(scene):
    server = SlowServer(scene)
    server.ask("/burn/80?token=%s" % CANARY, Authorization="Bearer " + CANARY, Cookie="session=" + CANARY, method="POST",
               body=CANARY.encode(), X_Request_ID="id with blanks is none %s" % CANARY, traceparent="00-%s-01" % CANARY)
    server.ask("/sleep/60?%s" % CANARY)
    hanging = hang(server.port, "/hang?secret=%s" % CANARY)
    wait_until(server.active, 5, "the request being active")
    server.lines_when(2)
    with open(server.log) as log:
        texts = {"log": log.read()}
    for path in ("/requests/slow", "/requests/active", "/connections", "/endpoints", "/report", "/folded", "/metrics", "/self", "/"):
        texts[path] = server.program.get_ok(path).text
    texts["stderr"] = server.program.stderr()
    scene.equal("where the canary is", [name for name, text in texts.items() if CANARY in text], [])
    hanging.close()


@test
def a_dead_session_tells_of_its_slow_requests(scene):
    server = SlowServer(scene)
    server.ask("/burn/100", X_Request_ID="before-death")
    server.lines_when(1)
    shown = server.slow()
    server.program.kill_all()
    told = {entry["endpoint"]: entry for entry in json.loads(scene.profshim("report", "--view", "requests/slow"))}
    scene.equal("what was shown and what is told after the kill", told, shown)


if __name__ == "__main__":
    run_tests()
