#!/usr/bin/env python3
"""redis-server: every command is counted once, as INFO commandstats counts it."""
import os
import re
import signal
import threading
import time

from harness import Failure, Metrics, report_functions, requests_wanted, run_tests, test, wait_until
from real_servers import Redis, RespClient, command_calls_of_metrics

DURATIONS = "db_server_operation_duration_seconds_count"


def check_against_commandstats(scene, redis):
    """The counts by command are those of INFO commandstats; the metrics that showed it."""
    calls = redis.command_calls()
    total = sum(calls.values())
    metrics = redis.program.metrics_when(lambda metrics: metrics.sum(DURATIONS) >= total)
    scene.equal("calls by command", command_calls_of_metrics(metrics), calls)
    scene.equal("sum of %s" % DURATIONS, int(metrics.sum(DURATIONS)), int(total))
    return metrics


COMMANDS = "ping_inline,ping_mbulk,set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,mset,lrange_100"


@test
def commands_one_at_a_time_are_counted_exactly(scene):
    redis = Redis(scene)
    redis.program.wait_ready()
    redis.benchmark("-n", str(requests_wanted(10000)), "-r", "1000", "-t", COMMANDS)
    check_against_commandstats(scene, redis)


@test
def commands_pipelined_by_16_are_counted_exactly(scene):
    redis = Redis(scene)
    redis.program.wait_ready()
    redis.benchmark("-n", str(requests_wanted(100000)), "-P", "16", "-r", "1000", "-t", "set,get,incr,lpush,sadd")
    redis.benchmark("-n", str(requests_wanted(20000)), "-P", "16", "-t", "ping_inline,lrange_100", "-d", "200")
    check_against_commandstats(scene, redis)


@test
def commands_pipelined_by_64_are_counted_exactly(scene):
    redis = Redis(scene)
    redis.program.wait_ready()
    redis.benchmark("-n", str(requests_wanted(20000)), "-P", "64", "-r", "1000", "-t", "set,get,incr,lpush,hset")
    redis.benchmark("-n", str(requests_wanted(4000)), "-P", "64", "-t", "lrange_100", "-d", "1000")
    check_against_commandstats(scene, redis)


SCRIPT = """SET word value
GET word
HSET table a 1 b 2
HGETALL table
SMEMBERS none
LPUSH word x
INCRBYFLOAT number 1.5
DEL word table number
CONFIG GET maxmemory
CLIENT GETNAME
"""


@test
def commands_of_resp3_are_counted_exactly(scene):
    redis = Redis(scene)
    redis.program.wait_ready()
    output = redis.cli("-3", stdin=(SCRIPT * 50).encode())
    scene.equal("answers that say WRONGTYPE", output.count("WRONGTYPE"), 50)
    metrics = check_against_commandstats(scene, redis)
    errors = redis.info("errorstats")
    scene.equal("LPUSH with error_type WRONGTYPE",
                int(metrics.sum(DURATIONS, db_operation_name="LPUSH", error_type="WRONGTYPE")),
                int(errors["errorstat_WRONGTYPE"].replace("count=", "")))


@test
def inline_binary_and_split_commands_are_counted_exactly(scene):
    redis = Redis(scene)
    redis.program.wait_ready()
    client = RespClient(redis.port)
    client.send(b"SET inline 1\r\nGET inline\r\nPING\r\n")
    scene.equal("answers to inline commands", [client.answer() for _ in range(3)], ["OK", "1", "PONG"])
    scene.equal("answer to a binary key", client.ask("SET", b"\r\n*1\r\n$4\r\nPING\r\n\x00", b"\xff" * 5000), "OK")
    for byte in RespClient.encoded("SET", "split", "v"):
        client.send(bytes([byte]))
    scene.equal("answer to a command that came byte by byte", client.answer(), "OK")
    large = b"w" * 3000000
    scene.equal("answer to a large value", client.ask("SET", "large", large), "OK")
    scene.equal("bytes of a large answer", len(client.ask("GET", "large")), len(large))
    client.close()
    check_against_commandstats(scene, redis)


