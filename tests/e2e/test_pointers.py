#!/usr/bin/env python3
"""A call with a pointer that leads nowhere fails with EFAULT, and does not end the program."""

from harness import own_server, run_tests, test


def same_with_and_without(scene, **variables):
    plain = scene.run([own_server("bad_pointers")], shim=False, timeout=60)
    shim = scene.run([own_server("bad_pointers")], timeout=60, listen="off", **variables)
    scene.check("%d calls failed without the shim, as they are meant to" % plain.stdout.count(b": EFAULT\n"),
                plain.returncode == 0 and plain.stdout.count(b": EFAULT\n") > 250)
    for line, want in zip(shim.stdout.splitlines(), plain.stdout.splitlines()):
        if line != want:
            scene.say("%s, without the shim: %s" % (line, want))
    scene.check("all calls gave the same", shim.stdout == plain.stdout)
    scene.equal("exit code and stderr", (shim.returncode, shim.stderr), (plain.returncode, plain.stderr))


@test
def a_bad_pointer_is_refused_by_the_kernel(scene):
    same_with_and_without(scene, hz=1000)


@test
def a_bad_pointer_is_refused_by_the_kernel_where_nothing_is_sampled(scene):
    same_with_and_without(scene, hz=0)


if __name__ == "__main__":
    run_tests()
