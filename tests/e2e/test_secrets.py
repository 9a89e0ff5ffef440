#!/usr/bin/env python3
"""No secret in any output. Each protocol's requests carry canaries, words that exist nowhere else, wherever a client or a
server may have something to hide: in queries, headers, bodies, keys, statements, metadata. Then everything that profshim
gives away is searched for them: every path of its HTTP side while requests wait and after, its reports, its logs, and the
very bytes of the session's segment.

A protocol is a function that makes a server under the shim, lets it answer requests with canaries and returns
Observed(program, marks): marks are words that must be seen, so that what was searched is known to show these requests.
"""
import base64
import collections
import glob
import os
import random
import re
import signal
import socket
import struct
import subprocess

from harness import Failure, free_ports, own_server, run_tests, test, wait_until
from http2_servers import Http2Nginx
from real_databases import MariaDb, MyClient, Postgres, PgClient
from real_servers import HttpClient, Nginx, Redis, RespClient

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

# path, Accept. All must be there.
VIEWS = (
    ("/", "*/*"),
    ("/metrics", "text/plain;version=0.0.4"),
    ("/metrics", "application/openmetrics-text;version=1.0.0"),
    ("/report", "*/*"),
    ("/report?by=line&top=1000", "*/*"),
    ("/report?by=module&sort=cumtime", "*/*"),
    ("/report?format=json&top=1000", "*/*"),
    ("/folded", "*/*"),
    ("/requests/slow", "*/*"),
    ("/requests/active", "*/*"),
    ("/endpoints", "*/*"),
    ("/connections", "*/*"),
    ("/self", "*/*"),
)

ZEROS = re.compile(rb"\0{16,}")  # most of a segment

Observed = collections.namedtuple("Observed", "program marks")


class Canaries:
    """Words that were given away, by the place they were put. Of letters only, or of letters and digits: what finds
    variables in paths by their form must not be what saves them."""

    def __init__(self):
        self.places = {}
        self.chance = random.SystemRandom()

    def _new(self, place, word):
        self.places.setdefault(place, []).append(word)
        return word

    def word(self, place):
        return self._new(place, "".join(self.chance.choice("bcdfghjkmnpqrstvwxz") for _ in range(12)))

    def token(self, place):
        return self._new(place, "%016x" % self.chance.randrange(1 << 60, 1 << 64))

    def pair(self, place):
        """Both kinds, one after the other."""
        return self.word(place) + "-" + self.token(place)

    def found_in(self, data):
        """{place: canary} of those that data shows, in any case, or in Base64."""
        lower, found = ZEROS.sub(b"\0", data).lower(), {}
        for place, words in self.places.items():
            for word in words:
                shapes = [word.encode(), word.encode("utf-16-le")]
                # Base64 of a text in which the word stands at any offset: the part that depends on it alone.
                for shift in range(3):
                    shapes.append(base64.b64encode(b"\0" * shift + word.encode() + b"\0" * 3)[4 if shift else 0:12].lower())
                if any(shape in lower for shape in shapes):
                    found[place] = word
        return found


