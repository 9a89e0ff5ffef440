#!/usr/bin/env python3
"""Plain bytes under TLS are counted once, whatever library passes them and in whatever way; encrypted ones are not."""
import collections
import os
import socket
import ssl
import subprocess
import threading

from harness import Failure, free_ports, own_server, requests_wanted, run_tests, test, wait_until
from real_servers import HttpClient, Nginx, Redis, command_calls_of_metrics, counts_of_log, nginx_argv

SERVED = "http_server_request_duration_seconds_count"


def make_certificate(scene):
    """Paths of a certificate for localhost and of its key."""
    certificate, key = scene.path("certificate.pem"), scene.path("key.pem")
    if not os.path.exists(certificate):
        scene.run_ok(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                      "-keyout", key, "-out", certificate, "-days", "36500", "-subj", "/CN=localhost"], shim=False)
        os.chmod(key, 0o644)
    return certificate, key


def client_context(**settings):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for name, value in settings.items():
        setattr(context, name, value)
    return context


class TlsClient(HttpClient):
    """One connection over TLS, that counts the plain bytes of both directions."""

    def __init__(self, port, context=None):
        super().__init__(port)
        plain = self.reader
        self.socket = (context or client_context()).wrap_socket(self.socket, server_hostname="localhost")
        plain.close()
        self.reader = self.socket.makefile("rb")
        self.sent_bytes = self.received_bytes = 0
        read, readline = self.reader.read, self.reader.readline

        def counted(bytes_):
            self.received_bytes += len(bytes_)
            return bytes_
        self.reader.read = lambda *how: counted(read(*how))
        self.reader.readline = lambda *how: counted(readline(*how))

    def send(self, data):
        data = data.encode() if isinstance(data, str) else data
        self.sent_bytes += len(data)
        super().send(data)

    def close(self):
        try:
            self.socket.unwrap()
        except (OSError, ssl.SSLError, ValueError):
            pass  # the server was faster
        super().close()


class Expected:
    """What was asked of a server, and what must have been counted."""

    def __init__(self):
        self.requests, self.connections = collections.Counter(), 0
        self.sent_bytes = self.received_bytes = 0

    def ask(self, client, path, count=1):
        """A pipeline of so many requests on an open connection."""
        for _ in range(count):
            client.request("GET", path)
        for _ in range(count):
            status, _, body = client.answer()
            if status != 200:
                raise Failure("GET %s gave %d" % (path, status))
            if path.startswith("/file") and len(body) != 50000:
                raise Failure("GET %s gave %d bytes" % (path, len(body)))
        self.requests["GET", path, "200", "https"] += count

    def close(self, client):
        client.close()
        self.connections += 1
        self.sent_bytes += client.sent_bytes
        self.received_bytes += client.received_bytes


def check_requests(scene, metrics, requests):
    scene.equal("requests", metrics.by(SERVED, "http_request_method", "http_route", "http_response_status_code", "url_scheme"),
                {key: float(count) for key, count in requests.items()})


def check_bytes(scene, metrics, expected):
    scene.equal("connections", metrics.by("profshim_connections_accepted_total", "protocol"), {"http": expected.connections})
    scene.equal("bytes received", metrics.by("profshim_network_receive_bytes_total", "protocol"), {"http": expected.sent_bytes})
    scene.equal("bytes sent", metrics.by("profshim_network_transmit_bytes_total", "protocol"), {"http": expected.received_bytes})
    scene.equal("calls that we are blind to", metrics.by("profshim_blind_calls_total", "kind"), {})
    scene.equal("connections not understood", metrics.sum("profshim_unclassified_connections_total"), 0)


def check_expected(scene, program, expected):
    total = sum(expected.requests.values())

    def is_all_counted(metrics):
        return metrics.sum(SERVED) >= total and \
            metrics.sum("profshim_connections_accepted_total") >= expected.connections
    metrics = program.metrics_when(is_all_counted)
    check_requests(scene, metrics, expected.requests)
    check_bytes(scene, metrics, expected)
    return metrics


# OpenSSL in all its forms

def start_tls_server(scene, mode, server="tls_server"):
    program = scene.start([own_server(server), mode, *make_certificate(scene)], server + "-" + mode)
    program.wait_for_output("\n")
    program.wait_ready()
    ports = dict(line.split() for line in program.stdout().splitlines())
    return program, int(ports["port"]), int(ports.get("plain", 0))


