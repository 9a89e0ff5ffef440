#!/usr/bin/env python3
"""The client's side: what a program asks of others, against what those count."""
import collections
import os
import signal
import socket
import subprocess

from harness import Failure, free_ports, requests_wanted, run_tests, test, wait_until
from real_databases import Counted, Postgres
from real_servers import HttpClient, LogLine, Redis, RespClient, nginx_argv

ASKED = "http_client_request_duration_seconds_count"
SERVED = "http_server_request_duration_seconds_count"
DB_ASKED = "db_client_operation_duration_seconds_count"

UPSTREAM_SITE = """
log_format counted "$request_method\\t$uri\\t$status\\t$body_bytes_sent\\t$request_length";
access_log {dir}/upstream.log counted;
server {{
{listens}
    root {dir}/www;
    location /hello {{ return 200 "hello\\n"; }}
    location /users/ {{ return 200 "a user\\n"; }}
    location /empty {{ return 204; }}
    location /moved {{ return 301 /hello; }}
    location /broken {{ return 500 "broken\\n"; }}
    location /away {{ return 503; }}
    location /closed {{ return 444; }}
    location /files/ {{ }}
}}
"""

PROXY_SITE = """
log_format counted "$request_method\\t$uri\\t$status\\t$body_bytes_sent\\t$request_length";
access_log {dir}/proxy.log counted;
proxy_next_upstream off;
upstream kept {{ server 127.0.0.1:{upstream}; keepalive 16; keepalive_requests 1000000000; }}
upstream unix_kept {{ server unix:{dir}/upstream.sock; keepalive 4; }}
server {{
    listen 127.0.0.1:{port} backlog=2048;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location /kept/ {{ proxy_pass http://kept/; }}
    location /new/ {{ proxy_set_header Connection close; proxy_pass http://127.0.0.1:{upstream}/; }}
    location /old/ {{ proxy_http_version 1.0; proxy_set_header Connection close; proxy_pass http://127.0.0.1:{upstream}/; }}
    location /unix/ {{ proxy_pass http://unix_kept/; }}
    location /refused/ {{ proxy_pass http://127.0.0.1:{refused}/; }}
    location /own {{ return 200 "own\\n"; }}
{locations}
}}
"""


class Upstream:
    """An nginx that is not profiled, whose log is the truth of what it was asked."""

    def __init__(self, scene, ports=()):
        self.scene = scene
        self.port = free_ports()
        while self.port in ports:
            self.port = free_ports()
        os.makedirs(scene.path("www/files"), exist_ok=True)
        scene.write("www/files/large.txt", "a line of text\n" * 4000)
        listens = ["127.0.0.1:%d backlog=2048" % self.port, "unix:%s" % scene.path("upstream.sock")]
        listens += ["127.0.0.1:%d" % port for port in ports]
        site = UPSTREAM_SITE.format(dir=scene.dir, listens="\n".join("    listen %s;" % listen for listen in listens))
        self.program = scene.start(nginx_argv(scene, site, "upstream", workers=0, connections=4096), "upstream", shim=False)
        self.program.wait_for_port(self.port)
        wait_until(lambda: os.path.exists(scene.path("upstream.sock")), 5, "the upstream's unix socket")
        os.chmod(scene.path("upstream.sock"), 0o777)

    def log_lines(self):
        with open(self.scene.path("upstream.log")) as log:
            fields = [line.rstrip("\n").split("\t") for line in log]
        return [LogLine(method, uri, status, int(sent), int(length)) for method, uri, status, sent, length in fields]

    def logged(self, count):
        wait_until(lambda: len(self.log_lines()) >= count, 20, "the upstream logging %d requests" % count)
        return self.log_lines()


class Proxy:
    """An nginx with two workers under the shim, that asks the upstream in several ways."""

    def __init__(self, scene, upstream, locations=(), **settings):
        self.scene = scene
        self.port = free_ports()
        self.refused = free_ports() + 1
        site = PROXY_SITE.format(dir=scene.dir, port=self.port, upstream=upstream.port, refused=self.refused,
                                 locations="\n".join("    " + location for location in locations))
        argv = nginx_argv(scene, site, "proxy", level="crit", connections=4096)
        self.program = scene.start(argv, "proxy", **settings)
        self.program.wait_for_port(self.port)
        self.program.wait_ready()

    def metrics_with(self, asked):
        return self.program.metrics_when(lambda metrics: metrics.sum(ASKED) >= asked, 10)


def asked_by(metrics, *labels, **wanted):
    return metrics.by(ASKED, *labels, **wanted)


def counts(lines, port):
    """What the metrics must say of requests that were logged so."""
    return {key: float(count) for key, count in
            collections.Counter((line.method, "127.0.0.1", str(port), line.status) for line in lines).items()}


