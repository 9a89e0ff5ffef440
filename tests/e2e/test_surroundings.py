#!/usr/bin/env python3
"""Programs that change their surroundings, and surroundings that lack what is usually there: what the program does and prints is
what it does without us, what cannot be had is told in one line, and the rest is counted and served."""
import os
import re
import resource
import shutil
import signal
import tempfile

from harness import Failure, children_of, free_ports, own_server, run_tests, test, wait_until
from real_servers import SERVE_IN_PYTHON, HttpClient

SERVED = "http_server_request_duration_seconds_count"

# --- programs that go elsewhere while they run

SERVER = """
import ctypes, os, shutil, signal, socket, sys, time
libc = ctypes.CDLL(None, use_errno=True)
CLONE_FS, CLONE_FILES, CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x200, 0x400, 0x20000, 0x10000000, 0x20000000
MS_REC, MS_PRIVATE, MS_BIND, MNT_DETACH = 1 << 14, 1 << 18, 1 << 12, 2
def call(name, *arguments):
    ctypes.set_errno(0)
    result = getattr(libc, name)(*arguments)
    print(name, result, ctypes.get_errno() if result < 0 else 0, flush=True)
def burn(library):
    rounds, data = 0, bytes(1 << 20)
    end = time.process_time() + 0.3
    while time.process_time() < end:
        library.crc32(0, data, len(data))
        rounds += 1
    print("burnt", rounds > 0, flush=True)
""" + SERVE_IN_PYTHON + """
serve()
"""
END = """
print("done", flush=True)
while True:
    serve()
"""

CHROOT = SERVER + """
os.makedirs("root/lib")
shutil.copy("/lib/x86_64-linux-gnu/libz.so.1", "root/lib/libfirst.so")
shutil.copy("/lib/x86_64-linux-gnu/libz.so.1", "root/lib/libsecond.so")
call("chroot", b"root")
os.chdir("/")
print(sorted(os.listdir("/")), flush=True)
burn(ctypes.CDLL("/lib/libfirst.so"))
second = ctypes.CDLL("/lib/libsecond.so")
os.rename("/lib/libsecond.so", "/lib/libmoved.so")
with open("/lib/libsecond.so", "wb") as file:
    file.write(b"\\x7fELF" + bytes(100))
burn(second)
"""

PIVOT = SERVER + """
call("unshare", CLONE_NEWNS)
call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
os.mkdir("root")
call("mount", b"tmpfs", b"root", b"tmpfs", 0, None)
os.mkdir("root/old")
shutil.copy("/lib/x86_64-linux-gnu/libz.so.1", "root/libfirst.so")
call("syscall", 155, b"root", b"root/old")
os.chdir("/")
call("umount2", b"/old", MNT_DETACH)
print(sorted(os.listdir("/")), flush=True)
burn(ctypes.CDLL("/libfirst.so"))
"""

OWN_TABLES = SERVER + """
call("unshare", CLONE_FILES)
call("unshare", CLONE_FS)
os.mkdir("there")
os.chdir("there")
print(os.path.basename(os.getcwd()), flush=True)
"""

OTHER_USERS = SERVER + """
call("unshare", CLONE_NEWUSER | CLONE_NEWNS)
print(os.getuid(), flush=True)
"""


def ask(port, count):
    client = HttpClient(port)
    statuses = [client.ask("GET", "/ok")[0] for _ in range(count)]
    client.close()
    return statuses


def run_server(scene, name, script, shim):
    """The program, when it has gone elsewhere and answered seven requests in all."""
    port = free_ports()
    folder = scene.path("%s-%s" % (name, "with" if shim else "without"))
    os.mkdir(folder)
    argv = ["python3", scene.write(name + ".py", script + END), str(port)]
    program = scene.start(["env", "-C", folder, *argv], os.path.basename(folder), shim=shim, hz=997)
    program.wait_for_output("listening\n")
    if shim:
        program.wait_ready()
    scene.equal("answers before", ask(port, 3), [200] * 3)
    program.wait_for_output("done\n")
    scene.equal("answers after", ask(port, 4), [200] * 4)
    return program


