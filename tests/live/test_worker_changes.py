"""Reloads and replacements of workers under load: no connection fails, and all workers change or none does."""

from __future__ import annotations

import json
import signal
import socket
import time

from tests.live.backends import echo
from tests.live.waiting import until
from tests.live.workers import WorkersCase, descendants, echoed, is_running

_RELOADS, _REPLACEMENTS = 10, 4
#: Connections that hit each of three workers: all but one in 10**7 times.
_SEVERAL = 40


class ChangeCase(WorkersCase):
    def start(self, workers=3, **settings):
        """A proxy with one route that stays; what it was configured with."""
        self.front = self.port()
        self.proxy_ = self.proxy(self.identifying("stays", self.front), workers=workers, **settings)
        self.written = json.loads(self.proxy_.file.read_text())
        return self.proxy_

    def write(self, *more, **changed):
        """Write a configuration with these routes beside the one that stays, and these top-level keys."""
        settings = self.written | changed | {"routes": [*self.written["routes"], *more]}
        self.proxy_.file.write_text(json.dumps(settings))

    def reload(self):
        """Status and parsed answer of ``POST reload``."""
        status, body = self.proxy_.ask("/api/v1/reload", "POST")
        return status, json.loads(body)

    def replace(self):
        """Replace all workers by SIGUSR2, and wait until that is done; the new ones."""
        before = self.serving(self.proxy_, 3)
        self.proxy_.signal(signal.SIGUSR2)
        return self.serving(self.proxy_, 3, without=before.values())

    def served_by(self, port):
        """The processes that serve ``port``, as many connections show; each of them must be served."""
        found = set()
        for _ in range(_SEVERAL):
            sock, pid = self.identified(port)
            sock.close()
            found.add(pid)
        return found

    def assert_not_listening(self, port):
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5).close()


class ReloadTests(ChangeCase):
    def test_reloads_under_load_change_every_worker_at_once(self):
        """Right after each answer every worker serves the new route, and none a removed one; nothing else notices."""
        proxy = self.start()
        workers = set(self.serving(proxy, 3).values())
        tunnels = self.tunnels(self.front, 20)
        with self.load(self.front) as load:
            before = None
            for number in range(_RELOADS):
                port = self.port()
                self.write(self.identifying(f"new {number}", port))
                if number % 2:
                    proxy.signal(signal.SIGHUP)
                    until(lambda: self.routes() == {"stays", f"new {number}"}, "the reload")  # noqa: B023 - this round's
                else:
                    self.assertEqual(self.reload()[0], 200)
                self.assertEqual(self.served_by(port), workers)
                if before is not None:
                    self.assert_not_listening(before)
                before = port
                if number == 1:
                    descriptors = self.descriptors()
        self.assertEqual((load.refused, load.cut), ([], []))
        self.assertEqual(set(load.served), workers)
        for sock, _ in tunnels:
            echoed(sock, b"words")
        self.assertEqual(set(self.serving(proxy, 3).values()), workers)
        until(lambda: self.descriptors() <= descriptors + 2, f"as few descriptors as {descriptors}")
        page = proxy.ask("/metrics")[1].decode()
        self.assertIn(f'\nsmartproxy_config_reloads_total{{result="ok"}} {_RELOADS}\n', page)

    def routes(self):
        return {each["name"] for each in self.proxy_.api("routes")["routes"]}

    def descriptors(self):
        """Number of open descriptors of the supervisor."""
        return self.proxy_.descriptors

    def test_refused_reload_changes_no_worker(self):
        """Not valid, with a port that another process has, or with a file that only a worker finds missing."""
        proxy = self.start()
        port, free, other = self.port(), self.port(), self.backend(echo)
        self.write(self.identifying("second", port))
        self.assertEqual(self.reload()[0], 200)
        workers = set(self.serving(proxy, 3).values())
        descriptors = self.descriptors()
        tunnels = self.tunnels(port, 6)
        fine = self.identifying("fine", free)
        refused = (
            (422, [{**fine, "priority": "high"}], {}),
            (409, [fine, self.identifying("taken", other.port)], {}),
            (422, [fine], {"accessLog": {"path": "/nowhere/access.log"}}),
        )
        with self.load(self.front) as load:
            for status, more, changed in refused * 2:
                self.write(*more, **changed)
                answer = self.reload()
                self.assertEqual(answer[0], status, answer)
                self.assertEqual(self.served_by(port), workers)
                self.assert_not_listening(free)
            self.assertEqual(self.routes(), {"stays", "second"})
        self.assertEqual((load.refused, load.cut), ([], []))
        for sock, _ in tunnels:
            echoed(sock, b"words")
        until(lambda: self.descriptors() <= descriptors + 2, f"as few descriptors as {descriptors}")
        page = proxy.ask("/metrics")[1].decode()
        self.assertIn('\nsmartproxy_config_reloads_total{result="failed"} 6\n', page)

    def test_reload_during_a_drain_reaches_every_worker(self):
        """As in one process: connections of a removed route end, and no port is opened."""
        proxy = self.start()
        port, free = self.port(), self.port()
        self.write(self.identifying("second", port))
        self.assertEqual(self.reload()[0], 200)
        kept, ending = self.tunnels(self.front, 12), self.tunnels(port, 12)
        proxy.ask("/api/v1/drain", "POST")
        self.write(self.identifying("third", free))
        self.assertEqual(self.reload()[0], 200)
        self.assertEqual(self.routes(), {"stays", "third"})
        for sock, _ in ending:
            self.assert_gone(sock)
        for sock, _ in kept:
            echoed(sock, b"words")
        self.assert_not_listening(free)


