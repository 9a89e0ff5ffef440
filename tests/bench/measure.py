"""measure - CPU time of programs, ratios of neighbours in time, medians, and figures as lines "name value unit".

Two cores and neighbours make clocks lie. So what is measured is CPU time per operation, on one core that the server has for
itself, and what counts is the ratio between slices that lie beside each other in time: a block asks A B B A for the same, so
that what drifts slowly hits both alike. Programs are started anew for each round, since where the loader and the allocator
happen to put things is worth a per cent, which no repetition within one process averages away. A round's ratio is the median
of its blocks; the figure is the median of the rounds with its 95 % interval by ranks (binomial, no assumption on shapes). A
block in which others had a part of the cores is not counted, and how many those were is a figure, too.
"""
import math
import os
import random
import sys
import time

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def median(values):
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def median_interval(values):
    """Low and high end of the 95 % interval of the median: ranks n/2 -+ 0.98 sqrt(n); of fewer than six all there is."""
    values = sorted(values)
    reach = 0.98 * math.sqrt(len(values))
    low = max(0, math.floor(len(values) / 2 - reach))
    high = min(len(values) - 1, math.ceil(len(values) / 2 + reach) - 1)
    return values[low], values[high]


def tree_of(pid):
    """A process and what it started, and so on."""
    pids = [pid]
    for parent in pids:
        try:
            for task in os.listdir("/proc/%d/task" % parent):
                with open("/proc/%d/task/%s/children" % (parent, task)) as children:
                    pids += [int(child) for child in children.read().split()]
        except OSError:
            continue  # it ended meanwhile
    return pids


def process_clock_ns(pid):
    """CPU time of a process, ended threads included, exactly: the clock that clock_getcpuclockid(3) names."""
    by_scheduler = 2  # include/linux/posix-timers_types.h: CPUCLOCK_SCHED of a process
    return time.clock_gettime_ns((~pid << 3) | by_scheduler)


def cpu_ns(pid):
    """CPU time of a process and its children, also of those that ended and were waited for (these by the tick: proc(5))."""
    total = 0
    for member in tree_of(pid):
        try:
            total += process_clock_ns(member)
            with open("/proc/%d/stat" % member) as file:
                fields = file.read().rpartition(")")[2].split()
            total += (int(fields[13]) + int(fields[14])) * 1000000000 // TICKS_PER_SECOND
        except OSError:
            continue
    return total


def core_ticks(core):
    """(busy, stolen) of one core, in ticks: proc(5), /proc/stat."""
    with open("/proc/stat") as file:
        fields = next(line.split()[1:] for line in file if line.startswith("cpu%s " % core))
    user, nice, system, _, _, irq, softirq, steal = (int(field) for field in fields[:8])
    return user + nice + system + irq + softirq, steal


def rounds(variants, measure, count):
    """[{variant: measure(variant)}], one for each round; the first, in which everything is cold, is not among them."""
    order, results = list(variants), []
    dice = random.Random(1)
    for _ in range(count + 1):
        dice.shuffle(order)
        results.append({variant: measure(variant) for variant in order})
    return results[1:]


class Figures:
    """What was measured, in order; printed as it comes. Plots go into a folder. What a figure NAME must not exceed is a
    figure itself, NAME_bound, and what it must reach is NAME_least. keeps_disturbed: what was
    measured beside other load counts, too, to try the benches themselves."""

    def __init__(self, folder, keeps_disturbed=False):
        self.lines, self.missing = [], []
        self.folder = folder
        self.keeps_disturbed = keeps_disturbed

    def miss(self, name, reason):
        """There is no such figure this time."""
        self.missing.append(name)
        print("%s: not measured: %s" % (name, reason), file=sys.stderr, flush=True)

    def add_plot(self, name, text):
        with open(os.path.join(self.folder, name), "w") as file:
            file.write(text)

    def add(self, name, value, unit):
        text = "%.4g" % value if isinstance(value, float) else str(value)
        self.lines.append((name, text, unit))
        print("%s %s %s" % (name, text, unit), flush=True)

    def add_median(self, name, values, unit):
        """The median of rounds, and its interval."""
        low, high = median_interval(values)
        self.add(name, median(values), unit)
        self.add(name + "_low", low, unit)
        self.add(name + "_high", high, unit)
