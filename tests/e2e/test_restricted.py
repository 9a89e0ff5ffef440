#!/usr/bin/env python3
"""Programs in worlds with less in them: they serve as without us, and as much as can be is shown."""
import os

from harness import free_ports, run_tests, test, wait_until
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


if __name__ == "__main__":
    run_tests()
