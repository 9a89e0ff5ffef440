#!/usr/bin/env python3
"""Errors by their type, streams apart from requests, gauges that return to nothing however a process ends, and sizes."""
import collections
import os
import random
import signal
import socket
import threading
import time

from harness import Failure, children_of, free_ports, own_server, requests_wanted, run_tests, test, wait_until
from real_servers import HttpClient, Nginx, Redis, RespClient, nginx_argv

DURATIONS = "http_server_request_duration_seconds_count"
ERRORS = "profshim_request_errors_total"
# Of a dead process: PRODUCT.md promises a second; what is read costs some of its own.
GONE_SECONDS = 1.0

NGINX_STREAMS = """
log_format counted "$request_method\\t$uri\\t$status\\t$body_bytes_sent\\t$request_length";
access_log {dir}/access.log counted;
root {dir}/www;
server {{
    listen 127.0.0.1:{port} backlog=2048;
    proxy_http_version 1.1;
    proxy_buffering off;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_of_upgrade;
    location /hello {{ return 200 "hello\\n"; }}
    location /broken {{ return 500 "broken\\n"; }}
    location /away {{ return 503; }}
    location /files/ {{ }}
    location /uploads/ {{ dav_methods PUT DELETE; create_full_put_path on; client_max_body_size 100m; }}
    location /slow {{ proxy_pass http://127.0.0.1:{upstream}; proxy_read_timeout 1s; }}
    location / {{ proxy_pass http://127.0.0.1:{upstream}; }}
}}
map $http_upgrade $connection_of_upgrade {{ default upgrade; '' close; }}
"""


class StreamServer:
    """Of tests/e2e/servers; under the shim or, as the upstream of an nginx that is, without."""

    def __init__(self, scene, *arguments, **settings):
        self.port = free_ports()
        self.program = scene.start([own_server("stream_server"), str(self.port), *arguments], "streams", **settings)
        self.program.wait_for_port(self.port)
        if settings.get("shim", True):
            self.program.wait_ready()


class ProxyNginx(Nginx):
    """nginx that passes on what it does not answer itself."""

    def __init__(self, scene, upstream, workers=1, **settings):
        self.scene = scene
        self.port = free_ports()
        self._make_site()
        site = NGINX_STREAMS.format(dir=scene.dir, port=self.port, upstream=upstream)
        self.argv = nginx_argv(scene, site, workers=workers)
        self.program = scene.start(self.argv, "nginx", **settings)
        self.program.wait_for_port(self.port)
        self.program.wait_ready()
        wait_until(lambda: len(self.workers()) == workers, 5, "%d workers" % workers)


# --- errors ---

