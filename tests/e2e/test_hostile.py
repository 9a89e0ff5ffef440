#!/usr/bin/env python3
"""URLs that no two requests share, against a real server that answers all of them: the number of routes stays bounded,
and every request is counted exactly once. A million with --full."""
import collections
import multiprocessing
import random
import re
import socket
import time

from harness import free_ports, requests_wanted, run_tests, test
from real_servers import HttpClient, nginx_argv

DURATIONS = "http_server_request_duration_seconds_count"
MAX_ROUTES = 256
WORDS = ("users orders items products search list get api v1 files images pages account session team group role event log "
         "report tasks jobs login settings index default news people").split()

NGINX_SITE = """
access_log off;
large_client_header_buffers 4 32k;
server {{
    listen 127.0.0.1:{port};
    location / {{ return 200; }}
    location ~ missing {{ return 404; }}
}}
"""


def start_nginx(scene, **settings):
    """An nginx that knows every path, but for those with "missing" in them; its program and port."""
    port = free_ports()
    program = scene.start(nginx_argv(scene, NGINX_SITE.format(port=port), level="crit"), "nginx", **settings)
    program.wait_for_port(port)
    program.wait_ready()
    return program, port


def letters(number):
    text = ""
    while True:
        text += chr(ord("a") + number % 26)
        number //= 26
        if not number:
            return text


def hostile_url(chance, number):
    """A URL with number in it. Its path may be one that came before: then the query differs."""
    words = lambda n: "".join("/" + chance.choice(WORDS) for _ in range(n))
    kind = chance.randrange(12)
    if kind == 0:
        return "/" + letters(number)
    if kind == 1:
        return words(chance.randrange(4)) + "/" + letters(number) + words(chance.randrange(4))
    if kind == 2:
        return words(1 + chance.randrange(6)) + "-" + letters(number)
    if kind == 3:
        return "".join("/" + letters(chance.randrange(9999)) for _ in range(20)) + "/%d" % number
    if kind == 4:
        return "/" + letters(number) + "x" * chance.randrange(2000)
    if kind == 5:
        return "/users/%d/posts/%08x" % (number, chance.randrange(1 << 32))
    if kind == 6:
        return "/%%C3%%A9%%%02X/%%7B%d%%7D" % (chance.randrange(32, 127), number)
    if kind == 7:
        return "/{id}/{name}/{x%d}/{}" % number
    if kind == 8:
        return "/a/../b/./%d//%s" % (number, letters(number))
    if kind == 9:
        return words(2) + ".php;session=%d?q=%d" % (number, number)
    if kind == 10:
        return words(3) + "?" + letters(number)
    return "http://host%d.example%s/%s" % (number, words(1), letters(number))


HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) .*?\r\n\r\n", re.S)
LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n")


def take_answers(unread, statuses):
    """Counts the whole answers in what was received; the rest."""
    at = 0
    while True:
        head = HEAD.match(unread, at)
        if not head:
            return unread[at:]
        length = LENGTH.search(head.group(0))
        end = head.end() + int(length.group(1) if length else 0)
        if end > len(unread):
            return unread[at:]
        statuses[head.group(1).decode()] += 1
        at = end


