#!/usr/bin/env python3
"""A program that locks all of its memory (mlockall) may do so where it might without the shim, and locks its own."""
import os
import resource

from harness import free_ports, own_server, run_tests, test

CURRENT, FUTURE, ON_FAULT = 1, 2, 4
LIMIT_BYTES = 8 << 20
NOBODY = 65534
OURS_KIB_MAX = 2560  # what of ours may be locked all the same: the stack of our thread, if that is just beginning, and crumbs


def limited(limit_bytes, user):
    def prepare():
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit_bytes, limit_bytes))
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    return prepare


def locking(scene, prepare, arguments, **settings):
    result = scene.run([own_server("locking")] + [str(argument) for argument in arguments], preexec=prepare, timeout=60, cwd="/",
                       **settings)
    scene.equal("exit code and stderr", (result.returncode, result.stderr), (0, b""))
    lines = [line.split() for line in result.stdout.decode().splitlines()]
    return [line for line in lines if line[0][:2] != "Vm"], [int(line[1]) for line in lines if line[0] == "VmLck"]


def same_with_and_without(scene, prepare, *arguments):
    plain, plain_kib = locking(scene, prepare, arguments, shim=False)
    calls, kib = locking(scene, prepare, arguments, dir=scene.path("open"))
    scene.equal("flags %s: what the calls gave" % (arguments,), calls, plain)
    for locked, wanted in zip(kib, plain_kib):
        scene.check("%d KiB locked, without the shim %d" % (locked, wanted), wanted <= locked <= wanted + OURS_KIB_MAX * (wanted > 0))
    scene.equal("looks at what is locked", len(kib), 4)
    return plain[1]


def directory_for(scene, user):
    os.chmod(scene.dir, 0o755)
    os.mkdir(scene.path("open"), 0o700)
    os.chown(scene.path("open"), user, user)


@test
def a_user_with_a_limit_may_lock_what_it_might(scene):
    directory_for(scene, NOBODY)
    user = limited(LIMIT_BYTES, NOBODY)
    for flags in (CURRENT | FUTURE, CURRENT, FUTURE, CURRENT | ON_FAULT, CURRENT | FUTURE | ON_FAULT, 0, ON_FAULT, 64):
        same_with_and_without(scene, user, flags)
    scene.equal("without the shim", same_with_and_without(scene, user, CURRENT | FUTURE, "number"), ["mlockall", "0"])


@test
def a_limit_that_is_too_low_is_the_kernels_to_tell(scene):
    directory_for(scene, NOBODY)
    for limit, problem in ((1 << 20, "ENOMEM"), (0, "EPERM")):
        scene.equal("without the shim", same_with_and_without(scene, limited(limit, NOBODY), CURRENT | FUTURE),
                    ["mlockall", problem])


@test
def who_may_lock_anything_locks_its_own(scene):
    directory_for(scene, 0)
    for flags in (CURRENT | FUTURE, CURRENT):
        scene.equal("without the shim", same_with_and_without(scene, limited(65536, 0), flags), ["mlockall", "0"])


def memory_of_memcached(scene, shim):
    port = free_ports()
    program = scene.start(["memcached", "-k", "-u", "root", "-l", "127.0.0.1", "-p", str(port), "-U", "0"], shim=shim)
    program.wait_for_port(port)
    if shim:
        program.wait_ready()
    with open("/proc/%d/status" % program.pid) as status:
        kib = {line.split(":")[0]: int(line.split()[1]) for line in status if line.startswith(("VmLck", "VmRSS"))}
    program.stop()
    return kib


@test
def memcached_locks_its_memory_and_is_served(scene):
    plain, kib = memory_of_memcached(scene, False), memory_of_memcached(scene, True)
    scene.at_least("KiB locked without the shim", plain["VmLck"], 100000)
    scene.at_least("KiB locked", kib["VmLck"], plain["VmLck"])
    # The C library's allocator reserves 64 MiB of addresses for our thread, which is counted, but not resident.
    scene.at_most("KiB locked besides", kib["VmLck"] - plain["VmLck"], 80 << 10)
    scene.at_most("KiB resident besides", kib["VmRSS"] - plain["VmRSS"], 24 << 10)


if __name__ == "__main__":
    run_tests()
