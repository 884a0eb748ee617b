"""Thousands of connections over a limit: all are refused and counted, few lines logged, other clients served."""

from __future__ import annotations

import contextlib
import threading

from tests.live.backends import echo
from tests.live.case import LiveCase, route
from tests.live.client import connected
from tests.live.waiting import until

_MANY, _AT_ONCE = 2000, 50
FLOODER = "127.0.0.66"


class FloodTests(LiveCase):
    def flood(self, port, many=_MANY):
        """Open connections from one address as fast as possible, closing each when the proxy has closed it."""
        for _ in range(many // _AT_ONCE):
            clients = [connected(port, source=FLOODER) for _ in range(_AT_ONCE)]
            for each in clients:
                with contextlib.suppress(ConnectionResetError):
                    each.recv(1)
                each.close()

    def echoes(self, sock, flooding):
        """The number of echoes received while ``flooding`` runs."""
        count = 0
        while flooding.is_alive():
            self.assert_echoes(sock)
            count += 1
        return count

    def flooded(self, reason, **limits):
        front = self.port()
        proxy = self.proxy(route("echo", front, self.backend(echo)), **limits)
        held = self.connect(front, source=FLOODER)
        self.assert_echoes(held)
        client = self.connect(front)
        self.assert_echoes(client)
        flooding = threading.Thread(target=self.flood, args=(front,))
        flooding.start()
        echoes = self.echoes(client, flooding)
        flooding.join()
        self.assertEqual(proxy.rejected(reason), _MANY)
        # Counted and not timed: on a busy machine all of it takes longer, but the others still have their turn.
        self.assertGreater(echoes, _MANY // _AT_ONCE // 2)
        self.assert_echoes(client)
        return proxy

    def test_refused_ones_that_do_not_close(self):
        """Their sockets count to ``maxConnections``, and another client is served at the cost of one of them."""
        front, most = self.port(), 20
        made = route("echo", front, self.backend(echo), path="/api", action={"protocol": "tcp"})
        proxy = self.proxy(made, maxConnections=most)
        before = proxy.descriptors
        for _ in range(most * 10):
            client = self.connect(front, source=FLOODER)
            client.sendall(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):  # it is the oldest, and makes room already
                self.assertTrue(client.recv(100).startswith(b"HTTP/1.1 404 "))
        self.assertLessEqual(proxy.descriptors - before, most)
        served = self.connect(front)
        served.sendall(b"GET /api HTTP/1.1\r\nHost: a.example\r\n\r\n")
        self.assertTrue(served.recv(100).startswith(b"GET /api "))

    def told(self, proxy, reason):
        """Log lines of refusals for ``reason``, and the number of refusals they report."""
        proxy.stop()
        lines = [line for line in proxy.printed.splitlines() if f": {reason} (" in line]
        return lines, sum(int(line.partition("refused ")[2].split()[0]) for line in lines)

    def test_flood_over_the_limit_per_ip_is_refused_and_counted(self):
        proxy = self.flooded("ip_limit", maxConnectionsPerIP=1)
        until(lambda: proxy.metrics["connections"]["byIP"] == {FLOODER: 1, "127.0.0.1": 1}, "only two left")
        lines, count = self.told(proxy, "ip_limit")
        self.assertEqual(count, _MANY)
        self.assertLessEqual(len(lines), 5)
        self.assertIn(FLOODER, lines[-1])

    def test_flood_over_the_global_limit_is_refused_and_counted(self):
        proxy = self.flooded("global_limit", maxConnections=2)
        lines, count = self.told(proxy, "global_limit")
        self.assertEqual(count, _MANY)
        self.assertLessEqual(len(lines), 5)

    def test_flood_over_the_rate_limit_is_refused_and_counted(self):
        proxy = self.flooded("rate_limit", connectionRateLimitPerMinute=1)
        _, count = self.told(proxy, "rate_limit")
        self.assertEqual(count, _MANY)
