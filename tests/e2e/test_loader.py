#!/usr/bin/env python3
"""Libraries that come and go, begin before us and end after us, lie where others lay or in other namespaces; programs and
other preloads that have names of the C library's themselves."""
import os
import re
import socket
import time

from harness import FULL, Metrics, TREE, free_ports, own_server, report_functions, run_tests, test

SOURCES = os.path.join(TREE, "tests", "e2e", "servers", "loader")
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
PRELOADS = {
    "jemalloc": LIBRARIES + "/libjemalloc.so.2",
    "tcmalloc": LIBRARIES + "/libtcmalloc_minimal.so.4",
    "faketime": LIBRARIES + "/faketime/libfaketimeMT.so.1",
    "stdbuf": "/usr/libexec/coreutils/libstdbuf.so",
    "proxychains": LIBRARIES + "/libproxychains.so.4",
}
# Sockets, threads, processes, libraries and timers in one program that prints nothing that varies.
SCRIPT = """
import ctypes, select, socket, subprocess, sys, threading, time
def serve(listener):
    connection, _ = listener.accept()
    while (data := connection.recv(100)):
        connection.sendall(data.upper())
listener = socket.create_server(("127.0.0.1", 0))
thread = threading.Thread(target=serve, args=(listener,))
thread.start()
client = socket.create_connection(listener.getsockname())
for i in range(200):
    client.sendall(b"ping %d" % i)
    assert client.recv(100) == b"PING %d" % i
client.close()
thread.join()
print(subprocess.run(["sh", "-c", "echo child; exit 3"]).returncode)
for i in range(20):
    threading.Thread(target=lambda: time.sleep(0.001)).start()
print(ctypes.CDLL("libm.so.6").abs(-4), select.select([], [], [], 0.01))
print(sum(i * i for i in range(300000)))
"""


def compile_c(scene, output, source, *arguments):
    """A program, or a library if its name says so, made of one file of servers/loader."""
    path = scene.path(output)
    shared = ["-shared", "-fPIC"] if output.endswith(".so") else []
    scene.run_ok(["gcc", "-O2", "-g", "-fno-builtin", "-o", path, os.path.join(SOURCES, source), *shared, *arguments],
                 shim=False)
    return path


def told(result):
    return result.returncode, result.stdout, result.stderr


def same_with_and_without(scene, what, argv, preload=None, plain_preload=None, **environment):
    """preload, if any, instead of the shim alone; environment: further variables for both."""
    plain = dict(scene.plain_environment(), **environment)
    if plain_preload:
        plain["LD_PRELOAD"] = plain_preload
    shim = dict(scene.shim_environment(hz=997), **environment)
    if preload:
        shim["LD_PRELOAD"] = preload
    scene.equal(what, told(scene.run(argv, environment=shim, timeout=60)), told(scene.run(argv, environment=plain)))


def metrics_after(scene):
    return Metrics(scene.profshim("report", "--view=metrics"))


@test
def hooks_work_before_any_constructor_and_after_all_destructors(scene):
    compile_c(scene, "libearly.so", "early_library.c", "-DHAS_RESOLVER")
    early = compile_c(scene, "early", "early.c", scene.path("libearly.so"), "-Wl,-rpath," + scene.dir)
    lines = scene.run_ok([early], shim=False).splitlines()
    scene.equal("what it does", lines, ["resolver -1 0", "constructor 3 9", "thread 3 1", "main 5 1 -1", "", "destructor 3 9"])
    same_with_and_without(scene, "linked to the program", [early])
    for order in ("%s %s", "%s:%s"):
        for first, second in ((scene.library, scene.path("libearly.so")), (scene.path("libearly.so"), scene.library)):
            same_with_and_without(scene, "preloaded as " + order, [early], order % (first, second),
                                  scene.path("libearly.so"))