class ReplacementTests(ChangeCase):
    def test_replaced_workers_end_no_connection_before_the_timeout(self):
        """Of 20 connections none is cut before ``gracefulShutdownTimeout``, and all are after it.

        Under load each replacement takes two seconds, and the connections are waited for.
        """
        proxy = self.start(gracefulShutdownTimeout="4s")
        until(lambda: len(descendants(proxy.pid)) == 4, "the nursery and three workers")
        with self.load(self.front) as load:
            self.replace()
            descriptors = proxy.descriptors
            began = time.monotonic()
            tunnels = self.tunnels(self.front, 20)
            self.replace()
            draining = [each["pid"] for each in self.workers(proxy, state="draining")]
            if time.monotonic() - began < 3:
                for sock, pid in tunnels:
                    self.assertIn(pid, draining)
                    echoed(sock, b"words")
            for sock, _ in tunnels:
                self.assert_gone(sock)
            self.assertGreater(time.monotonic() - began, 4)
            until(lambda: not any(map(is_running, draining)), "the end of those replaced")
            for _ in range(_REPLACEMENTS - 2):
                workers = self.replace()
            self.assertEqual(self.served_by(self.front), set(workers.values()))
        self.assertEqual((load.refused, load.cut), ([], []))
        until(lambda: len(descendants(proxy.pid)) == 4, "no process but the nursery and three workers")
        until(lambda: proxy.descriptors <= descriptors, f"as few descriptors as {descriptors}")
        self.assertEqual(proxy.printed.count("workers replaced"), _REPLACEMENTS)

    def test_reload_during_a_replacement_reaches_every_worker(self):
        """Old ones and new ones alike: the one is done before the other, or after it."""
        proxy = self.start()
        port = self.port()
        before = set(self.serving(proxy, 3).values())
        proxy.signal(signal.SIGUSR2)
        self.write(self.identifying("second", port))
        self.assertEqual(self.reload()[0], 200)
        self.assertLessEqual(3, len(self.served_by(port)))
        workers = set(self.serving(proxy, 3, without=before).values())
        self.assertEqual(self.served_by(port), workers)
        self.assertEqual(self.served_by(self.front), workers)
