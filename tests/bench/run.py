#!/usr/bin/env python3
"""run - the benches: lines "name value unit", and the README's tables made from them. scripts/bench calls it.

    run.py [--pairs N] [--out FOLDER] [--readme | --readme-only] [SECTION[:PART]...]

Sections: cost:WORKLOAD (what profshim costs a server), instructions:WORKLOAD (the same, counted), handler (what a sample costs,
beside the peers'), startup:PART (how much later a program is up), scrape, growth:WHAT (of a sample's cost),
ticks (what the kernel's clocks cost without us). Without any: all.
"""
import argparse
import os
import sys
import time

import cost
import growth
import handler
import instructions
import readme
import scrape
import startup
import ticks
from harness import BUILD, TREE
from measure import Figures

SECTIONS = {"cost": (cost.WORKLOADS, cost.measure), "instructions": (instructions.WORKLOADS, instructions.measure),
            "handler": (handler.PARTS, handler.measure), "startup": (startup.PARTS, startup.measure),
            "scrape": (scrape.PARTS, scrape.measure), "growth": (growth.PARTS, growth.measure),
            "ticks": (ticks.PARTS, ticks.measure)}


def wanted_parts(words):
    """(section, part) of each that was asked for."""
    for section, (parts, _) in SECTIONS.items():
        for part in parts:
            if not words or section in words or "%s:%s" % (section, part) in words:
                yield section, part


def machine():
    """The processor, how many of it there are, the kernel, and today."""
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), os.uname().machine)
    return "%d cores of %s, Linux %s, %s" % (os.cpu_count(), model, os.uname().release.split("-")[0], time.strftime("%Y-%m-%d"))


def keep(figures, folder):
    """The lines into figures.txt, beside those of other sections that are there from before."""
    path = os.path.join(folder, "disturbed.txt" if figures.keeps_disturbed else "figures.txt")
    new = {name for name, _, _ in figures.lines} | set(figures.missing)
    old = []
    if os.path.exists(path):
        with open(path) as file:
            old = [line for line in file if not line.startswith("#") and line.split(" ", 1)[0] not in new]
    with open(path, "w") as file:
        file.writelines(["# %s\n" % machine(), *old, *("%s %s %s\n" % line for line in figures.lines)])


def main():
    parser = argparse.ArgumentParser(prog="bench", description="Measures what profshim costs; see scripts/bench.")
    parser.add_argument("--pairs", type=int, default=15, help="rounds of each comparison (default: 15)")
    parser.add_argument("--keep-disturbed", action="store_true", help="count also what was measured beside other load")
    parser.add_argument("--out", default=os.path.join(BUILD, "figures"),
                        help="the folder that gets the lines, as figures.txt beside those of former runs, and the plots")
    parser.add_argument("--readme", action="store_true", help="write the tables into README.md and the plots beside it")
    parser.add_argument("--readme-only", action="store_true", help="the same, of what is in FOLDER; nothing is measured")
    parser.add_argument("sections", nargs="*", help="SECTION or SECTION:PART: " + ", ".join(
        "%s:%s" % (section, part) for section, (parts, _) in SECTIONS.items() for part in parts))
    options = parser.parse_args()
    parts = list(wanted_parts(options.sections))
    known = {word for section, part in wanted_parts([]) for word in (section, "%s:%s" % (section, part))}
    unknown = [word for word in options.sections if word not in known]
    if unknown:
        parser.error("there is no section \"%s\"" % unknown[0])
    if options.readme and options.keep_disturbed:
        parser.error("what is measured beside other load does not go into README.md")
    os.makedirs(options.out, exist_ok=True)
    figures = Figures(options.out, options.keep_disturbed)
    if not options.readme_only:
        for section, part in parts:
            SECTIONS[section][1](figures, part, options.pairs)
            keep(figures, options.out)
    if options.readme or options.readme_only:
        readme.write(TREE, options.out)
    if figures.missing:
        print("not measured: %s" % " ".join(figures.missing), file=sys.stderr)
    return 1 if figures.missing else 0


if __name__ == "__main__":
    sys.exit(main())
