#!/usr/bin/env python3
"""A part of profshim that fails switches itself off, says so once, is counted where its user looks, and the rest goes on."""
import json
import os
import resource
import shutil
import struct
import subprocess

from filters import REFUSE, start_filtered
from harness import FULL, Metrics, free_ports, own_server, run_tests, test, wait_until
from real_servers import HttpClient

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


def faults_of(scene):
    """What /self tells of parts that failed."""
    faults = json.loads(scene.profshim("report", "--view=self"))["counters"]["faults"]
    return {part: count for part, count in faults.items() if count}


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
    scene.equal("faults in /self", faults_of(scene), {"exporter": 1})
    scene.at_least("samples all the same", metrics.sum("profshim_samples_total"), 10)


@test
def without_libunwind_stacks_are_followed_all_the_same(scene):
    environment = dict(scene.shim_environment(hz=997, unwind="libunwind"), LD_LIBRARY_PATH=without(scene, "libunwind.so.8"))
    lines = run_busy(scene, environment)
    scene.equal("lines about it", len([line for line in lines if "libunwind" in line]), 1)
    metrics = metrics_of(scene)
    scene.equal("faults", metrics.by("profshim_faults_total", "part"), {"unwind": 1.0})
    scene.at_least("samples", metrics.sum("profshim_samples_total"), 10)
    scene.equal("faults in /self", faults_of(scene), {"unwind": 1})


@test
def without_libnghttp2_everything_else_is_counted(scene):
    environment = dict(scene.shim_environment(hz=0), LD_LIBRARY_PATH=without(scene, "libnghttp2.so.14"))
    result = scene.run([own_server("count_allocations"), "600"], environment=environment)
    lines = [line for line in result.stderr.decode().splitlines() if "libnghttp2" in line]
    scene.equal("lines about it", len(lines), 1)
    metrics = metrics_of(scene)
    scene.equal("faults", metrics.by("profshim_faults_total", "part"), {"http2": 1.0})
    scene.equal("faults in /self", faults_of(scene), {"http2": 1})
    scene.at_least("requests of the other protocols", metrics.sum("db_server_operation_duration_seconds_count"), 300)


