#!/usr/bin/env python3
"""endpoints - reads answers of /endpoints, one after the other.

    endpoints.py table      prints a table of each: where the CPU time goes
    endpoints.py dearest    prints the endpoint with the most CPU time, fit for a query: GET%20/users/{id}
"""
import json
import sys
import urllib.parse


def arrays(text):
    """The JSON arrays that stand in text one after the other."""
    decoder, position = json.JSONDecoder(), 0
    while text[position:].strip():
        position += len(text[position:]) - len(text[position:].lstrip())
        array, position = decoder.raw_decode(text, position)
        yield array


def milliseconds(seconds):
    return "" if seconds is None else "%.3f" % (seconds * 1000)


def print_table(endpoints):
    total = sum(endpoint["cpu_seconds"] for endpoint in endpoints) or 1
    print("  %-28s %9s %7s %8s %7s %9s %9s" % ("endpoint", "requests", "errors", "CPU s", "CPU %", "mean ms", "p99 ms"))
    for endpoint in sorted(endpoints, key=lambda endpoint: -endpoint["cpu_seconds"]):
        print("  %-28s %9d %7d %8.3f %6.1f%% %9s %9s"
              % (endpoint["endpoint"], endpoint["requests"], endpoint["errors"], endpoint["cpu_seconds"],
                 100 * endpoint["cpu_seconds"] / total, milliseconds(endpoint["latency_mean_seconds"]),
                 milliseconds(endpoint["latency_p99_seconds"])))


def main():
    answers = list(arrays(sys.stdin.read()))
    if sys.argv[1:] == ["table"]:
        for number, answer in enumerate(answers):
            if number:
                print()
            print_table(answer)
    elif sys.argv[1:] == ["dearest"]:
        served = [endpoint for answer in answers for endpoint in answer if endpoint["requests"]]
        name = max(served, key=lambda endpoint: endpoint["cpu_seconds"])["endpoint"]
        print(urllib.parse.quote(name, safe="/"))
    else:
        sys.exit(__doc__)


main()
