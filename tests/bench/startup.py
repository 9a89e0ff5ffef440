"""startup - how much later a program is where it would have been without the shim.

    true              a program that does nothing, from its start to its end
    hundred_modules   a server linked with 100 libraries, from its start until it listens
"""
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from harness import Scene
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
PARTS = {"true": (time_of_true, 8, 1.0), "hundred_modules": (time_until_it_listens, 2, 20.0)}


def measure(figures, part, pairs):
    timed, repeats, bound_ms = PARTS[part]
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
