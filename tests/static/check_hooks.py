#!/usr/bin/env python3
"""check_hooks - every name that libprofshim.so takes from the program leads on to a true function, and a test calls it:
check_hooks.py TREE [EXCEPTIONS]

1. Each export (hooks/exports) has a true function of the same name: in REAL_FUNCTIONS (base/real.h), looked up with
   RTLD_NEXT, or among the names of a library that we are not linked with (hooks/foreign.h).
2. Each true function is an export: what is looked up is there for a hook.
3. A program or test of hooks calls it by its name (tests/e2e/servers, tests/unit/hooks), other than in a comment.

EXCEPTIONS, lines "RULE NAME  # reason": of RULE real, true or called. One that is not needed is a violation, too.
Prints one line for each violation; exit code 1 if there is any.
"""
import glob
import os
import re
import sys

CALLERS = ("tests/e2e/servers/**/*.c", "tests/e2e/servers/**/*.cpp", "tests/unit/hooks/*.c", "tests/stress/*.c*")


def read(tree, path):
    with open(os.path.join(tree, path), encoding="utf-8") as file:
        return file.read()


def without_comments(text):
    return re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.DOTALL)


def exports(tree):
    return set(re.findall(r"^\w+", read(tree, "shim/hooks/exports"), re.MULTILINE))


def macro_names(text, macro, pattern):
    """What pattern finds in the macro's lines."""
    body = re.search(r"#define %s\(.*?\)(.*?[^\\])\n" % macro, text, re.DOTALL)
    return set(re.findall(pattern, body.group(1))) if body else set()


def true_functions(tree):
    return macro_names(without_comments(read(tree, "shim/base/real.h")), "REAL_FUNCTIONS", r"X\([^,]*, (\w+),")


def foreign_functions(tree):
    text, names = without_comments(read(tree, "shim/hooks/foreign.h")), set()
    for macro in re.findall(r"#define (FOREIGN_\w+_NAMES)\(", text):
        names |= macro_names(text, macro, r"X\((\w+)\)")
    return names


def called(tree):
    """Every word in what calls hooks."""
    words = set()
    for pattern in CALLERS:
        for path in glob.glob(os.path.join(tree, pattern), recursive=True):
            words |= set(re.findall(r"\w+", without_comments(read(tree, path))))
    return words


def read_exceptions(path):
    exceptions = set()
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            rule, _, reason = line.partition("#")
            fields = rule.split()
            if fields and (len(fields) != 2 or fields[0] not in ("real", "true", "called") or not reason.strip()):
                sys.exit("%s:%d: not of the form RULE NAME  # reason" % (path, number))
            if fields:
                exceptions.add(tuple(fields))
    return exceptions


def violations(tree):
    """(rule, name, text) of each."""
    exported, real, foreign, words = exports(tree), true_functions(tree), foreign_functions(tree), called(tree)
    for name in sorted(exported - real - foreign):
        yield "real", name, "is exported, but there is no true function behind it"
    for name in sorted(real - exported):
        yield "true", name, "is looked up, but no hook has its name"
    for name in sorted(exported - words):
        yield "called", name, "is exported, but no test calls it"


def main():
    tree = sys.argv[1]
    default = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hook-exceptions")
    exceptions = read_exceptions(sys.argv[2] if len(sys.argv) > 2 else default)
    found = list(violations(tree))
    problems = ["%s %s" % (name, text) for rule, name, text in found if (rule, name) not in exceptions]
    problems += ["the exception %s %s is not needed" % unused
                 for unused in sorted(exceptions - {(rule, name) for rule, name, _ in found})]
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
