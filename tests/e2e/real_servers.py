"""real_servers - nginx and redis-server as a distribution ships them, and what they count themselves."""
import collections
import gzip
import os
import re
import shutil
import socket

from harness import PATH, can_connect, children_of, Failure, free_ports, wait_until

NGINX_FRAME = """
daemon {daemon};
{processes};
worker_shutdown_timeout 5s;
pid {dir}/{name}.pid;
error_log {dir}/{name}-error.log {level};
{user}
events {{ worker_connections {connections}; }}
http {{
client_body_temp_path {dir}/{name}-body;
proxy_temp_path {dir}/{name}-proxy;
fastcgi_temp_path {dir}/{name}-fastcgi;
uwsgi_temp_path {dir}/{name}-uwsgi;
scgi_temp_path {dir}/{name}-scgi;
keepalive_requests 1000000000;
{http}}}
"""

NGINX_SITE = """
types {{ text/html html; text/plain txt; application/json json; }}
# Method, path and status as the client of profshim will see them, and the bytes in and out.
log_format counted "$request_method\\t$uri\\t$status\\t$bytes_sent\\t$request_length";
access_log {dir}/access.log counted;
sendfile on;
gzip_types text/plain;
gzip_min_length 100;
server {{
    listen 127.0.0.1:{port} backlog=2048;
    root {dir}/www;
    location /empty {{ return 204; }}
    location /hello {{ return 200 "hello\\n"; }}
    location /users/ {{ return 200 "a user\\n"; }}
    location /moved {{ return 301 /hello; }}
    location /broken {{ return 500 "broken\\n"; }}
    location /packed/ {{ gzip on; gzip_http_version 1.0; }}
    location /marked/ {{ sub_filter word WORD; sub_filter_once off; sub_filter_types text/plain; }}
    location /uploads/ {{ dav_methods PUT DELETE; create_full_put_path on; }}
    location /proxied/ {{ proxy_pass http://127.0.0.1:{port}/users/; proxy_buffering off; }}
}}
"""


def nginx_argv(scene, http, name="nginx", workers=2, is_daemon=False, level="warn", connections=1024):
    """The command line of an nginx below the scene's directory. http: what it serves, beside what every nginx here needs;
    workers: 0 = the master serves itself."""
    processes = "worker_processes %d" % workers if workers else "master_process off"
    # What root starts gives its privileges up for its workers; they must still write below the scene's directory.
    user = "user nobody nogroup;" if workers and os.geteuid() == 0 else ""
    config = scene.write(name + ".conf", NGINX_FRAME.format(
        dir=scene.dir, name=name, http=http.lstrip("\n"), processes=processes, user=user, level=level, connections=connections,
        daemon="on" if is_daemon else "off"))
    # By its path, which a successor is executed by.
    return [shutil.which("nginx", path=PATH), "-e", scene.path(name + "-error.log"), "-p", scene.dir, "-c", config]


LogLine = collections.namedtuple("LogLine", "method uri status bytes_sent request_length")


class Nginx:
    """A master and its workers, serving files and made answers from a scene's directory."""

    def __init__(self, scene, workers=2, is_daemon=False, **settings):
        self.scene = scene
        self.port = free_ports()
        self._make_site()
        self.argv = nginx_argv(scene, NGINX_SITE.format(dir=scene.dir, port=self.port), workers=workers, is_daemon=is_daemon)
        self.program = scene.start(self.argv, "nginx", **settings)
        if is_daemon:
            wait_until(lambda: can_connect(self.port), 10, "nginx listening")
        else:
            self.program.wait_for_port(self.port)

    def _make_site(self):
        text = "a word and another word, over and over\n" * 2000
        for folder in ("www/packed", "www/marked", "www/uploads", "www/files"):
            os.makedirs(self.scene.path(folder))
        os.chmod(self.scene.path("www/uploads"), 0o777)
        self.scene.write("www/files/small.txt", "x" * 1023 + "\n")
        self.scene.write("www/files/large.txt", text * 10)
        self.scene.write("www/packed/text.txt", text)
        self.scene.write("www/marked/text.txt", text)

    def log_lines(self, name="access.log"):
        with open(self.scene.path(name)) as log:
            fields = (line.rstrip("\n").split("\t") for line in log)
            return [LogLine(method, uri, status, int(sent), int(length)) for method, uri, status, sent, length in fields]

    def logged(self, count, seconds=10):
        """The log once it has so many lines: nginx writes a line after the client has the answer."""
        try:
            wait_until(lambda: len(self.log_lines()) >= count, seconds, "nginx logging %d requests" % count)
        except Failure:
            pass  # the caller compares, and tells the numbers
        return self.log_lines()

    def workers(self):
        return children_of(self.program.pid)


def route_of(uri):
    """The template that profshim infers from the paths of these tests: a number is an {id}."""
    return "/".join("{id}" if part.isdigit() else part for part in uri.split("/"))


