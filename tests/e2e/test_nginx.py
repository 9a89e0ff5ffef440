#!/usr/bin/env python3
"""nginx with a master and two workers: every request is counted once, as nginx's own access log counts it."""
import os
import re
import signal

from harness import (Failure, Metrics, can_connect, listening_pids, own_server, report_functions, requests_wanted,
                     run_tests, test, wait_until)
from real_servers import HttpClient, Nginx, counts_of_log, counts_of_metrics

DURATIONS = "http_server_request_duration_seconds_count"


def check_against_log(scene, nginx, sent_count):
    """Counts by method, route and status are those of nginx's log, the sum is what the client counted, and nothing
    comes after. The metrics that showed it."""
    logged = nginx.logged(sent_count)
    scene.equal("requests in nginx's log", len(logged), sent_count)
    metrics = nginx.program.metrics_when(lambda metrics: metrics.sum(DURATIONS) >= sent_count)
    scene.equal("sum of %s" % DURATIONS, int(metrics.sum(DURATIONS)), sent_count)
    scene.equal("counts by method, route and status", counts_of_metrics(metrics), counts_of_log(logged))
    return metrics


def check_bytes(scene, nginx, metrics):
    logged = nginx.log_lines()
    for family, wanted in (("profshim_network_transmit_bytes_total", sum(line.bytes_sent for line in logged)),
                           ("profshim_network_receive_bytes_total", sum(line.request_length for line in logged))):
        scene.equal(family, int(metrics.sum(family, protocol="http")), wanted)


PATHS = ["/hello", "/users/1", "/users/22", "/users/333", "/files/small.txt", "/missing", "/empty", "/broken"]


@test
def requests_over_keep_alive_connections_are_counted_exactly(scene):
    nginx = Nginx(scene)
    nginx.program.wait_ready()
    count = requests_wanted(100000)
    urls = scene.write("urls", "".join("http://127.0.0.1:%d%s\n" % (nginx.port, path) for path in PATHS))
    output = scene.run_ok(["h2load", "--h1", "-n", str(count), "-c", "64", "-t", "1", "-i", urls], shim=False,
                          timeout=600)
    done = re.search(r"requests: \d+ total, \d+ started, (\d+) done", output)
    scene.equal("requests that h2load counts", int(done.group(1)), count)
    metrics = check_against_log(scene, nginx, count)
    check_bytes(scene, nginx, metrics)
    scene.equal("connections accepted", int(metrics.sum("profshim_connections_accepted_total", protocol="http")), 64)


@test
def requests_over_new_connections_are_counted_exactly(scene):
    nginx = Nginx(scene)
    nginx.program.wait_ready()
    count = requests_wanted(100000)
    output = scene.run_ok([own_server("closing_client"), str(nginx.port), str(count), "8", *PATHS], shim=False,
                          timeout=600)
    scene.equal("answers that the client counts", sum(int(line.split()[1]) for line in output.splitlines()), count)
    metrics = check_against_log(scene, nginx, count)
    check_bytes(scene, nginx, metrics)
    # Several probes waited for the port before and asked nothing.
    scene.equal("connections accepted that spoke HTTP",
                int(metrics.sum("profshim_connections_accepted_total", protocol="http")), count)


def send_mix(client, number):
    """One of everything that a server of HTTP/1.1 meets; how many requests it was."""
    etag = client.ask("GET", "/files/small.txt")[1]["etag"]
    wanted = [
        (200, client.ask("HEAD", "/files/large.txt")),
        (200, client.ask("GET", "/files/large.txt")),
        (304, client.ask("GET", "/files/small.txt", ["If-None-Match: " + etag])),
        (206, client.ask("GET", "/files/large.txt", ["Range: bytes=100-70000"])),
        (206, client.ask("GET", "/files/large.txt", ["Range: bytes=0-9,20-29"])),
        (416, client.ask("GET", "/files/small.txt", ["Range: bytes=5000-"])),
        (404, client.ask("GET", "/users.txt")),
        (301, client.ask("GET", "/moved")),
        (204, client.ask("GET", "/empty")),
        (405, client.ask("POST", "/files/small.txt", ["Content-Length: 5"], b"12345")),
        (200, client.ask("POST", "/users/%d?name=x" % number, ["Transfer-Encoding: chunked"], b"4\r\nabcd\r\n0\r\n\r\n")),
        (200, client.ask("GET", "/packed/text.txt", ["Accept-Encoding: gzip"])),
        (200, client.ask("GET", "/marked/text.txt")),
        (200, client.ask("OPTIONS", "/hello")),
    ]
    for status, answer in wanted:
        if answer[0] != status:
            raise Failure("nginx gave %d instead of %d: %r" % (answer[0], status, answer[1]))
    return 1 + len(wanted)