def abort(client):
    """Closes so that the other side gets a RST."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()


def ask_and_go(port, count, close):
    """Requests whose client does not wait for the answer."""
    for _ in range(count):
        client = HttpClient(port)
        client.request("GET", "/slow")
        time.sleep(0.01)
        close(client)


@test
def errors_are_counted_by_their_type(scene):
    silent = socket.create_server(("127.0.0.1", 0), backlog=100)  # accepts nothing, answers nothing
    nginx = ProxyNginx(scene, silent.getsockname()[1])
    client = HttpClient(nginx.port)
    for number in range(30):
        for path, status in (("/hello", 200), ("/broken", 500), ("/away", 503), ("/files/none", 404)):
            if client.ask("GET", path)[0] != status:
                raise Failure("no %d for %s" % (status, path))
    client.close()
    ask_and_go(nginx.port, 20, HttpClient.close)
    ask_and_go(nginx.port, 20, abort)
    for broken in 10 * ["GET /hello HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", "G<T /hello HTTP/1.1\r\nHost: a\r\n\r\n"]:
        client = HttpClient(nginx.port)
        client.send(broken)
        if client.answer()[0] != 400:
            raise Failure("no 400 for %r" % broken)
        client.close()
    for _ in range(5):  # kept alive and closed idle: no errors
        client = HttpClient(nginx.port)
        client.ask("GET", "/hello")
        client.close()
    nginx.logged(30 * 4 + 40 + 20 + 5)

    def has_come(metrics):
        return metrics.sum(DURATIONS) >= 185
    metrics = nginx.program.metrics_when(has_come)
    scene.equal("requests", int(metrics.sum(DURATIONS)), 185)
    scene.equal("requests by route, status and error",
                metrics.by(DURATIONS, "http_route", "http_response_status_code", "error_type"),
                {("/hello", "200", ""): 35, ("/broken", "500", "500"): 30, ("/away", "503", "503"): 30,
                 ("_OTHER", "404", ""): 30, ("_OTHER", "", "reset"): 40, ("/hello", "400", "parse"): 10,
                 ("_OTHER", "400", "parse"): 10})
    scene.equal(ERRORS, metrics.by(ERRORS, "endpoint", "error_type"),
                {("GET /broken", "500"): 30, ("GET /away", "503"): 30, ("_OTHER", "reset"): 40, ("GET /hello", "parse"): 10,
                 ("_OTHER", "parse"): 10})


@test
def what_the_program_waits_for_in_vain_is_a_timeout_and_its_own_answer_a_504(scene):
    silent = socket.create_server(("127.0.0.1", 0), backlog=100)
    nginx = ProxyNginx(scene, silent.getsockname()[1])
    clients = [HttpClient(nginx.port) for _ in range(20)]
    for client in clients:
        client.request("GET", "/slow")
    for client in clients:
        if client.answer()[0] != 504:
            raise Failure("no 504")
        client.close()
    metrics = nginx.program.metrics_when(lambda metrics: metrics.sum(DURATIONS) == 20)
    scene.equal("what was answered", metrics.by(DURATIONS, "http_response_status_code", "error_type"), {("504", "504"): 20})
    scene.equal("what was asked", metrics.by("http_client_request_duration_seconds_count", "http_response_status_code",
                                             "error_type", "server_port"),
                {("", "timeout", str(silent.getsockname()[1])): 20})


# --- streams ---

def websocket(port, path="/ws"):
    """A connection that was upgraded and carries bytes both ways."""
    client = HttpClient(port)
    client.request("GET", path, ["Upgrade: websocket", "Connection: Upgrade"])
    if client.answer()[0] != 101:
        raise Failure("no 101")
    check_echo(client)
    return client


def check_echo(client):
    client.send(b"\x81\x02GET / HTTP/1.1\r\n\r\n")
    if client.reader.read(20) != b"\x81\x02GET / HTTP/1.1\r\n\r\n":
        raise Failure("the stream does not echo")


def tunnel(port):
    client = HttpClient(port)
    client.send("CONNECT there:443 HTTP/1.1\r\nHost: there:443\r\n\r\n")
    if not client.reader.readline().startswith(b"HTTP/1.1 200") or client.reader.readline() != b"\r\n":
        raise Failure("no tunnel")
    check_echo(client)
    return client


def events(port):
    client = HttpClient(port)
    client.request("GET", "/events")
    while client.reader.readline() != b"data: 1\n":
        pass
    return client


def streams_open(metrics):
    return int(metrics.sum("profshim_streams_open"))


def check_open_streams(scene, program, wanted, seconds=5):
    metrics = program.metrics_when(lambda metrics: streams_open(metrics) == wanted, seconds)
    scene.equal("open streams", streams_open(metrics), wanted)
    return metrics


def check_ended(scene, program, wanted):
    """wanted: {endpoint: how many}; each was opened and has ended."""
    name = "profshim_stream_duration_seconds_count"
    metrics = program.metrics_when(lambda metrics: metrics.sum(name) == sum(wanted.values()))
    scene.equal("streams that ended", metrics.by(name, "endpoint"), {key: float(count) for key, count in wanted.items()})
    scene.equal("streams that were opened", metrics.by("profshim_streams_opened_total", "endpoint"),
                metrics.by(name, "endpoint"))
    return metrics


@test
def streams_through_nginx_are_open_while_they_are_and_in_no_histogram_of_requests(scene):
    upstream = StreamServer(scene, shim=False)
    nginx = ProxyNginx(scene, upstream.port)
    began = time.monotonic()
    clients = [websocket(nginx.port) for _ in range(7)] + [events(nginx.port) for _ in range(5)]
    metrics = check_open_streams(scene, nginx.program, 12)
    active = nginx.program.json("/requests/active")
    scene.equal("streams in /requests/active", collections.Counter(entry["endpoint"] for entry in active
                                                                   if entry["is_stream"] and entry["kind"] == "served"),
                collections.Counter({"GET /ws": 7, "GET /events": 5}))
    scene.equal("requests so far", int(metrics.sum(DURATIONS)), 0)
    time.sleep(0.5)
    for client in clients:
        client.close()
    check_open_streams(scene, nginx.program, 0)
    metrics = check_ended(scene, nginx.program, {"GET /ws": 7, "GET /events": 5})
    scene.equal("requests", int(metrics.sum(DURATIONS)), 0)
    seconds = metrics.sum("profshim_stream_duration_seconds_sum") / 12
    scene.check("streams lasted %.2f s on average" % seconds, 0.5 < seconds < time.monotonic() - began, "not so")
    client = HttpClient(nginx.port)  # one that ends by itself, and a request after it
    body = client.ask("GET", "/events/5")[2]
    scene.equal("events", body.count(b"data"), 5)
    client.ask("GET", "/hello")
    client.close()
    metrics = nginx.program.metrics_when(lambda metrics: metrics.sum(DURATIONS) == 1)
    scene.equal("requests", int(metrics.sum(DURATIONS)), 1)
    scene.equal("streams", int(metrics.sum("profshim_stream_duration_seconds_count")), 13)


@test
def streams_of_forked_children_are_theirs_and_end_with_them(scene):
    server = StreamServer(scene)
    clients = [websocket(server.port) for _ in range(4)] + [tunnel(server.port) for _ in range(3)]
    clients += [events(server.port) for _ in range(2)]
    early = [websocket(server.port, "/early") for _ in range(3)]  # begun by the parent
    check_open_streams(scene, server.program, 12)
    for client in clients + early:
        client.close()
    check_open_streams(scene, server.program, 0)
    metrics = check_ended(scene, server.program, {"GET /ws": 4, "CONNECT {authority}": 3, "GET /events": 2, "GET /early": 3})
    scene.equal("requests", int(metrics.sum(DURATIONS)), 0)
    # Requests on both sides of a fork, and children that end without closing.
    for _ in range(50):
        client = HttpClient(server.port)
        for _ in range(3):
            client.ask("GET", "/plain")
        client.close()
        client = HttpClient(server.port)
        if client.ask("GET", "/unframed")[2] != b"without a length":
            raise Failure("the answer of a child that ended is not whole")
        client.close()
    metrics = server.program.metrics_when(lambda metrics: metrics.sum(DURATIONS) == 200)
    scene.equal("requests by route, status and error",
                metrics.by(DURATIONS, "http_route", "http_response_status_code", "error_type"),
                {("/plain", "200", ""): 150, ("/unframed", "200", ""): 50})
    metrics = server.program.metrics_when(lambda metrics: not gauges(metrics))
    scene.equal("gauges afterwards", gauges(metrics), {})


@test
def subscribers_and_monitors_of_redis_are_streams(scene):
    redis = Redis(scene)
    redis.program.wait_ready()
    subscriber, monitor, asker = (RespClient(redis.port) for _ in range(3))
    subscriber.ask("SUBSCRIBE", "news")
    monitor.ask("MONITOR")
    for number in range(20):
        asker.ask("PUBLISH", "news", number)
        if subscriber.answer() != ["message", "news", str(number)]:
            raise Failure("the subscriber gets no news")
    check_open_streams(scene, redis.program, 2)
    subscriber.close()
    monitor.close()
    check_open_streams(scene, redis.program, 0)
    metrics = check_ended(scene, redis.program, {"redis SUBSCRIBE": 1, "redis MONITOR": 1})
    scene.equal("commands", metrics.by("db_server_operation_duration_seconds_count", "db_operation_name"),
                {"SUBSCRIBE": 1, "MONITOR": 1, "PUBLISH": 20})


# --- processes that are killed ---

def gauges(metrics):
    """What is open or in flight by the metrics, without zeros."""
    found = {}
    for name in ("http_server_active_requests", "profshim_connections_open", "profshim_streams_open"):
        total = metrics.sum(name)
        if total:
            found[name] = total
    return found


def listed(program):
    """The same by the listings."""
    connections = program.json("/connections")["connections"]
    active = program.json("/requests/active")
    return [entry for entry in connections + active]


def seconds_until_nothing_is_open(program):
    """After a kill: how long until no gauge and no listing shows anything."""
    began = time.monotonic()
    while time.monotonic() - began < 10:
        try:
            if not gauges(program.metrics()) and not listed(program):
                return time.monotonic() - began
        except OSError:  # who served was killed, and another has not taken over yet
            pass
        time.sleep(0.02)
    raise Failure("still open 10 s after the kill: %s %s" % (gauges(program.metrics()), listed(program)[:3]))


@test
def gauges_return_to_zero_within_a_second_when_a_streaming_child_is_killed(scene):
    server = StreamServer(scene)
    for turn in range(3):
        clients = [websocket(server.port), tunnel(server.port), events(server.port), websocket(server.port, "/early")]
        half = HttpClient(server.port)
        half.send("GET /plain HTTP/1.1\r\nHo")
        check_open_streams(scene, server.program, 4)
        server.program.metrics_when(lambda metrics: metrics.sum("profshim_processes") == 6)
        children = children_of(server.program.pid)
        scene.equal("children", len(children), 5)
        for child in children:
            os.kill(child, signal.SIGKILL)
        scene.at_most("turn %d: seconds until all gauges are 0" % turn, seconds_until_nothing_is_open(server.program),
                      GONE_SECONDS, " s")
        for client in clients + [half]:
            client.close()
    metrics = server.program.metrics_when(lambda metrics: metrics.sum("profshim_process_exits_total", cause="killed") == 15)
    scene.equal("processes counted as killed", int(metrics.sum("profshim_process_exits_total", cause="killed")), 15)


@test
def gauges_return_to_zero_also_when_nobody_waits_for_the_dead(scene):
    server = StreamServer(scene, "unreaped")
    clients = [websocket(server.port), tunnel(server.port), events(server.port)]
    check_open_streams(scene, server.program, 3)
    for child in children_of(server.program.pid):
        os.kill(child, signal.SIGKILL)
    scene.at_most("seconds until all gauges are 0", seconds_until_nothing_is_open(server.program), GONE_SECONDS, " s")
    for client in clients:
        client.close()


@test
def entries_of_killed_workers_are_free_again(scene):
    nginx = ProxyNginx(scene, free_ports())
    # 10,000 connections in all, of which 8,192 can be listed at once.
    for turn in range(20):
        (worker,) = wait_until(nginx.workers, 5, "a worker")
        sockets = [socket.create_connection(("127.0.0.1", nginx.port)) for _ in range(500)]
        for each in sockets:
            each.sendall(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        for each in sockets:
            if not each.recv(4096).startswith(b"HTTP/1.1 200"):
                raise Failure("no answer in turn %d" % turn)
        if turn == 0:
            scene.equal("listed", len(nginx.program.json("/connections")["connections"]), 500)
        # A client has its answer before it is counted, and who is killed in between does not count it any more.
        wanted = (turn + 1) * 500
        nginx.program.metrics_when(lambda metrics: metrics.sum(DURATIONS) >= wanted)
        os.kill(worker, signal.SIGKILL)
        for each in sockets:
            each.close()
        seconds_until_nothing_is_open(nginx.program)
    wait_until(nginx.workers, 5, "a worker")
    clients = [HttpClient(nginx.port) for _ in range(100)]
    for client in clients:
        client.ask("GET", "/hello")
    connections = nginx.program.json("/connections")["connections"]
    scene.equal("listed afterwards", len(connections), 100)
    metrics = nginx.program.metrics()
    scene.equal("requests", int(metrics.sum(DURATIONS)), 20 * 500 + 100)
    for client in clients:
        client.close()


class Load:
    """Clients that ask nginx without end, on connections that may be reset at any time; and some streams."""

    def __init__(self, port):
        self.port, self.is_over, self.answers = port, False, 0
        self.threads = [threading.Thread(target=self._ask) for _ in range(4)]
        for thread in self.threads:
            thread.start()

    def _ask(self):
        while not self.is_over:
            clients = []
            try:
                clients = [HttpClient(self.port) for _ in range(4)] + [websocket(self.port)]
                for _ in range(50):
                    for client in clients[:-1]:
                        client.request("GET", random.choice(("/hello", "/files/small.txt", "/plain", "/files/large.txt")))
                    for client in clients[:-1]:
                        client.answer()
                        self.answers += 1
            except (OSError, Failure, ValueError):
                pass  # the worker was killed
            for client in clients:
                client.close()

    def stop(self):
        self.is_over = True
        for thread in self.threads:
            thread.join()


@test
def gauges_return_to_zero_when_workers_of_nginx_are_killed_under_load(scene):
    upstream = StreamServer(scene, shim=False)
    nginx = ProxyNginx(scene, upstream.port, workers=4)
    kills = 0
    for turn in range(2 + requests_wanted(1)):
        load = Load(nginx.port)
        began = time.monotonic()
        while time.monotonic() - began < 2:
            worker = random.choice(nginx.workers() or [0])
            if worker:
                os.kill(worker, signal.SIGKILL)
                kills += 1
            time.sleep(0.2)
        load.is_over = True
        for worker in nginx.workers():
            os.kill(worker, signal.SIGKILL)
            kills += 1
        load.stop()
        scene.say("turn %d: %d answers" % (turn, load.answers))
        scene.at_most("turn %d: seconds until all gauges are 0" % turn, seconds_until_nothing_is_open(nginx.program),
                      GONE_SECONDS, " s")
    wait_until(lambda: len(nginx.workers()) == 4, 5, "four workers")
    clients = [websocket(nginx.port) for _ in range(8)]
    scene.equal("listed afterwards", sum(entry["is_stream"] and entry["kind"] == "served" for entry in
                                         nginx.program.json("/requests/active")), 8)
    for client in clients:
        client.close()
    check_open_streams(scene, nginx.program, 0)
    scene.say("%d workers were killed" % kills)


# --- sizes ---

def put(client, path, size, chunked):
    body = os.urandom(size)
    if chunked:
        pieces = [body[i:i + 7000] for i in range(0, size, 7000)]
        text = b"".join(b"%x;x=y\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nTrailer: x\r\n\r\n"
        client.request("PUT", path, ["Transfer-Encoding: chunked"], text)
    else:
        client.request("PUT", path, ["Content-Length: %d" % size], body)
    status = client.answer("PUT")[0]
    if status not in (201, 204):
        raise Failure("%d for an upload of %d" % (status, size))
    return size


@test
def sizes_are_those_of_the_bodies(scene):
    upstream = StreamServer(scene, shim=False)
    nginx = ProxyNginx(scene, upstream.port)
    client = HttpClient(nginx.port)
    etag = client.ask("GET", "/files/large.txt")[1]["etag"]
    sent = collections.Counter()
    received = collections.Counter()
    for number in range(10):
        for headers in ([], ["Range: bytes=0-99"], ["If-None-Match: " + etag], ["Range: bytes=5-9,70000-99999"]):
            received["/files/large.txt"] += len(client.ask("GET", "/files/large.txt", headers)[2])
        client.ask("HEAD", "/files/large.txt")
        received["/files/small.txt"] += len(client.ask("GET", "/files/small.txt")[2])
        received["/events/{id}"] += len(client.ask("GET", "/events/3")[2])  # chunked
        sent["/uploads/a"] += put(client, "/uploads/a", 50000 * number, chunked=False)
        sent["/uploads/b"] += put(client, "/uploads/b", 50000 * number + 1, chunked=True)
    client.close()
    received["/files/large.txt"] += os.path.getsize(scene.path("www/files/large.txt"))  # the first one
    logged = nginx.logged(1 + 10 * 9)
    metrics = nginx.program.metrics_when(lambda metrics: metrics.sum(DURATIONS) >= 81)
    sizes = {}
    for kind in ("request", "response"):
        sizes[kind] = metrics.by("http_server_%s_body_size_bytes_sum" % kind, "http_route", http_request_method="GET")
        scene.equal("%s bodies counted" % kind, int(metrics.sum("http_server_%s_body_size_bytes_count" % kind)), 91)
    scene.equal("bytes of responses to GET", sizes["response"], {key: float(n) for key, n in received.items()})
    scene.equal("bytes of requests by GET", sizes["request"], {})
    scene.equal("bytes of responses to HEAD", metrics.sum("http_server_response_body_size_bytes_sum", http_request_method="HEAD"), 0)
    scene.equal("bytes of uploads", metrics.by("http_server_request_body_size_bytes_sum", "http_route", http_request_method="PUT"),
                {key: float(n) for key, n in sent.items()})
    # Of what nginx frames by length its log has the same figures; $body_bytes_sent has the framing of chunks, too.
    of_files = sum(line.bytes_sent for line in logged if line.method == "GET" and line.uri.startswith("/files/"))
    scene.equal("bytes of files by $body_bytes_sent", of_files, sum(n for path, n in received.items() if "files" in path))
    scene.equal("bytes received by $request_length", int(metrics.sum("profshim_network_receive_bytes_total", protocol="http")),
                sum(line.request_length for line in logged))


if __name__ == "__main__":
    run_tests()
