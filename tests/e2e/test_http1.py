#!/usr/bin/env python3
"""HTTP/1.x to the letter of RFC 9112: each form of request and response, alone and in pipelines, however it is received, is
counted once with its method, route and status, as the server's own log has it; and by a program that asks, too.

By itself, test_http1.py --drive PORT ROUNDS sends the whole of it to a server: the program that asks.
"""
import collections
import os
import re
import select
import socket
import subprocess
import sys

from harness import Failure, free_ports, own_server, requests_wanted, run_tests, test, wait_until
from real_servers import HttpClient, Nginx

SERVED = "http_server_request_duration_seconds_count"
ASKED = "http_client_request_duration_seconds_count"

Exchange = collections.namedtuple("Exchange", "request method route status error answers")


def exchange(text, method, route, status, error="", answers=1):
    """A request as it is sent; the labels that it gets; how many answers come, of which all but the last are interim."""
    return Exchange(text.encode("latin-1") if isinstance(text, str) else text, method, route, str(status), error, answers)


def get(target, route, status=200, method="GET", label=None, fields="", version="1.1", body="", answers=1):
    return exchange("%s %s HTTP/%s\r\nHost: a\r\n%s\r\n%s" % (method, target, version, fields, body),
                    label or method, route, status, answers=answers)


def counted(number):
    return "/counted/%d" % number, "/counted/{id}"


CHUNKS = "5\r\nhello\r\n0a ; name=\"x;y\"\r\n0123456789\r\n000\r\nX-Sum: 7\r\nX-Other:\r\n\r\n"

# Requests after each of which the connection goes on: together they are one pipeline.
PIPELINE = [
    get(*counted(10)), get(*counted(0)), get(*counted(70000)), get("/chunked/1000", "/chunked/{id}"),
    get("/chunked/0", "/chunked/{id}"), get(*counted(1000), method="HEAD"),
    get("/chunked/500", "/chunked/{id}", method="HEAD"),
    # Any token is a method, and methods are case-sensitive.
    *[get(*counted(5), method=method) for method in ("DELETE", "OPTIONS", "TRACE")],
    *[get(*counted(5), method=method, label="_OTHER")
      for method in ("PROPFIND", "M-SEARCH", "get", "GETS", "Z", "!#$%&'*+-.^_`|~0aZ", "A" * 40)],
    # The four forms of a target; CONNECT's is further down.
    get("http://example.org/counted/3", "/counted/{id}"), get("HTTP://Example.ORG:8080/counted/3?a=b", "/counted/{id}"),
    get("http://example.org", "/"), get("*", "*", method="OPTIONS"), get("/counted/3?q=/other&r=%20#f", "/counted/{id}"),
    get("/counted/4?" + "x" * 3000, "/counted/{id}"), get("/", "/"),
    # Bodies of requests.
    get(*counted(1), method="POST", fields="Content-Length: 5\r\n", body="hello"),
    get(*counted(1), method="POST", fields="content-LENGTH:\t 0005 \t\r\n", body="hello"),
    get(*counted(1), method="PUT", fields="Content-Length: 0\r\n"), get(*counted(1), method="POST"),
    get(*counted(1), method="PATCH", fields="Content-Length: 3, 3\r\nContent-Length: 3\r\n", body="abc"),
    get(*counted(1), method="POST", fields="Content-Length: 39\r\n", body="GET /not/one HTTP/1.1\r\n\r\nHEAD / HTTP/1."),
    get(*counted(1), method="POST", fields="Transfer-Encoding: chunked\r\n", body=CHUNKS),
    get(*counted(1), method="PUT", fields="Transfer-Encoding: gzip, Chunked\r\nTrailer: X-Sum\r\n", body=CHUNKS),
    get(*counted(1), method="POST", fields="Transfer-Encoding: chunked\r\n", body="0\r\n\r\n"),
    get(*counted(1), method="POST", fields="Content-Length: 2\r\nExpect: 100-continue\r\n", body="ok", answers=2),
    get("/hints", "/hints", answers=3),
    # Fields that look like those that matter, and such as are long, empty or odd.
    get(*counted(2), fields="Content-Lengthy: 7\r\nX-Content-Length: 9\r\nTransfer-Encodings: chunked\r\nConnection:\r\n"),
    get(*counted(2), fields="X: \r\nY:\r\nZ:z\r\nObs: \xe4\xf6\r\n" + "Cookie: %s\r\n" % ("c" * 3000)),
    get(*counted(2), fields="X-Forwarded-For: 10.0.0.1\r\nAuthorization: canary-secret\r\nConnection: Keep-Alive, x\r\n"),
    # Ends of lines, and empty ones before a request.
    exchange("GET /counted/2 HTTP/1.1\nHost: a\n\n", "GET", "/counted/{id}", 200),
    exchange("\r\nGET /counted/2 HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/counted/{id}", 200),
    exchange("\r\n\n\r\n\r\nGET /counted/2 HTTP/1.1\r\nHost: a\n\r\n", "GET", "/counted/{id}", 200),
    get(*counted(2), version="1.0", fields="Connection: keep-alive\r\n"),
    # Statuses, those without a body among them.
    *[get("/status/%d" % status, "/status/{id}", status)
      for status in (200, 201, 204, 205, 206, 299, 300, 304, 307, 400, 401, 410, 413, 422, 431, 499, 500, 503, 504, 599)],
    get("/status/304", "/status/{id}", 304, method="HEAD"), get("/status/204", "/status/{id}", 204, method="DELETE"),
]