def stop_tls_server(scene, program, metrics):
    """The calls that the server counted itself are those that profshim counted."""
    scene.equal("exit code", program.stop(), 0)
    told = [line.split() for line in program.stdout().splitlines()]
    libraries = ("SSL_", "gnutls_")
    calls = {name: float(count) for name, count in told if name.startswith(libraries)}
    counted = {name: count for name, count in metrics.by("profshim_calls_total", "call").items() if name.startswith(libraries)}
    scene.equal("calls of the library", counted, calls)
    scene.equal("what the program printed on stderr", program.stderr(), "")
    return dict(told)


def serve_and_compare(scene, mode, contexts=None, connections=2, rounds=4, server="tls_server"):
    program, port, _ = start_tls_server(scene, mode, server)
    expected = Expected()
    for number in range(connections):
        client = TlsClient(port, contexts[number % len(contexts)] if contexts else None)
        for pipeline in range(1, rounds + 1):
            expected.ask(client, "/ok", pipeline)
            expected.ask(client, "/file")
        expected.close(client)
    metrics = check_expected(scene, program, expected)
    return stop_tls_server(scene, program, metrics)


@test
def ssl_read_and_write_on_a_blocking_socket(scene):
    serve_and_compare(scene, "simple", [client_context(), client_context(maximum_version=ssl.TLSVersion.TLSv1_2)])


@test
def the_ex_forms_and_peeks_in_small_pieces(scene):
    serve_and_compare(scene, "ex", connections=2, rounds=2)


@test
def a_transport_that_openssl_knows_no_descriptor_of(scene):
    serve_and_compare(scene, "custom")


@test
def memory_bios_are_told_apart_by_the_clients_greeting(scene):
    serve_and_compare(scene, "memory", [client_context(), client_context(maximum_version=ssl.TLSVersion.TLSv1_2)])


@test
def one_session_object_for_all_connections(scene):
    serve_and_compare(scene, "cleared")


@test
def a_session_that_two_threads_use_in_turn(scene):
    serve_and_compare(scene, "threads")


@test
def keys_that_change_on_the_way(scene):
    serve_and_compare(scene, "update", [client_context(), client_context(maximum_version=ssl.TLSVersion.TLSv1_2)], rounds=3)


@test
def ssl_sendfile_where_the_kernel_has_ktls(scene):
    told = serve_and_compare(scene, "sendfile")
    scene.say("the kernel has TLS of its own (kTLS): %s" % told["kTLS"])


@test
def interleaved_sessions_on_one_thread_do_not_mix(scene):
    program, port, _ = start_tls_server(scene, "nonblocking")
    expected = Expected()
    clients = [TlsClient(port) for _ in range(10)]
    for turn in range(8):
        for number, client in enumerate(clients):
            client.request("GET", "/file" if (turn + number) % 2 else "/client%s" % "abcdefghij"[number])
        for number, client in reversed(list(enumerate(clients))):
            client.answer()
            path = "/file" if (turn + number) % 2 else "/client%s" % "abcdefghij"[number]
            expected.requests["GET", path, "200", "https"] += 1
    for client in clients:
        expected.close(client)
    stop_tls_server(scene, program, check_expected(scene, program, expected))


@test
def what_a_callback_of_a_handshake_does_elsewhere_is_counted_there(scene):
    program, port, plain_port = start_tls_server(scene, "callback")
    expected = Expected()
    for _ in range(3):
        plain = HttpClient(plain_port)
        waiting = []
        shaking = threading.Thread(target=lambda: waiting.append(TlsClient(port)))
        shaking.start()
        for _ in range(2):
            scene.equal("status of a plain answer", plain.ask("GET", "/plain")[0], 200)
        plain.close()
        shaking.join()
        expected.ask(waiting[0], "/ok")
        expected.close(waiting[0])
    expected.requests["GET", "/plain", "200", "http"] = 6
    metrics = program.metrics_when(lambda metrics: metrics.sum("profshim_connections_accepted_total") >= 6)
    check_requests(scene, metrics, expected.requests)
    stop_tls_server(scene, program, metrics)


@test
def a_handshake_that_is_left_by_longjmp_leaves_nothing_behind(scene):
    program, port, _ = start_tls_server(scene, "jump")
    for _ in range(3):
        try:
            TlsClient(port)
            raise Failure("the handshake was meant to fail")
        except (ssl.SSLError, OSError):
            pass
        plain = HttpClient(port)
        for _ in range(4):
            scene.equal("status", plain.ask("GET", "/plain")[0], 200)
        plain.close()
    metrics = program.metrics_when(lambda metrics: metrics.sum(SERVED) >= 12)
    check_requests(scene, metrics, {("GET", "/plain", "200", "http"): 12})
    stop_tls_server(scene, program, metrics)


