#!/usr/bin/env python3
"""check_exports - what libprofshim.so shows and needs: check_exports.py LIBRARY EXPORTS

1. Its dynamic symbols are exactly the lines of EXPORTS, with their versions: the interposed names, nothing that could
   take over a name of the program by accident.
2. It needs no library but libc, so that preloading it brings nothing else into the program.

Prints one line for each violation; exit code 1 if there is any.
"""
import re
import subprocess
import sys

NEEDED_ALLOWED = {
    "libc.so.6",
    "ld-linux-x86-64.so.2",  # the loader itself, which every dynamic program already has
    "ld-linux-aarch64.so.1",
}


def names_of(path):
    with open(path, encoding="utf-8") as file:
        return {line.strip() for line in file if line.strip() and not line.startswith("#")}


def exports_of(library):
    output = subprocess.check_output(["nm", "-D", "--defined-only", library], text=True)
    return {line.split()[-1] for line in output.splitlines() if line.split()[-2] != "A"}


def needed_by(library):
    output = subprocess.check_output(["readelf", "-d", library], text=True)
    return set(re.findall(r"\(NEEDED\).*\[(.*)\]", output))


def problems_of(library, listed):
    wanted, exported = names_of(listed), exports_of(library)
    for name in sorted(exported - wanted):
        yield "%s exports %s, which %s does not name" % (library, name, listed)
    for name in sorted(wanted - exported):
        yield "%s does not export %s, which %s names" % (library, name, listed)
    for name in sorted(needed_by(library) - NEEDED_ALLOWED):
        yield "%s needs %s" % (library, name)


if __name__ == "__main__":
    found = list(problems_of(*sys.argv[1:3]))
    for found_problem in found:
        print(found_problem)
    sys.exit(1 if found else 0)
