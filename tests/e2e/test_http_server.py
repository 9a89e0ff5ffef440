#!/usr/bin/env python3
"""profshim's own HTTP server in a real program, among clients that mean no good: what can be changed and by whom, and
what nonsense, slowness and crowds come to. What the program feels of it: test_attacks.py."""
import json
import os
import random
import resource
import signal
import socket
import time

from attacks import CLIENTS_MAX, HEALTHY, connect
from harness import FULL, free_ports, listening_pids, open_files, own_server, run_tests, test, wait_until
from real_servers import HttpClient, Nginx

DURATIONS = "http_server_request_duration_seconds_count"
REFUSED = "profshim_http_refused_total"


def start_server(scene, **settings):
    port = free_ports()
    program = scene.start([own_server("signal_server"), "none", str(port)], **settings)
    program.wait_for_port(port)
    program.wait_ready()
    return program


def ask_some(nginx, count):
    client = HttpClient(nginx.port)
    for _ in range(count):
        client.ask("GET", "/users/1")
    client.close()


def post(program, path, **headers):
    answer = program.get(path, {name.replace("_", "-"): value for name, value in headers.items()}, method="POST")
    return answer.status, answer.text


# --- controls

@test
def what_is_reset_stays_reset_for_whoever_serves_and_looks(scene):
    nginx = Nginx(scene)
    program = nginx.program
    program.wait_ready()
    wait_until(lambda: len(nginx.workers()) == 2, 5, "two workers")
    ask_some(nginx, 100)
    before = program.metrics_when(lambda metrics: metrics.sum(DURATIONS) == 100)
    scene.equal("requests before", int(before.sum(DURATIONS)), 100)
    scene.check("bytes were counted", before.sum("profshim_network_transmit_bytes_total") > 0)
    scene.equal("POST /control/reset", post(program, "/control/reset"),
                (200, "all counters begin anew; sampling is enabled, at 99 Hz\n"))
    after = program.metrics()
    scene.equal("requests after the reset", int(after.sum(DURATIONS)), 0)
    scene.equal("connections accepted after the reset", int(after.sum("profshim_connections_accepted_total")), 0)
    scene.equal("families are the same", set(after.types), set(before.types))
    scene.check("processes are no counter and stay", after.sum("profshim_processes") == 3)
    ask_some(nginx, 7)
    scene.equal("requests since", int(program.metrics_when(lambda metrics: metrics.sum(DURATIONS) == 7).sum(DURATIONS)), 7)
    (dead,) = listening_pids(program.profiler_port)
    os.kill(dead, signal.SIGKILL)
    wait_until(lambda: dead not in listening_pids(program.profiler_port) and program.is_ready(), 10, "another server")
    scene.equal("requests as the next server tells", int(program.metrics().sum(DURATIONS)), 7)
    told = json.loads(scene.profshim("report", "--view", "endpoints"))
    scene.equal("requests as the command line tells", sum(endpoint["requests"] for endpoint in told), 7)


@test
def the_state_is_the_same_for_all_who_ask(scene):
    nginx = Nginx(scene)
    program = nginx.program
    program.wait_ready()
    scene.equal("hz", post(program, "/control/hz?value=250"), (200, "sampling is enabled, at 250 Hz\n"))
    scene.equal("disable", post(program, "/control/disable"), (200, "sampling is disabled, at 250 Hz\n"))
    configuration = program.json("/self")["configuration"]
    scene.equal("/self", (configuration["hz"], configuration["is_enabled"]), (250, False))
    (dead,) = listening_pids(program.profiler_port)
    os.kill(dead, signal.SIGKILL)
    wait_until(lambda: dead not in listening_pids(program.profiler_port) and program.is_ready(), 10, "another server")
    configuration = program.json("/self")["configuration"]
    scene.equal("/self of the next server", (configuration["hz"], configuration["is_enabled"]), (250, False))
    scene.equal("enable", post(program, "/control/enable"), (200, "sampling is enabled, at 250 Hz\n"))


@test
def only_who_may_changes_something_and_refusals_are_counted(scene):
    program = start_server(scene, token="secret")
    bearer = {"Authorization": "Bearer secret"}
    for what, headers, wanted, reason in (
            ("without the token", {}, 401, "token"), ("with a wrong one", {"Authorization": "Bearer secre"}, 401, "token"),
            ("from another site", {**bearer, "Origin": "http://evil.example"}, 403, "cross_site"),
            ("from another port of this machine", {**bearer, "Sec_Fetch_Site": "same-site"}, 403, "cross_site"),
            ("under another name", {**bearer, "Host": "evil.example"}, 421, "host")):
        before = program.metrics().sum(REFUSED, reason=reason)
        status, text = post(program, "/control/disable", **headers)
        scene.equal("status " + what, status, wanted)
        scene.equal("lines of the answer", len(text.splitlines()), 1)
        scene.equal("counted as " + reason, program.metrics().sum(REFUSED, reason=reason) - before, 1.0)
    scene.check("sampling goes on", program.json("/self")["configuration"]["is_enabled"])
    scene.equal("with the token", post(program, "/control/disable", **bearer)[0], 200)
    scene.check("the token is in no answer", "secret" not in program.get_ok("/self").text)


