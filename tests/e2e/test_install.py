#!/usr/bin/env python3
"""meson install puts everything where a distribution would, and what is installed works without the build tree."""
import json
import os
import re
import shutil

from harness import PATH, PROFSHIM, TREE, free_ports, own_server, run_tests, test


def installed_files(prefix):
    return sorted(os.path.relpath(os.path.join(folder, name), prefix)
                  for folder, _, names in os.walk(prefix) for name in names)


@test
def an_installed_profshim_works_without_its_build_tree(scene):
    prefix, build = scene.path("prefix"), scene.path("build")
    scene.run_ok(["meson", "setup", build, TREE, "--prefix", prefix], shim=False)
    # Whoever only builds and installs needs none of the packages that the tests are made with.
    targets = json.loads(scene.run_ok(["meson", "introspect", "--targets", build], shim=False))
    scene.equal("targets of the tests", [target["name"] for target in targets if "/tests/" in target["defined_in"]], [])
    scene.run_ok(["ninja", "-C", build, "--quiet"], shim=False, timeout=600)
    scene.run_ok(["meson", "install", "-C", build, "--quiet", "--no-rebuild"], shim=False)
    shutil.rmtree(build)
    files = installed_files(prefix)
    scene.say("installed: " + " ".join(files))
    profshim = os.path.join(prefix, "bin", "profshim")
    for name in ("bin/profshim", "share/man/man1/profshim.1"):
        scene.check("%s is installed" % name, name in files or name + ".gz" in files)
    for name in ("libprofshim.so", "libprofshim-exporter.so"):
        found = [path for path in files if path.startswith("lib") and os.path.basename(path) == name]
        scene.equal("places of " + name, len(found), 1)
    extra = [path for path in files if not path.startswith(("bin/profshim", "lib", "share/man/", "share/doc/"))]
    scene.equal("files elsewhere", extra, [])
    check_runs(scene, profshim)
    page = scene.run_ok(["man", "--warnings", "-l", os.path.join(prefix, "share/man/man1/profshim.1")], shim=False)
    scene.check("the manual page names the variables", "PROFSHIM_LISTEN" in page.replace("\b", ""), page[:300])
    # The whole prefix may be moved, as packages for containers do.
    moved = scene.path("elsewhere")
    os.rename(prefix, moved)
    check_runs(scene, os.path.join(moved, "bin", "profshim"))


def check_runs(scene, profshim):
    """profshim run, ls and report of that place, with the HTTP server."""
    program = scene.start([own_server("signal_server"), "none", str(free_ports())], run_by=profshim)
    program.wait_for_output("ready\n")
    program.wait_ready()
    with open("/proc/%d/maps" % program.pid) as maps:
        libraries = {line.split()[-1] for line in maps if "libprofshim" in line}
    scene.check("its libraries are of the same place", all(path.startswith(os.path.dirname(os.path.dirname(profshim)))
                                                           for path in libraries) and libraries, str(libraries))
    scene.equal("calls of listen", int(program.metrics().sum("profshim_calls_total", call="listen")), 1)
    environment = scene.profshim_environment()
    listed = scene.run_ok([profshim, "ls"], environment=environment)
    scene.check("profshim ls lists it", "signal_server" in listed, listed)
    scene.equal("exit code", program.stop(), 0)
    report = scene.run_ok([profshim, "report"], environment=environment)
    scene.check("profshim report reads it afterwards", "filename:lineno(function)" in report, report[:300])


def tour_of_readme():
    """The commands of the section "A tour", without their comments."""
    with open(os.path.join(TREE, "README.md")) as readme:
        section = readme.read().split("## A tour", 1)[1].split("\n## ", 1)[0]
    return [re.sub(r"\s+#.*", "", line).strip() for line in section.splitlines() if line.startswith("    ")]


@test
def the_tour_of_the_readme_works_line_by_line(scene):
    # The readme's ./server is a Redis here; what it names beyond us becomes what it is on this machine.
    shutil.copy(shutil.which("redis-server", path=PATH), scene.path("server"))
    port, listen = free_ports(), free_ports()
    environment = dict(scene.profshim_environment(listen="127.0.0.1:%d" % listen),
                       PATH=os.path.dirname(PROFSHIM) + ":" + PATH)
    commands = tour_of_readme()
    scene.equal("lines of the tour", len(commands), 12)
    for command in commands:
        if command.startswith("meson "):
            continue  # the other test of this file
        for written, here in (("--port 80", "--port %d" % port), ("127.0.0.1:9464", "127.0.0.1:%d" % listen),
                              ("curl ", "curl -sSf "), ("seconds=10", "seconds=1"),
                              ("| flamegraph.pl > f.svg", "| grep -c ';'")):
            command = command.replace(written, here)
        if command.startswith("profshim run "):
            program = scene.start(["bash", "-c", "exec " + command], "server", environment=environment)
            program.profiler_port = listen
            program.wait_for_port(port)
            program.wait_ready()
            scene.run_ok(["redis-benchmark", "-q", "-p", str(port), "-n", "20000", "-t", "get"], shim=False)
        elif command.startswith("profshim report "):
            program.kill_all()
            command = re.sub(r"server\.\d+", "server.%d" % program.pid, command)
            check_prints(scene, command, environment)
        else:
            check_prints(scene, command, environment)


def check_prints(scene, command, environment):
    output = scene.run_ok(["bash", "-o", "pipefail", "-c", command], environment=environment)
    scene.check("%s: prints" % command, output.strip(), "nothing")
    scene.say("%s: %s" % (command, output.strip().splitlines()[0][:80]))


if __name__ == "__main__":
    run_tests()
