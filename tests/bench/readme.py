"""readme - the figures as tables of the README, between two markers, and the plots beside it.

What is asked stands in the figures themselves: NAME_bound is what NAME must not exceed, NAME_least what it must reach. A figure
that misses its mark is set in bold. What was not measured is not shown.
"""
import os
import re
import shutil

BEGIN, END = "<!-- figures: written by scripts/bench --readme -->", "<!-- end of figures -->"
PLOTS = "doc"  # folder of the tree

WORKLOADS = {"nginx_return": "nginx, `return 200`", "nginx_1k_file": "nginx, a file of 1 KiB", "redis_get": "Redis GET, pipeline 1",
             "redis_get_p16": "Redis GET, pipeline 16", "pgbench_select": "pgbench -S", "grpc_echo": "gRPC echo"}
COSTS = {"everything_99": "everything, 99 Hz", "sampling_1000": "sampling, 1,000 Hz", "disabled": "loaded, disabled",
         "gperftools_99": "gperftools, 99 Hz", "gperftools_1000": "gperftools, 1,000 Hz",
         "perf_99": "perf -g, 99 Hz", "perf_1000": "perf -g, 1,000 Hz"}
LABELS = {"startup_true_later": "`true` under the shim ends later by",
          "startup_hundred_modules_later": "a server of 100 libraries listens later by",
          "startup_tables_ready": "unwind tables of libc and libstdc++ are ready after",
          "startup_tables_row": "memory of unwind tables, for each row",
          "scrape_1000_label_sets": "a scrape of 1,000 label sets, CPU"}
HANDLERS = {"same": "a sample of profshim's, the stack as it was", "moved": "the same, five frames are others",
            "cold": "the same, nothing is remembered", "peer_backtrace": "libunwind's `unw_backtrace`, which remembers",
            "peer_backtrace_moved": "the same, five frames are others", "peer_cursor": "libunwind's cursor",
            "peer_gperftools_same": "a sample of gperftools'", "peer_gperftools_moved": "the same, five frames are others"}
PEERS = {"cursor": "libunwind's cursor", "backtrace": "libunwind's `unw_backtrace`", "gperftools": "gperftools' handler"}
CLOCKS = {"timer": "`timer_create` on the thread's CPU clock", "itimer": "`setitimer`, ITIMER_PROF", "perf": "`perf_event_open`, with a signal",
          "perf_silent": "the same without the signal"}
GROWTH = re.compile(r"^growth_([a-z]+)_(\d+)$")


def number(value, digits):
    return "%.0f" % value if abs(value) >= 100 else "%.*g" % (digits, value)


class Measured:
    """figures.txt: lines "name value unit", and those that begin with "#", which tell of the machine."""

    def __init__(self, path):
        self.values, self.units, self.notes = {}, {}, []
        with open(path) as file:
            for line in file:
                if line.startswith("#"):
                    self.notes.append(line[1:].strip())
                    continue
                name, value, unit = line.rstrip("\n").split(" ", 2)
                self.values[name], self.units[name] = float(value), unit

    def asked(self, name):
        """"≤ 3 %", or nothing."""
        for suffix, sign in (("_bound", "≤"), ("_least", "≥")):
            if name + suffix in self.values:
                return "%s %s" % (sign, self.told(name + suffix))
        return ""

    def is_met(self, name):
        value = self.values[name]
        return value <= self.values.get(name + "_bound", value) and value >= self.values.get(name + "_least", value)

    def told(self, name):
        value = self.values[name]
        return "%s %s" % (number(value, 3), self.units[name])

    def got(self, name):
        """"+1.2 % (0.9 to 1.5)", in bold where it misses what is asked."""
        text = self.told(name)
        if not self.is_met(name):
            text = "**%s**" % text
        if name + "_low" in self.values:
            text += " (%s to %s)" % (number(self.values[name + "_low"], 2), number(self.values[name + "_high"], 2))
        return text


def table(head, rows):
    return ["| %s |" % " | ".join(head), "|%s" % ("---|" * len(head)), *("| %s |" % " | ".join(row) for row in rows), ""]


def told_rates(measured, end):
    """Of all workloads, each once, in order."""
    return sorted({measured.told(name) for name in measured.values if name.endswith(end)}, key=lambda told: float(told.split()[0]))


def span(told):
    if not told:
        return "some"
    return told[0] if len(told) == 1 else "%s to %s" % (told[0], told[-1])


def costs(measured):
    """Ours with what is asked in a first table, ratios side by side with the peers' in a second one."""
    names = [name for name in WORKLOADS if "cost_%s_plain" % name in measured.values]
    if not names:
        return []

    def cell(workload, cost, has_asked):
        name = "cost_%s_%s" % (workload, cost)
        if name not in measured.values:
            return ""
        asked = measured.asked(name) if has_asked else ""
        return measured.got(name) + (", asked " + asked if asked else "")
    ours, peers = list(COSTS)[:3], list(COSTS)[3:]
    lines = ["CPU time per request, and by how much it rises: median of rounds, in parentheses its 95 % interval.", ""]
    lines += table(["server", "without", *(COSTS[cost] for cost in ours)],
                   [[WORKLOADS[name], measured.told("cost_%s_plain" % name), *(cell(name, cost, True) for cost in ours)] for name in names])
    lines += ["The peers beside it, in the same rounds:", ""]
    lines += table(["server", COSTS["everything_99"], *(COSTS[cost] for cost in peers)],
                   [[WORKLOADS[name], *(cell(name, cost, False) for cost in ["everything_99", *peers])] for name in names])
    rates = told_rates(measured, "sampling_1000_rate")
    if rates:
        lines += ["Of 1,000 Hz asked for, `PROFSHIM_BUDGET` left %s in these runs; samples came at %s of CPU time, each" %
                  (span(rates), span(told_rates(measured, "sampling_1000_samples"))),
                  "with the time it stands for: there is one in each tick of the kernel at most, unless the perf clock fits into the budget.",
                  "gperftools' timers end at a fork, so it takes no samples of PostgreSQL's sessions.", ""]
    return lines


