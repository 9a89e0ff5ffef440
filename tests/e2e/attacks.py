"""Clients that mean no good, at profshim's port or at that of a server of nobody's."""
import multiprocessing
import os
import selectors
import socket
import time

from harness import can_connect, free_ports, wait_until

CLIENTS_MAX = 64  # http.c
HEALTHY = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n"
SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
REPORT = b"GET /report HTTP/1.1\r\nHost: localhost\r\n\r\n"
STRANGE = b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n"
CROSS_SITE = b"POST /control/reset HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n"
ENDLESS = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 40000

# What clients do, each by a process of its own: a method of Attack, and what it sends.
ATTACKS = {
    "idle connections, slow heads and slow readers": ("_hold", None),
    "connections that come and go, and heads without end": ("_come_and_go", None),
    "scrapes": ("_flood", 4 * SCRAPE),
    "reports": ("_flood", 4 * REPORT),
    "requests under another name": ("_flood", 6 * STRANGE),
    "requests from another site": ("_flood", 6 * CROSS_SITE),
}
# 800 scrapes a second and as many reports, and twice as many of each sort of refused ones.
MIXED = (("_hold", None), ("_come_and_go", None), ("_flood", SCRAPE + REPORT + 2 * STRANGE + 2 * CROSS_SITE))


def connect(port):
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex(("127.0.0.1", port))
    return client


class Attack:
    """By processes of the lowest priority on a core of their own, at a pace of their own, so that they do the same whatever they
    are answered. What is asked is whether the program feels its server, not whether its clients fill the machine."""

    def __init__(self, port, core, ways):
        self.port, self.core, self.done = port, core, multiprocessing.Value("L", 0)
        self.processes = [multiprocessing.Process(target=self._run, args=way) for way in ways]
        for process in self.processes:
            process.start()

    def stop(self):
        for process in self.processes:
            process.kill()
            process.join()

    def _run(self, name, text):
        os.sched_setaffinity(0, {self.core})
        os.nice(19)
        while True:
            try:
                getattr(self, name)(*([text] if text else []))
            except OSError:
                pass  # refused, reset or timed out: so be it

    def _count(self, number):
        with self.done.get_lock():
            self.done.value += number

    def _hold(self):
        clients = [connect(self.port) for _ in range(300)]
        for number, client in enumerate(clients):
            try:
                client.send(SCRAPE if number % 30 == 0 else HEALTHY if number % 2 else b"GET /metrics HT")
            except OSError:
                pass
        self._count(len(clients))
        time.sleep(0.5)
        for client in clients:
            client.close()

    def _come_and_go(self):
        for number in range(20):
            client = connect(self.port)
            if number % 4 == 0:
                client.setblocking(True)
                client.send(ENDLESS)
            client.close()
        self._count(20)
        time.sleep(0.05)

    def _flood(self, text):
        """The text 800 times a second."""
        clients = [connect(self.port) for _ in range(8)]
        end = time.monotonic() + 1
        while time.monotonic() < end:
            for client in clients:
                try:
                    client.send(text)
                    self._count(text.count(b"\r\n\r\n"))
                    client.recv(1 << 20)
                except BlockingIOError:
                    pass
            time.sleep(0.01)
        for client in clients:
            client.close()


def stand_in(port, core):
    """A server of nobody's that holds as many connections as ours does, and refuses whatever it is asked."""
    os.sched_setaffinity(0, {core})
    os.nice(19)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(CLIENTS_MAX)
    waiting, held = selectors.DefaultSelector(), []
    waiting.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            if key.fileobj is listener:
                client = listener.accept()[0]
                client.setblocking(False)
                waiting.register(client, selectors.EVENT_READ)
                held.append(client)
            elif not refuse(key.fileobj):
                held.remove(key.fileobj)
                waiting.unregister(key.fileobj)
                key.fileobj.close()
        while len(held) > CLIENTS_MAX:
            oldest = held.pop(0)
            waiting.unregister(oldest)
            oldest.close()


def refuse(client):
    """False: the client has gone."""
    try:
        asked = client.recv(1 << 16)
        client.send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n" * asked.count(b"\r\n\r\n"))
        return bool(asked)
    except BlockingIOError:
        return True
    except OSError:
        return False


def stand_in_on(core):
    """(process, port)."""
    port = free_ports()
    process = multiprocessing.Process(target=stand_in, args=(port, core))
    process.start()
    wait_until(lambda: can_connect(port), 10, "the stand-in")
    return process, port