def compare(scene, name, script):
    """The program under the shim, its output being that of one without."""
    program = run_server(scene, name, script, False)
    plain = program.stdout()
    program.kill_all()
    scene.say(plain)
    program = run_server(scene, name, script, True)
    scene.equal("output", program.stdout(), plain)
    program.wait_ready(2)
    metrics = program.metrics_when(lambda metrics: metrics.sum(SERVED) == 7)
    scene.equal("requests counted, before and after", int(metrics.sum(SERVED)), 7)
    scene.equal("stderr", program.stderr(), "")
    return program


@test
def a_program_that_changes_its_root_is_served_and_what_it_loads_there_is_shown(scene):
    program = compare(scene, "chroot", CHROOT)
    table = program.get_ok("/report?by=module&top=100").text
    scene.check("modules of the new root are in the report", "libfirst.so" in table and "libsecond.so" in table, table)
    metrics = program.metrics_when(lambda metrics: metrics.sum("profshim_samples_total") > 100)
    scene.at_least("samples", metrics.sum("profshim_samples_total"), 100)
    program.get_ok("/report?by=line")


@test
def a_program_that_pivots_into_another_root_is_served(scene):
    program = compare(scene, "pivot", PIVOT)
    table = program.get_ok("/report?by=module&top=100").text
    scene.check("modules of the new root are in the report", "libfirst.so" in table, table)


@test
def tables_that_are_no_longer_shared_with_our_thread(scene):
    compare(scene, "tables", OWN_TABLES)


@test
def a_program_that_enters_a_user_namespace_of_its_own(scene):
    compare(scene, "users", OTHER_USERS)


# --- pid namespaces: numbers mean others there

# The first of the namespace serves and has two children: one with a number of somebody here, one with a number of nobody.
NUMBERS = SERVER + """
call("unshare", CLONE_NEWPID)
if os.fork() == 0:
    print("first", os.getpid(), flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for last in (None, int(open("/proc/sys/kernel/pid_max").read()) - 50):
        if last:
            with open("/proc/sys/kernel/ns_last_pid", "w") as file:
                file.write(str(last))
        if os.fork() == 0:
            while True:
                signal.pause()
    print("done", flush=True)
    while True:
        serve()
while True:
    signal.pause()
"""


def processes_when(program, count, seconds=3):
    return int(program.metrics_when(lambda metrics: metrics.sum("profshim_processes") == count, seconds).sum("profshim_processes"))


def killed(program):
    return int(program.metrics().sum("profshim_process_exits_total", cause="killed"))


@test
def processes_of_another_pid_namespace_are_not_taken_for_others(scene):
    program = run_server(scene, "numbers", NUMBERS, True)
    first, = children_of(program.pid)
    low, high = sorted(children_of(first))
    scene.equal("processes", processes_when(program, 4), 4)
    # Through five looks for the dead, of which one at least is thorough.
    metrics = program.metrics_when(lambda metrics: metrics.sum("profshim_processes") != 4, 1)
    scene.equal("processes a second later", int(metrics.sum("profshim_processes")), 4)
    scene.equal("threads", program.json("/self")["threads"], 4)
    scene.equal("killed", killed(program), 0)
    scene.equal("numbers as they are here", sorted(each["pid"] for each in program.json("/self")["processes"]),
                sorted([program.pid, first, low, high]))
    for pid, left in ((low, 3), (high, 2)):
        os.kill(pid, signal.SIGKILL)
        scene.equal("processes after one was killed", processes_when(program, left), left)
    scene.equal("killed", killed(program), 2)
    os.kill(first, signal.SIGKILL)
    scene.equal("processes after the namespace's first was killed", processes_when(program, 1), 1)
    scene.equal("killed", killed(program), 3)
    scene.equal("requests", int(program.metrics().sum(SERVED)), 7)
    scene.equal("stderr", program.stderr(), "")


