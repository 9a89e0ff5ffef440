#!/usr/bin/env python3
"""test_checks - the checks of this folder find what they are there for, in little trees made here; and the count of
tests that closes scripts/test counts a test that did not run as failed."""
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
HEADER = "#pragma once\n/* x - a thing.\n * Context: signal.\n */\n"


def write(tree, path, text):
    full = os.path.join(tree, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "w", encoding="utf-8") as file:
        file.write(text)
    return full


def includes_said(files, exceptions=""):
    """Exit code and output of check_includes on a tree of these files."""
    with tempfile.TemporaryDirectory() as tree:
        for path, text in files.items():
            write(tree, path, text)
        listed = write(tree, "exceptions", exceptions)
        result = subprocess.run([sys.executable, os.path.join(HERE, "check_includes.py"), tree, listed],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return result.returncode, result.stdout


def exports_said(code, exported, *link_args):
    """Exit code and output of check_exports on a library of this code."""
    with tempfile.TemporaryDirectory() as tree:
        source = write(tree, "x.c", code)
        listed = write(tree, "exports", "# note: three\n" + exported.replace(" ", "\n"))
        library = os.path.join(tree, "x.so")
        subprocess.check_call(["gcc", "-shared", "-fPIC", "-o", library, source, *link_args])
        result = subprocess.run([sys.executable, os.path.join(HERE, "check_exports.py"), library, listed],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return result.returncode, result.stdout


HOOKS = {"shim/hooks/exports": "one\ntwo@@V_1\n",
         "shim/base/real.h": "#define REAL_FUNCTIONS(X) \\\n\tX(int, one, (int)) \\\n\tX(void *, two, (int))\n\n",
         "shim/hooks/foreign.h": "#define FOREIGN_A_NAMES(X) \\\n\tX(far)\n\n",
         "tests/e2e/servers/a.c": "int main(void) { one(1); two(2); }\n"}


def hooks_said(exceptions="", **changed):
    """Exit code and output of check_hooks on a little tree; changed: part of a path's end = text."""
    with tempfile.TemporaryDirectory() as tree:
        for path, text in HOOKS.items():
            write(tree, path, next((new for part, new in changed.items() if part in path), text))
        listed = write(tree, "exceptions", exceptions)
        result = subprocess.run([sys.executable, os.path.join(HERE, "check_hooks.py"), tree, listed],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return result.returncode, result.stdout


def count_said(*tests):
    """Exit code and last line of the count on a log of tests, each (result, stdout)."""
    script = os.path.join(HERE, "..", "..", "scripts", "lib", "tests.py")
    with tempfile.TemporaryDirectory() as tree:
        log = write(tree, "log.json", "".join(json.dumps({"name": "a test", "result": result, "stdout": output}) + "\n"
                                              for result, output in tests))
        result = subprocess.run([sys.executable, script, "count", log], stdout=subprocess.PIPE, text=True)
        return result.returncode, result.stdout.splitlines()[-1]


GOOD = {"shim/segment/a.h": HEADER, "shim/base/b.c": '#include "../segment/a.h"\n#include <stdio.h>\n',
        "exporter/cli/c.c": '#include "../../shim/segment/a.h"\n#include <zlib.h>\n'}
UPWARD = {"shim/segment/a.h": HEADER + '#include "../base/b.h"\n', "shim/base/b.h": HEADER}
UPWARD_ALLOWED = "shim/segment/a.h shim/base/b.h  # a test's reason\n"

CASES = {
    "a tree that keeps the rules passes": lambda: includes_said(GOOD) == (0, ""),
    "an include against the arrows is found":
        lambda: includes_said(UPWARD)[0] == 1 and "shim/segment/a.h includes shim/base/b.h" in includes_said(UPWARD)[1],
    "an exception with a reason is accepted": lambda: includes_said(UPWARD, UPWARD_ALLOWED) == (0, ""),
    "an exception without a reason is refused":
        lambda: "not of the form" in includes_said(UPWARD, "shim/segment/a.h shim/base/b.h\n")[1],
    "an exception that nothing needs is found": lambda: "is not needed" in includes_said(GOOD, UPWARD_ALLOWED)[1],
    "the exporter may not include the hooks":
        lambda: "exporter/c.c includes" in includes_said({"exporter/c.c": '#include "../shim/hooks/h.h"\n'})[1],
    "the symbolizer may not include the segment":
        lambda: "symbolizer/s.c" in includes_said({"symbolizer/s.c": '#include "../shim/segment/a.h"\n'})[1],
    "a foreign library in two files is found":
        lambda: "zlib is included by 2 files" in includes_said(dict(GOOD, **{"exporter/d.c": "# include <zlib.h>\n"}))[1],
    "a header of the shim without its context is found":
        lambda: "Context" in includes_said({"shim/base/b.h": "#pragma once\n"})[1],
    "exactly the exports of the map pass": lambda: exports_said("int one(void) { return 1; }", "one") == (0, ""),
    "an export that the map does not name is found":
        lambda: "exports two" in exports_said("int one; int two;", "one")[1],
    "a name of the map that is not exported is found":
        lambda: "does not export two" in exports_said("int one;", "one two")[1],
    "a needed library besides libc is found":
        lambda: "needs libm.so.6" in exports_said("int one;", "one", "-Wl,--no-as-needed", "-lm")[1],
    "hooks with true functions that are called pass": lambda: hooks_said() == (0, ""),
    "a hook of a foreign library's function passes":
        lambda: hooks_said(exports="one\ntwo\nfar\n", servers="one two far") == (0, ""),
    "an export without a true function is found":
        lambda: hooks_said(exports="one\ntwo\nthree\n", servers="one two three")
        == (1, "three is exported, but there is no true function behind it\n"),
    "a true function without a hook is found":
        lambda: hooks_said(exports="one\n") == (1, "two is looked up, but no hook has its name\n"),
    "an export that is called in a comment only is found":
        lambda: hooks_said(servers="one /* two */") == (1, "two is exported, but no test calls it\n"),
    "an exception of hooks with its reason is accepted":
        lambda: hooks_said("called two  # a test's reason\n", servers="one") == (0, ""),
    "an exception of hooks that nothing needs is found":
        lambda: hooks_said("called two  # a test's reason\n") == (1, "the exception called two is not needed\n"),
    "single tests of TAP and whole programs are counted":
        lambda: count_said(("OK", "1..2\nok 1 - a\nok 2 - b\n"), ("OK", "whatever\n")) == (0, "3 passed, 0 failed"),
    "a failed test is counted once":
        lambda: count_said(("FAIL", "1..2\nok 1 - a\nnot ok 2 - b\n")) == (1, "1 passed, 1 failed"),
    "a test that was announced and did not run failed":
        lambda: count_said(("ERROR", "1..3\nok 1 - a\n")) == (1, "1 passed, 2 failed"),
    "a program that ends badly after good tests failed":
        lambda: count_said(("TIMEOUT", "1..1\nok 1 - a\n")) == (1, "1 passed, 1 failed"),
    "a skipped test failed":
        lambda: count_said(("OK", "1..2\nok 1 - a\nok 2 - b # SKIP no x\n")) == (1, "1 passed, 1 failed"),
    "a run of no test failed": lambda: count_said() == (1, "0 passed, 0 failed"),
}

print("1..%d" % len(CASES))
failed_count = 0
for number, (title, holds) in enumerate(CASES.items(), 1):
    passed = holds()
    failed_count += not passed
    print("%sok %d - %s" % ("" if passed else "not ", number, title))
sys.exit(1 if failed_count else 0)