PEER_LABELS = ("http_request_method", "server_address", "server_port", "http_response_status_code")


def load(scene, port, paths, count, connections=32):
    """GETs over kept connections; the answers that were no 2xx or 3xx are counted, too."""
    urls = scene.write("urls", "".join("http://127.0.0.1:%d%s\n" % (port, path) for path in paths))
    scene.run_ok(["h2load", "--h1", "-n", str(count), "-c", str(connections), "-t", "1", "-i", urls], shim=False, timeout=900)


PATHS = ["/hello", "/users/7", "/empty", "/moved", "/missing", "/broken", "/away", "/files/large.txt"]


def check_against_upstream(scene, upstream, proxy, count):
    logged = upstream.logged(count)
    # An answer is counted as served when it was sent on, which is after it was counted as asked for.
    metrics = proxy.program.metrics_when(lambda metrics: min(metrics.sum(ASKED), metrics.sum(SERVED)) >= count, 10)
    scene.equal("requests in the upstream's log", len(logged), count)
    scene.equal("requests asked by method, peer and status", asked_by(metrics, *PEER_LABELS), counts(logged, upstream.port))
    scene.equal("requests served", int(metrics.sum(SERVED)), count)
    return metrics


@test
def what_nginx_asks_over_kept_connections_is_what_the_upstream_logs(scene):
    upstream = Upstream(scene)
    proxy = Proxy(scene, upstream)
    count = requests_wanted(10000) * (10 if requests_wanted(10000) > 10000 else 1)
    load(scene, proxy.port, ["/kept" + path for path in PATHS], count)
    metrics = check_against_upstream(scene, upstream, proxy, count)
    # As OpenTelemetry has it, 404 is an error to who asked.
    failed = collections.Counter(line.status for line in upstream.log_lines() if line.status >= "400")
    errors = asked_by(metrics, "error_type")
    errors.pop("")
    scene.equal("asked in vain by type", errors, {status: float(n) for status, n in failed.items()})
    scene.equal("lost", metrics.sum("profshim_requests_lost_total"), 0)


@test
def what_nginx_asks_over_new_connections_is_what_the_upstream_logs(scene):
    upstream = Upstream(scene)
    proxy = Proxy(scene, upstream)
    count = requests_wanted(4000)
    load(scene, proxy.port, ["/new" + path for path in PATHS], count)
    load(scene, proxy.port, ["/old" + path for path in PATHS], count)
    metrics = check_against_upstream(scene, upstream, proxy, 2 * count)
    scene.equal("lost", metrics.sum("profshim_requests_lost_total"), 0)


