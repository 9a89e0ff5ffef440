#!/usr/bin/env python3
"""php-fpm behind nginx: every FastCGI request is an HTTP request, as server in php-fpm and as client in nginx, as both
programs' own logs count it."""
import collections
import glob
import os
import socket
import struct

from harness import Failure, free_ports, requests_wanted, run_tests, test, wait_until
from real_servers import HttpClient, nginx_argv, route_of

SERVED = "http_server_request_duration_seconds_count"
ASKED = "http_client_request_duration_seconds_count"

FPM_CONFIG = """
[global]
daemonize = no
error_log = {dir}/fpm-error.log
[www]
{user}
listen = {listen}
listen.mode = 0666
pm = static
pm.max_children = 10
ping.path = /fpm-ping
catch_workers_output = yes
access.log = {dir}/fpm-access.log
access.format = "%m\t%{{REQUEST_URI}}e\t%s"
"""

NGINX_SITE = """
log_format counted "$request_method\\t$request_uri\\t$status";
access_log {dir}/access.log counted;
sendfile on;
client_max_body_size 100m;
upstream fpm {{ server {upstream}; {keepalive} }}
server {{
    listen 127.0.0.1:{port} backlog=2048;
    fastcgi_keep_conn {keep_conn};
    fastcgi_param SCRIPT_FILENAME {dir}/index.php;
    fastcgi_param QUERY_STRING $query_string;
    fastcgi_param REQUEST_METHOD $request_method;
    fastcgi_param CONTENT_TYPE $content_type;
    fastcgi_param CONTENT_LENGTH $content_length;
    fastcgi_param SCRIPT_NAME /index.php;
    fastcgi_param REQUEST_URI $request_uri;
    fastcgi_param DOCUMENT_URI $document_uri;
    fastcgi_param HTTPS $https if_not_empty;
    location / {{ fastcgi_pass fpm; }}
    location /buffered/ {{ client_body_in_file_only clean; fastcgi_pass fpm; }}
}}
"""

SCRIPT = r"""<?php
function cpu_seconds() {
    $used = getrusage();
    return $used['ru_utime.tv_sec'] + $used['ru_stime.tv_sec'] +
        ($used['ru_utime.tv_usec'] + $used['ru_stime.tv_usec']) / 1e6;
}
$parts = explode('/', parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH));
switch ($parts[1]) {
case 'status': http_response_code((int)$parts[2]); echo 'status'; break;
case 'bytes': echo str_repeat('x', (int)$parts[2]); break;
case 'moved': header('Location: /users/1'); break;
case 'echo': case 'buffered': echo strlen(file_get_contents('php://input')); break;
case 'complain': error_log("Status: 500 is not what this is\n"); echo 'complained'; break;
case 'events': header('Content-Type: text/event-stream'); echo "data: 1\n\n"; break;
case 'slow': usleep(60000); echo 'slow'; break;
case 'burn': for ($until = cpu_seconds() + 0.05; cpu_seconds() < $until;) md5('x'); echo 'burned'; break;
case 'endless': set_time_limit(1); for (;;) md5('x');
case 'abort': exit(1);
default: echo 'hello';
}
"""


