#!/usr/bin/env python3
"""memcached: every command is counted once, in text, meta and binary, as memcached's own counters and answers say."""
import collections
import os
import random
import socket
import struct
import subprocess
import sys

from harness import Failure, free_ports, requests_wanted, run_tests, test, wait_until

DURATIONS = "db_server_operation_duration_seconds_count"
ASKED = "db_client_operation_duration_seconds_count"


class Memcached:
    """A memcached that keeps nothing but in memory; as root it gives its rights up, as packages start it."""

    def __init__(self, scene, shim=True, **settings):
        self.scene = scene
        self.port = free_ports()
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        self.program = scene.start(["memcached", "-l", "127.0.0.1", "-p", str(self.port), "-U", "0", "-t", "2",
                                    "-I", "2m", *user], "memcached", shim=shim, **settings)
        self.program.wait_for_port(self.port)
        if shim:
            self.program.wait_ready()

    def stats(self):
        client = Text(self.port)
        client.send(b"stats\r\n")
        counters = dict(line.split()[1:3] for line in client.answer()[:-1])
        client.close()
        return counters


class Text:
    """A connection that speaks text; it tallies what it sends, {(operation, error): count} as profshim's labels."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = self.socket.makefile("rb")

    def send(self, data):
        self.socket.sendall(data)

    def line(self):
        line = self.reader.readline()
        if not line.endswith(b"\r\n"):
            raise Failure("the connection ended")
        return line[:-2].decode("latin-1")

    def answer(self):
        """The lines of one answer, without data blocks."""
        lines = []
        while True:
            lines.append(self.line())
            words = lines[-1].split(" ")
            if words[0] == "VALUE":
                self.reader.read(int(words[3]) + 2)
            elif words[0] == "VA":
                self.reader.read(int(words[1]) + 2)
                return lines
            elif words[0] not in ("STAT", "ITEM"):
                return lines

    def ask(self, data):
        self.send(data if isinstance(data, bytes) else data.encode())
        return self.answer()[-1]

    def close(self):
        self.reader.close()
        self.socket.close()


class Binary:
    """A connection that speaks the binary protocol."""

    HEADER = ">BBHBBHIIQ"

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.reader = self.socket.makefile("rb")

    @classmethod
    def packet(cls, opcode, key=b"", value=b"", extras=b"", opaque=0, cas=0):
        return struct.pack(cls.HEADER, 0x80, opcode, len(key), len(extras), 0, 0, len(extras) + len(key) + len(value),
                           opaque, cas) + extras + key + value

    def send(self, data):
        self.socket.sendall(data)

    def answer(self):
        """Opcode, status, opaque and length of the body of the next packet."""
        header = struct.unpack(self.HEADER, self.reader.read(24))
        if header[0] != 0x81:
            raise Failure("no answer of memcached: %s" % (header,))
        self.reader.read(header[6])
        return header[1], header[5], header[7], header[6]

    def ask(self, *packet, **fields):
        self.send(self.packet(*packet, **fields))
        return self.answer()

    def close(self):
        self.reader.close()
        self.socket.close()


def check_counts(scene, program, tally, family=DURATIONS, **labels):
    """Exactly what was tallied, {(operation, error): count}; the metrics that showed it."""
    total = sum(tally.values())
    metrics = program.metrics_when(lambda metrics: metrics.sum(family, db_system_name="memcached", **labels) >= total)
    counts = metrics.by(family, "db_operation_name", "error_type", db_system_name="memcached", **labels)
    scene.equal("commands by name and error", counts, {key: float(count) for key, count in tally.items() if count})
    return metrics


STORES = ("set", "add", "replace", "append", "prepend")


def text_round(client, tally, number):
    """One of every command of text, some found and some not; what each answer must be is memcached's contract."""
    key = "key%d" % (number % 50)
    wanted = []
    for name in STORES:
        wanted.append((name, "%s %s 0 0 5\r\nhello\r\n" % (name, key), ("STORED", "NOT_STORED")))
    wanted += [
        ("get", "get %s missing %s\r\n" % (key, key), ("END",)),
        ("gets", "gets %s\r\n" % key, ("END",)),
        ("cas", "cas %s 0 0 1 1\r\nx\r\n" % key, ("EXISTS", "STORED")),
        ("cas", "cas missing 0 0 1 1\r\nx\r\n", ("NOT_FOUND",)),
        ("touch", "touch %s 100\r\n" % key, ("TOUCHED",)),
        ("touch", "touch missing 100\r\n", ("NOT_FOUND",)),
        ("gat", "gat 100 %s %s\r\n" % (key, key), ("END",)),
        ("gats", "gats 100 %s\r\n" % key, ("END",)),
        ("set", "set n 0 0 2\r\n10\r\n", ("STORED",)),
        ("incr", "incr n 5\r\n", ("15",)),
        ("decr", "decr n 6\r\n", ("9",)),
        ("incr", "incr missing 1\r\n", ("NOT_FOUND",)),
        ("delete", "delete n\r\n", ("DELETED",)),
        ("delete", "delete missing\r\n", ("NOT_FOUND",)),
        ("version", "version\r\n", None),
        ("verbosity", "verbosity 0\r\n", ("OK",)),
        ("stats", "stats items\r\n", ("END",)),
        ("mg", "mg %s v\r\n" % key, None),
        ("mg", "mg missing v\r\n", ("EN",)),
        ("ms", "ms m 3\r\nabc\r\n", ("HD",)),
        ("ma", "ma missing\r\n", ("NF",)),
        ("md", "md m\r\n", ("HD",)),
        ("me", "me %s\r\n" % key, None),
        ("mn", "mn\r\n", ("MN",)),
    ]
    for name, text, answers in wanted:
        answer = client.ask(text)
        if answers and answer not in answers:
            raise Failure("memcached said %r to %r" % (answer, text))
        tally[name, ""] += 1
    return len(wanted)


