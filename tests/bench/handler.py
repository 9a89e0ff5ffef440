"""handler - what a sample costs inside the process, beside what others take for the same stack: bench_unwind's figures of
stacks without frame pointers, as medians of processes started anew. It lets its variants take turns, so the ratios of each
process are of neighbours in time.

    same    the stack is that of the sample before
    moved   five frames of it are others
    cold    nothing is remembered, neither of the stack nor of the code
"""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from harness import BUILD, Failure

PARTS = ["stacks"]
DEPTHS = (40, 128)
ROUNDS = 10000
CORE = 0

# What is ours, and what a sample with 40 frames may take of it (the median), in nanoseconds.
OURS = {"same": 1000.0, "moved": 1000.0, "cold": 3000.0}
# bench_unwind's names of the others, for the same stack and for one that has moved on.
PEERS = {"cursor": ("cursor", "cursor"), "backtrace": ("backtrace", "backtrace_moved"),
         "gperftools": ("gperftools_same", "gperftools_moved")}
# So many times ours each of them must take at least.
LEAST = {"cursor": 10.0, "backtrace": 2.0, "gperftools": 2.0}


def run_once():
    """{"handler_same_40_p50": ns, ...} of one process."""
    argv = ["taskset", "-c", str(CORE), os.path.join(BUILD, "tests", "bench", "bench_unwind"), str(ROUNDS)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Failure("bench_unwind ended with code %d: %s" % (done.returncode, done.stderr))
    lines = [line.split(" ") for line in done.stdout.splitlines()]
    return {name[len("unwind_"):]: float(value) for name, value, _ in lines}


def measure_depth(figures, runs, depth):
    for which in ("p50", "p99"):
        for state in OURS:
            figures.add_median("handler_%s_%d_%s" % (state, depth, which), [run["handler_%s_%d_%s" % (state, depth, which)] for run in runs], "ns")
            if (depth, which) == (40, "p50"):
                figures.add("handler_%s_40_p50_bound" % state, OURS[state], "ns")
        for peer, names in PEERS.items():
            for name in dict.fromkeys(names):
                figures.add_median("handler_peer_%s_%d_%s" % (name, depth, which), [run["%s_%d_%s" % (name, depth, which)] for run in runs], "ns")
    for peer, names in PEERS.items():
        for state, name in zip(("same", "moved"), names):
            figure = "handler_%s_%d_faster_than_%s" % (state, depth, peer)
            ratios = [run["%s_%d_p50" % (name, depth)] / run["handler_%s_%d_p50" % (state, depth)] for run in runs]
            figures.add_median(figure, ratios, "times")
            figures.add(figure + "_least", LEAST[peer], "times")


def measure(figures, _part, pairs):
    runs = [run_once() for _ in range(pairs)]
    for depth in DEPTHS:
        measure_depth(figures, runs, depth)
