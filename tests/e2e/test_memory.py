#!/usr/bin/env python3
"""What profshim takes of a program's memory is bounded, and stays what it is however much comes and goes."""
import os
import re
import threading
import urllib.request

from harness import FULL, Failure, own_server, run_tests, test, wait_until
from real_servers import HttpClient, Nginx, Redis

MIB = 1 << 20
PRIVATE_BYTES = 1 * MIB     # over what the program has without us
THREAD_BYTES = 16 * 1024    # and for each thread
LOOKS = ("/metrics", "/report", "/self", "/folded", "/endpoints", "/connections")
EVERY_VIEW = LOOKS + ("/", "/report?by=line&top=0", "/report?format=json&top=0&by=function", "/report?seconds=1", "/folded?seconds=1",
                      "/requests/slow", "/requests/active")
DECAY_SECONDS = 30  # jemalloc gives back what is free bit by bit, over ten seconds in which it is called
VIEW_SHARE = 1              # of PROFSHIM_MEMORY: what a view may take while it is made, beside its answer
ANSWER_MIB = WAITERS_MIB = 32  # http.c: of one answer, and of what requests that wait hold already when one more is taken
FLAT_BYTES = 512 * 1024     # what stays flat may move by so much, as the C library's own memory does


def private_memory(pid):
    """Bytes that a process alone has written to, by proc(5). Without the segment, which is shared even where just one
    process has it now, and without pages of files that can be read again."""
    dirty, is_counted = 0, False
    with open("/proc/%d/smaps" % pid) as smaps:
        for line in smaps:
            fields = line.split()
            if re.match(r"[0-9a-f]+-[0-9a-f]+$", fields[0]):
                is_counted = not line.rstrip().endswith(".seg")
            elif is_counted and fields[0] in ("Anonymous:", "Swap:"):
                dirty += int(fields[1]) * 1024
    return dirty


def segment_bytes(scene):
    """What the session's file takes of tmpfs or of the disk, not what it could."""
    (name,) = [name for name in os.listdir(scene.session_dir) if name.endswith(".seg")]
    status = os.stat(os.path.join(scene.session_dir, name))
    return status.st_blocks * 512, status.st_size


class Commanded:
    """A memory_server and the pipe by which it is told what to do."""

    def __init__(self, scene, shim=True, run_in=(), **settings):
        """run_in: words that start another program, before those of memory_server."""
        reading_end, self.writing_end = os.pipe()
        self.program = scene.start([*run_in, own_server("memory_server")], shim=shim, stdin=reading_end, **settings)
        os.close(reading_end)
        self.done = 0
        self.program.wait_for_output("ready")

    def do(self, command, seconds=600):
        """The number that comes with "done", if any."""
        os.write(self.writing_end, command.encode() + b"\n")
        self.done += 1

        def answers():
            return re.findall(r"^done ?(\d*)$", self.program.stdout(), re.MULTILINE)

        def has_come():
            self.program.need_running()
            return len(answers()) >= self.done
        wait_until(has_come, seconds, command)
        number = answers()[self.done - 1]
        return int(number) if number else None

    def memory(self):
        return private_memory(self.program.pid)

    def end(self):
        os.close(self.writing_end)
        if self.program.wait(60):
            raise Failure("it ended with code %d" % self.program.process.returncode)


def tables(program):
    return program.json("/self")["memory"]["tables"]