@test
def text_commands_are_counted_as_memcached_counts_them(scene):
    server = Memcached(scene)
    tally = collections.Counter()
    clients = [Text(server.port) for _ in range(4)]
    for number in range(requests_wanted(4000) // 40):
        text_round(clients[number % 4], tally, number)
    counters = server.stats()
    tally["stats", ""] += 1
    check_counts(scene, server.program, tally)
    stored = sum(tally[name, ""] for name in STORES) + tally["cas", ""] + tally["ms", ""]
    scene.equal("memcached's cmd_set", int(counters["cmd_set"]), stored)
    scene.equal("memcached's cmd_get: 3 keys a get", int(counters["cmd_get"]),
                tally["get", ""] * 3 + tally["gets", ""] + tally["mg", ""])
    scene.equal("memcached's cmd_touch: 2 keys a gat", int(counters["cmd_touch"]),
                tally["touch", ""] + tally["gat", ""] * 2 + tally["gats", ""])
    for name in ("delete", "incr", "decr"):
        own = int(counters[name + "_hits"]) + int(counters[name + "_misses"])
        also = {"delete": tally["md", ""], "incr": tally["ma", ""]}.get(name, 0)
        scene.equal("memcached's %s_hits and _misses" % name, own, tally[name, ""] + also)
    metrics = server.program.metrics()
    scene.equal("connections accepted", int(metrics.sum("profshim_connections_accepted_total", protocol="memcached")), 5)
    for client in clients:
        client.close()


@test
def errors_are_told_by_their_names(scene):
    server = Memcached(scene)
    client = Text(server.port)
    tally = collections.Counter()
    for name, text, error in [
            ("version", "version\r\n", ""), # what a connection begins with must be memcached's to be told from others
            ("_OTHER", "nonsense\r\n", "ERROR"), ("_OTHER", "GET a\r\n", "ERROR"), ("_OTHER", "\r\n", "ERROR"),
            ("get", "get\r\n", "ERROR"), ("set", "set k 0 0\r\n", "ERROR"), ("set", "set k 0 0 x\r\n", "CLIENT_ERROR"),
            ("set", "set k 0 0 2\r\nabcd", "CLIENT_ERROR"), ("set", "set word 0 0 1\r\nx\r\n", ""),
            ("incr", "incr word 1\r\n", "CLIENT_ERROR"), ("mg", "mg k ?\r\n", "CLIENT_ERROR"),
            ("set", "set k 0 0 3000000\r\n" + "x" * 3000000 + "\r\n", "SERVER_ERROR"),
            ("shutdown", "shutdown\r\n", "ERROR"), ("touch", "touch k x\r\n", "CLIENT_ERROR")]:
        answer = client.ask(text)
        if answer.split(" ")[0].rstrip(":") != error and (error or "ERROR" in answer):
            raise Failure("memcached said %r to %.40r, not %s" % (answer, text, error))
        tally[name, error] += 1
    check_counts(scene, server.program, tally)
    client.close()


@test
def noreply_and_quiet_commands_are_counted_though_nothing_answers_them(scene):
    server = Memcached(scene)
    client = Text(server.port)
    tally = collections.Counter()
    rounds = requests_wanted(20000) // 20
    for number in range(rounds):
        text = ("set a 0 0 1 noreply\r\na\r\nadd a 0 0 1 noreply\r\nb\r\nincr a 1 noreply\r\ndelete missing noreply\r\n"
                "touch a 0 noreply\r\nget a\r\n"
                "mg a v q\r\nmg missing v q\r\nms b 1 q\r\nx\r\nms b 1 q ME\r\nx\r\nmd b q\r\nmd missing q\r\nmn\r\n"
                "mg a v q O1\r\nmg missing v q O2\r\nmg missing v O3\r\n"
                "set n 0 0 1 noreply\r\n7\r\nma n q\r\nma missing q k\r\nmn\r\n")
        client.send(text.encode())
        for ending in ("END", "VA 1", "NS", "NF", "MN", "VA 1 O1", "EN O3", "NF kmissing", "MN"):
            answer = client.answer()[-1]
            if answer != ending:
                raise Failure("memcached said %r, not %r" % (answer, ending))
    tally.update({("set", ""): 2 * rounds, ("add", ""): rounds, ("incr", ""): rounds, ("delete", ""): rounds,
                  ("touch", ""): rounds, ("get", ""): rounds, ("mg", ""): 5 * rounds, ("ms", ""): 2 * rounds,
                  ("md", ""): 2 * rounds, ("mn", ""): 2 * rounds, ("ma", ""): 2 * rounds})
    counters = server.stats()
    tally["stats", ""] += 1
    check_counts(scene, server.program, tally)
    scene.equal("memcached's cmd_set", int(counters["cmd_set"]), 5 * rounds)
    scene.equal("memcached's cmd_get", int(counters["cmd_get"]), 6 * rounds)
    client.close()


# Lines that are odd in any way, each sent alone; {line: answers} is what memcached makes of them.
ODD_LINES = [
    b"get a", b" get a", b"get  a  b ", b"get a\tb", b"gets", b"gat 1", b"gat x a", b"set", b"set k",
    b"set k 0 0 1 2 3", b"set k -1 0 1", b"set k 0 -1 1", b"set k 0 0 -1", b"set k 0 0 +1", b"set k 0 0 1x",
    b"set k 0 0 01", b"set k 0 0 1 norepl", b"set k 0 0 1 noreply", b"set k 0 0 noreply",
    b"set %s 0 0 1" % (b"k" * 250), b"set %s 0 0 1" % (b"k" * 251), b"set k 99999999999 0 1",
    b"set k 0 0 2147483645", b"set k 0 0 2147483646", b"set k 0 0 99999999999999999999", b"cas k 0 0 1",
    b"cas k 0 0 1 x", b"cas k 0 0 1 1", b"cas k 0 0 1 1 noreply", b"append k 0 0 1", b"add k 0 0 1 noreply",
    b"delete", b"delete k", b"delete k 0", b"delete k 1", b"delete k noreply", b"delete k 0 noreply",
    b"delete noreply", b"delete k 1 noreply", b"incr k", b"incr k 1 noreply", b"incr k noreply", b"incr k 1 2 3",
    b"touch k 1 noreply", b"touch k", b"flush_all 0 noreply", b"flush_all noreply", b"flush_all x", b"verbosity",
    b"verbosity noreply", b"verbosity 0 noreply", b"verbosity 0 1 2", b"mg", b"mg k", b"mg k q", b"mg k q v",
    b"mg k q q", b"mg %s" % (b"k" * 251), b"ms", b"ms k", b"ms k x", b"ms k 1", b"ms k 1 q", b"ms k 1 M?",
    b"ms k 1 ?", b"ms k -1", b"ms %s 1" % (b"k" * 251), b"ms k 1 O%s" % (b"o" * 40), b"md", b"md k q", b"md k ?",
    b"ma k q", b"ma k D?", b"me k", b"me", b"mn", b"mn x", b"mx k", b"m", b"stats x", b"stats reset",
    b"stats detail on", b"stats detail off", b"stats detail", b"stats cachedump 1 1", b"stats sizes",
    b"stats settings", b"stats conns", b"lru", b"lru mode", b"lru mode x", b"lru_crawler", b"lru_crawler enable",
    b"lru_crawler x", b"slabs", b"slabs automove 1", b"slabs automove 1 noreply", b"slabs reassign 1 2",
    b"cache_memlimit", b"cache_memlimit 64", b"cache_memlimit 64 noreply", b"cache_memlimit 1", b"extstore x y",
    b"shutdown x", b"watch nothing", b"noop", b"\x80", b"\xff\xfe", b"Get a", b"k" * 2000,
]


def answers_to(port, lines):
    """How many answers came to these lines, in a connection that begins and ends with an mn, and how many were errors."""
    client = Text(port)
    client.send(b"mn\r\n" + b"".join(line + b"\r\n" for line in lines) + b"x\r\nmn\r\nx\r\nversion\r\n")
    answers = []
    while not answers or not answers[-1].startswith("VERSION 1"):
        answers.append(client.answer()[-1])
    client.close()
    errors = collections.Counter(word for word in (answer.split(" ")[0].rstrip(":") for answer in answers)
                                 if word in ("ERROR", "CLIENT_ERROR", "SERVER_ERROR"))
    return len(answers), errors


@test
def odd_lines_are_taken_for_as_many_commands_as_memcached_takes_them(scene):
    server = Memcached(scene)
    total, errors = 0, collections.Counter()
    family_by_error = lambda metrics: metrics.by(DURATIONS, "error_type", db_system_name="memcached")
    for line in ODD_LINES:
        # What follows is data to some of them, and a command to others.
        for rest in ([b"x"], [b""]):
            if b"2147483645" in line:
                continue  # it waits for two GiB
            answered, failed = answers_to(server.port, [line] + rest)
            total += answered
            errors.update(failed)
            metrics = server.program.metrics_when(
                lambda metrics: {key: count for key, count in family_by_error(metrics).items() if key} == errors, seconds=2)
            failures = {key: int(count) for key, count in family_by_error(metrics).items() if key}
            if failures != dict(errors):
                raise Failure("after %.60r and %r: errors %s, memcached's answers had %s"
                              % (line, rest, failures, dict(errors)))
            # Those that nothing answered are counted, too, as those before them were.
            silent = metrics.sum(DURATIONS, db_system_name="memcached") - total
            if silent not in (0, 1):
                raise Failure("after %.60r and %r: %d commands more than answers" % (line, rest, silent))
            if silent and b"noreply" not in line and b" q" not in line:
                raise Failure("after %.60r and %r: a command without an answer" % (line, rest))
            total += int(silent)
    scene.say("%d lines, %d commands, %s" % (len(ODD_LINES) * 2, total, dict(errors)))
    scene.equal("connections that were not understood",
                int(server.program.metrics().sum("profshim_unclassified_connections_total")), 0)


def binary_round(client, tally, opaque):
    """Every opcode, quiet ones among them; answers are checked by opcode, status and opaque."""
    store = struct.pack(">II", 0, 0)
    count = struct.pack(">QQI", 1, 5, 0)
    packets = [
        ("set", (0x01, b"k", b"v", store), 0), ("add", (0x02, b"k", b"v", store), 2),
        ("replace", (0x03, b"k", b"v", store), 0), ("append", (0x0e, b"k", b"w"), 0), ("prepend", (0x0f, b"k", b"u"), 0),
        ("get", (0x00, b"k"), 0), ("get", (0x00, b"no"), 1),
        ("get", (0x0c, b"k"), 0), ("incr", (0x05, b"n", b"", count), 0), ("decr", (0x06, b"n", b"", count), 0),
        ("incr", (0x05, b"k", b"", count), 6), ("touch", (0x1c, b"k", b"", b"\0\0\0\0"), 0),
        ("gat", (0x1d, b"k", b"", b"\0\0\0\0"), 0),
        ("delete", (0x04, b"n"), 0), ("delete", (0x04, b"n"), 1), ("version", (0x0b,), 0), ("noop", (0x0a,), 0),
        ("_OTHER", (0x1f,), 0x81), ("sasl_list_mechs", (0x20,), 0x81),
    ]
    names = {6: "non_numeric", 0x81: "unknown_command"}
    for number, (name, fields, status) in enumerate(packets):
        got = client.ask(*fields, opaque=opaque + number)
        if got[:3] != (fields[0], status, opaque + number):
            raise Failure("memcached answered %s with %s" % (fields, got))
        tally[name, names.get(status, "")] += 1
    # Quiet ones: getq of a miss, getkq of a hit, setq, addq that fails, deleteq; noop ends them.
    client.send(Binary.packet(0x09, b"no", opaque=1) + Binary.packet(0x0d, b"k", opaque=2) +
                Binary.packet(0x11, b"q", b"v", store, opaque=3) + Binary.packet(0x12, b"q", b"v", store, opaque=4) +
                Binary.packet(0x14, b"q", opaque=5) + Binary.packet(0x0a, opaque=6))
    got = [client.answer()[:3] for _ in range(3)]
    if got != [(0x0d, 0, 2), (0x12, 2, 4), (0x0a, 0, 6)]:
        raise Failure("memcached answered quiet commands with %s" % got)
    tally.update({("get", ""): 2, ("set", ""): 1, ("add", ""): 1, ("delete", ""): 1, ("noop", ""): 1})


@test
def binary_commands_are_counted_by_the_names_of_text(scene):
    server = Memcached(scene)
    client = Binary(server.port)
    tally = collections.Counter()
    rounds = requests_wanted(2500) // 25
    for number in range(rounds):
        binary_round(client, tally, number * 100)
    client.send(Binary.packet(0x10))  # stat: as many packets as there are statistics, and an empty one
    packets = 1
    while client.answer()[3]:
        packets += 1
    scene.at_least("packets that answer one stat", packets, 30)
    tally["stats", ""] += 1
    for byte in Binary.packet(0x00, b"split"):
        client.send(bytes([byte]))
    client.answer()
    tally["get", ""] += 1
    client.send(Binary.packet(0x17))  # quit, quietly
    tally["quit", ""] += 1
    scene.equal("what memcached says after quit", client.reader.read(1), b"")
    counters = server.stats()
    tally["stats", ""] += 1
    check_counts(scene, server.program, tally)
    scene.equal("memcached's cmd_get", int(counters["cmd_get"]), tally["get", ""])
    client.close()


@test
def split_and_pipelined_commands_are_counted_exactly(scene):
    server = Memcached(scene)
    client = Text(server.port)
    tally = collections.Counter()
    text = b"set split 0 0 13\r\nget a\r\nmg b\r\n\r\nget split\r\nms split 3\r\n\r\nx\r\nmn\r\n"
    for byte in text:
        client.send(bytes([byte]))
    scene.equal("answers to commands that came byte by byte", [client.answer()[-1] for _ in range(4)],
                ["STORED", "END", "HD", "MN"])
    tally.update({("set", ""): 1, ("get", ""): 1, ("ms", ""): 1, ("mn", ""): 1})
    large = b"v" * 1500000
    scene.equal("answer to a large value", client.ask(b"set large 0 0 %d\r\n%s\r\n" % (len(large), large)), "STORED")
    client.send(b"get" + b" large" * 3 + b" missing" * 2000 + b"\r\n")
    scene.equal("lines of an answer with it", len(client.answer()), 4)
    tally.update({("set", ""): 1, ("get", ""): 1})
    rng = random.Random(7)
    for _ in range(requests_wanted(40000) // 200):
        data = b""
        for _ in range(100):
            size = rng.randrange(300)
            data += b"set p%d 0 0 %d\r\n%s\r\nget p%d\r\n" % (size, size, b"\r\n" * (size // 2) + b"x" * (size % 2), size)
        cut = rng.randrange(len(data))
        client.send(data[:cut])
        client.send(data[cut:])
        for _ in range(200):
            client.answer()
        tally.update({("set", ""): 100, ("get", ""): 100})
    check_counts(scene, server.program, tally)
    client.close()


@test
def watch_is_a_stream(scene):
    server = Memcached(scene)
    watcher, client = Text(server.port), Text(server.port)
    scene.equal("answer to watch", watcher.ask(b"watch mutations\r\n"), "OK")
    client.ask(b"set secret-canary 0 0 1\r\nx\r\n")
    scene.check("the watcher is told", b"secret-canary" in watcher.reader.readline())
    metrics = check_counts(scene, server.program, {("watch", ""): 1, ("set", ""): 1})
    text = metrics.text + server.program.get_ok("/connections").text + server.program.get_ok("/endpoints").text
    scene.check("no key in what profshim tells", "canary" not in text)
    watcher.close()
    client.close()


CLIENT = """
import socket, sys
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
reader = connection.makefile("rb")
for number in range(int(sys.argv[2])):
    connection.sendall(b"set k 0 0 1\\r\\nx\\r\\nget k\\r\\nmg k v q\\r\\nmg no v q\\r\\nmn\\r\\nnonsense\\r\\n"
                       b"delete k noreply\\r\\n")
    for _ in range(8):
        reader.readline()
print("done", flush=True)
sys.stdin.read()
"""


@test
def commands_that_a_program_sends_are_its_operations_as_client(scene):
    server = Memcached(scene, shim=False)
    rounds = requests_wanted(2000) // 10
    program = scene.start([sys.executable, "-c", CLIENT, str(server.port), str(rounds)], "client", stdin=subprocess.PIPE)
    program.wait_for_output("done")
    program.wait_ready()
    tally = {("set", ""): rounds, ("get", ""): rounds, ("mg", ""): 2 * rounds, ("mn", ""): rounds,
             ("_OTHER", "ERROR"): rounds, ("delete", ""): rounds}
    metrics = check_counts(scene, program, tally, family=ASKED)
    scene.equal("whom it asked", metrics.by(ASKED, "server_address"),
                {labels["server_address"]: float(sum(tally.values())) for labels, _ in metrics.matching(ASKED)})
    scene.equal("what the client counts as served", int(metrics.sum(DURATIONS)), 0)
    wait_until(lambda: server.stats()["cmd_set"] == str(rounds), 5, "memcached counting the same")


if __name__ == "__main__":
    run_tests()
