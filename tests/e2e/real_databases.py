"""real_databases - PostgreSQL and MariaDB as a distribution ships them, and clients that speak their protocols by hand."""
import atexit
import glob
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile

from harness import PATH, Failure, free_ports, wait_until

NOBODY = ("nobody", "nogroup")  # neither server runs as root

DURATIONS = "db_server_operation_duration_seconds_count"


def _give_away(folder):
    """To whom the servers run as, if that is another."""
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", ":".join(NOBODY), folder], check=True)


def as_nobody(argv, *assignments):
    """The program without root's rights. The variables are for it alone, not for what starts it."""
    if os.geteuid() == 0:
        argv = ["setpriv", "--reuid=" + NOBODY[0], "--regid=" + NOBODY[1], "--clear-groups", "env", *assignments, *argv]
    else:
        argv = ["env", *assignments, *argv]
    return argv


def _start(scene, argv, name, settings, environment=None):
    """Under the shim, as an ordinary user, whose session it is; or in another environment. What is preloaded is for the
    server alone, not for what starts it."""
    port = free_ports()
    settings.setdefault("listen", "127.0.0.1:%d" % port)
    environment = environment or scene.shim_environment(**settings)
    preload = environment.pop("LD_PRELOAD", None)
    _give_away(scene.session_dir)
    argv = as_nobody(argv, *(["LD_PRELOAD=" + preload] if preload else []))
    program = scene.start(argv, name, shim=False, environment=environment)
    program.profiler_port = port
    return program


def operations(metrics, system):
    """{operation: count}, and {(operation, error): count} of those that failed."""
    both = metrics.by(DURATIONS, "db_operation_name", "error_type", db_system_name=system)
    done, failed = {}, {}
    for (operation, error), count in both.items():
        done[operation] = done.get(operation, 0) + int(count)
        if error:
            failed[operation, error] = int(count)
    return done, failed


class Counted:
    """What profshim counted of a database since this was made. A client has its answer before that is counted; all that
    sessions asked is counted once they are closed, as they are to be here and at the end."""

    def __init__(self, program, system):
        self.program, self.system = program, system
        self.before = operations(self._settled(), system)

    def _settled(self):
        protocol = {"postgresql": "postgres"}.get(self.system, self.system)
        metrics = self.program.metrics_when(lambda metrics: not metrics.sum("profshim_connections_open", protocol=protocol))
        if metrics.sum("profshim_connections_open", protocol=protocol):
            raise Failure("sessions stay open: %g" % metrics.sum("profshim_connections_open", protocol=protocol))
        # Once more: what was read first, the requests, may be of the moment before the last of them was counted.
        return self.program.metrics()

    def since(self):
        """Both tables of operations()."""
        after = operations(self._settled(), self.system)
        return tuple({key: count - before.get(key, 0) for key, count in table.items() if count != before.get(key, 0)}
                     for before, table in zip(self.before, after))


def _newest(pattern):
    found = sorted(glob.glob(pattern), key=lambda path: [int(part) for part in re.findall(r"\d+", path)])
    if not found:
        raise Failure("nothing is installed at " + pattern)
    return found[-1]


_templates = {}


def _data_folder(scene, kind, make):
    """A copy of an empty database's files, which are made once for all tests."""
    if kind not in _templates:
        template = tempfile.mkdtemp(prefix="profshim-test-%s-" % kind)
        atexit.register(shutil.rmtree, template, ignore_errors=True)
        _give_away(template)
        make(os.path.join(template, "data"))
        _templates[kind] = os.path.join(template, "data")
    data = scene.path("data")
    shutil.copytree(_templates[kind], data)
    _give_away(data)
    return data


