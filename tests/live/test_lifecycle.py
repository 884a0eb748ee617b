"""Connections that no peer closes: timeouts, zombie detection, and the kernel's keep-alive probes."""

from __future__ import annotations

import json
import re
import signal
import socket
import ssl
import sys
import time

from tests.live.backends import echo, read_to_end, silent
from tests.live.case import WAYS, LiveCase, route
from tests.live.programs import needed, run
from tests.live.tls_end import TlsEnd
from tests.live.waiting import PATIENCE, settled, until

#: Sends to every client without end, and reads nothing: unread bytes make the kernel send a RST when it is killed.
_FLOOD = """
import socket, threading
def serve(sock):
    try:
        while True:
            sock.sendall(bytes(65536))
    except OSError:
        pass
with socket.create_server(("127.0.0.1", {port})) as listening:
    while True:
        threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()
"""
_PLAIN = {"keepAlive": False}
_QUICK = {"interval": "50ms", "halfGracePlain": "300ms", "stuckPlain": "1s", "stuckTls": "60s"}


def _says_bye(_backend, sock):
    """Send one word and a FIN, then read to the end."""
    sock.sendall(b"bye")
    sock.shutdown(socket.SHUT_WR)
    read_to_end(sock)


def _flood(_backend, sock):
    while True:
        sock.sendall(bytes(65536))


def _hello():
    """A real ClientHello."""
    return TlsEnd(None, ssl.create_default_context(), "live.test").hello()


def _age(began):
    return time.monotonic() - began


class TimeoutTests(LiveCase):
    def closed_for(self, proxy, reason, count=1):
        """Wait until ``count`` connections were closed for ``reason``."""
        until(
            lambda: proxy.closed(reason) == count,
            f"{count} closed for {reason}, of {proxy.metrics['closed']}",
        )

    def test_silent_half_closed_connection_ends_at_its_timeout(self):
        """The backend sent a FIN; both sockets close at ``halfCloseTimeout``, hours before ``inactivityTimeout``."""
        for way in WAYS:
            with self.subTest(way=way):
                front, backend = self.port(), self.backend(_says_bye)
                proxy = self.proxy(route("bye", front, backend), halfCloseTimeout="400ms", **way)
                client = self.connect(front)
                self.assertEqual(read_to_end(client), b"bye")
                began = time.monotonic()
                self.closed_for(proxy, "half_close_timeout")
                self.assertLess(_age(began), PATIENCE)
                self.assertEqual(proxy.active, 0)
                until(lambda: not backend._open, "the backend's socket closed")  # noqa: B023 - this round's

    def test_half_closed_connection_with_traffic_stays_open(self):
        """Bytes still flow in one direction for three times ``halfCloseTimeout``: a long answer must not be cut."""

        def late(_backend, sock):
            read_to_end(sock)
            for _ in range(12):
                time.sleep(0.25)  # the delay is what is tested
                sock.sendall(b"late")

        relays = self.each_relay(self.backend(late), halfCloseTimeout="1s")
        clients = [self.connect(front) for _, _, front in relays]  # side by side, which saves a wait
        for client in clients:
            client.shutdown(socket.SHUT_WR)
        for client, (relay, proxy, _) in zip(clients, relays, strict=True):
            with self.subTest(relay=relay):
                self.assertEqual(read_to_end(client), b"late" * 12)
                self.closed_for(proxy, "normal")

    def test_inactivity_of_each_keep_alive_treatment(self):
        """Inactivity ends the standard connection, later the extended one, and never the immortal one."""
        ports = {name: self.port() for name in ("standard", "extended", "immortal")}
        backend = self.backend(echo)
        proxy = self.proxy(
            *(route(name, port, backend, keepAliveTreatment=name) for name, port in ports.items()),
            inactivityTimeout="800ms",
            keepAliveInactivityMultiplier=3,
        )
        clients = {name: self.connect(port) for name, port in ports.items()}
        for client in clients.values():
            self.assert_echoes(client)
        began = time.monotonic()
        self.assert_gone(clients["standard"])
        self.assertGreaterEqual(_age(began), 0.7)
        self.assert_echoes(clients["extended"])
        began = time.monotonic()
        self.assert_gone(clients["extended"])
        self.assertGreaterEqual(_age(began), 2.2)
        self.assert_echoes(clients["immortal"])
        self.closed_for(proxy, "inactivity", 2)
        self.assertEqual(proxy.active, 1)

    def test_connection_ends_at_its_maximum_lifetime(self):
        front = self.port()
        proxy = self.proxy(route("echo", front, self.backend(echo), **_PLAIN), maxConnectionLifetime="600ms")
        client = self.connect(front)
        began = time.monotonic()
        with self.assertRaises((ConnectionError, AssertionError)):
            while _age(began) < 5:
                self.assert_echoes(client)
                time.sleep(0.02)  # the pace of this client: the lifetime passes in real time
        self.assertGreaterEqual(_age(began), 0.5)
        self.closed_for(proxy, "lifetime")

    def test_client_reading_single_bytes_ends_by_inactivity(self):
        """The kernel delivers those bytes from its socket buffer, so that the proxy sees no activity."""
        for way in WAYS:
            with self.subTest(way=way):
                front, backend = self.port(), self.backend(_flood)
                proxy = self.proxy(
                    route("flood", front, backend, **_PLAIN),
                    inactivityTimeout="700ms",
                    **way,
                )
                before = proxy.rss
                client = self.connect(front)
                moved = settled(lambda: proxy.moved[1])  # noqa: B023 - this round's
                self.assertLess(moved, 64 * 1024 * 1024)
                began = time.monotonic()
                while proxy.active and _age(began) < PATIENCE:
                    client.recv(1)
                    time.sleep(0.05)  # the pace of this client
                self.closed_for(proxy, "inactivity")
                self.assertLess(proxy.rss - before, 4 * 1024 * 1024)
                until(lambda: not backend._open, "the backend released")  # noqa: B023 - this round's