@test
def a_server_in_another_pid_namespace_takes_over(scene):
    program = run_server(scene, "numbers", NUMBERS, True)
    first, = children_of(program.pid)
    scene.equal("processes", processes_when(program, 4), 4)
    os.kill(program.pid, signal.SIGKILL)
    program.wait_ready(2)
    scene.equal("processes after the first was killed", processes_when(program, 3), 3)
    low, high = sorted(children_of(first))
    os.kill(high, signal.SIGKILL)
    scene.equal("processes after another was killed", processes_when(program, 2), 2)
    scene.equal("killed", killed(program), 2)


# --- what is not there when it starts

BUSY = ["/usr/bin/python3", "-c", "import os, time; print(sum(i * i for i in range(3000000)), *sorted(map(int, os.listdir('/dev/fd')))"
        " if os.path.isdir('/dev/fd') else ''); time.sleep(0.4)"]
DEFAULT_DIRECTORY = object()


def run_in(scene, what, prepare, directory=None, lines=0, hint=""):
    """The program in a mount namespace of its own, prepared by these commands of the shell, with and without the shim."""
    settings = {"hz": 997, "listen": "127.0.0.1:%d" % free_ports()}
    with_shim = scene.shim_environment(dir=None if directory is DEFAULT_DIRECTORY else directory or scene.session_dir, **settings)
    with_shim.pop("XDG_RUNTIME_DIR", None)
    library = with_shim.pop("LD_PRELOAD")
    results = []
    for preload in ("", "export LD_PRELOAD=%s; " % library):
        argv = ["unshare", "-m", "sh", "-c", "%s; %sexec \"$@\"" % (prepare or ":", preload), "sh", *BUSY]
        results.append(scene.run(argv, environment=with_shim, cwd="/"))
    plain, shown = results
    told = shown.stderr.decode().splitlines()
    scene.say("%s: %s" % (what, told))
    scene.equal(what, (shown.returncode, shown.stdout), (plain.returncode, plain.stdout))
    scene.equal("%s: lines" % what, len(told) - len(plain.stderr.splitlines()), lines)
    scene.check("%s: what they tell" % what, all(line.startswith("profshim: ") and hint in line for line in told), told)


@test
def without_proc(scene):
    run_in(scene, "no /proc", "umount -l /proc", lines=1, hint="/proc")
    told = scene.profshim("report", "--view=metrics")
    scene.check("samples all the same", any(line.startswith("profshim_samples_total") and float(line.split()[1]) > 20
                                            for line in told.splitlines()), told[:500])


@test
def with_proc_that_hides_processes(scene):
    run_in(scene, "hidepid=2", "umount -l /proc; mount -t proc -o hidepid=2 proc /proc")


NO_PLACE = {  # what is wrong: how that is made, and what is told of it
    "no /dev/shm": ("mount -t tmpfs tmpfs /dev; mknod -m 666 /dev/null c 1 3", "cannot hold the session"),
    "/dev/shm full": ("mount -t tmpfs -o size=1m tmpfs /dev/shm", "No space left"),
    "all is read-only": ("mount -o remount,ro,bind /dev/shm; mount -o remount,ro,bind /", "Read-only"),
}


@test
def without_a_place_the_session_is_served_all_the_same(scene):
    for what, (prepare, _) in NO_PLACE.items():
        port = free_ports()
        environment = scene.shim_environment(dir=None, hz=997, listen="127.0.0.1:%d" % port)
        environment.pop("XDG_RUNTIME_DIR", None)
        command = "%s; export LD_PRELOAD=%s; exec \"$@\"" % (prepare, environment["LD_PRELOAD"])
        program = scene.start(["unshare", "-m", "sh", "-c", command, "sh", "/usr/bin/python3", "-c", "while True: pass"],
                              re.sub(r"\W", "-", what), environment=environment, is_preloaded=False)
        program.profiler_port = port
        program.wait_ready()
        metrics = program.metrics_when(lambda metrics: metrics.sum("profshim_samples_total") > 20)
        scene.at_least("samples, %s" % what, metrics.sum("profshim_samples_total"), 21)
        program.kill_all()


