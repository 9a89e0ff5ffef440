"""cost - what profshim costs the programs it runs in: CPU time per request, beside the peers' at the same rate.

Variants of each server, all of them running at once on one core, asked in turn from the other (measure.py says how):
    plain            without anything
    everything_99    under the shim as it is by default
    requests_only    under the shim without samples: what sampling at 1,000 Hz is compared with
    everything_1000  under the shim, 1,000 samples a second
    disabled         the library is loaded, and its program is none that PROFSHIM_EXE names
    gperftools_*     libprofiler preloaded, as CPUPROFILE_FREQUENCY says
    perf_*           perf record -g -F of the server's core, which begins before the slice and ends after it

A slice is about a fifth of a second of the server's time, in which it is never without work: what an idle core's waking up
costs differs more than what is looked for. gperftools' timers end at a fork (setitimer(2)), so what it shows
beside pgbench is what it costs a postmaster's children to have it loaded.
"""
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from functools import partial

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from harness import BUILD, Failure, Scene, adopt_orphans, free_ports, own_server, wait_until
from measure import TICKS_PER_SECOND, core_ticks, cpu_ns, median
from real_databases import Postgres, as_nobody
from real_servers import Redis

SERVER_CORE, CLIENT_CORE = "0", "1"
PATIENCE_SECONDS = 60  # a server that valgrind runs takes its time
LIBPROFILER = "/usr/lib/x86_64-linux-gnu/libprofiler.so.0"

# What a block may have had of others and still counts, as shares of its time. (Preemptions and waiting for the core say
# nothing: an idle core's waking up, and the kernel's own threads, are hundreds a second of each on a machine at rest.)
TICKS_SLACK, OTHERS_MAX, STOLEN_MAX = 4, 0.05, 0.01

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


def settings_of(scene, variant, under=()):
    """Keyword arguments of Scene.start for a variant. Of one that valgrind runs nobody asks for a report."""
    if variant in SHIM and variant != "disabled" and not under:
        return dict(SHIM[variant])
    environment = scene.shim_environment(**SHIM[variant]) if variant in SHIM else scene.plain_environment()
    if variant in GPERFTOOLS:
        # Into the folder that is given to whom the server runs as; it opens the file once more where it has started.
        environment.update(LD_PRELOAD=LIBPROFILER, CPUPROFILE=os.path.join(scene.session_dir, variant + ".prof"),
                           CPUPROFILE_FREQUENCY=str(GPERFTOOLS[variant]))
    return {"shim": False, "environment": environment}


def on_core(core, argv):
    return ["taskset", "-c", core, *argv]


class Server:
    """One variant of one server: a program, and a slice of load on it, which ask() brings, of so many requests."""

    def __init__(self, scene, variant, program, ask, requests):
        self.scene, self.variant, self.program, self.ask, self.requests = scene, variant, program, ask, requests
        self.at_end = []
        subprocess.run(["taskset", "-a", "-p", "-c", SERVER_CORE, str(program.pid)], check=True, stdout=subprocess.DEVNULL)

    def ready(self):
        """What profshim has to do once it has started is done."""
        if self.variant in SHIM and self.variant != "disabled":
            self.program.wait_ready()
            wait_until(self._is_idle, 30, "%s being idle" % self.variant)

    def _is_idle(self):
        """Rules for unwinding are made in its first seconds, once: that is start-up, and no cost of a request."""
        before = cpu_ns(self.program.pid)
        time.sleep(0.5)
        return cpu_ns(self.program.pid) - before < 3000000

    def close(self):
        for end in self.at_end:
            end()

    def slice(self):
        """What the server spent on one, in CPU and in real nanoseconds."""
        perf = Perf(self.scene, PERF[self.variant]) if self.variant in PERF else None
        before, began_ns = cpu_ns(self.program.pid), time.monotonic_ns()
        self.ask()
        result = cpu_ns(self.program.pid) - before, time.monotonic_ns() - began_ns
        if perf:
            perf.close()
        return result


