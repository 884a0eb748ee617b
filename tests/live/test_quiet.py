"""The log of a whole life: a start, connections over every listener, a reload, and a stop."""

from __future__ import annotations

import json
import signal
import socket

from tests.live.backends import echo
from tests.live.case import LiveCase, route
from tests.live.proxy import Proxy
from tests.live.waiting import until


class QuietTests(LiveCase):
    def test_start_is_one_line_and_no_line_shows_an_object(self):
        for acceleration in ("auto", "off"):
            with self.subTest(acceleration):
                self.live(acceleration)

    def live(self, acceleration):
        front, second = self.port(), self.port()
        backend = self.backend(echo)
        proxy = self.proxy(
            route("one", front, backend), route("dead", second, {"host": "127.0.0.1", "port": 1}),
            acceleration=acceleration,
        )  # fmt: skip
        start = [line for line in proxy.printed.splitlines() if "[smartproxy." in line]
        self.assertEqual(len(start), 1, proxy.printed)
        places = ", ".join(f"[::]:{port}" for port in sorted((front, second)))
        self.assertRegex(start[0], r" smartproxy \d[\w.]* listens on ")
        self.assertIn(
            f" listens on {places}; admin 127.0.0.1:{proxy.admin_port}; 1 worker; configuration {proxy.file}",
            start[0],
        )
        client = self.connect(front)
        self.assert_echoes(client)
        client.close()
        self.assert_refused(second)
        settings = json.loads(proxy.file.read_text())
        settings["routes"].append(route("three", self.port(), backend))
        proxy.file.write_text(json.dumps(settings))
        proxy.signal(signal.SIGHUP)
        until(lambda: "configuration reloaded" in proxy.printed, "the reload")
        proxy.signal(signal.SIGTERM)
        self.assertEqual(proxy.wait(), 0)
        self.assertNotRegex(proxy.printed, r"0x[0-9a-f]{6}|[Ff]actory|starting on| object |Closed\)")

    def test_unix_admin_listener_is_named_by_its_path(self):
        front = self.port()
        path = self.directory / "admin.sock"

        settings = {"routes": [route("one", front, self.backend(echo))], "admin": {"unix": str(path)}}
        proxy = self.starting(Proxy(self.directory, settings))
        proxy.listens(front)
        until(lambda: "; 1 worker; " in proxy.printed, "the start")
        self.assertIn(f" listens on [::]:{front}; admin unix:{path}; 1 worker; ", proxy.printed)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
            self.assertIn(b"200 OK", client.recv(65536))
        proxy.signal(signal.SIGTERM)
        self.assertEqual(proxy.wait(), 0)
        self.assertFalse(path.exists())
        self.assertNotRegex(proxy.printed, r"0x[0-9a-f]{6}|starting on")