@test
def without_a_place_for_the_session(scene):
    for what, (prepare, told) in NO_PLACE.items():
        run_in(scene, what, prepare, DEFAULT_DIRECTORY, 1, told)
    scene.write("file", "text")
    os.mkdir(scene.path("others"), 0o700)
    os.chown(scene.path("others"), 54321, 54321)
    os.symlink(scene.session_dir, scene.path("link"))
    os.lchown(scene.path("link"), 54321, 54321)
    for name, why in (("none/such", "No such file"), ("file", "not a directory"), ("others", "another user"),
                      ("link", "not a directory")):
        run_in(scene, name, "", scene.path(name), 1, why)
    scene.equal("sessions behind the link", scene.sessions(), [])


@test
def without_anything_in_the_environment(scene):
    plain, shown = (scene.run(["env", "-i", *preload, *BUSY], shim=False)
                    for preload in ([], ["LD_PRELOAD=" + scene.library, "PROFSHIM_LISTEN=off", "PROFSHIM_DIR=" + scene.session_dir]))
    scene.equal("result", (shown.returncode, shown.stdout, shown.stderr), (plain.returncode, plain.stdout, plain.stderr))


# --- a file system that fills up afterwards

FILLING = """
import os, time
text = bytes(1 << 20)
count = 0
with open("/dev/shm/filler", "wb", buffering=0) as file:
    try:
        while True:
            count += file.write(text)
    except OSError as error:
        print("full", error.errno, flush=True)
def deep(n):
    return deep(n - 1) + 1 if n else sum(i * i for i in range(2000))
total = 0
end = time.monotonic() + 2
numbers = {}
while time.monotonic() < end:
    for n in range(60):
        total += deep(n)
        exec("def f%d(x): return sum(range(x))" % n, numbers)
        numbers["f%d" % n](500)
print("went on", total > 0, flush=True)
"""


@test
def where_the_memory_of_the_session_is_used_up_by_others(scene):
    script = scene.write("filling.py", FILLING)
    for size in ("64m", "300m"):
        environment = scene.shim_environment(hz=997, dir=None, listen="127.0.0.1:%d" % free_ports())
        environment.pop("XDG_RUNTIME_DIR", None)
        library = environment.pop("LD_PRELOAD")
        # The time that a program takes to begin.
        command = "mount -t tmpfs -o size=%s tmpfs /dev/shm; export LD_PRELOAD=%s; exec python3 -c \"%s\"" % (
            size, library, "import time; time.sleep(0.5); exec(open('%s').read())" % script)
        result = scene.run(["unshare", "-m", "sh", "-c", command], environment=environment)
        scene.equal("with %s" % size, (result.returncode, result.stdout), (0, b"full 28\nwent on True\n"))
        scene.equal("stderr", result.stderr, b"")


# --- standard streams that are not there

# Makes a pipe, a socket or a file, and then does what we tell in a line: forbids itself a system call of ours.
STREAMS = """
import ctypes, os, socket, struct, sys
kind, found = sys.argv[1:]
if kind == "pipe":
    read_end, write_end = os.pipe()
elif kind == "socket":
    read_end, write_end = (end.detach() for end in socket.socketpair())
else:
    read_end = write_end = os.open(found + ".log", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
if kind == "named":
    os.dup2(write_end, 9)
    os.dup2(9, 2)
# Not in the way of what closed the standard streams: Python opens none.
lines = [(0x20, 0, 0, 0), (0x15, 0, 1, 222), (0x06, 0, 0, 0x50000), (0x06, 0, 0, 0x7fff0000)]
text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
class Program(ctypes.Structure):
    _fields_ = [("count", ctypes.c_ushort), ("lines", ctypes.c_void_p)]
libc = ctypes.CDLL(None)
failed = libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(Program(len(lines), ctypes.addressof(text))), 0, 0)
if kind in ("pipe", "socket"):
    os.set_blocking(read_end, False)
    try:
        seen = os.read(read_end, 4096)
    except BlockingIOError:
        seen = b""
else:
    seen = os.pread(read_end, 4096, 0)
with open(found, "w") as file:
    print(kind, read_end, write_end, failed, seen, file=file)
"""


