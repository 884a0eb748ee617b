"""Bodies over networks that cut and delay every write; targets that fail; texts that must not break a log."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from random import Random

from smartproxy.testing import Nature
from tests.http.case import GET, OK, HttpCase, http_route
from tests.on_network import HOST


def _chunks(data):
    return b"".join(
        b"%x\r\n%b\r\n" % (len(data[at : at + 700]), data[at : at + 700]) for at in range(0, len(data), 700)
    )


def _unchunked(data):
    body = b""
    while not data.startswith(b"0\r\n\r\n"):
        size, _, data = data.partition(b"\r\n")
        body, data = body + data[: int(size, 16)], data[int(size, 16) + 2 :]
    return body


class CutTests(HttpCase):
    def test_every_write_is_cut_and_delayed(self):
        """One to seven bytes at a time, both ways, in both framings: the same bytes at the other end."""
        random = Random(44)
        body = random.randbytes(20_000)
        self.network.nature = Nature(sizes=range(1, 8), window=500, delays=(0.0,) * 60 + (0.01,))
        for framing in (
            b"Content-Length: 20000\r\n\r\n" + body,
            b"Transfer-Encoding: chunked\r\n\r\n" + _chunks(body) + b"0\r\n\r\n",
        ):
            client = self.connect(80, b"POST / HTTP/1.1\r\nHost: a\r\n" + framing)
            self.network.run(50)
            _, _, request = bytes(self.backend.connections[-1].received).rpartition(b"POST / HTTP/1.1\r\n")
            _, _, sent_on = request.partition(b"\r\n\r\n")
            self.answer(b"HTTP/1.1 200 OK\r\n" + framing)
            self.network.run(50)
            head, _, answered = bytes(client.received).partition(b"\r\n\r\n")
            for received in (sent_on, answered):
                content = _unchunked(received) if b"chunked" in head else received
                self.assertEqual(sha256(content).digest(), sha256(body).digest())
            self.assertFalse(client.ended)
            client.rst()
            self.network.settle()

    def test_late_and_long_answer_to_a_client_that_has_ended_its_direction(self):
        client = self.connect(80, GET)
        client.fin()
        self.network.run(100)
        body = Random(5).randbytes(2_000_000)
        self.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + body)
        self.assertTrue(client.received.endswith(b"\r\n\r\n" + body))


class EndlessTests(HttpCase):
    """What gives nothing to pass on is refused long before its end."""

    def refused_after(self, begin, piece, pieces=400):
        client = self.connect(80, b"POST / HTTP/1.1\r\nHost: a\r\n" + begin)
        for number in range(pieces):
            if client.received:
                self.assertEqual(client.received[9:12], b"400")
                return number * len(piece)
            client.write(piece)
            self.network.settle()
        return self.fail("it is not refused")

    def test_chunk_extension(self):
        chunked = b"Transfer-Encoding: chunked\r\n\r\n"
        self.assertLess(self.refused_after(chunked + b"5;", b"a" * 4096), 10_000)
        self.assertLess(self.refused_after(chunked, b"1;" + b"b" * 900 + b"\r\na\r\n"), 20_000)

    def test_trailers(self):
        chunked = b"Transfer-Encoding: chunked\r\n\r\n0\r\n"
        self.assertLess(self.refused_after(chunked, b"X-A: 1234567890\r\n" * 10), 10_000)
        self.assertLess(self.refused_after(chunked + b"X-A: ", b"a" * 4096), 20_000)

    def test_chunks_of_one_byte(self):
        """They are honest, if slow: the target gets the content, and the client its answer."""
        body = Random(1).randbytes(20_000)
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
        client = self.connect(
            80, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
        )
        self.assertEqual(_unchunked(self.received()[1]), body)
        self.answer()
        self.assertEqual(client.received, OK)


class FailingTargetTests(HttpCase):
    def start_two(self, **more):
        targets = [
            {"name": "bad", "host": "10.9.9.9", "port": 1},
            {"name": "good", "host": HOST, "port": 9000},
        ]
        self.start(http_route("two", 81, action={"targets": targets, **more}))

    def test_next_target_where_nothing_was_sent(self):
        self.start_two(load_balancing={"algorithm": "first"})
        self.assertEqual(self.exchange(self.connect(81)), OK)

    def test_target_that_fails_in_each_way_is_a_502(self):
        for end in ("rst", "fin"):
            client = self.connect(80, GET)
            getattr(self.backend.connections[-1], end)()
            self.network.settle()
            self.assertEqual(client.received[9:12], b"502", end)
            self.assertFalse(client.ended)

    def test_other_clients_are_not_affected(self):
        for request, answer in [(GET, b"rubbish\r\n"), (GET, OK[:-1]), (b"GET / HTTP/1.1\r\n\r\n", None)]:
            bad = self.connect(80, request)
            if answer is not None:
                self.answer(answer)
            self.assertEqual(self.exchange(self.connect()), OK)
            bad.rst()
            self.network.settle()


class LoggedTests(HttpCase):
    def test_strange_texts_are_one_line_each(self):
        for kind in ("json", "text"):
            path = self.mktemp()
            self.start(http_route("logged", 81), access_log={"path": path, "format": kind})
            client = self.connect(81)
            self.exchange(
                client,
                b'GET /%0a%1b?q="\\ HTTP/1.1\r\nHost: a\r\nUser-Agent: \xe9\xff"\t\\ x=y\r\nReferer: \xc2\x85\r\n\r\n',
            )
            client.fin()
            self.network.run(1)
            self.proxy._runtime.accounting.close_log()
            (line,) = Path(path).read_bytes().splitlines()
            self.assertRegex(line, rb"^[ -~]+$")
            if kind == "json":
                self.assertEqual(json.loads(line)["userAgent"], '\xe9\xff"\t\\ x=y')
            self.network.stop(self.proxy)
