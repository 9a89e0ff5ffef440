#!/usr/bin/env python3
"""MariaDB: every command is counted once, as SHOW GLOBAL STATUS counts it and as clients sent it."""
import struct
import subprocess

from harness import FULL, requests_wanted, run_tests, test, wait_until
from real_databases import Counted, MariaDb, MyClient

TABLE = "create table t (id int primary key auto_increment, word varchar(100)); insert into t (word) values ('a'), ('b');"

# What the server's counters count, by the first word of their names or, where that is another, by these.
VERBS = {"change_db": "USE", "set_option": "SET", "empty_query": "_EMPTY",
         "stmt_prepare": "STMT_PREPARE", "stmt_execute": "STMT_EXECUTE", "stmt_close": "STMT_CLOSE",
         "stmt_reset": "STMT_RESET", "stmt_fetch": "STMT_FETCH", "stmt_send_long_data": "STMT_SEND_LONG_DATA",
         "prepare_sql": "PREPARE", "execute_sql": "EXECUTE", "dealloc_sql": "DEALLOCATE", "create_table": "CREATE",
         "rollback_to_savepoint": "ROLLBACK", "release_savepoint": "RELEASE", "call_procedure": "CALL",
         "start_all_slaves": "START", "xa_start": "XA"}


def by_verb(counts):
    verbs = {}
    for name, count in counts.items():
        verb = VERBS.get(name, name.split("_")[0].upper())
        verbs[verb] = verbs.get(verb, 0) + count
    return verbs


def difference(after, before):
    return {key: count - before.get(key, 0) for key, count in after.items() if count != before.get(key, 0)}


def check_against_status(scene, server, act, uncounted, ignored=()):
    """What act() did is counted as the server counts it; of what the server counts otherwise: operation: how many."""
    before = by_verb(server.command_counts())
    counted = Counted(server.program, "mysql")
    act()
    found, failed = counted.since()
    after = by_verb(server.command_counts())
    wanted = difference(after, before)
    wanted["SHOW"] -= 1  # that which asked
    wanted = {verb: count for verb, count in wanted.items() if count}
    for verb, count in uncounted.items():
        wanted[verb] = wanted.get(verb, 0) + count
    scene.say(", ".join("%s %d" % item for item in sorted(found.items())))
    scene.equal("operations by SHOW GLOBAL STATUS", {verb: count for verb, count in found.items() if verb not in ignored},
                {verb: count for verb, count in wanted.items() if count and verb not in ignored})
    return found, failed


@test
def load_of_mariadb_slap_is_counted_exactly(scene):
    server = MariaDb(scene)
    server.cli(TABLE, database="d")
    script = "BEGIN; UPDATE t SET word = 'x' WHERE id = 1; SELECT * FROM t; (SELECT 1); COMMIT"
    wanted = requests_wanted(100000) if FULL else requests_wanted(10000)
    check_against_status(scene, server, lambda: server.slap(
        "--concurrency=4", "--number-of-queries=%d" % wanted, "--query=" + script, "--delimiter=;", "--no-drop"),
        {}, ignored=["USE", "INIT_DB", "SET", "CREATE", "DROP"])


SCRIPT = """
create table u (id int primary key, word text);
insert into u values (1, 'a'), (2, 'b');
replace into u values (2, 'c');
update u set word = 'c' where id = 1;
delete from u where id = 2;
/* a remark */ select count(*) from u;
# another
(select 1) union (select 2);
with s as (select 1) select * from s;
values (1), (2);
/*!50000 select 3 */;
show tables;
set @a = 1;
begin;
savepoint s;
rollback to s;
release savepoint s;
commit;
start transaction;
rollback;
prepare p from 'select 1';
execute p;
deallocate prepare p;
analyze table u;
check table u;
checksum table u;
optimize table u;
flush tables;
lock tables u read;
unlock tables;
truncate u;
alter table u add n int;
rename table u to w;
describe w;
explain select 1;
do 1;
help 'x';
kill 99999999;
drop table w;
"""