class Postgres:
    """A server in a scene's directory, on a port and a unix socket; its clients come without the shim."""

    SETTINGS = ["shared_preload_libraries=pg_stat_statements", "pg_stat_statements.track=top", "fsync=off", "autovacuum=off",
                "shared_buffers=16MB", "max_connections=60", "listen_addresses=127.0.0.1", "logging_collector=off"]

    def __init__(self, scene, *configuration, owns=(), under=(), environment=None, **settings):
        """under: a program and its arguments that run it. environment: another one than with the shim and these settings;
        there is no profshim to wait for then."""
        self.scene = scene
        for path in owns:
            _give_away(path)
        self.folder = _newest("/usr/lib/postgresql/*/bin")
        self.port = free_ports()
        self.data = _data_folder(scene, "postgres", self._make)
        self.sockets = scene.path("sockets")
        os.mkdir(self.sockets)
        _give_away(self.sockets)
        argv = [*under, self.tool("postgres"), "-D", self.data, "-p", str(self.port), "-k", self.sockets]
        for setting in [*self.SETTINGS, *configuration]:
            argv += ["-c", setting]
        self.program = _start(scene, argv, "postgres", settings, environment)
        wait_until(self._is_up, 120 if under else 30, "postgres accepting connections")
        if not environment:
            self.program.wait_ready()
        self.psql("create extension pg_stat_statements")

    def tool(self, name):
        return os.path.join(self.folder, name)

    def _make(self, data):
        argv = [self.tool("initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        self.scene.run_ok(as_nobody(argv), shim=False)

    def _is_up(self):
        self.program.need_running()
        return not self.scene.run([self.tool("pg_isready"), *self.where()], shim=False).returncode

    def where(self, is_local=False):
        return ["-h", self.sockets if is_local else "127.0.0.1", "-p", str(self.port), "-U", "postgres"]

    def psql(self, text, *arguments, is_local=False):
        """Statements one after the other, each a Query; unaligned output."""
        argv = [self.tool("psql"), "-X", "-q", "-A", "-t", *self.where(is_local), *arguments, "postgres"]
        return self.scene.run_ok(argv, shim=False, stdin=text.encode())

    def pgbench(self, script, *arguments, database="postgres"):
        """Runs a script of our own, without the questions that pgbench asks of its own tables. How many transactions there
        were, by its own count."""
        path = self.scene.write("script.sql", script)
        argv = [self.tool("pgbench"), "-n", "-f", path, *self.where(), *arguments, "dbname=postgres " + database if "=" in database else database]
        output = self.scene.run_ok(argv, shim=False, timeout=900)
        self.scene.say(" ".join(re.findall(r"tps = \S+", output)))
        return int(re.search(r"number of transactions actually processed: (\d+)", output).group(1))

    def statement_calls(self):
        """{verb: calls} by pg_stat_statements, which counts what succeeded, and not itself yet."""
        client = PgClient(self.port)
        rows = client.rows("SELECT query, calls FROM pg_stat_statements")
        client.close()
        calls = {}
        for query, count in rows:
            verb = re.sub(r"^(\s|\(|--.*\n|/\*.*?\*/)*", "", query).split(None, 1)[0].strip("();").upper()
            calls[verb] = calls.get(verb, 0) + int(count)
        return calls

    def stop(self):
        """Fast shutdown; the exit code."""
        return self.program.stop(2)


class PgClient:
    """A session whose messages are sent as they are, and whose answers are taken apart."""

    def __init__(self, port, path=None, **options):
        if path:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(20)
            self.socket.connect("%s/.s.PGSQL.%d" % (path, port))
        else:
            self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = port
        self.reader = self.socket.makefile("rb")
        fields = {"user": "postgres", "database": "postgres", **options}
        body = b"".join(b"%s\0%s\0" % (key.encode(), value.encode()) for key, value in fields.items()) + b"\0"
        self.socket.sendall(struct.pack(">II", len(body) + 8, 3 << 16) + body)
        self.greeting = self.answers()

    @staticmethod
    def message(kind, body=b""):
        return kind.encode() + struct.pack(">I", len(body) + 4) + body

    @classmethod
    def query(cls, text):
        return cls.message("Q", text.encode() + b"\0")

    @classmethod
    def parse(cls, text, name=""):
        return cls.message("P", name.encode() + b"\0" + text.encode() + b"\0\0\0")

    @classmethod
    def bind(cls, name="", portal=""):
        return cls.message("B", portal.encode() + b"\0" + name.encode() + b"\0\0\0\0\0\0\0")

    @classmethod
    def execute(cls, portal="", rows=0):
        return cls.message("E", portal.encode() + b"\0" + struct.pack(">I", rows))

    @classmethod
    def once(cls, text):
        return cls.parse(text) + cls.bind() + cls.execute()

    SYNC = b"S\0\0\0\4"
    FLUSH = b"H\0\0\0\4"

    def send(self, *messages):
        self.socket.sendall(b"".join(messages))

    def answer(self):
        """(type, body); an error's body is its SQLSTATE."""
        head = self.reader.read(5)
        if len(head) < 5:
            raise Failure("postgres ended the session")
        kind, body = head[:1].decode(), self.reader.read(struct.unpack(">I", head[1:])[0] - 4)
        if kind == "E":
            body = next(field[1:] for field in body.split(b"\0") if field[:1] == b"C").decode()
        return kind, body

    def until(self, *kinds):
        found = [self.answer()]
        while found[-1][0] not in kinds:
            found.append(self.answer())
        return found

    def answers(self):
        return self.until("Z")

    def kinds(self):
        """What is said up to ReadyForQuery, as text; an error with its SQLSTATE."""
        return " ".join(kind + (body if kind == "E" else "") for kind, body in self.answers())

    def ask(self, *messages):
        self.send(*messages)
        return self.kinds()

    def rows(self, text):
        self.send(self.query(text))
        return [self._row(body) for kind, body in self.answers() if kind == "D"]

    @staticmethod
    def _row(body):
        values, at = [], 2
        for _ in range(struct.unpack(">H", body[:2])[0]):
            size = struct.unpack(">i", body[at:at + 4])[0]
            values.append(None if size < 0 else body[at + 4:at + 4 + size].decode())
            at += 4 + max(size, 0)
        return values

    def cancel(self):
        key = next(body for kind, body in self.greeting if kind == "K")
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as other:
            other.sendall(struct.pack(">II", len(key) + 8, 80877102) + key)
            other.recv(1)  # its end

    def close(self):
        self.send(self.message("X"))
        self.reader.close()
        self.socket.close()


class MariaDb:
    """A server in a scene's directory, on a port and a unix socket; its clients come without the shim."""

    SETTINGS = ["--innodb-log-file-size=8M", "--innodb-buffer-pool-size=16M", "--innodb-use-native-aio=0",
                "--innodb-flush-log-at-trx-commit=0"]

    def __init__(self, scene, *configuration, owns=(), **settings):
        self.scene = scene
        for path in owns:
            _give_away(path)
        self.port = free_ports()
        self.data = _data_folder(scene, "mariadb", self._make)
        self.socket = os.path.join(self.data, "socket")
        argv = ["mariadbd", "--no-defaults", "--datadir=" + self.data, "--port=%d" % self.port, "--bind-address=127.0.0.1",
                "--socket=" + self.socket, "--pid-file=" + os.path.join(self.data, "pid"), "--local-infile=1",
                "--tmpdir=" + self.data, "--log-bin=bin", "--server-id=1", "--max-allowed-packet=64M",
                *self.SETTINGS, *configuration]
        self.program = _start(scene, argv, "mariadb", settings)
        self.program.wait_ready(30)
        wait_until(self._is_up, 30, "mariadbd accepting connections")
        self.cli("create database d")

    def _make(self, data):
        argv = ["mariadb-install-db", "--no-defaults", "--datadir=" + data, "--auth-root-authentication-method=normal",
                "--tmpdir=" + os.path.dirname(data), "--skip-test-db", *self.SETTINGS]
        self.scene.run_ok(as_nobody(argv), shim=False)

    def _is_up(self):
        self.program.need_running()
        return not self.scene.run(["mariadb-admin", "--no-defaults", *self.where(), "ping"], shim=False).returncode

    def where(self, is_local=False):
        if is_local:
            return ["--socket=" + self.socket, "-u", "root"]
        return ["-h", "127.0.0.1", "-P", str(self.port), "--protocol=tcp", "-u", "root"]

    def cli(self, text, *arguments, is_local=False, database=""):
        """Statements one after the other, each a COM_QUERY; errors do not end it."""
        argv = ["mariadb", "--no-defaults", "--batch", "--skip-column-names", "--force", *self.where(is_local), *arguments]
        result = self.scene.run(argv + [database] * bool(database), shim=False, stdin=text.encode())
        return result.stdout.decode()

    def slap(self, *arguments):
        self.scene.run_ok(["mariadb-slap", "--no-defaults", *self.where(), "--create-schema=d", *arguments], shim=False,
                          timeout=900)

    def command_counts(self):
        """{Com_ counter: count} by SHOW GLOBAL STATUS, those that are 0 left out; it counts itself already."""
        client = MyClient(self.port)
        rows = client.rows("SHOW GLOBAL STATUS LIKE 'Com\\_%'")
        client.close()
        return {name[len("Com_"):]: int(count) for name, count in rows if int(count)}

    def stop(self):
        return self.program.stop()


class MyClient:
    """A session whose packets are sent as they are, and whose answers are taken apart by the book."""

    MYSQL, COMPRESS, LOCAL_FILES, PROTOCOL_41, TRANSACTIONS, SECURE = 1, 1 << 5, 1 << 7, 1 << 9, 1 << 13, 1 << 15
    MULTI_STATEMENTS, MULTI_RESULTS, PS_MULTI_RESULTS, PLUGIN_AUTH = 1 << 16, 1 << 17, 1 << 18, 1 << 19
    DEPRECATE_EOF = 1 << 24
    PROGRESS, BULK, CACHE_METADATA = 1 << 32, 1 << 34, 1 << 36

    def __init__(self, port, path=None, more=DEPRECATE_EOF | MYSQL, user="root"):
        if path:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(20)
            self.socket.connect(path)
        else:
            self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = self.socket.makefile("rb")
        self.capabilities = (self.PROTOCOL_41 | self.TRANSACTIONS | self.SECURE | self.LOCAL_FILES | self.MULTI_STATEMENTS |
                             self.MULTI_RESULTS | self.PS_MULTI_RESULTS | self.PLUGIN_AUTH | more)
        self.packet()
        fixed = struct.pack("<IIB", self.capabilities & 0xffffffff, 1 << 24, 33) + bytes(19)
        fixed += struct.pack("<I", self.capabilities >> 32)
        self.write(1, fixed + user.encode() + b"\0\0mysql_native_password\0")
        self.greeting = self.packet()
        if self.greeting[0] == 0xfe:  # another plugin: no password, either
            self.write(self.sequence + 1, b"")
            self.greeting = self.packet()

    def write(self, sequence, payload):
        while True:
            part, payload = payload[:0xffffff], payload[0xffffff:]
            self.socket.sendall(struct.pack("<I", len(part))[:3] + bytes([sequence & 0xff]) + part)
            sequence += 1
            if len(part) < 0xffffff:
                return

    def send(self, command, payload=b""):
        self.write(0, bytes([command]) + (payload.encode() if isinstance(payload, str) else payload))

    def packet(self):
        payload = b""
        while True:
            head = self.reader.read(4)
            if len(head) < 4:
                raise Failure("mariadbd ended the session")
            size, self.sequence = struct.unpack("<I", head[:3] + b"\0")[0], head[3]
            payload += self.reader.read(size)
            if size < 0xffffff:
                return payload

    @staticmethod
    def _number(payload, at):
        """A length-encoded integer and what follows it."""
        size = {0xfc: 2, 0xfd: 3, 0xfe: 8}.get(payload[at])
        if size is None:
            return payload[at], at + 1
        return int.from_bytes(payload[at + 1:at + 1 + size], "little"), at + 1 + size

    def _status(self, payload, is_ok):
        if not is_ok:
            return int.from_bytes(payload[3:5], "little")
        _, at = self._number(payload, 1)
        _, at = self._number(payload, at)
        return int.from_bytes(payload[at:at + 2], "little")

    def _is_end(self, payload):
        return payload[0] == 0xfe and len(payload) < (0xffffff if self.capabilities & self.DEPRECATE_EOF else 9)

    def result(self):
        """What one result is, as text: ok, error SQLSTATE, or the number of rows; kept in self.found. And its status."""
        first = self.packet()
        while first[:3] == b"\xff\xff\xff":  # how far it is
            first = self.packet()
        self.found = []
        if first[0] == 0xff:
            return "error " + first[4:9].decode(), 0
        if first[0] == 0:
            return "ok", self._status(first, True)
        if first[0] == 0xfb:
            return "file", 0
        columns, at = self._number(first, 0)
        if not (self.capabilities & self.CACHE_METADATA and not self.capabilities & self.MYSQL and not first[at]):
            for _ in range(columns):
                self.packet()
        if not self.capabilities & self.DEPRECATE_EOF:
            status = self._status(self.packet(), False)
            if status & 0x40:
                return "cursor", status
        return self.fetched()

    def fetched(self):
        """Rows up to their end."""
        self.found = []
        while True:
            payload = self.packet()
            if payload[0] == 0xff and payload[1:3] != b"\xff\xff":
                return "error " + payload[4:9].decode(), 0
            if self._is_end(payload):
                status = self._status(payload, bool(self.capabilities & self.DEPRECATE_EOF))
                return "%d rows" % len(self.found) if not status & 0x40 else "cursor", status
            if payload[0] != 0xff:
                self.found.append(payload)

    def results(self):
        """All results of one answer."""
        texts, status = [], 8
        while status & 8:
            text, status = self.result()
            texts.append(text)
        return ", ".join(texts)

    def ask(self, text):
        self.send(3, text)
        return self.results()

    def rows(self, text):
        self.ask(text)
        return [self._row(payload) for payload in self.found]

    def _row(self, payload):
        values, at = [], 0
        while at < len(payload):
            if payload[at] == 0xfb:
                values.append(None)
                at += 1
                continue
            size, at = self._number(payload, at)
            values.append(payload[at:at + size].decode())
            at += size
        return values

    def prepare(self, text):
        """Its number, or the error."""
        self.send(0x16, text)
        return self.prepared()

    def prepared(self):
        first = self.packet()
        if first[0] == 0xff:
            return "error " + first[4:9].decode()
        statement, columns, parameters = struct.unpack("<IHH", first[1:9])
        for count in columns, parameters:
            ends = bool(count) and not self.capabilities & self.DEPRECATE_EOF
            for _ in range(count + ends):
                self.packet()
        return statement

    def execute(self, statement, flags=0):
        self.send(0x17, struct.pack("<IBI", statement, flags, 1))

    def one(self, command, payload=b""):
        """A command that one packet answers: ok, or the error."""
        self.send(command, payload)
        answer = self.packet()
        return "error " + answer[4:9].decode() if answer[0] == 0xff else "ok"

    def close(self):
        self.send(1)
        self.reader.close()
        self.socket.close()