def descriptors_with(scene, kind, closed, shim):
    """What the program found, and its stderr."""
    settings = {"hz": 99, "listen": "127.0.0.1:%d" % free_ports()} if shim else {}
    found = scene.path("found-%s-%s" % (kind, shim))
    argv = ["sh", "-c", "exec \"$@\" " + closed, "sh", "python3", scene.write("streams.py", STREAMS), kind, found]
    result = scene.run(argv, shim=shim, **settings)
    scene.equal("exit code", result.returncode, 0)
    with open(found) as file:
        return file.read(), result.stderr.decode()


@test
def a_descriptor_that_has_become_number_two_is_not_written_to(scene):
    # A pipe has the number in its read end or its write end.
    for closed in ("<&- 2>&-", ">&- 2>&-", "2>&-", "<&- >&- 2>&-"):
        for kind in ("pipe", "socket", "file"):
            plain, shown = (descriptors_with(scene, kind, closed, shim)[0] for shim in (False, True))
            scene.equal("what came by a %s with %s" % (kind, closed), shown, plain)
    for kind in ("pipe", "file"):
        found, told = descriptors_with(scene, kind, "", True)
        scene.check("nothing came by the %s" % kind, found.endswith("b''\n"), found)
        scene.check("stderr got the line", "seccomp" in told, told)
    found, _ = descriptors_with(scene, "named", "2>&-", True)
    scene.check("what the program itself makes its stderr gets the line", "seccomp" in found, found)


# --- limits

def limited(name, amount):
    number = {"SIGPENDING": 11}.get(name) or getattr(resource, "RLIMIT_" + name)
    return lambda: resource.setrlimit(number, (amount, amount))


@test
def under_limits_the_program_has_what_it_has_without_us(scene):
    # Takes memory until there is no more, and says how much that was; the library itself takes a little.
    script = """
import mmap
pieces = []
try:
    while len(pieces) < 4000:
        pieces.append(mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
except OSError as error:
    print(error.errno)
print(len(pieces) %s)
"""
    for name, mebibytes, slack in (("AS", 40, 6), ("AS", 100, 6), ("AS", 600, 6), ("DATA", 8, 2), ("DATA", 30, 2), ("DATA", 200, 2)):
        taken = []
        for shim in (False, True):
            environment = scene.shim_environment(hz=997) if shim else scene.plain_environment()
            result = scene.run(["/usr/bin/python3", "-c", script % ""], environment=environment, preexec=limited(name, mebibytes << 20))
            scene.equal("exit code", result.returncode, 0)
            taken.append(result.stdout.split())
        scene.equal("errno", taken[1][:-1], taken[0][:-1])
        scene.at_least("mebibytes to be had under RLIMIT_%s of %d" % (name, mebibytes), int(taken[1][-1]), int(taken[0][-1]) - slack)
        scene.equal("lines", [line[:10] for line in result.stderr.decode().splitlines()], ["profshim: "])
    for name, amount in (("FSIZE", 0), ("FSIZE", 1 << 20), ("MEMLOCK", 0), ("NOFILE", 4), ("SIGPENDING", 0), ("STACK", 1 << 20),
                         ("CORE", 0)):
        plain, shown = (scene.run(BUSY, shim=shim, preexec=limited(name, amount), **({"hz": 997, "listen": "127.0.0.1:0"} if shim else {}))
                        for shim in (False, True))
        scene.say("RLIMIT_%s %d: %s" % (name, amount, shown.stderr.decode().strip()))
        scene.equal("result", (shown.returncode, shown.stdout), (plain.returncode, plain.stdout))
        scene.at_most("lines", len(shown.stderr.splitlines()), 1)