def instructions(measured):
    """What a request takes in user mode without profshim, and what it takes more with it."""
    names = [name for name in WORKLOADS if "instructions_%s_plain" % name in measured.values]
    if not names:
        return []

    def more(workload, variant):
        name = "instructions_%s_%s" % (workload, variant)
        if name not in measured.values:
            return ""
        count = measured.values[name] - measured.values["instructions_%s_plain" % workload]
        return "%s (%s)" % (format(round(count), "+,"), measured.told(name + "_more"))
    lines = ["Instructions in user mode per request, counted by valgrind:", ""]
    return lines + table(["server", "without", "loaded, disabled", "requests without samples"],
                         [[WORKLOADS[name], format(round(measured.values["instructions_%s_plain" % name]), ","),
                           more(name, "disabled"), more(name, "requests_only")] for name in names])


def handlers(measured):
    """The times of a sample, and how many times faster than the peers' that is."""
    def cell(name):
        asked = measured.asked(name) if name in measured.values else ""
        return (measured.got(name) if name in measured.values else "") + (", asked " + asked if asked else "")
    depths = sorted({int(name.split("_")[2]) for name in measured.values if re.match(r"handler_same_[0-9]+_p50$", name)})
    if not depths:
        return []
    lines = ["A sample's whole handler, called in a process of functions without frame pointers, and what the peers take for the same stack:", ""]
    lines += table(["", *("%d frames, %s" % (depth, which) for depth in depths for which in ("p50", "p99"))],
                   [[told, *(cell("handler_%s_%d_%s" % (name, depth, which)) for depth in depths for which in ("p50", "p99"))]
                    for name, told in HANDLERS.items()])
    lines += ["By the medians it is so many times faster than", ""]
    lines += table(["", *("%d frames, %s" % (depth, state) for depth in depths for state in ("same", "moved"))],
                   [[told, *(cell("handler_%s_%d_faster_than_%s" % (state, depth, peer)) for depth in depths for state in ("same", "moved"))]
                    for peer, told in PEERS.items()])
    return lines


def others(measured):
    """Whatever else has a mark to reach."""
    names = [name for name in measured.values if measured.asked(name) and not name.startswith(("cost_", "handler_", "growth_", "ticks_"))]
    rows = [[LABELS.get(name, name.replace("_", " ")), measured.asked(name), measured.got(name)] for name in names]
    return table(["what", "asked", "got"], rows) if rows else []


def growth(measured, plots):
    """A row of each kind, its largest beside what logarithmic growth from the smallest would come to."""
    points = {}
    for name in measured.values:
        match = GROWTH.match(name)
        if match:
            points.setdefault(match.group(1), []).append((int(match.group(2)), name))
    rows = []
    for kind, found in points.items():
        plot = "growth_%s.svg" % kind
        title = "[%s](%s/%s)" % (kind, PLOTS, plot) if plot in plots else kind
        rows.append([title, ", ".join("%s: %s" % (format(value, ","), measured.got(name)) for value, name in sorted(found)),
                     measured.asked(max(found)[1])])
    return ["CPU time of a sample:", "", *table(["by", "got", "asked of the last"], rows)] if rows else []


def ticks(measured):
    """What the kernel's clocks cost without a handler of ours."""
    names = [name for name in CLOCKS if "ticks_%s_second" % name in measured.values]
    if not names:
        return []
    rows = [[CLOCKS[name], *(measured.told("ticks_%s_%s" % (name, what)) if "ticks_%s_%s" % (name, what) in measured.values else ""
                             for what in ("rate", "each", "second", "wait"))] for name in names]
    lines = ["What the kernel's clocks cost a thread on this machine, 1,000 ticks a second asked for and a handler that does nothing:", ""]
    return lines + table(["clock", "ticks", "each", "of the thread's time", "for each wait"], rows)


def write(tree, folder):
    """The figures of a folder, and its plots, into the tree."""
    measured = Measured(os.path.join(folder, "figures.txt"))
    plots = [name for name in sorted(os.listdir(folder)) if name.endswith(".svg")]
    os.makedirs(os.path.join(tree, PLOTS), exist_ok=True)
    for name in plots:
        shutil.copyfile(os.path.join(folder, name), os.path.join(tree, PLOTS, name))
    lines = [*("Measured by `scripts/bench` on %s." % note for note in measured.notes), "", *costs(measured), *instructions(measured),
             *handlers(measured), *ticks(measured), *others(measured), *growth(measured, plots)]
    path = os.path.join(tree, "README.md")
    with open(path) as file:
        before, begin, rest = file.read().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit("bench: README.md lacks the lines %s and %s" % (BEGIN, END))
    with open(path, "w") as file:
        file.write(before + "\n".join([BEGIN, "", *lines, END]) + after)
