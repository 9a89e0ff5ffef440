#!/usr/bin/env python3
"""SIGUSR1 makes a report, unless the program wants it for itself; programs with a SIGPROF of their own keep it."""
import glob
import os
import resource
import signal
import struct
import time

from harness import FULL, Failure, Metrics, free_ports, own_server, report_functions, run_tests, test, wait_until

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


# --- what the program does with SIGUSR1, step by step, as without the shim; but for reports ---

# What a program does (tests/e2e/servers/signal_server.c), and how many reports come of it: by the default PROFSHIM_SIGNAL, and
# with USR1 asked for. Without the shim it ends where a signal finds no handler.
STEPS = {
    "no handler": ("query send query send", 2, 2),
    "a handler that is set later": ("send handler=r query send send query", 1, 3),
    "one that is taken away again": ("handler=r send default query send handler=i send ignore send query default send", 2, 5),
    "one with a mask": ("handler=im query send block unblock send", 0, 2),
    "one that may interrupt itself": ("handler=inr query send query", 0, 1),
    "one on a stack of its own": ("handler=is query send send query", 0, 2),
    "one that runs once": ("handler=or query send query handler=o send query send query", 1, 3),
    "one of System V, set again each time": ("sysv query send query sysv send sysv query default send", 1, 3),
    "one that runs once, and a signal that waits": ("handler=omi block send pending unblock query block send unblock", 1, 2),
    "one that waits": ("block send pending handler=i unblock pending send", 0, 2),
    "blocked, and taken by sigwait": ("block send sigwait pending unblock query", 0, 0),
    "blocked, and taken by sigwaitinfo": ("block send pending sigwaitinfo send sigwaitinfo unblock", 0, 0),
    "blocked, and taken by sigtimedwait": ("block sigtimedwait send sigtimedwait sigtimedwait unblock pending", 0, 0),
    "blocked, and read from a descriptor": ("block signalfd send signalfd signalfd unblock pending", 0, 0),
    "blocked, taken, and let in": ("block send sigwait handler=r send sigwait unblock send default send", 1, 2),
    "ignored": ("ignore query send send query", 0, 2),
    "ignored while it waits": ("block send pending ignore pending unblock query", 0, 0),
    "ignored, and back": ("ignore send default query send", 1, 2),
    "a child of vfork that does as it likes": ("handler=r vfork query send ignore vfork query default vfork query send", 1, 2),
    "ignored by what is executed in its place": ("ignore exec query send default query", 0, 1),
    "handled, and something executed in its place": ("handler=r exec query send", 1, 1),
    "ignored by a child": ("ignore spawn query send default query send back query send", 0, 1),
    "ignored by a child of vfork": ("ignore vforkexec query send handler=r query send back query", 0, 0),
    "ignored by a child of system": ("ignore system query send back handler=r send", 0, 1),
    "ignored by a child that turns out to be a server": ("ignore spawn query listen query send default query send back query", 1, 2),
    "handled by a child that turns out to be a server": ("spawn handler=ri listen query send default query send back query", 1, 2),
    "handled, and nothing of that in a child": ("handler=r spawn query send back send query", 0, 1),
}


# The same, of one that ignores it from the start.
STEPS_IGNORED = {
    "inherited": ("query send query", 0, 1),
    "inherited, and given up": ("query send default query send send", 2, 3),
    "inherited, and handled": ("query handler=r query send ignore send", 0, 2),
    "inherited, and left to others": ("query spawn query send back query send", 0, 1),
}


def ignore_usr1():
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


class Steps:
    """A program that takes them under the shim, each in a folder of its own, where its reports are files."""

    def __init__(self, scene, name, steps, preexec, reports_wanted, **settings):
        self.name, self.steps, self.preexec, self.reports_wanted = name, steps, preexec, reports_wanted
        self.folder = scene.path(name.replace(" ", "-"))
        os.mkdir(self.folder)
        self.program = scene.start([own_server("signal_server"), "steps", "threads=2", *steps.split(), "end"], preexec=preexec,
                                   name=os.path.basename(self.folder) + "/program", listen="off",
                                   report=os.path.join(self.folder, "report-%n"), **settings)

    def reports(self):
        return len(glob.glob(os.path.join(self.folder, "report-*")))

    def check(self, scene):
        """What plain says is what it says; or begins with, where the signal that ended it asked for a report."""
        plain = scene.run([own_server("signal_server"), "steps", *self.steps.split()], shim=False, preexec=self.preexec)
        told, output = plain.stdout.decode(), self.program.stdout()
        if "listen" in self.steps:  # which gives a child a report, too
            told = told.replace("ended with %x\n" % signal.SIGUSR1, "ended with 0\n")
        scene.check(self.name + ": how plain ends", plain.returncode in (0, -signal.SIGUSR1), plain.returncode)
        if not output.startswith(told) or (plain.returncode == 0 and output != told + "ready\n"):
            raise Failure("%s: it says\n%s\nand plain, which ends with code %d\n%s" % (self.name, output, plain.returncode, told))
        scene.check(self.name + ": stderr", self.program.stderr() == "", self.program.stderr())
        scene.check(self.name + ": exit code", self.program.stop() == 0, self.program.process.returncode)


