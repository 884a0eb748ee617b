"""HTTP request by request, with real clients and servers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess

from tests.live.backends import ON_THE_WAY, read_to_end
from tests.live.case import LiveCase, route
from tests.live.nginx import nginx
from tests.live.programs import needed
from tests.live.waiting import settled, until

_SIZE = 20_000_000


def _answering(backend, sock):
    """Answer requests as JSON of their head and the digest of their body, until the client closes."""
    stream = sock.makefile("rb")
    while line := stream.readline():
        fields, name = {}, None
        while (head := stream.readline()) not in {b"\r\n", b""}:
            name, _, value = head.decode().partition(":")
            fields[name.lower()] = value.strip()
        body = _body(stream, fields)
        backend.seen.append(line)
        told = json.dumps(
            {"line": line.decode().strip(), "fields": fields, "sha": hashlib.sha256(body).hexdigest()}
        ).encode()
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(told), told))


def _body(stream, fields):
    if fields.get("transfer-encoding") == "chunked":
        parts = []
        while size := int(stream.readline(), 16):
            parts.append(stream.read(size))
            stream.readline()
        stream.readline()
        return b"".join(parts)
    return stream.read(int(fields.get("content-length", 0)))


def _switching(backend, sock):
    """Agree to an upgrade, and echo what follows."""
    held = b""
    while b"\r\n\r\n" not in held:
        held += sock.recv(4096)
    backend.seen.append(held)
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello"
    )
    while data := sock.recv(65536):
        sock.sendall(data)


class HttpCase(LiveCase):
    acceleration = "auto"

    def served(self, *targets, **keys):
        """The port of a proxy that speaks HTTP to ``targets``, and the proxy."""
        front = self.port()
        action = {"protocol": "http"}
        proxy = self.proxy(
            route("web", front, *targets, action=action), acceleration=self.acceleration, **keys
        )
        return front, proxy

    def curl(self, port, *words, path="/"):
        command = [needed("curl"), "-sS", "--max-time", "60", *words, f"http://127.0.0.1:{port}{path}"]
        return subprocess.run(command, capture_output=True, check=True).stdout

    def test_requests_of_one_client_share_its_connection_and_the_targets(self):
        backend = self.backend(_answering)
        port, proxy = self.served(backend)
        url = f"http://127.0.0.1:{port}/"
        out = subprocess.run(
            [needed("curl"), "-sS", url + "1", url + "2", url + "3"], capture_output=True, check=True
        ).stdout
        self.assertEqual(out.count(b'"line"'), 3)
        self.assertEqual((proxy.metrics["connections"]["total"], backend.accepted), (1, 1))

    def test_targets_learn_who_the_client_is(self):
        port, _ = self.served(self.backend(_answering))
        told = json.loads(self.curl(port, "-H", "X-Forwarded-For: 9.9.9.9", "-H", "Host: a.test"))["fields"]
        self.assertEqual((told["x-forwarded-for"], told["x-forwarded-host"]), ("127.0.0.1", "a.test"))

    def test_large_bodies_pass_whole_both_ways(self):
        www = self.directory / "www"
        www.mkdir()
        data = os.urandom(_SIZE)
        (www / "big").write_bytes(data)
        upstream = self.port()
        nginx(self, upstream, f"listen 127.0.0.1:{upstream}", f"root {www}")
        port, proxy = self.served({"host": "127.0.0.1", "port": upstream})
        self.assertEqual(hashlib.sha256(self.curl(port, path="/big")).digest(), hashlib.sha256(data).digest())
        port, proxy = self.served(self.backend(_answering))
        for framing in ("Content-Type: x", "Transfer-Encoding: chunked"):
            told = json.loads(self.curl(port, "-H", framing, "--data-binary", f"@{www / 'big'}"))
            self.assertEqual(told["sha"], hashlib.sha256(data).hexdigest(), framing)
        proxy.emptied()
        until(lambda: proxy.moved[0] > 2 * _SIZE, "the bytes counted")

    def test_bytes_of_large_bodies_are_counted_once(self):
        """Requests and answers one after the other on the same connections: what is moved by a pipe, and what is copied."""

        def answering(_backend, sock):
            stream = sock.makefile("rb")
            while stream.readline():
                fields = dict(iter(lambda: stream.readline().partition(b":")[::2], (b"\r\n", b"")))
                body = stream.read(int(fields[b"Content-Length"]))
                head = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: %d\r\n\r\n" % len(body)
                sock.sendall(head + body)

        port, proxy = self.served(self.backend(answering))
        client = self.connect(port)
        sent = received = 0
        for size in (1, 65_535, 65_536, 300_000, 5_000_001, 0, 70_000):
            body = os.urandom(size)
            request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (size, body)
            client.sendall(request)
            head = b"HTTP/1.1 200 OK\r\nDate: now\r\nVia: 1.1 smartproxy\r\nContent-Length: %d\r\n\r\n" % size
            self.assert_same(self.read(client, len(head) + size), head + body)
            sent, received = sent + len(request), received + len(head) + size
        client.close()
        proxy.emptied()
        self.assertEqual(proxy.moved, (sent, received))

    def assert_same(self, one, other):
        """Compare without printing."""
        self.assertEqual(hashlib.sha256(one).digest(), hashlib.sha256(other).digest())

    def test_an_answer_before_the_end_of_a_large_body_is_delivered(self):
        """The target reads no more than the first of it, answers, and stays."""

        def refusing(backend, sock):
            sock.recv(100)
            sock.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nmuch")
            backend.seen.append(read_to_end(sock))

        port, _ = self.served(self.backend(refusing))
        client = self.connect(port)
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
        client.setblocking(False)
        piece = bytes(1 << 20)

        def answered():
            with contextlib.suppress(BlockingIOError, ConnectionError):
                client.send(piece)
            with contextlib.suppress(BlockingIOError):
                return client.recv(1000)

        self.assertTrue(until(answered, "the answer").startswith(b"HTTP/1.1 413 "))

    def test_a_slow_reader_pauses_the_target(self):
        backend = self.backend(_endless)
        port, _ = self.served(backend)
        client = self.connect(port)
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.read(client, 100)
        until(lambda: backend.seen and backend.seen[-1] > 0, "the answer begun")
        self.assertLess(settled(lambda: backend.seen[-1]), ON_THE_WAY)

    def test_a_websocket_is_a_tunnel(self):
        port, proxy = self.served(self.backend(_switching))
        client = self.connect(port)
        client.sendall(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        received = b""
        while not received.endswith(b"hello"):
            received += client.recv(4096)
        self.assertTrue(received.startswith(b"HTTP/1.1 101 "))
        for size in (1, 1024, 300_000):
            self.assert_echoes(client, os.urandom(size))
        client.close()
        proxy.emptied()

    def test_two_of_our_own_in_a_chain(self):
        inner, _ = self.served(self.backend(_answering), proxyIPs=["127.0.0.1"], acceptProxyProtocol=False)
        outer, _ = self.served({"host": "127.0.0.1", "port": inner})
        told = json.loads(self.curl(outer))["fields"]
        self.assertEqual(told["x-forwarded-for"], "127.0.0.1, 127.0.0.1")

    def test_a_target_that_is_down_is_a_502(self):
        port, _ = self.served({"host": "127.0.0.1", "port": self.port()})
        client = self.connect(port)
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        asking = b"Accept: application/json\r\nConnection: close\r\n\r\n"
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n" + asking)
        received = read_to_end(client)
        self.assertEqual(received.count(b"HTTP/1.1 502 "), 2)
        self.assertTrue(received.endswith(b'{"error": "Bad Gateway"}\n'))


class AcceleratedHttpTests(HttpCase):
    """Sockets watched by the poller."""


class UnacceleratedHttpTests(HttpCase):
    """Twisted's transports."""

    acceleration = "off"


del HttpCase  # it is no test of its own


def _endless(backend, sock):
    """An answer of a gigabyte; how much of it was taken is in ``seen``."""
    sock.recv(4096)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
    backend.seen.append(0)
    while backend.seen[-1] < 1 << 30:
        backend.seen[-1] += sock.send(bytes(256 * 1024))
