#!/usr/bin/env python3
"""What profshim cannot follow it counts, by kind and exactly, and shows."""
import signal

from harness import own_server, run_tests, test, wait_until

BLIND = "profshim_blind_calls_total"


def start_blind_calls(scene, *arguments):
    program = scene.start([own_server("blind_calls"), *arguments], hz=0)
    program.wait_for_output("done\n")
    program.wait_ready()
    truth = {kind: float(count) for kind, count in (line.split() for line in program.stdout().splitlines()[:-1])}
    return program, truth


@test
def calls_that_pass_by_us_are_counted_by_kind(scene):
    program, truth = start_blind_calls(scene)
    metrics = program.metrics()
    scene.equal("blind calls", metrics.by(BLIND, "kind"), truth)
    scene.equal("requests made up from what was not seen", metrics.sum("http_server_request_duration_seconds_count"), 0)
    told = program.get_ok("/report").text
    scene.check("the report tells of them", "blind" in told or "raw_socket_syscall" in told)
    scene.equal("what the program printed on stderr", program.stderr(), "")
    scene.equal("exit code", program.stop(), 0)


@test
def a_ring_made_without_a_word_is_found(scene):
    program, _ = start_blind_calls(scene, "-r")
    for number in (1, 2):
        program.send_signal(signal.SIGUSR2)
        wait_until(lambda: program.stdout().count("ring\n") == number, 5, "the ring")
        metrics = program.metrics_when(lambda metrics: metrics.sum(BLIND, kind="io_uring") >= number)
        scene.equal("blind calls", metrics.by(BLIND, "kind"), {"io_uring": float(number)})
    scene.equal("exit code", program.stop(), 0)


@test
def the_program_itself_behaves_the_same_under_the_shim(scene):
    plain = scene.run(["timeout", "-s", "TERM", "1", own_server("blind_calls")], shim=False)
    under = scene.run(["timeout", "-s", "TERM", "1", own_server("blind_calls")])
    scene.equal("its stdout", under.stdout, plain.stdout)
    scene.equal("its stderr", under.stderr, plain.stderr)


if __name__ == "__main__":
    run_tests()
