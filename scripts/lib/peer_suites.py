"""peer_suites - test suites that others wrote: where each comes from, how one unit of it runs, what its verdicts are.

A suite is run unit by unit, each in a directory and a process group of its own. A unit holds tests; the suite tells
their verdicts out of what the unit wrote: "passed", "failed", "skipped" or what else the suite says. Debian's binaries
are what is tested; of Debian's source packages only the tests are built, once, in a cache directory below the build
directory.
"""
import glob
import itertools
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree

PATH = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/local/sbin:/usr/sbin:/sbin"  # redis-server is in sbin for some


class Unavailable(Exception):
    """A suite cannot be had here; the message is the whole reason."""


def program(name):
    """Path of a program of Debian's, never of what a user has put before it in PATH."""
    for folder in ("/usr/bin", "/usr/sbin", "/bin", "/sbin"):
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK):
            return path
    raise Unavailable("there is no %s in /usr/bin or /usr/sbin: scripts/install-deps test" % name)


def run_logged(argv, log, cwd=None):
    with open(log, "ab") as output:
        code = subprocess.call(argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    if code:
        with open(log, errors="replace") as output:
            tail = output.read()[-2000:]
        raise Unavailable("%s ended with code %d; all of its output is in %s, its end: %s" % (argv[0], code, log, tail))


def copy_as_links(source, target):
    """target becomes a folder with a link to each entry of source."""
    os.makedirs(target, exist_ok=True)
    for entry in os.listdir(source):
        os.symlink(os.path.join(source, entry), os.path.join(target, entry))


class Sources:
    """Debian's source packages, by a list of sources made of the machine's own: nothing of the machine is changed, and
    none of it asks for rights."""

    def __init__(self, cache):
        self.dir = os.path.join(cache, "sources")
        self.log = os.path.join(self.dir, "apt.log")
        self.options = ["-o", "Dir::Etc::SourceList=" + os.path.join(self.dir, "sources.list"),
                        "-o", "Dir::Etc::SourceParts=/dev/null",
                        "-o", "Dir::State::Lists=" + os.path.join(self.dir, "lists"),
                        # apt drops root's rights for downloads, and its other user may not write here.
                        "-o", "APT::Sandbox::User=root"]
        self.releases = []

    def _update(self):
        if self.releases:
            return
        os.makedirs(os.path.join(self.dir, "lists", "partial"), exist_ok=True)
        targets = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(RELEASE) deb-src $(REPO_URI) $(RELEASE) $(COMPONENT)",
             "Created-By: Packages", "Origin: Debian"], stdout=subprocess.PIPE, text=True, check=True).stdout
        lines = sorted({line for line in targets.splitlines() if line})
        if not lines:
            raise Unavailable("apt knows no sources of Debian's: apt-get update")
        self.releases = sorted({line.split(" ", 1)[0] for line in lines})
        with open(os.path.join(self.dir, "sources.list"), "w") as sources:
            sources.writelines(line.split(" ", 1)[1] + "\n" for line in lines)
        run_logged(["apt-get", *self.options, "-q", "update"], self.log)

    def unpack(self, package, target):
        """The newest source package that can be had, patched as Debian builds it; target must not exist."""
        self._update()
        refusals = []
        # A mirror may list what it no longer holds: then an older release has it.
        for wanted in [package] + ["%s/%s" % (package, release) for release in self.releases]:
            try:
                run_logged(["apt-get", *self.options, "-q", "source", "--download-only", wanted], self.log, self.dir)
                break
            except Unavailable as refusal:
                refusals.append(refusal)
        else:
            raise refusals[-1]
        newest = max(glob.glob(os.path.join(self.dir, package + "_*.dsc")), key=os.path.getmtime)
        run_logged(["dpkg-source", "--no-check", "-x", newest, target], self.log)