def ask(port, first, count, missing_of_ten, results):
    """So many requests over one connection, in pipelines; how many answers of each status."""
    chance, statuses = random.Random(first), collections.Counter()
    client = socket.create_connection(("127.0.0.1", port), timeout=60)
    unread, sent = b"", 0
    while sent < count:
        batch = min(100, count - sent)
        lines = []
        for number in range(first + sent, first + sent + batch):
            url = hostile_url(chance, number)
            if chance.randrange(10) < missing_of_ten:
                url = "/missing" + (url if url.startswith("/") else "/" + letters(number))
            lines.append("GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % url)
        client.sendall("".join(lines).encode())
        sent += batch
        while sum(statuses.values()) < sent:
            received = client.recv(1 << 20)
            if not received:
                sent = count  # the caller sees that answers are missing
                break
            unread = take_answers(unread + received, statuses)
    client.close()
    results.put(statuses)


def flood(port, count, missing_of_ten=0, clients=4):
    """By several clients at once; how many answers of each status came."""
    results, statuses = multiprocessing.Queue(), collections.Counter()
    each = count // clients
    processes = [multiprocessing.Process(target=ask, args=(port, number * each, each, missing_of_ten, results))
                 for number in range(clients)]
    for process in processes:
        process.start()
    for _ in processes:
        statuses.update(results.get(timeout=300))
    for process in processes:
        process.join()
    return statuses


def routes_of(metrics):
    return {(method, route) for method, route in metrics.by(DURATIONS, "http_request_method", "http_route")
            if route != "_OTHER"}


def counted(metrics):
    return {status: int(count) for status, count in metrics.by(DURATIONS, "http_response_status_code").items()}


@test
def distinct_urls_make_no_more_routes_than_may_be_and_are_counted_once_each(scene):
    program, port = start_nginx(scene)
    wanted = requests_wanted(100000)
    began = time.monotonic()
    statuses = flood(port, wanted)
    scene.say("%d requests in %.1f s" % (sum(statuses.values()), time.monotonic() - began))
    scene.equal("answers", sum(statuses.values()), wanted // 4 * 4)
    metrics = program.metrics_when(lambda metrics: sum(counted(metrics).values()) >= wanted // 4 * 4)
    scene.equal("requests of each status", counted(metrics), dict(statuses))
    scene.at_most("routes", len(routes_of(metrics)), MAX_ROUTES)
    overflow = metrics.sum(DURATIONS, http_route="_OTHER") - metrics.sum(DURATIONS, http_route="_OTHER",
                                                                        http_response_status_code="400")
    scene.equal("requests that found no place", metrics.sum("profshim_label_overflow_total", family="endpoint"), overflow)
    scene.equal("overflow of label sets", metrics.sum("profshim_label_overflow_total", family="series"), 0.0)


@test
def what_is_not_found_makes_no_route(scene):
    program, port = start_nginx(scene)
    wanted = requests_wanted(20000)
    statuses = flood(port, wanted, missing_of_ten=10)
    metrics = program.metrics_when(lambda metrics: sum(counted(metrics).values()) >= sum(statuses.values()))
    scene.equal("requests of each status", counted(metrics), dict(statuses))
    scene.equal("only not found", set(statuses), {"404"})
    scene.equal("routes", routes_of(metrics), set())
    scene.equal("overflow of endpoints", metrics.sum("profshim_label_overflow_total", family="endpoint"), 0.0)


@test
def routes_that_were_there_before_a_flood_are_there_after_it(scene):
    program, port = start_nginx(scene)
    own = ["/api/v1/users/7", "/api/v1/users/7/orders", "/checkout", "/static/app.js", "/invoices/7"]
    client = HttpClient(port)
    for path in own:
        client.ask("GET", path)
    before = sum(flood(port, requests_wanted(20000), missing_of_ten=5).values())
    for path in own * 10:
        client.ask("GET", path)
    client.close()
    metrics = program.metrics_when(lambda metrics: sum(counted(metrics).values()) >= before + 11 * len(own))
    scene.equal("requests", sum(counted(metrics).values()), before + 11 * len(own))
    for path in own:
        route = path.replace("7", "{id}")
        scene.at_least("requests of %s" % route, metrics.sum(DURATIONS, http_route=route), 11)
    scene.at_most("routes", len(routes_of(metrics)), MAX_ROUTES)


@test
def a_cap_of_its_own_is_kept_to(scene):
    program, port = start_nginx(scene, max_routes=10)
    statuses = flood(port, requests_wanted(20000))
    metrics = program.metrics_when(lambda metrics: sum(counted(metrics).values()) >= sum(statuses.values()))
    scene.equal("requests of each status", counted(metrics), dict(statuses))
    scene.at_most("routes", len(routes_of(metrics)), 10)


if __name__ == "__main__":
    run_tests()