@test
def timers_and_queued_signals_have_the_room_that_they_would_have(scene):
    user, places = 54322, 6
    prepare = scene.limited_user(user, resource.RLIMIT_SIGPENDING, places)
    found = "timers %d EAGAIN\nsignals %d EAGAIN\n" % (places, places)
    for shim in (False, True):
        result = scene.run([own_server("pending_places"), "4"], shim=shim, preexec=prepare, **({"hz": 997} if shim else {}))
        scene.equal("shim %s" % shim, (result.returncode, result.stdout.decode()), (0, found))
    lines = result.stderr.decode().splitlines()
    scene.equal("lines, and those about it", (len(lines), len([line for line in lines if "RLIMIT_SIGPENDING" in line])), (1, 1))


# Another user for each, since a task counts for a little while after its end.
TASKS = """
import os, resource, sys, threading, time
way, user = sys.argv[1], int(sys.argv[2])
os.setgid(user)
os.setuid(user)
time.sleep(0.5)
resource.setrlimit(resource.RLIMIT_NPROC, (6, 6))
made = []
stop = threading.Event()
try:
    while len(made) < 20:
        if way == "threads":
            thread = threading.Thread(target=stop.wait, daemon=True)
            thread.start()
            made.append(thread)
        elif way == "forks":
            child = os.fork()
            if child == 0:
                time.sleep(60)
                os._exit(0)
            made.append(child)
        else:
            made.append(os.posix_spawn("/bin/sleep", ["sleep", "60"], {}))
except (OSError, RuntimeError) as error:
    print(way, len(made), error, flush=True)
stop.set()
for child in made if way != "threads" else []:
    os.kill(child, 9)
    os.waitpid(child, 0)
print("done", flush=True)
"""


@test
def our_thread_takes_no_place_of_a_limited_number_of_them(scene):
    script = scene.write("tasks.py", TASKS)
    for number, way in enumerate(("threads", "forks", "spawns")):
        plain, shown = (scene.run(["/usr/bin/python3", script, way, str(54321 + 2 * number + shim)], shim=shim,
                                  **({"hz": 997, "dir": None, "listen": "127.0.0.1:%d" % free_ports()} if shim else {}))
                        for shim in (False, True))
        scene.say(shown.stderr.decode())
        scene.equal("result", (shown.returncode, shown.stdout), (plain.returncode, plain.stdout))
        scene.equal("others' lines", [line for line in shown.stderr.decode().splitlines() if not line.startswith("profshim: ")], [])
        scene.at_most("lines", len(shown.stderr.splitlines()), 1)


# --- a limit of the control group

MIB = 1 << 20
# What profshim may take besides pages of the session: private memory (test_memory.py) with one thread more, and what the
# kernel keeps for it, as page tables, its thread's stack, sockets and timers; and while one looks, what a view takes of a
# small call tree.
PRIVATE_BYTES, KERNEL_BYTES, VIEW_BYTES = MIB + 2 * 16 * 1024, MIB // 2, MIB
SESSION_MIB = 4  # PROFSHIM_MEMORY
LOOKS = ("/metrics", "/report", "/self", "/folded", "/report?format=json&top=0")