class Suite:
    name = None
    limit_seconds = 600  # of one unit
    listen = "off"       # PROFSHIM_LISTEN; the other suites have a server that serves
    is_short = False     # some of its units are in the short form
    is_alone = False     # no two runs at a time: its tests use fixed ports

    def __init__(self, cache, sources):
        self.cache, self.sources = os.path.join(cache, self.name), sources

    def prepare(self):
        """Fetches and builds once. A directory that was not finished is made anew."""
        finished = os.path.join(self.cache, "finished")
        if not os.path.exists(finished):
            shutil.rmtree(self.cache, ignore_errors=True)
            os.makedirs(self.cache)
            self.build()
            open(finished, "w").close()

    def build(self):
        pass

    def units(self, quick):
        raise NotImplementedError

    def command(self, unit, directory, quick, only=None):
        """(argv, cwd, environment) that runs a unit in an empty directory; only: no test but this, where that can be
        asked for."""
        raise NotImplementedError

    def verdicts(self, unit, directory, output):
        raise NotImplementedError


class CPython(Suite):
    """Debian's libpython3.11-testsuite by its own runner."""
    name = "cpython"
    is_short = True
    listen = "127.0.0.1:0"
    MODULES = ("test_signal", "test_threading", "test_subprocess", "test_selectors", "test_select", "test_poll",
               "test_epoll", "test_os", "test_posix", "test_fork1", "test_wait3", "test_faulthandler", "test_ssl",
               "test_eintr", "test_threadsignals", "test_socket", "test_asyncio", "test_pty", "test_popen",
               "test_fcntl", "test_multiprocessing_fork", "test_concurrent_futures", "test_ctypes", "test_mmap",
               "test_resource")
    QUICK = ("test_signal", "test_selectors", "test_select", "test_poll", "test_epoll", "test_posix", "test_fork1",
             "test_wait3")
    # Left out of the short form: two seconds and more each.
    LONG = ("*Stress*", "*test_itimer_virtual", "*test_itimer_prof", "*test_keyboard_interrupt_exit_code",
            "*test_select_interrupt_noraise")

    def build(self):
        python = program("python3.11")
        if subprocess.call([python, "-c", "import test.test_signal"], stderr=subprocess.DEVNULL):
            raise Unavailable("%s has no test suite (libpython3.11-testsuite): scripts/install-deps test" % python)

    def units(self, quick):
        return self.QUICK if quick else self.MODULES

    def command(self, unit, directory, quick, only=None):
        argv = [program("python3.11"), "-m", "test", "-v", "--junit-xml", os.path.join(directory, "results.xml"), unit]
        if quick:
            argv += [word for pattern in self.LONG for word in ("-i", pattern)]
        return argv + (["-m", only] if only else []), directory, {}

    # test_x (test.test_signal.PosixTests.test_x) ... ok         where no XML came, since the interpreter crashed
    VERBOSE = re.compile(r"^\w+ \((test\.[\w.]+)\)(.*?)(?= \(test\.[\w.]+\)|\Z)", re.MULTILINE | re.DOTALL)
    WORD = re.compile(r" \.\.\. .*?(ok|FAIL|ERROR|skipped|expected failure|unexpected success)\b", re.DOTALL)

    def verdicts(self, unit, directory, output):
        try:
            cases = xml.etree.ElementTree.parse(os.path.join(directory, "results.xml")).iter("testcase")
        except (OSError, xml.etree.ElementTree.ParseError):
            return self._spoken(output)
        found = {}
        for case in cases:
            kinds = [child.tag for child in case if child.tag not in ("system-out", "system-err")]
            words = {"failure": "failed", "error": "failed"}
            found[case.get("name")] = words.get(kinds[0], kinds[0]) if kinds else "passed"
        return found

    def _spoken(self, output):
        words = {"ok": "passed", "FAIL": "failed", "ERROR": "failed"}
        found = {}
        for match in self.VERBOSE.finditer(output):
            word = self.WORD.search(match.group(2))
            found[match.group(1)] = words.get(word.group(1), word.group(1)) if word else "began"
        return found


