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
