"""Large bodies by their digests, and answers that are sent as they come."""

from __future__ import annotations

import hashlib
import http.client
import os
import time
from functools import partial

from tests.live.case import LiveCase
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
            self.send_header("Content-Length", str(_MEGABYTES * 1_000_000))
        self.end_headers()
        for piece in _pieces(_MEGABYTES):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")


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
