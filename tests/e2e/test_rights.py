#!/usr/bin/env python3
"""Programs that give up rights: with a thread of ours in the process each call gives what it gave without, all threads have
the same rights afterwards, and profshim goes on serving."""
import os

from harness import free_ports, run_tests, test
from real_servers import SERVE_IN_PYTHON, HttpClient

SERVED = "http_server_request_duration_seconds_count"

# Each step after a byte from the client, so that it comes at a moment that the test chooses; then the same again, as a server.
COMMON = """
import ctypes, os, socket, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    ctypes.set_errno(0)
    result = getattr(libc, name)(*arguments)
    print(name, arguments if name != "setgroups" else "", result, ctypes.get_errno() if result < 0 else 0, flush=True)
def groups(*ids):
    call("setgroups", len(ids), (ctypes.c_uint * len(ids))(*ids))
SETGID, SETUID = 1 << 6, 1 << 7
class Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]
def capabilities(effective, permitted):
    words = (ctypes.c_uint32 * 6)(effective, permitted, 0, 0, 0, 0)
    print("capset", libc.capset(ctypes.byref(Header(0x20080522, 0)), words), flush=True)
def rights():
    found = set()
    for tid in os.listdir("/proc/self/task"):
        with open("/proc/self/task/%s/status" % tid) as status:
            found.add("".join(line for line in status if line.startswith(("Uid", "Gid", "Groups", "CapEff", "CapPrm"))))
    print("sets of rights", len(found), sorted(found)[0].split(), flush=True)
""" + SERVE_IN_PYTHON + """
serve()
"""

# As setpriv, ntpd and the like: another user, with some of root's rights.
KEEPING = COMMON + """
PR_SET_KEEPCAPS = 8
call("prctl", PR_SET_KEEPCAPS, 1)
call("setresuid", 1234, 1234, 1234)
capabilities(SETUID | SETGID, SETUID | SETGID)
call("setresgid", 1234, 1234, 1234)
groups(1234, 1235)
call("setregid", 1235, 1235)
call("setgid", 1236)
call("setegid", 1237)
capabilities(SETUID, SETUID)
call("setgid", 1238)
call("seteuid", 1235)
call("setuid", 1236)
capabilities(0, 0)
"""

# Rights given up by one thread before it asks for what takes them: it is refused, where ours would not be.
LACKING = COMMON + """
capabilities(0, SETUID | SETGID)
call("setuid", 1234)
call("setgid", 1234)
groups(1234)
call("initgroups", b"nobody", 1234)
capabilities(SETGID, SETGID)
call("setgid", 1234)
call("setuid", 1234)
"""

# Ids of one thread alone, past libc, as Samba changes them.
RAW = COMMON + """
SYS_setresuid, SYS_setresgid = 117, 119
call("syscall", SYS_setresgid, 1234, 1234, 0)
call("syscall", SYS_setresuid, -1, 1234, 0)
call("setgid", 1235)
call("seteuid", 0)
call("setgid", 1235)
call("setuid", 1236)
call("setuid", 0)
"""

# To and fro for each request, as file servers do, by several threads at once.
OFTEN = COMMON + """
def change():
    for number in range(200):
        libc.setegid(1234)
        libc.seteuid(1234)
        libc.seteuid(0)
        libc.setegid(0)
threads = [threading.Thread(target=change) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
call("setresgid", 1234, 1234, 1234)
call("setresuid", 1234, 1234, 1234)
call("seteuid", 0)
"""

END = """
rights()
print("done", flush=True)
while True:
    serve()
"""


def ask(port, count):
    client = HttpClient(port)
    for _ in range(count):
        client.ask("GET", "/ok")
    client.close()


def run_script(scene, name, script, shim):
    """What the script prints."""
    port = free_ports()
    program = scene.start(["python3", scene.write(name + ".py", script + END), str(port)],
                          "%s-%s" % (name, "with" if shim else "without"), shim=shim, hz=997)
    program.wait_for_output("listening\n")
    if shim:
        program.wait_ready()
    ask(port, 3)
    program.wait_for_output("done\n")
    ask(port, 4)
    if shim:
        program.wait_ready(2)  # the bound of a takeover
        metrics = program.metrics_when(lambda metrics: metrics.sum(SERVED) == 7)
        scene.equal("requests counted, before and after", int(metrics.sum(SERVED)), 7)
        scene.equal("threads of the program", program.json("/self")["threads"], 1)
        scene.equal("stderr", program.stderr(), "")
    program.kill_all()
    return program.stdout()


def compare(scene, name, script):
    without, with_shim = (run_script(scene, name, script, shim) for shim in (False, True))
    scene.say(without)
    scene.equal("results of the calls", with_shim, without)


@test
def capabilities_kept_over_a_change_of_user(scene):
    compare(scene, "keeping", KEEPING)


@test
def rights_that_one_thread_gave_up(scene):
    compare(scene, "lacking", LACKING)


@test
def ids_that_one_thread_changed_by_system_calls(scene):
    compare(scene, "raw", RAW)


@test
def ids_that_many_threads_change_all_the_time(scene):
    compare(scene, "often", OFTEN)


@test
def tools_that_change_user_run_as_without(scene):
    script = "id; grep -E 'Cap|Groups|NoNew' /proc/self/status"
    for argv in (["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
                 ["setpriv", "--reuid=65534", "--regid=65534", "--init-groups"],
                 ["setpriv", "--ruid=65534", "--rgid=65534", "--keep-groups", "--inh-caps=+net_bind_service",
                  "--ambient-caps=+net_bind_service", "--bounding-set=-sys_admin"],
                 ["setpriv", "--no-new-privs", "--reuid=1", "--regid=1", "--clear-groups", "--securebits=+noroot"],
                 ["runuser", "-u", "nobody", "--"],
                 ["chroot", "--userspec=65534:65534", "--groups=1,2", "/"],
                 ["unshare", "-U", "--map-root-user"], ["unshare", "-U", "-p", "--fork", "--kill-child"],
                 ["unshare", "-m", "-n", "-i", "-u"], ["unshare", "-U", "-m", "-n", "--map-current-user"],
                 ["nsenter", "-t", str(os.getpid()), "-m", "-n", "-i", "-u"],
                 ["unshare", "-U", "nsenter", "-t", str(os.getpid()), "-n"]):
        without, with_shim = (scene.run([*argv, "sh", "-c", script], shim=shim) for shim in (False, True))
        scene.say(" ".join(argv))
        scene.equal("output", (with_shim.returncode, with_shim.stdout), (without.returncode, without.stdout))
        # Who may not read root's session begins one of its own, and says so.
        others = [line for line in with_shim.stderr.decode().splitlines() if not line.startswith("profshim: ")]
        scene.equal("stderr", others, without.stderr.decode().splitlines())


if __name__ == "__main__":
    run_tests()
