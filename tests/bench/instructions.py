"""instructions - how many instructions a request takes in user mode, of all that a server's processes execute.

Counted by valgrind's callgrind, which runs the servers of cost.py one at a time: a slice to warm up, then the counters are set
to zero, then the slice that counts. It sees neither what the kernel does nor what an instruction costs; but it comes to the
same on a busy machine, within a per cent. Variants, as in cost.py:
    plain            without anything
    disabled         the library is loaded, and its program is none that PROFSHIM_EXE names
    requests_only    under the shim without samples
"""
import glob
import os
import re
import subprocess

from cost import PATIENCE_SECONDS, SERVERS
from harness import Failure, Scene, adopt_orphans
from measure import tree_of

VARIANTS = ["plain", "disabled", "requests_only"]
WORKLOADS = {"nginx_return": 4000, "nginx_1k_file": 4000, "redis_get": 4000, "redis_get_p16": 32000, "pgbench_select": 2000,
             "grpc_echo": 1600}  # requests of a slice
OWN_THREAD = " server_main\n"  # where profshim's begins


def under_valgrind(scene):
    """What runs a server, of whatever user, so that its processes can be asked for their counts: where they rest in system
    calls (poll=0), since profshim's own thread, which has descriptors of its own, cannot answer for them."""
    folder = scene.session_dir
    return ["env", "TMPDIR=" + folder, "valgrind", "-q", "--tool=callgrind", "--trace-children=yes", "--separate-threads=yes",
            "--callgrind-out-file=%s/counts.%%p" % folder, "--vgdb-prefix=%s/vgdb" % folder, "--vgdb-poll=0"]


def tell(scene, pid, command):
    """As the user that runs it: ptrace(2) and the files through which they talk ask for that."""
    who = os.stat("/proc/%d" % pid)
    identity = {"user": who.st_uid, "group": who.st_gid, "extra_groups": []} if who.st_uid != os.geteuid() else {}
    result = subprocess.run(["vgdb", "--vgdb-prefix=%s/vgdb" % scene.session_dir, "--pid=%d" % pid, command],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE_SECONDS, **identity)
    if result.returncode:
        raise Failure("valgrind did not take \"%s\" in process %d: %s" % (command, pid, result.stdout.decode()))


def counted(scene, pid):
    """What a process has executed since it was told to begin at zero; a file a thread. What profshim's own thread did is left
    out: it works by the clock, which goes on while valgrind takes its time."""
    tell(scene, pid, "dump")
    total = 0
    for path in glob.glob(os.path.join(scene.session_dir, "counts.%d.*-*" % pid)):
        with open(path) as file:
            text = file.read()
        if OWN_THREAD not in text:
            total += int(re.search(r"^totals: (\d+)$", text, re.MULTILINE).group(1))
    return total


def per_request(workload, variant):
    scene, server = Scene("instructions-%s-%s" % (workload, variant)), None
    try:
        server = SERVERS[workload](scene, variant, WORKLOADS[workload], under=under_valgrind(scene))
        server.ask()
        pids = tree_of(server.program.pid)
        for pid in pids:
            tell(scene, pid, "zero")
        server.ask()
        return sum(counted(scene, pid) for pid in pids) / server.requests
    finally:
        if server:
            server.close()
        scene.close(False, False)


def measure(figures, workload, _):
    adopt_orphans()
    found = {}
    for variant in VARIANTS:
        found[variant] = per_request(workload, variant)
        figures.add("instructions_%s_%s" % (workload, variant), round(found[variant]), "instructions")
        if variant != "plain":
            figures.add("instructions_%s_%s_more" % (workload, variant), 100 * (found[variant] / found["plain"] - 1), "%")
