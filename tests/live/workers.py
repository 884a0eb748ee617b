"""Proxies with worker processes: which of them serves a connection, and clients that connect without a pause."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.live.case import LiveCase
from tests.live.test_start_failures import running_in
from tests.live.waiting import PATIENCE, until

#: A handler that sends the number of its process and a line feed, and then echoes.
_IDENTIFYING = """
import os


async def identify(connection):
    await connection.write(b"%d\\n" % os.getpid())
    while data := await connection.read():
        await connection.write(data)
"""
_MODULE = "identifying_of_live_test"


def descendants(pid):
    """The processes that a process has started, and those that they have started."""
    try:
        started = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [each for child in map(int, started) for each in (child, *descendants(child))]


def is_running(pid):
    """Whether a process has not ended; one that nobody has waited for has (proc(5): state Z)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def line(sock):
    """What ``sock`` receives up to a line feed.

    :raises ConnectionError: where it ends before.
    """
    held = b""
    while not held.endswith(b"\n"):
        data = sock.recv(1)
        if not data:
            raise ConnectionError(f"ended after {held!r}")
        held += data
    return held[:-1]


def echoed(sock, words):
    """Send ``words`` and receive them again.

    :raises ConnectionError: where the connection ends before.
    """
    sock.sendall(words)
    got = 0
    while got < len(words):
        data = sock.recv(len(words) - got)
        if not data:
            raise ConnectionError(f"ended after {got} of {len(words)} bytes")
        got += len(data)


class WorkersCase(LiveCase):
    """Proxies with worker processes, all of which end with the test, whatever became of their supervisor."""

    def setUp(self):
        super().setUp()
        self.addCleanup(self._kill_all)

    def _kill_all(self):
        """End what a failing test has left running behind the end of its proxies."""
        for pid in running_in(self.directory.resolve()):
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def identifying(self, name, port, **keys):
        """A route to a handler that sends the number of the process that serves the connection, and then echoes."""
        if not (self.directory / f"{_MODULE}.py").exists():
            self.file(f"{_MODULE}.py", _IDENTIFYING)
        handler = {"type": "handler", "handler": f"{_MODULE}:identify"}
        return {"name": name, "match": {"ports": [port]}, "action": handler, **keys}

    def proxy(self, *routes, workers=2, **settings):
        """A proxy with workers, all of which serve."""
        proxy = super().proxy(*routes, workers=workers, **settings)
        self.addCleanup(self._continue_all, proxy, set(descendants(proxy.pid)))
        return proxy

    def _continue_all(self, proxy, known):
        """Let those run that a failing test has stopped: they end with their supervisor."""
        for pid in known | set(descendants(proxy.pid)):
            with suppress(OSError):  # it has ended
                if Path(f"/proc/{pid}/cwd").readlink() == self.directory:
                    os.kill(pid, signal.SIGCONT)

    # -- the processes -------------------------------------------------------------------------------

    def workers(self, proxy, *, state=None):
        """What the admin API says of each worker process, or of those in this state."""
        return [each for each in proxy.api("workers")["workers"] if state in (None, each["state"])]

    def serving(self, proxy, count, without=()):
        """Wait until ``count`` workers serve, and none of the processes ``without``; their numbers, by slot."""

        def look():
            found = {each["slot"]: each["pid"] for each in self.workers(proxy, state="serving")}
            return found if len(found) == count and not set(found.values()) & set(without) else None

        return until(look, f"{count} workers that serve, without {without}")

    def nursery(self, proxy):
        """The number of the process that forks workers."""
        workers = {each["pid"] for each in self.workers(proxy)}
        (nursery,) = {
            int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in workers
        }
        return nursery

    def kill(self, pid, number=signal.SIGKILL):
        """Send a signal to a process of a proxy of this test."""
        os.kill(pid, number)

    # -- connections to the handler that identifies its process --------------------------------------

    def identified(self, port):
        """A connection, and the number of the process that serves it."""
        sock = self.connect(port)
        return sock, int(line(sock))

    def tunnels(self, port, count):
        """So many connections, each with the number of the process that serves it."""
        return [self.identified(port) for _ in range(count)]

    def in_each(self, port, workers):
        """A connection to each of these processes; the kernel chooses for each one, so it takes several attempts."""
        found = {}

        def look():
            sock, pid = self.identified(port)
            if found.setdefault(pid, sock) is not sock:
                sock.close()
            return found.keys() >= set(workers)

        until(look, f"a connection to each of {workers}")
        return found

    @contextmanager
    def load(self, port, clients=4):
        """Clients that connect to the identifying handler again and again; what became of them."""
        load = Load(port)
        threads = [threading.Thread(target=load.run, daemon=True) for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield load
        finally:
            load.done = True
            for thread in threads:
                thread.join()


class Load:
    """Connections that follow each other.

    :ivar served: connections by process that were served to their end.
    :ivar refused: errors of ``connect``.
    :ivar cut: connections that were not served to their end: process or ``None``, begin and end in monotonic seconds.
    :ivar slowest: seconds that the slowest connection took that was served.
    """

    def __init__(self, port):
        self.done = False
        self.served = Counter()
        self.refused = []
        self.cut = []
        self.slowest = 0.0
        self._port = port

    @property
    def count(self):
        """Number of connections that were served."""
        return sum(self.served.values())

    def run(self):
        """Connect until :attr:`done`."""
        while not self.done:
            began = time.monotonic()
            try:
                sock = socket.create_connection(("127.0.0.1", self._port), PATIENCE)
            except OSError as refused:
                self.refused.append(repr(refused))
                continue
            pid = None
            with sock:
                try:
                    pid = int(line(sock))
                    for _ in range(5):
                        echoed(sock, b"words")
                except OSError as cut:
                    self.cut.append((pid, began, time.monotonic(), repr(cut)))
                    continue
            self.served[pid] += 1
            self.slowest = max(self.slowest, time.monotonic() - began)

    def served_since(self, pids, before):
        """Whether each of these processes has served since ``before``, a copy of :attr:`served`."""
        return all(self.served[pid] > before[pid] for pid in pids)
