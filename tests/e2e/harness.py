"""harness - starts real programs under the shim, asks profshim what it saw, and says what was measured.

A test is a function with @test; it gets a Scene: a directory of its own, programs that are started under the shim and
are certainly gone afterwards, and checks that print the measured figure beside its bound. A file of tests ends with
run_tests(), which prints TAP. By hand, from anywhere:

    tests/e2e/test_nginx.py [-k] [WORDS...]     only tests whose name contains one of the words; -k keeps the directories

The build under test is build/ in the tree, or $PROFSHIM_BUILD. Only Python's standard library is used.
"""
import ctypes
import http.client
import itertools
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import traceback

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("PROFSHIM_BUILD") or os.path.join(TREE, "build"))
SHIM = os.path.join(BUILD, "shim", "setup", "libprofshim.so")
EXPORTER = os.path.join(BUILD, "exporter", "serve", "libprofshim-exporter.so")
PROFSHIM = os.path.join(BUILD, "exporter", "cli", "profshim")
SERVERS = os.path.join(BUILD, "tests", "e2e", "servers")
FULL = bool(os.environ.get("PROFSHIM_TEST_FULL"))
# nginx and redis-server live in sbin, which ordinary users of Debian do not have in PATH.
PATH = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/local/sbin:/usr/sbin:/sbin"

PORTS = range(10000, 32000, 16)  # below the ports that the kernel gives to clients; steps of what profshim tries
KEPT_FILE_BYTES = 1 << 20        # of a failed test's directory, files up to this size are kept


class Failure(Exception):
    """A check did not hold; the message is the whole reason."""


def own_server(name):
    """Path of a program of tests/e2e/servers."""
    return os.path.join(SERVERS, name)


def requests_wanted(usual):
    """How many requests a test sends: usual, ten times that with --full, or $PROFSHIM_TEST_REQUESTS if fewer."""
    wanted = usual * 10 if FULL else usual
    return min(wanted, int(os.environ.get("PROFSHIM_TEST_REQUESTS") or wanted))


def wait_until(condition, seconds, what):
    """Polls until condition() is true and returns its value; Failure after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure("%s did not happen in %.1f s" % (what, seconds))
        time.sleep(0.02)


def can_connect(port, host="127.0.0.1"):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


claims = []  # sockets that say which blocks of ports are this process's, until it ends


def is_claimed(first):
    """Makes a block of ports this test's own; False if it is another's, or was claimed here before. What a test does
    with its ports comes later than its asking for them, so that being free is not enough; an abstract name (unix(7)) is
    one process's at a time and is gone with it, however it ends."""
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind("\0profshim-test-ports-%d" % first)
    except OSError:
        claim.close()
        return False
    claims.append(claim)
    return True


def are_free(ports):
    """For anybody: without SO_REUSEADDR what a former test's connections have still in TIME_WAIT is not free."""
    try:
        for port in ports:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        return True
    except OSError:
        return False


def free_ports():
    """First of a block of ports, of which the first three are free: one for a server, or for profshim and its next."""
    for first in random.sample(PORTS, len(PORTS)):
        if is_claimed(first) and are_free(range(first, first + 3)):
            return first
    raise Failure("none of the %d blocks of ports is left" % len(PORTS))


def open_files(pid):
    """What the descriptors of a process lead to, by the links in /proc: those of each table that its threads have, since
    profshim's has one of its own. A file in a table that threads share comes once. OSError: it is gone, or another's."""
    tables = set()
    for task in os.listdir("/proc/%s/task" % pid):
        folder = "/proc/%s/task/%s/fd" % (pid, task)
        try:
            tables.add(frozenset((number, _link(os.path.join(folder, number))) for number in os.listdir(folder)))
        except FileNotFoundError:
            continue  # the thread has ended meanwhile
    return [link for table in tables for _, link in table]


def _link(path):
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return ""  # closed meanwhile


