#!/usr/bin/env python3
"""run - the benches: lines "name value unit", and the README's table made from them. scripts/bench calls it.

    run.py [--pairs N] [--out FOLDER] [SECTION[:PART]...]

Sections: cost:WORKLOAD (what profshim costs a server), startup:PART (how much later it is up), scrape,
growth:WHAT (of a sample's cost). Without any: all.
"""
import argparse
import os
import sys

import cost
import growth
import scrape
import startup
from measure import Figures

SECTIONS = {"cost": (cost.WORKLOADS, cost.measure), "startup": (startup.PARTS, startup.measure),
            "scrape": (scrape.PARTS, scrape.measure), "growth": (growth.PARTS, growth.measure)}


def wanted_parts(words):
    """(section, part) of each that was asked for."""
    for section, (parts, _) in SECTIONS.items():
        for part in parts:
            if not words or section in words or "%s:%s" % (section, part) in words:
                yield section, part


def main():
    parser = argparse.ArgumentParser(prog="bench", description="Measures what profshim costs; see scripts/bench.")
    parser.add_argument("--pairs", type=int, default=15, help="rounds of each comparison (default: 15)")
    parser.add_argument("--keep-disturbed", action="store_true", help="count also what was measured beside other load")
    parser.add_argument("--out", help="a folder that gets the lines, as figures.txt, and the plots")
    parser.add_argument("sections", nargs="*", help="SECTION or SECTION:PART: " + ", ".join(
        "%s:%s" % (section, part) for section, (parts, _) in SECTIONS.items() for part in parts))
    options = parser.parse_args()
    parts = list(wanted_parts(options.sections))
    known = {word for section, part in wanted_parts([]) for word in (section, "%s:%s" % (section, part))}
    unknown = [word for word in options.sections if word not in known]
    if unknown:
        parser.error("there is no section \"%s\"" % unknown[0])
    if options.out:
        os.makedirs(options.out, exist_ok=True)
    figures = Figures(options.out, options.keep_disturbed)
    for section, part in parts:
        SECTIONS[section][1](figures, part, options.pairs)
    if options.out:
        with open(os.path.join(options.out, "figures.txt"), "w") as out:
            out.writelines("%s %s %s\n" % line for line in figures.lines)


if __name__ == "__main__":
    sys.exit(main())
