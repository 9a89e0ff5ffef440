#!/usr/bin/env python3
"""Connections that come and go by other ways than accept and close."""
import json
import os
import random
import signal
import socket
import subprocess
import urllib.request

from filters import REFUSE, filtered, start_filtered
from harness import FULL, can_connect, free_ports, own_server, run_tests, test, wait_until
from real_servers import HttpClient

# Calls by which a thread gets descriptors of its own: without them it goes on as another one (shim/setup/successor.h).
NO_TABLE = ["unshare", "close_range"]

SERVED = "http_server_request_duration_seconds_count"

# What a request is answered with, over a descriptor and without Python's own sockets.
COMMON = """
import ctypes, os, socket, sys
def serve(fd, out=None):
    seen = b""
    while True:
        piece = os.read(fd, 65536)
        if not piece:
            return
        seen += piece
        while b"\\r\\n\\r\\n" in seen:
            _, _, seen = seen.partition(b"\\r\\n\\r\\n")
            os.write(fd if out is None else out, b"HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\n\\r\\nok\\n")
def listen():
    listener = socket.create_server(("127.0.0.1", 0))
    print("port", listener.getsockname()[1], flush=True)
    return listener
"""

# One process accepts, another one serves what it is handed.
PASSING = COMMON + """
mine, theirs = socket.socketpair()
if os.fork() == 0:
    while True:
        _, fds, _, _ = socket.recv_fds(theirs, 1, 4)
        for fd in fds:
            serve(fd)
            os.close(fd)
listener = listen()
while True:
    connection, _ = listener.accept()
    socket.send_fds(mine, [b"x"], [connection.fileno()])
    connection.close()
"""

# As inetd starts its servers: the connection is the standard input and output.
INETD = COMMON + """
serve(0, 1)
"""

# Until the client goes, and longer: the response of a request lasts until the connection ends, which this one ends itself.
CLOSING = COMMON + """
libc = ctypes.CDLL(None)
libc.fdopen.restype, libc.fclose.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
ways = [os.close, lambda fd: libc.close_range(fd, fd, 0), lambda fd: libc.closefrom(fd),
        lambda fd: libc.fclose(libc.fdopen(fd, b"r+"))]
listener = listen()
for number in range(8):
    connection, _ = listener.accept()
    fd = connection.detach()
    os.read(fd, 65536)
    os.write(fd, b"HTTP/1.0 200 OK\\r\\n\\r\\nuntil the end")
    ways[number % len(ways)](fd)
while True:
    listener.accept()
"""


def check(scene, program, requests, connections):
    metrics = program.metrics_when(lambda metrics: metrics.sum(SERVED) >= requests and metrics.sum("profshim_connections_open") == 0)
    scene.equal("requests", metrics.by(SERVED, "http_route", "http_response_status_code", "error_type"),
                {("/ok", "200", ""): float(requests)})
    scene.equal("connections", metrics.by("profshim_connections_accepted_total", "protocol"), {"http": float(connections)})
    scene.equal("connections open", metrics.sum("profshim_connections_open"), 0)


def start(scene, name, script, **how):
    program = scene.start(["python3", scene.write(name + ".py", script)], name, **how)
    program.wait_ready()
    return program


@test
def a_connection_handed_to_another_process_is_counted_once(scene):
    program = start(scene, "passing", PASSING)
    program.wait_for_output("\n")
    port = int(program.stdout().split()[1])
    for _ in range(5):
        client = HttpClient(port)
        for _ in range(3):
            scene.equal("status", client.ask("GET", "/ok")[0], 200)
        client.close()
    check(scene, program, 15, 5)


@test
def a_connection_that_a_process_begins_with_is_followed(scene):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = HttpClient(listener.getsockname()[1])
        connection, _ = listener.accept()
        environment = scene.shim_environment(listen="127.0.0.1:0")
        program = subprocess.Popen(["python3", scene.write("inetd.py", INETD)], env=environment, stdin=connection,
                                   stdout=connection, stderr=subprocess.DEVNULL, cwd=scene.dir)
        connection.close()
    for _ in range(4):
        scene.equal("status", client.ask("GET", "/ok")[0], 200)
    client.close()
    scene.equal("exit code", program.wait(20), 0)
    told = scene.profshim("report", "--top=3")
    scene.check("its requests are in the report: " + told, " in 4 requests" in told and "GET /ok" in told)


