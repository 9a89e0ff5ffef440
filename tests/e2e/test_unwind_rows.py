#!/usr/bin/env python3
"""Unwind tables against another reader: what binutils' readelf makes of the call frame information of real files, row by
row. And how little of it has no rule."""
import bisect
import collections
import glob
import os
import re
import shutil
import subprocess

from harness import BUILD, FULL, run_tests, test

PATH = os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin"
LIBRARIES = "/usr/lib/x86_64-linux-gnu/"
EVERY = 1 if FULL else 5  # of the functions, one in so many is compared
COMPARED = [LIBRARIES + "libc.so.6", LIBRARIES + "libstdc++.so.6", LIBRARIES + "libcrypto.so.3", "nginx", "redis-server"]
COUNTED = COMPARED + ["/lib64/ld-linux-x86-64.so.2", "/usr/bin/python3", "mariadbd", "postgres", "rg"]

Row = collections.namedtuple("Row", "cfa bp bx")
NONE = Row("none", "u", "u")
OURS_OF_EXPRESSION = {  # what stands for an expression of DWARF's
    "DW_OP_breg7 (rsp): 8; DW_OP_breg16 (rip): 0; DW_OP_lit15; DW_OP_and; DW_OP_lit11; DW_OP_ge; DW_OP_lit3; DW_OP_shl; DW_OP_plus":
    "plt+11"}

# Why a row of readelf's may be unsupported.
RETURN_ELSEWHERE = "its return address is not below the CFA but in a register, or where longjmp or setcontext will jump to"
CALCULATED = "its CFA is calculated in a way that has no rule"


def file_of(name):
    path = name if "/" in name else shutil.which(name, path=PATH) or max(glob.glob("/usr/lib/postgresql/*/bin/" + name), default=name)
    return os.path.realpath(path)


class Table:
    """The rows that profshim makes of a file: each holds from its address to the next one's."""

    def __init__(self, scene, path):
        rows = scene.run_ok([os.path.join(BUILD, "tests", "unit", "sampling", "unwind_rows"), path], shim=False).splitlines()
        self.bytes = int(rows[0].split()[-1])
        self.addresses, self.rows = [], []
        for line in rows[1:]:
            address, *row = line.split()
            self.addresses.append(int(address, 16))
            self.rows.append(Row(*row))

    def at(self, address):
        place = bisect.bisect_right(self.addresses, address)
        return self.rows[place - 1] if place else NONE

    def beginnings(self, low, high):
        """Of rows that begin between two addresses."""
        return self.addresses[bisect.bisect_right(self.addresses, low):bisect.bisect_left(self.addresses, high)]


def readelf(path, how):
    """What it says on standard output. It warns of what it does not know in other sections, and fails for that."""
    done = subprocess.run(["readelf", "--wide", "--debug-dump=" + how, path], capture_output=True, text=True, check=False,
                          env={"LC_ALL": "C", "PATH": PATH, "DEBUGINFOD_URLS": ""})
    return done.stdout.splitlines()


def functions_of(path):
    """(low, high, [(address, {column: text})]) of each function; where there are no rows of its own it has its CIE's."""
    common, functions, rows, columns = {}, [], None, []
    for line in readelf(path, "frames-interp"):
        cie = re.match(r"([0-9a-f]{8}) \S+ \S+ CIE ", line)
        fde = re.match(r"[0-9a-f]{8} \S+ \S+ FDE cie=([0-9a-f]+) pc=([0-9a-f]+)\.\.([0-9a-f]+)", line)
        if cie:
            rows = common[int(cie[1], 16)] = []
        elif fde:
            rows = []
            functions.append((int(fde[2], 16), int(fde[3], 16), rows, common[int(fde[1], 16)]))
        elif line.startswith("   LOC"):
            columns = line.split()[1:]
        elif rows is not None and re.match(r"[0-9a-f]{16} ", line):
            address, *values = re.sub(r" \((\w+)\)", "", line).split()  # a register is shown as r1 (rdx)
            rows.append((int(address, 16), dict(zip(columns, values))))
    return [(low, high, rows or [(low, own[0][1])]) for low, high, rows, own in functions if high > low]


def expressions_of(path):
    """Of CFAs, by the function's first address, in order."""
    found, low = collections.defaultdict(list), None
    for line in readelf(path, "frames"):
        fde = re.search(r" pc=([0-9a-f]+)\.\.", line)
        expression = re.search(r"DW_CFA_def_cfa_expression \((.*)\)$", line)
        if fde:
            low = int(fde[1], 16)
        elif expression:
            found[low].append(expression[1])
    return found


