#!/usr/bin/env python3
"""check_includes - holds the arrows of ARCHITECTURE.md on the code: check_includes.py TREE [EXCEPTIONS]

1. A folder includes only what its arrows allow (ARROWS); inside shim/ that is
   segment <- base <- sampling, requests <- setup <- hooks.
2. Each foreign library is included by exactly one source file (FOREIGN).
3. Each header of the shim names the context it may be used in.

Prints one line for each violation; exit code 1 if there is any.
"""
import os
import re
import sys

SHIM_ORDER = {
    "shim/segment": [],
    "shim/base": ["shim/segment"],
    "shim/sampling": ["shim/segment", "shim/base"],
    "shim/requests": ["shim/segment", "shim/base"],
    "shim/setup": ["shim/segment", "shim/base", "shim/sampling", "shim/requests"],
    "shim/hooks": ["shim/segment", "shim/base", "shim/sampling", "shim/requests", "shim/setup"],
}
ARROWS = dict(SHIM_ORDER, **{"symbolizer": [], "exporter": ["symbolizer", "shim/segment"]})

FOREIGN = {
    "libunwind": r"libunwind.*\.h",
    "libiberty": r"(libiberty/)?(demangle|libiberty|ansidecl)\.h",
    "libmicrohttpd": r"microhttpd\.h",
    "jansson": r"jansson\.h",
    "zlib": r"(zlib|zconf)\.h",
    "libnghttp2": r"nghttp2/.*\.h",
}

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
CONTEXT = re.compile(r"^[ /*]*Context: .*\b(signal|call|setup)\b")
CONTEXT_LINES = 6  # how far down a header's first comment names it


def sources(tree):
    """Paths of all C files of the rooms, relative to the tree."""
    for room in ("shim", "symbolizer", "exporter"):
        for folder, _, names in os.walk(os.path.join(tree, room)):
            for name in sorted(names):
                if name.endswith((".c", ".h")):
                    yield os.path.relpath(os.path.join(folder, name), tree)


def includes_of(tree, path):
    """(is_own, path) of each include; an own one is relative to the tree."""
    with open(os.path.join(tree, path), encoding="utf-8") as lines:
        for line in lines:
            match = INCLUDE.match(line)
            if match and match.group(1) == '"':
                yield True, os.path.normpath(os.path.join(os.path.dirname(path), match.group(2)))
            elif match:
                yield False, match.group(2)


def room_of(path):
    """The entry of ARROWS that a file belongs to, or None."""
    return next((room for room in ARROWS if path.startswith(room + "/")), None)


def arrow_problem(path, included):
    room, target = room_of(path), room_of(included)
    if room is None:
        return "lies in no room of ARCHITECTURE.md"
    if target != room and target not in ARROWS[room]:
        return "%s may include of the rooms: %s" % (room, ", ".join([room] + ARROWS[room]))
    return None


def read_exceptions(path):
    exceptions = set()
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            rule, _, reason = line.partition("#")
            fields = rule.split()
            if fields and (len(fields) != 2 or not reason.strip()):
                sys.exit("%s:%d: not of the form FILE INCLUDED  # reason" % (path, number))
            if fields:
                exceptions.add(tuple(fields))
    return exceptions


def problems_of(tree, exceptions):
    unused, users = set(exceptions), {library: {} for library in FOREIGN}
    for path in sources(tree):
        for is_own, included in includes_of(tree, path):
            problem = arrow_problem(path, included) if is_own else None
            if (path, included) in exceptions:
                unused.discard((path, included))
            elif problem:
                yield "%s includes %s: %s" % (path, included, problem)
            elif not is_own:
                for library, pattern in FOREIGN.items():
                    if re.fullmatch(pattern, included):
                        users[library][path] = included
        if path.startswith("shim/") and path.endswith(".h") and not names_context(tree, path):
            yield "%s: no line \"Context: signal | call | setup\" at its top" % path
    for library, files in users.items():
        if len(files) > 1:
            yield "%s is included by %d files instead of one: %s" % (library, len(files), ", ".join(sorted(files)))
    for path, included in sorted(unused):
        yield "the exception %s %s is not needed" % (path, included)


def names_context(tree, path):
    with open(os.path.join(tree, path), encoding="utf-8") as lines:
        return any(CONTEXT.match(line) for line, _ in zip(lines, range(CONTEXT_LINES)))


def main():
    tree = sys.argv[1]
    default = os.path.join(os.path.dirname(os.path.abspath(__file__)), "include-exceptions")
    exceptions = read_exceptions(sys.argv[2] if len(sys.argv) > 2 else default)
    if not any(sources(tree)):
        sys.exit("%s: no sources found" % tree)
    problems = list(problems_of(tree, exceptions))
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