def listening_pids(port):
    """Processes that hold a socket listening on this port of 127.0.0.1, from /proc: no word of profshim's own."""
    address = "0100007F:%04X" % port
    inodes = set()
    with open("/proc/net/tcp") as table:
        for line in table:
            fields = line.split()
            if fields[1] == address and fields[3] == "0A":
                inodes.add("socket:[%s]" % fields[9])
    pids = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if inodes.intersection(open_files(pid)):
                pids.add(int(pid))
        except OSError:
            continue  # it ended meanwhile, or is another user's
    return pids


def living_of_group(group):
    """Processes of a process group that are not dead: zombies that nobody has waited for yet are."""
    pids = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid) as file:
                state, _, its_group = file.read().rpartition(")")[2].split()[:3]  # proc(5)
        except OSError:
            continue  # it ended meanwhile
        if int(its_group) == group and state not in "ZX":
            pids.append(int(pid))
    return pids


def children_of(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as children:
        return [int(child) for child in children.read().split()]


def adopt_orphans():
    """Daemons, whose parents end, become children of this process, and so cannot get lost (PR_SET_CHILD_SUBREAPER)."""
    ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0)


def kill_children():
    """SIGKILLs what is left of this process's children, and what they leave behind, and so on."""
    while children_of(os.getpid()):
        for pid in children_of(os.getpid()):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


class Metrics:
    """A Prometheus text, taken apart strictly: what does not fit the format is a Failure."""

    SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$")
    LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|$)')
    ESCAPES = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}

    def __init__(self, text):
        self.text = text
        self.types, self.samples = {}, []
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, family, kind = line.split(" ", 3)
                self.types[family] = kind
            elif line and not line.startswith("#"):
                self.samples.append(self._sample(line))

    def _sample(self, line):
        match = self.SAMPLE.match(line)
        if not match:
            raise Failure("no sample of the Prometheus text format: %r" % line)
        name, labels, value = match.groups()
        found = list(self.LABEL.finditer(labels or ""))
        if "".join(label.group(0) for label in found) != (labels or ""):
            raise Failure("labels that are not of the Prometheus text format: %r" % line)
        unescape = lambda text: re.sub(r"\\.", lambda escape: self.ESCAPES[escape.group(0)], text)
        return name, {label.group(1): unescape(label.group(2)) for label in found}, float(value)

    def matching(self, name, **wanted):
        for sample, labels, value in self.samples:
            if sample == name and all(labels.get(key) == text for key, text in wanted.items()):
                yield labels, value

    def sum(self, name, **wanted):
        """Sum of all samples of that name that carry these labels; 0 if there is none."""
        return sum(value for _, value in self.matching(name, **wanted))

    def by(self, name, *keys, **wanted):
        """{values of the labels keys: sum}, without those that are 0; a plain string where there is one key."""
        sums = {}
        for labels, value in self.matching(name, **wanted):
            group = tuple(labels.get(key, "") for key in keys)
            group = group[0] if len(keys) == 1 else group
            sums[group] = sums.get(group, 0) + value
        return {group: value for group, value in sums.items() if value}


