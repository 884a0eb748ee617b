"""File descriptors run out: accepting pauses and resumes without spinning, and the admin listener still answers."""

from __future__ import annotations

import time

from tests.live.backends import echo, page, read_to_end
from tests.live.case import LiveCase, route
from tests.live.waiting import settled, until

_LIMIT = 128
_MANY = 150


class ShortOfDescriptorsTests(LiveCase):
    def limited(self, *routes):
        """A proxy whose descriptors are limited to ``_LIMIT``."""
        before = ["sh", "-c", f'ulimit -n {_LIMIT}; exec "$@"', "sh"]
        return self.proxy(*routes, before=before)

    def clients(self, port, count):
        """Open connections; those not accepted wait in the kernel's queue."""
        return [self.connect(port) for _ in range(count)]

    def assert_rests(self, proxy):
        """Assert that the proxy uses almost no CPU, although clients wait."""
        used = proxy.cpu
        time.sleep(1)  # what is measured is the time itself
        self.assertLess(proxy.cpu - used, 0.25, "it spins")

    def test_accepting_pauses_and_resumes_without_descriptors(self):
        """There are more clients than descriptors; those that must wait are served when others close."""
        front = self.port()
        proxy = self.limited(route("echo", front, self.backend(echo)))
        clients = self.clients(front, _MANY)
        served = settled(lambda: proxy.active, quiet=0.5)
        self.assertGreater(served, 30)
        self.assertLess(proxy.descriptors, _LIMIT)
        self.assertEqual(proxy.ask("/readyz")[0], 200)
        self.assert_rests(proxy)
        self.assertEqual(proxy.active, served)
        settled(lambda: proxy.descriptors)  # on a busy machine, the questions above still have theirs
        for each in clients:
            self.assert_echoes(each)
            each.close()
        proxy.emptied()
        self.assert_echoes(self.connect(front))
        self.assertEqual({reason for reason, count in proxy.metrics["rejected"].items() if count}, set())

    def test_dialling_leaves_descriptors_for_the_admin_listener(self):
        """Accepted clients all need a backend at once: some are refused and counted, and the admin API still answers."""
        front = self.port()
        proxy = self.limited(route("named", front, self.backend(page("served")), domains=["live.test"]))
        clients = self.clients(front, _MANY)
        accepted = settled(lambda: proxy.active, quiet=0.5)
        for each in clients:
            each.sendall(b"GET / HTTP/1.1\r\nHost: live.test\r\n\r\n")
        until(
            lambda: proxy.ask("/healthz")[0] == 200 and proxy.rejected("upstream_unreachable"), "some refused"
        )
        served = sum(read_to_end(each).endswith(b"served") for each in clients)
        self.assertGreater(served, 0)
        self.assertEqual(served + proxy.rejected("upstream_unreachable"), _MANY)
        self.assertLess(accepted, _LIMIT)

    def test_lack_of_descriptors_is_logged_once_in_5_seconds(self):
        """Clients wait and descriptors become free repeatedly; a line for each event would flood the log."""
        front = self.port()
        proxy = self.limited(route("echo", front, self.backend(echo)))
        began = time.monotonic()
        clients = self.clients(front, _MANY)
        for each in clients[:50]:
            self.assert_echoes(each)
            each.close()
        settled(lambda: proxy.active, quiet=0.5)
        self.assert_rests(proxy)
        lines = proxy.printed.count("accepts nothing until descriptors are free")
        self.assertGreaterEqual(lines, 1)
        self.assertLessEqual(lines, 1 + (time.monotonic() - began) / 5)


class SoftLimitTests(LiveCase):
    def test_soft_limit_is_raised_at_start(self):
        """Service managers and shells start programs with a soft limit of 1,024: 500 connections."""
        before = ["sh", "-c", f'ulimit -Sn {_LIMIT}; ulimit -Hn 300; exec "$@"', "sh"]
        front = self.port()
        proxy = self.proxy(route("echo", front, self.backend(echo)), before=before)
        self.assertIn(f"limit on open files raised from {_LIMIT} to 300", proxy.printed)
        clients = [self.connect(front) for _ in range(_LIMIT // 2 + 10)]
        until(lambda: proxy.active == len(clients), "more connections than the soft limit allows")
