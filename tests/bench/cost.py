"""cost - what profshim costs the programs it runs in: CPU time per request, beside the peers' at the same rate.

Variants of each server, all of them running at once on one core, asked in turn from the other:
    plain            without anything
    everything_99    under the shim as it is by default
    requests_only    under the shim without samples: what sampling at 1,000 Hz is compared with
    everything_1000  under the shim, 1,000 samples a second
    disabled         the library is loaded, and its program is none that PROFSHIM_EXE names
    gperftools_*     libprofiler preloaded, as CPUPROFILE_FREQUENCY says
    perf_*           perf record -g -F, for the time of the slice
"""
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from harness import Failure, Scene, free_ports, own_server, wait_until
from measure import cpu_ns, median, rounds
from real_databases import Postgres
from real_servers import Redis

SERVER_CORE, CLIENT_CORE = "0", "1"
LIBPROFILER = "/usr/lib/x86_64-linux-gnu/libprofiler.so.0"

NGINX_CONFIG = """
daemon off;
master_process off;
pid {dir}/{name}.pid;
error_log {dir}/{name}.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {dir}/{name}-body;
    proxy_temp_path {dir}/{name}-proxy;
    fastcgi_temp_path {dir}/{name}-fastcgi;
    uwsgi_temp_path {dir}/{name}-uwsgi;
    scgi_temp_path {dir}/{name}-scgi;
    keepalive_requests 1000000000;
    sendfile on;
    server {{
        listen 127.0.0.1:{port};
        root {dir}/www;
        location /hello {{ return 200 "hello\\n"; }}
    }}
}}
"""

# How each variant is started: settings of the shim, or what is preloaded in its place.
DEFAULT_BUDGET = "1%"
SHIM = {"everything_99": {"hz": 99, "budget": DEFAULT_BUDGET}, "requests_only": {"hz": 0},
        "everything_1000": {"hz": 1000, "budget": DEFAULT_BUDGET},
        "disabled": {"exe": "/no/such/program"}}
GPERFTOOLS = {"gperftools_99": 99, "gperftools_1000": 1000}
PERF = {"perf_99": 99, "perf_1000": 1000}
VARIANTS = ["plain", *SHIM, *GPERFTOOLS, *PERF]


def settings_of(scene, variant):
    """Keyword arguments of Scene.start for a variant."""
    if variant in SHIM:
        return dict(SHIM[variant])
    environment = scene.plain_environment()
    if variant in GPERFTOOLS:
        environment.update(LD_PRELOAD=LIBPROFILER, CPUPROFILE=scene.path(variant + ".prof"),
                           CPUPROFILE_FREQUENCY=str(GPERFTOOLS[variant]))
    return {"shim": False, "environment": environment}


def on_core(core, argv):
    return ["taskset", "-c", core, *argv]


class Server:
    """One variant of one server: a program, and a slice of load on it."""

    def __init__(self, scene, variant, program, ask):
        self.scene, self.variant, self.program, self.ask = scene, variant, program, ask
        subprocess.run(["taskset", "-a", "-p", "-c", SERVER_CORE, str(program.pid)], check=True, stdout=subprocess.DEVNULL)

    def cpu_per_request_ns(self):
        """Of one slice: ask() makes the requests and gives their number."""
        perf = self._start_perf() if self.variant in PERF else None
        before = cpu_ns(self.program.pid)
        requests = self.ask()
        spent = cpu_ns(self.program.pid) - before
        if perf:
            perf.send_signal(signal.SIGINT)
            perf.wait()
        return spent / requests

    def _start_perf(self):
        path = self.scene.path(self.variant + ".data")
        argv = ["perf", "record", "-q", "-g", "-F", str(PERF[self.variant]), "-o", path, "-p", str(self.program.pid)]
        perf = subprocess.Popen(on_core(CLIENT_CORE, argv), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: os.path.exists(path) and os.path.getsize(path), 10, "perf record's beginning")
        return perf


def run_client(scene, argv):
    return scene.run_ok(on_core(CLIENT_CORE, argv), shim=False, timeout=300)


def nginx_server(scene, variant, path, requests):
    port, name = free_ports(), "nginx-" + variant
    scene.write("www/1k.txt", "x" * 1023 + "\n")
    config = scene.write(name + ".conf", NGINX_CONFIG.format(dir=scene.dir, port=port, name=name))
    argv = ["nginx", "-e", scene.path(name + ".log"), "-p", scene.dir, "-c", config]
    program = scene.start(argv, name, **settings_of(scene, variant))
    program.wait_for_port(port)

    def ask():
        run_client(scene, ["h2load", "--h1", "-n", str(requests), "-c", "8", "http://127.0.0.1:%d%s" % (port, path)])
        return requests
    return Server(scene, variant, program, ask)