class Answer:
    """What a GET of profshim gave."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        self.text = body.decode("utf-8")


class Program:
    """A program that was started in a session of its own, with what it writes kept in files."""

    def __init__(self, scene, name, argv, environment, profiler_port, stdin, preexec=None):
        self.scene, self.name, self.argv, self.profiler_port = scene, name, argv, profiler_port
        self.stdout_path = os.path.join(scene.dir, name + ".stdout")
        self.stderr_path = os.path.join(scene.dir, name + ".stderr")
        with open(self.stdout_path, "wb") as stdout, open(self.stderr_path, "wb") as stderr:
            self.process = subprocess.Popen(argv, env=environment, cwd=scene.dir, start_new_session=True,
                                            stdin=stdin, stdout=stdout, stderr=stderr, preexec_fn=preexec)
        self.pid = self.process.pid

    def stdout(self):
        with open(self.stdout_path, errors="replace") as stdout:
            return stdout.read()

    def stderr(self):
        with open(self.stderr_path, errors="replace") as stderr:
            return stderr.read()

    def is_running(self):
        return self.process.poll() is None

    def need_running(self):
        if not self.is_running():
            raise Failure("%s ended with code %d; its stderr ends with: %s"
                          % (self.name, self.process.returncode, self.stderr()[-500:] or "nothing"))

    def wait_for_port(self, port, seconds=10):
        def is_up():
            self.need_running()
            return can_connect(port)
        wait_until(is_up, seconds, "%s listening on port %d" % (self.name, port))

    def wait_for_output(self, text, seconds=60):
        def has_come():
            if text in self.stdout():
                return True
            self.need_running()
            return False
        wait_until(has_come, seconds, "%s printing %r" % (self.name, text))

    def get(self, path, headers=None, method="GET"):
        """One request to profshim in this program."""
        connection = http.client.HTTPConnection("127.0.0.1", self.profiler_port, timeout=30)
        try:
            connection.request(method, path, headers=headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get_ok(self, path, headers=None):
        answer = self.get(path, headers)
        if answer.status != 200:
            raise Failure("GET %s gave %d: %s" % (path, answer.status, answer.text[:200]))
        return answer

    def is_ready(self):
        try:
            return self.get("/-/ready").status == 200
        except OSError:
            return False

    def wait_ready(self, seconds=10):
        """Until profshim in it answers."""
        wait_until(self.is_ready, seconds, "/-/ready of %s on port %s (stderr: %s)"
                   % (self.name, self.profiler_port, self.stderr()[-300:] or "nothing"))

    def wait_for_tables(self, seconds=20):
        """Until stacks are walked by unwind tables everywhere: before that, walks end early in code without frame pointers."""
        def all_are_made():
            modules = self.json("/self")["modules"]
            return modules and all(not module["unwind"]["by"].startswith("frame pointers until") for module in modules)
        self.wait_ready(seconds)
        wait_until(all_are_made, seconds, "the unwind tables of " + self.name)

    def metrics(self):
        return Metrics(self.get_ok("/metrics").text)

    def json(self, path):
        return json.loads(self.get_ok(path).text)

    def metrics_when(self, condition, seconds=5):
        """The first metrics for which condition(metrics) holds; the last ones when that did not come."""
        deadline = time.monotonic() + seconds
        while True:
            metrics = self.metrics()
            if condition(metrics) or time.monotonic() > deadline:
                return metrics
            time.sleep(0.05)

    def send_signal(self, number):
        self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM, seconds=15):
        """Asks it to end and returns its exit code, negative for a signal as in subprocess."""
        self.send_signal(number)
        return self.wait(seconds)

    def wait(self, seconds=60):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure("%s did not end in %d s" % (self.name, seconds)) from None

    def kill_all(self):
        """SIGKILLs what is left of its process group. The names of those that survive that."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        deadline = time.monotonic() + 5
        while living_of_group(self.pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        return ["%s (process %d)" % (self.name, pid) for pid in living_of_group(self.pid)]


class Scene:
    """What a test has at hand. Everything that it starts is gone when the test ends, however it ends."""

    def __init__(self, name):
        self.dir = tempfile.mkdtemp(prefix="profshim-test-")
        # Workers of a server that gives up root must reach what it serves.
        os.chmod(self.dir, 0o755)
        self.library = SHIM  # what is preloaded
        self.session_dir = os.path.join(self.dir, "session")
        os.mkdir(self.session_dir, 0o700)
        self.programs = []
        self.name = name

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def sessions(self):
        """Names of the files of sessions that there are now."""
        return [name for name in os.listdir(self.session_dir) if name.endswith(".seg")]

    def write(self, name, text, mode=0o644):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        os.chmod(path, mode)
        return path

    def limited_user(self, user, limit, amount):
        """A preexec, by which the program is that user's, who is allowed so much of limit (resource.RLIMIT_...) in all."""
        os.chown(self.session_dir, user, user)

        def become():
            resource.setrlimit(limit, (amount, amount))
            os.setgid(user)
            os.setuid(user)
        return become

    def plain_environment(self):
        """The caller's environment without anything of profshim's, and without what meson adds for its tests."""
        foreign = ("LD_PRELOAD", "LD_LIBRARY_PATH", "MALLOC_PERTURB_", "OTEL_SERVICE_NAME")
        environment = {key: value for key, value in os.environ.items()
                       if not key.startswith("PROFSHIM") and key not in foreign}
        environment.update(PATH=PATH, LC_ALL="C")
        return environment

    def shim_environment(self, **settings):
        """With the shim and these PROFSHIM_ variables: listen="off", hz=1000; None leaves one out. A rate that is asked for
        is kept to, whatever it costs."""
        budget = {"budget": 0} if "hz" in settings else {}
        environment = self.plain_environment()
        environment.update(LD_PRELOAD=self.library)
        for key, value in {"dir": self.session_dir, "listen": "off", **budget, **settings}.items():
            if value is not None:
                environment["PROFSHIM_" + key.upper()] = str(value)
        return environment

    def start(self, argv, name=None, shim=True, run_by=None, stdin=subprocess.DEVNULL, environment=None,
              preexec=None, is_preloaded=True, **settings):
        """Starts a program that runs on, under the shim with profshim on a free port unless told otherwise. run_by: path
        of a profshim program, whose `run` starts it instead of LD_PRELOAD. is_preloaded: False = argv itself sees to that."""
        port = free_ports() if shim else None
        settings.setdefault("listen", "127.0.0.1:%s" % port)
        if environment is None:
            environment = self.shim_environment(**settings) if shim else self.plain_environment()
        if not is_preloaded:
            environment.pop("LD_PRELOAD", None)
        name = name or "%s-%d" % (os.path.basename(argv[0]), len(self.programs))
        if run_by:
            environment = self.profshim_environment(**settings)
            argv = [run_by, "run", "--", *argv]
        program = Program(self, name, argv, environment, port, stdin, preexec)
        self.programs.append(program)
        return program

    def run(self, argv, shim=True, stdin=b"", timeout=120, cwd=None, preexec=None, environment=None, **settings):
        """Runs a program to its end; a subprocess.CompletedProcess with bytes."""
        if environment is None:
            environment = self.shim_environment(**settings) if shim else self.plain_environment()
        return subprocess.run(argv, env=environment, cwd=cwd or self.dir, input=stdin, timeout=timeout,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=preexec)

    def run_ok(self, argv, **how):
        """As run, of a tool that must succeed; its output as text."""
        result = self.run(argv, **how)
        if result.returncode:
            raise Failure("%s ended with code %d: %s"
                          % (" ".join(argv), result.returncode, (result.stderr or result.stdout)[-500:].decode()))
        return result.stdout.decode()

    def profshim_environment(self, **settings):
        """For the profshim program: the scene's sessions, no shim."""
        environment = self.shim_environment(**settings)
        del environment["LD_PRELOAD"]
        return environment

    def profshim(self, *arguments, **how):
        """The profshim program on the scene's sessions; must succeed; its output."""
        return self.run_ok([PROFSHIM, *arguments], environment=self.profshim_environment(), **how)

    # What was measured, and checks on it.

    def say(self, text):
        for line in str(text).splitlines():
            print("# " + line, flush=True)

    def check(self, what, is_true, detail=""):
        if not is_true:
            raise Failure("%s: not so%s" % (what, ": %s" % detail if detail else ""))

    def equal(self, what, got, wanted):
        """Exactly. Of two tables the entries that differ are told, of two texts the first line that does."""
        if got != wanted:
            if isinstance(got, dict) and isinstance(wanted, dict):
                differing = [key for key in sorted(set(got) | set(wanted), key=str) if got.get(key) != wanted.get(key)]
                told = "; ".join("%s: %s, expected %s" % (key, got.get(key), wanted.get(key)) for key in differing[:12])
            elif isinstance(got, str) and isinstance(wanted, str) and "\n" in got + wanted:
                lines = itertools.zip_longest(got.splitlines(), wanted.splitlines())
                told = "%r, expected %r" % next(((a, b) for a, b in lines if a != b), ("other line ends", ""))
            else:
                told = "%.600r, expected %.600r" % (got, wanted)
            raise Failure("%s: %s" % (what, told))
        self.say("%s: %s, as expected" % (what, "%d entries" % len(got) if isinstance(got, dict) else repr(got)[:100]))

    def within(self, what, got, wanted, tolerance, unit=""):
        told = "%s: %.2f%s, expected %.2f%s +- %.2f" % (what, got, unit, wanted, unit, tolerance)
        if not abs(got - wanted) <= tolerance:
            raise Failure(told)
        self.say(told)

    def at_least(self, what, got, bound, unit=""):
        told = "%s: %.6g%s, expected at least %.6g" % (what, got, unit, bound)
        if not got >= bound:
            raise Failure(told)
        self.say(told)

    def at_most(self, what, got, bound, unit=""):
        told = "%s: %.6g%s, expected at most %.6g" % (what, got, unit, bound)
        if not got <= bound:
            raise Failure(told)
        self.say(told)

    def close(self, is_failed, keep):
        """Ends all programs; what survived SIGKILL. A failed test's small files stay in the build directory."""
        survivors = [left for program in self.programs for left in program.kill_all()]
        kill_children()
        if is_failed:
            self.keep_files()
        if keep:
            self.say("kept: " + self.dir)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)
        return survivors

    def keep_files(self):
        kept = os.path.join(BUILD, "tests", "e2e", "failed", self.name)
        shutil.rmtree(kept, ignore_errors=True)

        def others(folder, names):
            return [name for name in names if not _is_worth_keeping(os.path.join(folder, name))]
        shutil.copytree(self.dir, kept, ignore=others, symlinks=True)
        self.say("its files: " + kept)


