#!/usr/bin/env python3
"""PostgreSQL: every Query and every Execute is counted once, as the server and its clients count them."""
import os
import struct
import subprocess
import threading
import time

from harness import FULL, Metrics, requests_wanted, run_tests, test, wait_until
from real_databases import Counted, PgClient, Postgres

TABLE = "create table t (id int primary key, amount int); insert into t select n, 0 from generate_series(1, 1000) n;"

TRANSACTION = r"""
\set id random(1, 1000)
BEGIN;
UPDATE t SET amount = amount + 1 WHERE id = :id;
SELECT amount FROM t WHERE id = :id;
/* a remark */ (SELECT 1);
END;
"""
OPERATIONS = {"BEGIN": 1, "UPDATE": 1, "SELECT": 2, "END": 1}


def check_pgbench(scene, postgres, script, operations, transactions, *arguments, database="postgres"):
    """pgbench's transactions are counted exactly, by operation, and none failed."""
    clients = 4
    counted = Counted(postgres.program, "postgresql")
    done = postgres.pgbench(script, "-c", str(clients), "-t", str(transactions // clients), *arguments,
                            database=database)
    wanted = {operation: count * done for operation, count in operations.items()}
    found, failed = counted.since()
    scene.equal("operations of pgbench %s" % " ".join(arguments), found, wanted)
    scene.equal("of these, failed", failed, {})


@test
def pgbench_is_counted_exactly_in_each_of_its_modes(scene):
    postgres = Postgres(scene)
    postgres.psql(TABLE)
    for mode in "simple", "extended", "prepared":
        check_pgbench(scene, postgres, TRANSACTION, OPERATIONS, requests_wanted(5000) // 5, "-M", mode)
    scene.equal("postgres' exit code", postgres.stop(), 0)


@test
def pipelines_of_pgbench_are_counted_exactly(scene):
    postgres = Postgres(scene)
    postgres.psql(TABLE)
    script = r"\startpipeline" + TRANSACTION.replace(r"\set id random(1, 1000)", "") + "\\endpipeline\n"
    script = r"\set id random(1, 1000)" + "\n" + script
    for mode in "extended", "prepared":
        check_pgbench(scene, postgres, script, OPERATIONS, requests_wanted(10000) // 5, "-M", mode)


@test
def a_million_statements_are_counted_exactly(scene):
    """With --full a million in each mode; else ten thousand."""
    postgres = Postgres(scene)
    wanted = requests_wanted(100000) if FULL else requests_wanted(10000)
    check_pgbench(scene, postgres, "SELECT 1;\n", {"SELECT": 1}, wanted, "-M", "simple")
    check_pgbench(scene, postgres, "SELECT 1;\n", {"SELECT": 1}, wanted, "-M", "extended")
    pipeline = "\\startpipeline\n" + "SELECT 1;\nVALUES (1);\n" * 50 + "\\endpipeline\n"
    check_pgbench(scene, postgres, pipeline, {"SELECT": 50, "VALUES": 50}, wanted // 100, "-M", "prepared")


SCRIPT = """
create table u (id int primary key, word text);
insert into u values (1, 'a'), (2, 'b');
update u set word = 'c' where id = 1;
delete from u where id = 2;
merge into u using (values (1, 'd')) s(id, word) on u.id = s.id when matched then update set word = s.word;
with s as (select 1) select * from s;
values (1), (2);
table u;
(select 1) union (select 2);
-- a remark
select count(*) from u;
explain select 1;
analyze u;
vacuum u;
begin;
savepoint a;
declare c cursor for select * from u;
fetch c;
close c;
rollback to a;
release a;
commit;
do $$ begin perform 1; end $$;
prepare p as select 1;
execute p;
deallocate p;
show work_mem;
set work_mem to '4MB';
reset work_mem;
listen channel;
notify channel;
unlisten *;
lock table u;
truncate u;
alter table u add column n int;
comment on table u is 'x';
grant select on u to public;
revoke select on u from public;
reindex table u;
checkpoint;
refresh materialized view m;
discard all;
drop table u;
"""


@test
def statements_of_every_kind_are_counted_as_the_server_counts_them(scene):
    postgres = Postgres(scene)
    postgres.psql("create materialized view m as select 1")
    postgres.psql("select pg_stat_statements_reset()")
    counted = Counted(postgres.program, "postgresql")
    postgres.psql(SCRIPT)
    calls = postgres.statement_calls()
    # It does not count the SELECT that asks for it, nor DEALLOCATE, nor what failed (LOCK TABLE wants a transaction), and
    # EXECUTE as the SELECT that it executes.
    wanted = {**calls, "DEALLOCATE": 1, "EXECUTE": 1, "LOCK": 1}
    found, failed = counted.since()
    scene.say(", ".join("%s %d" % item for item in sorted(found.items())))
    scene.equal("failed", failed, {("LOCK", "25"): 1})
    scene.equal("operations, by pg_stat_statements", found, wanted)


@test
def errors_are_counted_by_the_class_of_their_sqlstate(scene):
    postgres = Postgres(scene)
    postgres.psql(TABLE)
    counted = Counted(postgres.program, "postgresql")
    client = PgClient(postgres.port)
    scene.equal("a syntax error", client.ask(client.query("selec 1")), "E42601 Z")
    scene.equal("an empty query", client.ask(client.query(" -- nothing")), "I Z")
    scene.equal("a division by zero", client.ask(client.once("select 1/0"), client.SYNC), "1 E22012 Z")
    scene.equal("a duplicate key", client.ask(client.query("insert into t values (1, 1)")), "E23505 Z")
    client.ask(client.query("begin"))
    scene.equal("no such table", client.ask(client.query("select * from canary_table")), "E42P01 Z")
    scene.equal("within a failed transaction", client.ask(client.query("select 1")), "E25P02 Z")
    client.ask(client.query("rollback"))
    scene.equal("a preparation that fails", client.ask(client.parse("select canary", "s"), client.SYNC), "E42703 Z")
    scene.equal("a statement that does not exist", client.ask(client.bind("gone"), client.execute(), client.SYNC), "E26000 Z")
    client.ask(client.query("set statement_timeout = 50"))
    scene.equal("a timeout", client.ask(client.query("select pg_sleep(5)")), "T E57014 Z")
    client.close()
    refused = Counted(postgres.program, "postgresql")
    result = scene.run([postgres.tool("psql"), "-X", *postgres.where(), "nowhere"], shim=False)
    scene.equal("psql's exit code where there is no such database", result.returncode, 2)
    _, failed = counted.since()
    scene.equal("errors", failed, {
        ("_OTHER", "42"): 1, ("SELECT", "22"): 1, ("INSERT", "23"): 1, ("SELECT", "42"): 2, ("SELECT", "25"): 1,
        ("_OTHER", "26"): 1, ("SELECT", "57"): 1, ("CONNECT", "3D"): 1})
    scene.equal("of a session that cannot begin", refused.since(), ({"CONNECT": 1}, {("CONNECT", "3D"): 1}))


@test
def pipelines_with_errors_are_counted_exactly(scene):
    postgres = Postgres(scene)
    postgres.psql(TABLE)
    counted = Counted(postgres.program, "postgresql")
    client = PgClient(postgres.port)
    rounds = requests_wanted(200)
    client.send(client.parse("update t set amount = 1 where id = 1", "u"), client.parse("delete from t where id = -1", "d"),
                client.SYNC)
    client.answers()
    for _ in range(rounds):
        client.send(client.once("values (1)"), client.bind("u"), client.execute(),
                    client.once("select 1/(id - 1) from t where id = 1"),
                    client.bind("d"), client.execute(), client.once("show work_mem"), client.SYNC,
                    client.bind("u"), client.execute(), client.SYNC, client.query("begin"), client.query("commit"))
    for _ in range(rounds):
        kinds = [client.kinds() for _ in range(4)]
        if kinds != ["1 2 D C 2 C 1 2 E22012 Z", "2 C Z", "C Z", "C Z"]:
            scene.equal("answers", kinds, "a pipeline's")
    client.close()
    found, failed = counted.since()
    scene.equal("operations, but for what the server passed over", found,
                {"VALUES": rounds, "UPDATE": 2 * rounds, "SELECT": rounds, "BEGIN": rounds, "COMMIT": rounds})
    scene.equal("of these, failed", failed, {("SELECT", "22"): rounds})


@test
def the_extended_protocol_is_counted_exactly_in_all_its_forms(scene):
    postgres = Postgres(scene)
    postgres.psql(TABLE + "create table c (id int references t deferrable initially deferred);")
    counted = Counted(postgres.program, "postgresql")
    client = PgClient(postgres.port, path=postgres.sockets)
    many = [client.parse("%s /* %d */" % ("select 1" if number % 2 else "values (2)", number), "s%d" % number)
            for number in range(300)]
    scene.equal("300 statements prepared", client.ask(*many, client.SYNC), "1 " * 300 + "Z")
    for number in reversed(range(300)):
        client.send(client.bind("s%d" % number), client.message("D", b"P\0"), client.execute(), client.SYNC)
        client.answers()
    client.send(client.query("begin"), client.bind("s1", "p1") + client.bind("s2", "p2"), client.execute("p2", 1),
                client.execute("p1", 1), client.execute("p1", 1), client.message("C", b"Pp1\0"), client.SYNC,
                client.query("end"))
    scene.equal("portals", [client.kinds() for _ in range(3)], ["C Z", "2 2 D s D s C 3 Z", "C Z"])
    scene.equal("a flush", (client.send(client.once("table t limit 1"), client.FLUSH),
                            [kind for kind, _ in client.until("C")])[1], list("12DC"))
    scene.equal("its sync", client.ask(client.SYNC), "Z")
    scene.equal("a commit that fails at the sync", client.ask(client.once("insert into c values (-1)"), client.SYNC),
                "1 2 C E23503 Z")
    scene.equal("a function call", client.ask(client.message("F", struct.pack(">IHHHIIH", 1397, 1, 1, 1, 4, 5, 1))), "V Z")
    client.send(client.once("copy t from stdin"), client.SYNC)
    client.until("G")
    scene.equal("a copy", client.ask(client.message("d", b"2001\t1\n"), client.message("c"), client.SYNC), "C Z")
    client.send(client.once("copy t from stdin"), client.SYNC)
    client.until("G")
    scene.equal("a copy that fails", client.ask(client.message("d", b"canary\n"), client.message("c"), client.SYNC),
                "E22P02 Z")
    client.close()
    found, failed = counted.since()
    scene.equal("operations", found, {"SELECT": 152, "VALUES": 151, "BEGIN": 1, "END": 1, "TABLE": 1, "INSERT": 1,
                                      "FUNCTION_CALL": 1, "COPY": 2})
    scene.equal("of these, failed", failed, {("INSERT", "23"): 1, ("COPY", "22"): 1})
    scene.equal("statements that were forgotten",
                postgres.program.metrics().sum("profshim_label_overflow_total", family="statement"), 0)


@test
def copies_cancels_and_notifications_are_counted_exactly(scene):
    postgres = Postgres(scene)
    postgres.psql(TABLE)
    rows = "".join("%d\t0\n" % number for number in range(10001, 30001))
    counted = Counted(postgres.program, "postgresql")
    postgres.psql("copy t from stdin;\n" + rows + "\\.\n", is_local=True)
    scene.equal("rows copied out", len(postgres.psql("copy t to stdout;").splitlines()), 21000)
    sleeper, listener, other = (PgClient(postgres.port) for _ in range(3))
    began = time.monotonic()
    sleeper.send(sleeper.query("select pg_sleep(20)"))
    wait_until(lambda: other.rows("select 1 from pg_stat_activity where wait_event = 'PgSleep'"), 10, "a query that sleeps")
    sleeps = wait_until(lambda: len(found := postgres.program.json("/requests/active")) == 1 and found[0], 5,
                        "one active request")
    scene.equal("what it is", (sleeps["endpoint"], sleeps["kind"], sleeps["in_flight"]), ("postgres SELECT", "served", 1))
    sleeper.cancel()
    scene.equal("the query that was cancelled", sleeper.kinds(), "T E57014 Z")
    sleeper.ask(sleeper.query("values (1)"))  # whose answer comes only when that of before was seen to be accepted
    lasted = time.monotonic() - began
    listener.ask(listener.query("listen channel"))
    other.ask(other.query("notify channel, 'canary'"))
    scene.equal("a notification", listener.until("A")[-1][0], "A")
    listener.ask(listener.query("values (1)"))
    for client in sleeper, listener, other:
        client.close()
    found, failed = counted.since()
    found.pop("SELECT")  # as often as it took until the other slept
    scene.equal("operations", found, {"COPY": 2, "CANCEL": 1, "LISTEN": 1, "NOTIFY": 1, "VALUES": 2})
    scene.equal("of these, failed", failed, {("SELECT", "57"): 1})
    metrics = postgres.program.metrics()
    slept = metrics.sum("db_server_operation_duration_seconds_sum", db_operation_name="SELECT", error_type="57")
    scene.at_most("seconds of the query that was cancelled, by its client's clock", slept, lasted)
    scene.equal("connections that were not understood", metrics.sum("profshim_unclassified_connections_total"), 0)


@test
def sessions_that_end_badly_leave_what_they_asked(scene):
    postgres = Postgres(scene)
    counted = Counted(postgres.program, "postgresql")
    victim, other = PgClient(postgres.port), PgClient(postgres.port)
    pid = victim.rows("select pg_backend_pid()")[0][0]
    victim.send(victim.query("values (pg_sleep(20))"))
    wait_until(lambda: other.rows("select 1 from pg_stat_activity where wait_event = 'PgSleep'"), 10, "a query that sleeps")
    other.rows("select pg_terminate_backend(%s)" % pid)
    scene.equal("what the one that was ended is told", victim.until("E")[-1], ("E", "57P01"))
    idle = PgClient(postgres.port)
    other.rows("select pg_terminate_backend(%s)" % idle.rows("select pg_backend_pid()")[0][0])
    scene.equal("what one is told that asked for nothing", idle.until("E")[-1], ("E", "57P01"))
    other.close()
    _, failed = counted.since()
    scene.equal("failed", failed, {("VALUES", "57"): 1})


@test
def what_passes_under_tls_is_counted_the_same(scene):
    key, certificate = scene.path("server.key"), scene.path("server.crt")
    scene.run_ok(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", key,
                  "-out", certificate], shim=False)
    postgres = Postgres(scene, "ssl=on", "ssl_key_file=" + key, "ssl_cert_file=" + certificate, owns=[key])
    postgres.psql(TABLE)
    for mode in "simple", "prepared":
        check_pgbench(scene, postgres, TRANSACTION, OPERATIONS, requests_wanted(1000), "-M", mode, database="sslmode=require")
    counted = Counted(postgres.program, "postgresql")
    said = postgres.psql("\\conninfo", "-d", "sslmode=require")
    scene.equal("what psql says of its session", said.count("SSL connection"), 1)
    refused = scene.run([postgres.tool("psql"), "-X", *postgres.where(), "dbname=nowhere sslmode=require"], shim=False)
    scene.equal("psql's exit code where there is no such database", refused.returncode, 2)
    scene.equal("a session that cannot begin", counted.since()[1], {("CONNECT", "3D"): 1})
    metrics = postgres.program.metrics()
    scene.equal("TLS that was not opened", metrics.sum("profshim_blind_calls_total", kind="tls"), 0)
    scene.equal("connections that were not understood", metrics.sum("profshim_unclassified_connections_total"), 0)


@test
def what_psql_asks_is_counted_by_the_server_that_it_asks(scene):
    postgres = Postgres(scene)
    program = scene.start([postgres.tool("psql"), "-X", "-q", *postgres.where(), "-f", "-", "postgres"], "psql",
                          stdin=subprocess.PIPE)
    program.wait_ready()
    program.process.stdin.write(b"select 1;\nselect 2;\nselect 1/0;\ninsert into nowhere values (1);\nvalues (1) \\g\n")
    program.process.stdin.flush()
    family = "db_client_operation_duration_seconds_count"
    metrics = program.metrics_when(lambda metrics: metrics.sum(family) >= 5)
    scene.equal("operations by server", metrics.by(family, "db_system_name", "db_operation_name", "error_type",
                                                   "server_address", "server_port"),
                {("postgresql", "SELECT", "", "127.0.0.1", str(postgres.port)): 2,
                 ("postgresql", "SELECT", "22", "127.0.0.1", str(postgres.port)): 1,
                 ("postgresql", "INSERT", "42", "127.0.0.1", str(postgres.port)): 1,
                 ("postgresql", "VALUES", "", "127.0.0.1", str(postgres.port)): 1})


@test
def cpu_time_goes_to_the_statement_that_took_it(scene):
    postgres = Postgres(scene, hz=997)
    loop = "do $$ declare n int := 0; begin for i in 1..%d loop n := n + i %% 7; end loop; end $$;"

    def work(text):
        client = PgClient(postgres.port)
        for _ in range(8):
            client.ask(client.query(text))
        client.close()
    threads = [threading.Thread(target=work, args=(text,)) for text in
               (loop % 2000000, "select sum(n) from generate_series(1, 1000000) n")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = postgres.program.metrics().by("profshim_endpoint_cpu_seconds_total", "endpoint")
    scene.say(str({endpoint: round(value, 2) for endpoint, value in seconds.items()}))
    busy = seconds["postgres DO"] + seconds["postgres SELECT"]
    scene.at_least("seconds of the two", busy, 0.5)
    scene.at_least("share of these in all that is of no other statement", busy / sum(seconds.values()), 0.9)


@test
def pgbench_itself_is_counted_exactly(scene):
    """As a client, by the session that it leaves: each operation as often as the server counted it."""
    postgres = Postgres(scene)
    postgres.psql(TABLE)
    sessions = scene.path("client-sessions")
    os.mkdir(sessions, 0o700)
    plain = scene.write("plain.sql", TRANSACTION)
    pipeline = scene.write("pipeline.sql", TRANSACTION.replace("BEGIN", "\\startpipeline\nBEGIN") + "\\endpipeline\n")
    for mode, script in ("simple", plain), ("extended", pipeline), ("prepared", pipeline):
        counted = Counted(postgres.program, "postgresql")
        scene.run_ok([postgres.tool("pgbench"), "-n", "-f", script, "-M", mode, *postgres.where(), "-c", "4", "-j", "2", "-t",
                      str(requests_wanted(200)), "postgres"], dir=sessions, timeout=600)
        metrics = Metrics(scene.profshim("report", "--dir", sessions, "--view", "metrics"))
        asked = metrics.by("db_client_operation_duration_seconds_count", "db_operation_name", db_system_name="postgresql",
                           server_address="127.0.0.1", server_port=str(postgres.port), error_type="")
        scene.equal("operations that the client counts in mode %s" % mode, asked, counted.since()[0])


CANARIES = "canary", "kanarie", "lintu"


@test
def no_statement_name_or_parameter_shows_up_anywhere(scene):
    postgres = Postgres(scene, slow="1us")
    client = PgClient(postgres.port, application_name="kanarie")
    client.ask(client.query("create role kanarie"))
    client.ask(client.query("select 'canary' as lintu -- canary"))
    client.ask(client.query("canary 1"))
    client.ask(client.parse("select 'canary'", "kanarie"), client.bind("kanarie", "lintu"), client.execute("lintu"),
               client.SYNC)
    client.ask(client.query("select * from lintu.canary"))
    client.close()
    for path in ("/metrics", "/report?top=0", "/report?format=json", "/requests/slow", "/requests/active", "/endpoints",
                 "/connections", "/self", "/folded", "/"):
        text = postgres.program.get_ok(path).text
        if path in ("/metrics", "/report?top=0", "/requests/slow", "/endpoints"):
            scene.check("%s tells of SELECT" % path, "SELECT" in text, text[:200])
        found = [canary for canary in CANARIES if canary in text]
        scene.equal("of what was said, in %s" % path, found, [])
    scene.equal("what postgres' stderr says of profshim",
                [line for line in postgres.program.stderr().splitlines() if line.startswith("profshim")], [])


if __name__ == "__main__":
    run_tests()