def send_upload(client, number):
    """PUT with 100-continue, then DELETE."""
    body = b"z" * 20000
    client.request("PUT", "/uploads/%d" % number, ["Content-Length: %d" % len(body), "Expect: 100-continue"])
    if client.answer()[0] != 100:
        raise Failure("nginx gave no 100 (Continue)")
    client.send(body)
    statuses = [client.answer("PUT")[0], client.ask("DELETE", "/uploads/%d" % number)[0]]
    if statuses != [201, 204]:
        raise Failure("nginx gave %s for an upload" % statuses)
    return 2


def send_pipelined(client, number):
    """Ten at once, of several methods, with bodies; the last head is cut in two."""
    parts = []
    for i in range(3):
        parts += ["GET /users/%d HTTP/1.1\r\nHost: a\r\n\r\n" % (number + i),
                  "HEAD /files/small.txt HTTP/1.1\r\nHost: a\r\n\r\n",
                  "POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"]
    text = "".join(parts) + "GET /files/small.txt HTTP/1.1\r\nHo"
    client.send(text)
    client.send("st: a\r\n\r\n")
    statuses = [client.answer(method)[0] for method in ["GET", "HEAD", "POST"] * 3 + ["GET"]]
    if statuses != [200] * 10:
        raise Failure("nginx gave %s for ten pipelined requests" % statuses)
    return 10


def send_byte_by_byte(client):
    for byte in b"POST /users/7 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody":
        client.send(bytes([byte]))
    if client.answer("POST")[0] != 200:
        raise Failure("nginx refused a request that came byte by byte")
    return 1


def send_http_1_0(port):
    client = HttpClient(port)
    client.send("GET /hello HTTP/1.0\r\n\r\n")
    status, _, body = client.answer()
    client.close()
    if (status, body) != (200, b"hello\n"):
        raise Failure("nginx gave %d %r in HTTP/1.0" % (status, body))
    return 1


@test
def requests_of_every_kind_are_counted_as_the_log_counts_them(scene):
    nginx = Nginx(scene)
    nginx.program.wait_ready()
    count = 0
    for number in range(20):
        client = HttpClient(nginx.port)
        count += send_mix(client, number) + send_upload(client, number) + send_pipelined(client, number)
        count += send_byte_by_byte(client)
        client.close()
        count += send_http_1_0(nginx.port)
    check_against_log(scene, nginx, count)


@test
def what_a_server_asks_of_others_is_not_counted_as_served(scene):
    nginx = Nginx(scene)
    nginx.program.wait_ready()
    client = HttpClient(nginx.port)
    for number in range(50):
        if client.ask("GET", "/proxied/%d" % number)[2] != b"a user\n":
            raise Failure("nginx does not proxy")
    client.close()
    # nginx is its own upstream here: each request is served, and logged, twice.
    check_against_log(scene, nginx, 100)


@test
def gauges_return_to_nothing_when_the_clients_are_gone(scene):
    nginx = Nginx(scene)
    nginx.program.wait_ready()
    clients = [HttpClient(nginx.port) for _ in range(10)]
    for client in clients:
        client.ask("GET", "/hello")
    clients[0].send("GET /hel")
    metrics = nginx.program.metrics_when(lambda metrics: metrics.sum("profshim_connections_open", protocol="http") == 10)
    scene.equal("open connections", int(metrics.sum("profshim_connections_open", protocol="http")), 10)
    for client in clients:
        client.close()
    metrics = nginx.program.metrics_when(lambda metrics: metrics.sum("profshim_connections_open") == 0)
    scene.equal("open connections afterwards", int(metrics.sum("profshim_connections_open")), 0)
    scene.equal("active requests afterwards", int(metrics.sum("http_server_active_requests")), 0)


@test
def promtool_is_silent_on_the_metrics_of_nginx(scene):
    nginx = Nginx(scene)
    nginx.program.wait_ready()
    client = HttpClient(nginx.port)
    send_mix(client, 1)
    client.close()
    text = nginx.program.get_ok("/metrics").body
    result = scene.run(["promtool", "check", "metrics"], shim=False, stdin=text)
    scene.equal("what promtool says", (result.stdout + result.stderr).decode(), "")
    scene.equal("promtool's exit code", result.returncode, 0)
    scene.at_least("families", len(Metrics(text.decode()).types), 15)


