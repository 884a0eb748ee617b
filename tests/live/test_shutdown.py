"""SIGTERM: nobody new comes in, what is under way has its time to finish, and the exit code is 0."""

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
    """``_SIZE`` bytes over about a second, and the end."""
    for _ in range(32):
        sock.sendall(bytes(_SIZE // 32))
        time.sleep(0.03)  # the steadiness that the test is about


class ShutdownTests(LiveCase):
    def test_transfers_under_way_finish(self):
        """Under load, both relays: each client gets all of it, and the exit comes when the last one has."""
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

    def test_nobody_new_comes_in(self):
        """The port is closed at once, though connections live on; readiness says so."""
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

    def test_it_ends_when_its_time_is_up(self):
        """Whoever has not finished by ``gracefulShutdownTimeout`` is cut off, and the exit code is 0 all the same."""
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

    def test_it_ends_at_once_where_nothing_lives(self):
        proxy = self.proxy(route("echo", self.port(), self.backend(echo)), gracefulShutdownTimeout="60s")
        began = time.monotonic()
        proxy.signal()
        self.assertEqual(proxy.wait(), 0)
        self.assertLess(time.monotonic() - began, 10)

    def test_a_second_signal_changes_nothing(self):
        """Who is impatient does not cut anybody off."""
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

    def test_uploads_arrive_whole(self):
        """What a client has sent before the signal and after it."""
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