def kib(numbers):
    return ", ".join("%d KiB" % (number // 1024) for number in numbers)


@test
def workers_take_less_than_a_mebibyte_more(scene):
    def measure(shim):
        nginx = Nginx(scene, **(dict(hz=997) if shim else {"shim": False}))
        wait_until(lambda: len(nginx.workers()) == 2, 5, "two workers")
        for _ in range(40):
            client = HttpClient(nginx.port)
            for number in range(50):
                client.ask("GET", "/users/%d" % number)
            client.close()
        found = [private_memory(pid) for pid in nginx.workers()]
        nginx.program.kill_all()
        os.rename(scene.path("www"), scene.path("www-%s" % shim))
        return found
    without, with_shim = measure(False), measure(True)
    scene.say("nginx workers: %s without, %s with profshim" % (kib(without), kib(with_shim)))
    scene.at_most("what a worker of nginx has more, in KiB", (max(with_shim) - min(without)) / 1024, PRIVATE_BYTES / 1024)


def thread_count(pid):
    return len(os.listdir("/proc/%d/task" % pid))


def look(program, times):
    """At everything, and at the metrics packed as Prometheus asks for them."""
    for _ in range(times):
        for path in LOOKS:
            program.get_ok(path)
        asked = urllib.request.Request("http://127.0.0.1:%d/metrics" % program.profiler_port, headers={"Accept-Encoding": "gzip"})
        with urllib.request.urlopen(asked, timeout=30) as answer:
            if answer.headers["Content-Encoding"] != "gzip" or not answer.read():
                raise Failure("no packed metrics")


@test
def the_process_that_serves_takes_no_more_than_others(scene):
    def burn(server):
        server.do("requests 500 10")
        server.do("threads 4 100000")
        server.do("stacks 300")
    plain, server = Commanded(scene, shim=False), Commanded(scene, hz=997)
    server.program.wait_ready()
    for each in (plain, server):
        burn(each)
    without, found = plain.memory(), [server.memory()]
    for times in (1, 3, 10):
        look(server.program, times)
        found.append(server.memory())
    threads = thread_count(server.program.pid)
    scene.say("%s without; with profshim, which serves there, %s before the first look at everything, %s after 1, 4 and 14"
              % (kib([without]), kib(found[:1]), kib(found[1:])))
    scene.at_most("what the serving process has more with %d threads, in KiB" % threads, (max(found) - without) / 1024,
                  (PRIVATE_BYTES + threads * THREAD_BYTES) / 1024)
    for each in (plain, server):
        each.do("end")
        each.end()


@test
def what_was_read_of_a_large_program_is_given_back(scene):
    redis, plain = Redis(scene, hz=997), Redis(scene, shim=False)
    for server in (redis, plain):
        server.benchmark("-n", "20000", "-c", "10", "-t", "set,get,lpush,zadd")
    redis.program.wait_ready()
    look(redis.program, 3)
    first = private_memory(redis.program.pid)
    look(redis.program, 9)
    last, without = private_memory(redis.program.pid), private_memory(plain.program.pid)
    scene.say("redis-server: %s without; with profshim %s after 3 looks at everything, %s after 12"
              % (kib([without]), kib([first]), kib([last])))
    # Redis' malloc is jemalloc, whose arenas keep what is freed for a while; the one of our thread does not.
    threads = thread_count(redis.program.pid)
    bound = PRIVATE_BYTES + threads * THREAD_BYTES
    wait_until(lambda: private_memory(redis.program.pid) - private_memory(plain.program.pid) <= bound, DECAY_SECONDS,
               "no more than %d KiB with %d threads" % (bound / 1024, threads))
    last, without = private_memory(redis.program.pid), private_memory(plain.program.pid)
    scene.at_most("what the serving process has more with %d threads, in KiB" % threads, (last - without) / 1024, bound / 1024)
    scene.at_most("what it has more after nine more looks, in KiB", (last - first) / 1024, FLAT_BYTES / 1024)


def check_threads(scene, count, burn_us, unwind):
    def measure(**settings):
        server = Commanded(scene, **settings)
        server.do("threads 1 %d" % burn_us)
        if settings.get("shim", True):
            server.program.wait_ready()  # what our thread takes is no thread's of the program
        before = server.memory()
        server.do("threads %d %d" % (count, burn_us))
        after = server.memory()
        server.program.kill_all()
        return after - before
    without = measure(shim=False)
    with_shim = measure(unwind=unwind, hz=997)
    scene.at_most("PROFSHIM_UNWIND=%s: what each of %d threads has more, in KiB" % (unwind, count),
                  (with_shim - without) / count / 1024, THREAD_BYTES / 1024)


@test
def a_thread_takes_less_than_16_kib_more(scene):
    check_threads(scene, 100, 5000, "fp")
    check_threads(scene, 100, 5000, "auto")
    check_threads(scene, 600, 2000, "auto")
    if FULL:
        check_threads(scene, 10000, 2000, "auto")


@test
def ten_thousand_threads_at_once_are_all_sampled_or_counted(scene):
    count = 10000 if FULL else 700
    burn_us = 16000  # the kernel looks at CPU clocks at its ticks, every 4 ms of which some are others'
    server = Commanded(scene, hz=997)
    server.program.wait_ready()
    server.do("threads 1 1000")
    begun = server.do("threads %d %d" % (count, burn_us)) - 1
    scene.equal("threads at once", begun, count)
    metrics = server.program.metrics()
    places = tables(server.program)["threads"]
    scene.equal("slots of threads in use", places["used"], places["capacity"] - 1)
    # Slot 0 is nobody's own; the first thread, the serving one and the one before have slots, too.
    scene.equal("threads without a slot of their own",
                int(metrics.sum("profshim_label_overflow_total", family="thread_slot")), count + 3 - (places["capacity"] - 1))
    scene.equal("threads without a timer", int(metrics.sum("profshim_timers_failed_total")), 0)
    # What they burned is in the samples, with or without a slot, but for what comes after a thread's last tick.
    cpu = metrics.sum("profshim_endpoint_cpu_seconds_total")
    scene.at_least("CPU seconds of the samples", cpu, 0.6 * count * burn_us / 1e6)
    server.do("end")
    wait_until(lambda: tables(server.program)["threads"]["used"] <= 3, 5, "their slots being free again")
    again = server.do("threads 400 2000")
    scene.equal("threads once more", again, 400)
    scene.equal("of those without a slot",
                int(server.program.metrics().sum("profshim_label_overflow_total", family="thread_slot")), count + 3 - (places["capacity"] - 1))
    server.do("end")
    server.end()


@test
def threads_that_come_and_go_leave_memory_flat(scene):
    count = 100000 if FULL else 10000
    server = Commanded(scene, hz=997)
    server.program.wait_ready()
    # Until all symbols that the report shows have been read, once.
    server.do("churn %d" % count)
    server.program.metrics()
    private, (shared, _) = server.memory(), segment_bytes(scene)
    server.do("churn %d" % count)
    grown = server.memory() - private  # before a function that is sampled for the first time has its module's symbols read
    metrics = server.program.metrics()
    scene.equal("threads made", int(metrics.sum("profshim_calls_total", call="pthread_create")), 2 * count)
    scene.equal("calls that they made", int(metrics.sum("profshim_calls_total", call="read")) >= 2 * count, True)
    scene.equal("threads without a slot", int(metrics.sum("profshim_label_overflow_total", family="thread_slot")), 0)
    scene.at_most("slots of threads in use", tables(server.program)["threads"]["used"], 3)
    scene.at_most("private KiB more than before", grown / 1024, FLAT_BYTES / 1024)
    scene.at_most("KiB of the segment more than before", (segment_bytes(scene)[0] - shared) / 1024, 256)
    server.end()


@test
def connections_and_urls_that_come_and_go_leave_memory_flat(scene):
    connections, requests = (100000, 10) if FULL else (5000, 10)
    server = Commanded(scene, hz=0)
    server.program.wait_ready()
    server.do("requests 2000 10")
    server.program.metrics()
    private, (shared, _) = server.memory(), segment_bytes(scene)
    server.do("requests %d %d" % (connections, requests))
    count = connections * requests + 20000
    metrics = server.program.metrics_when(
        lambda metrics: metrics.sum("http_server_request_duration_seconds_count") == count)
    scene.equal("requests counted", int(metrics.sum("http_server_request_duration_seconds_count")), count)
    scene.equal("connections accepted", int(metrics.sum("profshim_connections_accepted_total", protocol="http")),
                connections + 2000)
    scene.at_most("endpoints", tables(server.program)["endpoints"]["used"], 256 + 64)
    scene.at_most("private KiB more than before", (server.memory() - private) / 1024, FLAT_BYTES / 1024)
    scene.at_most("KiB of the segment more than before", (segment_bytes(scene)[0] - shared) / 1024, 2048)
    scene.equal("connections in use", tables(server.program)["connections"]["used"], 0)
    server.end()


def sample_stacks(server, count):
    """So many stacks, each another one, with a sample each."""
    taken = server.do("samples %d" % count)
    if taken != count:
        raise Failure("%d samples were asked for, %s taken" % (count, taken))


@test
def stacks_of_every_kind_stay_within_the_segment(scene):
    first, count = 10000, 1000000 if FULL else 30000
    server = Commanded(scene, hz=997, memory="1M")
    server.program.wait_for_tables()
    sample_stacks(server, first)
    look(server.program, 1)
    private = server.memory()
    sample_stacks(server, count)
    metrics = server.program.metrics()
    grown = server.memory() - private
    blocks, size = segment_bytes(scene)
    nodes = tables(server.program)["nodes"]
    scene.say("%d samples of %d stacks, %d nodes of %d"
              % (metrics.sum("profshim_samples_total"), first + count, nodes["used"], nodes["capacity"]))
    scene.at_most("MiB of the segment's file", size / MIB, 1)
    scene.at_most("MiB that it takes", blocks / MIB, 1)
    scene.at_most("private KiB more than after %d stacks" % first, grown / 1024, FLAT_BYTES / 1024)
    scene.at_least("samples", metrics.sum("profshim_samples_total"), first + count)
    dropped = metrics.by("profshim_samples_dropped_total", "reason")
    # A stack has 80 frames.
    scene.at_least("those that found no place, counted", dropped.get("nodes_full", 0), first + count - nodes["capacity"] / 4)
    counters = str(server.program.json("/self")["counters"])
    scene.check("and shown in /self", "nodes_full" in counters, counters[:300])
    server.end()


def status_bytes(pid, name):
    """VmRSS or VmHWM, by proc(5)."""
    with open("/proc/%d/status" % pid) as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name + ":"))


