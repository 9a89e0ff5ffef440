#!/usr/bin/env python3
"""Wrong settings and places that cannot be used: one clear line, and the program runs."""
import os
import re
import resource
import socket
import stat

from harness import free_ports, open_files, own_server, report_functions, run_tests, test, wait_until

# Variable, wrong value, and a word that the sentence on what is accepted must contain.
WRONG = [
    ("listen", "nonsense", "HOST:PORT"), ("listen", "127.0.0.1:99999", "HOST:PORT"),
    ("listen", "127.0.0.1:", "HOST:PORT"),
    ("hz", "fast", "10000"), ("hz", "-1", "10000"), ("hz", "10001", "10000"), ("hz", "1e3", "10000"),
    ("budget", "much", "percent"), ("budget", "200%", "percent"),
    ("signal", "BOGUS", "USR1"), ("signal", "KILL", "none"),
    ("report_at_exit", "maybe", "1"),
    ("top", "-3", "number"), ("top", "many", "number"),
    ("sort", "colour", "cumtime"),
    ("routes", "users", "slash"),
    ("max_routes", "x", "number"),
    ("buckets", "3,2,1", "rising"), ("buckets", "0.1,,0.2", "rising"),
    ("slow", "slowly", "1s"),
    ("dir", "relative/path", "absolute"),
    ("memory", "lots", "32M"), ("memory", "1K", "32M"),
    ("unwind", "magic", "libunwind"),
    ("log", "loud", "warn"),
]


def settings_of(name, value):
    # Where the sessions of the test go must stay as it is, unless that is the point.
    return {"listen": "off", **{name: value}}


@test
def a_wrong_value_is_one_line_that_names_variable_value_and_what_is_accepted(scene):
    for name, value, accepted in WRONG:
        variable = "PROFSHIM_" + name.upper()
        result = scene.run(["/bin/echo", "hello"], **settings_of(name, value))
        scene.equal("echo with %s=%s" % (variable, value), (result.returncode, result.stdout), (0, b"hello\n"))
        lines = result.stderr.decode().splitlines()
        scene.say("\n".join(lines))
        scene.equal("lines on stderr", len(lines), 1)
        for word in ("profshim", variable, value, accepted):
            scene.check("the line has \"%s\"" % word, word in lines[0], lines[0])


@test
def wrong_values_are_counted_and_the_server_runs_with_defaults(scene):
    port = free_ports()
    program = scene.start([own_server("signal_server"), "none", str(port)],
                          hz="fast", sort="colour", buckets="3,2,1", slow="never", max_routes="0")
    program.wait_for_port(port)
    program.wait_ready()
    scene.equal("lines on stderr", len(program.stderr().splitlines()), 5)
    scene.equal("profshim_config_errors_total", int(program.metrics().sum("profshim_config_errors_total")), 5)
    scene.check("/self tells the rate in force", "99" in program.get_ok("/self").text)
    scene.equal("exit code", program.stop(), 0)


@test
def a_wrong_value_is_told_once_and_not_by_each_program_that_is_started(scene):
    script = "ls /usr >/dev/null; ls /usr >/dev/null; (ls /usr >/dev/null); echo done"
    result = scene.run(["bash", "-c", script], hz="fast")
    scene.equal("bash", (result.returncode, result.stdout), (0, b"done\n"))
    scene.equal("lines on stderr", len(result.stderr.splitlines()), 1)


@test
def good_values_are_accepted_in_silence(scene):
    good = {"hz": "250", "signal": "USR2", "top": "5", "sort": "name", "routes": "/users/{id},/static/*",
            "max_routes": "10", "buckets": "0.001,0.01,1", "slow": "250ms", "memory": "16M", "unwind": "fp", "log": "error",
            "exe": "*/echo:nginx", "token": "secret", "report": "stderr", "report_at_exit": "0"}
    result = scene.run(["/bin/echo", "hello"], **good)
    scene.equal("echo", (result.returncode, result.stdout, result.stderr), (0, b"hello\n", b""))


@test
def a_taken_port_gives_the_next_one_and_one_line(scene):
    first = free_ports()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", first))
        other.listen()
        port = free_ports()
        program = scene.start([own_server("signal_server"), "none", str(port)], listen="127.0.0.1:%d" % first)
        program.profiler_port = first + 1
        program.wait_for_port(port)
        program.wait_ready()
        lines = program.stderr().splitlines()
        scene.say("\n".join(lines))
        scene.equal("lines on stderr", len(lines), 1)
        for word in ("profshim", str(first), str(first + 1)):
            scene.check("the line has \"%s\"" % word, word in lines[0], lines[0])
        scene.equal("exit code", program.stop(), 0)


@test
def port_0_takes_a_free_port_which_ls_tells(scene):
    port = free_ports()
    program = scene.start([own_server("signal_server"), "none", str(port)], listen="127.0.0.1:0")
    program.wait_for_port(port)
    address = wait_until(lambda: re.search(r"127\.0\.0\.1:([1-9]\d+)", scene.profshim("ls")), 5,
                         "an address in profshim ls")
    program.profiler_port = int(address.group(1))
    program.wait_ready()
    scene.say("taken: %s" % address.group(0))