@test
def early_data_is_read_before_the_handshake_is_over(scene):
    program, port, _ = start_tls_server(scene, "early")
    session, request = scene.path("session.pem"), scene.write("request", "GET /early HTTP/1.1\r\nHost: localhost\r\n\r\n")
    client = ["openssl", "s_client", "-connect", "127.0.0.1:%d" % port, "-ign_eof", "-quiet"]
    plain = b"GET /ok HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    run_client(client + ["-sess_out", session], plain)
    run_client(client + ["-sess_in", session, "-early_data", request], plain)
    # A session is freed before its connection is closed, and after its last answer.
    metrics = program.metrics_when(lambda metrics: metrics.sum(SERVED) >= 3 and not metrics.sum("profshim_connections_open"))
    check_requests(scene, metrics, {("GET", "/ok", "200", "https"): 2, ("GET", "/early", "200", "https"): 1})
    stop_tls_server(scene, program, metrics)


def run_client(argv, text):
    """A client that is told to end when it has the answer to text."""
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as client:
        client.stdin.write(text)
        client.stdin.flush()
        seen = b""
        while b"ok\n" not in seen or seen.count(b"ok\n") < text.count(b"GET"):
            piece = client.stdout.read1(4096)
            if not piece:
                raise Failure("%s gave %r" % (" ".join(argv), seen))
            seen += piece
        client.kill()


# real servers

NGINX_SITE = """
log_format counted "$request_method\\t$uri\\t$status\\t$bytes_sent\\t$request_length";
access_log {dir}/access.log counted;
sendfile on;
ssl_certificate {certificate};
ssl_certificate_key {key};
ssl_protocols TLSv1.2 TLSv1.3;
{options}
server {{
    listen 127.0.0.1:{port} ssl backlog=2048;
    root {dir}/www;
    location /hello {{ return 200 "hello\\n"; }}
    location /users/ {{ return 200 "a user\\n"; }}
    location /broken {{ return 500 "broken\\n"; }}
    location /uploads/ {{ dav_methods PUT; create_full_put_path on; }}
    location /proxied/ {{ proxy_pass https://127.0.0.1:{port}/users/; }}
}}
"""


class TlsNginx(Nginx):
    """nginx as in real_servers, but over TLS."""

    def __init__(self, scene, options="", **settings):
        self.scene = scene
        self.port = free_ports()
        self._make_site()
        certificate, key = make_certificate(scene)
        site = NGINX_SITE.format(dir=scene.dir, port=self.port, options=options, certificate=certificate, key=key)
        self.argv = nginx_argv(scene, site)
        self.program = scene.start(self.argv, "nginx", **settings)
        self.program.wait_for_port(self.port)


def ask_nginx(scene, nginx, count):
    """Requests of several clients, of every kind, at least count of them; how many there were."""
    base, asked = "https://127.0.0.1:%d" % nginx.port, 0
    paths = ["/hello", "/users/%d" % (1 << 20), "/files/large.txt", "/files/small.txt", "/broken", "/uploads/none"]
    for version in ("--tlsv1.2 --tls-max 1.2", "--tlsv1.3"):
        for path in paths:
            scene.run_ok(["curl", "-sk", "--http1.1", *version.split(), "-o", "/dev/null", base + path], shim=False)
    scene.run_ok(["curl", "-sk", "--http1.1", "-T", scene.path("www/files/large.txt"), base + "/uploads/new.txt"], shim=False)
    asked += 2 * len(paths) + 1
    text = b"".join(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode() for path in paths[:2] * 2)
    scene.run_ok(["openssl", "s_client", "-connect", "127.0.0.1:%d" % nginx.port, "-quiet", "-no_ign_eof"], shim=False,
                 stdin=text[:-2] + b"Connection: close\r\n\r\n")
    asked += 4
    clients = [TlsClient(nginx.port) for _ in range(8)]
    while asked < count:
        for client in clients:
            for _ in range(25):
                client.request("GET", "/users/%d" % asked)
                asked += 1
        for client in clients:
            for _ in range(25):
                client.answer()
    for client in clients:
        client.close()
    return asked