class Search:
    """Looks for the canaries in one output after the other, and for the marks in all of them together."""

    def __init__(self, scene, canaries):
        self.scene, self.canaries = scene, canaries
        self.leaks, self.outputs, self.seen = [], collections.Counter(), b""

    def look(self, output, data):
        data = data.encode() if isinstance(data, str) else data
        self.outputs[output] += len(data)
        if not output.startswith("segment"):
            self.seen += data
        for place, word in self.canaries.found_in(data).items():
            at = data.lower().find(word.encode())
            self.leaks.append("%s shows %s: %r" % (output, place, data[max(0, at - 60):at + 40]))

    def look_at_http(self, program, when):
        for path, accept in VIEWS:
            answer = program.get(path, {"Accept": accept})
            if answer.status != 200:
                raise Failure("GET %s gave %d" % (path, answer.status))
            self.look("%s %s" % (path, when), answer.body)
            self.look("headers of %s %s" % (path, when), str(answer.headers))

    def look_at_segment(self, when):
        sizes = 0
        for folder, _, names in os.walk(self.scene.session_dir):
            for name in names:
                path = os.path.join(folder, name)
                if not os.path.isfile(path):
                    continue  # a socket
                with open(path, "rb") as file:
                    data = file.read()
                sizes += len(data)
                if len(data) > 1 << 20:
                    self.scene.check("the segment holds more than zeros", len(ZEROS.sub(b"", data)) > 1 << 10)
                self.look("segment %s" % when, data)
        self.scene.at_least("bytes of the segment", sizes, 1 << 20)

    def look_at_files(self, program):
        # The programs write what they like; profshim's lines begin with its name.
        self.look("stderr", "".join(line for line in program.stderr().splitlines(True) if line.startswith("profshim")))
        written = sorted(os.listdir(self.scene.path("written")))
        self.scene.check("a slow log and a report were written", {"slow.json", "report-1"} <= set(written), written)
        for name in written:
            with open(self.scene.path("written", name), "rb") as file:
                self.look(name, file.read())

    def finish(self, marks):
        self.scene.say("searched %d outputs, %d bytes, for %d canaries in %d places"
                       % (len(self.outputs), sum(self.outputs.values()),
                          sum(map(len, self.canaries.places.values())), len(self.canaries.places)))
        for mark in marks:
            self.scene.check("outputs show %r" % mark, mark.encode() in self.seen)
        self.scene.check("no output shows a canary", not self.leaks, "; ".join(sorted(self.leaks)[:12]))


def settings_of(scene):
    """Everything is slow, everything is logged, where servers can write that gave up root's rights. The report signal is
    one that none of the servers here has a use for: at SIGUSR2 php-fpm executes itself anew."""
    written = scene.path("written")
    os.mkdir(written)
    os.chmod(written, 0o777)
    return {"slow": "1us", "slow_log": os.path.join(written, "slow.json"), "log": "debug", "hz": 1000, "signal": "PWR",
            "report": os.path.join(written, "report-%n"), "report_at_exit": 1}


def search(scene, protocol):
    canaries = Canaries()
    looking = Search(scene, canaries)
    observed = protocol(scene, canaries, looking)
    program = observed.program
    looking.look_at_http(program, "after")
    looking.look("/report?seconds=1", program.get_ok("/report?seconds=1&format=json").body)
    program.send_signal(signal.SIGPWR)
    wait_until(lambda: glob.glob(scene.path("written/report-*")), 10, "a report after SIGPWR")
    looking.look_at_segment("while it runs")
    sessions = scene.profshim("ls")
    looking.look("profshim ls", sessions)
    program.stop(signal.SIGTERM, 30)
    looking.look_at_segment("after its end")
    session = scene.profshim("ls").split()
    looking.look("profshim report", scene.profshim("report", session_name(scene)))
    looking.look("profshim ls after", " ".join(session))
    looking.look_at_files(program)
    looking.finish(observed.marks)


def session_name(scene):
    names = [name for name in os.listdir(scene.session_dir) if os.path.getsize(os.path.join(scene.session_dir, name)) > 1 << 20]
    if len(names) != 1:
        raise Failure("not one session: %s" % os.listdir(scene.session_dir))
    return os.path.join(scene.session_dir, names[0])


def http_headers(canaries, of="HTTP"):
    """Headers that clients keep secrets in, each with canaries, and the ones that profshim reads."""
    basic = base64.b64encode(("user:" + canaries.pair(of + " basic credentials")).encode()).decode()
    return [
        "Authorization: Bearer " + canaries.pair(of + " Authorization"),
        "Proxy-Authorization: Basic " + basic,
        "Cookie: session=%s; theme=%s" % (canaries.pair(of + " Cookie"), canaries.word(of + " Cookie")),
        "X-Api-Key: " + canaries.pair(of + " X-Api-Key"),
        "X-Forwarded-For: " + canaries.pair(of + " X-Forwarded-For"),
        "Referer: http://%s/?%s" % (canaries.word(of + " Referer"), canaries.pair(of + " Referer")),
        "User-Agent: " + canaries.pair(of + " User-Agent"),
        "%s: 1" % canaries.pair(of + " header's name"),
        "tracestate: vendor=" + canaries.pair(of + " tracestate"),
        "baggage: user=" + canaries.pair(of + " baggage"),
        "traceparent: " + TRACEPARENT,
        "X-Request-ID: bad one, " + canaries.pair(of + " malformed X-Request-ID"),
    ]