def peak_while(pid, do):
    """Bytes that it had at most in memory while this was done, over what it had before."""
    with open("/proc/%d/clear_refs" % pid, "w") as file:
        file.write("5")  # the highest so far is what there is now
    before = status_bytes(pid, "VmRSS")
    do()
    return status_bytes(pid, "VmHWM") - before


def look_everywhere(program):
    """Bytes of the answers, by path."""
    return {path: len(program.get_ok(path).body) for path in EVERY_VIEW}


@test
def of_a_full_call_tree_nothing_is_left_when_its_views_are_answered(scene):
    """In the long form with PROFSHIM_MEMORY as it is by default, so that views and snapshots are as large as they can be."""
    memory, count = (32, 1000000) if FULL else (2, 12000)
    plain, server = Commanded(scene, shim=False), Commanded(scene, hz=997, **({} if FULL else {"memory": "%dM" % memory}))
    server.program.wait_ready()
    for each in (plain, server):
        each.do("requests 500 10")
        each.do("threads 4 100000")
        each.do("end")
    sample_stacks(server, count)
    threads = thread_count(server.program.pid)
    bound = PRIVATE_BYTES + threads * THREAD_BYTES
    more, peaks, answers = [server.memory() - plain.memory()], [], {}
    for _ in range(3 if FULL else 2):
        peaks.append(peak_while(server.program.pid, lambda: answers.update(look_everywhere(server.program))))
        more.append(server.memory() - plain.memory())
    nodes = tables(server.program)["nodes"]
    scene.say("answers: %s" % ", ".join("%s %d KiB" % (path, size / 1024) for path, size in answers.items()))
    scene.say("private memory over the plain program's: %s; at most while views were made: %s" % (kib(more), kib(peaks)))
    scene.at_least("nodes used, of %d" % nodes["capacity"], nodes["used"], 0.9 * nodes["capacity"])
    scene.check("not all found a place", server.program.metrics().sum("profshim_samples_dropped_total") > 0)
    blocks, size = segment_bytes(scene)
    scene.at_most("MiB of the segment's file", size / MIB, memory)
    scene.at_most("MiB that it takes", blocks / MIB, memory)
    scene.at_most("what the serving process has more with %d threads, in KiB" % threads, max(more) / 1024, bound / 1024)
    # The first look reads pages of files that nobody had, too.
    scene.at_most("MiB that it had more at most, while views were made", max(peaks[1:]) / MIB,
                  VIEW_SHARE * memory + max(answers.values()) / MIB)
    server.end()
    plain.end()


