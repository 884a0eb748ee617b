"""Targets that are unix sockets: bytes, half-close, resets, back-pressure and failures, with both ways to relay."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import threading
import time

from tests.live.backends import announced, collect, echo, over_tls, read_to_end, reset
from tests.live.case import LiveCase, route
from tests.live.certificates import Authority
from tests.live.haproxy import haproxy
from tests.live.waiting import until

#: Bytes: no multiple of a buffer's size, and more than all buffers between the peers hold together.
_UP, _DOWN = 12 * 1024 * 1024 + 7919, 8 * 1024 * 1024 + 104729


def _sum(data):
    return hashlib.sha256(data).hexdigest()


def _both_ways(backend, sock):
    """Send ``_DOWN`` bytes while reading to the end; store the checksums of both directions."""
    down = os.urandom(_DOWN)
    sending = threading.Thread(target=_send, args=(sock, down))
    sending.start()
    got = read_to_end(sock)
    sending.join()
    backend.seen.append((len(got), _sum(got), _sum(down)))


def _send(sock, data):
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def _send_and_close(backend, sock):
    """Send ``_DOWN`` bytes and close at once: the kernel reports the end while the bytes are unread."""
    down = os.urandom(_DOWN)
    sock.sendall(down)
    backend.seen.append(_sum(down))


def _answer_and_close(_backend, sock):
    sock.recv(3)
    sock.sendall(b"answer")


def _close_with_unread_bytes(_backend, sock):
    """On a unix socket this is what a reset is: the peer reads ECONNRESET (unix(7) has no RST)."""
    sock.recv(1)
    until(lambda: _readable(sock), "unread bytes")


def _readable(sock):
    try:
        return len(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)) == 1
    except BlockingIOError:
        return False


class UnixTargetTests(LiveCase):
    def unix(self, serve, name="app.sock", **options):
        return self.backend(
            serve, unix=name if name.startswith("@") else str(self.directory / name), **options
        )

    def test_simultaneous_transfers_are_intact_and_counted(self):
        backend = self.unix(_both_ways)
        up = os.urandom(_UP)
        for relay, proxy, front in self.each_relay(backend):
            with self.subTest(relay=relay):
                backend.seen.clear()
                client = self.connect(front)
                shown = proxy.the_connection(relay=relay, state="relaying")
                self.assertEqual(shown["target"], f"unix:{self.directory}/app.sock")
                sending = threading.Thread(target=_send, args=(client, up))
                sending.start()
                down = read_to_end(client)
                sending.join()
                client.close()
                proxy.emptied()
                ((count, up_sum, down_sum),) = until(lambda: backend.seen, "the backend's sums")
                self.assertEqual((count, up_sum, len(down), _sum(down)), (_UP, _sum(up), _DOWN, down_sum))
                self.assertEqual(proxy.moved, (_UP, _DOWN))
                self.assertEqual(proxy.closed("normal"), 1)

    def test_bytes_before_a_close_reach_a_slow_client(self):
        """The kernel reports EPOLLHUP as soon as the target has closed, with megabytes still unread."""
        backend = self.unix(_send_and_close)
        for relay, proxy, front in self.each_relay(backend):
            with self.subTest(relay=relay):
                backend.seen.clear()
                client = self.connect(front)
                time.sleep(0.3)  # the proxy's own buffers are full
                down = read_to_end(client)
                self.assertEqual((len(down), [_sum(down)]), (_DOWN, until(lambda: backend.seen, "the sum")))
                client.close()
                proxy.emptied()

    def test_half_closed_client_gets_its_answer(self):
        backend = self.unix(collect)
        for relay, proxy, front in self.each_relay(backend):
            with self.subTest(relay=relay):
                client = self.connect(front)
                _send(client, b"request")
                self.assertEqual(read_to_end(client), b"7")
                client.close()
                proxy.emptied()
                self.assertEqual(proxy.closed("normal"), 1)

    def test_half_closed_target_gets_the_rest(self):
        def end_first(backend, sock):
            sock.sendall(b"answer")
            sock.shutdown(socket.SHUT_WR)
            backend.seen.append(read_to_end(sock))

        backend = self.unix(end_first)
        for relay, proxy, front in self.each_relay(backend):
            with self.subTest(relay=relay):
                backend.seen.clear()
                client = self.connect(front)
                self.assertEqual(read_to_end(client), b"answer")
                _send(client, b"late request")
                self.assertEqual(until(lambda: backend.seen, "the request"), [b"late request"])
                client.close()
                proxy.emptied()
                self.assertEqual(proxy.closed("normal"), 1)

    def test_target_that_closed_is_no_zombie(self):
        """Its kernel state is that of a connection both of whose ends were sent; the client may still send its own."""
        backend = self.unix(_answer_and_close)
        checks = {"interval": "100ms", "halfGracePlain": "300ms"}
        for relay, proxy, front in self.each_relay(backend, zombieDetection=checks):
            with self.subTest(relay=relay):
                client = self.connect(front)
                client.sendall(b"ask")
                self.assertEqual(read_to_end(client), b"answer")
                time.sleep(1.0)
                client.close()
                proxy.emptied()
                self.assertEqual((proxy.closed("normal"), proxy.closed("zombie_half")), (1, 0))

    def test_target_that_closes_with_unread_bytes_resets_the_client(self):
        backend = self.unix(_close_with_unread_bytes)
        for relay, proxy, front in self.each_relay(backend):
            with self.subTest(relay=relay):
                client = self.connect(front)
                client.sendall(b"unread")
                with self.assertRaises(ConnectionResetError):
                    self.assertEqual(client.recv(1), b"nothing")
                proxy.emptied()
                self.assertEqual(proxy.closed("upstream_reset"), 1)

    def test_client_reset_ends_the_target(self):
        backend = self.unix(echo)
        for relay, proxy, front in self.each_relay(backend):
            with self.subTest(relay=relay):
                client = self.connect(front)
                self.assert_echoes(client)
                reset(client)
                proxy.emptied()
                self.assertEqual(proxy.closed("client_reset"), 1)
                until(lambda: backend.open == 0, "the target's end")

    def test_target_that_does_not_read_holds_the_client_back(self):
        go_on = threading.Event()

        def wait_and_read(backend, sock):
            go_on.wait(30)
            backend.seen.append(_sum(read_to_end(sock)))

        backend = self.unix(wait_and_read)
        up = os.urandom(_UP)
        for relay, proxy, front in self.each_relay(backend):
            with self.subTest(relay=relay):
                go_on.clear()
                backend.seen.clear()
                client = self.connect(front)
                sending = threading.Thread(target=_send, args=(client, up))
                sending.start()
                before = -1
                while before != (before := proxy.moved[0]):
                    time.sleep(0.3)
                self.assertLess(before, _UP // 2)
                go_on.set()
                sending.join()
                self.assertEqual(until(lambda: backend.seen, "the sum"), [_sum(up)])
                client.close()
                proxy.emptied()

    def test_proxy_header_announces_client_and_local_address(self):
        for version in (1, 2):
            backend = self.unix(announced, f"announced{version}.sock")
            front = self.port()
            self.proxy(route("all", front, {**backend.target, "sendProxyProtocol": version}))
            client = self.connect(front)
            self.assert_echoes(client)
            ((header, _),) = until(lambda: backend.seen, "the header")  # noqa: B023 - this round's
            self.assertEqual(header.source, client.getsockname())
            self.assertEqual(header.destination, ("127.0.0.1", front))

    def test_abstract_socket_is_connected(self):
        backend = self.unix(echo, f"@smartproxy-test-{os.getpid()}-{time.monotonic_ns()}")
        for _, proxy, front in self.each_relay(backend):
            client = self.connect(front)
            self.assert_echoes(client)
            self.assertEqual(proxy.the_connection()["target"], f"unix:{backend.target['unix']}")
            client.close()

    def test_path_is_relative_to_the_configuration(self):
        self.unix(echo)
        front = self.port()
        self.proxy(route("all", front, {"unix": "app.sock"}))
        self.assert_echoes(self.connect(front))

    def test_failures_name_the_path(self):
        """Nothing at the path, a file that nobody listens at, and one that is not for us."""
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(str(self.directory / "dead.sock"))
        self.addCleanup(dead.close)
        self.file("file.sock", "no socket")
        cases = (
            ("missing.sock", "No such file or directory", "upstream_unreachable"),
            ("dead.sock", "Connection refused", "upstream_refused"),
            ("file.sock", "Connection refused", "upstream_refused"),
        )
        for acceleration in ("auto", "off"):
            fronts = [self.port() for _ in cases]
            routes = [
                route(name, front, {"unix": str(self.directory / name)})
                for (name, *_), front in zip(cases, fronts, strict=True)
            ]
            proxy = self.proxy(*routes, acceleration=acceleration)
            refused = {}
            for (name, why, reason), front in zip(cases, fronts, strict=True):
                with self.subTest(name=name, acceleration=acceleration):
                    self.assert_refused(front)
                    words = f"unix:{self.directory}/{name}: {why}"
                    until(lambda: words in proxy.printed, words)  # noqa: B023 - this round's
                    refused[reason] = refused.get(reason, 0) + 1
                    self.assertEqual(proxy.rejected(reason), refused[reason])

    def test_full_backlog_is_waited_for(self):
        """A connection that has no room in the backlog is made once there is some, and is a timeout otherwise."""
        for acceleration in ("auto", "off"):
            with self.subTest(acceleration=acceleration):
                path = str(self.directory / f"{acceleration}.sock")
                listening = socket.socket(socket.AF_UNIX)
                self.addCleanup(listening.close)
                listening.bind(path)
                listening.listen(0)
                filler = socket.socket(socket.AF_UNIX)
                self.addCleanup(filler.close)
                filler.connect(path)
                front = self.port()
                keys = {"connectionTimeout": "1s", "acceleration": acceleration}
                proxy = self.proxy(route("all", front, {"unix": path}), **keys)
                self.assert_refused(front)
                self.assertEqual(proxy.rejected("upstream_timeout"), 1)
                self.assertIn(f"unix:{path}: its backlog is full", proxy.printed)
                late = self.connect(front)
                time.sleep(0.3)
                listening.accept()[0].close()
                served, _ = listening.accept()
                with contextlib.closing(served):
                    served.sendall(b"served")
                    self.assertEqual(self.read(late, 6), b"served")
                late.close()

    def test_tls_to_a_unix_socket_is_verified(self):
        """A plain client over a target with TLS, and bytes both ways; a certificate for another name is refused."""
        authority = Authority(self.directory)
        backend = self.unix(over_tls(authority.server("app.internal"), echo))
        words = os.urandom(1 << 20)
        for acceleration in ("auto", "off"):
            right, wrong = self.port(), self.port()
            routes = [
                route(name, front, {**backend.target, "tls": {"ca": "ca.pem", "serverName": name}})
                for name, front in (("app.internal", right), ("other.internal", wrong))
            ]
            proxy = self.proxy(*routes, acceleration=acceleration)
            with self.subTest(acceleration=acceleration):
                client = self.connect(right)
                sending = threading.Thread(target=client.sendall, args=(words,))
                sending.start()
                self.assertEqual(_sum(self.read(client, len(words))), _sum(words))
                sending.join()
                client.close()
                self.assert_refused(wrong)
                self.assertEqual(proxy.rejected("tls_error"), 1)
                self.assertIn("TLS with other.internal", proxy.printed)

    def test_same_backend_behind_haproxy(self):
        """Clients of both get the same: the PROXY header, a half-closed answer, and the end without a server."""
        header, sums = self.unix(announced, "header.sock"), self.unix(collect, "sums.sock")
        missing = str(self.directory / "missing.sock")
        paths = [header.target["unix"], sums.target["unix"], missing]
        theirs, ours = [self.port() for _ in paths], [self.port() for _ in paths]
        sections = "".join(
            f"listen l{port}\n mode tcp\n bind 127.0.0.1:{port}\n server s unix@{path}{' send-proxy-v2' * (path == paths[0])}\n"
            for port, path in zip(theirs, paths, strict=True)
        )
        haproxy(self, theirs[0], f" retries 0\n{sections}")
        versions = ({"sendProxyProtocol": 2}, {}, {})
        self.proxy(
            *(
                route(f"r{port}", port, {"unix": path, **more})
                for port, path, more in zip(ours, paths, versions, strict=True)
            )
        )
        for first, second, third in (theirs, ours):
            client = self.connect(first)
            self.assert_echoes(client)
            (seen, _) = until(lambda: header.seen, "the header").pop()
            self.assertEqual((seen.source, seen.destination), (client.getsockname(), ("127.0.0.1", first)))
            client = self.connect(second)
            _send(client, b"request")
            self.assertEqual(read_to_end(client), b"7")
            self.assert_refused(third)
