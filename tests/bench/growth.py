"""growth - how the cost of a sample grows with the depth of the stack, the number of modules, the number of threads: CPU time
of the handler per sample, as profshim counts it itself; and with the number of stacks that were ever met: the median of the
handler's time at one of them, whichever, in a session that has room for all. A plot of each.
"""
import math
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from harness import BUILD, Failure, Scene
from measure import median
from plot import plot

HERE = os.path.dirname(os.path.abspath(__file__))
USUAL = {"depth": 32, "modules": 10, "threads": 1}
VALUES = {"depth": (4, 16, 64, 256, 500), "modules": (10, 50, 100, 500), "threads": (1, 10, 100, 1000),
          "stacks": (100, 1000, 10000, 100000, 1000000)}
PARTS = list(VALUES)
CPU_SECONDS = 8
HZ = 1000


def make_modules(scene, count):
    scene.run_ok(["cc", "-O2", "-fomit-frame-pointer", "-shared", "-fPIC", "-I" + HERE, "-o", scene.path("module0.so"),
                  os.path.join(HERE, "growth_module.c")], shim=False)
    with open(scene.path("module0.so"), "rb") as file:
        module = file.read()
    # Each a file of its own: the loader takes equal paths, not equal contents, for one module.
    return [scene.write("module%d.so" % number, module) for number in range(count)]


def cost_of_sample_ns(scene, **changed):
    shape = {**USUAL, **changed}
    modules = make_modules(scene, shape["modules"])
    program = scene.start([os.path.join(BUILD, "tests", "bench", "growth_load"), str(CPU_SECONDS), str(shape["depth"]),
                           str(shape["threads"]), *modules], "growth_load", hz=HZ, budget=0)
    program.wait_for_output("ready\n")
    program.wait_ready()
    program.wait_for_output("done\n", 600)
    metrics = program.metrics()
    program.kill_all()
    return 1e9 * metrics.sum("profshim_overhead_seconds_total", phase="sampling") / metrics.sum("profshim_samples_total")


def cost_among_stacks_ns(count, pairs):
    def once():
        argv = ["taskset", "-c", "0", os.path.join(BUILD, "tests", "bench", "bench_unwind"), "20000", "stacks", str(count)]
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise Failure("bench_unwind ended with code %d: %s" % (done.returncode, done.stderr))
        return next(float(line.split(" ")[1]) for line in done.stdout.splitlines() if line.startswith("unwind_stacks_%d_p50 " % count))
    return median([once() for _ in range(max(1, pairs // 3))])


def cost_in_program_ns(part, value):
    scene = Scene("bench-growth")
    try:
        return cost_of_sample_ns(scene, **{part: value})
    finally:
        scene.close(False, False)


def tell_bound(figures, part, points):
    """What the last point may come to: logarithmic growth is the first one's cost once more for each doubling."""
    (first, cost), (last, _) = points[0], points[-1]
    figures.add("growth_%s_%d_bound" % (part, last), cost * (1 + math.log2(last / first)), "ns")


def measure(figures, part, pairs):
    points = []
    for value in VALUES[part]:
        points.append((value, cost_among_stacks_ns(value, pairs) if part == "stacks" else cost_in_program_ns(part, value)))
        figures.add("growth_%s_%d" % (part, value), points[-1][1], "ns")
    tell_bound(figures, part, points)
    figures.add_plot("growth_%s.svg" % part, plot("CPU time of a sample by %s" % part, part, "ns", points))