@test
def transactions_and_blocking_commands_are_counted_exactly(scene):
    redis = Redis(scene)
    redis.program.wait_ready()
    client, other = RespClient(redis.port), RespClient(redis.port)
    for number in range(20):
        client.send(b"".join(RespClient.encoded(*words) for words in
                             (["MULTI"], ["SET", "k%d" % number, "v"], ["INCR", "n"], ["EXEC"])))
        answers = [client.answer() for _ in range(4)]
        if answers != ["OK", "QUEUED", "QUEUED", ["OK", str(number + 1)]]:
            raise Failure("redis gave %s for a transaction" % answers)
    blocked = threading.Thread(target=lambda: client.ask("BLPOP", "queue", "10"))
    blocked.start()
    time.sleep(0.3)  # what is waited for must be seen to take its time
    other.ask("RPUSH", "queue", "x")
    blocked.join()
    metrics = check_against_commandstats(scene, redis)
    scene.at_least("seconds of the BLPOP that waited",
                   metrics.sum("db_server_operation_duration_seconds_sum", db_operation_name="BLPOP"), 0.25)
    client.close()
    other.close()


@test
def blocking_commands_last_as_long_as_they_wait(scene):
    redis = Redis(scene)
    redis.program.wait_ready()
    waits = [("BRPOP", "q1", "10"), ("BLMOVE", "q2", "q9", "LEFT", "RIGHT", "10"), ("BZPOPMIN", "q3", "10"),
             ("XREAD", "BLOCK", "10000", "STREAMS", "q4", "$")]
    answers, threads = {}, []
    for words in waits:
        client = RespClient(redis.port)

        def wait(words=words, client=client):
            answers[words[0]] = client.ask(*words)
        threads.append(threading.Thread(target=wait))
        threads[-1].start()
    time.sleep(0.3)  # what is waited for must be seen to take its time
    other = RespClient(redis.port)
    for words in (("RPUSH", "q1", "x"), ("RPUSH", "q2", "x"), ("ZADD", "q3", "1", "x"), ("XADD", "q4", "*", "a", "b")):
        other.ask(*words)
    for thread in threads:
        thread.join()
    scene.check("all were answered", all(answers.get(words[0]) for words in waits), str(answers))
    scene.equal("one that waits in vain", other.ask("BLPOP", "nothing", "0.2"), [])
    metrics = check_against_commandstats(scene, redis)
    for words in waits:
        scene.at_least("seconds of %s" % words[0],
                       metrics.sum("db_server_operation_duration_seconds_sum", db_operation_name=words[0]), 0.25)
    scene.at_least("seconds of BLPOP",
                   metrics.sum("db_server_operation_duration_seconds_sum", db_operation_name="BLPOP"), 0.19)
    other.close()


@test
def pushes_of_resp3_are_no_answers(scene):
    redis = Redis(scene)
    redis.program.wait_ready()
    client, other = RespClient(redis.port), RespClient(redis.port)
    client.ask("HELLO", "3")
    client.ask("CLIENT", "TRACKING", "ON")
    for number in range(200):
        client.ask("GET", "key%d" % number)
        other.ask("SET", "key%d" % number, "v")
        # The push comes before the answer to what follows, in the middle of a pipeline.
        client.send(RespClient.encoded("PING") + RespClient.encoded("LRANGE", "l", "0", "-1") +
                    RespClient.encoded("INCR", "n"))
        answers = [client.answer() for _ in range(4)]
        if answers != [["invalidate", ["key%d" % number]], "PONG", [], str(number + 1)]:
            raise Failure("redis gave %s" % answers)
    check_against_commandstats(scene, redis)
    client.close()
    other.close()


