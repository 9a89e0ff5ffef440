#!/usr/bin/env python3
"""Programs under the shim print the same bytes and end with the same code as without."""
import os
import re
import resource
import signal
import statistics

from harness import free_ports, own_server, report_functions, run_tests, test

SOURCE = """
#include <stdio.h>
struct pair { int a, b; };
static int sum(struct pair p) { return p.a + p.b; }
int main(int argc, char **argv) { printf("%d %s\\n", sum((struct pair){argc, 2}), argv[0]); return 0; }
"""

BASH = """
echo out; echo err >&2; (exit 3); echo $?
for i in 1 2 3; do echo $i; done | sort -r | (read first; echo "first $first"; cat)
trap 'echo trapped' USR1; kill -USR1 $$
echo "$(printf 'a b' | tr ' ' _)" "$(ls -d /usr)"
exec 9<>/dev/null; echo through >&9; exec 9>&-
diff <(echo 1) <(echo 2); f() { return 5; }; f; echo "f gave $?"
ulimit -c; umask; wait; sleep 0.05 & wait $!; echo "waited $?"
exit 7
"""

PYTHON = """
import os, signal, socket, subprocess, sys, threading, select, time
a, b = socket.socketpair()
threads = [threading.Thread(target=lambda: b.sendall(b'x' * 10)) for _ in range(5)]
[t.start() for t in threads]; [t.join() for t in threads]
got = b''
while len(got) < 50: got += a.recv(7)
print(len(got), select.select([a], [], [], 0)[0])
server = socket.create_server(('127.0.0.1', 0)); client = socket.create_connection(server.getsockname())
peer, _ = server.accept(); client.sendall(b'GET / HTTP/1.1\\r\\n\\r\\n'); print(peer.recv(100))
peer.setblocking(False)
try: peer.recv(1)
except BlockingIOError as error: print(error)
try: os.read(9999, 1)
except OSError as error: print(error)
print(subprocess.run(['sh', '-c', 'echo child; exit 4'], stdout=subprocess.PIPE))
pid = os.fork()
if pid == 0: os._exit(6)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
def alarmed(number, frame): print('alarm', number)
signal.signal(signal.SIGALRM, alarmed); signal.setitimer(signal.ITIMER_REAL, 0.05); time.sleep(0.2)
signal.signal(signal.SIGPROF, lambda *_: print('own SIGPROF')); os.kill(os.getpid(), signal.SIGPROF)
print(sorted(int(fd) for fd in os.listdir('/proc/self/fd') if int(fd) < 100), file=sys.stderr)
sys.exit(9)
"""


def check_same(scene, what, argv, varying=rb"(?!)", **how):
    """Both runs, which must agree in all that a user sees but what matches varying (pids, times of day); the run under
    the shim."""
    plain = scene.run(argv, shim=False, **how)
    under = scene.run(argv, **how)
    scene.equal("exit code of " + what, under.returncode, plain.returncode)
    scene.equal("stdout of " + what, under.stdout, plain.stdout)
    scene.equal("stderr of " + what, re.sub(varying, b"...", under.stderr), re.sub(varying, b"...", plain.stderr))
    return under


@test
def ls_is_the_same(scene):
    for name in ("b", "a", "c/d"):
        scene.write("files/" + name, name * 100)
    check_same(scene, "ls", ["ls", "-l", scene.path("files")])
    check_same(scene, "ls of what is missing", ["ls", scene.path("missing")])
    check_same(scene, "ls with all defaults", ["ls", "/usr"], listen=None)


@test
def bash_is_the_same(scene):
    result = check_same(scene, "bash", ["bash", "-c", BASH])
    scene.equal("exit code as written", result.returncode, 7)
    killed = check_same(scene, "a bash that kills itself", ["bash", "-c", "kill -TERM $$"])
    scene.equal("exit code as by signal", killed.returncode, -signal.SIGTERM)


@test
def python_is_the_same(scene):
    result = check_same(scene, "python3", ["/usr/bin/python3", "-c", PYTHON])
    scene.equal("exit code as written", result.returncode, 9)


@test
def gcc_makes_the_same_object(scene):
    scene.write("x.c", SOURCE)
    objects = []
    for shim in (False, True):
        result = scene.run(["gcc", "-g", "-O2", "-Wall", "-Wextra", "-c", "x.c", "-o", "x.o"], shim=shim)
        scene.equal("what gcc says", (result.returncode, result.stdout, result.stderr), (0, b"", b""))
        with open(scene.path("x.o"), "rb") as file:
            objects.append(file.read())
    scene.check("the objects are the same, %d bytes" % len(objects[0]), objects[0] == objects[1])
    scene.write("broken.c", "int main(void) { return missing; }\n")
    check_same(scene, "gcc with an error", ["gcc", "-c", "broken.c"])