def redis_server(scene, variant, pipeline, requests):
    redis = Redis(scene, **settings_of(scene, variant))
    redis.cli("set", "key:__rand_int__", "value")

    def ask():
        run_client(scene, ["redis-benchmark", "-p", str(redis.port), "-q", "-t", "get", "-n", str(requests), "-c", "16",
                           "-P", str(pipeline)])
        return requests
    return Server(scene, variant, redis.program, ask)


def grpc_server(scene, variant, requests):
    port = free_ports()
    program = scene.start([own_server("grpc_server"), "threads", str(port), "0"], "grpc-" + variant,
                          stdin=subprocess.PIPE, **settings_of(scene, variant))
    program.wait_for_output("ready\n")

    def ask():
        client = subprocess.Popen(on_core(CLIENT_CORE, [own_server("grpc_client"), str(port), "-", "8", str(requests), "unary",
                                                        "/test.Shop/Get", "hello"]),
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for line in client.stdout:
            if line == b"done\n":
                break
        else:
            raise Failure("grpc_client ended early")
        client.stdin.close()
        client.wait()
        return requests
    return Server(scene, variant, program, ask)


def postgres_server(scene, variant, transactions):
    settings = settings_of(scene, variant)
    settings.pop("shim", None)
    if variant == "disabled":  # there is no profshim to wait for, either
        settings = {"environment": scene.shim_environment(**settings)}
    postgres = Postgres(scene, **settings)
    run_client(scene, [postgres.tool("pgbench"), "-q", "-i", "-s", "1", *postgres.where(), "postgres"])

    def ask():
        run_client(scene, [postgres.tool("pgbench"), "-n", "-S", "-M", "prepared", "-c", "1", "-t", str(transactions),
                           *postgres.where(), "postgres"])
        return transactions
    return Server(scene, variant, postgres.program, ask)


# name: how a variant is started, and the variants that make sense for it.
WORKLOADS = {
    "nginx_return": lambda scene, variant: nginx_server(scene, variant, "/hello", 60000),
    "nginx_1k_file": lambda scene, variant: nginx_server(scene, variant, "/1k.txt", 50000),
    "redis_get": lambda scene, variant: redis_server(scene, variant, 1, 50000),
    "redis_get_p16": lambda scene, variant: redis_server(scene, variant, 16, 400000),
    "pgbench_select": lambda scene, variant: postgres_server(scene, variant, 20000),
    "grpc_echo": lambda scene, variant: grpc_server(scene, variant, 8000),
}

# What one variant costs beside another: the name of the figure, the two, and what it must not exceed, in percent.
COMPARED = [
    ("everything_99", "everything_99", "plain", 3.0),
    ("sampling_1000", "everything_1000", "requests_only", 1.0),
    ("disabled", "disabled", "plain", 0.3),
    ("gperftools_99", "gperftools_99", "plain", None),
    ("gperftools_1000", "gperftools_1000", "plain", None),
    ("perf_99", "perf_99", "plain", None),
    ("perf_1000", "perf_1000", "plain", None),
]
BOUND_OF_PIPELINES = 6.0  # of everything, for Redis at pipeline 16: a command is half a microsecond there


def bound_of(workload, name, bound):
    return BOUND_OF_PIPELINES if (workload, name) == ("redis_get_p16", "everything_99") else bound


def measure(figures, workload, pairs):
    """All variants of a workload, in so many rounds."""
    scenes = {variant: Scene("bench-%s-%s" % (workload, variant)) for variant in VARIANTS}
    try:
        servers = {variant: WORKLOADS[workload](scenes[variant], variant) for variant in VARIANTS}
        results = rounds(VARIANTS, lambda variant: servers[variant].cpu_per_request_ns(), pairs)
    finally:
        for scene in scenes.values():
            scene.close(False, False)
    figures.add("cost_%s_plain" % workload, median([each["plain"] for each in results]), "ns")
    for name, variant, base, bound in COMPARED:
        bound = bound_of(workload, name, bound)
        figures.add_ratio("cost_%s_%s" % (workload, name), results, variant, base)
        if bound is not None:
            figures.add("cost_%s_%s_bound" % (workload, name), bound, "%")