def counts_of_log(lines):
    """{(method, route, status): how many}, as float like those of metrics. Where nothing but 404 was ever answered there
    is no route."""
    found = {(line.method, route_of(line.uri)) for line in lines if line.status != "404"}
    keys = ((line.method, route_of(line.uri), line.status) for line in lines)
    return {key: float(count) for key, count in
            collections.Counter((method, route if (method, route) in found else "_OTHER", status)
                                for method, route, status in keys).items()}


def counts_of_metrics(metrics):
    return metrics.by("http_server_request_duration_seconds_count",
                      "http_request_method", "http_route", "http_response_status_code")


# For scripts that are tests' programs: serve() answers one connection until it is closed. The port is their argument.
SERVE_IN_PYTHON = """
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
def serve():
    connection, _ = listener.accept()
    with connection:
        while connection.recv(65536):
            connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\n\\r\\nok\\n")
"""


class HttpClient:
    """One connection over which requests are written as they are; answers are read strictly by RFC 9112."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = self.socket.makefile("rb")

    def send(self, data):
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def request(self, method, path, headers=(), body=b""):
        lines = ["%s %s HTTP/1.1" % (method, path), "Host: localhost", *headers]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def answer(self, method="GET"):
        """Status, headers (names in lower case) and body of the next answer, which is one to this method."""
        line = self.reader.readline().decode()
        match = re.match(r"^HTTP/1\.[01] (\d{3}) .*\r\n$", line)
        if not match:
            raise Failure("no status line: %r" % line)
        status, headers = int(match.group(1)), {}
        for line in iter(self.reader.readline, b"\r\n"):
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return status, headers, self._body(method, status, headers)

    def _body(self, method, status, headers):
        if method == "HEAD" or status in (204, 304) or status < 200:
            return b""
        if headers.get("transfer-encoding") == "chunked":
            body = b"".join(iter(self._chunk, b""))
        elif "content-length" in headers:
            body = self.reader.read(int(headers["content-length"]))
        else:
            body = self.reader.read()
        return gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body

    def _chunk(self):
        chunk = self.reader.read(int(self.reader.readline(), 16))
        if self.reader.readline() != b"\r\n":
            raise Failure("a chunk without its end")
        return chunk

    def ask(self, method, path, headers=(), body=b""):
        self.request(method, path, headers, body)
        return self.answer(method)

    def close(self):
        self.reader.close()
        self.socket.close()


class Redis:
    """A redis-server without persistence, in a scene's directory. configuration: more arguments. under: a program and its
    arguments that run it."""

    def __init__(self, scene, *configuration, under=(), **settings):
        self.scene = scene
        self.port = free_ports()
        self.argv = [*under, "redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                     "--dir", scene.dir, "--daemonize", "no", *configuration]
        self.program = scene.start(self.argv, "redis", **settings)
        self.program.wait_for_port(self.port, 60 if under else 10)

    def cli(self, *arguments, stdin=b""):
        return self.scene.run_ok(["redis-cli", "-p", str(self.port), *arguments], shim=False, stdin=stdin)

    def benchmark(self, *arguments):
        self.scene.run_ok(["redis-benchmark", "-p", str(self.port), "-q", *arguments], shim=False, timeout=300)

    def info(self, section):
        """{name: value} of one section, asked for over a connection of its own."""
        client = RespClient(self.port)
        text = client.ask("INFO", section)
        client.close()
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def command_calls(self):
        """{COMMAND: calls} by INFO commandstats, the subcommands of one command together; the INFO that asks is
        counted, too, since profshim sees it."""
        calls = collections.Counter({"INFO": 1})
        for name, value in self.info("commandstats").items():
            command = name.replace("cmdstat_", "").split("|")[0].upper()
            calls[command] += int(re.search(r"calls=(\d+)", value).group(1))
        return {command: float(count) for command, count in calls.items() if count}


def command_calls_of_metrics(metrics):
    calls = collections.Counter()
    for name, count in metrics.by("db_server_operation_duration_seconds_count", "db_operation_name",
                                  db_system_name="redis").items():
        calls[name.split()[0]] += count
    return dict(calls)


class RespClient:
    """A connection over which Redis commands are sent, one at a time or many."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.reader = self.socket.makefile("rb")

    @staticmethod
    def encoded(*words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)

    def send(self, data):
        self.socket.sendall(data)

    def ask(self, *words):
        self.send(self.encoded(*words))
        return self.answer()

    def answer(self):
        """The next reply, of RESP2 or 3; an error as text that begins with "-"."""
        line = self.reader.readline()
        if not line.endswith(b"\r\n"):
            raise Failure("the connection ended")
        kind, rest = line[:1], line[1:-2].decode()
        if kind in (b"+", b":", b",", b"#", b"(", b"_"):
            return rest
        if kind == b"-":
            return "-" + rest
        if kind in (b"$", b"=", b"!"):
            size = int(rest)
            return None if size < 0 else self.reader.read(size + 2)[:-2].decode(errors="replace")
        if kind in (b"*", b"~", b">"):
            return [self.answer() for _ in range(int(rest))]
        if kind == b"%":
            return {str(self.answer()): self.answer() for _ in range(int(rest))}
        raise Failure("no reply of RESP: %r" % line)

    def close(self):
        self.reader.close()
        self.socket.close()