@test
def a_program_with_names_of_the_c_library_gets_only_its_own_calls(scene):
    own = compile_c(scene, "own_names", "own_names.c", "-Wno-nonnull")
    same_with_and_without(scene, "calls", [own])
    result = scene.run([own], hz=997, listen="127.0.0.1:0")
    scene.equal("calls while profshim serves", result.stdout,
                b"malloc 2 getenv 2 read 2 pthread_create 1, 0 before; within calls 0\n")
    metrics = metrics_after(scene)
    scene.equal("calls of poll, recv and write that were counted",
                {call: metrics.sum("profshim_calls_total", call=call) for call in ("poll", "recv", "write")},
                {"poll": 4000, "recv": 4000, "write": 4000})
    scene.at_least("samples", metrics.sum("profshim_samples_total"), 50)


@test
def another_library_at_the_same_address_is_credited_with_its_own_time(scene):
    a = compile_c(scene, "plugin_a.so", "reuse_plugin.c", "-DWHICH=a", "-DIS_FIRST=1")
    b = compile_c(scene, "plugin_b.so", "reuse_plugin.c", "-DWHICH=b", "-DIS_FIRST=0")
    reuse = compile_c(scene, "reuse", "reuse.c")
    for unwind in ("auto", "libunwind", "fp"):
        rounds = int(scene.run_ok([reuse, a, b], hz=997, unwind=unwind).split()[0])
        scene.at_least("rounds at one address (%s)" % unwind, rounds, 1)
        rows = report_functions(scene.profshim("report", "--top=0"))
        scene.equal("samples in functions that are never called",
                    [name for name in rows if name in ("a_second", "b_first")], [])
        scene.at_least("time in the first library", rows["a_first"]["tottime"], 0.05, " s")
        scene.at_least("time in the second library", rows["b_second"]["tottime"], 0.05, " s")


@test
def code_in_another_namespace_is_shown_by_its_name(scene):
    plugin = compile_c(scene, "alone.so", "reuse_plugin.c", "-DWHICH=alone", "-DIS_FIRST=1")
    argv = [compile_c(scene, "namespace", "namespace.c"), plugin]
    same_with_and_without(scene, "output", argv)
    for unwind in ("auto", "libunwind"):
        scene.run_ok(argv, hz=997, unwind=unwind)
        rows = report_functions(scene.profshim("report", "--top=0"))
        total = sum(row["tottime"] for row in rows.values())
        scene.at_least("share of the function there (%s)" % unwind, rows["alone_first"]["tottime"] / total, 0.8)
        if unwind == "libunwind":  # tables are made for modules when there is time for that
            callers = rows["run"]["cumtime"] + rows["main"]["cumtime"]  # it is inlined into the one
            scene.at_least("share below the program's own functions", callers / total, 0.8)


@test
def an_auditor_sees_the_same_program(scene):
    audit = compile_c(scene, "audit.so", "audit.c")
    same_with_and_without(scene, "output", ["/usr/bin/python3", "-c", SCRIPT], LD_AUDIT=audit)


@test
def other_preloads_work_before_and_behind_ours(scene):
    scene.write("proxychains.conf", "strict_chain\nquiet_mode\nlocalnet 127.0.0.0/255.0.0.0\n[ProxyList]\nsocks4 127.0.0.1 9\n")
    for name, path in PRELOADS.items():
        scene.check(name + " is installed", os.path.exists(path), path)
        for preload in (path + ":" + scene.library, scene.library + ":" + path):
            same_with_and_without(scene, "%s in %s" % (name, re.sub(r"/\S*?/(lib\w+)\.\S*?(?=:|$)", r"\1", preload)),
                                  ["/usr/bin/python3", "-c", SCRIPT], preload, path, FAKETIME="-3d",
                                  PROXYCHAINS_CONF_FILE=scene.path("proxychains.conf"))
            scene.at_least("samples", metrics_after(scene).sum("profshim_samples_total"), 1)


