"""The access log of a running proxy: a line for each connection; a log that cannot be written delays no client."""

from __future__ import annotations

import json
import os
import signal

from tests.live.backends import echo
from tests.live.case import LiveCase, route
from tests.live.waiting import until


class AccessLogTests(LiveCase):
    def start(self, path, **keys):
        self.front = self.port()
        return self.proxy(
            route("web", self.front, self.backend(echo)), accessLog={"path": path, "format": "json"}, **keys
        )

    def visit(self, words=b"words"):
        """Open and close a connection; return the client's port, which identifies its line."""
        with self.connect(self.front) as client:
            port = client.getsockname()[1]
            self.assert_echoes(client, words)
        return port

    def logged(self, path, port):
        """Wait for the line of that connection, and return it."""

        def look():
            lines = map(json.loads, path.read_text().splitlines()) if path.exists() else ()
            return next((line for line in lines if line["clientPort"] == port), None)

        return until(look, f"a line for {port} in {path}")

    def test_each_connection_has_a_line_and_sigusr1_reopens_the_log(self):
        log, old = self.directory / "access.log", self.directory / "access.log.1"
        proxy = self.start("access.log")
        told = self.logged(log, self.visit(b"12345"))
        self.assertEqual(
            (told["route"], told["outcome"], told["bytesReceived"], told["bytesSent"]),
            ("web", "normal", 5, 5),
        )
        log.rename(old)
        self.logged(old, self.visit())
        proxy.signal(signal.SIGUSR1)
        until(log.exists, "the new log")
        port = self.visit()
        self.logged(log, port)
        self.assertNotIn(str(port), old.read_text())

    def test_last_lines_are_written_before_the_proxy_stops(self):
        log = self.directory / "access.log"
        proxy = self.start("access.log")
        port = self.visit()
        proxy.stop()
        self.assertIn(f'"clientPort": {port}', log.read_text())

    def test_full_disk_delays_no_client_and_is_reported(self):
        proxy = self.start("/dev/full")
        for _ in range(20):
            self.visit()
        until(lambda: b"access_log_dropped_total 20\n" in proxy.ask("/metrics")[1], "20 lost lines")
        self.assertEqual(proxy.printed.count("lines were lost"), 1)

    def test_unread_pipe_delays_no_client(self):
        fifo = self.directory / "fifo"
        os.mkfifo(fifo)
        reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reading)
        proxy = self.start(str(fifo))
        for _ in range(400):
            self.visit()
        proxy.emptied()
        until(lambda: b"access_log_dropped_total 0\n" not in proxy.ask("/metrics")[1], "lost lines")
        self.assertIn(b'"outcome": "normal"', os.read(reading, 1 << 16))
