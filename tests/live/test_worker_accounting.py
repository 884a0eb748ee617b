"""Counts of a proxy with workers: exactly what clients and targets saw, whatever became of the workers."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import threading
import time
from collections import Counter
from contextlib import contextmanager

from tests.live.backends import read_to_end
from tests.live.case import route
from tests.live.waiting import PATIENCE, until
from tests.live.workers import WorkersCase, echoed, line

_WORKERS, _CLIENTS = 3, 4
_AT_LEAST = int(os.environ.get("SMARTPROXY_WORKER_CONNECTIONS", "2000"))  #: ``make soak`` has more
#: Seconds in which what a worker has counted is looked at for certain; once a second where a look takes 20 ms at most.
_LOOK = 4.0
_SAMPLE = re.compile(r"^(\w+_(?:total|count|bucket|sum))(?:{(.*)})? (\S+)$", re.MULTILINE)


def answer(backend, sock):
    """Read to the end, and answer with twice as many bytes; both numbers are left in ``seen``."""
    count = len(read_to_end(sock))
    sock.sendall(bytes(2 * count))
    backend.seen.append((count, 2 * count))


class Scrapes:
    """What ``/metrics`` has said.

    :ivar decreased: samples of counters that were lower than before.
    """

    def __init__(self, proxy):
        self.count = 0
        self.decreased = []
        self._proxy = proxy
        self._last = {}

    def scrape(self):
        """The samples of counters, by name and labels."""
        page = self._proxy.ask("/metrics")[1].decode()
        found = {(name, labels): float(value) for name, labels, value in _SAMPLE.findall(page)}
        found = {key: value for key, value in found.items() if not key[0].startswith(("process_", "python_"))}
        self.decreased += [
            (key, before, found.get(key))
            for key, before in self._last.items()
            if found.get(key, -1.0) < before
        ]
        self._last = found
        self.count += 1
        return found


class AccountingCase(WorkersCase):
    @contextmanager
    def running(self, *calls):
        """Each call again and again in a thread; what one raises is raised at the end."""
        ending, failed = threading.Event(), []

        def run(call):
            try:
                while not ending.is_set():
                    call()
            except BaseException as why:
                failed.append(why)

        threads = [threading.Thread(target=run, args=(call,), daemon=True) for call in calls]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            ending.set()
            for thread in threads:
                thread.join(PATIENCE)
        for why in failed:
            raise why


class ExactTests(AccountingCase):
    def setUp(self):
        super().setUp()
        self.target = self.backend(answer)
        self.fronts = {name: self.port() for name in ("one", "two")}
        self.sent, self.received, self.made = Counter(), Counter(), Counter()
        self.lock = threading.Lock()
        self.log = self.directory / "access.log"
        self.running_proxy = self.proxy(
            *(route(name, port, self.target) for name, port in self.fronts.items()),
            workers=_WORKERS,
            accessLog={"path": str(self.log), "format": "json"},
            gracefulShutdownTimeout="20s",
        )

    def visit(self):
        """One connection with a random number of bytes."""
        name, count = random.choice(list(self.fronts)), random.randrange(1, 5000)
        with socket.create_connection(("127.0.0.1", self.fronts[name]), PATIENCE) as sock:
            sock.sendall(bytes(count))
            sock.shutdown(socket.SHUT_WR)
            got = len(read_to_end(sock))
        with self.lock:
            self.sent[name] += count
            self.received[name] += got
            self.made[name] += 1

    def assert_exact(self, scrapes):
        """The totals, those of each route, the page of metrics and the access log are what clients and target saw."""
        until(lambda: self.running_proxy.active == 0, "no connection left")
        seen = [sum(counts) for counts in zip(*self.target.seen, strict=True)]
        self.assertEqual([self.sent.total(), self.received.total()], seen)
        count = self.made.total()
        metrics = self.running_proxy.metrics
        totals = {"bytesReceived": seen[0], "bytesSent": seen[1], "connections": count}
        self.assertEqual(metrics["totals"], totals)
        self.assertEqual(metrics["closed"], dict.fromkeys(metrics["closed"], 0) | {"normal": count})
        page = scrapes.scrape()
        for name in self.fronts:
            label = f'route="{name}"'
            self.assertEqual(page["smartproxy_connections_total", label], self.made[name])
            self.assertEqual(page["smartproxy_received_bytes_total", label], self.sent[name])
            self.assertEqual(page["smartproxy_sent_bytes_total", label], self.received[name])
        until(lambda: len(self.log.read_text().splitlines()) == count, "a line for each connection")
        lines = [json.loads(each) for each in self.log.read_text().splitlines()]
        self.assertEqual(len({each["id"] for each in lines}), count)
        self.assertEqual(sum(each["bytesReceived"] for each in lines), seen[0])

    def test_counts_are_exact_over_workers_that_were_replaced(self):
        """One worker ends by SIGTERM, all of them by SIGUSR2, under load; then one is killed that is idle."""
        proxy = self.running_proxy
        scrapes = Scrapes(proxy)
        workers = self.serving(proxy, _WORKERS)
        with self.running(*[self.visit] * _CLIENTS, scrapes.scrape):
            until(lambda: self.made.total() > _AT_LEAST / 4, "connections")
            self.kill(workers[2], signal.SIGTERM)
            workers = self.serving(proxy, _WORKERS, without=[workers[2]])
            until(lambda: self.made.total() > _AT_LEAST / 2, "connections")
            proxy.signal(signal.SIGUSR2)
            workers = self.serving(proxy, _WORKERS, without=workers.values())
            until(lambda: self.made.total() > _AT_LEAST, "connections", within=2 * PATIENCE)
        self.assert_exact(scrapes)
        self.kill(workers[1])
        self.serving(proxy, _WORKERS, without=[workers[1]])
        self.assert_exact(scrapes)
        self.assertEqual(scrapes.decreased, [])
        self.assertGreater(scrapes.count, 3)


class KilledTests(AccountingCase):
    def test_counts_of_a_killed_worker_are_known_without_a_scrape(self):
        """What it has counted is looked at once a second, whether or not anybody reads the counts."""
        front = self.port()
        proxy = self.proxy(self.identifying("who", front), workers=_WORKERS)
        workers = self.serving(proxy, _WORKERS)
        held = self.tunnels(front, 40)
        time.sleep(_LOOK)  # the time in which it is looked at
        self.kill(workers[1])
        self.serving(proxy, _WORKERS, without=[workers[1]])
        self.assertEqual(proxy.metrics["connections"]["total"], len(held))
        self.assertEqual(proxy.closed("error"), sum(pid == workers[1] for _, pid in held))
        self.assertEqual(proxy.moved, (0, sum(len(str(pid)) + 1 for _, pid in held)))

    def test_killed_workers_take_what_they_have_counted_since_the_last_scrape_at_most(self):
        """Two of them, under load; their live connections are counted as ended by an error, and nothing decreases."""
        front = self.port()
        proxy = self.proxy(self.identifying("who", front), workers=_WORKERS + 1)
        scrapes, ended, lock = Scrapes(proxy), [], threading.Lock()
        held = self.tunnels(front, 24)

        def visit():
            with socket.create_connection(("127.0.0.1", front), PATIENCE) as sock:
                pid, got = None, 0
                try:
                    pid = int(line(sock))
                    got = len(str(pid)) + 1
                    echoed(sock, b"words")
                except OSError:
                    return  # of a killed one
            with lock:
                ended.append((pid, time.monotonic(), got + 5))

        looked = {}
        with self.running(*[visit] * _CLIENTS):
            for share in (1, 2):
                until(lambda: len(ended) > _AT_LEAST * share / 3, "connections", within=2 * PATIENCE)  # noqa: B023 - this one's
                workers = self.serving(proxy, _WORKERS + 1, without=looked)
                for _ in range(3):
                    at = time.monotonic()
                    scrapes.scrape()
                looked[workers[share]] = at
                self.kill(workers[share])
                self.serving(proxy, _WORKERS + 1, without=looked)
                for _ in range(3):
                    scrapes.scrape()
            until(lambda: len(ended) > _AT_LEAST, "connections", within=2 * PATIENCE)
        for sock, _ in held:
            sock.close()
        until(lambda: proxy.active == 0, "no connection left")
        page = scrapes.scrape()
        whole = [each for each in ended if each[1] < looked.get(each[0], float("inf"))]
        cut = sum(pid in looked for _, pid in held)
        made = page["smartproxy_connections_total", 'route="who"']
        sent = page["smartproxy_sent_bytes_total", 'route="who"']
        greeted = sum(len(str(pid)) + 1 for _, pid in held)
        most_cut = _CLIENTS * len(looked)
        self.assertGreaterEqual(made, len(whole) + len(held))
        self.assertLessEqual(made, len(ended) + len(held) + most_cut)
        self.assertGreaterEqual(sent, sum(count for _, _, count in whole) + greeted)
        self.assertLessEqual(sent, sum(count for _, _, count in ended) + greeted + most_cut * 20)
        self.assertGreaterEqual(proxy.closed("error"), cut)
        self.assertLessEqual(proxy.closed("error"), cut + most_cut)
        self.assertEqual(proxy.metrics["totals"]["connections"], made)
        self.assertEqual(scrapes.decreased, [])
        print(f"{len(ended)} connections, {made:.0f} counted, {cut} cut; {len(whole)} must be counted")
