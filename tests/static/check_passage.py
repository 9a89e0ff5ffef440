#!/usr/bin/env python3
"""check_passage - what libprofshim.so costs calls of a program that is not profiled: check_passage.py LIBRARY

The transfers that servers make for each request look at one word and jump to the real function: no register is saved for
it, nothing is called, and it is a handful of instructions (x86-64).

Prints one line for each violation; exit code 1 if there is any.
"""
import re
import subprocess
import sys

TRANSFERS = ["read", "recv", "recvfrom", "recvmsg", "readv", "write", "send", "sendto", "sendmsg", "writev", "sendfile"]
INSTRUCTIONS_MAX = 8  # load, two to test, a branch, and a jump for either answer; and what a compiler may do otherwise


def instructions_of(library, function):
    output = subprocess.check_output(["objdump", "-d", "--no-show-raw-insn", "--disassemble=" + function, library], text=True)
    return [line.split("\t", 1)[1].strip() for line in output.splitlines() if re.match(r"^ +[0-9a-f]+:\t", line)]


def problems_of(function, instructions):
    real = [one for one in instructions if not re.match(r"(data16 |cs )*(nop|xchg +%ax,%ax)|endbr64", one)]
    if not real:
        yield "%s: there is no such function" % function
    if len(real) > INSTRUCTIONS_MAX:
        yield "%s: takes %d instructions, and may take %d" % (function, len(real), INSTRUCTIONS_MAX)
    for one in real:
        if re.match(r"(notrack )?(call|push|pop|sub +.*%rsp)", one):
            yield "%s: \"%s\" before the real function is reached" % (function, one)
    if real and not any(re.match(r"(notrack )?jmp +\*", one) for one in real):
        yield "%s: does not jump to the real function" % function


def main():
    problems = [problem for function in TRANSFERS for problem in problems_of(function, instructions_of(sys.argv[1], function))]
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
