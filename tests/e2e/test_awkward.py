#!/usr/bin/env python3
"""What programs may do, if rarely, goes on as it does without the shim; each of these once did not."""
import json

from harness import free_ports, own_server, run_tests, test, wait_until
from real_servers import HttpClient


def same_with_and_without(scene, act, **settings):
    plain = scene.run([own_server("awkward"), act], shim=False, timeout=20)
    shim = scene.run([own_server("awkward"), act], timeout=20, hz=997, **settings)
    scene.equal("%s: exit code, stdout and stderr" % act, (shim.returncode, shim.stdout, shim.stderr),
                (plain.returncode, plain.stdout, plain.stderr))


@test
def an_exit_in_a_handler_does_not_hang(scene):
    for _ in range(8):
        same_with_and_without(scene, "exit-in-handler")


@test
def a_shell_that_ends_by_underscore_exit_leaves_its_report(scene):
    path = scene.path("report.txt")
    result = scene.run(["dash", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; exit 3"], report_at_exit=1,
                       report=path, timeout=20)
    scene.equal("exit code", result.returncode, 3)
    with open(path) as file:
        scene.check("the report has its last lines", "Endpoints by CPU time" in file.read())


@test
def a_process_ends_with_the_last_of_its_own_threads(scene):
    same_with_and_without(scene, "main-thread-ends")
    same_with_and_without(scene, "main-thread-ends", listen="127.0.0.1:%d" % free_ports())


@test
def older_ways_to_set_a_handler_do_not_meet_our_signal(scene):
    same_with_and_without(scene, "system-v-signal")
    same_with_and_without(scene, "sigset-default")


@test
def a_forked_and_executed_child_inherits_no_blocked_signal(scene):
    same_with_and_without(scene, "mask-of-child")


@test
def low_descriptors_are_the_programs(scene):
    same_with_and_without(scene, "low-descriptors", listen="127.0.0.1:%d" % free_ports())


@test
def what_a_child_of_vfork_closes_stays_open(scene):
    port = free_ports()
    program = scene.start([own_server("awkward"), "vfork-closes", str(port)], "awkward", listen="off")
    clients = []  # the program accepts one connection, so there must be no other to see whether it is up

    def is_connected():
        try:
            clients.append(HttpClient(port))
        except OSError:
            pass
        return bool(clients)
    wait_until(is_connected, 5, "a connection to the server")
    (client,) = clients
    for _ in range(10):
        client.ask("GET", "/")
    client.close()
    program.wait()
    report = json.loads(scene.profshim("report", "--format=json"))
    scene.equal("requests counted", report["requests"], 10)


if __name__ == "__main__":
    run_tests()
