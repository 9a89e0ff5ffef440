#!/usr/bin/env python3
"""Many processes, one session: whoever dies, somebody serves it, and what was counted is kept."""
import os
import re
import shutil
import signal
import socket
import time

from harness import (EXPORTER, PROFSHIM, SHIM, Failure, children_of, free_ports, listening_pids, own_server, report_functions,
                     run_tests, test, wait_until)
from real_servers import HttpClient, Nginx, Redis

DURATIONS = "http_server_request_duration_seconds_count"
TAKE_OVER_SECONDS = 2


def ask_some(nginx, count):
    client = HttpClient(nginx.port)
    for _ in range(count):
        client.ask("GET", "/users/1")
    client.close()


def seconds_until_served_by_another(nginx, dead):
    """How long until a request to the same address is answered, by a process other than dead."""
    began = time.monotonic()
    while time.monotonic() - began < 10:
        try:
            if nginx.program.get("/-/ready").status == 200 and dead not in listening_pids(nginx.program.profiler_port):
                return time.monotonic() - began
        except OSError:
            pass
        time.sleep(0.01)
    raise Failure("nobody serves 10 s after process %d was killed" % dead)


@test
def when_the_serving_process_is_killed_another_serves_with_all_counts(scene):
    nginx = Nginx(scene)
    nginx.program.wait_ready()
    wait_until(lambda: len(nginx.workers()) == 2, 5, "two workers")
    # With the master gone nobody starts workers anew: of three processes one is left in the end.
    for turn in (1, 2):
        ask_some(nginx, 500)
        wait_until(lambda: len(nginx.log_lines()) == 500 * turn, 5, "nginx logging %d requests" % (500 * turn))
        servers = listening_pids(nginx.program.profiler_port)
        scene.equal("processes that serve", len(servers), 1)
        (dead,) = servers
        os.kill(dead, signal.SIGKILL)
        seconds = seconds_until_served_by_another(nginx, dead)
        who = "master" if dead == nginx.program.pid else "worker"
        scene.at_most("seconds until another serves than process %d (%s)" % (dead, who), seconds, TAKE_OVER_SECONDS)
        scene.equal("requests counted", int(nginx.program.metrics().sum(DURATIONS)), 500 * turn)

    def killed(metrics):
        return int(metrics.sum("profshim_process_exits_total", cause="killed"))
    metrics = nginx.program.metrics_when(lambda metrics: killed(metrics) == 2)
    scene.equal("processes counted as killed", killed(metrics), 2)


def pid_in(path):
    with open(path) as file:
        return int(file.read())


@test
def a_daemon_that_executes_its_successor_keeps_the_session(scene):
    nginx = Nginx(scene, is_daemon=True)
    scene.equal("exit code of what was started", nginx.program.wait(), 0)
    nginx.program.wait_ready(TAKE_OVER_SECONDS)
    pid_file = scene.path("nginx.pid")
    former = pid_in(pid_file)
    ask_some(nginx, 200)
    os.kill(former, signal.SIGUSR2)  # the new program, with an environment that nginx makes from nothing
    wait_until(lambda: os.path.exists(pid_file + ".oldbin") and os.path.exists(pid_file), 10, "the successor's pid file")
    successor = pid_in(pid_file)
    wait_until(lambda: len(children_of(successor)) == 2, 10, "the successor's workers")
    os.kill(former, signal.SIGQUIT)
    wait_until(lambda: not os.path.exists(pid_file + ".oldbin"), 10, "the former master ending")
    wait_until(lambda: is_served_within(nginx, {successor, *children_of(successor)}), TAKE_OVER_SECONDS, "takeover")
    ask_some(nginx, 300)
    metrics = nginx.program.metrics_when(lambda metrics: metrics.sum(DURATIONS) == 500 and
                                         metrics.sum("profshim_processes") == 3)
    scene.equal("requests counted by both", int(metrics.sum(DURATIONS)), 500)
    scene.equal("processes", int(metrics.sum("profshim_processes")), 3)
    scene.equal("processes counted as killed", int(metrics.sum("profshim_process_exits_total", cause="killed")), 0)
    scene.equal("sessions", len(scene.sessions()), 1)


def is_served_within(nginx, pids):
    return nginx.program.is_ready() and listening_pids(nginx.program.profiler_port) <= pids


