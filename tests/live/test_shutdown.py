"""SIGTERM: new clients are refused, open connections have the grace period to finish, and the exit code is 0."""

from __future__ import annotations

import os
import socket
import threading
import time

from tests.live.backends import collect, echo, read_to_end
from tests.live.case import LiveCase, route
from tests.live.waiting import until

_SIZE = 8 * 1024 * 1024


def _steady(_backend, sock):
    """Send ``_SIZE`` bytes over about a second, and close."""
    for _ in range(32):
        sock.sendall(bytes(_SIZE // 32))
        time.sleep(0.03)  # the pace is what is tested


class ShutdownTests(LiveCase):
    def test_running_transfers_finish(self):
        """Ten clients of each relay receive everything, and the process exits after the last one."""
        for relay, proxy, front in self.each_relay(self.backend(_steady), gracefulShutdownTimeout="60s"):
            with self.subTest(relay=relay):
                clients = [self.connect(front) for _ in range(10)]
                until(lambda: proxy.moved[1] > 0, "transfers under way")  # noqa: B023 - waited for here
                got = {}
                reading = [threading.Thread(target=self.whole, args=(each, got)) for each in clients]
                for each in reading:
                    each.start()
                proxy.signal()
                self.assertEqual(proxy.wait(), 0)
                for each in reading:
                    each.join()
                self.assertEqual(list(got.values()), [_SIZE] * len(clients))

    def whole(self, client, got):
        got[client] = len(read_to_end(client))
        client.close()

    def test_new_clients_are_refused_and_readiness_fails(self):
        """The port is closed at once although connections stay open; /readyz answers 503 and /healthz 200."""
        front = self.port()
        proxy = self.proxy(route("echo", front, self.backend(echo)), gracefulShutdownTimeout="60s")
        client = self.connect(front)
        self.assert_echoes(client)
        proxy.signal()
        until(lambda: proxy.ask("/readyz")[0] == 503, "no longer ready")
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", front), 5)
        self.assert_echoes(client)
        self.assertEqual(proxy.ask("/healthz")[0], 200)
        client.close()
        self.assertEqual(proxy.wait(), 0)

    def test_open_connections_are_cut_after_the_grace_period(self):
        """Connections open at ``gracefulShutdownTimeout`` are reset, and the exit code is still 0."""
        front, silent = self.port(), self.port()
        proxy = self.proxy(
            route("echo", front, self.backend(echo)),
            route("silent", silent, self.backend(echo), domains=["live.test"]),
            gracefulShutdownTimeout="400ms",
        )
        client, waiting = self.connect(front), self.connect(silent)
        self.assert_echoes(client)
        until(lambda: proxy.active == 2, "both accepted")
        began = time.monotonic()
        proxy.signal()
        self.assertEqual(proxy.wait(), 0)
        self.assertGreaterEqual(time.monotonic() - began, 0.4)
        self.assertLess(time.monotonic() - began, 10)
        with self.assertRaises(ConnectionResetError):
            client.recv(1)
        self.assert_gone(waiting)

    def test_proxy_without_connections_exits_at_once(self):
        proxy = self.proxy(route("echo", self.port(), self.backend(echo)), gracefulShutdownTimeout="60s")
        began = time.monotonic()
        proxy.signal()
        self.assertEqual(proxy.wait(), 0)
        self.assertLess(time.monotonic() - began, 10)

    def test_second_signal_changes_nothing(self):
        """A repeated SIGTERM must not cut connections that have time left."""
        front = self.port()
        proxy = self.proxy(route("echo", front, self.backend(echo)), gracefulShutdownTimeout="60s")
        client = self.connect(front)
        self.assert_echoes(client)
        proxy.signal()
        until(lambda: proxy.ask("/readyz")[0] == 503, "no longer ready")
        proxy.signal()
        self.assert_echoes(client)
        client.close()
        self.assertEqual(proxy.wait(), 0)

    def test_upload_during_shutdown_arrives_whole(self):
        """Bytes sent before and after the signal both arrive."""
        front = self.port()
        backend = self.backend(collect)
        proxy = self.proxy(route("up", front, backend), gracefulShutdownTimeout="60s")
        client = self.connect(front)
        words = os.urandom(1 << 20)
        client.sendall(words)
        until(lambda: proxy.active == 1, "the connection accepted")
        proxy.signal()
        until(lambda: proxy.ask("/readyz")[0] == 503, "no longer ready")
        client.sendall(words)
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(read_to_end(client), b"%d" % (2 << 20))
        client.close()
        self.assertEqual(proxy.wait(), 0)
        self.assertEqual(backend.seen, [words * 2])