@test
def where_others_can_come_in_nothing_is_told_without_a_token(scene):
    port = free_ports()
    program = scene.start([own_server("signal_server"), "none", str(free_ports())], listen="0.0.0.0:%d" % port)
    program.profiler_port = port
    wait_until(lambda: answers(program), 10, "an answer")
    answer = program.get("/metrics")
    scene.equal("status", answer.status, 401)
    scene.check("the answer names the variable", "PROFSHIM_TOKEN" in answer.text, answer.text)
    scene.check("so does the log", "PROFSHIM_TOKEN" in program.stderr(), program.stderr())


def answers(program):
    try:
        return program.get("/-/ready").status
    except OSError:
        return 0


# --- many and slow clients

def sockets_of(pid):
    return sum(link.startswith("socket:") for link in open_files(pid))


def threads_of(pid):
    return len(os.listdir("/proc/%d/task" % pid))


@test
def a_thousand_connections_take_a_few_places_and_a_scrape_comes_through(scene):
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    program = start_server(scene)
    at_rest, threads = sockets_of(program.pid), threads_of(program.pid)
    clients = [connect(program.profiler_port) for _ in range(1000)]
    for number, client in enumerate(clients):
        if number % 2:
            try:
                client.send(b"GET /metrics HTTP/1.1\r\nHost: local")  # a head that never ends
            except OSError:
                pass  # not accepted yet, or closed already
    began = time.monotonic()
    deadline = began + 30
    while not program.is_ready():  # our own connection waits behind theirs
        scene.check("an answer within 30 s", time.monotonic() < deadline)
    scene.say("a scrape was answered after %.1f s" % (time.monotonic() - began))
    scene.at_most("sockets for them", sockets_of(program.pid) - at_rest, CLIENTS_MAX)
    scene.equal("threads", threads_of(program.pid), threads)
    for client in clients:
        client.close()
    wait_until(lambda: sockets_of(program.pid) <= at_rest + 1, 20, "all places are free again")
    refused = program.metrics().by(REFUSED, "reason")
    scene.check("who made way is counted", refused.get("busy", 0) > 0, refused)
    scene.equal("exit code", program.stop(), 0)


@test
def who_asks_too_slowly_is_told_so(scene):
    program = start_server(scene)
    client = socket.create_connection(("127.0.0.1", program.profiler_port), timeout=30)
    began, received = time.monotonic(), b""
    client.settimeout(0.5)
    while b"\r\n\r\n" not in received and time.monotonic() - began < 30:
        try:
            client.send(b"GET /"[:1] if not received else b"")  # one byte in half a second
            received += client.recv(4096)
        except socket.timeout:
            continue
        except OSError:
            break
    scene.say("after %.1f s: %r" % (time.monotonic() - began, received[:60]))
    scene.check("408", received.startswith(b"HTTP/1.1 408 "), received)
    scene.equal("counted", program.metrics().sum(REFUSED, reason="slow"), 1.0)


NONSENSE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    b"GET /metrics\r\n\r\n",
    b"\0" * 1000,
    b"GET " + b"/" * 40000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(5000)) + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 40000 + b"\r\n\r\n",
    b"GET /report?" + b"&".join(b"top=1" for _ in range(2000)) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /report?%zz=%&%00=%ff%fe&=&&& HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /report?seconds=999999999 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /control/reset HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nffffffffffffffff\r\n",
    b"POST /control/reset HTTP/1.1\r\nHost: localhost\r\nContent-Length: 18446744073709551615\r\n\r\n",
    b"POST /control/hz?value=9&value=8 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\nHost: localhost\n\n", b" GET / HTTP/1.1\r\n\r\n", b"\r\n" * 5000,
]


def speak(port, data):
    """Sends it, closes its side, and returns what comes back, until there is silence."""
    client = socket.create_connection(("127.0.0.1", port), timeout=0.3)
    received = b""
    try:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        while True:
            piece = client.recv(65536)
            if not piece:
                break
            received += piece
    except OSError:
        pass  # it hung up before it had all, or is silent
    client.close()
    return received


@test
def nonsense_is_answered_or_hung_up_on_and_changes_nothing(scene):
    program = start_server(scene)
    chance = random.Random(1)
    for data in NONSENSE:
        received = speak(program.profiler_port, data)
        status = received.split(b" ")[1:2]
        scene.check("no success for %r" % data[:40], status != [b"200"] or data.startswith((b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\r\nHost :")), received[:80])
        scene.check("the server goes on after %r" % data[:40], program.is_ready())
    scene.at_least("heads that were refused for their size, and counted", program.metrics().sum(REFUSED, reason="head"), 3)
    for _ in range(300 if FULL else 30):
        data = bytearray(chance.choice([HEALTHY] + NONSENSE)[:2000])
        for _ in range(chance.randrange(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        speak(program.profiler_port, bytes(data))
    program.wait_ready()
    configuration = program.json("/self")["configuration"]
    scene.equal("the state", (configuration["hz"], configuration["is_enabled"]), (99, True))
    scene.equal("exit code", program.stop(), 0)


if __name__ == "__main__":
    run_tests()