@test
def whatever_closes_a_connection_ends_its_response(scene):
    program = start(scene, "closing", CLOSING)
    program.wait_for_output("\n")
    port = int(program.stdout().split()[1])
    for _ in range(8):
        client = HttpClient(port)
        status, _, body = client.ask("GET", "/ok")
        scene.equal("answer", (status, body), (200, b"until the end"))
        client.close()
    check(scene, program, 8, 8)
    scene.equal("streams of stdio", program.metrics().sum("profshim_blind_calls_total", kind="stdio"), 2)


# Looks for descriptors that it did not open, all the while a library is loaded anew and profshim is asked.
WATCHING = """
import ctypes, os, time
def is_open(number):
    try:
        os.fstat(number)
        return True
    except OSError:
        return False
known = {number for number in range(4096) if is_open(number)}
print("watching", flush=True)
end, seen, rounds = time.monotonic() + 3, set(), 0
while time.monotonic() < end:
    seen |= {number for number in range(64) if number not in known and is_open(number)}
    rounds += 1
seen |= {number for number in range(4096) if number not in known and is_open(number)}
print("others:", sorted(seen), "rounds:", rounds > 100, flush=True)
time.sleep(60)
"""

# Everything that it may open; then the numbers that it got.
LIMITED = """
import os, resource, time
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
os.closerange(3, 20)
time.sleep(1)
numbers = []
try:
    while True:
        numbers.append(os.open("/dev/null", os.O_RDONLY))
except OSError as error:
    print(error.errno, numbers, flush=True)
%s
"""


@test
def no_number_is_taken_from_the_program(scene):
    program = start(scene, "watching", WATCHING)
    while "others" not in program.stdout():
        program.metrics()
        program.get_ok("/report")
        program.need_running()
    scene.equal("what it saw", program.stdout().split("\n")[1], "others: [] rounds: True")


# As daemon(3) of old: two forks, every number closed by one way and then by another, files where the lowest are free.
DAEMON = """
import ctypes, os, socket, sys
for _ in range(2):
    if os.fork():
        os._exit(0)
    os.setsid()
for number in range(1024):
    try:
        os.close(number)
    except OSError:
        pass
ctypes.CDLL(None).closefrom(0)
numbers = [os.open("/dev/null", os.O_RDWR) for _ in range(3)]
numbers += [os.open(sys.argv[1] + "-" + name, os.O_WRONLY | os.O_CREAT) for name in "ab"]
numbers += [*os.pipe(), os.dup(0), os.dup2(0, 30)]
os.write(3, repr(numbers).encode())
os.write(4, b"the end")
socket.create_server(("127.0.0.1", 0)).accept()
"""


def in_this_world_and_in_that(scene, refused, name, script, *arguments):
    """The script without and with the shim, at once, and both under a filter."""
    path = scene.write(name + ".py", script)
    return [start_refused(scene, refused, ["python3", path, *(argument % shim for argument in arguments)],
                          "-".join([name, str(shim), *refused]), shim=shim) for shim in (False, True)]


@test
def a_program_of_few_descriptors_gets_them_all(scene):
    pairs = [in_this_world_and_in_that(scene, refused, "limited", LIMITED % "time.sleep(60)") for refused in ([], NO_TABLE)]
    for plain, shown in pairs:
        for program in (plain, shown):
            program.wait_for_output("\n")
        scene.equal("errno and numbers", shown.stdout(), plain.stdout())
        scene.at_least("bytes of them", len(plain.stdout()), 20)
        shown.get_ok("/report")
        shown.metrics()


@test
def a_daemon_that_closes_all_gets_its_numbers_and_is_served(scene):
    for refused in ([], NO_TABLE):
        result = scene.path("daemon-%s" % len(refused))
        plain, shown = in_this_world_and_in_that(scene, refused, "daemon", DAEMON, result + "-%s")
        told = []
        for program, shim in ((plain, False), (shown, True)):
            scene.equal("exit code of the first process", program.wait(), 0)
            wait_until(lambda: os.path.exists("%s-%s-b" % (result, shim)) and read_text("%s-%s-b" % (result, shim)), 5, "what it writes last")
            told.append([read_text("%s-%s-%s" % (result, shim, name)) for name in "ab"])
        scene.equal("its numbers, and nothing besides in its files", told[1], told[0])
        shown.wait_ready()
        shown.get_ok("/report")
        scene.equal("files afterwards", [read_text("%s-True-%s" % (result, name)) for name in "ab"], told[0])