@test
def statements_of_every_kind_are_counted_as_the_server_counts_them(scene):
    server = MariaDb(scene)
    # The server counts WITH, VALUES, EXPLAIN and what EXECUTE executes as SELECT, DESCRIBE as SHOW, START TRANSACTION as
    # BEGIN, and PREPARE, EXECUTE and DEALLOCATE as if they were commands, too.
    _, failed = check_against_status(
        scene, server, lambda: server.cli(SCRIPT, "--comments", database="d", is_local=True),
        {"DESCRIBE": 1, "SHOW": -1, "EXPLAIN": 1, "WITH": 1, "VALUES": 1, "SELECT": -4, "START": 1, "BEGIN": -1,
         "STMT_PREPARE": -1, "STMT_EXECUTE": -1, "STMT_CLOSE": -1})
    scene.equal("of these, failed", failed, {("KILL", "HY"): 1})


def use_commands(client):
    """A bit of everything; what it is told."""
    told = [client.one(0x0e), client.one(0x02, b"d"), client.one(0x02, b"canary"), client.one(0x09), client.one(0x1b, b"\0\0"),
            client.one(0x0d), client.one(0x1f), client.one(0x77), client.one(0x02, b"d")]
    client.send(0x04, b"t\0%")
    while not client._is_end(client.packet()):
        pass
    client.send(0x0a)
    told.append(client.results().split(" ")[1])
    client.send(0x11, b"root\0\0d\0\x21\0mysql_native_password\0")
    answer = client.packet()
    if answer[0] == 0xfe:
        client.write(client.sequence + 1, b"")
        answer = client.packet()
    return told + ["ok" if answer[0] == 0 else "error " + answer[4:9].decode(), client.one(0x02, b"d")]


COMMANDS = {"PING": 1, "INIT_DB": 4, "STATISTICS": 1, "SET_OPTION": 1, "DEBUG": 1, "RESET_CONNECTION": 1, "_OTHER": 1,
            "FIELD_LIST": 1, "PROCESS_INFO": 1, "CHANGE_USER": 1}


