#!/usr/bin/env python3
"""Files that are not what they should be: sessions that are damaged, forged or cut short, things laid where ours are to
be, directories of others. The command line says one sentence, and a program never feels it."""
import hashlib
import http.client
import os
import random
import re
import shutil
import signal
import stat
import struct
import subprocess
import time

from harness import FULL, PROFSHIM, Failure, free_ports, own_server, run_tests, test, wait_until
from real_servers import HttpClient

NOBODY = 65534
VERSION_AT = 8   # struct segment
READY_AT = 24


def as_root(*argv):
    """For files of another user's."""
    subprocess.run([*([] if os.geteuid() == 0 else ["sudo", "-n"]), *argv], check=True)


def made_session(scene, **settings):
    """The file of a session that is over, with requests, of which one is slow and one was never answered, and samples in it."""
    port = free_ports()
    program = scene.start([own_server("slow_server"), str(port), "0"], hz=997, slow="50ms", **settings)
    program.profiler_port = int(settings.get("listen", ":%d" % program.profiler_port).rpartition(":")[2])
    program.wait_for_port(port)
    program.wait_ready()
    client = HttpClient(port)
    for path in ("/burn/150", "/fail/1", "/users/1", "/users/2"):
        client.ask("GET", path)
    client.request("GET", "/hang")
    wait_until(lambda: program.json("/requests/active"), 5, "the request that is not answered")
    scene.at_least("samples in the session", program.metrics().sum("profshim_samples_total"), 20)
    program.kill_all()
    client.close()
    (name,) = [name for name in os.listdir(scene.session_dir) if name.endswith(".seg")]
    os.rename(os.path.join(scene.session_dir, name), scene.path("made"))
    return scene.path("made")


def data_ranges(path):
    """Where a sparse file has bytes, as (begin, end)."""
    ranges, at = [], 0
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        while at < size:
            try:
                begin = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                break  # no more data: ENXIO
            at = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
            ranges.append((begin, at))
    return ranges


def copy_sparse(source, target):
    with open(source, "rb") as from_file, open(target, "wb") as to_file:
        os.fchmod(to_file.fileno(), 0o600)
        os.ftruncate(to_file.fileno(), os.fstat(from_file.fileno()).st_size)
        for begin, end in data_ranges(source):
            os.pwrite(to_file.fileno(), os.pread(from_file.fileno(), end - begin, begin), begin)


def forge(path, ranges, chance):
    """Changes some bytes, mostly of what is in use; what was there before, to be put back in the opposite order."""
    undo, file = [], os.open(path, os.O_RDWR)
    for _ in range(chance.choice((1, 2, 8, 64))):
        begin, end = chance.choice(ranges[:1] + ranges)
        at = chance.randrange(begin, end - 8)
        new = chance.choice((os.urandom(1), os.urandom(4), b"\xff" * 8, bytes(8), struct.pack("<I", chance.randrange(1 << 20)),
                             struct.pack("<Q", 1 << chance.randrange(64))))
        undo.append((at, os.pread(file, len(new), at)))
        os.pwrite(file, new, at)
    # Else most changes would end at the door: magic, version, ready and sizes are left as they are.
    head = [(at, old) for at, old in undo if at < 40]
    for at, old in reversed(head):
        os.pwrite(file, old, at)
    os.close(file)
    return undo


def put_back(path, undo):
    file = os.open(path, os.O_WRONLY)
    for at, old in reversed(undo):
        os.pwrite(file, old, at)
    os.close(file)


# --- the command line

def refused_in_one_line(scene, what, *arguments):
    result = scene.run([PROFSHIM, *arguments], environment=scene.profshim_environment(), timeout=20)
    scene.say("%s: %s" % (what, result.stderr.decode().strip()))
    scene.equal("%s: exit code and output" % what, (result.returncode, result.stdout), (1, b""))
    scene.equal("%s: lines on stderr" % what, len(result.stderr.splitlines()), 1)