def compare_with_log(scene, nginx, count):
    lines = nginx.logged(count)
    scene.equal("requests that nginx logged", len(lines), count)
    metrics = nginx.program.metrics_when(lambda metrics: metrics.sum(SERVED) >= count)
    wanted = {(*key, "https"): number for key, number in counts_of_log(lines).items()}
    scene.equal("requests", metrics.by(SERVED, "http_request_method", "http_route", "http_response_status_code", "url_scheme"),
                wanted)
    scene.equal("bytes received", metrics.by("profshim_network_receive_bytes_total", "protocol"),
                {"http": sum(line.request_length for line in lines)})
    scene.equal("bytes sent", metrics.by("profshim_network_transmit_bytes_total", "protocol"),
                {"http": sum(line.bytes_sent for line in lines)})
    scene.equal("calls that we are blind to", metrics.by("profshim_blind_calls_total", "kind"), {})
    return metrics


@test
def nginx_over_tls_is_counted_as_it_counts_itself(scene):
    nginx = TlsNginx(scene)
    compare_with_log(scene, nginx, ask_nginx(scene, nginx, requests_wanted(5000)))
    scene.equal("exit code", nginx.program.stop(), 0)


@test
def nginx_with_ktls_asked_for_is_counted_the_same(scene):
    nginx = TlsNginx(scene, "ssl_conf_command Options KTLS;")
    metrics = compare_with_log(scene, nginx, ask_nginx(scene, nginx, 500))
    scene.say("calls of SSL_sendfile: %d (0: the kernel has no kTLS)" % metrics.sum("profshim_calls_total", call="SSL_sendfile"))
    scene.equal("exit code", nginx.program.stop(), 0)


@test
def redis_over_tls_is_counted_as_it_counts_itself(scene):
    certificate, key = make_certificate(scene)
    redis = Redis.__new__(Redis)
    redis.scene, redis.port = scene, free_ports()
    tls_port = redis.port + 1
    redis.program = scene.start(["redis-server", "--port", str(redis.port), "--tls-port", str(tls_port), "--bind", "127.0.0.1",
                                 "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate,
                                 "--tls-auth-clients", "no", "--save", "", "--appendonly", "no", "--dir", scene.dir], "redis")
    redis.program.wait_for_port(tls_port)
    tls = ["-p", str(tls_port), "--tls", "--insecure"]
    for pipeline in ("1", "16", "64"):
        scene.run_ok(["redis-benchmark", *tls, "-q", "-n", str(requests_wanted(2000)), "-c", "8", "-P", pipeline,
                      "-t", "set,get,incr"], shim=False, timeout=300)
    scene.equal("the answer to a wrong command", scene.run_ok(["redis-cli", *tls, "HSET", "key"], shim=False).split()[0], "ERR")
    calls = redis.command_calls()
    metrics = redis.program.metrics_when(lambda metrics: command_calls_of_metrics(metrics) == calls)
    # What is refused before it runs is no call to Redis.
    errors = metrics.sum("db_server_operation_duration_seconds_count", error_type="ERR")
    counted = command_calls_of_metrics(metrics)
    counted["HSET"] = counted.get("HSET", 0) - errors
    scene.equal("commands", {command: count for command, count in counted.items() if count}, calls)
    scene.equal("calls that we are blind to", metrics.by("profshim_blind_calls_total", "kind"), {})
    scene.equal("exit code", redis.program.stop(), 0)


PYTHON_SERVER = """
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = b"x" * (50000 if self.path.startswith("/file") else 3)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print("port", server.server_address[1], flush=True)
server.serve_forever()
"""

# The event loop reads the sockets; sessions have memory BIOs.
ASYNCIO_SERVER = """
import asyncio, ssl, sys
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            size = 50000 if head.startswith(b"GET /file") else 3
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % size + b"x" * size)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


def serve_by_python(scene, name, script):
    program = scene.start(["python3", scene.write(name + ".py", script), *make_certificate(scene)], name)
    program.wait_for_output("\n")
    program.wait_ready()
    port = int(program.stdout().split()[1])
    expected = Expected()
    clients = [TlsClient(port), TlsClient(port, client_context(maximum_version=ssl.TLSVersion.TLSv1_2)), TlsClient(port)]
    for pipeline in (1, 2, 5):
        for client in clients:
            expected.ask(client, "/ok", pipeline)
            expected.ask(client, "/file")
    for client in clients:
        expected.close(client)
    check_expected(scene, program, expected)


@test
def python_opens_libssl_for_itself_alone(scene):
    serve_by_python(scene, "thread_server", PYTHON_SERVER)


@test
def asyncio_reads_sockets_outside_of_sessions(scene):
    serve_by_python(scene, "loop_server", ASYNCIO_SERVER)


# Asks port over TLS, by sessions on a socket and by an event loop with memory BIOs, and waits to be looked at.
TLS_CLIENTS = """
import asyncio, ssl, sys, urllib.request
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
port = int(sys.argv[1])
for number in range(5):
    urllib.request.urlopen("https://127.0.0.1:%d/hello" % port, context=context).read()
