#!/usr/bin/env python3
"""HTTP/2 of real servers and clients, with and without TLS, at 1, 10 and 100 streams at once: every request is counted
with its route and status."""
import socket

from harness import FULL, Failure, requests_wanted, run_tests, test, wait_until
from http2_servers import Http2Nginx, Nghttpd, Nghttpx, h2load
from real_servers import LogLine, counts_of_log, counts_of_metrics

STREAMS = (1, 10, 100)
SERVED = "http_server_request_duration_seconds_count"
ASKED = "http_client_request_duration_seconds_count"


def all_counted(metrics):
    return sum(counts_of_metrics(metrics).values())


def check_nothing_lost(scene, metrics):
    for family in ("profshim_requests_lost_total", "profshim_unclassified_connections_total"):
        scene.equal(family, metrics.sum(family), 0.0)
    scene.equal("active requests", metrics.sum("http_server_active_requests"), 0.0)


def nginx_log(scene, wanted):
    """What nginx logged, once it is as much as wanted."""
    def lines():
        with open(scene.path("access.log")) as log:
            fields = (line.rstrip("\n").split("\t") for line in log)
            return [LogLine(method, uri, status, int(sent), int(length)) for method, uri, status, sent, length in fields]
    try:
        wait_until(lambda: len(lines()) >= wanted, 10, "nginx logging %d requests" % wanted)
    except Failure:
        pass  # the caller compares, and tells the numbers
    return lines()