def http_targets(canaries, of="HTTP"):
    """Targets with canaries where no label may have them. What names a resource by a form of ids is one of them."""
    secret = canaries.pair
    return [
        "/users/7?token=" + secret(of + " query"),
        "/users/7?" + secret(of + " query without a name"),
        "/users/7;jsessionid=" + secret(of + " path parameter"),
        "/users;matrix=%s/7" % secret(of + " path parameter within"),
        "/users/7#" + secret(of + " fragment"),
        "/users/%s" % canaries.token(of + " token in the path"),
        "/users/%s@example.org" % canaries.word(of + " e-mail in the path"),
        "/users/%s%%40example.org" % canaries.word(of + " escaped e-mail in the path"),
        "/users/%s.%s.%s" % tuple(base64.urlsafe_b64encode(os.urandom(30)).decode().rstrip("=") for _ in range(3)),
        "/nowhere/" + secret(of + " path that is not found"),
        "/%s/%s" % (secret(of + " path that is not found"), secret(of + " path that is not found")),
        "http://%s:%s@%s/users/7?%s" % (secret(of + " user"), secret(of + " password"), secret(of + " host"),
                                        secret(of + " query")),
    ]


def http_over(client_of, canaries, looking, program, of="HTTP"):
    """All that is secret in HTTP/1, on connections that client_of gives."""
    for target in http_targets(canaries, of):
        client = client_of()
        client.request("GET", target, http_headers(canaries, of))
        client.answer()
        client.close()
    client = client_of()
    for how in ("POST", "PUT", canaries.word(of + " method").upper()):
        body = "password=%s&card=%s" % (canaries.pair(of + " body"), canaries.token(of + " body"))
        client.ask(how, "/uploads/a.txt" if how == "PUT" else "/users/7", ["Content-Length: %d" % len(body)], body.encode())
    chunk = canaries.pair(of + " chunk").encode()
    client.request("POST", "/users/7", ["Transfer-Encoding: chunked"],
                   b"%x;%s=1\r\n%s\r\n0\r\nX-Trailer: %s\r\n\r\n" % (len(chunk), canaries.pair(of + " chunk extension").encode(), chunk,
                                                                  canaries.pair(of + " trailer").encode()))
    client.answer()
    client.close()
    broken = client_of()
    broken.send("GET / HTTP/1.1\r\n%s\r\n broken: %s\r\n\r\n" % (canaries.pair(of + " broken request"), canaries.pair(of + " broken request")))
    broken.reader.read()
    broken.close()
    # Half of a request's body, of its first line and of its head, while the outputs are searched.
    halves = [client_of(), client_of(), client_of()]
    halves[0].send("POST /users/7?%s HTTP/1.1\r\nHost: %s\r\nContent-Length: 100000\r\n\r\n%s"
                   % (canaries.pair(of + " query, active"), canaries.pair(of + " Host"), canaries.pair(of + " body, active")))
    halves[1].send("GET /%s?%s" % (canaries.pair(of + " path, half"), canaries.pair(of + " query, half")))
    halves[2].send("GET /users/7?%s HTTP/1.1\r\nCookie: %s" % (canaries.pair(of + " query, half"), canaries.pair(of + " header, half")))
    looking.look_at_http(program, "while requests wait")
    looking.look_at_segment("while requests wait")
    for half in halves:
        half.close()


def http1(scene, canaries, looking):
    nginx = Nginx(scene, **settings_of(scene))
    nginx.program.wait_ready()
    http_over(lambda: HttpClient(nginx.port), canaries, looking, nginx.program)
    # The same program as a client of itself.
    client = HttpClient(nginx.port)
    client.ask("GET", "/proxied/7?" + canaries.pair("HTTP client's query"), http_headers(canaries, "HTTP client"))
    client.close()
    return Observed(nginx.program, ["GET /users/{id}", "POST /users/{id}", "_OTHER"])