@test
def times_are_the_kernels_whatever_another_preload_tells(scene):
    """libfaketime before and behind ours, ten times as fast and of another day."""
    for preload in ("%s:%s" % (PRELOADS["faketime"], scene.library), "%s:%s" % (scene.library, PRELOADS["faketime"])):
        port, profiler_port = free_ports(), free_ports()
        environment = dict(scene.shim_environment(listen="127.0.0.1:%d" % profiler_port, hz=997), LD_PRELOAD=preload,
                           FAKETIME="+30d x10")
        server = scene.start(["/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", str(port)], environment=environment)
        server.profiler_port = profiler_port
        server.wait_for_port(port)
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET / HTTP/1.0\r\n")
            time.sleep(0.5)
            client.sendall(b"Host: a\r\n\r\n")
            while client.recv(65536):
                pass
        waited = time.monotonic() - began
        metrics = server.metrics_when(lambda metrics: metrics.sum("http_server_request_duration_seconds_count"))
        took = metrics.sum("http_server_request_duration_seconds_sum")
        scene.at_least("seconds of the request", took, 0.49)
        scene.at_most("seconds of the request", took, waited)
        scene.at_most("seconds since the session began", server.json("/self")["duration_seconds"], 10)
        server.stop()


@test
def programs_linked_with_other_allocators_are_the_same(scene):
    for name in ("jemalloc", "tcmalloc"):
        own = compile_c(scene, "busy_" + name, "busy_allocator.c", PRELOADS[name], "-lpthread")
        for _ in range(4 if FULL else 1):
            same_with_and_without(scene, "linked with " + name, [own])
        scene.at_least("samples", metrics_after(scene).sum("profshim_samples_total"), 20)


@test
def references_without_a_version_get_the_form_that_they_would_get(scene):
    library = compile_c(scene, "without_versions.so", "without_versions.c", "-DLIBRARY", "-nostdlib")
    program = compile_c(scene, "with_versions", "without_versions.c", library, "-Wl,--allow-shlib-undefined", "-lpthread")
    script = scene.write("script", "exit 7\n", mode=0o755)  # without an interpreter line
    forms = [(form, "turns 2000", "wait ETIMEDOUT", "timer 0 0 0", *("%s %s" % (name, spawned) for name in ("posix_spawn", "posix_spawnp")))
             for form, spawned in (("now", "refused 0"), ("older", "done 7"))]
    wanted = "".join("%s %s\n" % (form, said) for form, *lines in forms for said in lines).encode()
    for shim in (False, True):
        scene.equal("shim %s" % shim, told(scene.run([program, script], shim=shim, **({"hz": 997} if shim else {}))), (0, wanted, b""))


@test
def calls_that_are_left_by_a_jump_leave_nothing_behind(scene):
    left = compile_c(scene, "left", "left.c", "-rdynamic", "-fno-omit-frame-pointer")
    for unwind in ("auto", "fp"):
        scene.equal("output", told(scene.run([left, "jump"], hz=997, unwind=unwind)), (0, b"done\n", b""))
        metrics = metrics_after(scene)
        scene.equal("calls counted after the jumps", metrics.sum("profshim_calls_total", call="write"), 1000)
        rows = report_functions(scene.profshim("report", "--top=0"))
        busy = max(row["tottime"] for name, row in rows.items() if "memset" in name)
        scene.at_least("time in memset (%s)" % unwind, busy, 0.1, " s")


@test
def a_constructor_that_does_not_return_does_not_end_stack_walks(scene):
    left = compile_c(scene, "left", "left.c", "-rdynamic", "-fno-omit-frame-pointer")
    plugin = compile_c(scene, "left_plugin.so", "left_plugin.c")
    other = compile_c(scene, "other.so", "reuse_plugin.c", "-DWHICH=a", "-DIS_FIRST=1")
    for how in ("constructor-jumps", "constructor-exits"):
        result = scene.run([left, how, plugin, other], hz=997)
        scene.equal("output of " + how, told(result), told(scene.run([left, how, plugin, other], shim=False)))
        metrics = metrics_after(scene)
        samples, lost = metrics.sum("profshim_samples_total"), metrics.sum("profshim_samples_dropped_total")
        scene.at_least("samples", samples, 20)
        scene.at_most("of them without their stack", lost / samples, 0.2)


if __name__ == "__main__":
    run_tests()
