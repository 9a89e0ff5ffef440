"""measure - CPU time of programs, medians of pairs, and figures as lines "name value unit".

Two cores and neighbours make clocks lie. So what is measured is CPU time per operation, on one core that the server has
for itself, in rounds: each round asks every variant for the same, in an order of its own, and what counts is the ratio
within the round. The median of the rounds is given with its 95 % interval by ranks (binomial, no assumption on shapes).
"""
import math
import os
import random

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def median(values):
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def median_interval(values):
    """Low and high end of the 95 % interval of the median: ranks n/2 -+ 0.98 sqrt(n)."""
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


def cpu_ns(pid):
    """CPU time of a process, its threads and its children, also of those that ended and were waited for (these by the
    tick: proc(5))."""
    total = 0
    for member in tree_of(pid):
        try:
            for task in os.listdir("/proc/%d/task" % member):
                with open("/proc/%d/task/%s/schedstat" % (member, task)) as file:
                    total += int(file.read().split()[0])
            with open("/proc/%d/stat" % member) as file:
                fields = file.read().rpartition(")")[2].split()
            total += (int(fields[13]) + int(fields[14])) * 1000000000 // TICKS_PER_SECOND
        except OSError:
            continue
    return total


def rounds(variants, measure, count):
    """[{variant: measure(variant)}], one for each round; the first, in which everything is cold, is not among them."""
    order, results = list(variants), []
    dice = random.Random(1)
    for _ in range(count + 1):
        dice.shuffle(order)
        results.append({variant: measure(variant) for variant in order})
    return results[1:]


class Figures:
    """What was measured, in order; printed as it comes. Plots go into a folder, if there is one."""

    def __init__(self, folder=None):
        self.lines = []
        self.folder = folder

    def add_plot(self, name, text):
        if self.folder:
            with open(os.path.join(self.folder, name), "w") as file:
                file.write(text)

    def add(self, name, value, unit):
        text = "%.4g" % value if isinstance(value, float) else str(value)
        self.lines.append((name, text, unit))
        print("%s %s %s" % (name, text, unit), flush=True)

    def add_ratio(self, name, results, variant, base):
        """By how many percent the variant is dearer than the base in the same round: median, and its interval."""
        percents = [100 * (each[variant] / each[base] - 1) for each in results]
        low, high = median_interval(percents)
        self.add(name, median(percents), "%")
        self.add(name + "_low", low, "%")
        self.add(name + "_high", high, "%")
