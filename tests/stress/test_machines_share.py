#!/usr/bin/env python3
"""What scripts/soak takes for the machine's of a step's CPU time: test_machines_share.py SOAK HOST_WATCH."""
import importlib.machinery
import importlib.util
import sys

loader = importlib.machinery.SourceFileLoader("soak", sys.argv[1])
spec = importlib.util.spec_from_loader("soak", loader)
sys.dont_write_bytecode = True
soak = importlib.util.module_from_spec(spec)
loader.exec_module(soak)

with soak.HostWatch(sys.argv[2]) as watch:
    pass
if watch.period_ms is None and not watch.said.startswith("refused: "):
    sys.exit("the watcher neither watches nor says why: %r" % watch.said)


def machines_ms(ran, switches, gaps, period_ms=4):
    watch.period_ms, watch.gaps = period_ms, [soak.Gap(*gap) for gap in gaps]
    line = "stall: fork/fork ran %.1f ms, in the kernel 9.5 ms, of 200.0 ms, switches %d, from 1000000 to 1200000 us" % (ran, switches)
    stall, = soak.stalls_of("rounds=1\n%s\nsteps=1" % line)
    return watch.machines_ms(stall)


for what, found, wanted in [
        ("a gap within the step, which nothing interrupted, is the machine's", machines_ms(100, 1, [(0, 1050000, 1120000)]), 70),
        ("no more than the step went on without a switch", machines_ms(100, 9, [(0, 1050000, 1120000)]), 50),
        ("a step that goes round in circles is interrupted every few ms", machines_ms(80, 19, [(0, 1050000, 1120000)]), 0),
        ("a gap before and after the step is not", machines_ms(100, 1, [(0, 900000, 1000000), (0, 1200000, 1300000)]), 0),
        ("a part of a gap counts as that part", machines_ms(100, 1, [(0, 980000, 1020000)]), 20),
        ("gaps of two CPUs at once are not twice the time", machines_ms(100, 1, [(0, 1050000, 1080000), (1, 1050000, 1080000)]), 30),
        ("without gaps nothing is", machines_ms(100, 0, []), 0),
        ("without a watcher nothing is", machines_ms(100, 0, [(0, 1050000, 1120000)], period_ms=None), 0)]:
    if abs(found - wanted) > 1e-6:
        sys.exit("%s: %g ms, not %g" % (what, found, wanted))