class ZombieTests(LiveCase):
    def flooding(self):
        """A backend in a separate process."""
        port = self.port()
        backend = self.program(sys.executable, "-c", _FLOOD.format(port=port))
        backend.listens(port)
        return backend, {"host": "127.0.0.1", "port": port}

    def killed_behind(self, way):
        """Kill a backend while the proxy does not read from it, because the client does not read."""
        front = self.port()
        backend, target = self.flooding()
        proxy = self.proxy(route("flood", front, target), **way, zombieDetection=_QUICK)
        client = self.connect(front)
        client.sendall(b"never read")
        settled(lambda: proxy.moved[1])
        backend.signal(signal.SIGKILL)
        backend.wait()
        return proxy

    def test_backend_killed_behind_a_paused_relay_is_half_zombie(self):
        """The client may still read what was sent before the reset; one that reads nothing is found by the sweep."""
        for way in WAYS:
            with self.subTest(way=way):
                proxy = self.killed_behind(way)
                half = {"full": 0, "half": 1, "stuck": 0}
                until(lambda: proxy.metrics["zombies"] == half, "one half zombie")  # noqa: B023 - this round's
                until(lambda: proxy.closed("zombie_half") == 1, "its books closed")  # noqa: B023 - this round's
                self.assertEqual(proxy.active, 0)
                self.assertIn(
                    "zombies: 0 full (a bug in smartproxy), 1 half, 0 stuck: half 1 of 127.0.0.1:",
                    proxy.printed,
                )

    def test_backend_that_never_answers_is_stuck(self):
        """Except with TLS, which has more time, where the route disables it, and while the client still sends."""
        plain, tls, syslog, upload = (self.port() for _ in range(4))
        mute = self.backend(silent)
        passing = {"tls": {"mode": "passthrough"}}
        proxy = self.proxy(
            route("plain", plain, mute),
            route("tls", tls, mute, domains=["live.test"], action=passing),
            route("syslog", syslog, mute, stuckDetection=False),
            route("upload", upload, mute),
            zombieDetection=_QUICK,
        )
        clients = [self.connect(port) for port in (plain, tls, syslog, upload)]
        for client in clients:
            client.sendall(_hello())
        began = time.monotonic()
        while _age(began) < 2.5:
            clients[3].sendall(b"more")
            time.sleep(0.05)  # the upload is steady
        self.assertEqual(proxy.metrics["zombies"], {"full": 0, "half": 0, "stuck": 1})
        self.assertEqual(proxy.closed("zombie_stuck"), 1)
        self.assert_gone(clients[0])
        self.assertEqual(proxy.active, 3)
        self.assertIn("stuck 1 of 127.0.0.1:", proxy.printed)