@test
def every_command_of_the_protocol_is_counted_exactly(scene):
    server = MariaDb(scene)
    server.cli(TABLE, database="d")
    server.cli("create procedure p() begin select 1; select * from t limit 1; end|", "--delimiter=|", database="d")
    file = scene.write("rows.txt", "".join("w%d\n" % number for number in range(5000)))
    for more in (MyClient.DEPRECATE_EOF | MyClient.MYSQL, MyClient.MYSQL,
                 MyClient.DEPRECATE_EOF | MyClient.PROGRESS | MyClient.BULK | MyClient.CACHE_METADATA):
        counted = Counted(server.program, "mysql")
        client = MyClient(server.port, more=more)
        scene.equal("answers to commands", use_commands(client),
                    ["ok", "ok", "error 42000", "ok", "ok", "ok", "ok", "error 08S01", "ok", "rows", "ok", "ok"])
        scene.equal("several statements at once", client.ask("select 1; update t set word = 'c' where id = 1; values (1), (2)"),
                    "1 rows, ok, 2 rows")
        scene.equal("an error amid them", client.ask("select 1; canary; select 2"), "1 rows, error 42000")
        scene.equal("a procedure", client.ask("call p()"), "1 rows, 1 rows, ok")
        scene.equal("an empty query", client.ask(" # nothing"), "ok")
        insert = client.prepare("insert into t (word) values (?)")
        select = client.prepare("select * from t where id < 3")
        scene.equal("a preparation that fails", client.prepare("select canary"), "error 42S22")
        for _ in range(3):
            client.execute(select)
            scene.equal("rows of a prepared statement", client.results(), "2 rows")
        client.send(0x18, struct.pack("<IH", insert, 0) + b"long")
        client.send(0x18, struct.pack("<IH", insert, 0) + b"er")
        client.send(0x17, struct.pack("<IBI", insert, 0, 1) + b"\0\1\xfd\0")
        scene.equal("long data", client.results(), "ok")
        scene.equal("a reset", client.one(0x1a, struct.pack("<I", insert)), "ok")
        client.execute(select, flags=1)
        scene.equal("a cursor", client.results(), "cursor")
        client.send(0x1c, struct.pack("<II", select, 1))
        scene.equal("a row of it", client.fetched()[0], "cursor")
        client.send(0x1c, struct.pack("<II", select, 10))
        scene.equal("the rest of it", client.fetched()[0], "1 rows")
        bulk = 0
        if more & MyClient.BULK:
            client.send(0xfa, struct.pack("<IH", insert, 0x80) + b"\xfd\0" + b"\0\3abc" + b"\0\3def")
            scene.equal("a bulk", client.results(), "ok")
            client.send(0x16, "insert into t (word) values ('x')")
            client.execute(0xffffffff)
            scene.check("a statement prepared and executed at once", isinstance(client.prepared(), int))
            scene.equal("its answer", client.results(), "ok")
            bulk = 2
        for statement in insert, select:
            client.send(0x19, struct.pack("<I", statement))
        scene.equal("a file that is asked for", client.ask("load data local infile '%s' into table t (word)" % file), "file")
        with open(file, "rb") as rows:
            for number, part in enumerate(iter(lambda: rows.read(16), b"")):
                client.write(client.sequence + 1 + number, part)
        client.write(client.sequence + 2 + number, b"")
        scene.equal("and sent", client.results(), "ok")
        large = "x" * 17000000
        scene.equal("a statement of 17 MB", client.ask("select length('%s')" % large), "1 rows")
        scene.equal("a row of 17 MB", client.ask("(select repeat('x', 17000000), 1)"), "1 rows")
        wanted = client.rows("values ((select count(*) from t))")[0][0]
        scene.equal("many rows", client.ask("select * from t"), wanted + " rows")
        client.close()
        found, failed = counted.since()
        scene.equal("operations", found, {
            **COMMANDS, "SELECT": 9, "VALUES": 1, "CALL": 1, "_EMPTY": 1, "STMT_PREPARE": 3 + bulk // 2, "INSERT": 1 + bulk,
            "STMT_SEND_LONG_DATA": 2, "STMT_RESET": 1, "STMT_FETCH": 2, "STMT_CLOSE": 2, "LOAD": 1})
        scene.equal("of these, failed", failed, {
            ("INIT_DB", "42"): 1, ("_OTHER", "08"): 1, ("SELECT", "42"): 1, ("STMT_PREPARE", "42"): 1})
    metrics = server.program.metrics()
    scene.equal("statements that were forgotten", metrics.sum("profshim_label_overflow_total", family="statement"), 0)
    scene.equal("connections that were not understood", metrics.sum("profshim_unclassified_connections_total"), 0)
    scene.equal("connections that were given up", metrics.sum("profshim_requests_lost_total"), 0)
    scene.equal("mariadbd's exit code", server.stop(), 0)