@test
def a_worker_that_cannot_read_the_library_serves_all_the_same(scene):
    # As in a clone below /root: the workers of a master that root started may not look into it.
    private = scene.path("private")
    os.mkdir(private, 0o700)
    for library in (SHIM, EXPORTER):
        shutil.copy(library, private)
    scene.library = os.path.join(private, os.path.basename(SHIM))
    nginx = Nginx(scene)
    nginx.program.wait_ready()
    wait_until(lambda: len(nginx.workers()) == 2, 5, "two workers")
    ask_some(nginx, 500)
    wait_until(lambda: nginx.program.metrics().sum(DURATIONS) == 500, 5, "500 requests counted")
    scene.equal("who serves first", listening_pids(nginx.program.profiler_port), {nginx.program.pid})
    os.kill(nginx.program.pid, signal.SIGKILL)
    seconds = seconds_until_served_by_another(nginx, nginx.program.pid)
    scene.at_most("seconds until a worker serves", seconds, TAKE_OVER_SECONDS)
    scene.equal("requests counted", int(nginx.program.metrics().sum(DURATIONS)), 500)


@test
def a_killed_worker_is_replaced_and_no_count_is_lost(scene):
    nginx = Nginx(scene)
    nginx.program.wait_ready()
    wait_until(lambda: len(nginx.workers()) == 2, 5, "two workers")
    for turn in range(3):
        ask_some(nginx, 100)
        # The client has an answer while its worker is still inside the call that sent it: killed there, nobody counts it.
        wait_until(lambda: nginx.program.metrics().sum(DURATIONS) == 100 * (turn + 1), 5, "all requests counted")
        dead = nginx.workers()[0]
        os.kill(dead, signal.SIGKILL)
        wait_until(lambda: dead not in nginx.workers() and len(nginx.workers()) == 2, 5, "a new worker")
    ask_some(nginx, 100)
    metrics = nginx.program.metrics_when(lambda metrics: metrics.sum(DURATIONS) == 400 and
                                         metrics.sum("profshim_processes") == 3)
    scene.equal("requests counted", int(metrics.sum(DURATIONS)), 400)
    scene.equal("processes", int(metrics.sum("profshim_processes")), 3)
    scene.equal("active requests", int(metrics.sum("http_server_active_requests")), 0)
    scene.equal("processes counted as killed", int(metrics.sum("profshim_process_exits_total", cause="killed")), 3)


@test
def after_sigkill_of_all_the_session_can_be_read(scene):
    nginx = Nginx(scene, hz=997)
    nginx.program.wait_ready()
    ask_some(nginx, 3000)
    wait_until(lambda: nginx.program.metrics().sum(DURATIONS) == 3000, 5, "3000 requests counted")
    calls = {name: row["ncalls"] for name, row in report_functions(nginx.program.get_ok("/report?top=0").text).items()
             if name in ("{writev}", "{accept4}", "{recv}")}
    nginx.program.kill_all()
    listed = scene.profshim("ls")
    scene.say(listed)
    scene.check("profshim ls lists it", "nginx" in listed)
    text = scene.profshim("report", "--top=0")
    scene.say("\n".join(text.splitlines()[:10]))
    scene.check("the report tells of 3000 requests", re.search(r"in 3000 requests", text), text[:300])
    rows = report_functions(text)
    scene.equal("counts of calls as before", {name: rows[name]["ncalls"] for name in calls}, calls)
    scene.at_least("functions", len(rows), 10)


@test
def reports_of_http_and_of_the_command_line_are_the_same_bytes(scene):
    port = free_ports()
    program = scene.start([own_server("signal_server"), "none", str(port)], hz=0)
    program.wait_for_output("ready\n")
    program.wait_ready()

    def without_age(text):
        return re.sub(r'(\d+\.\d+ s,|"duration_seconds": *[0-9.]+)', "T", text)
    for path, arguments in (("/report", []), ("/report?top=3&sort=name", ["--top=3", "--sort=name"]),
                            ("/report?by=module&top=0", ["--by=module", "--top=0"])):
        by_http, by_program = program.get_ok(path).text, scene.profshim("report", *arguments)
        what = "%s and profshim report %s" % (path, " ".join(arguments))
        scene.equal(what, without_age(by_program), without_age(by_http))
    by_program = scene.profshim("report", "--format=json")
    scene.equal("fields of the JSON", without_age(by_program), without_age(program.get_ok("/report?format=json").text))


