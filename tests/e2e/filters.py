"""filters - programs that begin under a seccomp(2) filter, as those of a service manager and of a container do."""
import sys

KILL, REFUSE = 0x80000000, 0x00050001  # SECCOMP_RET_KILL_PROCESS; _ERRNO with EPERM
NUMBERS = dict(rt_sigaction=13, getpid=39, sendmsg=46, wait4=61, ftruncate=77, mkdir=83, unlink=87, readlink=89, sysinfo=99, geteuid=107, getppid=110,
               fstatfs=138, rt_sigpending=127, rt_sigtimedwait=128, sched_setscheduler=144, sched_getscheduler=145, tkill=200,
               timer_create=222, fadvise64=221, unshare=272, get_robust_list=274, accept4=288, eventfd2=290, epoll_create1=291,
               perf_event_open=298,
               process_vm_readv=310, kcmp=312, memfd_create=319, pidfd_open=434, close_range=436, pidfd_getfd=438)

# Installs the filter, and only then preloads what is to be: UNDER ACTION LIBRARY NUMBER,... PROGRAM ARGUMENT...
UNDER = """
import ctypes, os, struct, sys
action, library, numbers, argv = int(sys.argv[1]), sys.argv[2], [int(number) for number in sys.argv[3].split(",")], sys.argv[4:]
if library:
    os.environ["LD_PRELOAD"] = library
lines = [(0x20, 0, 0, 0)] # the call's number
for number in numbers:
    lines += [(0x15, 0, 1, number), (0x06, 0, 0, action)]
lines.append((0x06, 0, 0, 0x7fff0000))
text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
class Program(ctypes.Structure):
    _fields_ = [("count", ctypes.c_ushort), ("lines", ctypes.c_void_p)]
libc = ctypes.CDLL(None)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(Program(len(lines), ctypes.addressof(text))), 0, 0):
    sys.exit("no filter")
os.execvp(argv[0], argv)
"""


def filtered(numbers, action, library, argv):
    """Arguments that run argv where these calls, by name or number, are the process's end or an error."""
    numbers = [str(NUMBERS.get(number, number)) for number in numbers]
    return [sys.executable, "-c", UNDER, str(action), library, ",".join(numbers), *argv]


def start_filtered(scene, numbers, action, argv, name, shim=True, environment=None, **how):
    """As scene.start, under the filter."""
    return scene.start(filtered(numbers, action, scene.library if shim else "", argv), name, shim=shim, is_preloaded=False, **how)
