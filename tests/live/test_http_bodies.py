"""Large bodies by their digests, and answers that are sent as they come."""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
import time
from functools import partial
from threading import Thread

from tests.live.case import LiveCase
from tests.live.terminating import NAME, TlsCase
from tests.live.waiting import PATIENCE, until
from tests.live.web import Pages, before, serving

#: Megabytes each way; ``make soak`` has 2000.
_MEGABYTES = int(os.environ.get("SMARTPROXY_BIG_MB", "64"))
#: Seconds of events; ``make soak`` has a minute.
_SECONDS = int(os.environ.get("SMARTPROXY_EVENT_SECONDS", "3"))
_PIECE = os.urandom(1_000_000)


def _pieces(count):
    """So many megabytes, all different."""
    for number in range(count):
        yield number.to_bytes(8, "big") + _PIECE[8:]


def _digest(pieces):
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


class Bodies(Pages):
    """Answers an upload with its digest, and any other request with a body of so many megabytes."""

    megabytes = _MEGABYTES

    def do_POST(self):
        digest = _digest(self.pieces()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(digest)))
        self.end_headers()
        self.wfile.write(digest)

    def do_GET(self):
        self.send_response(200)
        chunked = self.path == "/chunked"
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(self.megabytes * 1_000_000))
        self.end_headers()
        for piece in _pieces(self.megabytes):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")


class Echo(Pages):
    """Answers an upload with its own bytes, as they come."""

    def do_POST(self):
        self.send_response(200)
        self.send_header("Content-Length", self.headers["Content-Length"])
        self.end_headers()
        for piece in self.pieces():
            self.wfile.write(piece)


class OneMegabyte(Bodies):
    """So much fits into the kernel's buffers."""

    megabytes = 1


class Events(Pages):
    """Ten events a second."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for _ in range(_SECONDS * 10):
            self.wfile.write(b"data: %f\n\n" % time.monotonic())
            time.sleep(0.1)
        self.close_connection = True


class BodyTests(LiveCase):
    def test_up_and_down(self):
        port, proxy = before(self, serving(self, Bodies))
        expected = _digest(_pieces(_MEGABYTES))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        for path in ("/length", "/chunked"):
            connection.request("GET", path)
            answer = connection.getresponse()
            self.assertEqual(_digest(iter(partial(answer.read, 1 << 18), b"")), expected)
        for headers in ({"Content-Length": str(_MEGABYTES * 1_000_000)}, {}):
            connection.request("POST", "/", _pieces(_MEGABYTES), headers, encode_chunked=not headers)
            self.assertEqual(connection.getresponse().read().decode(), expected)
        connection.close()
        self.assertLess(proxy.rss, 250 << 20)
        until(lambda: min(proxy.moved) > 2 * _MEGABYTES * 1_000_000, "the bytes counted")

    def test_an_answer_beside_its_request(self):
        """Both bodies are under way at the same time."""
        port, _ = before(self, serving(self, Echo))
        for number in range(4):
            sock = self.connect(port)
            body = number.to_bytes(8, "big") + 8 * _PIECE
            head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
            sending = Thread(target=sock.sendall, args=(head + body,))
            sending.start()
            answer = http.client.HTTPResponse(sock)
            answer.begin()
            self.assertTrue(answer.read() == body)
            sending.join()
            answer.close()

    def test_events_arrive_as_they_are_sent(self):
        port, _ = before(self, serving(self, Events))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.request("GET", "/")
        events = (line for line in connection.getresponse() if line.startswith(b"data: "))
        late = [time.monotonic() - float(line[6:]) for line in events]
        connection.close()
        self.assertEqual(len(late), _SECONDS * 10)
        self.assertLess(sorted(late)[len(late) // 2], 0.5)  # a busy machine delays some of them


class StalledTests(LiveCase):
    def test_answer_that_is_not_read_ends_both_connections(self):
        """With a body that the kernel moves, too."""
        for acceleration in ("auto", "off"):
            backend = self.backend(_endless)
            port, proxy = before(self, backend, acceleration=acceleration, inactivityTimeout="2s")
            client = self.connect(port)
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            self.read(client, 100)
            until(
                lambda backend=backend: backend.seen and backend.seen[-1] == "closed",
                "the target's connection closed",
            )
            proxy.emptied()
            self.assertEqual(proxy.closed("inactivity"), 1)
            proxy.stop()


def _endless(backend, sock):
    """An answer of a gigabyte, until its connection is closed."""
    sock.recv(4096)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
    try:
        for _ in range(1 << 12):
            sock.sendall(bytes(1 << 18))
    except ConnectionError:
        backend.seen.append("closed")


class SlowReaderTests(TlsCase):
    """A client that begins to read an answer when the kernel has all of it: longer than refused clients are waited for."""

    def front(self, target, **settings):
        """Ports for plain clients and for TLS, of a proxy before ``target``."""
        plain, secured = self.port(), self.port()
        certificate = {"certFile": str(self.authority.certificate(NAME))}
        action = {"protocol": "http", "targets": [target]}
        routes = [
            {"name": name, "match": {"ports": port}, "action": action | more}
            for name, port, more in (
                ("plain", plain, {}),
                ("secured", secured, {"tls": {"mode": "terminate", "certificate": certificate}}),
            )
        ]
        return self.proxy(*routes, gracefulShutdownTimeout="30s", **settings), plain, secured

    def asked(self, port, *, secured, field="Connection: close"):
        """A client that has asked, and reads nothing yet."""
        sock = socket.socket()
        self.addCleanup(sock.close)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.settimeout(PATIENCE)
        sock.connect(("127.0.0.1", port))
        if secured:
            sock = self.authority.client().wrap_socket(sock, server_hostname=NAME, suppress_ragged_eofs=False)
            self.addCleanup(sock.close)
        sock.sendall(f"GET /length HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n".encode())
        return sock

    def test_last_answer_is_delivered_whole(self):
        """Also that behind which an idle connection is closed, because the proxy stops."""
        target = serving(self, OneMegabyte)
        waiting, draining = [], []
        for acceleration in ("auto", "off"):
            proxy, plain, secured = self.front(target, acceleration=acceleration)
            for port, is_secured in ((plain, False), (secured, True)):
                waiting.append(self.asked(port, secured=is_secured))
                waiting.append(self.asked(port, secured=is_secured, field="X: y"))
            draining.append(proxy)
        time.sleep(1)  # until the answers are in the kernel
        for proxy in draining:
            proxy.ask("/api/v1/drain", "POST")
        time.sleep(4)  # the client does not read
        for sock in waiting:
            answer = http.client.HTTPResponse(sock)
            answer.begin()
            self.assertEqual(_digest([answer.read()]), _digest(_pieces(1)))
            self.assertEqual(sock.recv(1), b"")
        for proxy in draining:
            until(lambda: proxy.active == 0, "no connection left")  # noqa: B023 - this one

    def test_client_that_reads_nothing_is_reset_in_the_end(self):
        proxy, plain, _ = self.front(serving(self, OneMegabyte), halfCloseTimeout="3s")
        sock = self.asked(plain, secured=False)
        until(lambda: proxy.active == 1, "it")
        began = time.monotonic()
        until(lambda: proxy.active == 0, "its end")
        self.assertGreater(time.monotonic() - began, 2)
        with self.assertRaises(ConnectionResetError):
            while sock.recv(1 << 20):
                pass