def _is_worth_keeping(path):
    status = os.lstat(path)
    return stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_size <= KEPT_FILE_BYTES)


TABLE_ROW = re.compile(r"^ *\d+\+?(/\d+\+?)?( +\d+\.\d+){4} +\S")


def report_functions(text):
    """{function: row} of a report's table: ncalls, primitive, tottime, cumtime; a function is what stands in the
    parentheses of filename:lineno(function), or {call}. Of two rows of one name the first, larger one."""
    rows, is_table = {}, False
    for line in text.splitlines():
        fields = line.split(None, 5)
        if fields[:5] == ["ncalls", "tottime", "percall", "cumtime", "percall"]:
            is_table = True
        elif is_table and len(fields) == 6 and TABLE_ROW.match(line):
            name = re.search(r"\(([^()]*)\)$", fields[5])
            total, _, primitive = fields[0].replace("+", "").partition("/")
            row = {"ncalls": int(total), "primitive": int(primitive or total), "tottime": float(fields[1]),
                   "cumtime": float(fields[3]), "is_exact": "+" not in fields[0], "where": fields[5]}
            rows.setdefault(name.group(1) if name else fields[5], row)
    if not is_table:
        raise Failure("no table of functions in the report: %.300r" % text)
    return rows


_tests = []


def test(function):
    _tests.append(function)
    return function