def subscribe_and_go_on(redis, protocol):
    """A subscriber that sends all that it may; another that publishes."""
    subscriber, other = RespClient(redis.port), RespClient(redis.port)
    subscriber.ask("HELLO", protocol)
    subscriber.send(RespClient.encoded("SUBSCRIBE", "a", "b", "c") + RespClient.encoded("PSUBSCRIBE", "a*"))
    answers = [subscriber.answer()[0] for _ in range(4)]
    if answers != ["subscribe"] * 3 + ["psubscribe"]:
        raise Failure("redis gave %s to a subscriber" % answers)
    for number in range(50):
        other.ask("PUBLISH", "a", "message %d" % number)
        subscriber.send(RespClient.encoded("PING"))
        answers = [subscriber.answer() for _ in range(3)]
        if [answer[0] for answer in answers[:2]] != ["message", "pmessage"] or answers[2] not in (["pong", ""], "PONG"):
            raise Failure("redis gave %s to a subscriber" % answers)
    if protocol == "3":
        subscriber.ask("RPUSH", "l3", "message", "subscribe")
        if subscriber.ask("LRANGE", "l3", "0", "-1") != ["message", "subscribe"]:
            raise Failure("redis lost a list")
    subscriber.send(RespClient.encoded("UNSUBSCRIBE"))
    for _ in range(3):
        subscriber.answer()
    subscriber.ask("PUNSUBSCRIBE", "a*")
    subscriber.ask("RPUSH", "l", "message")
    subscriber.ask("LRANGE", "l", "0", "-1")
    other.close()
    return subscriber


@test
def subscribers_are_streams_and_their_commands_are_counted(scene):
    redis = Redis(scene)
    redis.program.wait_ready()
    subscribers = [subscribe_and_go_on(redis, protocol) for protocol in ("2", "3")]
    monitor = RespClient(redis.port)
    monitor.ask("MONITOR")
    metrics = check_against_commandstats(scene, redis)
    scene.equal("streams that are open", int(metrics.sum("profshim_streams_open", protocol="redis")), 3)
    for client in [*subscribers, monitor]:
        client.close()
    metrics = redis.program.metrics_when(lambda metrics: not metrics.sum("profshim_streams_open"))
    scene.equal("streams that are open at the end", int(metrics.sum("profshim_streams_open")), 0)
    scene.equal("streams that ended", int(metrics.sum("profshim_stream_duration_seconds_count")), 3)


@test
def commands_without_replies_are_counted(scene):
    redis = Redis(scene)
    redis.program.wait_ready()
    client = RespClient(redis.port)
    for number in range(100):
        client.send(RespClient.encoded("CLIENT", "REPLY", "OFF") + RespClient.encoded("SET", "k", number) +
                    RespClient.encoded("LPUSH", "k", "x") + RespClient.encoded("CLIENT", "REPLY", "ON") +
                    RespClient.encoded("GET", "k") + RespClient.encoded("CLIENT", "REPLY", "SKIP") +
                    RespClient.encoded("INCR", "n") + RespClient.encoded("INCR", "n"))
        answers = [client.answer() for _ in range(3)]
        if answers != ["OK", str(number), str(2 * number + 2)]:
            raise Failure("redis gave %s" % answers)
    check_against_commandstats(scene, redis)
    client.close()


