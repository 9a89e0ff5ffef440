"""scrape - what an answer of /metrics costs against what there is to tell: CPU time of profshim's own thread per scrape,
for so many label sets of requests' durations, while nothing else is asked."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from harness import Failure, Scene, free_ports
from measure import median
from real_servers import HttpClient

STATUSES = (200, 201, 202, 404)
LABEL_SETS = (100, 300, 1000)
BOUND_LABEL_SETS, BOUND_MS = 1000, 25.0
PARTS = ["metrics"]

NGINX_CONFIG = """
daemon off;
master_process off;
pid {dir}/nginx.pid;
error_log {dir}/nginx.log warn;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    keepalive_requests 1000000;
    server {{
        listen 127.0.0.1:{port};
        {returns}
        location / {{ return 200 "ok\\n"; }}
    }}
}}
"""


def start(scene, routes):
    port = free_ports()
    returns = "".join("if ($arg_status = %d) {{ return %d; }}\n" % (status, status) for status in STATUSES).format()
    config = scene.write("nginx.conf", NGINX_CONFIG.format(dir=scene.dir, port=port, returns=returns))
    program = scene.start(["nginx", "-e", scene.path("nginx.log"), "-p", scene.dir, "-c", config], "nginx",
                          routes=",".join(routes))
    program.wait_for_port(port)
    program.wait_ready()
    return program, port


def ask_for_all(port, routes, label_sets):
    """One request for each of so many pairs of route and status."""
    client = HttpClient(port)
    pairs = [(route, status) for route in routes for status in STATUSES][:label_sets]
    for route, status in pairs:
        client.ask("GET", "%s?status=%d" % (route, status))
    client.close()
    return len(pairs)


def cpu_of_server_ns(pid):
    """CPU time of profshim's own thread."""
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/comm" % (pid, task)) as comm:
            if comm.read().strip() == "profshim":
                with open("/proc/%d/task/%s/schedstat" % (pid, task)) as file:
                    return int(file.read().split()[0])
    raise Failure("there is no thread of profshim")


def measure_scrapes(scene, program, scrapes):
    costs = []
    for _ in range(scrapes):
        before = cpu_of_server_ns(program.pid)
        program.get_ok("/metrics")
        costs.append((cpu_of_server_ns(program.pid) - before) / 1e6)
    return median(costs)


def measure(figures, _part, pairs):
    scene = Scene("bench-scrape")
    routes = ["/a%s" % "".join(chr(97 + digit) for digit in divmod(number, 26)) for number in range(250)]
    try:
        for label_sets in LABEL_SETS:
            scene.session_dir = scene.path("session-%d" % label_sets)
            os.mkdir(scene.session_dir, 0o700)
            program, port = start(scene, routes)
            asked = ask_for_all(port, routes, label_sets)
            metrics = program.metrics_when(lambda metrics: metrics.sum("http_server_request_duration_seconds_count") >= asked)
            shown = len(list(metrics.matching("http_server_request_duration_seconds_count")))
            if shown != label_sets:
                raise Failure("%d label sets are shown, %d were made" % (shown, label_sets))
            figures.add("scrape_%d_label_sets" % label_sets, measure_scrapes(scene, program, 3 * pairs), "ms")
            program.stop()
        figures.add("scrape_%d_label_sets_bound" % BOUND_LABEL_SETS, BOUND_MS, "ms")
    finally:
        scene.close(False, False)