@test
def without_memory_the_program_runs_as_ever(scene):
    for megabytes in (24, 40, 64, 96):  # of addresses: the interpreter takes some 20
        limit = megabytes << 20
        result = scene.run(BUSY, environment=scene.shim_environment(hz=997),
                           preexec=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
        scene.equal("with %d MiB" % megabytes, (result.returncode, result.stdout), (0, DONE))
        scene.at_most("lines on stderr", len(result.stderr.splitlines()), 3)


# A library goes while nothing can be mapped, so that there is no map of those that stay, until there is room again.
CRAMPED = """
import ctypes, resource, sys, time
libc = ctypes.CDLL(None)
libc.dlclose.argtypes = [ctypes.c_void_p]
library = ctypes.CDLL("libcrypt.so.1")._handle
def burn_known(): return sum(i * i for i in range(2000000))
def burn_cramped(): return sum(i * i for i in range(2000000))
print(burn_known(), burn_cramped(), flush=True)
before = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (1 << 20, before[1]))
closed = libc.dlclose(library)
burnt = burn_cramped()
resource.setrlimit(resource.RLIMIT_AS, before)
print(closed, burnt, flush=True)
sys.stdin.read(1)
end = time.monotonic() + 1.5
while time.monotonic() < end:
    burn_known()
print("done", flush=True)
sys.stdin.read(1)
"""


def interpreted(program):
    """Samples whose stack is known to be the interpreter's."""
    return sum(int(line.split()[-1]) for line in program.get_ok("/folded").text.splitlines() if "_PyEval_EvalFrameDefault" in line)


@test
def without_memory_for_the_map_of_modules_code_is_unknown_until_there_is(scene):
    script = scene.write("cramped.py", CRAMPED)
    plain = scene.run_ok(["/usr/bin/python3", script], shim=False)
    program = scene.start(["/usr/bin/python3", script], "cramped", hz=997, stdin=subprocess.PIPE)
    wait_until(lambda: program.stdout().count("\n") == 2, 30, "its second line")
    program.wait_ready()
    lines = program.stderr().splitlines()
    scene.equal("lines", [line for line in lines if "no memory for the map of modules" in line], lines)
    scene.equal("how many", len(lines), 1)
    faults = program.json("/self")["counters"]["faults"]
    scene.at_least("faults of modules in /self", faults["modules"], 1)
    scene.equal("others", {part: count for part, count in faults.items() if count and part != "modules"}, {})
    scene.equal("faults", program.metrics().sum("profshim_faults_total", part="modules"), faults["modules"])
    scene.check("code is unknown meanwhile", "unknown" in program.get_ok("/folded").text)
    known = interpreted(program)
    program.process.stdin.write(b"x")
    program.process.stdin.flush()
    program.wait_for_output("done")
    scene.at_least("samples in the interpreter since then", interpreted(program) - known, 10)
    program.process.stdin.close()
    scene.equal("exit code", program.wait(), 0)
    scene.equal("output", program.stdout(), plain)


@test
def without_a_handler_requests_are_counted_all_the_same(scene):
    port = free_ports()
    program = start_filtered(scene, ["rt_sigaction"], REFUSE, [own_server("http1_server"), str(port), scene.path("log"), "recv"], "server", hz=997)
    program.wait_for_port(port)
    client = HttpClient(port)
    scene.equal("answers", [client.ask("GET", "/counted/9")[0] for _ in range(5)], [200] * 5)
    client.close()
    program.wait_ready()
    lines = program.stderr().splitlines()
    scene.equal("lines", [line for line in lines if "sampling is off" in line], lines)
    scene.equal("how many", len(lines), 1)
    metrics = program.metrics_when(lambda metrics: metrics.sum("http_server_request_duration_seconds_count") == 5)
    scene.equal("requests", metrics.sum("http_server_request_duration_seconds_count"), 5)
    scene.equal("faults", metrics.by("profshim_faults_total", "part"), {"sampling": 1.0})
    faults = program.json("/self")["counters"]["faults"]
    scene.equal("faults in /self", {part: count for part, count in faults.items() if count}, {"sampling": 1})
    scene.equal("samples", metrics.sum("profshim_samples_total"), 0)
    scene.check("it runs on", program.is_running())


# --- faults in walks over stacks ---

WALKS_LIE_MS = 6000 if FULL else 400  # of CPU time; of 250 walks a second (HZ=250) ten in eleven meet the page


def lie(scene, way, handler="default", **settings):
    """The session's /self after a program that lies about its stack; it must not notice. Lines on stderr are the result's
    second part."""
    argv = [own_server("lying_stack"), way, handler, str(WALKS_LIE_MS)]
    result = scene.run(argv, environment=scene.shim_environment(hz=997, **settings))
    own = 1 if handler == "own" else 0
    scene.equal("exit code", result.returncode, 0)
    scene.equal("its handler ran", result.stdout.decode(), "0 faults\n%d at the end\n" % own)
    lines = result.stderr.decode().splitlines()
    for line in lines:
        scene.say(line)
    told = json.loads(scene.profshim("report", "--view=self"))["counters"]
    scene.say("walks: %s" % told["stack_walks"])
    return told, lines


@test
def a_stack_that_frame_pointers_lead_astray_on_is_followed_by_them_no_more(scene):
    told, lines = lie(scene, "pointers")
    scene.equal("lines", [line for line in lines if "frame pointers any more" in line], lines)
    scene.equal("how many", len(lines), 1)
    scene.equal("faults in /self", {part: count for part, count in told["faults"].items() if count}, {"unwind": 1})
    scene.equal("walks that met one", told["stack_walks"]["faulted"], 8)
    scene.at_least("samples all the same", told["samples"], WALKS_LIE_MS / 10)
    scene.at_least("walks that reached the root", told["stack_walks"]["root"], WALKS_LIE_MS / 100)


@test
def rules_that_lead_astray_leave_samples_without_callers(scene):
    told, lines = lie(scene, "rules", unwind="tables")
    scene.equal("lines", [line for line in lines if "no callers any more" in line], lines)
    scene.equal("how many", len(lines), 1)
    scene.equal("faults in /self", {part: count for part, count in told["faults"].items() if count}, {"unwind": 1})
    scene.equal("walks that met one", told["stack_walks"]["faulted"], 8)
    scene.at_least("samples all the same", told["samples"], WALKS_LIE_MS / 10)


@test
def libunwind_led_astray_gives_way_to_rules(scene):
    told, lines = lie(scene, "rules", unwind="libunwind")
    scene.at_least("lines that name it", len([line for line in lines if "libunwind.so.8 is not used any more" in line]), 1)
    scene.at_most("lines", len(lines), 3)
    scene.within("faults in /self", told["faults"]["unwind"], len(lines), 0)
    scene.at_least("samples all the same", told["samples"], WALKS_LIE_MS / 10)


@test
def a_programs_own_handler_never_sees_a_fault_of_ours(scene):
    for way in ("rules", "pointers"):
        told, _ = lie(scene, way, handler="own")
        scene.at_least("walks that met one", told["stack_walks"]["faulted"], 8)


# --- faults of the program ---

def end_of(scene, case, core_bytes=0, **how):
    """(wait status with the core's flag, output, what the core says of the signal) of one way to fault."""
    folder = scene.path("%s-%d" % (case, len(os.listdir(scene.dir))))
    os.mkdir(folder)
    environment = scene.shim_environment(hz=997) if how.get("shim", True) else scene.plain_environment()
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.chdir(folder)
        os.dup2(write_end, 1)
        os.dup2(write_end, 2)
        resource.setrlimit(resource.RLIMIT_CORE, (core_bytes, core_bytes))
        resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, 1 << 20))
        os.execve(own_server("fault_shapes"), [own_server("fault_shapes"), case], environment)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        output = pipe.read().decode()
    _, status = os.waitpid(pid, 0)
    cores = [name for name in os.listdir(folder) if name.startswith("core")]
    return hex(status), output, core_signal(os.path.join(folder, cores[0])) if cores else None