def load_nghttpd(scene, is_tls):
    """As many requests at each number of streams, half of them for what is not there."""
    count = (1000000 if FULL and not is_tls else requests_wanted(20000)) // 40 * 40
    server = Nghttpd(scene, is_tls=is_tls)
    base = "%s://127.0.0.1:%d" % ("https" if is_tls else "http", server.port)
    for streams in STREAMS:
        classes = h2load(scene, count, 4, streams, [base + "/files/small.txt", base + "/none?q=1"])
        scene.equal("answers to h2load at %d streams" % streams, classes,
                    {"2xx": count // 2, "3xx": 0, "4xx": count // 2, "5xx": 0})
    wanted = float(count // 2 * len(STREAMS))
    metrics = server.program.metrics_when(lambda found: all_counted(found) >= 2 * wanted)
    scene.equal("requests", counts_of_metrics(metrics),
                {("GET", "/files/small.txt", "200"): wanted, ("GET", "_OTHER", "404"): wanted})
    scene.equal("schemes", list(metrics.by(SERVED, "url_scheme")), ["https" if is_tls else "http"])
    scene.equal("bytes of bodies", metrics.sum("http_server_response_body_size_bytes_sum", http_route="/files/small.txt"),
                1024 * wanted)
    # One more connection asked whether it listens already.
    scene.within("connections of HTTP/2", metrics.sum("profshim_connections_accepted_total", protocol="http2"), 12.5, 0.5)
    check_nothing_lost(scene, metrics)


@test
def nghttpd_at_1_10_and_100_streams(scene):
    load_nghttpd(scene, False)


@test
def nghttpd_over_tls(scene):
    load_nghttpd(scene, True)


@test
def nghttpd_with_threads(scene):
    server = Nghttpd(scene, threads=3)
    base = "http://127.0.0.1:%d" % server.port
    count = requests_wanted(20000) // 360 * 360
    h2load(scene, count, 6, 20, [base + "/files/small.txt", base + "/files/large.txt", base + "/none"])
    metrics = server.program.metrics_when(lambda found: all_counted(found) >= count)
    third = float(count // 3)
    scene.equal("requests", counts_of_metrics(metrics), {("GET", "/files/small.txt", "200"): third,
                                                         ("GET", "/files/large.txt", "200"): third,
                                                         ("GET", "_OTHER", "404"): third})
    check_nothing_lost(scene, metrics)


def load_nginx(scene, is_tls):
    count = requests_wanted(10000) // 40 * 40
    server = Http2Nginx(scene)
    base = "%s://127.0.0.1:%d" % (("https", server.tls_port) if is_tls else ("http", server.port))
    paths = ["/files/small.txt", "/users/%d", "/empty", "/moved", "/broken", "/none", "/files/large.txt"]
    # Files one by one without TLS: nginx waits 40 ms for each one's acknowledgement, with and without the shim.
    counts = {1: count // 25, 10: count, 100: count}
    for streams in STREAMS:
        urls = [base + (path % streams if "%d" in path else path) for path in paths]
        h2load(scene, counts[streams], 4, streams, urls)
    logged = nginx_log(scene, sum(counts.values()))
    scene.equal("lines that nginx logged", len(logged), sum(counts.values()))
    metrics = server.program.metrics_when(lambda found: all_counted(found) >= len(logged))
    scene.equal("requests by nginx's own log", counts_of_metrics(metrics), counts_of_log(logged))
    scene.equal("schemes", list(metrics.by(SERVED, "url_scheme")), ["https" if is_tls else "http"])
    check_nothing_lost(scene, metrics)


@test
def nginx_without_tls(scene):
    load_nginx(scene, False)


@test
def nginx_over_tls(scene):
    load_nginx(scene, True)


@test
def what_curl_does_with_nginx(scene):
    server = Http2Nginx(scene)
    base = "http://127.0.0.1:%d" % server.port
    quiet = ["curl", "-s", "-S", "-o", "/dev/null", "--http2-prior-knowledge"]
    body = scene.write("body", "y" * 300000)
    for url in (base + "/users/1", base + "/users/2?token=x"):
        scene.run_ok([*quiet, url], shim=False)
    scene.run_ok([*quiet, "-T", body, base + "/uploads/one"], shim=False)
    scene.run_ok([*quiet, "-X", "DELETE", base + "/uploads/one"], shim=False)
    scene.run_ok([*quiet, "--head", base + "/files/large.txt"], shim=False)
    scene.run_ok([*quiet, "-r", "0-99", base + "/files/large.txt"], shim=False)
    # nghttp takes what is pushed, which curl does not.
    scene.run_ok(["nghttp", "-n", base + "/pushed/1"], shim=False)
    logged = nginx_log(scene, 8)
    wanted = counts_of_log(logged)
    metrics = server.program.metrics_when(lambda found: all_counted(found) >= len(logged))
    scene.equal("requests by nginx's own log", counts_of_metrics(metrics), wanted)
    scene.equal("promises that were kept", wanted[("GET", "/files/small.txt", "200")], 1.0)
    scene.equal("bytes of uploads", metrics.sum("http_server_request_body_size_bytes_sum", http_request_method="PUT"),
                300000.0)
    check_nothing_lost(scene, metrics)


@test
def a_client_that_goes_away_has_its_requests_reset(scene):
    server = Http2Nginx(scene)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        settings = b"\0\0\6\4\0\0\0\0\0" + b"\0\4\0\0\0\0"  # a window of nothing: no answer's body can come
        heads = b"".join(b"\0\0\x17\1\5\0\0\0" + bytes([stream]) + b"\x82\x86\x04\x10/files/small.txt\x41\1h"
                         for stream in (1, 3, 5))
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + heads)
        reset = b"\0\0\4\3\0\0\0\0\3\0\0\0\x08"
        active = "http_server_active_requests"
        metrics = server.program.metrics_when(lambda found: found.sum(active) == 3)
        scene.equal("active requests", metrics.sum(active), 3.0)
        client.sendall(reset)
        metrics = server.program.metrics_when(lambda found: found.sum(active) == 2)
        scene.equal("active requests after one is reset", metrics.sum(active), 2.0)
    metrics = server.program.metrics_when(lambda found: all_counted(found) == 3)
    scene.equal("requests", metrics.by(SERVED, "http_route", "error_type"), {("/files/small.txt", "reset"): 3.0})
    check_nothing_lost(scene, metrics)


@test
def a_proxy_is_asked_by_upgrade_and_asks_in_http2(scene):
    backend = Nghttpd(scene, shim=False)
    proxy = Nghttpx(scene, backend.port)
    base = "http://127.0.0.1:%d" % proxy.port
    urls = [base + "/files/small.txt"] * 3 + [base + "/none"]
    told = scene.run_ok(["curl", "-s", "--http2", "-w", "%{http_version} %{http_code}\n", *urls,
                         *["-o", "/dev/null"] * len(urls)], shim=False)
    scene.equal("curl's versions and statuses", told.split("\n"), ["2 200"] * 3 + ["2 404", ""])
    count = requests_wanted(4000) // 40 * 40
    h2load(scene, count, 4, 10, [base + "/files/small.txt", base + "/none"])
    half = float(count // 2)
    metrics = proxy.program.metrics_when(lambda found: all_counted(found) >= count + 4)
    scene.equal("requests", counts_of_metrics(metrics),
                {("GET", "/files/small.txt", "200"): half + 3, ("GET", "_OTHER", "404"): half + 1})
    scene.equal("requests of the proxy's own", metrics.by(ASKED, "http_request_method", "http_response_status_code"),
                {("GET", "200"): half + 3, ("GET", "404"): half + 1})
    check_nothing_lost(scene, metrics)


if __name__ == "__main__":
    run_tests()
