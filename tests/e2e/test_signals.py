#!/usr/bin/env python3
"""SIGUSR1 makes a report, unless the program wants it for itself."""
import os
import signal
import time

from harness import free_ports, own_server, report_functions, run_tests, test, wait_until

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


if __name__ == "__main__":
    run_tests()