def _run_one(function, keep):
    """None, or why it failed."""
    scene = Scene(function.__name__)
    reason = None
    try:
        function(scene)
    except Failure as failure:
        reason = str(failure)
    except Exception:  # anything that a test did not foresee is told in full
        reason = traceback.format_exc()
    finally:  # also when the whole run is told to end
        survivors = scene.close(reason is not None, keep)
    return reason or ("left running: %s" % ", ".join(survivors) if survivors else None)


def run_tests():
    arguments = sys.argv[1:]
    words = [argument for argument in arguments if argument != "-k"]
    chosen = [function for function in _tests if not words or any(word in function.__name__ for word in words)]
    # A SIGTERM, as by meson's timeout, must end the servers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    adopt_orphans()
    print("1..%d" % len(chosen), flush=True)
    failed_count = 0
    for number, function in enumerate(chosen, 1):
        title = function.__name__.replace("_", " ")
        print("# --- " + title, flush=True)
        began = time.monotonic()
        reason = _run_one(function, "-k" in arguments)
        for line in (reason or "").splitlines():
            print("# " + line)
        print("# took %.1f s" % (time.monotonic() - began))
        print("%sok %d - %s%s" % ("not " if reason else "", number, title,
                                  ": " + reason.splitlines()[-1].replace("#", "") if reason else ""), flush=True)
        failed_count += reason is not None
    sys.exit(1 if failed_count or not chosen else 0)
