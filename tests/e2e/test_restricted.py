#!/usr/bin/env python3
"""Programs in worlds with less in them: they serve as without us, and as much as can be is shown."""
import concurrent.futures
import itertools
import os
import re
import resource
import signal
import socket

from filters import ALLOW, KILL, NUMBERS, REFUSE, TRAP, filtered, start_filtered
from harness import FULL, free_ports, own_server, run_tests, test, wait_until
from real_servers import HttpClient

SERVED = "http_server_request_duration_seconds_count"

# A server that allows itself nothing of what profshim alone would need, and then serves, with a thread for each client.
FILTERED = """
import ctypes, os, socket, struct, sys, threading
DENIED = dict(rt_sigreturn=15, getpid=39, timer_create=222, timer_settime=223, timer_delete=226, tgkill=234)
def instruction(code, jt, jf, k): return struct.pack("HBBI", code, jt, jf, k)
lines = [instruction(0x20, 0, 0, 0)]
for number in DENIED.values():
    lines += [instruction(0x15, 0, 1, number), instruction(0x06, 0, 0, 0x80000000)]
lines.append(instruction(0x06, 0, 0, 0x7fff0000))
text = ctypes.create_string_buffer(b"".join(lines))
class Program(ctypes.Structure):
    _fields_ = [("count", ctypes.c_ushort), ("lines", ctypes.c_void_p)]
libc = ctypes.CDLL(None)
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
def serve(connection):
    with connection:
        while connection.recv(65536):
            connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\n\\r\\nok\\n")
print("listening", flush=True)
serve(listener.accept()[0])
program = Program(len(lines), ctypes.addressof(text))
libc.prctl(38, 1, 0, 0, 0)
way = sys.argv[2]
if way == "prctl":
    failed = libc.prctl(22, 2, ctypes.byref(program), 0, 0)
else:
    failed = libc.syscall(317, 1, 1 if way == "all" else 0, ctypes.byref(program))
print("filter", failed, flush=True)
while True:
    thread = threading.Thread(target=serve, args=(listener.accept()[0],))
    thread.start()
    thread.join()
    sum(range(2000000))
"""


def ask(port, count):
    client = HttpClient(port)
    statuses = [client.ask("GET", "/ok")[0] for _ in range(count)]
    client.close()
    return statuses


def check_filtered(scene, way):
    port = free_ports()
    program = scene.start(["/usr/bin/python3", scene.write("filtered.py", FILTERED), str(port), way], "python3", hz=997)
    program.wait_for_output("listening")
    program.wait_ready()
    scene.equal("before the filter", ask(port, 5), [200] * 5)
    program.wait_for_output("filter 0")
    for _ in range(5):
        scene.equal("behind the filter", ask(port, 5), [200] * 5)
    scene.check("the program runs on", program.is_running())
    scene.check("it is told", "seccomp" in program.stderr(), program.stderr())
    scene.equal("lines on stderr", len(program.stderr().splitlines()), 1)
    return program


@test
def a_filter_of_one_thread_by_prctl(scene):
    program = check_filtered(scene, "prctl")
    scene.equal("requests before the filter are shown", int(program.metrics().sum(SERVED)), 5)


@test
def a_filter_by_its_system_call(scene):
    program = check_filtered(scene, "call")
    scene.equal("requests before the filter are shown", int(program.metrics().sum(SERVED)), 5)


@test
def a_filter_of_all_threads(scene):
    check_filtered(scene, "all")
    told = scene.profshim("report", "--top=3")
    scene.check("requests before the filter are shown", " in 5 requests" in told, told)


# What programs ask to learn whether there are filters at all, and what no kernel takes.
REFUSED = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
class Program(ctypes.Structure):
    _fields_ = [("count", ctypes.c_ushort), ("lines", ctypes.c_void_p)]