async def ask(count):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    for _ in range(count):
        writer.write(b"GET /broken HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
        await reader.readuntil(b"broken\\n")
    writer.close()
async def main():
    await asyncio.gather(*[ask(7) for _ in range(3)])
asyncio.run(main())
print("asked", flush=True)
sys.stdin.read()
"""


@test
def what_a_program_asks_others_over_tls_is_counted_too(scene):
    nginx = TlsNginx(scene)
    program = scene.start(["python3", scene.write("clients.py", TLS_CLIENTS), str(nginx.port)], "clients", stdin=subprocess.PIPE)
    program.wait_for_output("asked\n")
    program.wait_ready()
    asked = program.metrics().by("http_client_request_duration_seconds_count", "http_request_method", "server_port",
                                 "http_response_status_code", "url_scheme")
    scene.equal("requests that the clients asked", asked, {("GET", str(nginx.port), "200", "https"): 5.0,
                                                           ("GET", str(nginx.port), "500", "https"): 21.0})
    scene.equal("calls that we are blind to", program.metrics().by("profshim_blind_calls_total", "kind"), {})
    for number in range(4):
        scene.run_ok(["curl", "-sk", "https://127.0.0.1:%d/proxied/%d" % (nginx.port, number)], shim=False)
    wanted = {("GET", str(nginx.port), "200", "https"): 4.0}
    family = "http_client_request_duration_seconds_count"
    metrics = nginx.program.metrics_when(lambda metrics: metrics.sum(family) >= 4)
    scene.equal("requests that nginx asked its upstream", metrics.by(family, "http_request_method", "server_port",
                                                                      "http_response_status_code", "url_scheme"), wanted)


@test
def a_gnutls_server_is_counted(scene):
    certificate, key = make_certificate(scene)
    port = free_ports()
    program = scene.start(["gnutls-serv", "--http", "--quiet", "--disable-client-cert", "--port", str(port),
                           "--x509certfile", certificate, "--x509keyfile", key], "gnutls-serv")
    program.wait_ready()
    count = 12
    for number in range(count):  # it answers each connection once
        version = ("--tls-max", "1.2") if number % 2 else ()
        wait_until(lambda: scene.run(["curl", "-sk", "--http1.1", *version, "-o", "/dev/null",
                                      "https://127.0.0.1:%d/page" % port], shim=False).returncode == 0, 5, "an answer")
    metrics = program.metrics_when(lambda metrics: metrics.sum(SERVED) >= count)
    check_requests(scene, metrics, {("GET", "/page", "200", "https"): count})
    scene.equal("calls that we are blind to", metrics.by("profshim_blind_calls_total", "kind"), {})


@test
def gnutls_in_every_way_of_moving_its_records(scene):
    both = [client_context(), client_context(maximum_version=ssl.TLSVersion.TLSv1_2)]
    for mode in ("simple", "cork", "packet", "custom", "memory"):
        scene.say("--- " + mode)
        serve_and_compare(scene, mode, both, server="gnutls_server")


@test
def tls_that_nobody_opens_for_us_is_counted_as_such(scene):
    """openssl s_server -www reads its sessions through a BIO, by calls within libssl that nobody can interpose."""
    certificate, key = make_certificate(scene)
    port = free_ports()
    program = scene.start(["openssl", "s_server", "-www", "-quiet", "-accept", "127.0.0.1:%d" % port, "-cert", certificate,
                           "-key", key], "s_server")
    program.wait_ready()
    for version in ("1.2", "1.3", "1.3"):
        scene.run_ok(["curl", "-sk", "--http1.1", "--tls-max", version, "--retry", "5", "--retry-connrefused", "-o", "/dev/null",
                      "https://127.0.0.1:%d/" % port], shim=False)
    metrics = program.metrics_when(lambda metrics: metrics.sum("profshim_blind_calls_total") >= 3)
    scene.equal("calls that we are blind to", metrics.by("profshim_blind_calls_total", "kind"), {"tls": 3.0})
    scene.equal("requests", metrics.sum(SERVED), 0)
    scene.equal("connections", metrics.by("profshim_connections_accepted_total", "protocol"), {"tls": 3.0})


if __name__ == "__main__":
    run_tests()