class Php:
    """php-fpm with ten workers, one for each connection, on a Unix socket or on TCP, behind an nginx; both under the shim,
    sessions apart."""

    def __init__(self, scene, is_unix=True, keep=False, **settings):
        self.scene = scene
        self.port = free_ports()
        fpm_port = free_ports()
        listen = scene.path("fpm.sock") if is_unix else "127.0.0.1:%d" % fpm_port
        is_root = os.geteuid() == 0
        scene.write("index.php", SCRIPT)
        scene.write("fpm-access.log", "", mode=0o666)
        fpm = scene.write("fpm.conf", FPM_CONFIG.format(
            dir=scene.dir, listen=listen, user="user = nobody\ngroup = nogroup" if is_root else ""))
        site = NGINX_SITE.format(dir=scene.dir, port=self.port, upstream="unix:" + listen if is_unix else listen,
                                 keep_conn="on" if keep else "off", keepalive="keepalive 4;" if keep else "")
        os.mkdir(scene.path("tmp"))
        os.chmod(scene.path("tmp"), 0o777)
        self.fpm = scene.start([self.program_path(), "-n", "-d", "sys_temp_dir=" + scene.path("tmp"), "-y", fpm], "php-fpm",
                               **self.session("fpm", settings))
        self.socket_address = listen if is_unix else ("127.0.0.1", fpm_port)
        wait_until(self.is_up, 30, "php-fpm listening on %s" % listen)
        self.nginx = scene.start(nginx_argv(scene, site, workers=1), "nginx", **self.session("nginx", settings))
        self.nginx.wait_for_port(self.port)
        self.fpm.wait_ready()
        self.nginx.wait_ready()

    def session(self, name, settings):
        path = self.scene.path("session-" + name)
        os.mkdir(path, 0o700)
        return {"dir": path, **settings}

    @staticmethod
    def program_path():
        """Debian's name of the program carries the version of PHP."""
        paths = sorted(glob.glob("/usr/sbin/php-fpm*"))
        if not paths:
            raise Failure("no php-fpm is installed")
        return paths[-1]

    def connect(self):
        family = socket.AF_UNIX if isinstance(self.socket_address, str) else socket.AF_INET
        client = socket.socket(family)
        client.settimeout(10)
        try:
            client.connect(self.socket_address)
        except OSError:
            client.close()
            raise
        return client

    def is_up(self):
        self.fpm.need_running()
        try:
            self.connect().close()
            return True
        except OSError:
            return False

    def logged(self, name, count):
        """{(method, route, status): how many} of a log, once it has so many lines."""
        def lines():
            with open(self.scene.path(name)) as log:
                return [line.rstrip("\n").split("\t") for line in log]
        try:
            wait_until(lambda: len(lines()) >= count, 10, "%d lines in %s" % (count, name))
        except Failure:
            pass  # the caller compares, and tells the numbers
        return {key: float(number) for key, number in collections.Counter(
            (method, route_of(uri.split("?")[0]), status) for method, uri, status in lines()).items()}


def without_routes(counts):
    sums = collections.Counter()
    for (method, _, status), count in counts.items():
        sums[method, status] += count
    return dict(sums)


def check_counts(scene, php, count):
    served = ("http_request_method", "http_route", "http_response_status_code")
    fpm = php.fpm.metrics_when(lambda metrics: metrics.sum(SERVED) >= count)
    logged = php.logged("fpm-access.log", count)
    scene.equal("requests of php-fpm by method, route and status", fpm.by(SERVED, *served), logged)
    nginx = php.nginx.metrics_when(lambda metrics: metrics.sum(ASKED) >= count and metrics.sum(SERVED) >= count)
    logged = php.logged("access.log", count)
    scene.equal("requests of nginx by method, route and status", nginx.by(SERVED, *served), logged)
    scene.equal("requests that nginx asked by method and status",
                nginx.by(ASKED, "http_request_method", "http_response_status_code"), without_routes(logged))
    scene.equal("requests in all", int(nginx.sum(ASKED)), count)
    scene.equal("requests with an error_type besides their status",
                sum(value for metrics, name in ((fpm, SERVED), (nginx, ASKED)) for labels, value in metrics.matching(name)
                    if labels.get("error_type") not in (None, "", labels["http_response_status_code"])), 0)
    return fpm, nginx


def send_mix(client, number):
    """What a PHP application answers, over one connection to nginx; how many requests it was."""
    wanted = [
        # The route must be known before a 404 of it.
        (204, client.ask("GET", "/status/204")),
        (200, client.ask("GET", "/users/%d?secret=canary" % number)), (404, client.ask("GET", "/status/404")),
        (503, client.ask("GET", "/status/503")), (201, client.ask("PUT", "/status/201")),
        (302, client.ask("GET", "/moved")),
        (200, client.ask("HEAD", "/users/7")), (200, client.ask("GET", "/bytes/200000")),
        (200, client.ask("DELETE", "/users/%d" % number)), (200, client.ask("GET", "/complain")),
        (200, client.ask("GET", "/abort")),
    ]
    for size in (0, 5, 70000):
        status, _, body = client.ask("POST", "/echo", ["Content-Length: %d" % size], b"b" * size)
        wanted.append((200 if body == b"%d" % size else body, (status,)))
    status, _, body = client.ask("POST", "/buffered/x", ["Content-Length: 300000"], b"b" * 300000)
    wanted.append((200 if body == b"300000" else body, (status,)))
    for status, answer in wanted:
        if answer[0] != status:
            raise Failure("nginx gave %s instead of %s" % (answer[0], status))
    return len(wanted)


def run_mix(scene, php):
    count, rounds = 0, requests_wanted(600) // 15
    for number in range(rounds):
        client = HttpClient(php.port)
        count += send_mix(client, number)
        client.close()
    fpm, nginx = check_counts(scene, php, count)
    scene.equal("bytes of bodies that php-fpm read",
                int(fpm.sum("http_server_request_body_size_bytes_sum")), rounds * (5 + 70000 + 300000))
    scene.at_least("bytes of bodies that php-fpm wrote",
                   fpm.sum("http_server_response_body_size_bytes_sum"), rounds * 200000)
    text = fpm.text + nginx.text
    scene.check("no query in what profshim tells", "canary" not in text)
    return fpm, nginx, count


