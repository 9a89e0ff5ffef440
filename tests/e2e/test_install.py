#!/usr/bin/env python3
"""meson install puts everything where a distribution would, and what is installed works without the build tree."""
import os
import shutil

from harness import TREE, free_ports, own_server, run_tests, test


def installed_files(prefix):
    return sorted(os.path.relpath(os.path.join(folder, name), prefix) for folder, _, names in os.walk(prefix) for name in names)


@test
def an_installed_profshim_works_without_its_build_tree(scene):
    prefix, build = scene.path("prefix"), scene.path("build")
    scene.run_ok(["meson", "setup", build, TREE, "--prefix", prefix], shim=False)
    scene.run_ok(["meson", "install", "-C", build, "--quiet"], shim=False, timeout=600)
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
    page = scene.run_ok(["man", "--warnings", "-l", os.path.join(prefix, "share", "man", "man1", "profshim.1")], shim=False)
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


if __name__ == "__main__":
    run_tests()