def odd_files(scene):
    """(what, path) of things that are no sessions, in the directory of sessions."""
    made = made_session(scene)

    def changed(name, at, new):
        path = os.path.join(scene.session_dir, name + ".seg")
        copy_sparse(made, path)
        with open(path, "r+b") as file:
            os.pwrite(file.fileno(), new, at)
        return path

    def sized(name, size, text=b""):
        path = os.path.join(scene.session_dir, name + ".seg")
        with open(path, "wb") as file:
            file.write(text)
            file.truncate(size)
        return path

    whole = os.stat(made).st_size
    yield "an empty file", sized("empty", 0)
    yield "a text", sized("text", 5, b"hello")
    yield "random bytes", sized("random", 100000, os.urandom(100000))
    yield "a sparse terabyte", sized("huge", 1 << 40)
    yield "another version", changed("version", VERSION_AT, struct.pack("<I", 999))
    yield "one left unfinished", changed("unready", READY_AT, bytes(4))
    for size in (9, 100, 4096, whole // 2, whole - 1):
        path = changed("cut%d" % size, 0, b"")
        os.truncate(path, size)
        yield "one cut to %d bytes" % size, path
    os.mkdir(os.path.join(scene.session_dir, "folder.seg"))
    yield "a directory", os.path.join(scene.session_dir, "folder.seg")
    os.mkfifo(os.path.join(scene.session_dir, "fifo.seg"))
    yield "a FIFO", os.path.join(scene.session_dir, "fifo.seg")
    os.symlink("/dev/zero", os.path.join(scene.session_dir, "zero.seg"))
    yield "a link to /dev/zero", os.path.join(scene.session_dir, "zero.seg")
    yield "/dev/zero", "/dev/zero"
    yield "nothing at all", os.path.join(scene.session_dir, "missing.seg")


@test
def what_is_no_session_is_refused_in_one_line(scene):
    files = list(odd_files(scene))
    for what, path in files:
        refused_in_one_line(scene, what, "report", path)
    rows = scene.profshim("ls", timeout=20).splitlines()[1:]
    listed = [path for _, path in files if path.startswith(scene.session_dir) and os.path.lexists(path)]
    scene.equal("rows of ls", len(rows), len(listed))
    scene.equal("of them unreadable", sum("unreadable: the file " in row for row in rows), len(listed))


@test
def check_of_what_is_no_program_is_refused(scene):
    os.mkfifo(scene.path("fifo"), 0o700)
    os.mkdir(scene.path("folder"))
    garbage = {"empty": b"", "magic": b"\x7fELF", "elf": b"\x7fELF\x02\x01\x01" + os.urandom(500), "text": b"hello", "script": b"#!",
               "loop": b"#!" + scene.path("loop").encode()}
    for name, text in garbage.items():
        scene.write(name, text, 0o755)
    for name in [*garbage, "fifo", "folder", "missing"]:
        result = scene.run([PROFSHIM, "check", scene.path(name)], environment=scene.profshim_environment(), timeout=20)
        scene.equal("exit code of check " + name, result.returncode, 1)
        scene.check("check %s tells why" % name, result.stdout + result.stderr, "nothing")


VIEWS = ("/", "/metrics", "/report", "/folded", "/requests/slow", "/requests/active", "/endpoints", "/connections", "/self")


def readers(made, name):
    """Arguments of profshim of all that reads a session: its views with their parameters, by path and by name, and the list."""
    for view in VIEWS:
        yield "report", "--view", view, made
    for view in ("/folded", "/requests/slow", "/requests/active"):
        yield "report", "--view", view, "--endpoint", "GET /burn/{id}", made
    for by in ("function", "line", "module"):
        yield "report", "--by", by, "--top", "0", made
    for sort in ("tottime", "cumtime", "ncalls", "name"):
        yield "report", "--sort", sort, "--format", "json", made
    yield "report", "--endpoint", "GET /burn/{id}", made
    yield "report", "--endpoint", "_background", "--by", "line", made
    yield "report", name
    yield "report",
    yield "ls",


@test
def a_forged_session_gives_a_report_or_a_sentence_and_never_a_crash(scene):
    made, chance = made_session(scene), random.Random(7)
    os.link(made, os.path.join(scene.session_dir, "forged.1.seg"))  # the same file, for what looks into the directory
    ways = list(readers(made, "forged.1"))
    for way in ways:
        scene.check("before it is forged, %s answers" % (way,), scene.profshim(*way))
    ranges, codes = data_ranges(made), {0: 0, 1: 0, 2: 0}
    for number in range(40 * len(ways) if FULL else 2 * len(ways)):
        undo = forge(made, ranges, chance)
        way = ways[number % len(ways)]
        result = scene.run([PROFSHIM, *way], environment=scene.profshim_environment(), timeout=60)
        scene.check("forgery %d, %s ends as it should" % (number, way), result.returncode in codes,
                    "code %d, %s" % (result.returncode, result.stderr[-300:]))
        codes[result.returncode] += 1
        put_back(made, undo)
    scene.say("exit codes: %s" % codes)
    scene.at_least("forgeries that could be read", codes[0], 1)


@test
def a_session_that_is_cut_while_it_is_read_is_a_sentence(scene):
    made = made_session(scene)
    reader = subprocess.Popen([PROFSHIM, "report", "--seconds", "2", made], env=scene.profshim_environment(), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
    wait_until(lambda: made in open("/proc/%d/maps" % reader.pid).read(), 10, "the reader mapping the file")
    time.sleep(0.5)
    os.truncate(made, 4096)
    output, complaint = reader.communicate(timeout=30)
    scene.equal("exit code, output, complaint", (reader.returncode, output, complaint.decode()),
                (1, b"", "profshim: the session's file was cut short while it was read\n"))


# --- programs that are given a session

def run_in_session(scene, path, served_at=None, views=(), **settings):
    """A server that is told to join the session at path; it must serve and end as ever, whatever profshim answers at that port:
    how many of its views it shows."""
    shown = 0
    port = free_ports()
    program = scene.start([own_server("signal_server"), "none", str(port)], session=path, **settings)
    program.wait_for_port(port)
    time.sleep(0.4)  # joined, and its thread has looked around
    program.profiler_port = served_at
    for view in views:
        try:
            shown += program.get(view + "?by=line&top=0" * (view == "/report")).status == 200
        except (OSError, http.client.HTTPException):
            break  # the address that it serves at is in the session, too
    program.need_running()
    scene_code = program.stop()
    if scene_code != 0:
        raise Failure("the program ended with code %d; its stderr: %s" % (scene_code, program.stderr()[-300:]))
    return shown


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


@test
def a_session_of_another_user_or_open_to_others_is_not_joined(scene):
    made = made_session(scene)
    for what, lay in (("another user's", lambda path: (os.chmod(path, 0o666), as_root("chown", str(NOBODY), path))),
                      ("one that all may write to", lambda path: os.chmod(path, 0o666)),
                      ("one that its group may write to", lambda path: os.chmod(path, 0o620))):
        path = scene.path("laid.%d.seg" % len(what))
        copy_sparse(made, path)
        lay(path)
        before = digest(path)
        run_in_session(scene, path)
        scene.equal("bytes of %s" % what, digest(path), before)
    path = scene.path("own.1.seg")
    copy_sparse(made, path)
    before = digest(path)
    run_in_session(scene, path)
    scene.check("one of its own is joined", digest(path) != before)


@test
def a_session_that_is_no_file_is_not_joined(scene):
    os.mkfifo(scene.path("fifo.1.seg"))
    os.symlink("/dev/zero", scene.path("zero.1.seg"))
    for path in (scene.path("fifo.1.seg"), scene.path("zero.1.seg"), "/dev/zero", scene.dir, "x" * 5000):
        run_in_session(scene, path)


@test
def a_forged_session_of_its_own_user_does_no_harm_to_a_program(scene):
    port, chance, shown = free_ports(), random.Random(11), 0
    made = made_session(scene, listen="127.0.0.1:%d" % port)
    ranges, path = data_ranges(made), scene.path("forged.1.seg")
    for number in range(150 if FULL else 12):
        copy_sparse(made, path)
        forge(path, ranges, chance)
        scene.say("forgery %d" % number)
        shown += run_in_session(scene, path, port, VIEWS if FULL else VIEWS[number // 4:number // 4 + 1] if number % 4 == 0 else (), hz=997)
    scene.at_least("views shown of what was forged", shown, 3)


# --- directories, reports and sockets

def run_in_directory(scene, directory):
    """Lines on stderr of a program that is to keep its session there."""
    result = scene.run(["bash", "-c", "umask 0; for ((i = 0; i < 100000; i++)); do :; done; echo works"], dir=directory, hz=997)
    scene.equal("bash", (result.returncode, result.stdout), (0, b"works\n"))
    return result.stderr.decode().splitlines()


@test
def a_directory_that_others_could_meddle_with_is_refused(scene):
    os.mkdir(scene.path("target"), 0o700)
    os.symlink(scene.path("target"), scene.path("link"))
    os.mkdir(scene.path("open"))
    os.chmod(scene.path("open"), 0o777)
    os.mkdir(scene.path("theirs"))
    os.chmod(scene.path("theirs"), 0o777)
    as_root("chown", str(NOBODY), scene.path("theirs"))
    scene.write("file", "")
    for name in ("link", "open", "theirs", "file"):
        lines = run_in_directory(scene, scene.path(name))
        scene.equal("lines on stderr for " + name, len(lines), 1)
        scene.check("the line names it", scene.path(name) in lines[0], lines[0])
    for name in ("target", "open", "theirs"):
        scene.equal("files in " + name, os.listdir(scene.path(name)), [])
    as_root("rm", "-r", scene.path("theirs"))


@test
def what_is_made_is_its_owners_alone_whatever_the_umask(scene):
    before = os.umask(0)
    try:
        scene.equal("lines on stderr", run_in_directory(scene, scene.path("made")), [])
        result = scene.run(["sh", "-c", "echo works"], report=scene.path("report"), report_at_exit=1)
    finally:
        os.umask(before)
    scene.equal("sh", (result.returncode, result.stdout), (0, b"works\n"))
    scene.equal("mode of the directory", oct(stat.S_IMODE(os.stat(scene.path("made")).st_mode)), "0o700")
    files = os.listdir(scene.path("made"))
    scene.at_least("files", len(files), 1)
    for path in [os.path.join(scene.path("made"), name) for name in files] + [scene.path("report")]:
        scene.equal("mode of " + os.path.basename(path), oct(stat.S_IMODE(os.stat(path).st_mode)), "0o600")


@test
def a_report_goes_through_no_link_and_into_no_file_of_another_user(scene):
    victim = scene.write("victim", "precious")
    common = scene.path("common")
    os.mkdir(common)
    os.chmod(common, 0o1777)
    os.symlink(victim, os.path.join(common, "link"))
    as_root("chown", "-h", str(NOBODY), os.path.join(common, "link"))
    with open(os.path.join(common, "theirs"), "w") as file:
        file.write("theirs")
    os.chmod(os.path.join(common, "theirs"), 0o666)
    as_root("chown", str(NOBODY), os.path.join(common, "theirs"))
    os.symlink(scene.path("own"), os.path.join(common, "own"))
    for name, text in (("link", "precious"), ("theirs", "theirs")):
        result = scene.run(["sh", "-c", "echo works"], report=os.path.join(common, name), report_at_exit=1)
        scene.equal("sh", (result.returncode, result.stdout), (0, b"works\n"))
        lines = result.stderr.decode().splitlines()
        scene.say("\n".join(lines))
        scene.equal("lines on stderr", len(lines), 1)
        with open(os.path.join(common, name)) as file:
            scene.equal("what stands there", file.read(), text)
    result = scene.run(["sh", "-c", "echo works"], report=os.path.join(common, "own"), report_at_exit=1)
    scene.equal("through a link of one's own", (result.returncode, result.stderr), (0, b""))
    with open(scene.path("own")) as file:
        scene.check("the report is there", "profshim" in file.read())
    as_root("rm", "-r", common)


@test
def a_socket_takes_no_place_of_another_file(scene):
    victim = scene.write("victim", "precious")
    os.symlink(victim, scene.path("link"))
    os.symlink(scene.path("nowhere"), scene.path("dangling"))
    for name in ("victim", "link", "dangling"):
        port = free_ports()
        program = scene.start([own_server("signal_server"), "none", str(port)], listen="unix:" + scene.path(name))
        program.wait_for_port(port)
        wait_until(lambda: program.stderr(), 5, "a line on stderr")
        scene.say(program.stderr().strip())
        scene.equal("exit code", program.stop(), 0)
    with open(victim) as file:
        scene.equal("the file", file.read(), "precious")
    scene.check("the links are what they were", os.path.islink(scene.path("link")) and os.path.islink(scene.path("dangling")))
    scene.check("nothing was made at the end of the link", not os.path.lexists(scene.path("nowhere")))


if __name__ == "__main__":
    run_tests()