@test
def a_unix_socket_serves_as_well(scene):
    port, path = free_ports(), scene.path("profshim.sock")
    program = scene.start([own_server("signal_server"), "none", str(port)], listen="unix:" + path)
    program.wait_for_port(port)
    wait_until(lambda: os.path.exists(path), 5, "the socket %s" % path)
    answer = scene.run_ok(["curl", "-sS", "--unix-socket", path, "http://localhost/-/ready"], shim=False)
    scene.say("GET /-/ready: %s" % answer.strip())
    mode = os.stat(path).st_mode
    scene.check("it is a socket for its owner", stat.S_ISSOCK(mode) and not mode & 0o077, oct(mode))
    scene.equal("exit code", program.stop(), 0)


@test
def listen_off_opens_no_port(scene):
    port = free_ports()
    program = scene.start([own_server("signal_server"), "none", str(port)], listen="off")
    program.wait_for_port(port)
    wait_until(lambda: "signal_server" in scene.profshim("ls"), 5, "the session in profshim ls")
    scene.check("nothing listens on the default port for it", not program.is_ready())
    sockets = [link for link in open_files(program.pid) if link.startswith("socket:")]
    scene.equal("sockets of the process", len(sockets), 1)


@test
def a_directory_that_cannot_be_written_is_one_line_and_the_server_is_profiled(scene):
    port = free_ports()
    program = scene.start([own_server("signal_server"), "none", str(port)], dir="/dev/null/nowhere")
    program.wait_for_port(port)
    program.wait_ready()
    lines = program.stderr().splitlines()
    scene.say("\n".join(lines))
    scene.equal("lines on stderr", len(lines), 1)
    scene.check("the line names the directory", "/dev/null/nowhere" in lines[0], lines[0])
    scene.equal("profshim_processes", int(program.metrics().sum("profshim_processes")), 1)
    scene.equal("exit code", program.stop(), 0)


@test
def a_directory_without_room_does_not_stop_the_program(scene):
    # The kernel sends SIGBUS for a page of a mapped file that finds no room: none may be touched unreserved.
    mount = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    script = ('mount -t tmpfs -o size=64k,mode=700 none "$0" && '
              'exec env LD_PRELOAD="$1" PROFSHIM_DIR="$0" PROFSHIM_LISTEN=off /bin/echo works')
    os.mkdir(scene.path("small"))
    can_mount = scene.run([*mount, "mount", "-t", "tmpfs", "none", scene.path("small")], shim=False).returncode == 0
    if can_mount:
        shim = scene.shim_environment()["LD_PRELOAD"]
        result = scene.run([*mount, "sh", "-c", script, scene.path("small"), shim], shim=False)
        what = "a full file system"
    else:
        result = scene.run(["/bin/echo", "works"],
                           preexec=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536)))
        what = "a limit of file sizes (this machine forbids mounts)"
    scene.equal("echo with " + what, (result.returncode, result.stdout), (0, b"works\n"))
    scene.say(result.stderr.decode())
    scene.equal("lines on stderr", len(result.stderr.splitlines()), 1)


@test
def a_full_disk_for_the_report_is_one_line(scene):
    result = scene.run(["sh", "-c", "echo works"], report="/dev/full", report_at_exit=1)
    scene.equal("sh", (result.returncode, result.stdout), (0, b"works\n"))
    lines = result.stderr.decode().splitlines()
    scene.say("\n".join(lines))
    scene.equal("lines on stderr", len(lines), 1)
    scene.check("the line names the file and the reason", "/dev/full" in lines[0] and "No space left" in lines[0],
                lines[0])


@test
def a_report_that_cannot_be_opened_is_one_line(scene):
    result = scene.run(["sh", "-c", "echo works"], report=scene.path("missing", "report"), report_at_exit=1)
    scene.equal("sh", (result.returncode, result.stdout), (0, b"works\n"))
    lines = result.stderr.decode().splitlines()
    scene.say("\n".join(lines))
    scene.equal("lines on stderr", len(lines), 1)
    scene.check("the line names the file", scene.path("missing", "report") in lines[0], lines[0])


@test
def exe_globs_choose_what_is_profiled(scene):
    # bash: the programs of coreutils close stderr before they end, so that no report can follow.
    for glob, is_profiled in (("*/bash", True), ("cat:bash", True), ("nginx", False)):
        result = scene.run(["bash", "-c", "echo works"], exe=glob, report_at_exit=1)
        scene.equal("bash with PROFSHIM_EXE=" + glob, (result.returncode, result.stdout), (0, b"works\n"))
        scene.equal("a report at its end", b"profshim" in result.stderr, is_profiled)


@test
def top_and_sort_shape_the_report(scene):
    result = scene.run(["bash", "-c", "for ((i = 0; i < 20000; i++)); do :; done; echo x | cat"],
                       report_at_exit=1, top=3, sort="name", hz=997)
    rows = report_functions(result.stderr.decode())
    scene.equal("rows", len(rows), 3)
    scene.equal("rows in the order of functions' names, as pstats has it", list(rows), sorted(rows))


if __name__ == "__main__":
    run_tests()
