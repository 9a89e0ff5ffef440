"""http2_servers - nghttpd, nginx with HTTP/2 and nghttpx as a distribution ships them, and h2load to ask them."""
import os
import re

from harness import Failure, free_ports
from real_servers import nginx_argv

NGINX_SITE = """
log_format counted "$request_method\\t$uri\\t$status\\t$bytes_sent\\t$request_length";
access_log {dir}/access.log counted;
http2_max_concurrent_streams 128;
sendfile on;
ssl_certificate {dir}/certificate.pem;
ssl_certificate_key {dir}/key.pem;
server {{
    listen 127.0.0.1:{port} http2 backlog=2048;
    listen 127.0.0.1:{tls_port} ssl http2 backlog=2048;
    root {dir}/www;
    location /empty {{ return 204; }}
    location /users/ {{ return 200 "a user\\n"; }}
    location /moved {{ return 301 /empty; }}
    location /broken {{ return 500 "broken\\n"; }}
    location /uploads/ {{ dav_methods PUT DELETE; create_full_put_path on; }}
    location /pushed/ {{ http2_push /files/small.txt; return 200 "see there\\n"; }}
}}
"""


def make_certificate(scene):
    """Paths of a certificate for localhost and of its key."""
    certificate, key = scene.path("certificate.pem"), scene.path("key.pem")
    if not os.path.exists(certificate):
        scene.run_ok(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                      "-keyout", key, "-out", certificate, "-days", "36500", "-subj", "/CN=localhost",
                      "-addext", "subjectAltName=DNS:localhost"], shim=False)
        os.chmod(key, 0o644)
    return certificate, key


def make_site(scene):
    """Files to serve below www/."""
    os.makedirs(scene.path("www/uploads"), exist_ok=True)
    os.chmod(scene.path("www/uploads"), 0o777)
    scene.write("www/files/small.txt", "x" * 1023 + "\n")
    scene.write("www/files/large.txt", "a word and another word, over and over\n" * 1000)


class Http2Nginx:
    """A master and two workers; port speaks HTTP/2 without TLS, by prior knowledge, and tls_port with."""

    def __init__(self, scene, **settings):
        self.scene = scene
        self.port = free_ports()
        self.tls_port = self.port + 1
        make_site(scene)
        make_certificate(scene)
        site = NGINX_SITE.format(dir=scene.dir, port=self.port, tls_port=self.tls_port)
        self.program = scene.start(nginx_argv(scene, site), "nginx", **settings)
        self.program.wait_for_port(self.port)
        if settings.get("shim", True):
            self.program.wait_ready()


class Nghttpd:
    """One process over libnghttp2, serving the files of www/ with trailers."""

    def __init__(self, scene, threads=1, is_tls=False, **settings):
        self.port = free_ports()
        make_site(scene)
        how = list(make_certificate(scene))[::-1] if is_tls else ["--no-tls"]
        options = ["-d", scene.path("www"), "-n", str(threads), "--trailer=checksum: 1", "--echo-upload"]
        self.program = scene.start(["nghttpd", *options, str(self.port), *how], "nghttpd", **settings)
        self.program.wait_for_port(self.port)
        if settings.get("shim", True):
            self.program.wait_ready()


class Nghttpx:
    """A proxy from HTTP/1 with Upgrade, or HTTP/2, to HTTP/2."""

    def __init__(self, scene, backend_port, **settings):
        self.port = free_ports()
        config = scene.write("nghttpx.conf", "")
        self.program = scene.start(["nghttpx", "--conf", config, "--workers=1", "--no-ocsp",
                                    "--frontend=127.0.0.1,%d;no-tls" % self.port,
                                    "--backend=127.0.0.1,%d;/;proto=h2" % backend_port], "nghttpx", **settings)
        self.program.wait_for_port(self.port)
        if settings.get("shim", True):
            self.program.wait_ready()


def h2load(scene, count, clients, streams, urls):
    """Asks count requests of the urls in turn, by so many connections with so many streams each at once.
    {class of status: how many} as h2load counted; all must be answered."""
    told = scene.run_ok(["h2load", "-n", str(count), "-c", str(clients), "-m", str(streams), *urls], shim=False,
                        timeout=600)
    done = re.search(r"requests: (\d+) total, \d+ started, (\d+) done, .* (\d+) errored, (\d+) timeout", told)
    if not done or [int(number) for number in done.groups()] != [count, count, 0, 0]:
        raise Failure("h2load did not get %d answers: %s" % (count, told[-600:]))
    classes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", told)
    return dict(zip(("2xx", "3xx", "4xx", "5xx"), map(int, classes.groups())))