@test
def methods_bodies_and_pipelines_through_a_proxy_are_counted(scene):
    upstream = Upstream(scene)
    proxy = Proxy(scene, upstream)
    client = HttpClient(proxy.port)
    for number in range(50):
        client.ask("POST", "/kept/users/1", ["Content-Length: 100000"], b"x" * 100000)
        client.ask("POST", "/kept/users/1", ["Transfer-Encoding: chunked"], b"5\r\nabcde\r\n0\r\n\r\n")
        client.ask("HEAD", "/kept/files/large.txt")
        client.ask("DELETE", "/kept/users/1")
        client.send("GET /kept/hello HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
        for _ in range(3):
            client.answer()
    client.close()
    check_against_upstream(scene, upstream, proxy, 50 * 7)


@test
def a_connection_that_is_refused_leaves_nothing_behind(scene):
    upstream = Upstream(scene)
    proxy = Proxy(scene, upstream)
    client = HttpClient(proxy.port)
    for _ in range(200):
        if client.ask("GET", "/refused/hello")[0] != 502:
            raise Failure("no 502")
    client.close()
    metrics = proxy.program.metrics_when(lambda metrics: metrics.sum(SERVED) == 200)
    scene.equal("served", metrics.by(SERVED, "http_response_status_code"), {"502": 200})
    scene.equal("asked", asked_by(metrics, "server_port"), {})
    asked = [entry for entry in proxy.program.json("/connections")["connections"] if entry["kind"] == "asked"]
    scene.equal("connections to others that are listed", asked, [])
    scene.check("no gauge stays up", metrics.sum("profshim_connections_open") <= 1, metrics.text)
    scene.equal("unclassified", metrics.sum("profshim_unclassified_connections_total"), 0)


@test
def an_upstream_behind_a_unix_socket_has_its_path_for_an_address(scene):
    upstream = Upstream(scene)
    proxy = Proxy(scene, upstream)
    count = requests_wanted(1000)
    load(scene, proxy.port, ["/unix/hello", "/unix/missing"], count)
    logged = upstream.logged(count)
    metrics = proxy.metrics_with(count)
    scene.equal("asked by method, peer and status", asked_by(metrics, *PEER_LABELS),
                {("GET", scene.path("upstream.sock"), "", status): float(n)
                 for status, n in collections.Counter(line.status for line in logged).items()})


@test
def an_upstream_that_closes_without_an_answer_is_a_reset_once_for_each_request(scene):
    upstream = Upstream(scene)
    proxy = Proxy(scene, upstream)
    client = HttpClient(proxy.port)
    for _ in range(100):
        if client.ask("GET", "/new/closed")[0] != 502:
            raise Failure("no 502")
        client.ask("GET", "/new/hello")
    client.close()
    metrics = proxy.metrics_with(200)
    scene.equal("asked by status and error", asked_by(metrics, "http_response_status_code", "error_type"),
                {("", "reset"): 100, ("200", ""): 100})
    scene.equal("peers", list(asked_by(metrics, "server_address", "server_port")), [("127.0.0.1", str(upstream.port))])


@test
def connections_and_bytes_are_those_that_the_program_accepted(scene):
    upstream = Upstream(scene)
    proxy = Proxy(scene, upstream)
    client = HttpClient(proxy.port)
    for _ in range(100):
        client.ask("GET", "/kept/files/large.txt")
    metrics = proxy.metrics_with(100)
    scene.equal("accepted", int(metrics.sum("profshim_connections_accepted_total", protocol="http")), 1)
    scene.equal("open", int(metrics.sum("profshim_connections_open", protocol="http")), 1)
    with open(scene.path("proxy.log")) as log:
        received = sum(int(line.split("\t")[4]) for line in log)
    scene.equal("bytes received", int(metrics.sum("profshim_network_receive_bytes_total")), received)
    client.close()


@test
def peers_beyond_32_are_other_and_counted_exactly(scene):
    ports = []
    while len(ports) < 40:
        port = free_ports()
        if port not in ports:
            ports.append(port)
    upstream = Upstream(scene, ports)
    locations = ["location /to%d/ { proxy_pass http://127.0.0.1:%d/; }" % (number, port) for number, port in enumerate(ports)]
    proxy = Proxy(scene, upstream, locations)
    each = requests_wanted(10)
    client = HttpClient(proxy.port)
    for number in range(40):
        for _ in range(each):
            if client.ask("GET", "/to%d/hello" % number)[0] != 200:
                raise Failure("no 200")
    client.close()
    metrics = proxy.metrics_with(40 * each)
    wanted = {("127.0.0.1", str(port)): float(each) for port in ports[:32]}
    wanted["_OTHER", ""] = 8.0 * each
    scene.equal("asked by peer", asked_by(metrics, "server_address", "server_port"), wanted)
    scene.equal("overflow", int(metrics.sum("profshim_label_overflow_total", family="peer")), 8 * each)


@test
def a_replica_of_redis_asks_its_master(scene):
    master = Redis(scene, listen="off")
    replica = Redis(scene)
    replica.program.wait_ready()
    client = RespClient(master.port)
    for number in range(1000):
        client.ask("SET", "key%d" % number, "value")
    master.cli("CONFIG", "SET", "repl-diskless-sync-delay", "0")
    replica.cli("REPLICAOF", "127.0.0.1", str(master.port))

    def is_in_step():
        return replica.cli("GET", "key999") == "value\n"
    wait_until(is_in_step, 20, "the replica getting the keys")
    for number in range(1000):
        client.ask("SET", "later%d" % number, "value")
    wait_until(lambda: replica.cli("GET", "later999") == "value\n", 20, "the replica getting the later keys")
    client.close()
    metrics = replica.program.metrics_when(lambda metrics: metrics.sum(DB_ASKED) >= 5)
    asked = metrics.by(DB_ASKED, "db_operation_name", "server_address", "server_port", "error_type")
    scene.say("asked of the master: %s" % asked)
    peer = ("127.0.0.1", str(master.port), "")
    for operation, wanted in (("PING", 1), ("REPLCONF", 2)):
        scene.at_least(operation, asked.get((operation,) + peer, 0), wanted)
    scene.check("nothing that the replica only receives is asked", not [key for key in asked if key[0] in ("SET", "SELECT")], asked)
    scene.equal("errors", [key for key in asked if key[3]], [])



@test
def what_redis_cli_asks_is_what_the_server_counts(scene):
    redis = Redis(scene, listen="off")
    cli = scene.start(["redis-cli", "-p", str(redis.port)], "redis-cli", stdin=subprocess.PIPE)
    cli.wait_ready()
    script = "SET word value\nGET word\nLPUSH word x\nHSET table a 1\nINFO server\nDEL word table\nCLIENT GETNAME\n" * 30
    cli.process.stdin.write(script.encode())
    cli.process.stdin.flush()
    metrics = cli.metrics_when(lambda metrics: metrics.sum(DB_ASKED) >= 7 * 30)
    calls = redis.command_calls()
    calls["INFO"] -= 1  # of who asks here
    asked = collections.Counter()
    for operation, count in metrics.by(DB_ASKED, "db_operation_name", server_address="127.0.0.1", server_port=str(redis.port)).items():
        asked[operation.split()[0]] += count
    scene.equal("asked by command", dict(asked), {command: count for command, count in calls.items() if count})
    scene.equal("errors", metrics.by(DB_ASKED, "db_operation_name", "error_type", error_type="WRONGTYPE"),
                {("LPUSH", "WRONGTYPE"): 30})
    cli.process.stdin.close()
    scene.equal("redis-cli's exit code", cli.wait(10), 0)


# The last transaction of each client waits, so that there is somebody to ask for the counts.
PGBENCH_SCRIPT = """\\set n :n + 1
\\if :n > %d
select pg_sleep(60);
\\else
begin;
insert into numbers values (:n);
update nowhere_else set n = n + 1 where n = :n;
select count(*) from nowhere_else where n = :n;
commit;
\\endif
"""


@test
def what_pgbench_asks_is_what_postgres_is_asked(scene):
    postgres = Postgres(scene)
    postgres.psql("create table numbers (n int); create table nowhere_else (n int)")
    each = requests_wanted(200)
    script = scene.write("asking.sql", PGBENCH_SCRIPT % each)
    for mode, is_local in (("simple", False), ("extended", True), ("prepared", False)):
        counted = Counted(postgres.program, "postgresql")
        bench = scene.start([postgres.tool("pgbench"), "-n", "-f", script, "-M", mode, "-c", "4", "-j", "2", "-D", "n=0",
                             "-t", str(each + 1), *postgres.where(is_local), "postgres"], "pgbench-" + mode)
        bench.wait_ready()
        metrics = bench.metrics_when(lambda metrics: metrics.sum(DB_ASKED, db_operation_name="COMMIT") >= 4 * each, 60)
        wanted = {operation: 4 * each for operation in ("BEGIN", "INSERT", "UPDATE", "SELECT", "COMMIT")}
        asked = {key: int(n) for key, n in metrics.by(DB_ASKED, "db_operation_name").items()}
        scene.equal("%s: asked" % mode, asked, wanted)
        where = (os.path.join(postgres.sockets, ".s.PGSQL.%d" % postgres.port), "") if is_local else \
            ("127.0.0.1", str(postgres.port))
        scene.equal("%s: of whom" % mode, list(metrics.by(DB_ASKED, "server_address", "server_port")), [where])
        waiting = [entry for entry in bench.json("/requests/active") if entry["kind"] == "asked"]
        scene.equal("%s: what is waited for" % mode, [entry["endpoint"] for entry in waiting], ["postgres SELECT"] * 4)
        bench.send_signal(signal.SIGKILL)
        bench.wait()
        postgres.psql("select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep%' and pid <> pg_backend_pid()")
        done = counted.since()[0]
        scene.equal("%s: served" % mode, {key: n for key, n in done.items() if key in ("BEGIN", "INSERT", "UPDATE", "COMMIT")},
                    {key: n for key, n in wanted.items() if key != "SELECT"})


@test
def what_curl_asks_is_what_nginx_logs(scene):
    upstream = Upstream(scene)
    silent = socket.create_server(("127.0.0.1", 0))  # keeps curl alive until it was asked
    base = "http://127.0.0.1:%d" % upstream.port
    config = "".join("url = %s%s\noutput = /dev/null\n" % (base, path) for path in PATHS * 25)
    config += "url = http://127.0.0.1:%d/refused\noutput = /dev/null\n" % (upstream.port + 1)
    config += "url = http://127.0.0.1:%d/last\noutput = /dev/null\n" % silent.getsockname()[1]
    curl = scene.start(["curl", "-s", "-K", scene.write("curl.conf", config)], "curl")
    curl.wait_ready()
    logged = upstream.logged(25 * len(PATHS))
    metrics = curl.metrics_when(lambda metrics: metrics.sum(ASKED) >= 25 * len(PATHS))
    scene.equal("asked by method, peer and status", asked_by(metrics, *PEER_LABELS), counts(logged, upstream.port))
    active = [entry["endpoint"] for entry in curl.json("/requests/active") if entry["kind"] == "asked"]
    scene.equal("what curl waits for", active, ["_OTHER"])
    curl.send_signal(signal.SIGTERM)
    curl.wait(10)


if __name__ == "__main__":
    run_tests()
