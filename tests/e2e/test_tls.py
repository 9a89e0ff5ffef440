#!/usr/bin/env python3
"""Plain bytes under TLS are counted once, whatever library passes them and in whatever way; encrypted ones are not."""
import collections
import os
import socket
import ssl
import subprocess
import threading

from harness import Failure, free_ports, own_server, requests_wanted, run_tests, test, wait_until
from real_servers import HttpClient, Nginx, Redis, command_calls_of_metrics, counts_of_log

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

def start_tls_server(scene, mode):
    program = scene.start([own_server("tls_server"), mode, *make_certificate(scene)], "tls_server-" + mode)
    program.wait_for_output("\n")
    program.wait_ready()
    ports = dict(line.split() for line in program.stdout().splitlines())
    return program, int(ports["port"]), int(ports.get("plain", 0))


def stop_tls_server(scene, program, metrics):
    """The calls that the server counted itself are those that profshim counted."""
    scene.equal("exit code", program.stop(), 0)
    told = [line.split() for line in program.stdout().splitlines()]
    calls = {name: float(count) for name, count in told if name.startswith("SSL_")}
    counted = {name: count for name, count in metrics.by("profshim_calls_total", "call").items() if name.startswith("SSL_")}
    scene.equal("calls of libssl", counted, calls)
    scene.equal("what the program printed on stderr", program.stderr(), "")
    return dict(told)


def serve_and_compare(scene, mode, contexts=None, connections=4, rounds=5):
    program, port, _ = start_tls_server(scene, mode)
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
    metrics = program.metrics_when(lambda metrics: metrics.sum(SERVED) >= 3)
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


if __name__ == "__main__":
    run_tests()