class Redis(Suite):
    """The Tcl suite of Debian's source package, against Debian's own programs."""
    name = "redis"
    listen = "127.0.0.1:0"
    limit_seconds = 900
    PROGRAMS = ("redis-server", "redis-cli", "redis-benchmark", "redis-check-aof", "redis-check-rdb")
    blocks = itertools.count(os.getpid())  # of ports: runs are at the same time, and servers of the last one may linger
    LEFT_OUT = ("unit/printver",)  # prints the version, tests nothing
    TLS = ("unit/tls",)  # tests nothing where the servers do not speak it
    # Draw what they test next, and name it after what they drew: all of one name but for numbers are one test.
    DRAWN = ("integration/psync2", "integration/psync2-reg")

    def build(self):
        program("tclsh")
        source = os.path.join(self.cache, "source")
        self.sources.unpack("redis", source)
        for name in self.PROGRAMS:
            os.symlink(program(name), os.path.join(source, "src", name))
        run_logged([program("sh"), "utils/gen-test-certs.sh"], os.path.join(self.cache, "build.log"), source)

    def units(self, quick):
        listed = subprocess.run(["./runtest", "--list-tests"], cwd=os.path.join(self.cache, "source"),
                                stdout=subprocess.PIPE, text=True, check=True).stdout.split()
        return [unit for unit in listed if unit not in self.LEFT_OUT]

    def command(self, unit, directory, quick, only=None):
        # The suite keeps its files in tests/tmp, so each run has a tree of its own.
        tree = os.path.join(directory, "redis")
        source = os.path.join(self.cache, "source")
        copy_as_links(source, tree)
        os.unlink(os.path.join(tree, "tests"))
        shutil.copytree(os.path.join(source, "tests"), os.path.join(tree, "tests"))
        port = 2400 + next(self.blocks) % 32 * 200  # and the 32 before it; below what the project's own tests use
        argv = [program("tclsh"), "tests/test_helper.tcl", "--single", unit, "--clients", "1", "--durable",
                "--timeout", "600", "--baseport", str(port), "--portcount", "200"]
        argv += ["--tls"] if unit in self.TLS else []
        return argv + (["--only", only] if only and unit not in self.DRAWN else []), tree, {}

    LINE = re.compile(r"^\S*\[(ok|err|exception|skip|ignore)\]\S*: (.*?)(?: \(\d+ ms\))?$")

    def verdicts(self, unit, directory, output):
        words = {"ok": "passed", "err": "failed", "exception": "failed", "skip": "skipped", "ignore": "skipped"}
        found = {}
        for line in re.sub("\x1b\\[[0-9;]*m", "", output).splitlines():
            match = self.LINE.match(line)
            if not match:
                continue
            name, verdict = re.sub(r" in tests/\S+\.tcl$", "", match.group(2)).strip(), words[match.group(1)]
            if unit in self.DRAWN:
                name = re.sub(r"(?<=#)\d+|(?<= = )\d+", "N", name)
                found[name] = verdict if found.get(name) != "failed" else "failed"
            else:
                numbered, number = name, 1
                while numbered in found:  # some names stand for several tests
                    number += 1
                    numbered = "%s #%d" % (name, number)
                found[numbered] = verdict
        return found