def load(scene, nginx, path, requests=30000):
    url = "http://127.0.0.1:%d%s" % (nginx.port, path)
    scene.run_ok(["h2load", "--h1", "-n", str(requests), "-c", "16", "-t", "1", url], shim=False, timeout=300)


@test
def the_report_shows_functions_calls_and_endpoints_of_nginx(scene):
    nginx = Nginx(scene, hz=997)
    nginx.program.wait_ready()
    load(scene, nginx, "/packed/text.txt", 1500)
    load(scene, nginx, "/marked/text.txt", 300)  # each is sent in thousands of pieces
    load(scene, nginx, "/users/5")
    text = nginx.program.get_ok("/report?top=0").text
    scene.say("\n".join(text.splitlines()[:20]))
    scene.check("the head names program and processes", re.match(r"\s*profshim \d+\.\d+: nginx \(3 processes, ", text),
                text[:100])
    rows = report_functions(text)
    functions = [name for name in rows if name.startswith("ngx_")]
    scene.at_least("functions of nginx by name", len(functions), 10)
    for call in ("{recv}", "{writev}", "{epoll_wait}"):
        scene.check("%s is in the report with its exact count" % call, call in rows and rows[call]["is_exact"],
                    str(rows.get(call)))
    endpoint_cpu = nginx.program.metrics().by("profshim_endpoint_cpu_seconds_total", "endpoint")
    scene.say("CPU by endpoint: %s" % endpoint_cpu)
    for endpoint in ("GET /marked/text.txt", "GET /users/{id}"):
        scene.at_least("CPU seconds of %s" % endpoint, endpoint_cpu.get(endpoint, 0), 0.05)
    only = nginx.program.get_ok("/report?top=0&endpoint=GET%20/marked/text.txt").text
    scene.at_least("functions of one endpoint", len(report_functions(only)), 5)


@test
def master_and_workers_are_one_session_at_one_address(scene):
    nginx = Nginx(scene)
    nginx.program.wait_ready()
    wait_until(lambda: len(nginx.workers()) == 2, 5, "two workers")
    metrics = nginx.program.metrics_when(lambda metrics: metrics.sum("profshim_processes") == 3)
    scene.equal("profshim_processes", int(metrics.sum("profshim_processes")), 3)
    scene.equal("processes listening for profshim", len(listening_pids(nginx.program.profiler_port)), 1)
    listed = scene.profshim("ls")
    scene.check("profshim ls shows it with its address", "nginx" in listed and
                "127.0.0.1:%d" % nginx.program.profiler_port in listed, listed)


@test
def sigusr1_still_reopens_the_logs_of_nginx(scene):
    nginx = Nginx(scene)
    nginx.program.wait_ready()
    client = HttpClient(nginx.port)
    client.ask("GET", "/hello")
    nginx.logged(1)
    os.rename(scene.path("access.log"), scene.path("access.log.old"))
    nginx.program.send_signal(signal.SIGUSR1)
    wait_until(lambda: os.path.exists(scene.path("access.log")), 5, "nginx opening a new log")
    # The master opens it; the workers follow when they hear of it.
    requests = 0
    while not nginx.log_lines():
        client.ask("GET", "/hello")
        requests += 1
        if requests > 2000:
            raise Failure("the workers still write to the old log")
    client.close()
    scene.say("a new log after SIGUSR1, written to by the workers")
    scene.equal("what nginx printed", nginx.program.stderr(), "")


@test
def a_reload_keeps_the_counts_and_nginx_ends_as_it_does_without(scene):
    nginx = Nginx(scene)
    nginx.program.wait_ready()
    client = HttpClient(nginx.port)
    for _ in range(100):
        client.ask("GET", "/hello")
    client.close()
    before = set(nginx.workers())
    nginx.program.send_signal(signal.SIGHUP)
    wait_until(lambda: len(set(nginx.workers()) - before) == 2 and not set(nginx.workers()) & before, 10, "new workers")
    client = HttpClient(nginx.port)
    for _ in range(100):
        client.ask("GET", "/users/9")
    client.close()
    metrics = check_against_log(scene, nginx, 200)
    scene.equal("processes that ended by themselves",
                int(metrics.sum("profshim_process_exits_total", cause="exit")), 2)
    scene.equal("nginx's exit code", nginx.program.stop(signal.SIGQUIT), 0)
    scene.check("the server's port is free again", not can_connect(nginx.port))
    scene.equal("what nginx printed", nginx.program.stderr(), "")


if __name__ == "__main__":
    run_tests()