def core_signal(path):
    """(signal, code, address) in a core's NT_SIGINFO; addresses beyond the first page are one, those of a sent signal none."""
    with open(path, "rb") as file:
        core = file.read(1 << 20)
    offset, count = struct.unpack_from("<Q", core, 32)[0], struct.unpack_from("<H", core, 56)[0]
    for index in range(count):
        kind, _, begin, _, _, size = struct.unpack_from("<IIQQQQ", core, offset + 56 * index)
        end = begin + size
        while kind == 4 and begin < end:  # PT_NOTE, elf(5)
            name_bytes, bytes_of, note = struct.unpack_from("<III", core, begin)
            begin += 12 + (name_bytes + 3 & ~3)
            if note == 0x53494749:  # NT_SIGINFO
                number, _, code = struct.unpack_from("<iii", core, begin)
                return number, code, min(4096, struct.unpack_from("<Q", core, begin + 16)[0]) if code > 0 else None
            begin += bytes_of + 3 & ~3
    return None


@test
def faults_of_the_program_are_what_they_are_without_the_shim(scene):
    cases = scene.run_ok([own_server("fault_shapes")], shim=False).split()
    scene.at_least("ways to fault", len(cases), 25)
    plain = {case: end_of(scene, case, shim=False) for case in cases}
    scene.equal("status and output of each", {case: end_of(scene, case) for case in cases}, plain)
    scene.at_least("of them died of it", len([end for end in plain.values() if int(end[0], 16) & 0x7f in (7, 11)]), 15)


@test
def cores_say_what_they_say_without_the_shim(scene):
    cases = ["null", "bus", "wild", "wild_frame", "kill", "queue", "overflow_with_alternate", "overflow_chained", "thread", "crash_reporter"]
    plain = {case: end_of(scene, case, core_bytes=64 << 20, shim=False) for case in cases}
    scene.say(plain)
    scene.check("there are cores", all(int(end[0], 16) & 0x80 for end in plain.values()))
    scene.equal("status, output and the core's signal", {case: end_of(scene, case, core_bytes=64 << 20) for case in cases}, plain)


if __name__ == "__main__":
    run_tests()