class LibUV(Suite):
    """libuv's tests, built over Debian's libuv.so.1."""
    name = "libuv"
    is_alone = True
    limit_seconds = 1200

    def build(self):
        source = os.path.join(self.cache, "source")
        self.sources.unpack("libuv1", source)
        listed = [path for path in glob.glob(os.path.join(source, "test", "*.c"))
                  if not re.search(r"benchmark|-win\.c|-win32", os.path.basename(path))]
        library = glob.glob("/usr/lib/*/libuv.so.1")
        if not library:
            raise Unavailable("there is no libuv.so.1: scripts/install-deps test")
        run_logged(["gcc", "-O1", "-w", "-D_GNU_SOURCE", "-DUSING_UV_SHARED=1", "-I", os.path.join(source, "include"),
                    "-I", os.path.join(source, "test"), "-o", os.path.join(self.cache, "uv_run_tests"), *sorted(listed),
                    library[0], "-pthread", "-ldl", "-lutil", "-lm"], os.path.join(self.cache, "build.log"))

    def units(self, quick):
        return ("all",)

    def command(self, unit, directory, quick, only=None):
        os.makedirs(os.path.join(directory, "test"))
        shutil.copytree(os.path.join(self.cache, "source", "test", "fixtures"),
                        os.path.join(directory, "test", "fixtures"))
        return [os.path.join(self.cache, "uv_run_tests")] + ([only] if only else []), directory, {"UV_RUN_AS_ROOT": "1"}

    LINE = re.compile(r"^(not ok|ok) \d+ - (\w+)( # SKIP)?", re.MULTILINE)

    def verdicts(self, unit, directory, output):
        return {name: "skipped" if skipped else {"ok": "passed", "not ok": "failed"}[word]
                for word, name, skipped in self.LINE.findall(output)}


class LibEvent(Suite):
    """libevent's regression tests over each backend; they look into the library, so it is built with them."""
    name = "libevent"
    BACKENDS = {"epoll": {}, "epoll-changelist": {"EVENT_EPOLL_USE_CHANGELIST": "yes"},
                "epoll-timerfd": {"EVENT_PRECISE_TIMER": "1"}, "poll": {"EVENT_NOEPOLL": "yes"},
                "select": {"EVENT_NOEPOLL": "yes", "EVENT_NOPOLL": "yes"}}
    PROGRAMS = ("test-eof", "test-closed", "test-weof", "test-time", "test-changelist", "test-fdleak", "test-dumpevents")

    def build(self):
        source, log = os.path.join(self.cache, "source"), os.path.join(self.cache, "build.log")
        self.sources.unpack("libevent", source)
        # Debian patches configure.ac: what is made of it comes with the package, and has to be the newer one.
        for made in ("aclocal.m4", "configure", "config.h.in", "Makefile.in"):
            os.utime(os.path.join(source, made))
        run_logged(["./configure", "--disable-shared", "--disable-dependency-tracking", "CFLAGS=-O1 -w"], log, source)
        run_logged(["make", "include/event2/event-config.h"], log, source)
        run_logged(["make", "-j2", "libevent.la", "libevent_core.la", "libevent_pthreads.la", "test/regress",
                    *("test/" + name for name in self.PROGRAMS)], log, source)

    def units(self, quick):
        return tuple(self.BACKENDS)

    def command(self, unit, directory, quick, only=None):
        binaries = os.path.join(self.cache, "source", "test")
        regress = [os.path.join(binaries, "regress")]
        if only:
            programs = [os.path.join(binaries, only)]
            return programs if only in self.PROGRAMS else regress + [only], directory, self.BACKENDS[unit]
        lines = ['%s/%s >%s.out 2>&1 && echo "%s: OK" || echo "%s: FAILED"' % (binaries, name, name, name, name)
                 for name in self.PROGRAMS]
        return ["/bin/sh", "-c", "\n".join(lines + ["exec " + " ".join(regress)])], directory, self.BACKENDS[unit]

    # main/simpleread: [forking] ... OK
    NAME = re.compile(r"^([\w-]+/[\w/.-]+|%s): ?(.*)$" % "|".join(PROGRAMS))
    WORDS = (("SKIPPED", "skipped"), ("DISABLED", "skipped"), ("FAILED", "failed"), ("OK", "passed"))

    def verdicts(self, unit, directory, output):
        """A test's name begins a line, and its verdict ends a later one or the same."""
        found, current = {}, None
        for line in output.splitlines():
            match = self.NAME.match(line)
            if match:
                current, line = match.group(1), match.group(2)
                found[current] = "began"
            for word, verdict in self.WORDS:
                if current and found[current] == "began" and re.search(r"(^|[^A-Za-z])%s\]?$" % word, line):
                    found[current] = verdict
        return found


SUITES = (CPython, LibUV, LibEvent, Redis)