@test
def nginx_tests_its_configuration_the_same(scene):
    config = scene.write("nginx.conf", "pid %s; events {} http { access_log off; server { listen 127.0.0.1:%d; } }"
                         % (scene.path("pid"), free_ports()))
    check_same(scene, "nginx -t", ["nginx", "-e", "stderr", "-p", scene.dir, "-t", "-c", config])
    scene.write("wrong.conf", "events { what; }")
    check_same(scene, "nginx -t of what is wrong",
               ["nginx", "-e", "stderr", "-p", scene.dir, "-t", "-c", scene.path("wrong.conf")],
               varying=rb"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d|\d+#\d+:")


@test
def other_everyday_programs_are_the_same(scene):
    scene.write("numbers", "".join("%d\n" % (n * 7919 % 10007) for n in range(20000)))
    for argv in (["sort", "-n", "--parallel=2", "numbers"], ["tar", "-cf", "-", "--sort=name", "numbers"],
                 ["gzip", "-nc", "numbers"], ["find", scene.path("numbers")], ["env", "-i", "/bin/echo", "bare"],
                 ["perl", "-e", "print 6*7; exit 3"], ["dd", "if=numbers", "bs=1000", "count=3", "status=none"],
                 ["sh", "-c", "cat numbers | head -3; exit 2"], ["timeout", "0.2", "sleep", "5"],
                 ["curl", "-sS", "http://127.0.0.1:1/"]):
        check_same(scene, argv[0], argv, varying=rb"after \d+ ms")


@test
def an_exception_across_a_late_plugin_costs_at_most_5_percent_more(scene):
    argv = [own_server("throw_host"), own_server("throw_plugin.so"), "20", "2000"]
    cpu = min(os.sched_getaffinity(0))
    ratios = []
    for _ in range(11):
        # Interleaved, so that a machine that grows slower or faster meanwhile does so for both; and on one processor, since
        # children in turn get one each, of which one may be half as fast for as long as another machine has its twin.
        costs = []
        for shim in (False, True):
            result = scene.run(argv, shim=shim, preexec=lambda: os.sched_setaffinity(0, {cpu}))
            scene.check("it catches all", (result.returncode, result.stdout) == (0, b"caught 40000\n"), result)
            costs.append(float(result.stderr))
        ratios.append(costs[1] / costs[0])
    scene.say("last pair: %.0f and %.0f ns a throw; ratios from %.3f to %.3f" % (*costs, min(ratios), max(ratios)))
    scene.at_most("cost of a throw under the shim, median of 11 ratios", statistics.median(ratios), 1.05)


@test
def a_program_that_does_not_serve_can_be_reported_on_at_its_end(scene):
    path = scene.path("report")
    result = scene.run(["bash", "-c", "for ((i = 0; i < 100000; i++)); do :; done; exit 4"], report=path,
                       report_at_exit=1, hz=997)
    scene.equal("exit code and output", (result.returncode, result.stdout, result.stderr), (4, b"", b""))
    with open(path) as report:
        text = report.read()
    scene.say("\n".join(text.splitlines()[:6]))
    scene.check("the head names the program", re.match(r"\s*profshim \d+\.\d+: bash \(", text), text[:100])
    scene.at_least("functions in it", len(report_functions(text)), 1)


@test
def a_child_that_is_killed_and_a_parent_that_waits_behave_the_same(scene):
    script = "sleep 10 & kill -9 $!; wait $! 2>/dev/null; echo $?; sh -c 'kill -SEGV $$'; echo $?"
    check_same(scene, "bash with killed children", ["bash", "-c", script], varying=rb"(?<=line 1:) +\d+")


@test
def limits_on_files_and_descriptors_do_not_stop_a_program(scene):
    def limits(kind, value):
        return lambda: resource.setrlimit(kind, (value, value))
    for what, kind, value in (("no file may be written", resource.RLIMIT_FSIZE, 4096),
                              ("few descriptors", resource.RLIMIT_NOFILE, 4),
                              ("no pending signals", resource.RLIMIT_SIGPENDING, 0),
                              ("no further threads", resource.RLIMIT_NPROC, 1)):
        result = scene.run(["/bin/echo", "works"], preexec=limits(kind, value), hz=997)
        scene.equal("echo where %s" % what, (result.returncode, result.stdout), (0, b"works\n"))
        scene.say(result.stderr.decode())
        scene.at_most("lines on stderr where %s" % what, result.stderr.count(b"\n"), 1)


if __name__ == "__main__":
    run_tests()