@test
def two_servers_are_two_sessions(scene):
    nginx, redis = Nginx(scene), Redis(scene)
    nginx.program.wait_ready()
    redis.program.wait_ready()
    ask_some(nginx, 10)
    redis.cli("PING")
    listed = scene.profshim("ls")
    scene.say(listed)
    for name, program in (("nginx", nginx.program), ("redis-server", redis.program)):
        line = [line for line in listed.splitlines() if name in line]
        scene.equal("lines for " + name, len(line), 1)
        scene.check("its address is told", "127.0.0.1:%d" % program.profiler_port in line[0], line[0])
    scene.equal("requests in nginx", int(nginx.program.metrics().sum(DURATIONS)), 10)
    scene.equal("HTTP requests in Redis", int(redis.program.metrics().sum(DURATIONS)), 0)


@test
def a_server_that_a_script_starts_is_profiled_and_the_script_costs_nothing(scene):
    port = free_ports()
    script = scene.write("start.sh", "#!/bin/sh\nls / >/dev/null\nexport LATER=1\nexec %s none %d\n"
                         % (own_server("signal_server"), port), 0o755)
    program = scene.start([script])
    program.wait_for_output("ready\n")
    program.wait_ready()
    metrics = program.metrics()
    scene.equal("profshim_processes", int(metrics.sum("profshim_processes")), 1)
    scene.equal("calls of listen", int(metrics.sum("profshim_calls_total", call="listen")), 1)
    scene.equal("stderr", program.stderr(), "")
    scene.equal("exit code", program.stop(), 0)


@test
def a_server_with_a_rebuilt_environment_stays_in_the_session(scene):
    port = free_ports()
    program = scene.start(["env", "-i", own_server("signal_server"), "none", str(port)])
    program.wait_for_output("ready\n")
    program.wait_ready()
    scene.equal("calls of listen", int(program.metrics().sum("profshim_calls_total", call="listen")), 1)
    scene.equal("exit code", program.stop(), 0)


@test
def profshim_run_starts_a_program_under_the_shim(scene):
    port = free_ports()
    program = scene.start([own_server("signal_server"), "none", str(port)], run_by=PROFSHIM)
    program.wait_for_output("ready\n")
    program.wait_ready()
    scene.equal("calls of listen", int(program.metrics().sum("profshim_calls_total", call="listen")), 1)
    scene.equal("exit code", program.stop(), 0)
    script = [PROFSHIM, "run", "--", "sh", "-c", "echo out; echo err >&2; exit 5"]
    result = scene.run(script, environment=scene.profshim_environment())
    scene.equal("profshim run sh", (result.returncode, result.stdout, result.stderr), (5, b"out\n", b"err\n"))
    missing = scene.run([PROFSHIM, "run", "--", "/missing/program"], environment=scene.profshim_environment())
    scene.equal("exit code for a program that is not there", missing.returncode, 127)
    scene.equal("lines on stderr", len(missing.stderr.splitlines()), 1)


@test
def profshim_check_tells_what_cannot_be_preloaded(scene):
    scene.write("x.c", "int main(void) { return 0; }\n")
    scene.run_ok(["gcc", "-static", "x.c", "-o", "static"], shim=False)
    static = scene.run([PROFSHIM, "check", scene.path("static")], shim=False)
    scene.say((static.stdout + static.stderr).decode())
    scene.check("a static program is refused, and the reason told",
                static.returncode == 1 and b"static" in static.stdout + static.stderr)
    good = scene.run([PROFSHIM, "check", own_server("signal_server")], shim=False)
    scene.say((good.stdout + good.stderr).decode())
    scene.equal("exit code for one that can be", good.returncode, 0)


@test
def a_program_that_closes_every_descriptor_is_still_served(scene):
    port = free_ports()
    closing = ("import os, socket, time; os.closerange(3, 65536); "
               "s = socket.create_server(('127.0.0.1', %d)); time.sleep(60)" % port)
    program = scene.start(["/usr/bin/python3", "-c", closing])
    program.wait_for_port(port)
    program.wait_ready()
    program.metrics()
    with socket.create_connection(("127.0.0.1", port)):
        scene.say("the program's own port answers, and so does profshim's")
    scene.check("the program still runs", program.is_running())


if __name__ == "__main__":
    run_tests()