@test
def requests_over_a_unix_socket_are_counted_on_both_sides(scene):
    php = Php(scene)
    fpm, nginx, count = run_mix(scene, php)
    # Several probes waited for the socket before and asked nothing.
    scene.equal("connections of php-fpm", int(fpm.sum("profshim_connections_accepted_total", protocol="fastcgi")), count)
    scene.equal("whom nginx asked", len(nginx.by(ASKED, "server_address")), 1)


@test
def requests_over_kept_tcp_connections_are_counted_on_both_sides(scene):
    php = Php(scene, is_unix=False, keep=True)
    fpm, _, count = run_mix(scene, php)
    connections = int(fpm.sum("profshim_connections_accepted_total", protocol="fastcgi"))
    scene.check("fewer connections than requests", 1 <= connections < count // 4, str(connections))


@test
def many_requests_are_counted_exactly(scene):
    php = Php(scene, is_unix=False, keep=True)
    count = requests_wanted(4000)
    urls = scene.write("urls", "".join("http://127.0.0.1:%d%s\n" % (php.port, path)
                                       for path in ("/users/1", "/status/403", "/bytes/5000", "/status/500")))
    scene.run_ok(["h2load", "--h1", "-n", str(count), "-c", "8", "-t", "1", "-i", urls], shim=False, timeout=600)
    check_counts(scene, php, count)


@test
def an_event_stream_is_a_stream_in_both(scene):
    php = Php(scene)
    client = HttpClient(php.port)
    scene.equal("its status", client.ask("GET", "/events")[0], 200)
    scene.equal("the next one's", client.ask("GET", "/users/1")[0], 200)
    wanted = {("GET", "/users/{id}", "200"): 1.0}
    served = ("http_request_method", "http_route", "http_response_status_code")
    for program in (php.fpm, php.nginx):
        metrics = program.metrics_when(lambda metrics: metrics.sum(SERVED) >= 1)
        scene.equal("requests of %s that are no streams" % program.name, metrics.by(SERVED, *served), wanted)


TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@test
def slow_requests_of_php_keep_the_ids_that_came_with_them(scene):
    php = Php(scene, slow="30ms")
    client = HttpClient(php.port)
    client.ask("GET", "/slow/1?canary",
               ["traceparent: 00-%s-%s-01" % (TRACE, SPAN), "X-Request-ID: order-7", "Cookie: canary"])
    client.ask("GET", "/slow/2", ["b3: %s-%s-1" % (TRACE[::-1], SPAN[::-1]), "X-Request-ID: not one!"])
    client.ask("GET", "/users/1", ["traceparent: 00-%s-%s-01" % (TRACE, SPAN)])
    client.close()

    def slow():
        answer = php.fpm.get_ok("/requests/slow")
        scene.check("no query and no cookie in what profshim tells", "canary" not in answer.text)
        return [{"endpoint": entry["endpoint"], **one}
                for entry in php.fpm.json("/requests/slow") for one in entry["requests"]]
    wait_until(lambda: len(slow()) == 2, 5, "two slow requests")
    keys = ("endpoint", "status", "trace_id", "span_id", "request_id", "protocol")
    scene.equal("what is kept of the slow ones", sorted([str(one[key]) for key in keys] for one in slow()), sorted([
        ["GET /slow/{id}", "200", TRACE, SPAN, "order-7", "http"],
        ["GET /slow/{id}", "200", TRACE[::-1], SPAN[::-1], "None", "http"]]))


@test
def cpu_time_of_a_script_is_its_endpoint_s(scene):
    php = Php(scene, keep=True, hz=997)
    client = HttpClient(php.port)
    for number in range(20):
        client.ask("GET", "/burn/%d" % number)
        client.ask("GET", "/users/1")
    client.close()
    cpu = "profshim_endpoint_cpu_seconds_total"
    seconds = php.fpm.metrics().by(cpu, "endpoint")
    scene.say(seconds)
    scene.at_least("share of the burning endpoint", seconds.get("GET /burn/{id}", 0) / sum(seconds.values()), 0.9)
    scene.within("its seconds", seconds.get("GET /burn/{id}", 0), 1, 0.2)


@test
def php_s_own_timer_still_ends_a_script(scene):
    """PHP limits a script's CPU time by setitimer and SIGPROF, which profshim's samples use, too."""
    php = Php(scene, hz=997)
    client = HttpClient(php.port)
    client.socket.settimeout(60)
    status, _, body = client.ask("GET", "/endless")
    scene.check("PHP says why", b"Maximum execution time of 1 second exceeded" in body, body[:200])
    scene.equal("PHP's next answer", client.ask("GET", "/users/1")[0], 200)
    client.close()
    metrics = php.fpm.metrics_when(lambda metrics: metrics.sum(SERVED) >= 2)
    scene.equal("requests by route and status", metrics.by(SERVED, "http_route", "http_response_status_code"),
                {("/endless", str(status)): 1.0, ("/users/{id}", "200"): 1.0})
    scene.within("CPU seconds of the script with a limit of one",
                 metrics.sum("profshim_endpoint_cpu_seconds_total", endpoint="GET /endless"), 1, 0.3)


class Records:
    """A connection to php-fpm itself."""

    def __init__(self, php):
        self.socket = php.connect()
        self.reader = self.socket.makefile("rb")

    @staticmethod
    def record(kind, number, content=b"", padding=0):
        return struct.pack(">BBHHBB", 1, kind, number, len(content), padding, 0) + content + b"p" * padding

    @staticmethod
    def pairs(**pairs):
        encoded = b""
        for name, value in pairs.items():
            for text in (name, value):
                encoded += bytes([len(text)]) if len(text) < 128 else struct.pack(">I", len(text) | 1 << 31)
            encoded += name.encode() + value.encode()
        return encoded

    def request(self, script, uri, keep=True, **more):
        """PHP wants whole pairs in a record."""
        head = self.pairs(SCRIPT_FILENAME=script, SCRIPT_NAME="/index.php")
        rest = self.pairs(REQUEST_URI=uri, REQUEST_METHOD="GET", QUERY_STRING="", CONTENT_LENGTH="0",
                          SERVER_PROTOCOL="HTTP/1.1", **more)
        return (self.record(1, 1, struct.pack(">HB5x", 1, keep)) + self.record(4, 1, head, 4) +
                self.record(4, 1, rest, 1) + self.record(4, 1) + self.record(5, 1))

    def answer(self):
        """What came on stdout until the end of the request."""
        output = b""
        while True:
            _, kind, _, size, padding, _ = struct.unpack(">BBHHBB", self.reader.read(8))
            content = self.reader.read(size + padding)[:size]
            if kind == 3:
                return output
            output += content if kind == 6 else b""

    def close(self):
        self.reader.close()
        self.socket.close()


@test
def records_cut_anywhere_and_plain_clients_are_counted(scene):
    php = Php(scene)
    script = scene.path("index.php")
    asking = Records(php)
    asking.socket.sendall(Records.record(9, 0, Records.pairs(FCGI_MPXS_CONNS="")))  # no request
    scene.equal("what php-fpm tells of itself", asking.reader.read(2), b"\x01\x0a")
    asking.close()
    client = Records(php)
    client.socket.sendall(client.request(script, "/users/1?canary"))
    scene.check("PHP answers", client.answer().endswith(b"hello"))
    for byte in client.request(script, "/status/403", HTTPS="on"):
        client.socket.sendall(bytes([byte]))
    scene.check("PHP answers a request that came byte by byte", b"Status: 403" in client.answer())
    client.socket.sendall(client.request(script, "/users/2", keep=False))
    client.answer()
    scene.equal("what follows the last answer", client.reader.read(), b"")
    client.close()
    ping = Records(php)
    params = Records.pairs(SCRIPT_NAME="/fpm-ping", REQUEST_METHOD="GET", SCRIPT_FILENAME="/fpm-ping")
    ping.socket.sendall(Records.record(1, 1, struct.pack(">HB5x", 1, 0)) + Records.record(4, 1, params) +
                        Records.record(4, 1) + Records.record(5, 1))
    scene.check("php-fpm answers its ping", ping.answer().endswith(b"pong"))
    ping.close()
    gone = Records(php)
    gone.socket.sendall(gone.request(script, "/users/3")[:60])
    gone.close()
    metrics = php.fpm.metrics_when(lambda metrics: metrics.sum(SERVED) >= 5)
    counts = metrics.by(SERVED, "url_scheme", "http_route", "http_response_status_code", "error_type")
    scene.equal("requests by scheme, route, status and error", counts, {
        ("http", "/users/{id}", "200", ""): 2.0, ("https", "/status/{id}", "403", ""): 1.0,
        ("http", "/fpm-ping", "200", ""): 1.0, ("http", "_OTHER", "", "reset"): 1.0})


if __name__ == "__main__":
    run_tests()