class MemoryGroup:
    """A control group, of whichever hierarchy has the controller of memory."""

    def __init__(self):
        for parent, self.limit_file, self.peak_file, self.events_file in (
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control"),
                ("/sys/fs/cgroup", "memory.max", "memory.peak", "memory.events")):
            self.folder = os.path.join(parent, "profshim-test-%d" % os.getpid())
            try:
                os.mkdir(self.folder)
            except OSError:
                continue
            if os.path.exists(os.path.join(self.folder, self.limit_file)):
                return
            os.rmdir(self.folder)
        raise Failure("no control group for memory can be made")

    def _read(self, name):
        with open(os.path.join(self.folder, name)) as file:
            return file.read()

    def limit(self, count):
        with open(os.path.join(self.folder, self.limit_file), "w") as file:
            file.write(str(count))

    def peak(self):
        return int(self._read(self.peak_file))

    def kills(self):
        return int(next(line.split()[1] for line in self._read(self.events_file).splitlines() if line.startswith("oom_kill ")))

    def forbid_swap(self):
        for name in ("memory.swappiness", "memory.swap.max"):
            if os.path.exists(os.path.join(self.folder, name)):
                with open(os.path.join(self.folder, name), "w") as file:
                    file.write("0")

    def enter(self):
        """In a process between fork and exec."""
        with open(os.path.join(self.folder, "cgroup.procs"), "w") as file:
            file.write(str(os.getpid()))

    def remove(self):
        wait_until(lambda: not self._read("cgroup.procs"), 5, "the group being empty")
        os.rmdir(self.folder)


LARGE = """
import sys, time
kept = bytearray(b"x") * int(sys.argv[1])
end = time.process_time() + 0.5
rounds = 0
while time.process_time() < end:
    for n in range(100):
        exec("def f%d(x): return sum(range(x))" % n)
        eval("f%d(300)" % n)
    rounds += 1
print("ready", flush=True)
sys.stdin.read()
print(len(kept), rounds > 0)
"""


def run_in_group(scene, limit_bytes, kept_bytes, directory=None):
    """((exit code, stdout, stderr), the most that the group had, kills for want of memory), with profshim if directory, where
    its session is, is given. Then it is looked at, too."""
    reading_end, writing_end = os.pipe()
    settings = {"hz": 997, "dir": directory, "memory": "%dM" % SESSION_MIB} if directory else {}
    group = MemoryGroup()
    try:
        group.limit(limit_bytes)
        group.forbid_swap()
        program = scene.start(["/usr/bin/python3", "-c", LARGE, str(kept_bytes)], shim=bool(directory), stdin=reading_end,
                              preexec=group.enter, **settings)
        os.close(reading_end)
        wait_until(lambda: "ready" in program.stdout() or not program.is_running(), 60, "its work being done")
        for path in LOOKS if directory and program.is_running() else ():
            program.get_ok(path)
        os.close(writing_end)
        code = program.wait(30)
        return (code, program.stdout(), program.stderr()), group.peak(), group.kills()
    finally:
        for left in scene.programs:
            left.kill_all()
        group.remove()


@test
def under_a_control_groups_limit_of_memory(scene):
    """The limit is what the program needs by itself, and what profshim may take besides. The session is where it is by
    default, in shared memory: its pages are on the account of who touches them first, and cannot be written out."""
    kept, ample, allowance = 40 * MIB, 400 * MIB, PRIVATE_BYTES + KERNEL_BYTES + VIEW_BYTES + SESSION_MIB * MIB
    run_in_group(scene, ample, kept)  # what it reads of files is on somebody else's account from then on
    plain, needed, _ = run_in_group(scene, ample, kept)
    scene.say("needed without profshim: %d KiB; allowed besides: %d KiB" % (needed / 1024, allowance / 1024))
    directory = tempfile.mkdtemp(prefix="profshim-test-", dir="/dev/shm")
    try:
        shown, peak, kills = run_in_group(scene, needed + allowance, kept, directory)
    finally:
        shutil.rmtree(directory)
    scene.say("at most %d KiB of %d KiB" % (peak / 1024, (needed + allowance) / 1024))
    # Where there is no room for the rules by which code is left, that is said of each module.
    told = "".join(line for line in shown[2].splitlines(True) if "no room for the unwind table" not in line)
    scene.equal("result, and kills for want of memory", ((*shown[:2], told), kills), (plain, 0))
    *_, kills = run_in_group(scene, needed + allowance, kept + allowance + MIB)
    scene.equal("kills of a program that needs a mebibyte more by itself", kills, 1)


if __name__ == "__main__":
    run_tests()
