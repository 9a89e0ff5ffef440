"""startup - how much later a program is where it would have been without the shim.

    true              a program that does nothing, from its start to its end
    hundred_modules   a server linked with 100 libraries, from its start until it listens

And how long after the beginning of the session the unwind tables of libc and libstdc++ are there, and what memory they take:

    tables            a program in C++ that works
"""
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from harness import Scene, wait_until
from measure import median, median_interval, rounds

MODULES = 100

SERVER = r"""
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
%s
int main(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 8) || !(%s))
		return 1;
	puts("listening");
	return fflush(stdout) || pause();
}
"""


def make_server(scene):
    """A server that calls one function in each of its libraries. Its path."""
    for number in range(MODULES):
        scene.write("module%d.c" % number, "int module%d(int x) { return x + %d; }\n" % (number, number))
        scene.run_ok(["cc", "-O2", "-shared", "-fPIC", "-o", scene.path("libmodule%d.so" % number),
                      scene.path("module%d.c" % number)], shim=False)
    names = ["module%d" % number for number in range(MODULES)]
    scene.write("server.c", SERVER % ("\n".join("int %s(int);" % name for name in names),
                                      " + ".join("%s(1)" % name for name in names)))
    scene.run_ok(["cc", "-O2", "-o", scene.path("server"), scene.path("server.c"), "-L" + scene.dir, "-Wl,-rpath," + scene.dir,
                  *("-l" + name for name in names)], shim=False)
    return scene.path("server")


CPP_PROGRAM = r"""
#include <string>
int main()
{
	std::string text;
	for (volatile unsigned long i = 0;; i++)
		text = std::to_string(i);
}
"""
TABLES_OF = ("libc.so.6", "libstdc++.so.6")
TABLES_READY_MS, ROW_BYTES = 150.0, 8.0
PIECE_BYTES = 64  # SEG_UNWIND_PIECE_BYTES, in which tables are laid down


def tables_of(program):
    """What /self says of the tables of the libraries, None while one is not ready; and bytes of all tables for each row of them."""
    told = program.json("/self")
    tables = {os.path.basename(module["path"]): module["unwind"] for module in told["modules"] if "rows" in module.get("unwind", {})}
    found = [next((table for path, table in tables.items() if path.startswith(name)), None) for name in TABLES_OF]
    if None in found:
        return None
    pieces = told["memory"]["tables"]["unwind_pieces"]["used"]
    return found, pieces * PIECE_BYTES / sum(table["rows"] for table in tables.values())


def measure_tables(figures, pairs):
    scene = Scene("bench-startup-tables")
    try:
        scene.write("busy.cpp", CPP_PROGRAM)
        scene.run_ok(["c++", "-O2", "-o", scene.path("busy"), scene.path("busy.cpp")], shim=False)
        ready_ms, row_bytes = [], 0
        for _ in range(pairs):
            program = scene.start([scene.path("busy")], "busy")
            program.wait_ready()
            wait_until(lambda: tables_of(program), 30, "tables of %s" % " and ".join(TABLES_OF))
            found, row_bytes = tables_of(program)
            ready_ms.append(1e3 * max(table["ready_after_seconds"] for table in found))
            program.kill_all()
    finally:
        scene.close(False, False)
    figures.add_median("startup_tables_ready", ready_ms, "ms")
    figures.add("startup_tables_ready_bound", TABLES_READY_MS, "ms")
    figures.add("startup_tables_row", row_bytes, "bytes")
    figures.add("startup_tables_row_bound", ROW_BYTES, "bytes")


def time_of_true(argv, environment):
    began = time.perf_counter_ns()
    subprocess.run(argv, env=environment, check=True)
    return time.perf_counter_ns() - began


def time_until_it_listens(argv, environment):
    began = time.perf_counter_ns()
    server = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE)
    server.stdout.readline()
    took = time.perf_counter_ns() - began
    server.kill()
    server.wait()
    server.stdout.close()
    return took


# How it is timed, how often each pair is, and by how much it may be later at most, in milliseconds.
LATER = {"true": (time_of_true, 8, 1.0), "hundred_modules": (time_until_it_listens, 2, 20.0)}
PARTS = [*LATER, "tables"]


def measure(figures, part, pairs):
    if part == "tables":
        measure_tables(figures, pairs)
        return
    timed, repeats, bound_ms = LATER[part]
    scene = Scene("bench-startup-" + part)
    session_dir = tempfile.mkdtemp(prefix="profshim-bench-", dir="/dev/shm")  # where sessions live by default
    os.sched_setaffinity(0, {0})  # also for what is started: neither waits for the other's processor
    try:
        argv = ["/bin/true" if part == "true" else make_server(scene)]
        environments = {"plain": scene.plain_environment(), "shim": scene.shim_environment(listen="127.0.0.1:0", dir=session_dir)}
        results = rounds(environments, lambda variant: timed(argv, environments[variant]), pairs * repeats)
    finally:
        os.sched_setaffinity(0, range(os.cpu_count()))
        shutil.rmtree(session_dir)
        scene.close(False, False)
    later_ms = [(each["shim"] - each["plain"]) / 1e6 for each in results]
    low, high = median_interval(later_ms)
    figures.add("startup_%s_plain" % part, median([each["plain"] / 1e6 for each in results]), "ms")
    figures.add("startup_%s_later" % part, median(later_ms), "ms")
    figures.add("startup_%s_later_low" % part, low, "ms")
    figures.add("startup_%s_later_high" % part, high, "ms")
    figures.add("startup_%s_later_bound" % part, bound_ms, "ms")