class Perf:
    """perf record of all that runs on the server's core: it takes samples from when it has said so until it is told not to.
    Attached to a server's processes it costs far more: its timer is then set and stopped at each switch of tasks, which, where
    there are no counters in hardware, made pgbench's transactions dearer by 68 % at 1,000 Hz."""

    def __init__(self, scene, hz):
        self.control, self.answer = (scene.path(name) for name in ("perf-control", "perf-answer"))
        for path in (self.control, self.answer):
            if not os.path.exists(path):
                os.mkfifo(path)
        # Both ends of both, so that nobody waits for anybody to open one.
        self.ends = [os.open(path, os.O_RDWR) for path in (self.control, self.answer)]
        argv = ["perf", "record", "-q", "-B", "-N", "-g", "-F", str(hz), "-C", SERVER_CORE, "-o", scene.path("perf.data"),
                "-D", "-1", "--control", "fifo:%s,%s" % (self.control, self.answer)]
        self.process = subprocess.Popen(on_core(CLIENT_CORE, argv), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._ask("enable")

    def _ask(self, command):
        os.write(self.ends[0], command.encode() + b"\n")
        ready, _, _ = select.select([self.ends[1]], [], [], 20)
        if not ready or not os.read(self.ends[1], 64).startswith(b"ack"):
            raise Failure("perf record did not take the command \"%s\"" % command)

    def close(self):
        self._ask("disable")
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        for end in self.ends:
            os.close(end)


class Watch:
    """Whether a stretch of time was the bench's own: what else ran on the server's core, and what the machine's owner took."""

    def __init__(self, servers):
        self.servers = servers
        self.began, self.before = time.monotonic(), self._look()

    def _look(self):
        busy, stolen = core_ticks(SERVER_CORE)
        return {"busy": busy, "stolen": stolen + core_ticks(CLIENT_CORE)[1],
                "own": sum(cpu_ns(server.program.pid) for server in self.servers)}

    def is_disturbed(self):
        """/proc/stat counts by the tick, hence the slack."""
        after = self._look()
        passed = {key: after[key] - self.before[key] for key in after}
        ticks = (time.monotonic() - self.began) * TICKS_PER_SECOND
        others = passed["busy"] - passed["own"] * TICKS_PER_SECOND / 1e9
        return others > TICKS_SLACK + OTHERS_MAX * ticks or passed["stolen"] > 1 + STOLEN_MAX * ticks


def run_client(scene, argv, stdin=b""):
    return scene.run_ok(on_core(CLIENT_CORE, argv), shim=False, timeout=300, stdin=stdin)


def answer_to(port, request, beginning):
    """What a server says to a request until it falls silent."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(2)
        connection.sendall(request)
        answer = b""
        try:
            while True:
                part = connection.recv(65536)
                if not part:
                    break
                answer += part
        except TimeoutError:
            pass
    if not answer.startswith(beginning):
        raise Failure("an answer begins with %r and not with %r" % (answer[:40], beginning))
    return answer


def asks_alike(scene, port, request, beginning, asked_times):
    """What brings a slice to a server whose every answer to request is as long as the first: so many times, over 16
    connections. (The tools of others need more time for a request than these servers do.)"""
    bytes_each = len(answer_to(port, request, beginning))
    argv = [os.path.join(BUILD, "tests/bench/ask_load"), str(port), "16", str(asked_times), str(bytes_each)]
    return lambda: run_client(scene, argv, request)


def nginx_server(scene, variant, requests, under, path):
    port, name = free_ports(), "nginx-" + variant
    scene.write("www/1k.txt", "x" * 1023 + "\n")
    config = scene.write(name + ".conf", NGINX_CONFIG.format(dir=scene.dir, port=port, name=name))
    argv = [*under, "nginx", "-e", scene.path(name + ".log"), "-p", scene.dir, "-c", config]
    program = scene.start(argv, name, **settings_of(scene, variant, under))
    program.wait_for_port(port, PATIENCE_SECONDS)

    request = "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: ask_load\r\nAccept: */*\r\n\r\n" % (path, port)
    ask = asks_alike(scene, port, request.encode(), b"HTTP/1.1 200", requests)
    return Server(scene, variant, program, ask, requests)


def redis_server(scene, variant, requests, under, pipeline):
    # What it does by the clock is none of its requests'.
    redis = Redis(scene, "--hz", "1", "--dynamic-hz", "no", under=under, **settings_of(scene, variant, under))
    redis.cli("set", "key", "value")
    ask = asks_alike(scene, redis.port, b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n" * pipeline, b"$5\r\nvalue\r\n", requests // pipeline)
    return Server(scene, variant, redis.program, ask, requests)


def grpc_server(scene, variant, requests, under):
    """Asked by h2load: gRPC's own client needs more of its core than the server of its own."""
    port = free_ports()
    program = scene.start([*under, own_server("grpc_server"), "threads", str(port), "0"], "grpc-" + variant,
                          stdin=subprocess.PIPE, **settings_of(scene, variant, under))
    program.wait_for_output("ready\n")
    message = scene.write("message", b"\0" + struct.pack(">I", 5) + b"hello")

    argv = ["h2load", "-n", str(requests), "-c", "2", "-m", "16", "-d", message, "-H", "te: trailers",
            "-H", "content-type: application/grpc", "http://127.0.0.1:%d/test.Shop/Get" % port]
    return Server(scene, variant, program, lambda: run_client(scene, argv), requests)


class FilledPostgres(Postgres):
    """With pgbench's tables from the start: they are made once."""

    def _make(self, data):
        super()._make(data)
        port, folder = free_ports(), os.path.dirname(data)
        pg_ctl = [self.tool("pg_ctl"), "-s", "-w", "-D", data]
        options = "-p %d -k %s -c fsync=off -c listen_addresses=127.0.0.1" % (port, folder)
        # What it starts would hold on to a pipe.
        self.scene.run_ok(as_nobody([*pg_ctl, "-l", os.path.join(folder, "log"), "-o", options, "start"]), shim=False)
        self.scene.run_ok([self.tool("pgbench"), "-q", "-i", "-s", "1", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "postgres"],
                          shim=False)
        self.scene.run_ok(as_nobody([*pg_ctl, "-m", "fast", "stop"]), shim=False)


# pgbench -S, and a gate after each slice: its session lasts, since what ended is known by the tick only.
PGBENCH_SCRIPT = r"""\set aid random(1, 100000)
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
\set done :done + 1
\if :done = :slice
\set done 0
\shell {gate}
\endif
"""
PGBENCH_CLIENTS = 4  # with one the server waits for its client after each transaction
GATE = """#!/bin/sh
echo done >{dir}/ended
read -r word <{dir}/begin
"""


class Gate:
    """Slices of one lasting pgbench: each client comes to the gate after its part of one, and waits for the next."""

    def __init__(self, scene, postgres, transactions):
        clients = str(PGBENCH_CLIENTS)
        gate = scene.write("gate", GATE.format(dir=scene.dir), 0o755)
        for name in ("begin", "ended"):
            os.mkfifo(scene.path(name))
        # Both ends of both, so that nobody waits for anybody to open one.
        self.begin, self.ended = (os.open(scene.path(name), os.O_RDWR) for name in ("begin", "ended"))
        scene.start(on_core(CLIENT_CORE, [postgres.tool("pgbench"), "-n", "-M", "prepared", "-c", clients, "-j", clients,
                                          "-t", "2000000000", "-D", "done=0", "-D", "slice=%d" % (transactions // PGBENCH_CLIENTS),
                                          "-f", scene.write("select.sql", PGBENCH_SCRIPT.format(gate=gate)),
                                          *postgres.where(), "postgres"]), "pgbench", shim=False)
        self._wait()

    def _wait(self):
        left = PGBENCH_CLIENTS
        while left:
            left -= os.read(self.ended, 64).count(b"\n")

    def ask(self):
        os.write(self.begin, b"\n" * PGBENCH_CLIENTS)  # a line each
        self._wait()

    def close(self):
        os.close(self.begin)
        os.close(self.ended)


def postgres_server(scene, variant, transactions, under):
    settings = settings_of(scene, variant, under)
    settings.pop("shim", None)
    postgres = FilledPostgres(scene, "shared_preload_libraries=", "bgwriter_delay=10000", "wal_writer_delay=10000", under=under,
                              **settings)
    gate = Gate(scene, postgres, transactions)
    server = Server(scene, variant, postgres.program, gate.ask, transactions)
    server.at_end += [gate.close]
    return server


# How a variant of each is started: function(scene, variant, requests of a slice, under=what it is run by).
SERVERS = {
    "nginx_return": partial(nginx_server, path="/hello"),
    "nginx_1k_file": partial(nginx_server, path="/1k.txt"),
    "redis_get": partial(redis_server, pipeline=1),
    "redis_get_p16": partial(redis_server, pipeline=16),
    "pgbench_select": postgres_server,
    "grpc_echo": grpc_server,
}
WORKLOADS = {"nginx_return": 24000, "nginx_1k_file": 12000, "redis_get": 24000, "redis_get_p16": 320000, "pgbench_select": 12000,
             "grpc_echo": 12000}  # requests of a slice

# What one variant costs beside another: the name of the figure, the two, what it must not exceed, in percent, and how many
# blocks a round has of it.
COMPARED = [
    ("everything_99", "everything_99", "plain", 3.0, 2),
    ("sampling_1000", "everything_1000", "requests_only", 1.0, 2),
    ("disabled", "disabled", "plain", 0.3, 3),
    ("gperftools_99", "gperftools_99", "plain", None, 1),
    ("gperftools_1000", "gperftools_1000", "plain", None, 1),
    ("perf_99", "perf_99", "plain", None, 1),
    ("perf_1000", "perf_1000", "plain", None, 1),
]
BOUND_OF_PIPELINES = 6.0  # of everything, for Redis at pipeline 16: a command is half a microsecond there


def bound_of(workload, name, bound):
    return BOUND_OF_PIPELINES if (workload, name) == ("redis_get_p16", "everything_99") else bound


def block(variant, base):
    """One A B B A, or B A A B: by how many percent the variant is dearer, what the base took, and whether it was disturbed."""
    watch = Watch([variant, base])
    spent, took = ({variant: 0, base: 0} for _ in range(2))
    for server in (base, variant, variant, base) if dice.random() < 0.5 else (variant, base, base, variant):
        cpu, real = server.slice()
        spent[server] += cpu
        took[server] += real
    return {"percent": 100 * (spent[variant] / spent[base] - 1), "base_ns": spent[base] / (2 * base.requests),
            "base_busy": 100 * spent[base] / took[base], "is_disturbed": watch.is_disturbed()}


dice = random.Random(1)


def one_round(workload, tally):
    """All blocks in an order of their own, of servers that were started for it; those that were disturbed are tried once
    more at the end. {name of the figure: blocks that count}."""
    scenes = {variant: Scene("bench-%s-%s" % (workload, variant)) for variant in VARIANTS}
    servers = {}
    try:
        for variant in dice.sample(VARIANTS, len(VARIANTS)):
            servers[variant] = SERVERS[workload](scenes[variant], variant, WORKLOADS[workload], under=())
            servers[variant].ready()
        for server in servers.values():
            server.ask()  # everything is cold
        blocks = {name: [] for name, *_ in COMPARED}
        left = [compared for compared in COMPARED for _ in range(compared[4])]
        dice.shuffle(left)
        for tries_left in (1, 0):
            again = []
            for compared in left:
                result = block(servers[compared[1]], servers[compared[2]])
                tally["blocks"] += 1
                tally["disturbed"] += result["is_disturbed"]
                if not result["is_disturbed"] or tally["keeps_disturbed"]:
                    blocks[compared[0]].append(result)
                elif tries_left:
                    again.append(compared)
            left = again
        for name, variant in (("everything_99", "everything_99"), ("sampling_1000", "everything_1000")):
            tally["rates"].setdefault(name, []).append(rate_in_force(servers[variant]))
            tally["samples"].setdefault(name, []).append(samples_a_second(servers[variant]))
        return blocks
    finally:
        for server in servers.values():
            server.close()
        for scene in scenes.values():
            scene.close(False, False)


def rate_in_force(server):
    """Of what was asked for the budget may have left less."""
    return server.program.json("/self")["sampling"]["hz"]


def samples_a_second(server):
    """Taken of a second of its CPU time: without a perf clock no more than the kernel has ticks."""
    metrics = server.program.metrics()
    return metrics.sum("profshim_samples_total") / metrics.sum("profshim_endpoint_cpu_seconds_total")


def measure(figures, workload, pairs):
    """All variants of a workload, in so many rounds."""
    tally = {"blocks": 0, "disturbed": 0, "keeps_disturbed": figures.keeps_disturbed, "rates": {}, "samples": {}}
    adopt_orphans()
    results = [one_round(workload, tally) for _ in range(pairs)]
    plain = [result for each in results for name, _, base, *_ in COMPARED if base == "plain" for result in each[name]]
    if plain:
        figures.add("cost_%s_plain" % workload, median([result["base_ns"] for result in plain]), "ns")
        figures.add("cost_%s_busy" % workload, median([result["base_busy"] for result in plain]), "%")
    for name, _, _, bound, _ in COMPARED:
        figure, bound = "cost_%s_%s" % (workload, name), bound_of(workload, name, bound)
        percents = [median([result["percent"] for result in each[name]]) for each in results if each[name]]
        if percents:
            figures.add_median(figure, percents, "%")
        else:
            figures.miss(figure, "the machine had other things to do during each of its blocks")
        if bound is not None:
            figures.add(figure + "_bound", bound, "%")
        if name in tally["rates"]:
            figures.add(figure + "_rate", median(tally["rates"][name]), "Hz")
            figures.add(figure + "_samples", median(tally["samples"][name]), "Hz")
    figures.add("cost_%s_blocks" % workload, tally["blocks"], "blocks")
    figures.add("cost_%s_blocks_disturbed" % workload, tally["disturbed"], "blocks")
