#!/usr/bin/env python3
"""The program is told exactly what it said of its signals, gets those that it is sent and none of ours, and is sampled all
the while, whatever it blocks."""
import signal

from harness import own_server, run_tests, test

MANY = 1000  # Hz

def same_with_and_without(scene, *acts, arguments=(), preexec=None):
    for act in acts:
        argv = [own_server("mask_calls"), act, *arguments]
        plain = scene.run(argv, shim=False, timeout=60, preexec=preexec)
        shim = scene.run(argv, timeout=60, hz=MANY, listen="off", preexec=preexec)
        lines, wanted = shim.stdout.splitlines(), plain.stdout.splitlines()
        for line, want in zip(lines, wanted):
            if line != want:
                scene.say("%s: %s, without the shim: %s" % (act, line, want))
        scene.check("%s: %d lines are the same" % (act, len(wanted)), wanted and lines == wanted)
        scene.equal("%s: exit code and stderr" % act, (shim.returncode, shim.stderr), (plain.returncode, plain.stderr))

@test
def masks_are_told_as_they_were_set(scene):
    same_with_and_without(scene, "each-signal", "older-ways", "threads")

@test
def handlers_and_their_masks_are_told_as_they_were_set(scene):
    same_with_and_without(scene, "contexts-of-handlers")
    # Where one signal cannot stand for SIGPROF, as it is ignored, another one does.
    for ignored in (None, 50):
        preexec = ignored and (lambda: signal.signal(ignored, signal.SIG_IGN))
        of_others = scene.run_ok([own_server("mask_calls"), "handled-by-others"], hz=MANY, listen="off", preexec=preexec).split()
        scene.equal("signals that stand for SIGPROF", len(of_others), 1)
        scene.check("it is another one: %s" % of_others, of_others != [str(ignored)])
        # That one is not blocked while a handler of it runs; all else about it is as it was said, as for the others.
        same_with_and_without(scene, "handlers", arguments=of_others, preexec=preexec)

@test
def jumps_and_contexts_bring_masks_back(scene):
    same_with_and_without(scene, "jumps", "contexts")

@test
def a_sigprof_that_the_program_blocks_waits_for_it(scene):
    same_with_and_without(scene, "pending", "descriptors", "letting-in")

@test
def a_sigprof_to_the_process_goes_to_the_thread_that_lets_it_in(scene):
    same_with_and_without(scene, "goes-to-who-lets-it-in")

@test
def our_signals_are_nobodys(scene):
    same_with_and_without(scene, "nothing-came")

@test
def new_processes_begin_with_the_mask_that_they_were_meant_to(scene):
    same_with_and_without(scene, "processes")

@test
def a_new_program_finds_the_signals_that_waited(scene):
    same_with_and_without(scene, "new-program-with-all-waiting")

def samples_of(scene, act, function):
    result = scene.run([own_server("mask_calls"), act], timeout=60, hz=MANY, report_at_exit=1, report=scene.path(act), top=1000)
    scene.equal("%s: exit code" % act, result.returncode, 0)
    with open(scene.path(act)) as file:
        text = file.read()
    seconds = [float(line.split()[3]) for line in text.splitlines() if "(%s)" % function in line and not line.startswith("#")]
    return sum(seconds)

@test
def a_thread_that_blocks_everything_is_sampled_before_and_after_a_sigprof(scene):
    same_with_and_without(scene, "sampled")
    scene.at_least("seconds of CPU in what it does", samples_of(scene, "sampled", "burn_blocked"), 0.1)

@test
def an_alternate_stack_of_8_kib_is_enough(scene):
    same_with_and_without(scene, "small-stack")
    scene.at_least("seconds of CPU where the handler on it returned to", samples_of(scene, "small-stack", "alternate_stack"), 0.1)

@test
def what_handlers_on_small_stacks_do_leaves_nothing_of_ours_behind(scene):
    same_with_and_without(scene, "tight-stack")
    scene.at_least("seconds of CPU where a jump out of it led to", samples_of(scene, "tight-stack", "tight_stack"), 0.02)

@test
def a_wait_within_a_handler_on_a_small_stack_lets_no_tick_in(scene):
    same_with_and_without(scene, "waiting-on-small-stack", "waiting-for-prof-on-tight-stack")

@test
def a_handler_on_a_stack_with_room_is_sampled(scene):
    same_with_and_without(scene, "roomy-stack")
    scene.at_least("seconds of CPU in the handler on it", samples_of(scene, "roomy-stack", "burn_blocked"), 0.1)

if __name__ == "__main__":
    run_tests()