class CleanupTests(LiveCase):
    def test_cleanup_is_complete_before_the_proxy_stops(self):
        """250 connections, more than two cleanup batches: each has a line in the access log."""
        front, log = self.port(), self.directory / "access.log"
        proxy = self.proxy(
            route("echo", front, self.backend(echo)),
            accessLog={"path": str(log)},
            cleanup={"delay": "1h"},
            gracefulShutdownTimeout="100ms",
        )
        for _ in range(250):
            self.assert_echoes(self.connect(front))
        proxy.signal()
        self.assertEqual(proxy.wait(), 0)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        self.assertEqual(len(lines), 250)
        self.assertEqual(len({line["id"] for line in lines}), 250)


class ProbeTests(LiveCase):
    """``ss -tno`` shows a socket's timer and when it expires."""

    def timer(self, *conditions):
        """Seconds until the kernel's next keep-alive probe of the only socket that meets ``conditions``."""
        printed = run(needed("ss"), "-Htno", "state", "established", *conditions).stdout
        self.assertEqual(len(printed.splitlines()), 1, printed)
        found = re.search(r"timer:\(keepalive,(?:(\d+)min)?(?:([\d.]+)(m?)sec)?,", printed)
        if found is None:
            return None
        minutes, seconds, milli = found.groups()
        return int(minutes or 0) * 60 + float(seconds or 0) / (1000 if milli else 1)

    def test_keep_alive_delay_reaches_the_sockets_of_both_sides(self):
        needed("ss")
        for way in WAYS:
            with self.subTest(way=way):
                cases = {
                    "inherits": ({}, 100),
                    "own": ({"keepAliveInitialDelay": "200s"}, 200),
                    "off": ({"keepAlive": False}, None),
                }
                made = {name: (self.port(), self.backend(echo), keys) for name, (keys, _) in cases.items()}
                self.proxy(
                    *(route(name, port, backend, **keys) for name, (port, backend, keys) in made.items()),
                    keepAliveInitialDelay="100s",
                    **way,
                )
                for port, _, _ in made.values():
                    self.assert_echoes(self.connect(port))
                for name, (port, backend, _) in made.items():
                    if cases[name][1]:  # those of targets are probed a moment after they were connected
                        until(lambda to=f"dport = :{backend.port}": self.timer(to), "probes of the target")
                    for ours in (f"sport = :{port}", f"dport = :{backend.port}"):
                        self.assert_about(self.timer(ours), cases[name][1], (name, ours))

    def assert_about(self, seconds, wanted, where):
        if wanted is None:
            self.assertIsNone(seconds, where)
        else:
            self.assertIsNotNone(seconds, where)
            self.assertLessEqual(seconds, wanted, where)
            self.assertGreater(seconds, wanted - 15, where)

    def test_reload_changes_keep_alive_of_new_connections(self):
        needed("ss")
        front, backend = self.port(), self.backend(echo)
        proxy = self.proxy(route("echo", front, backend), keepAliveInitialDelay="100s")
        self.assert_echoes(self.connect(front))
        self.assert_about(self.timer(f"sport = :{front}"), 100, "before")
        settings = json.loads(proxy.file.read_text()) | {"keepAliveInitialDelay": "300s"}
        proxy.file.write_text(json.dumps(settings))
        self.assertEqual(proxy.ask("/api/v1/reload", "POST")[0], 200)
        client = self.connect(front)
        self.assert_echoes(client)
        mine = self.timer(f"sport = :{front}", "and", f"dport = :{client.getsockname()[1]}")
        self.assert_about(mine, 300, "after")