# A head of 64 KiB, to the byte.
LARGE_HEAD = "GET /counted/2 HTTP/1.1\r\nX: %s\r\n\r\n"
LARGE = exchange(LARGE_HEAD % ("x" * (65536 - len(LARGE_HEAD) + 2)), "GET", "/counted/{id}", 200)
TOO_LARGE = exchange(LARGE_HEAD % ("x" * (65537 - len(LARGE_HEAD) + 2)), "GET", "/counted/{id}", 400, "parse")


def bad(text, error="parse", method="GET", route="/counted/{id}"):
    return exchange(text, method, route, 400, error)


def bad_field(field, rest="", error="parse"):
    return bad("GET /counted/1 HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n%s" % (field, rest), error)


def no_request(line):
    return exchange(line + "\r\nHost: a\r\n\r\n", "_OTHER", "_OTHER", 400, "parse")


# Requests whose connection ends with the answer. What is sent after them is answered by nobody and counts as nothing.
LAST = [
    get("/close/100", "/close/{id}"), get("/close/0", "/close/{id}"), get("/close/200000", "/close/{id}"),
    get("/close/100", "/close/{id}", method="HEAD"), get("/close/100", "/close/{id}", version="1.0"),
    get(*counted(2), version="1.0"), get(*counted(2), fields="Connection: x, Close\r\n"),
    get("/chunked/9", "/chunked/{id}", fields="Connection: close\r\n"),
    get("/refuse", "/refuse", 413, method="POST", fields="Content-Length: 1000000\r\nExpect: 100-continue\r\n"),
    # Refused for their form: RFC 9112 clauses 2.2, 5.1, 5.2, 6.1, 6.3, 7.1.
    bad_field("X: a\r\n folded"), bad_field(" folded: a"), bad_field("Content-Length:\r\n 5", "hello"),
    bad_field("Transfer-Encoding:\r\n\tchunked", "0\r\n\r\n"), bad_field("Content-Length : 5", "hello"),
    bad_field("Transfer-Encoding\t: chunked", "0\r\n\r\n"),
    bad_field("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
    bad_field("Content-Length: 5\r\nContent-Length: 6", "hello"), bad_field("Content-Length: 5, 6", "hello"),
    bad_field("Content-Length: +5", "hello"), bad_field("Content-Length: 5 5", "hello"),
    bad_field("Content-Length:", "hello"),
    bad_field("Transfer-Encoding: gzip"), bad_field("Transfer-Encoding: chunked, gzip", "0\r\n\r\n"),
    bad_field("Transfer-Encoding: xchunked", "0\r\n\r\n"), bad_field("Transfer-Encoding: chunked", "x\r\n"),
    bad_field("Transfer-Encoding: chunked", "3\r\nabcd\r\n"), bad_field("Transfer-Encoding: chunked", ";x\r\n"),
    # Refused, but for what makes no difference to where the request ends.
    bad_field("No colon", error=""), bad_field("X : a", error=""), bad_field("X(: a", error=""),
    # No requests at all, but the server speaks HTTP.
    no_request("GET /"), no_request("GET"), no_request(" GET / HTTP/1.1"), no_request("GET / HTTP/2.0"),
    no_request("G(T / HTTP/1.1"), no_request("GET / HTTP/1.1x"), no_request("GET  HTTP/1.1"), no_request("\x16\x03"),
    no_request("nonsense"),
    TOO_LARGE,
]

Stream = collections.namedtuple("Stream", "request status endpoint")
STREAMS = [
    Stream(b"GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 101, "GET /upgrade"),
    Stream(b"CONNECT example.org:443 HTTP/1.1\r\nHost: a\r\n\r\n", 200, None),
]


class Reader(HttpClient):
    """A connection whose answers are checked in full once, and afterwards by their bytes."""

    def _chunk(self):
        """With extensions, and trailers after the last one."""
        size = int(self.reader.readline().split(b";")[0], 16)
        chunk = self.reader.read(size)
        while self.reader.readline() != b"\r\n":
            if size:
                raise Failure("a chunk without its end")
        return chunk

    def answers(self, exchanges):
        """The statuses of the final answers to these; interim ones before them."""
        statuses = []
        for one in exchanges:
            method = one.request.lstrip(b"\r\n").split(b" ")[0].decode("latin-1")
            for _ in range(one.answers - 1):
                if self.answer(method)[0] >= 200:
                    raise Failure("no interim answer to %.80r" % one.request)
            statuses.append(str(self.answer(method)[0]))
        return statuses


def check_statuses(exchanges, statuses):
    for one, status in zip(exchanges, statuses):
        if status != one.status:
            raise Failure("%s instead of %s for %.200r" % (status, one.status, one.request))


def exchange_bytes(connection, text, is_enough):
    """Sends text while what comes back is read, in one thread, as an event loop does; until is_enough(bytes so far, what
    came) or the end. How many bytes came."""
    view, got = memoryview(text), 0
    connection.setblocking(False)
    while True:
        readable, writable, _ = select.select([connection], [connection] if view else [], [], 30)
        if not readable and not writable:
            raise Failure("nothing came for 30 s, after %d bytes" % got)
        if writable:
            view = view[connection.send(view[:1 << 17]):]
            if not view and is_enough is None:
                connection.shutdown(socket.SHUT_WR)
        if readable:
            data = connection.recv(1 << 18)
            got += len(data)
            if not data or (is_enough and is_enough(got)):
                connection.setblocking(True)
                return got


def learn_pipeline(port, exchanges):
    """How many bytes answer these, which are checked; in pieces that a socket holds."""
    client = Reader(port)
    for begin in range(0, len(exchanges), 20):
        some = exchanges[begin:begin + 20]
        client.send(b"".join(one.request for one in some))
        check_statuses(some, client.answers(some))
    client.socket.shutdown(socket.SHUT_WR)
    rest = client.reader.read()
    client.close()
    if rest:
        raise Failure("more than answers: %.200r" % rest)


def send_pipelines(port, rounds):
    """The whole pipeline so many times; the requests that were answered."""
    text = b"".join(one.request for one in PIPELINE)
    learn_pipeline(port, PIPELINE)
    done = 1
    if done < rounds:
        # All at once, and the end: how many bytes answer that.
        with socket.create_connection(("127.0.0.1", port)) as connection:
            size = exchange_bytes(connection, text, None)
        done += 1
    if done < rounds:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            while done < rounds:
                if exchange_bytes(connection, text, lambda got: got >= size) != size:
                    raise Failure("other answers than before")
                done += 1
    return collections.Counter({one: done for one in PIPELINE})


def send_last(port, one, following=b"GET /counted/99 HTTP/1.1\r\nHost: a\r\n\r\n"):
    client = Reader(port)
    try:
        client.send(one.request + following)
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused before it was read
    check_statuses([one], client.answers([one]))
    if client.reader.read():
        raise Failure("more than one answer to %.200r" % one.request)
    client.close()


def send_stream(port, stream, data=b"GET /counted/1 HTTP/1.1\r\n\r\nand more"):
    client = HttpClient(port)
    client.send(stream.request)
    line = client.reader.readline()
    if line.split(b" ")[1] != b"%d" % stream.status:
        raise Failure("no stream: %r" % line)
    while client.reader.readline() != b"\r\n":
        pass
    client.send(data)
    if client.reader.read(len(data)) != data:
        raise Failure("the stream is no echo")
    client.close()


def send_everything(port, rounds):
    """All exchanges: pipelines so many times, what ends a connection a hundredth as often. What they were."""
    sent = send_pipelines(port, rounds)
    large = HttpClient(port)
    for _ in range(3):
        large.send(LARGE.request)
        large.answer()
        sent[LARGE] += 1
    large.close()
    for _ in range(max(1, rounds // 100)):
        for one in LAST:
            send_last(port, one)
            sent[one] += 1
    return sent


class Server:
    """tests/e2e/servers/http1_server.c"""

    def __init__(self, scene, how="recv", shim=True, **settings):
        self.scene = scene
        self.port = free_ports()
        self.log_path = scene.path("served.log")
        self.program = scene.start([own_server("http1_server"), str(self.port), self.log_path, how], "http1_server",
                                   shim=shim, **settings)
        self.program.wait_for_port(self.port)
        if shim:
            self.program.wait_ready()

    def logged(self, remark=None):
        """{(method, target, status, remark): how many}"""
        with open(self.log_path, encoding="latin-1") as log:
            lines = collections.Counter(tuple(line.rstrip("\n").split("\t")) for line in log)
        return {key: count for key, count in lines.items() if remark is None or key[3] == remark}


def labels_of(sent):
    counts = collections.Counter()
    for one, count in sent.items():
        error = one.error or (one.status if one.status >= "500" else "")
        counts[one.method, one.route, one.status, error] += float(count)
    return dict(counts)


def check_server(scene, server, sent, streams=0):
    total = sum(sent.values())
    wait_until(lambda: sum(server.logged().values()) >= total + streams, 10, "the server logging all requests")
    logged = server.logged()
    scene.equal("requests that the server logged", sum(logged.values()), total + streams)
    by_status = collections.Counter()
    for (_, _, status, remark), count in logged.items():
        if remark != "stream":
            by_status[status] += count
    sent_by_status = collections.Counter()
    for one, count in sent.items():
        sent_by_status[one.status] += count
    scene.equal("and their statuses, and those of the client", dict(by_status), dict(sent_by_status))
    metrics = server.program.metrics_when(lambda metrics: metrics.sum(SERVED) >= total)
    scene.equal("requests by method, route, status and error",
                metrics.by(SERVED, "http_request_method", "http_route", "http_response_status_code", "error_type"),
                labels_of(sent))
    scene.equal("sum of %s" % SERVED, int(metrics.sum(SERVED)), total)
    for name in ("profshim_unclassified_connections_total", "profshim_requests_lost_total", "http_server_active_requests"):
        scene.equal(name, int(metrics.sum(name)), 0)
    scene.check("no secret in what profshim tells", "canary" not in metrics.text)
    return metrics


def rounds_for(usual):
    return max(3, requests_wanted(usual) // len(PIPELINE))


@test
def the_whole_of_http_1_is_counted_exactly(scene):
    server = Server(scene)
    sent = send_everything(server.port, rounds_for(100000))
    for stream in STREAMS:
        send_stream(server.port, stream)
    metrics = check_server(scene, server, sent, streams=len(STREAMS))
    scene.say("%d requests of %d kinds" % (sum(sent.values()), len(sent)))
    bodies = "http_server_request_body_size_bytes_sum"
    wanted = collections.Counter()
    for one, count in sent.items():
        if b"\r\nTransfer-Encoding: " in one.request and one.status == "200":
            wanted[one.method] += count * (15 if b"0123456789" in one.request else 0)
        elif b"ontent-L" in one.request.title() and one.status == "200":
            wanted[one.method] += count * len(one.request.partition(b"\r\n\r\n")[2])
    for method in ("PUT", "PATCH"):
        scene.equal("bytes of bodies of %s" % method, int(metrics.sum(bodies, http_request_method=method)), wanted[method])


def check_how(scene, how):
    server = Server(scene, how)
    sent = send_everything(server.port, 2)
    for stream in STREAMS:
        send_stream(server.port, stream)
    check_server(scene, server, sent, streams=len(STREAMS))
    return server


@test
def peeked_bytes_are_counted_once(scene):
    server = check_how(scene, "peek")
    metrics = server.program.metrics()
    scene.at_least("calls of recv", metrics.sum("profshim_calls_total", call="recv"), 2 * len(LAST))


@test
def requests_received_in_two_places_are_counted_exactly(scene):
    check_how(scene, "readv")


@test
def requests_received_by_recvmsg_are_counted_exactly(scene):
    check_how(scene, "recvmsg")


@test
def requests_received_byte_by_byte_are_counted_exactly(scene):
    server = Server(scene, "bytes")
    sent = collections.Counter()
    small = [one for one in PIPELINE + LAST if len(one.request) < 2000]
    for one in small:
        if one in LAST:
            send_last(server.port, one, following=b"")
        else:
            client = Reader(server.port)
            client.send(one.request)
            check_statuses([one], client.answers([one]))
            client.close()
        sent[one] += 1
    check_server(scene, server, sent)


@test
def a_pipeline_of_any_depth_is_counted_exactly(scene):
    server = Server(scene)
    one = get(*counted(1))
    depth = requests_wanted(20000)
    text = one.request * depth
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        exchange_bytes(connection, text, None)
    check_server(scene, server, {one: depth})


@test
def streams_are_opened_by_upgrade_and_connect(scene):
    server = Server(scene)
    for stream in STREAMS * 5:
        send_stream(server.port, stream)
    # CONNECT and Upgrade in a pipeline after others.
    client = Reader(server.port)
    before = [get(*counted(1)), get("/chunked/5", "/chunked/{id}")]
    client.send(b"".join(one.request for one in before) + STREAMS[0].request)
    check_statuses(before, client.answers(before))
    client.reader.readline()
    client.close()
    sent = collections.Counter(before)
    metrics = check_server(scene, server, sent, streams=11)
    wait_until(lambda: server.program.metrics().sum("profshim_streams_open") == 0, 5, "the streams ending")
    metrics = server.program.metrics()
    scene.equal("streams that ended", int(metrics.sum("profshim_stream_duration_seconds_count")), 11)
    text = metrics.text + server.program.get_ok("/endpoints").text + server.program.get_ok("/report?top=0").text
    scene.check("no host in what profshim tells", "example.org" not in text)


@test
def a_route_is_made_by_an_answer_that_is_not_404(scene):
    server = Server(scene)
    client = HttpClient(server.port)
    for status in (404, 200, 404):
        client.ask("GET", "/status/%d" % status)
    client.close()
    metrics = server.program.metrics_when(lambda metrics: metrics.sum(SERVED) >= 3)
    scene.equal("requests by route and status", metrics.by(SERVED, "http_route", "http_response_status_code"),
                {("_OTHER", "404"): 1.0, ("/status/{id}", "200"): 1.0, ("/status/{id}", "404"): 1.0})


@test
def an_unanswered_request_is_a_reset_and_a_half_one_too(scene):
    server = Server(scene)
    for text in (b"GET /counted/1 HTTP/1.1\r\nHo", b"POST /counted/1 HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc", b"GE"):
        client = HttpClient(server.port)
        client.send(text)
        client.socket.shutdown(socket.SHUT_WR)
        scene.equal("answer to half a request", client.reader.read(), b"")
        client.close()
    metrics = server.program.metrics_when(lambda metrics: metrics.sum(SERVED) >= 2)
    # Two letters might be of anything.
    scene.equal("requests by method and error", metrics.by(SERVED, "http_request_method", "error_type"),
                {("GET", "reset"): 1.0, ("POST", "reset"): 1.0})


@test
def what_a_program_asks_is_counted_exactly(scene):
    server = Server(scene, shim=False)
    rounds = rounds_for(20000)
    program = scene.start([sys.executable, os.path.abspath(__file__), "--drive", str(server.port), str(rounds)], "client",
                          stdin=subprocess.PIPE)
    program.wait_for_output("done")
    program.wait_ready()
    total = int(program.stdout().split()[-1])
    logged = collections.Counter()
    for (method, _, status, _), count in server.logged().items():
        known = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH")
        logged[method if method in known else "_OTHER", status] += float(count)
    scene.equal("requests that the server logged", int(sum(logged.values())), total)
    metrics = program.metrics_when(lambda metrics: metrics.sum(ASKED) >= total)
    scene.equal("requests by method and status",
                metrics.by(ASKED, "http_request_method", "http_response_status_code"), dict(logged))
    scene.equal("requests lost", int(metrics.sum("profshim_requests_lost_total")), 0)
    scene.equal("whom it asked", len(metrics.by(ASKED, "server_address")), 1)
    scene.check("no secret in what profshim tells", "canary" not in metrics.text)


@test
def nginx_refuses_what_it_refuses_and_each_is_counted(scene):
    """Statuses as nginx's log has them; which form it minds is its own affair."""
    nginx = Nginx(scene)
    nginx.program.wait_ready()
    old = no_request("GET /").request  # HTTP/0.9, which nginx answers by a body alone
    hello = [re.sub(rb"/counted/[12]\b|/close/100", b"/hello", one.request)
             for one in LAST + PIPELINE if len(one.request) < 8000 and one.request != old]
    count = 0
    for text in hello:
        client = HttpClient(nginx.port)
        client.send(text)
        client.socket.shutdown(socket.SHUT_WR)
        client.reader.read()
        client.close()
        count += 1
    logged = nginx.logged(count)
    statuses = collections.Counter(line.status for line in logged)
    metrics = nginx.program.metrics_when(lambda metrics: metrics.sum(SERVED) >= len(logged))
    scene.equal("requests by status", metrics.by(SERVED, "http_response_status_code"),
                {status: float(number) for status, number in statuses.items()})
    scene.equal("connections that were not understood", int(metrics.sum("profshim_unclassified_connections_total")), 0)


def drive(port, rounds):
    sent = send_everything(port, rounds)
    print("done", sum(sent.values()), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--drive"]:
        drive(int(sys.argv[2]), int(sys.argv[3]))
    else:
        run_tests()