# What filters of containers and service managers answer by an error: none of these is a reason to take numbers from the program.
REFUSED = [["pidfd_getfd"], ["pidfd_open"], ["pidfd_getfd", "unshare"], NO_TABLE, ["pidfd_getfd", *NO_TABLE]]


def start_refused(scene, refused, argv, name, **how):
    return start_filtered(scene, refused, REFUSE, argv, name, **how) if refused else scene.start(argv, name, **how)


def walk(scene, seed, steps, shim, refused=(), is_served=True):
    """Every number that the program got on its way, and what was in each of its files."""
    result = scene.path("walk-%d-%s%s" % (seed, "with" if shim else "without", "-".join(["", *refused])))
    os.mkdir(result + ".dir")
    program = start_refused(scene, refused, ["env", "-C", result + ".dir", own_server("descriptor_walk"), str(seed), str(steps), result],
                            os.path.basename(result), shim=shim, stdin=subprocess.PIPE, **({"hz": 997, "log": "error"} if shim else {}))
    if shim and is_served:
        program.wait_ready()
    program.process.stdin.write(b"x")
    program.process.stdin.close()
    while shim and is_served and program.is_running():
        try:
            program.get("/metrics")
            program.get("/report")
        except OSError:
            pass  # it has ended
    scene.equal("exit code", program.wait(), 0)
    with open(result) as file:
        return file.read() + program.stdout() + program.stderr()  # the walk writes to these, too


@test
def a_walk_over_all_that_can_be_done_to_descriptors_gives_the_same_numbers(scene):
    for _ in range(8 if FULL else 2):
        seed, steps = random.randrange(1 << 32), 20000 if FULL else 4000
        scene.say("seed %d, %d steps" % (seed, steps))
        plain, shown = (walk(scene, seed, steps, shim) for shim in (False, True))
        scene.at_least("lines", len(plain.splitlines()), steps)
        scene.equal("numbers and digests", shown, plain)


@test
def so_does_a_walk_where_our_thread_cannot_fetch_the_programs_stderr(scene):
    steps = 20000 if FULL else 1500
    for refused in REFUSED:
        seed = random.randrange(1 << 32)
        scene.say("seed %d, %d steps without %s" % (seed, steps, ", ".join(refused)))
        plain, shown = (walk(scene, seed, steps, shim, refused) for shim in (False, True))
        scene.at_least("lines", len(plain.splitlines()), steps)
        scene.equal("numbers and digests", shown, plain)


@test
def where_our_thread_cannot_have_descriptors_of_its_own_it_opens_nothing_and_says_so(scene):
    refused = [*NO_TABLE, "clone"]  # threads are made by clone3
    seed, steps = random.randrange(1 << 32), 20000 if FULL else 1500
    scene.say("seed %d, %d steps" % (seed, steps))
    plain, shown = (walk(scene, seed, steps, shim, refused, is_served=False) for shim in (False, True))
    scene.equal("numbers and digests", shown, plain)
    program = start_refused(scene, refused, [own_server("signal_server"), "none", str(free_ports())], "refused", hz=997)
    wait_until(lambda: "descriptors of its own" in program.stderr(), 5, "the line about it")
    scene.equal("lines", len(program.stderr().splitlines()), 1)
    scene.equal("exit code", program.stop(), 0)
    scene.check("the session can be read", " samples at 997 Hz" in scene.profshim("report"))
    faults = json.loads(scene.profshim("report", "--view=self"))["counters"]["faults"]
    scene.equal("faults in /self", {part: count for part, count in faults.items() if count}, {"exporter": 1})


@test
def programs_find_nothing_of_ours_however_soon_they_look(scene):
    # Each begins while its thread does, and half of them are forks of one that just began.
    worlds = (REFUSED[0], ["pidfd_getfd", "close_range"], NO_TABLE)
    script = 'for i in $(seq %d); do "$0" list "$1"; ("$0" list "$1"; true); done' % (100 if FULL else 15)
    for refused in worlds:
        found = []
        for shim in (False, True):
            log = scene.path("list-%s-%s" % (shim, "-".join(refused)))
            program = start_refused(scene, refused, ["sh", "-c", script, own_server("descriptor_walk"), log], os.path.basename(log), shim=shim)
            scene.equal("exit code", program.wait(100), 0)
            with open(log) as file:
                found.append(file.read())
        scene.equal("what was open", found[1], found[0])


