"""filters - programs that begin under a seccomp(2) filter, as those of a service manager and of a container do."""
import sys

KILL, REFUSE, TRAP = 0x80000000, 0x00050001, 0x00030000  # SECCOMP_RET_KILL_PROCESS; _ERRNO with EPERM; _TRAP
ALLOW = 0x7fff0000
NUMBERS = dict(rt_sigaction=13, getpid=39, sendmsg=46, clone=56, wait4=61, ftruncate=77, mkdir=83, unlink=87, readlink=89, sysinfo=99, geteuid=107, getppid=110,
               fstatfs=138, rt_sigpending=127, rt_sigtimedwait=128, sched_setscheduler=144, sched_getscheduler=145, tkill=200,
               timer_create=222, fadvise64=221, unshare=272, get_robust_list=274, accept4=288, eventfd2=290, epoll_create1=291,
               perf_event_open=298,
               process_vm_readv=310, kcmp=312, memfd_create=319, pidfd_open=434, close_range=436, pidfd_getfd=438)

# Installs the filter, and only then preloads what is to be: UNDER ACTION OTHERWISE LIBRARY NUMBER,... PROGRAM ARGUMENT...
# These numbers have ACTION, all others OTHERWISE. The program is found by its path; nothing comes between the filter and it.
UNDER = """
import ctypes, os, struct, sys
action, otherwise, library, argv = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[5:]
if library:
    os.environ["LD_PRELOAD"] = library
lines = [(0x20, 0, 0, 0)] # the call's number
for number in sys.argv[4].split(","):
    lines += [(0x15, 0, 1, int(number)), (0x06, 0, 0, action)]
lines.append((0x06, 0, 0, otherwise))
text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
class Program(ctypes.Structure):
    _fields_ = [("count", ctypes.c_ushort), ("lines", ctypes.c_void_p)]
libc, arguments = ctypes.CDLL(None), (ctypes.c_char_p * (len(argv) + 1))(*[os.fsencode(argument) for argument in argv], None)
filter, execvp, prctl = ctypes.byref(Program(len(lines), ctypes.addressof(text))), libc.execvp, libc.prctl
if prctl(38, 1, 0, 0, 0) or prctl(22, 2, filter, 0, 0) or execvp(arguments[0], arguments):
    os._exit(99)
"""


def filtered(numbers, action, library, argv, otherwise=ALLOW):
    """Arguments that run argv where these calls, by name or number, are the process's end or an error."""
    numbers = [str(NUMBERS.get(number, number)) for number in numbers]
    return [sys.executable, "-c", UNDER, str(action), str(otherwise), library, ",".join(numbers), *argv]


def start_filtered(scene, numbers, action, argv, name, shim=True, environment=None, **how):
    """As scene.start, under the filter."""
    return scene.start(filtered(numbers, action, scene.library if shim else "", argv), name, shim=shim, is_preloaded=False, **how)
