#!/usr/bin/env python3
"""The ways in which programs make processes: each call of each process is counted once, and each process ends as it would."""
import subprocess
import time

from harness import FULL, children_of, free_ports, listening_pids, own_server, run_tests, test, wait_until
from real_servers import HttpClient

SERVED = "http_server_request_duration_seconds_count"
TAKE_OVER_SECONDS = 2


def run_shape(scene, shape, count, hz=10000, **how):
    """What the shape printed, and the metrics once it has come to its end; its counts are checked."""
    program = scene.start([own_server("process_shapes"), shape, str(count)], hz=hz, **how)
    if how:
        program.wait_ready()
        time.sleep(1)  # the tables of rules for unwinding are made, and the loader's locks no longer taken for that
        program.process.stdin.write(b"x")
        program.process.stdin.close()
    program.wait_for_output("done\n", 600 if FULL else 120)
    said = dict(line.rsplit(" ", 1) for line in program.stdout().splitlines() if " " in line)
    scene.equal("failures", said.pop("failures"), "0")
    program.wait_ready()
    if "writes" in said:
        wanted = int(said.pop("writes"))
        metrics = program.metrics_when(lambda metrics: metrics.sum("profshim_calls_total", call="write") >= wanted)
        scene.equal("calls of write", int(metrics.sum("profshim_calls_total", call="write")), wanted)
    metrics = program.metrics_when(lambda metrics: metrics.sum("profshim_processes") == 1)
    scene.equal("processes left", int(metrics.sum("profshim_processes")), 1)
    scene.equal("threads left", program.json("/self")["threads"], 1)
    scene.equal("stderr", program.stderr(), "")
    scene.say("samples: %d" % metrics.sum("profshim_samples_total"))
    return said, metrics, program


@test
def forks_by_many_threads_at_once(scene):
    _, metrics, _ = run_shape(scene, "forks", 2000 if FULL else 100)
    scene.equal("processes counted as killed", int(metrics.sum("profshim_process_exits_total", cause="killed")), 0)


@test
def forks_in_a_handler_that_interrupts_forks(scene):
    said, metrics, program = run_shape(scene, "handler", 5000 if FULL else 400)
    scene.equal("forks in the handler", said["forks in the handler"], "happened")
    scene.equal("SIGPROF in the mask", said["SIGPROF blocked"], "0")


@test
def clones_that_no_handler_of_pthread_atfork_sees(scene):
    run_shape(scene, "clone", 2000 if FULL else 100)


@test
def clones_made_by_number_while_other_threads_work(scene):
    count = 1000 if FULL else 200
    _, metrics, _ = run_shape(scene, "clone-numbers", count, hz=997)
    calls = metrics.by("profshim_calls_total", "call")
    scene.equal("calls of send and recv", [calls.get(call) for call in ("send", "recv")], [count] * 2)
    scene.equal("processes that ended", metrics.by("profshim_process_exits_total", "cause"), {"exit": count})


@test
def clones_that_make_threads_and_forks(scene):
    run_shape(scene, "clone-lives", 2000 if FULL else 100, stdin=subprocess.PIPE)


@test
def clones_that_call_the_loader_while_all_is_opened(scene):
    for _ in range(20 if FULL else 4):
        run_shape(scene, "clone-loads", 100)


@test
def vforks_and_spawns_that_execute(scene):
    run_shape(scene, "vfork", 500 if FULL else 20)


@test
def programs_that_are_executed_while_samples_come(scene):
    count = 10000 if FULL else 400
    _, metrics, _ = run_shape(scene, "exec", count)
    scene.equal("programs executed", int(metrics.sum("profshim_process_exits_total", cause="exec")), count)


# Two threads, after an exec that failed: half a second of CPU time in each.
FAILING = """
import hashlib, os, threading, time
for path in ("/nowhere/program", "/etc/passwd"):
    try:
        os.execv(path, ["program"])
    except OSError as error:
        print(error.errno, flush=True)
def compute():
    data, end = bytes(1 << 20), time.thread_time() + 0.5
    while time.thread_time() < end:
        hashlib.sha256(data)
threads = [threading.Thread(target=compute) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("done", flush=True)
time.sleep(60)
"""


@test
def a_program_whose_exec_failed_is_counted_and_sampled_on(scene):
    program = scene.start(["/usr/bin/python3", scene.write("failing.py", FAILING)], "python3", hz=997)
    program.wait_for_output("done\n")
    scene.equal("output", program.stdout(), "2\n13\ndone\n")
    metrics = program.metrics_when(lambda metrics: metrics.sum("profshim_endpoint_cpu_seconds_total") >= 0.9)
    scene.at_least("CPU seconds of the samples", metrics.sum("profshim_endpoint_cpu_seconds_total"), 0.9)
    scene.equal("calls of execv or execve", sum(metrics.sum("profshim_calls_total", call=call) for call in ("execv", "execve")), 2)
    scene.equal("processes", int(metrics.sum("profshim_processes")), 1)


# The environment of these is not taken from environ, but what Python had at its start.
HELPERS = """
import os, subprocess, sys, time
command = "env | grep -c PROFSHIM_SESSION=.*/python"
time.sleep(0.3)
sys.stdout.flush()
os.system(command)
print(os.popen(command).read(), end="", flush=True)
os.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", command], dict(os.environ)), 0)
os.waitpid(os.posix_spawnp("sh", ["sh", "-c", command], {"PATH": os.environ["PATH"]}), 0)
import ctypes
libc = ctypes.CDLL(None)
libc.popen.restype, libc.pclose.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
libc.system(command.encode())
libc.pclose(libc.popen(command.encode(), b"w"))
libc.setenv(b"ADDED", b"1", 1)
libc.system(b"echo $ADDED; sleep 0.3")
print("environment of the program", "PROFSHIM_SESSION" in os.environ, libc.getenv(b"PROFSHIM_SESSION"), flush=True)
print("done", flush=True)
time.sleep(60)
"""


@test
def helpers_that_libc_itself_executes_are_of_the_session(scene):
    program = scene.start(["/usr/bin/python3", scene.write("helpers.py", HELPERS)], "python3")
    program.wait_for_output("done\n")
    scene.equal("output", program.stdout(), "1\n" * 6 + "1\nenvironment of the program False 0\ndone\n")
    scene.equal("stderr", program.stderr(), "")
    scene.equal("sessions", len(scene.sessions()), 1)


def check_daemon(scene, shape):
    port = free_ports()
    program = scene.start([own_server("process_shapes"), shape, "1", str(port)])
    scene.equal("exit code of what was started", program.wait(), 0)
    wait_until(lambda: listening_pids(port), 5, "the daemon listening")
    program.wait_ready(TAKE_OVER_SECONDS)
    client = HttpClient(port)
    for _ in range(10):
        scene.equal("status", client.ask("GET", "/ok")[0], 200)
    client.close()
    metrics = program.metrics_when(lambda metrics: metrics.sum(SERVED) == 10)
    scene.equal("requests", int(metrics.sum(SERVED)), 10)
    scene.equal("processes", int(metrics.sum("profshim_processes")), 1)
    scene.equal("processes counted as killed", int(metrics.sum("profshim_process_exits_total", cause="killed")), 0)
    scene.equal("who serves it", listening_pids(program.profiler_port), listening_pids(port))


@test
def a_daemon_is_served_when_who_started_it_has_ended(scene):
    check_daemon(scene, "daemon")


@test
def a_daemon_that_closes_all_it_has_is_served(scene):
    check_daemon(scene, "daemon-by-hand")


if __name__ == "__main__":
    run_tests()