comes_round = ctypes.create_string_buffer(bytes((5, 0, 0, 0, 255, 255, 255, 255)) + bytes((6, 0, 0, 0, 0, 0, 255, 127)))
for filter in (None, ctypes.c_void_p(16), ctypes.byref(Program(3, 16)), ctypes.byref(Program(0, None)),
               ctypes.byref(Program(2, ctypes.addressof(comes_round)))):
    for call in (lambda: libc.prctl(22, 2, filter), lambda: libc.syscall(157, 22, 2, filter, 0, 0), lambda: libc.syscall(317, 1, 0, filter)):
        ctypes.set_errno(0)
        print(call(), ctypes.get_errno())
"""


@test
def filters_that_the_kernel_refuses(scene):
    script = scene.write("refused.py", REFUSED)
    plain, shown = (scene.run(["python3", script], shim=shim, timeout=20) for shim in (False, True))
    scene.equal("results", (shown.returncode, shown.stdout), (plain.returncode, plain.stdout))


# Of which the second comes when the first would not let its lines be read by other calls than the program's own.
TWICE = """
import ctypes, struct
libc = ctypes.CDLL(None)
class Program(ctypes.Structure):
    _fields_ = [("count", ctypes.c_ushort), ("lines", ctypes.c_void_p)]
def forbid(*numbers):
    lines = [(0x20, 0, 0, 0)]
    for number in numbers:
        lines += [(0x15, 0, 1, number), (0x06, 0, 0, 0x80000000)]
    lines.append((0x06, 0, 0, 0x7fff0000))
    text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
    return libc.prctl(22, 2, ctypes.byref(Program(len(lines), ctypes.addressof(text))), 0, 0)