# Does what it is told to.
OBEYING = """
import os, socket, sys
print("ready", flush=True)
for line in sys.stdin:
    print(eval(line), flush=True)
"""


class Obeying:
    """OBEYING under a filter, its stderr being what it is given."""

    def __init__(self, scene, refused, stderr, by=()):
        self.scene, self.port = scene, free_ports()
        environment = dict(scene.shim_environment(hz=99, listen="127.0.0.1:%d" % self.port))
        library = environment.pop("LD_PRELOAD")
        argv = [*by, *filtered(refused, REFUSE, library, ["/usr/bin/python3", "-c", OBEYING])]
        self.process = subprocess.Popen(argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
                                        text=True, cwd=scene.dir)
        scene.equal("it begins", self.process.stdout.readline(), "ready\n")
        wait_until(lambda: can_connect(self.port), 5, "the thread serving")

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def report(self):
        self.process.send_signal(signal.SIGUSR1)

    def metric(self, name):
        with urllib.request.urlopen("http://127.0.0.1:%d/metrics" % self.port, timeout=5) as answer:
            return sum(float(line.split()[-1]) for line in answer.read().decode().splitlines() if line.startswith(name))

    def end(self):
        self.process.stdin.close()
        self.scene.equal("exit code", self.process.wait(20), 0)


REPORT = "filename:lineno(function)"


def read_report(source):
    """From a descriptor that does not wait."""
    seen = []

    def has_come():
        try:
            seen.append(os.read(source, 65536).decode())
        except BlockingIOError:
            pass
        return REPORT in "".join(seen)
    wait_until(has_come, 3, "a report")


def read_text(path):
    with open(path, errors="replace") as file:
        return file.read()


def has_ended(source):
    try:
        return os.read(source, 65536) == b""
    except BlockingIOError:
        return False


@test
def reports_reach_a_stderr_that_cannot_be_fetched_and_do_not_keep_it_open(scene):
    for kind in ("pipe", "socket"):
        pair = [end.detach() for end in socket.socketpair()] if kind == "socket" else os.pipe()
        os.set_blocking(pair[0], False)
        program = Obeying(scene, ["pidfd_getfd"], pair[1])
        os.close(pair[1])
        program.report()
        read_report(pair[0])
        program.report()  # the copy is not used up
        read_report(pair[0])
        scene.equal("its numbers", program.tell("sorted(os.listdir('/proc/self/fd'))"), "['0', '1', '2', '3']")
        program.tell("os.close(2)")
        wait_until(lambda: has_ended(pair[0]), 1, "the end of the " + kind)
        os.close(pair[0])
        log = scene.path("log-" + kind)
        scene.equal("a log", program.tell("os.open(%r, os.O_WRONLY | os.O_CREAT | os.O_APPEND)" % log), "2")
        program.report()
        wait_until(lambda: REPORT in read_text(log), 3, "a report in the log")
        program.end()


@test
def where_the_program_would_write_over_a_report_it_is_lost_and_counted(scene):
    first, second = scene.path("first"), scene.path("second")
    with open(first, "wb") as stderr:
        program = Obeying(scene, ["pidfd_getfd"], stderr)
    program.tell("os.write(2, b'before\\n')")
    program.report()
    wait_until(lambda: REPORT in read_text(first), 3, "a report")
    program.tell("os.write(2, b'behind\\n')")
    text = read_text(first)
    scene.check("all of it follows on each other", text.startswith("before\n") and text.endswith("behind\n") and REPORT in text, text[:200])
    program.tell("os.dup2(os.open(%r, os.O_WRONLY | os.O_CREAT), 2)" % second)
    program.report()
    wait_until(lambda: program.metric("profshim_log_lines_lost_total") > 0, 3, "the loss counted")
    scene.equal("the file that is only the program's", os.path.getsize(second), 0)
    program.end()


@test
def without_procfs_besides_it_is_said_and_the_rest_goes_on(scene):
    told = scene.path("told")
    with open(told, "wb") as stderr:
        program = Obeying(scene, ["pidfd_getfd"], stderr, ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh"])
    program.report()
    wait_until(lambda: program.metric("profshim_log_lines_lost_total") > 0, 3, "the loss counted")
    text = read_text(told)
    scene.equal("times that it is said", text.count("no stderr from now on"), 1)
    scene.check("no report", REPORT not in text, text)
    program.end()


if __name__ == "__main__":
    run_tests()
