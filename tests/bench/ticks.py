"""ticks - what a tick of each of the kernel's clocks costs a thread, whatever its handler does: bench_ticks's figures.

    each    a tick in all, of a thread that works on
    second  what a second's ticks cost such a thread, at 1,000 Hz asked for; the timer has one in each tick of the kernel at most
    wait    what the clock costs a thread each time that it waits
"""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from harness import BUILD, Failure

PARTS = ["clocks"]
ROUNDS_A_PAIR = 3


def measure(figures, _part, pairs):
    """One process: its rounds are what the median is of."""
    done = subprocess.run([os.path.join(BUILD, "tests", "bench", "bench_ticks"), str(pairs * ROUNDS_A_PAIR)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Failure("bench_ticks ended with code %d: %s" % (done.returncode, done.stderr))
    for line in done.stdout.splitlines():
        name, value, unit = line.split(" ")
        figures.add(name, float(value), unit)