@test
def nothing_of_http_requests_is_shown(scene):
    search(scene, http1)


@test
def nothing_of_http2_requests_is_shown(scene):
    search(scene, http2)


def curl(scene, url, canaries, of, *how):
    headers = [argument for header in http_headers(canaries, of) for argument in ("-H", header)]
    result = scene.run(["curl", "-sS", "-k", "--max-time", "20", "-o", "/dev/null", *headers, *how, url], shim=False)
    # 92: the server answered without reading the body, and reset the stream of the rest (RFC 9113 clause 8.1).
    if result.returncode not in (0, 92):
        raise Failure("curl %s: %s" % (url, result.stderr.decode()))


def http2(scene, canaries, looking):
    nginx = Http2Nginx(scene, **settings_of(scene))
    for scheme, port, how in (("http", nginx.port, "--http2-prior-knowledge"), ("https", nginx.tls_port, "--http2")):
        for target in http_targets(canaries, "HTTP/2 " + scheme):
            if target.startswith("/"):
                curl(scene, "%s://127.0.0.1:%d%s" % (scheme, port, target), canaries, "HTTP/2 " + scheme, how)
        curl(scene, "%s://127.0.0.1:%d/users/7" % (scheme, port), canaries, "HTTP/2 " + scheme, how, "--data",
             canaries.pair("HTTP/2 body"))
    looking.look_at_http(nginx.program, "at once")
    return Observed(nginx.program, ["GET /users/{id}", "POST /users/{id}"])


@test
def nothing_of_grpc_calls_is_shown(scene):
    search(scene, grpc)


def grpc(scene, canaries, looking):
    port = free_ports()
    program = scene.start([own_server("grpc_server"), "threads", str(port), "100"], stdin=subprocess.PIPE, **settings_of(scene))
    program.wait_for_output("ready")
    program.wait_ready()

    def call(method, message):
        body = scene.write("message", b"\0" + struct.pack(">I", len(message)) + message.encode())
        curl(scene, "http://127.0.0.1:%d%s" % (port, method), canaries, "gRPC", "--http2-prior-knowledge", "--data-binary", "@" + body,
             "-H", "content-type: application/grpc", "-H", "te: trailers", "-H", "grpc-timeout: 10S",
             "-H", "metadata: " + canaries.pair("gRPC metadata"),
             "-H", "binary-bin: " + base64.b64encode(canaries.pair("gRPC binary metadata").encode()).decode())
    call("/test.Shop/Get", canaries.pair("gRPC message"))
    call("/test.Shop/Fail", "3")
    call("/test.Shop/" + canaries.word("gRPC method that is not implemented"), canaries.pair("gRPC message"))
    call("/%s/%s" % (canaries.word("gRPC service that is not implemented"), canaries.word("gRPC method that is not implemented")), "")
    looking.look_at_http(program, "at once")
    return Observed(program, ["test.Shop/Get"])


@test
def nothing_of_redis_commands_is_shown(scene):
    search(scene, redis)


def redis(scene, canaries, looking):
    server = Redis(scene, **settings_of(scene))
    server.program.wait_ready()
    client, secret = RespClient(server.port), canaries.pair
    client.ask("SET", secret("Redis key"), secret("Redis value"))
    client.ask("GET", secret("Redis key"))
    client.ask("HSET", secret("Redis key"), secret("Redis field"), secret("Redis value"))
    client.ask("AUTH", secret("Redis user"), secret("Redis password"))
    client.ask("CONFIG", "SET", "requirepass", "")
    client.ask("CLIENT", "SETNAME", secret("Redis client's name"))
    client.ask("EVAL", "return '%s'" % secret("Redis script"), "1", secret("Redis key"))
    client.ask(secret("Redis unknown command"), secret("Redis argument"))
    client.ask("CONFIG", secret("Redis unknown subcommand"))
    client.ask("INCR", secret("Redis key"))
    client.send(("SET %s %s\r\n" % (secret("Redis inline key"), secret("Redis inline value"))).encode())
    client.answer()
    client.ask("PUBLISH", secret("Redis channel"), secret("Redis message"))
    subscriber = RespClient(server.port)
    subscriber.ask("SUBSCRIBE", secret("Redis channel"))
    halves = [RespClient(server.port), RespClient(server.port)]
    halves[0].send(b"*2\r\n$5\r\nBLPOP\r\n$40\r\n" + secret("Redis key, half").encode())
    halves[1].send(RespClient.encoded("BLPOP", secret("Redis key, waiting"), "0"))
    looking.look_at_http(server.program, "while commands wait")
    looking.look_at_segment("while commands wait")
    for connection in (client, subscriber, *halves):
        connection.close()
    return Observed(server.program, ["redis", "SET", "_OTHER"])


