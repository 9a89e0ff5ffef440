#!/usr/bin/env python3
"""Every interposed call is counted exactly, shown by its name, and allocates nothing."""
import os
import re
import socket
import subprocess
import sys
import time

from harness import Metrics, TREE, own_server, report_functions, run_tests, test


def interposed_names():
    """All interposed names that are counted: the list from which the product itself is made."""
    with open(os.path.join(TREE, "shim", "segment", "counters.h")) as header:
        calls = re.search(r"#define SEG_CALLS\(X\)(.*?)\n\n", header.read(), re.DOTALL).group(1)
    return re.findall(r'X\(\w+, "(\w+)"\)', calls)


@test
def every_interposed_call_is_counted_exactly_and_shown_by_its_name(scene):
    program = scene.start([own_server("every_call")], hz=0)
    program.wait_for_output("done\n")
    program.wait_ready()
    truth = {name: float(count) for name, count in (line.split() for line in program.stdout().splitlines()[:-1])}
    scene.equal("interposed names that the program calls", sorted(truth), sorted(interposed_names()))
    metrics = program.metrics()
    scene.equal("profshim_calls_total", metrics.by("profshim_calls_total", "call"), truth)
    seconds = metrics.by("profshim_call_seconds_total", "call")
    without_return = {name for name in truth if name.startswith(("exec", "fexec"))}
    scene.equal("calls without a time", sorted(set(truth) - set(seconds) - without_return), [])
    rows = report_functions(program.get_ok("/report?top=0").text)
    shown = {name[1:-1]: float(row["ncalls"]) for name, row in rows.items() if name.startswith("{")}
    scene.equal("calls in the report", shown, truth)
    scene.check("their counts are exact", all(row["is_exact"] for name, row in rows.items() if name.startswith("{")))
    scene.equal("what the program printed on stderr", program.stderr(), "")
    scene.equal("exit code", program.stop(), 0)


# What a thread for each connection does: calls that wait, after many that did not have to.
WAITING_SERVER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
connection = listener.accept()[0]
while data := connection.recv(4):
    connection.send(data)
print("done", flush=True)
sys.stdin.read()
"""


@test
def a_call_that_waited_is_told_with_all_of_its_time_and_no_more(scene):
    program = scene.start([sys.executable, "-c", WAITING_SERVER], hz=0, stdin=subprocess.PIPE)
    program.wait_for_output("\n")
    with socket.create_connection(("127.0.0.1", int(program.stdout().split()[0]))) as client:
        begun = time.monotonic()
        for number in range(300):
            client.sendall(b"ping")
            client.recv(4)
            if number % 60 == 59:
                time.sleep(0.1)
    program.wait_for_output("done\n")
    passed = time.monotonic() - begun
    program.wait_ready()
    metrics = program.metrics()
    scene.equal("calls", {call: metrics.by("profshim_calls_total", "call").get(call) for call in ("recv", "send")},
                {"recv": 301.0, "send": 300.0})
    seconds = metrics.by("profshim_call_seconds_total", "call")
    scene.check("%.3f s in recv, of which five times 0.1 s were waits, within %.3f s" % (seconds["recv"], passed),
                0.5 <= seconds["recv"] <= passed)
    program.process.stdin.close()
    program.stop()


@test
def the_program_itself_behaves_the_same_under_the_shim(scene):
    plain = scene.run(["timeout", "-s", "TERM", "2", own_server("every_call")], shim=False)
    under = scene.run(["timeout", "-s", "TERM", "2", own_server("every_call")])
    scene.equal("its stdout", under.stdout, plain.stdout)
    scene.equal("its stderr", under.stderr, plain.stderr)
    scene.equal("its exit code", under.returncode, plain.returncode)


@test
def names_that_servers_hardly_use_answer_the_same(scene):
    plain = scene.run([own_server("every_name")], shim=False, timeout=30)
    scene.equal("exit code", plain.returncode, 0)
    for hz in (0, 997):
        under = scene.run([own_server("every_name")], timeout=30, hz=hz)
        scene.equal("output at %d Hz" % hz, (under.returncode, under.stdout.decode(), under.stderr),
                    (0, plain.stdout.decode(), plain.stderr))


UNWINDERS = ("auto", "tables", "libunwind", "fp")


@test
def hooks_and_sampling_allocate_nothing(scene):
    protocols, each = 7, 1400
    for unwind in UNWINDERS:
        result = scene.run([own_server("count_allocations"), str(protocols * each)], hz=997, unwind=unwind)
        scene.equal("allocations while serving, and control, with PROFSHIM_UNWIND=%s" % unwind,
                    (result.returncode, result.stdout), (0, b"allocations 0\ncontrol 2\n"))
        scene.equal("stderr", result.stderr, b"")
        metrics = Metrics(scene.profshim("report", "--view=metrics"))
        scene.equal("requests of HTTP/1, HTTP/2 and FastCGI", metrics.sum("http_server_request_duration_seconds_count"), each * 5)
        scene.equal("requests of databases", metrics.by("db_server_operation_duration_seconds_count", "db_system_name"),
                    {"redis": each * 2, "memcached": each * 2, "postgresql": each * 2, "mysql": each * 3})
        scene.at_least("samples taken meanwhile", metrics.sum("profshim_samples_total"), 50)
        scene.at_most("of which without a stack", metrics.sum("profshim_samples_dropped_total"), 0.1 * metrics.sum("profshim_samples_total"))


def count_lives(scene, command, rounds, may_say=(), **how):
    """{what was done: allocations of the program's threads for so many rounds of it}."""
    result = scene.run([own_server("count_allocations"), command, str(rounds)], **how)
    scene.equal("exit code", result.returncode, 0)
    scene.equal("stderr", [line for line in result.stderr.decode().splitlines() if not any(word in line for word in may_say)], [])
    return {name: int(count) for name, count in (line.split() for line in result.stdout.decode().splitlines())}


@test
def threads_forks_libraries_and_signals_allocate_no_more_than_without(scene):
    plain = count_lives(scene, "life", 200, shim=False)
    scene.say(plain)
    for unwind in UNWINDERS:
        for name, count in count_lives(scene, "life", 200, hz=997, unwind=unwind).items():
            scene.at_most("allocations by %s with PROFSHIM_UNWIND=%s" % (name, unwind), count, plain[name])


@test
def nor_does_tls(scene):
    rounds = 100
    plain = count_lives(scene, "tls", rounds, shim=False)
    for unwind in UNWINDERS:
        # By the words of some of OpenSSL's assembly libunwind looks for a caller where there is no memory.
        may_say = ["libunwind.so.8 is not used any more"] if unwind == "libunwind" else []
        found = count_lives(scene, "tls", rounds, may_say, hz=997, unwind=unwind)
        scene.equal("allocations with PROFSHIM_UNWIND=%s" % unwind, found, plain)
        # Two on each connection, of which there is one more than rounds, of OpenSSL and of GnuTLS.
        metrics = Metrics(scene.profshim("report", "--view=metrics"))
        scene.equal("requests that were read", metrics.sum("http_server_request_duration_seconds_count", url_scheme="https"),
                    2 * 2 * (rounds + 1))


if __name__ == "__main__":
    run_tests()