@test
def errors_have_the_names_of_redis_own_counters(scene):
    redis = Redis(scene)
    redis.program.wait_ready()
    client = RespClient(redis.port)
    client.ask("SET", "word", "x")
    client.ask("XADD", "stream", "*", "a", "b")
    failing = [
        ("LPUSH word x", "WRONGTYPE"), ("INCR word", "ERR"), ("GET", "ERR"), ("EVALSHA %s 0" % ("0" * 40), "NOSCRIPT"),
        ("HELLO 9", "NOPROTO"), ("XGROUP CREATE stream g $", None), ("XGROUP CREATE stream g $", "BUSYGROUP"),
        ("XREADGROUP GROUP none c STREAMS stream >", "NOGROUP"), ("AUTH nobody wrong", "WRONGPASS"),
        ("CLUSTER SLOTS", "ERR"), ("NONSENSE", "ERR"), ("CLIENT NONSENSE", "ERR"), ("MULTI", None), ("GET", "ERR"),
        ("EXEC", "EXECABORT"), ("ACL SETUSER default -flushall", None), ("FLUSHALL", "NOPERM"),
        ("CONFIG SET maxmemory 1", None), ("SET a b", "OOM"), ("CONFIG SET maxmemory 0", None),
        ("EVAL return{err='MYOWN\\32error'} 0", "_OTHER"), ("REPLICAOF 127.0.0.1 1", None), ("SET a b", "READONLY"),
        ("REPLICAOF NO ONE", None), ("CONFIG SET requirepass secret-canary", None),
    ]
    for text, error in failing:
        answer = client.ask(*text.split(" "))
        if error and not str(answer).startswith("-" + ("MYOWN" if error == "_OTHER" else error)):
            raise Failure("redis gave %r to %s" % (answer, text))
    stranger = RespClient(redis.port)
    if not stranger.ask("GET", "word").startswith("-NOAUTH"):
        raise Failure("redis lets a stranger in")
    stranger.close()
    errors = dict(line.split(":", 1) for line in client.ask("INFO", "errorstats").splitlines() if ":" in line)
    errors = {name.replace("errorstat_", ""): float(count.replace("count=", "")) for name, count in errors.items()}
    errors["_OTHER"] = errors.pop("MYOWN")
    metrics = redis.program.metrics_when(lambda metrics: metrics.sum(DURATIONS, db_operation_name="INFO") >= 1)
    counted = metrics.by(DURATIONS, "error_type", db_system_name="redis")
    scene.equal("errors by their first word", {name: count for name, count in counted.items() if name}, errors)
    scene.check("no secret in what profshim tells", "canary" not in metrics.text)
    client.close()


@test
def promtool_is_silent_on_the_metrics_of_redis(scene):
    redis = Redis(scene)
    redis.program.wait_ready()
    redis.cli(stdin=SCRIPT.encode())
    text = redis.program.get_ok("/metrics").body
    result = scene.run(["promtool", "check", "metrics"], shim=False, stdin=text)
    scene.equal("what promtool says", (result.stdout + result.stderr).decode(), "")
    scene.equal("promtool's exit code", result.returncode, 0)
    scene.at_least("families", len(Metrics(text.decode()).types), 15)


@test
def sigusr1_writes_the_report_of_redis_to_a_file(scene):
    redis = Redis(scene, report=scene.path("report-%p-%n.txt"), hz=997)
    redis.program.wait_ready()
    redis.benchmark("-n", "60000", "-t", "set,lrange_100")
    paths = [scene.path("report-%d-%d.txt" % (redis.program.pid, number)) for number in (1, 2)]
    for path in paths:
        redis.program.send_signal(signal.SIGUSR1)
        wait_until(lambda: os.path.exists(path) and os.path.getsize(path), 3, "a report in %s" % path)
    time.sleep(0.3)  # the whole of it: it may be written in pieces
    with open(paths[0]) as report:
        text = report.read()
    scene.say("\n".join(text.splitlines()[:12]))
    scene.check("the head names the program", re.match(r"\s*profshim \d+\.\d+: redis-server \(1 process", text),
                text[:100])
    rows = report_functions(text)
    times = [row["tottime"] for row in rows.values()]
    scene.equal("the rows' internal times", times, sorted(times, reverse=True))
    scene.check("a call of Redis is in it", "{write}" in rows or "{read}" in rows, str(list(rows)))
    everything = report_functions(redis.program.get_ok("/report?top=0").text)
    scene.at_least("functions of Redis by name", sum(name.isidentifier() for name in everything), 10)
    scene.equal("what Redis printed on stderr", redis.program.stderr(), "")
    scene.equal("Redis' exit code", redis.program.stop(), 0)


@test
def redis_keeps_its_commands_when_profshim_has_no_room(scene):
    redis = Redis(scene, memory="8M", max_routes=5)
    redis.program.wait_ready()
    redis.benchmark("-n", "2000", "-t", COMMANDS)
    calls = redis.command_calls()
    metrics = redis.program.metrics_when(lambda metrics: metrics.sum(DURATIONS) >= sum(calls.values()))
    scene.equal("commands in all, with those of the overflow", int(metrics.sum(DURATIONS)), int(sum(calls.values())))
    scene.at_least("observations counted as overflow",
                   metrics.sum("profshim_label_overflow_total", family="endpoint"), 1)


if __name__ == "__main__":
    run_tests()
