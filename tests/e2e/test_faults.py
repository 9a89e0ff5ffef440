#!/usr/bin/env python3
"""A part of profshim that fails switches itself off, says so once, is counted where its user looks, and the rest goes on."""
import os
import resource
import shutil

from harness import Metrics, free_ports, own_server, run_tests, test

BUSY = ["/usr/bin/python3", "-c", "print(sum(i * i for i in range(3000000)))"]
DONE = b"8999995500000500000\n"


def without(scene, *libraries):
    """A folder for LD_LIBRARY_PATH in which these libraries are no libraries."""
    for library in libraries:
        scene.write("broken/" + library, "no ELF file\n")
    return scene.path("broken")


def run_busy(scene, environment, preexec=None):
    """Metrics of a run that must be as without the shim; its lines on stderr."""
    result = scene.run(BUSY, environment=environment, preexec=preexec)
    scene.equal("exit code and output", (result.returncode, result.stdout), (0, DONE))
    lines = result.stderr.decode().splitlines()
    for line in lines:
        scene.say(line)
    return lines


def metrics_of(scene):
    return Metrics(scene.profshim("report", "--view=metrics"))


@test
def without_the_exporters_library_counting_goes_on(scene):
    os.mkdir(scene.path("alone"))
    library = scene.path("alone", "libprofshim.so")
    shutil.copy(scene.library, library)
    port = free_ports()
    script = BUSY[2] + "; import time; time.sleep(0.5)"  # until it would serve
    environment = dict(scene.shim_environment(hz=997, listen="127.0.0.1:%d" % port), LD_PRELOAD=library)
    result = scene.run([*BUSY[:2], script], environment=environment)
    scene.equal("exit code and output", (result.returncode, result.stdout), (0, DONE))
    lines = [line for line in result.stderr.decode().splitlines() if "libprofshim-exporter.so" in line]
    scene.equal("lines about it", len(lines), 1)
    metrics = metrics_of(scene)
    scene.equal("faults", metrics.by("profshim_faults_total", "part"), {"exporter": 1.0})
    scene.at_least("samples all the same", metrics.sum("profshim_samples_total"), 10)


@test
def without_libunwind_stacks_are_followed_all_the_same(scene):
    environment = dict(scene.shim_environment(hz=997, unwind="libunwind"), LD_LIBRARY_PATH=without(scene, "libunwind.so.8"))
    lines = run_busy(scene, environment)
    scene.equal("lines about it", len([line for line in lines if "libunwind" in line]), 1)
    metrics = metrics_of(scene)
    scene.equal("faults", metrics.by("profshim_faults_total", "part"), {"unwind": 1.0})
    scene.at_least("samples", metrics.sum("profshim_samples_total"), 10)
    scene.check("/self tells it", '"unwind"' in scene.profshim("report", "--view=self"))


@test
def without_libnghttp2_everything_else_is_counted(scene):
    environment = dict(scene.shim_environment(hz=0), LD_LIBRARY_PATH=without(scene, "libnghttp2.so.14"))
    result = scene.run([own_server("count_allocations"), "600"], environment=environment)
    lines = [line for line in result.stderr.decode().splitlines() if "libnghttp2" in line]
    scene.equal("lines about it", len(lines), 1)
    metrics = metrics_of(scene)
    scene.equal("faults", metrics.by("profshim_faults_total", "part"), {"http2": 1.0})
    scene.at_least("requests of the other protocols", metrics.sum("db_server_operation_duration_seconds_count"), 300)


@test
def without_memory_the_program_runs_as_ever(scene):
    for megabytes in (24, 40, 64, 96):  # of addresses: the interpreter takes some 20
        limit = megabytes << 20
        result = scene.run(BUSY, environment=scene.shim_environment(hz=997),
                           preexec=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
        scene.equal("with %d MiB" % megabytes, (result.returncode, result.stdout), (0, DONE))
        scene.at_most("lines on stderr", len(result.stderr.splitlines()), 3)


if __name__ == "__main__":
    run_tests()