def rule_of_expression(text):
    deref = re.fullmatch(r"DW_OP_breg[67] \((rsp|rbp)\): (-?\d+); DW_OP_deref(?:; DW_OP_plus_uconst: (\d+))?", text)
    if deref and deref[1] == "rsp" and deref[2] == "160" and not deref[3]:
        return "signal"
    if deref:
        return "*(%s%+d)%+d" % (deref[1], int(deref[2]), int(deref[3] or 0))
    return OURS_OF_EXPRESSION.get(text, CALCULATED)


def is_same_saved(ours, theirs):
    if theirs in ("exp", "vexp") or theirs.startswith("v"):
        return ours == "lost" or ours.startswith("b")
    if re.fullmatch(r"c[+-]\d+", theirs):
        return ours == theirs or (ours == "lost" and (int(theirs[1:]) >= 0 or int(theirs[1:]) < -8 * 61))
    return ours in ("u", "lost") if theirs == "u" else ours == "lost"


def difference(ours, theirs, expressions):
    """None where the rows say the same; else (kind, reason or None)."""
    cfa, ra = theirs["CFA"], theirs.get("ra", theirs.get("rip", "u"))
    if ra == "u":
        return None if ours.cfa == "end" else ("the outermost frame", None)
    wanted = {rule_of_expression(text) for text in expressions} if cfa == "exp" else {cfa}
    if ours.cfa == "signal" and "signal" in wanted:
        return None
    if ra != "c-8":
        return ("unsupported", RETURN_ELSEWHERE) if ours.cfa == "unsupported" else ("a return address elsewhere", None)
    if ours.cfa == "unsupported":
        return ("unsupported", CALCULATED if CALCULATED in wanted else None)
    if ours.cfa not in wanted:
        return ("another CFA", None)
    if not is_same_saved(ours.bp, theirs.get("rbp", "u")):
        return ("another rbp", None)
    return None if is_same_saved(ours.bx, theirs.get("rbx", "u")) else ("another rbx", None)


class Comparison:
    def __init__(self):
        self.rows = self.unexplained = 0
        self.differences = []

    def note(self, address, ours, theirs, what):
        kind, reason = what
        self.unexplained += reason is None
        self.differences.append("%x: %s: %s and readelf's %s: %s" % (
            address, kind, " ".join(ours), " ".join("%s=%s" % item for item in theirs.items()), reason or "NOT EXPLAINED"))

    def function(self, table, low, high, rows, expressions):
        """Each row at its first and at its last byte; and where ours begin, theirs do."""
        ends = [address for address, _ in rows[1:]] + [high]
        for (address, theirs), end in zip(rows, ends):
            if end <= address:
                continue  # advanced by nothing: the next one takes its place
            self.rows += 1
            for place in {address, end - 1}:
                what = difference(table.at(place), theirs, expressions)
                if what:
                    self.note(place, table.at(place), theirs, what)
                    break
        theirs = {address for address, _ in rows}
        for address in table.beginnings(low, high):
            if address not in theirs:
                self.note(address, table.at(address), {}, ("a row that readelf does not have", None))


@test
def rows_are_those_that_readelf_reads(scene):
    for name in COMPARED:
        path = file_of(name)
        table, functions, expressions = Table(scene, path), functions_of(path), expressions_of(path)
        functions.sort(key=lambda function: function[0])
        lows = [low for low, *_ in functions]
        comparison = Comparison()
        for number, (low, high, rows) in enumerate(functions):
            # Sampled; but all that is unusual.
            if number % EVERY and low not in expressions:
                continue
            comparison.function(table, low, high, rows, expressions[low])
            following = bisect.bisect_left(lows, high)
            if following == len(lows) or lows[following] != high:
                what = table.at(high)
                if what != NONE:
                    comparison.note(high, what, {}, ("a rule behind the end of a function", None))
        scene.say("%s: %d functions, %d rows compared, %d differ" % (name, len(functions), comparison.rows, len(comparison.differences)))
        for line in comparison.differences[:40]:
            scene.say(line)
        scene.at_least("rows of %s that were compared" % name, comparison.rows, 15000 // EVERY)
        scene.equal("differences in %s without a reason" % name, comparison.unexplained, 0)


@test
def hardly_a_row_has_no_rule(scene):
    rows = unsupported = 0
    for name in COUNTED:
        table = Table(scene, file_of(name))
        without = [address for address, row in zip(table.addresses, table.rows) if row.cfa == "unsupported"]
        lost = sum("lost" in (row.bp, row.bx) for row in table.rows)
        scene.say("%s: %d rows, %d without a rule%s; %d that lose rbp or rbx; %.2f bytes a row" % (
            name, len(table.rows), len(without), "".join(" %x" % address for address in without), lost, table.bytes / len(table.rows)))
        rows += len(table.rows)
        unsupported += len(without)
    scene.say("all: %d rows, %d without a rule" % (rows, unsupported))
    scene.at_least("rows", rows, 500000)
    scene.at_most("rows without a rule, of 100,000", 100000 * unsupported / rows, 3)


if __name__ == "__main__":
    run_tests()