@test
def who_waits_for_a_difference_holds_what_was_but_not_without_bound(scene):
    """Each request with seconds= has a copy of the call tree meanwhile."""
    memory, at_once = (32, 16) if FULL else (8, 16)
    server = Commanded(scene, hz=997, memory="%dM" % memory)
    server.program.wait_for_tables()
    sample_stacks(server, 1000000 if FULL else 20000)
    look(server.program, 1)
    before, statuses = server.memory(), []

    def ask():
        statuses.append(server.program.get("/report?seconds=%d" % (20 if FULL else 2)).status)

    def ask_all():
        threads = [threading.Thread(target=ask) for _ in range(at_once)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    peak = peak_while(server.program.pid, ask_all)
    counts = {status: statuses.count(status) for status in set(statuses)}
    scene.say("answers: %s; at most %s more" % (counts, kib([peak])))
    scene.check("all were answered or refused", set(counts) <= {200, 503} and sum(counts.values()) == at_once, counts)
    scene.at_least("answered", counts.get(200, 0), 3)
    scene.at_most("MiB that it had more at most", peak / MIB, WAITERS_MIB + 2 * VIEW_SHARE * memory)
    if FULL:
        scene.check("some were refused", counts.get(503, 0) > 0, counts)
    wait_until(lambda: server.memory() - before <= FLAT_BYTES, 5, "all of it being given back")
    server.end()


@test
def an_answer_that_would_be_huge_is_refused_and_the_command_line_gives_it(scene):
    """The same few nodes stand in many lines of /folded, where stacks are deep."""
    server = Commanded(scene, hz=997, memory="8M")
    server.program.wait_for_tables()
    server.do("deep 1024")
    look_at = ("/metrics", "/report", "/self")
    for path in look_at:
        server.program.get_ok(path)
    before, answers = server.memory(), []
    peak = peak_while(server.program.pid, lambda: answers.append(server.program.get("/folded")))
    scene.equal("status", answers[0].status, 503)
    scene.check("one sentence that says what else", answers[0].text.count("\n") == 1 and "profshim report" in answers[0].text, answers[0].text)
    scene.at_most("MiB that it had more at most", peak / MIB, ANSWER_MIB + 8 * VIEW_SHARE)
    wait_until(lambda: server.memory() - before <= FLAT_BYTES, 5, "all of it being given back")
    for path in look_at:
        server.program.get_ok(path)
    folded = scene.profshim("report", "--view=folded")
    scene.at_least("MiB that the command line writes", len(folded) / MIB, ANSWER_MIB)
    # The timer's own may be more.
    scene.at_least("stacks in it", sum(line.count("name_that_is_as_long") > 800 for line in folded.splitlines()), 1024)
    server.end()


@test
def a_small_ceiling_is_kept_and_one_that_is_too_small_is_said_once(scene):
    for memory in ("1M", "2M", "4M"):
        before = set(os.listdir(scene.session_dir))
        server = Commanded(scene, memory=memory, hz=997)
        server.do("stacks 200")
        server.do("requests 50 4")
        server.program.wait_ready()
        metrics = server.program.metrics_when(
            lambda metrics: metrics.sum("http_server_request_duration_seconds_count") == 200)
        (name,) = set(os.listdir(scene.session_dir)) - before
        scene.say("PROFSHIM_MEMORY=%s: a file of %d KiB" % (memory, os.path.getsize(os.path.join(scene.session_dir, name)) // 1024))
        scene.at_most("bytes of the file with PROFSHIM_MEMORY=" + memory,
                      os.path.getsize(os.path.join(scene.session_dir, name)), int(memory[:-1]) * MIB)
        scene.equal("requests counted", int(metrics.sum("http_server_request_duration_seconds_count")), 200)
        scene.at_least("samples", metrics.sum("profshim_samples_total"), 20)
        # Where there is no room for the rules by which code is left, that is said of each module.
        others = [line for line in server.program.stderr().splitlines() if "no room for the unwind table" not in line]
        scene.equal("other lines on stderr", others, [])
        server.end()
    server = Commanded(scene, memory="100K", hz=997)
    server.do("requests 5 4")
    scene.equal("lines on stderr", len(server.program.stderr().splitlines()), 1)
    scene.check("which names the variable", "PROFSHIM_MEMORY" in server.program.stderr(), server.program.stderr())
    server.end()


@test
def a_program_lives_on_when_the_space_for_its_session_is_used_up(scene):
    # In a mount namespace of its own, a file system of 64 MiB as containers have for /dev/shm.
    private = scene.path("private")
    os.mkdir(private)
    mounted = "mount -t tmpfs -o size=64m,mode=0700 none %s && exec \"$@\"" % private
    environment = scene.shim_environment(dir=private, hz=997)
    preload = environment.pop("LD_PRELOAD")
    server = Commanded(scene, shim=False, environment=environment,
                       run_in=["unshare", "-m", "sh", "-c", mounted, "sh", "env", "LD_PRELOAD=" + preload])
    inside = "/proc/%d/root%s" % (server.program.pid, private)
    (name,) = [name for name in os.listdir(inside) if name.endswith(".seg")]
    path = os.path.join(inside, name)
    wait_until(lambda: os.stat(path).st_blocks * 512 >= os.path.getsize(path), 5, "the file's space being taken")
    filled = 0
    with open(os.path.join(inside, "filler"), "wb", buffering=0) as filler:
        try:
            while True:
                filled += filler.write(bytes(MIB))
        except OSError as error:
            scene.say("%d MiB of others' until %s" % (filled // MIB, error.strerror))
    server.do("requests 500 20")
    server.do("stacks 1000")
    server.do("threads 100 1000")
    scene.equal("stderr", server.program.stderr(), "")
    server.do("end")
    server.end()


def page_faults(argv, environment):
    """Pages that were made or mapped for a program from its start to its end."""
    pid = os.posix_spawn(argv[0], argv, environment)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise Failure("%s ended with status %d" % (argv[0], status))
    return usage.ru_minflt


@test
def a_program_that_does_nothing_pays_for_few_pages(scene):
    before = page_faults(["/bin/true"], scene.plain_environment())
    under_it = page_faults(["/bin/true"], scene.shim_environment(listen="127.0.0.1:0"))
    scene.at_most("page faults of true under the shim, over the %d without" % before, under_it - before, 140)


if __name__ == "__main__":
    run_tests()
