#!/usr/bin/env python3
"""Stacks of real programs, stripped as they are distributed, are walked to their roots by tables that are there in time,
and by a handler that makes no system call."""
import collections
import os
import re
import socket
import subprocess
import threading
import time

from harness import FULL, Failure, own_server, run_tests, test, wait_until
from real_databases import MariaDb, Postgres
from real_servers import Nginx, Redis

SAMPLES = 5000 if FULL else 300
SECONDS_MAX = 300 if FULL else 60  # for so many samples; other programs may have the cores
RATE = {"hz": 1000 if FULL else 250}
ROOTS = {"_start", "__libc_start_main", "__libc_start_call_main", "clone3", "__clone3", "clone", "__clone", "start_thread"}


def frame_name(frame):
    return frame.split("@")[0].split("(")[-1].rstrip(")")


def is_whole(stack):
    """Folded: endpoint, thread and frames from the root on; one of the outermost frames is a known root."""
    return any(frame_name(frame) in ROOTS for frame in stack.split(";")[:5])


def check_roots(scene, what, program):
    """What is sampled from now on ends at a known root, but for one sample in a thousand."""
    program.wait_for_tables()
    refused = program.metrics().sum("profshim_stack_walks_total", end="refused")
    deadline = time.monotonic() + SECONDS_MAX
    whole, broken = 0, {}
    while whole < SAMPLES and time.monotonic() < deadline:
        for line in program.get_ok("/folded?seconds=1").text.splitlines():
            stack, count = line.rsplit(" ", 1)
            if is_whole(stack):
                whole += int(count)
            else:
                broken[stack] = broken.get(stack, 0) + int(count)
    scene.say("%s: %d whole stacks" % (what, whole))
    for stack, count in sorted(broken.items())[:10]:
        scene.say("%d times %s" % (count, stack[:300]))
    scene.at_least("samples of " + what, whole, SAMPLES)
    scene.at_most("samples of %s without a root" % what, sum(broken.values()), max(1, whole // 1000))
    refused = program.metrics().sum("profshim_stack_walks_total", end="refused") - refused
    scene.equal("walks of %s that were led out of the stack" % what, refused, 0)


def in_background(action):
    """Load, which ends when its server does."""
    def run():
        try:
            action()
        except (OSError, Failure):
            pass
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def pipeline(port, request, part, until):
    """Asks in batches of 16 until the time has come; answers are told by a part of them."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        while time.monotonic() < until:
            connection.sendall(request * 16)
            got = 0
            while got < 16:
                data = connection.recv(1 << 16)
                if not data:
                    return
                got += data.count(part)


@test
def stacks_of_nginx_and_redis_end_at_their_roots(scene):
    nginx = Nginx(scene, workers=1, **RATE)
    nginx.program.wait_ready()
    until = time.monotonic() + SECONDS_MAX + 15
    request = b"GET /files/small HTTP/1.1\r\nHost: x\r\n\r\n"

    def load():
        while time.monotonic() < until:
            pipeline(nginx.port, request, b"HTTP/1.1 ", until)  # nginx closes after a thousand
    in_background(load)
    check_roots(scene, "nginx", nginx.program)
    nginx.program.stop()
    redis = Redis(scene, **RATE)
    redis.program.wait_ready()
    until = time.monotonic() + SECONDS_MAX + 15
    in_background(lambda: pipeline(redis.port, b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n", b"+OK", until))
    check_roots(scene, "redis-server", redis.program)


@test
def stacks_of_postgres_end_at_their_roots(scene):
    postgres = Postgres(scene, **RATE)
    # Code that is made while the server runs has no unwind information that anybody could find.
    in_background(lambda: postgres.psql("set jit = off; set statement_timeout = %d; "
                                        "select count(md5(i::text)) from generate_series(1, 100000000) i"
                                        % (1000 * SECONDS_MAX)))
    check_roots(scene, "postgres", postgres.program)


@test
def stacks_of_mariadbd_end_at_their_roots(scene):
    mariadb = MariaDb(scene, **RATE)
    in_background(lambda: mariadb.cli("set max_statement_time = %d; select benchmark(1000000000, md5('x'))" % SECONDS_MAX))
    check_roots(scene, "mariadbd", mariadb.program)


PYTHON = """
import json, threading
def work():
    while True:
        text = json.dumps({str(i): [i, sorted([3, 1, i])] for i in range(200)})
        sorted(json.loads(text).values(), key=str)
threading.Thread(target=work, daemon=True).start()
work()
"""

CPP_PARTS = 400 if FULL else 60
CPP = """
#include <algorithm>
#include <map>
#include <regex>
#include <string>
#include <vector>
""" + "\n".join("template <int N> struct t%d { static int f(std::map<std::string, std::vector<int>> &m) { std::sort(m[std::to_string(N)].begin(), "
                "m[std::to_string(N)].end(), [](int a, int b) { return a > b + %d; }); return N ? t%d<(N ? N - 1 : 0)>::f(m) + N : 0; } };\n"
                "int g%d(std::map<std::string, std::vector<int>> &m) { return t%d<40>::f(m); }" % (n, n, n, n, n) for n in range(CPP_PARTS))


@test
def stacks_of_python_a_cpp_and_a_rust_program_end_at_their_roots(scene):
    python = scene.start(["/usr/bin/python3", "-c", PYTHON], "python3", **RATE)
    python.wait_ready()
    check_roots(scene, "python3", python)
    python.kill_all()
    compiler = scene.run_ok(["g++", "-print-prog-name=cc1plus"], shim=False).strip()
    # Without collecting garbage, which goes thousands of calls deep: that is cut, as it should be.
    cpp = scene.start([compiler, "-quiet", "--param", "ggc-min-heapsize=8000000", "--param", "ggc-min-expand=10000",
                       "-imultiarch", "x86_64-linux-gnu", "-O2",
                       scene.write("long.cpp", CPP), "-o", "/dev/null"], "cc1plus", **RATE)
    cpp.wait_ready()
    check_roots(scene, "cc1plus", cpp)
    cpp.kill_all()
    rust = scene.start(["rg", "--text", "-c", "a.{3}b[0-9]+(c|d)*x", "/dev/urandom"], "ripgrep", **RATE)
    rust.wait_ready()
    check_roots(scene, "ripgrep", rust)


def ready_at(program, name):
    """When the table of the module with this name was ready, as a time of day; None = it is not."""
    answer = program.json("/self")
    for module in answer["modules"]:
        if name in module["path"] and "ready_after_seconds" in module["unwind"]:
            return answer["created_unix_seconds"] + module["unwind"]["ready_after_seconds"]
    return None


@test
def tables_of_libc_and_libstdcpp_are_ready_150_ms_after_the_start(scene):
    """One start of some: other programs may have the cores."""
    scene.write("build.ninja", "rule wait\n command = sleep 3\nbuild x: wait\n")
    best = 1e9
    for attempt in range(20):
        program = scene.start(["ninja", "-C", scene.path("")], "ninja-%d" % attempt)
        program.wait_ready()
        wait_until(lambda: ready_at(program, "libc.so") and ready_at(program, "libstdc++"), 5, "both tables")
        began = program.json("/self")["created_unix_seconds"]
        best = min(best, max(ready_at(program, "libc.so"), ready_at(program, "libstdc++")) - began)
        program.kill_all()
        if best <= 0.150:
            break
    scene.at_most("seconds until both tables were ready, at best", best, 0.150)


OPENING = """
import ctypes, sys, time
time.sleep(1)
for name in sys.argv[1:]:
    before = time.time()
    ctypes.CDLL(name)
    print(name, before, flush=True)
    time.sleep(0.3)
print("opened", flush=True)
time.sleep(20)
"""


@test
def a_library_that_is_opened_has_its_table_within_100_ms(scene):
    names = ["libcrypto.so.3", "libstdc++.so.6", "libncursesw.so.6"]
    program = scene.start(["/usr/bin/python3", "-c", OPENING, *names], "opener")
    program.wait_ready()
    program.wait_for_output("opened")
    took = {}
    for line in program.stdout().splitlines()[:-1]:
        name, before = line.split()
        took[name] = (ready_at(program, name) or 1e12) - float(before)
    scene.say(", ".join("%s %.3f s" % item for item in took.items()))
    scene.equal("libraries opened", len(took), len(names))
    scene.at_most("seconds from dlopen to the table, at best", min(took.values()), 0.100)
    scene.at_most("and at worst", max(took.values()), 2)


SILENT = {"leaf_plain": "compute;leaf_plain", "leaf_deep": "go_deep;go_deep;leaf_deep", "leaf_library": "walk_tree;.*sort_numbers;.*leaf_library",
          "leaf_handler": "trap;.*leaf_handler", "leaf_unseen": "unseen;leaf_unseen"}


@test
def the_handler_makes_no_system_call_from_a_threads_first_sample_on(scene):
    rounds, steps = (40, 200) if FULL else (3, 60)
    for unwind in ("auto", "tables", "fp"):
        program = scene.start([own_server("silent_handler"), str(rounds), str(steps), "unseen"], "silent-" + unwind, unwind=unwind,
                              hz=1000, budget=0, stdin=subprocess.PIPE)
        program.wait_ready()  # a round is over, or nearly, that began before there was any table
        if unwind != "fp":
            program.wait_for_tables()
        program.process.stdin.write(b"x")
        program.process.stdin.flush()
        program.wait_for_output("computed", 120)
        scene.at_least("samples, with " + unwind, program.metrics().sum("profshim_samples_total"), rounds * 4 * 3)
        folded = program.get_ok("/folded").text
        for leaf, chain in SILENT.items():
            # The program has no frame pointers, by which alone nothing but the leaf is sure.
            wanted = leaf if unwind == "fp" else chain
            scene.check("%s is among the stacks, with %s" % (wanted, unwind), re.search(wanted, folded), folded[-2000:])
        program.process.stdin.close()
        scene.equal("exit code with " + unwind, program.wait(), 0)


@test
def a_table_takes_at_most_8_bytes_a_row(scene):
    program = scene.start(["/usr/bin/python3", "-c", "import ssl, json, sqlite3, time; time.sleep(20)"], "rows")
    program.wait_ready()
    program.wait_for_tables()
    answer = program.json("/self")
    rows = sum(module["unwind"].get("rows", 0) for module in answer["modules"])
    pieces = answer["memory"]["tables"]["unwind_pieces"]["used"]
    scene.say("%d rows, %d pieces of 64 bytes" % (rows, pieces))
    scene.at_least("rows", rows, 50000)
    scene.at_most("bytes a row", pieces * 64 / rows, 8)


CHAIN = ["chain_outer", "chain_middle", "chain_inner", "chain_leaf"]


def stacks_of(program, part, samples):
    """({stack of names, root first: samples}) of those that have the part as their leaf, so many at least."""
    stacks = collections.Counter()
    deadline = time.monotonic() + SECONDS_MAX
    while sum(stacks.values()) < samples and time.monotonic() < deadline:
        for line in program.get_ok("/folded?seconds=1").text.splitlines():
            stack, count = line.rsplit(" ", 1)
            names = [frame_name(frame) for frame in stack.split(";")]
            if names[-1] == part:
                stacks[tuple(names)] += int(count)
    return stacks


def has_chain(names, chain):
    return any(list(names[i:i + len(chain)]) == chain for i in range(len(names)))


def unwound_by(program, name):
    return next(module["unwind"]["by"] for module in program.json("/self")["modules"] if module["path"].endswith(name))


@test
def a_program_without_unwind_information_is_walked_by_frame_pointers_and_that_is_said(scene):
    bare = scene.path("stripped_chain")
    scene.run_ok(["objcopy", "--remove-section=.eh_frame", "--remove-section=.eh_frame_hdr", own_server("pointer_chain"), bare], shim=False)
    said = {own_server("pointer_chain"): "frame pointers, as it has unwind information for little of its code",
            bare: "frame pointers, as it has no unwind information"}
    for path, text in said.items():
        program = scene.start([path], os.path.basename(path))
        program.wait_for_output("computing")
        program.wait_ready()
        program.wait_for_tables()
        scene.equal("how %s says it is walked" % os.path.basename(path), unwound_by(program, os.path.basename(path)), text)
        before = program.metrics()
        stacks = stacks_of(program, "chain_leaf", 100)
        whole = sum(count for names, count in stacks.items() if has_chain(names, ["main"] + CHAIN) and ROOTS & set(names[:5]))
        after = program.metrics()
        scene.say("the most frequent stack: " + ";".join(max(stacks, key=stacks.get)))
        scene.at_least("samples in the leaf", sum(stacks.values()), 100)
        # At the first and last instructions of a function the frame pointer is its caller's, so that is left out.
        scene.at_least("of these with the whole chain and a root", whole, 0.99 * sum(stacks.values()))
        ends = {end: after.sum("profshim_stack_walks_total", end=end) - before.sum("profshim_stack_walks_total", end=end)
                for end in ("root", "pointers", "refused")}
        scene.at_least("walks that ended at the root", ends["root"], 0.99 * sum(ends.values()))
        program.kill_all()


@test
def where_there_are_no_frame_pointers_either_the_leaf_is_known_and_the_rest_is_counted(scene):
    program = scene.start([own_server("bare_chain")], "bare_chain")
    program.wait_for_output("computing")
    program.wait_ready()
    program.wait_for_tables()
    scene.equal("how it says it is walked", unwound_by(program, "bare_chain"), "frame pointers, as it has unwind information for little of its code")
    before = program.metrics()
    stacks = stacks_of(program, "chain_leaf", 100)
    after = program.metrics()
    samples = after.sum("profshim_samples_total") - before.sum("profshim_samples_total")
    ended = after.sum("profshim_stack_walks_total", end="pointers") - before.sum("profshim_stack_walks_total", end="pointers")
    scene.at_least("samples in the leaf", sum(stacks.values()), 0.8 * samples)
    scene.at_least("walks that ended for want of a frame pointer", ended, 0.95 * samples)
    scene.check("the report says so", "a walk ended before the outermost frame: pointers" in program.get_ok("/report").text)


@test
def coroutines_are_walked_on_their_own_stacks_and_credited(scene):
    # What a hand-written switch leaves at the end of its stack is no address of code: there walks end, refused.
    for how, ends in (("ucontext", {"root"}), ("switch", {"root", "pointers", "refused"})):
        program = scene.start([own_server("coroutines"), how], "coroutines-" + how, hz=250)
        program.wait_for_output("computing")
        program.wait_ready()
        program.wait_for_tables()
        before = program.metrics()
        stacks = stacks_of(program, "coroutine_work", 400 if FULL else 150)
        after = program.metrics()
        rounds = ["coroutine_main", "coroutine_outer"] + ["coroutine_inner"] * 13 + ["coroutine_work"]
        whole = sum(count for names, count in stacks.items() if has_chain(names, rounds))
        scene.at_least("samples in a coroutine, by " + how, sum(stacks.values()), 150)
        scene.at_least("of these with all of its frames", whole, 0.95 * sum(stacks.values()))
        strayed = [names for names in stacks if "main" in names[:names.index("coroutine_work")]]
        scene.equal("stacks that lead from a coroutine into main", strayed, [])
        walks = after.by("profshim_stack_walks_total", "end")
        walked = {end: count - before.by("profshim_stack_walks_total", "end").get(end, 0) for end, count in walks.items()}
        scene.say("%s: walks ended: %s" % (how, walked))
        scene.say("one of its stacks: " + ";".join(max(stacks, key=stacks.get)))
        samples = after.sum("profshim_samples_total") - before.sum("profshim_samples_total")
        scene.at_least("walks that ended where the stack does", sum(walked.get(end, 0) for end in ends), 0.95 * samples)
        scene.equal("samples that lost their stack", after.sum("profshim_samples_dropped_total"), 0)
        shares = {function: after.sum("profshim_function_self_seconds_total", function=function) for function in ("main_work", "coroutine_work")}
        # Of nine turns one is main's.
        scene.within("share of the coroutines", shares["coroutine_work"] / sum(shares.values()), 8 / 9, 0.1)
        scene.check("it runs on", program.is_running())
        program.kill_all()


if __name__ == "__main__":
    run_tests()