print(libc.prctl(38, 1, 0, 0, 0), forbid(101, 298, 310, 311, 312, 438), forbid(165), sum(i * i for i in range(3000000)), flush=True)
"""


@test
def filters_upon_filters(scene):
    script = scene.write("twice.py", TWICE)
    plain, shown = (scene.run(["python3", script], shim=shim, timeout=20, **({"hz": 997} if shim else {})) for shim in (False, True))
    scene.equal("result", (shown.returncode, shown.stdout, shown.stderr), (plain.returncode, plain.stdout, plain.stderr))
    scene.check("both were installed", plain.stdout.startswith(b"0 0 0 "), plain.stdout)


# --- filters from before the start

def serve_under(scene, name, numbers):
    port = free_ports()
    program = start_filtered(scene, numbers, KILL, [own_server("signal_server"), "none", str(port)], name, hz=997)
    program.wait_for_output("ready\n")
    return program


@test
def what_service_managers_forbid_is_done_without(scene):
    # SystemCallFilter=@system-service, and ~@resources besides, of systemd.exec(5), end a program for these.
    program = serve_under(scene, "service", ["perf_event_open", "pidfd_getfd", "kcmp", "process_vm_readv", "sched_setscheduler"])
    program.wait_ready()
    scene.equal("calls of listen", int(program.metrics().sum("profshim_calls_total", call="listen")), 1)
    scene.check("it says when it was sampled", "profshim_samples_total" in program.metrics().text)
    scene.equal("stderr", program.stderr(), "")
    scene.equal("exit code", program.stop(), 0)


@test
def where_our_thread_may_not_do_its_work_there_is_none(scene):
    for call in ("accept4", "epoll_create1"):
        program = serve_under(scene, call, [call])
        wait_until(lambda: "serves no reports" in program.stderr(), 5, "the line about it")
        scene.equal("lines", len(program.stderr().splitlines()), 1)
        scene.equal("exit code", program.stop(), 0)
    scene.at_least("sessions that can be read", len(scene.profshim("ls").splitlines()) - 1, 1)


@test
def where_our_hooks_may_not_do_their_work_nothing_is_profiled(scene):
    for call in ("timer_create", "get_robust_list", "rt_sigpending"):
        program = serve_under(scene, call, [call])
        if call == "rt_sigpending":  # without which we do not write either
            scene.equal("stderr", program.stderr(), "")
        else:
            scene.equal("lines", len(program.stderr().splitlines()), 1)
            scene.check("it is told", "not profiled" in program.stderr(), program.stderr())
        scene.equal("exit code", program.stop(), 0)
        scene.equal("sessions", scene.sessions(), [])


BUSY = """
import os, socket, threading, time
a, b = socket.socketpair()
thread = threading.Thread(target=lambda: b.sendall(b"x" * 10))
thread.start()
print(a.recv(10), sum(i * i for i in range(300000)))
thread.join()
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
print(listener.accept()[0].close(), os.system("exit 3"), flush=True)
time.sleep(0.15)
"""


# The one does most things, the other hardly any, so that more of ours are its end.
VICTIMS = (["/usr/bin/python3", "-c", BUSY], ["/usr/bin/sleep", "0.2"])
TRYING = NUMBERS["clone"]  # of the child in which filters are tried out: see below


def ends_of(scene, number, victim, shim):
    environment = dict(scene.shim_environment(hz=997, listen="127.0.0.1:0"))
    library = environment.pop("LD_PRELOAD")
    result = scene.run(filtered([number], KILL, library if shim else "", victim), environment=environment)
    return result.returncode, result.stdout


@test
def whatever_single_call_a_filter_forbids_the_program_ends_as_it_would(scene):
    numbers = sorted({*(range(450) if FULL else NUMBERS.values())} - {TRYING})
    cases = list(itertools.product(numbers, VICTIMS))
    # Most of the time each of them waits.
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        plain = list(pool.map(lambda case: ends_of(scene, *case, False), cases))
        unhurt = [(case, ends) for case, ends in zip(cases, plain) if ends[0] == 0]
        shown = list(pool.map(lambda case: ends_of(scene, *case[0], True), unhurt))
    differing = {(case[0], case[1][0]): got for (case, wanted), got in zip(unhurt, shown) if got != wanted}
    scene.at_least("calls that the programs do without", len(unhurt), 20)
    scene.equal("calls for which it ends otherwise", differing, {})


# --- lists of what is allowed

# What libc does now and then, by how threads meet and what memory was left: a list that a person makes has it.
NOW_AND_THEN = ("brk", "mmap", "munmap", "mprotect", "madvise", "futex", "restart_syscall")
LIBC_NUMBERS = dict(brk=12, mmap=9, munmap=11, mprotect=10, madvise=28, futex=202, restart_syscall=219)
SHELL = ["/bin/sh", "-c", "grep -c : /etc/passwd | wc -l; (exit 3)"]
SHA256SUM = ["/usr/bin/sha256sum", "/etc/passwd"]
OTHERWISE = {"killed": KILL, "refused": REFUSE, "trapped": TRAP}


def converse(program):
    """Two connections to the walled server, one after another; all that it answers."""
    program.wait_for_output("\n")
    answers = []
    for lines in ((b"one", b"two"), (b"three", b"end")):
        with socket.create_connection(("127.0.0.1", int(program.stdout().split()[1])), timeout=20) as connection:
            for line in lines:
                connection.sendall(line)
                answers.append(connection.recv(100))
    return answers


def run_walled(scene, argv, name, shim):
    """Everything that may be seen of such a program; argv of scene.start."""
    program = scene.start(argv, name, shim=shim, is_preloaded="LD_PRELOAD" not in argv, **({"hz": 997, "log": "error"} if shim else {}))
    answers = converse(program) if "serve" in argv else []
    return answers, program.wait(20), program.stdout().split("\n")[1 if "serve" in argv else 0:], program.stderr()


def calls_of(scene, argv, name):
    """Numbers of the system calls that a program makes without us: (all, those from PR_SET_NO_NEW_PRIVS on)."""
    trace = scene.path(name + ".trace")
    run_walled(scene, ["strace", "-f", "-n", "-qq", "-e", "signal=none", "-o", trace, *argv], name, False)
    with open(trace) as file:
        lines = file.read().splitlines()
    numbers = [(line, int(found.group(1))) for line in lines for found in [re.search(r"^\d+ +\[ *(\d+)\]", line)] if found]
    marked = [at for at, (line, _) in enumerate(numbers) if "PR_SET_NO_NEW_PRIVS" in line]
    of_libc = {LIBC_NUMBERS[call] for call in NOW_AND_THEN}
    every, behind = ({number for _, number in part} for part in (numbers, numbers[marked[0] + 1 if marked else 0:]))
    scene.at_least("calls of " + name, len(every), 10)
    return sorted(every | of_libc), sorted(behind | of_libc)


def seen_of(scene, cases):
    """{name: (all that is seen without the shim, and with it)} of {name: arguments, given whether with the shim}."""
    runs = [(argv_of(shim), "%s-%s" % (name, shim), shim) for name, argv_of in cases.items() for shim in (False, True)]
    # Most of the time each of them waits.
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(lambda run: run_walled(scene, *run), runs))
    return dict(zip(cases, zip(seen[::2], seen[1::2])))


@test
def what_allows_itself_only_what_it_needs_works_on(scene):
    for work, code in (("serve", 7), ("sum", 5)):
        argv = [own_server("walled"), work]
        _, behind = calls_of(scene, [*argv, "none", "0"], work)
        ways = itertools.product(OTHERWISE, ("prctl", "seccomp", "all") if FULL else ("prctl", "all"))
        cases = {"-".join((work, end, way)): [*argv, way, str(OTHERWISE[end]), *map(str, behind)] for end, way in ways}
        for name, (plain, shown) in seen_of(scene, {name: lambda shim, case=case: case for name, case in cases.items()}).items():
            scene.equal("exit code of %s without the shim" % name, plain[1], code)
            scene.equal(name, shown, plain)


def walled_from_before(scene, argv, name):
    """The same, by what happens to other calls than those that the program needs."""
    every, _ = calls_of(scene, argv, name)
    return seen_of(scene, {"%s-%s" % (name, end): lambda shim, action=action: filtered(every, ALLOW, scene.library if shim else "", argv, action)
                           for end, action in OTHERWISE.items()})


@test
def what_is_allowed_only_what_it_needs_from_before_its_start_works_on(scene):
    resource.setrlimit(resource.RLIMIT_CORE, resource.getrlimit(resource.RLIMIT_CORE)[1:] * 2)  # what is tried leaves none
    for name, argv, code in (("serve", [own_server("walled"), "serve", "none", "0"], 7), ("shell", SHELL, 3)):
        for case, (plain, shown) in walled_from_before(scene, argv, name).items():
            scene.equal("exit code of %s without the shim" % case, plain[1], code)
            scene.equal(case, shown, plain)
    scene.equal("cores", [file for file in os.listdir(scene.dir) if file.startswith("core")], [])


@test
def who_makes_threads_and_no_processes_is_profiled_where_clone_is_its_end(scene):
    program = start_filtered(scene, ["clone"], KILL, [own_server("walled"), "serve", "none", "0"], "threads", hz=997)
    scene.equal("answers", converse(program), [b"one", b"two", b"three", b"end"])
    scene.equal("exit code", program.wait(), 7)
    scene.check("what serves no reports is told: " + program.stderr(), "serves no reports" in program.stderr())
    scene.check("samples", ", 0 samples" not in scene.profshim("report").splitlines()[0])


@test
def what_may_not_even_make_a_child_ends_at_its_start_where_that_is_its_end(scene):
    # What it may do is tried in a child: there is no other way to learn it. A filter that answers by an error does no harm.
    scene.equal("sleep where clone is its end", [ends_of(scene, TRYING, VICTIMS[1], shim) for shim in (False, True)], [(0, b""), (-signal.SIGSYS, b"")])
    for case, (plain, shown) in walled_from_before(scene, SHA256SUM, "sum").items():
        scene.equal("exit code of %s without the shim" % case, plain[1], 0)
        scene.equal(case, shown, plain if case == "sum-refused" else ([], -signal.SIGSYS, [""], ""))


if __name__ == "__main__":
    run_tests()