@test
def nothing_of_memcached_commands_is_shown(scene):
    search(scene, memcached)


def memcached(scene, canaries, looking):
    port, secret = free_ports(), canaries.pair
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    program = scene.start(["memcached", "-l", "127.0.0.1", "-p", str(port), "-U", "0", *user], "memcached", **settings_of(scene))
    program.wait_for_port(port)
    program.wait_ready()
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    reader = connection.makefile("rb")

    def ask(text, lines=1):
        connection.sendall(text.encode())
        for _ in range(lines):
            reader.readline()
    value = secret("memcached value")
    key = secret("memcached key")
    ask("set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value))
    ask("get %s\r\n" % key, 3)
    ask("get %s\r\n" % secret("memcached key that is missing"))
    ask("delete %s\r\n" % secret("memcached key that is missing"))
    ask("mg %s v\r\n" % secret("memcached meta key"))
    ask("%s %s\r\n" % (secret("memcached unknown command"), secret("memcached argument")))
    connection.close()
    binary = socket.create_connection(("127.0.0.1", port), timeout=10)
    for opcode, extras in ((1, b"\0" * 8), (0, b"")):  # set, get
        binary_key, binary_value = secret("memcached binary key").encode(), secret("memcached binary value").encode() if extras else b""
        binary.sendall(struct.pack(">BBHBBHIIQ", 0x80, opcode, len(binary_key), len(extras), 0, 0,
                                   len(extras) + len(binary_key) + len(binary_value), 7, 0) + extras + binary_key + binary_value)
        binary.recv(4096)
    binary.close()
    looking.look_at_http(program, "at once")
    return Observed(program, ["memcached"])


def sql_statements(canaries, of):
    """What may be secret in SQL; those that fail, too."""
    secret, word = canaries.pair, canaries.word
    return [
        "SELECT '%s'" % secret(of + " literal"),
        "SELECT 1 /* %s */" % secret(of + " comment"),
        "/* %s */ SELECT 1" % secret(of + " leading comment"),
        "-- %s\nSELECT 1" % secret(of + " line comment"),
        "CREATE TABLE %s (%s INT)" % (word(of + " table"), word(of + " column")),
        "SELECT * FROM %s" % word(of + " table that is missing"),
        "%s %s" % (word(of + " statement that is none"), secret(of + " statement that is none")),
        "INSERT INTO nowhere VALUES ('%s')" % secret(of + " literal"),
        "SELECT '%s" % secret(of + " literal without an end"),
    ]


@test
def nothing_of_postgresql_statements_is_shown(scene):
    search(scene, postgresql)


def postgresql(scene, canaries, looking):
    database = Postgres(scene, **settings_of(scene))
    secret = canaries.pair
    role, role_database = canaries.word("PostgreSQL user"), canaries.word("PostgreSQL database")
    database.psql("create role %s superuser login password '%s'" % (role, secret("PostgreSQL password")))
    database.psql("create database %s" % role_database)
    for user, name in ((role, role_database), (canaries.word("PostgreSQL user that is none"), canaries.word("PostgreSQL database that is none"))):
        scene.run([database.tool("psql"), "-h", "127.0.0.1", "-p", str(database.port), "-U", user, "-d", name, "-c", "select 1"],
                  shim=False, environment=dict(scene.plain_environment(), PGAPPNAME=secret("PostgreSQL application")))
    client = PgClient(database.port)
    for statement in sql_statements(canaries, "PostgreSQL"):
        client.ask(client.query(statement))
    client.ask(client.parse("select '%s'" % secret("PostgreSQL prepared statement"), canaries.word("PostgreSQL statement's name")), client.message("S"))
    client.close()
    looking.look_at_http(database.program, "at once")
    return Observed(database.program, ["postgres", "SELECT", "INSERT"])


@test
def nothing_of_mariadb_statements_is_shown(scene):
    search(scene, mariadb)


def mariadb(scene, canaries, looking):
    database = MariaDb(scene, **settings_of(scene))
    secret = canaries.pair
    for statement in sql_statements(canaries, "MariaDB"):
        client = MyClient(database.port)
        client.ask(statement)
        client.close()
    database.cli("create user %s identified by '%s'; create database %s"
                 % (canaries.word("MariaDB user"), secret("MariaDB password"), canaries.word("MariaDB database")))
    scene.run(["mariadb", "--no-defaults", "-h", "127.0.0.1", "-P", str(database.port), "--protocol=tcp",
               "-u", canaries.word("MariaDB user that is none"), "-p" + secret("MariaDB password"), "-e", "select 1"], shim=False)
    client = MyClient(database.port)
    client.send(0x16, ("SELECT '%s'" % secret("MariaDB prepared statement")).encode())  # COM_STMT_PREPARE
    client.prepared()
    client.close()
    looking.look_at_http(database.program, "at once")
    return Observed(database.program, ["mysql", "SELECT", "INSERT"])


FPM_CONFIG = """
[global]
daemonize = no
error_log = {dir}/fpm-error.log
[www]
{user}
listen = 127.0.0.1:{port}
pm = static
pm.max_children = 2
"""


@test
def nothing_of_fastcgi_requests_is_shown(scene):
    search(scene, fastcgi)


def fastcgi(scene, canaries, looking):
    port, secret = free_ports(), canaries.pair
    user = "user = nobody\ngroup = nogroup" if os.geteuid() == 0 else ""
    config = scene.write("fpm.conf", FPM_CONFIG.format(dir=scene.dir, port=port, user=user))
    script = scene.write("index.php", "<?php header('Set-Cookie: s=%s'); echo '%s', strlen(file_get_contents('php://input'));"
                         % (secret("FastCGI answer's header"), secret("FastCGI answer")))
    binary = sorted(glob.glob("/usr/sbin/php-fpm*"))[-1]
    program = scene.start([binary, "-R", "-F", "-y", config], "php-fpm", **settings_of(scene))
    program.wait_for_port(port)
    program.wait_ready()

    def record(kind, content):
        return struct.pack(">BBHHBB", 1, kind, 1, len(content), 0, 0) + content

    for uri in http_targets(canaries, "FastCGI")[:6]:
        body = secret("FastCGI body").encode()
        parameters = {
            "SCRIPT_FILENAME": script, "REQUEST_METHOD": "POST", "CONTENT_LENGTH": str(len(body)), "REQUEST_URI": uri,
            "QUERY_STRING": secret("FastCGI QUERY_STRING"), "HTTP_COOKIE": secret("FastCGI HTTP_COOKIE"),
            "HTTP_AUTHORIZATION": secret("FastCGI HTTP_AUTHORIZATION"), "REMOTE_USER": secret("FastCGI REMOTE_USER"),
            "HTTP_TRACEPARENT": TRACEPARENT, secret("FastCGI parameter's name"): "1", "PHP_AUTH_PW": secret("FastCGI PHP_AUTH_PW"),
        }
        pairs = b"".join(struct.pack(">II", len(name) | 1 << 31, len(value) | 1 << 31) + name.encode() + value.encode()
                         for name, value in parameters.items())
        connection = socket.create_connection(("127.0.0.1", port), timeout=10)
        connection.sendall(record(1, struct.pack(">HB5x", 1, 0)) + record(4, pairs) + record(4, b"") + record(5, body) + record(5, b""))
        while connection.recv(65536):
            pass
        connection.close()
    looking.look_at_http(program, "at once")
    return Observed(program, ["POST /users/{id}"])


if __name__ == "__main__":
    run_tests()
