#!/usr/bin/env python3
"""SIGUSR1 makes a report, unless the program wants it for itself; programs with a SIGPROF of their own keep it."""
import glob
import os
import resource
import signal
import struct
import time

from harness import Failure, Metrics, free_ports, own_server, report_functions, run_tests, test, wait_until

QUIET_SECONDS = 1.0  # how long nothing must come: five times what a report takes at most


def start(scene, handler, **settings):
    port = free_ports()
    program = scene.start([own_server("signal_server"), handler, str(port)], **settings)
    program.wait_for_output("ready\n")
    program.wait_ready()
    return program


def wait_for_report(program):
    wait_until(lambda: "filename:lineno(function)" in program.stderr(), 3, "a report on stderr")


@test
def sigusr1_writes_a_report_to_stderr_and_the_program_runs_on(scene):
    program = start(scene, "none")
    began = time.monotonic()
    program.send_signal(signal.SIGUSR1)
    wait_for_report(program)
    scene.at_most("seconds until the report", time.monotonic() - began, 2)
    scene.say("\n".join(program.stderr().splitlines()[:3]))
    report_functions(program.stderr())
    scene.check("the program still runs", program.is_running())
    scene.equal("exit code", program.stop(), 0)


@test
def a_programs_own_handler_gets_sigusr1_alone(scene):
    program = start(scene, "own")
    for count in range(1, 4):
        program.send_signal(signal.SIGUSR1)
        wait_until(lambda: program.stdout().count("handled\n") == count, 3, "the program's own handler")
    time.sleep(QUIET_SECONDS)
    scene.equal("stderr", program.stderr(), "")
    scene.equal("exit code", program.stop(), 0)


@test
def an_explicit_signal_runs_the_programs_handler_and_the_report(scene):
    program = start(scene, "own", signal="USR1")
    program.send_signal(signal.SIGUSR1)
    wait_until(lambda: program.stdout().count("handled\n") == 1, 3, "the program's own handler")
    wait_for_report(program)
    scene.say("handled by the program, and reported")
    scene.equal("exit code", program.stop(), 0)


@test
def another_signal_can_be_chosen(scene):
    program = start(scene, "own", signal="USR2", report=scene.path("report-%n"))
    program.send_signal(signal.SIGUSR2)
    wait_until(lambda: os.path.exists(scene.path("report-1")), 3, "a report in a file")
    program.send_signal(signal.SIGUSR1)
    wait_until(lambda: program.stdout().count("handled\n") == 1, 3, "the program's own handler")
    scene.equal("stderr", program.stderr(), "")
    scene.equal("exit code", program.stop(), 0)


@test
def with_signal_none_sigusr1_does_what_it_does_without_the_shim(scene):
    program = start(scene, "none", signal="none")
    program.send_signal(signal.SIGUSR1)
    scene.equal("exit code", program.wait(5), -signal.SIGUSR1)


@test
def a_disposition_that_the_program_asks_for_is_its_own(scene):
    # bash tells the handlers it finds; ignored and default ones must be seen as they were set by the caller.
    script = "trap -p USR1; trap '' USR1; kill -USR1 $$; trap - USR1; trap -p USR1; python3 -c '%s'" % (
        "import signal; print(signal.getsignal(signal.SIGUSR1), signal.getsignal(signal.SIGPROF))")
    plain = scene.run(["bash", "-c", script], shim=False)
    under = scene.run(["bash", "-c", script])
    scene.equal("stdout", under.stdout, plain.stdout)
    scene.equal("stderr and exit code", (under.stderr, under.returncode), (plain.stderr, plain.returncode))
    direct = ["/usr/bin/python3", "-c", "import signal; print([signal.getsignal(n) for n in (10, 27)])"]
    scene.equal("what a program sees that is profiled from its start",
                scene.run(direct).stdout, scene.run(direct, shim=False).stdout)


# --- programs that use SIGPROF themselves ---

def samples_of(scene):
    return Metrics(scene.profshim("report", "--view=metrics")).sum("profshim_samples_total")


def php():
    found = [path for path in sorted(glob.glob("/usr/bin/php[0-9]*")) if path[len("/usr/bin/php"):].replace(".", "").isdigit()]
    if not found:
        raise Failure("no php is installed")
    return found[-1]


def run_timed(scene, argv, **how):
    """The result, and the CPU time that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = scene.run(argv, **how)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return result, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@test
def a_php_script_over_its_limit_ends_as_ever_and_is_sampled(scene):
    # PHP asks setitimer for a SIGPROF after so much CPU time.
    script = scene.write("endless.php", "<?php set_time_limit(1); echo 'begun'; function spin() { for (;;) md5('x'); } spin();")
    argv = [php(), "-n", "-d", "display_errors=1", script]
    plain, plain_seconds = run_timed(scene, argv, shim=False)
    scene.check("it ends at its limit", b"Maximum execution time of 1 second exceeded" in plain.stdout, plain.stdout)
    under, seconds = run_timed(scene, argv, hz=997)
    scene.equal("output", under.stdout, plain.stdout)
    scene.equal("exit code and stderr", (under.returncode, under.stderr), (plain.returncode, plain.stderr))
    # The kernel counts this timer in ticks, of some 4 ms, and what it takes to start and to end comes on top.
    scene.within("seconds of CPU time", seconds, plain_seconds, 0.15)
    scene.at_least("samples meanwhile", samples_of(scene), 150)


GPERFTOOLS = "/usr/lib/x86_64-linux-gnu/libprofiler.so.0"


def gperftools_samples(path):
    """Sum over the records of a profile of gperftools (its doc/cpuprofile-fileformat.html): words of 64 bits, a header that
    tells its own length in the second, then records of a count, a depth and so many addresses; the last one counts 0."""
    with open(path, "rb") as file:
        data = file.read()
    words = struct.unpack("<%dQ" % (len(data) // 8), data[:len(data) // 8 * 8])
    at, total = 2 + words[1], 0
    while words[at]:
        total += words[at]
        at += 2 + words[at + 1]
    return total


@test
def a_program_that_gperftools_profiles_is_profiled_twice(scene):
    argv = ["/usr/bin/python3", "-c", "print(sum(i * i for i in range(6000000)))"]
    plain = scene.run(argv, shim=False)
    for name, libraries in (("before", [GPERFTOOLS, scene.library]), ("behind", [scene.library, GPERFTOOLS])):
        profile = scene.path("profile-" + name)
        for variant in ({}, {"CPUPROFILE_PER_THREAD_TIMERS": "1"}):
            environment = dict(scene.shim_environment(hz=997), LD_PRELOAD=":".join(libraries), CPUPROFILE=profile, **variant)
            under = scene.run(argv, environment=environment)
            scene.equal("exit code and output", (under.returncode, under.stdout), (plain.returncode, plain.stdout))
            lines = under.stderr.decode().splitlines()
            scene.equal("lines on stderr but its own", [line for line in lines if not line.startswith("PROFILE: ")], [])
            scene.at_least("samples of gperftools %s us, %s" % (name, variant), gperftools_samples(profile), 15)
            scene.at_least("samples of ours", samples_of(scene), 40)


if __name__ == "__main__":
    run_tests()