@test
def many_prepared_statements_are_counted_by_their_verbs(scene):
    server = MariaDb(scene)
    counted = Counted(server.program, "mysql")
    client = MyClient(server.port, path=server.socket)
    numbers = [client.prepare("select %d" % number if number % 3 else "do %d" % number) for number in range(300)]
    for _ in range(requests_wanted(3000) // 300):
        for number in reversed(numbers):
            client.execute(number)
            client.results()
    client.close()
    found, failed = counted.since()
    rounds = requests_wanted(3000) // 300
    scene.equal("operations", found, {"STMT_PREPARE": 300, "SELECT": 200 * rounds, "DO": 100 * rounds})
    scene.equal("of these, failed", failed, {})


@test
def sessions_that_cannot_be_read_or_begun_are_told_as_that(scene):
    server = MariaDb(scene)
    counted = Counted(server.program, "mysql")
    scene.equal("a compressed session", server.cli("select 1;", "--compress").split(), ["1"])
    scene.equal("a user that there is not", MyClient(server.port, user="canary").greeting[4:9], b"28000")
    dump = MyClient(server.port)
    dump.ask("set @master_binlog_checksum = 'NONE'")
    dump.send(0x12, struct.pack("<IHI", 4, 0, 2) + b"bin.000001")
    scene.equal("the first event of the log", dump.packet()[0], 0)
    family = "profshim_streams_open"
    streams = server.program.metrics_when(lambda metrics: metrics.sum(family, protocol="mysql")).sum(family, protocol="mysql")
    scene.equal("streams that are open", streams, 1)
    dump.socket.close()
    dump.reader.close()
    other = MyClient(server.port)
    for (number,) in other.rows("select id from information_schema.processlist where command like 'Binlog%'"):
        other.ask("kill %s" % number)
    other.close()
    found, failed = counted.since()
    scene.equal("operations", found, {"CONNECT": 1, "SET": 1, "BINLOG_DUMP": 1, "SELECT": 1, "KILL": found.get("KILL")})
    scene.equal("of these, failed", failed, {("CONNECT", "28"): 1})
    metrics = server.program.metrics()
    scene.equal("sessions given up since they are compressed",
                metrics.sum("profshim_requests_lost_total", reason="compressed"), 1)
    scene.equal("connections that were not understood", metrics.sum("profshim_unclassified_connections_total"), 0)


@test
def what_passes_under_tls_is_counted_the_same(scene):
    key, certificate = scene.path("server.key"), scene.path("server.crt")
    scene.run_ok(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", key,
                  "-out", certificate], shim=False)
    server = MariaDb(scene, "--ssl-key=" + key, "--ssl-cert=" + certificate, owns=[key])
    counted = Counted(server.program, "mysql")
    text = server.cli("show status like 'Ssl_version';\n" + "values (1);\n" * 100 + "canary;\n", "--ssl")
    scene.check("the session is one of TLS", "TLS" in text, text[:100])
    found, failed = counted.since()
    found.pop("SELECT", None)  # that which asks for the server's version
    scene.equal("operations", found, {"SHOW": 1, "VALUES": 100, "_OTHER": 1})
    scene.equal("of these, failed", failed, {("_OTHER", "42"): 1})
    metrics = server.program.metrics()
    scene.equal("TLS that was not opened", metrics.sum("profshim_blind_calls_total", kind="tls"), 0)


@test
def what_a_client_asks_is_counted_by_the_server_that_it_asks(scene):
    server = MariaDb(scene)
    program = scene.start(["mariadb", "--no-defaults", "--force", "-n", "--skip-reconnect", *server.where(), "d"], "client",
                          stdin=subprocess.PIPE)
    program.wait_ready()
    program.process.stdin.write(b"values (1);\nvalues (2);\ndo 1;\nupdate nowhere set a = 1;\n")
    program.process.stdin.flush()
    family = "db_client_operation_duration_seconds_count"
    metrics = program.metrics_when(lambda metrics: metrics.sum(family, db_operation_name="UPDATE"))
    found = metrics.by(family, "db_operation_name", "error_type", db_system_name="mysql", server_address="127.0.0.1",
                       server_port=str(server.port))
    found = {key: count for key, count in found.items() if key[0] != "SELECT"}  # it asks for the server's version itself
    scene.equal("operations by server", found, {("VALUES", ""): 2, ("DO", ""): 1, ("UPDATE", "42"): 1})
    program.process.stdin.close()


CANARIES = "canary", "kanarie", "lintu"


@test
def no_statement_name_or_parameter_shows_up_anywhere(scene):
    server = MariaDb(scene, slow="1us")
    client = MyClient(server.port)
    client.ask("create database kanarie")
    client.ask("select 'canary' as lintu -- canary")
    client.ask("canary 1")
    client.execute(client.prepare("select 'canary' as lintu"))
    client.results()
    client.prepare("select lintu from kanarie.canary")
    client.close()
    MyClient(server.port, user="lintu")
    for path in ("/metrics", "/report?top=0", "/report?format=json", "/requests/slow", "/requests/active", "/endpoints",
                 "/connections", "/self", "/folded", "/"):
        text = server.program.get_ok(path).text
        if path in ("/metrics", "/report?top=0", "/requests/slow", "/endpoints"):
            scene.check("%s tells of SELECT" % path, "SELECT" in text, text[:200])
        scene.equal("of what was said, in %s" % path, [canary for canary in CANARIES if canary in text], [])


if __name__ == "__main__":
    run_tests()