@test
def what_a_program_does_with_sigusr1_is_its_own_and_what_it_leaves_is_a_report(scene):
    begun = [Steps(scene, name + mode, steps, preexec, count, **settings)
             for table, preexec in ((STEPS, None), (STEPS_IGNORED, ignore_usr1))
             for name, (steps, *counts) in table.items()
             for mode, settings, count in zip(("", ", asked for"), ({}, {"signal": "USR1"}), counts)]
    for one in begun:
        one.program.wait_for_output("ready\n")
        wait_until(lambda: one.reports() >= one.reports_wanted, 20, "%s: %d reports" % (one.name, one.reports_wanted))
    time.sleep(QUIET_SECONDS)
    scene.equal("reports", {one.name: one.reports() for one in begun}, {one.name: one.reports_wanted for one in begun})
    for one in begun:
        one.check(scene)


# --- programs that use SIGPROF themselves ---

def samples_of(scene):
    return Metrics(scene.profshim("report", "--view=metrics")).sum("profshim_samples_total")


def seconds_of(scene):
    return Metrics(scene.profshim("report", "--view=metrics")).sum("profshim_endpoint_cpu_seconds_total")


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


def gperftools_leaves(path):
    """{innermost address: samples} of a profile of gperftools (its doc/cpuprofile-fileformat.html): words of 64 bits, a header
    that tells its own length in the second, then records of a count, a depth and so many addresses; the last one counts 0."""
    with open(path, "rb") as file:
        data = file.read()
    words = struct.unpack("<%dQ" % (len(data) // 8), data[:len(data) // 8 * 8])
    at, leaves = 2 + words[1], {}
    while words[at]:
        leaves[words[at + 2]] = leaves.get(words[at + 2], 0) + words[at]
        at += 2 + words[at + 1]
    return leaves


def gperftools_samples(path):
    return sum(gperftools_leaves(path).values())


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


GPERFTOOLS_HZ = 100  # its default


def check_own_profile(scene, path, cpu_seconds, own_count, code):
    """That a profile has as many samples as the CPU time of what it was made of allows, and that they lie where it went.
    code: begin and end of what computed. Returns the samples."""
    leaves = gperftools_leaves(path)
    samples = sum(leaves.values())
    scene.within("samples, of which gperftools said before its end", samples, own_count, 2)
    # The kernel looks at this timer at its ticks, and counts the time for it in whole ticks.
    scene.within("of 100 per second of CPU time", samples, cpu_seconds * GPERFTOOLS_HZ, cpu_seconds * GPERFTOOLS_HZ * 0.4)
    inside = sum(count for address, count in leaves.items() if code[0] <= address < code[1])
    scene.at_least("share of them in the code that computes", inside / samples, 0.9)
    return samples


def run_own_profiler(scene, program, files, environment):
    """What the program printed: where its code lies, and (CPU seconds, samples) for each of its profiles."""
    result = scene.run([own_server(program), "3000" if FULL else "800", *files], environment=environment)
    scene.equal("exit code", result.returncode, 0)
    foreign = [line for line in result.stderr.decode().splitlines() if not line.startswith("PROFILE: ")]
    scene.equal("lines on stderr but its own", foreign, [])
    code, *profiles = [line.split() for line in result.stdout.decode().splitlines()]
    return [int(address, 16) for address in code], [(int(ns) / 1e9, int(count)) for ns, count in profiles]


@test
def a_program_with_gperftools_linked_in_makes_its_own_profiles_and_is_sampled(scene):
    # Counts over CPU time: as many as the profiler asks for, with us and without. Which is what two threads used, so the
    # same however busy the machine is.
    totals = {}
    for program in ("own_profiler", "own_profiler_static"):
        for began in ("by the program", "by CPUPROFILE", "by CPUPROFILE, a timer for each thread"):
            for is_shimmed in (True, False) if FULL else (True,):
                path = scene.path("profile")
                environment = scene.shim_environment(hz=997) if is_shimmed else scene.plain_environment()
                files = [path] if began == "by the program" else []
                environment.update({} if files else {"CPUPROFILE": path})
                environment.update({"CPUPROFILE_PER_THREAD_TIMERS": "1"} if "each thread" in began else {})
                scene.say("%s, began %s, %s" % (program, began, "shim" if is_shimmed else "plain"))
                code, ((cpu_seconds, own_count),) = run_own_profiler(scene, program, files, environment)
                samples = check_own_profile(scene, path, cpu_seconds, own_count, code)
                got, wanted = totals.get(is_shimmed, (0, 0))
                totals[is_shimmed] = (got + samples, wanted + cpu_seconds * GPERFTOOLS_HZ)
                os.unlink(path)
                if is_shimmed:
                    worked = cpu_seconds * (1.5 if files else 1)
                    scene.within("seconds of CPU time that ours found", seconds_of(scene), worked, 0.15 * worked)
    for is_shimmed, (got, wanted) in totals.items():
        scene.within("samples of all profiles, %s" % ("shim" if is_shimmed else "plain"), got, wanted, 0.2 * wanted)


if __name__ == "__main__":
    run_tests()
