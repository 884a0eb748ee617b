"""Hostile requests: what a target gets is at most what other servers read of the same bytes, written in one way.

Every request is sent whole and byte by byte, alone and with a second request behind it, the marker. h11 and llhttp read the
same bytes. A target must get no request that they do not read, with the same method, target and body; so the marker is a
request of its own or none, and never a part of another one.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from tests.http.case import HttpCase
from tests.http.hostile_requests import REQUESTS
from tests.http.readers import answers, by_h11, by_httptools
from tests.http.recorder import Recorder

MARKER = b"GET /marker HTTP/1.1\r\nHost: marker.test\r\n\r\n"
#: Pieces of a request; those of most are one byte long.
_PIECES = 800

#: What another server refuses, although RFC 9112 allows it and it has one reading.
STRICTER = {
    by_h11: {
        "chunks: extension behind a blank": "7.1.1 allows blanks before the semicolon",
    },
    by_httptools: {
        "Content-Length: too short, the rest may begin a request": "llhttp has a list of methods",
        "chunks: trailers that route": "llhttp takes Connection of a trailer for that of the head",
        "fields: Keep-Alive and Proxy-Connection": "llhttp takes Proxy-Connection for Connection",
        "Transfer-Encoding: blanks around": "5.1 allows blanks and tabs behind a value",
        "chunks: extension behind a blank": "7.1.1 allows blanks before the semicolon",
        "chunks: trailers that frame": "the proxy drops them",
        "lines: a method in lower case": "llhttp has a list of methods",
        "lines: an unknown method": "llhttp has a list of methods",
        "lines: a method of symbols": "llhttp has a list of methods",
        "fields: Upgrade with a body": "llhttp takes the body for the other protocol",
    },
}


def _origin(target):
    """The target in origin form, which a target gets in any case."""
    text = target.decode("latin-1")
    if text.startswith("/") or text == "*":
        return target
    split = urlsplit(text)
    return (split.path or "/").encode("latin-1") + (
        b"?" + split.query.encode("latin-1") if split.query else b""
    )


class HostileRequestTests(HttpCase):
    def test_sent_whole(self):
        self.check_all()

    def test_sent_byte_by_byte(self):
        self.check_all(in_pieces=True)

    def test_sent_whole_before_another_request(self):
        self.check_all(behind=MARKER)

    def test_sent_byte_by_byte_before_another_request(self):
        self.check_all(behind=MARKER, in_pieces=True)

    def test_request_that_follows_later(self):
        """It is understood as one that is sent with the first, wherever the connection was not ended."""
        for hostile in REQUESTS:
            client, recorder = self.sent(hostile.data)
            before = len(recorder.requests)
            if before and not client.ended and "may begin a request" not in hostile.name:
                client.write(MARKER)
                self.network.settle()
                recorder.serve()
                self.assertEqual(
                    [each.target for each in recorder.requests[before:]], [b"/marker"], hostile.name
                )

    def check_all(self, *, behind=b"", in_pieces=False):
        failed = []
        for hostile in REQUESTS:
            data = hostile.data + behind
            try:
                client, recorder = self.sent(data, in_pieces=in_pieces)
                self.assert_understood(hostile, data, recorder.requests)
                self.assert_answered(client, recorder.requests, None if behind else hostile.statuses)
            except (AssertionError, ValueError) as error:
                failed.append(f"{hostile.name}: {error}")
        self.assertEqual(failed, [])

    def sent(self, data, *, in_pieces=False):
        """A client that has sent ``data``, and what the target got of it. Clients share the connections to the target."""
        recorder = Recorder(self.network, self.backend)
        client = self.network.connect(80)
        size = max(len(data) // _PIECES, 1) if in_pieces else len(data)
        for at in range(0, len(data), size):
            client.write(data[at : at + size])
            self.network.settle()
            recorder.serve()
        return client, recorder

    def assert_understood(self, hostile, data, requests):
        """No request is one that others read differently, and there are not more."""
        for reader, stricter in STRICTER.items():
            if hostile.name in stricter:
                continue
            read = reader(data)
            if not read.stops:
                self.assertLessEqual(len(requests), len(read.requests), reader.__name__)
            for ours, other in zip(requests, read.requests, strict=False):
                self.assertEqual(
                    (ours.method, ours.target, ours.body), (other.method, _origin(other.target), other.body)
                )

    def assert_answered(self, client, requests, statuses):
        """There is an answer for each request, and at most one refusal, which ends the connection."""
        found = answers(bytes(client.received), [each.method for each in requests], ended=client.ended)
        passed, refused = found[: len(requests)], found[len(requests) :]
        self.assertEqual({each.method for each in passed} - {b"200"}, set())
        self.assertLessEqual(len(refused), 1)
        if refused:
            self.assertGreaterEqual(refused[0].method, b"400")
            self.assertTrue(client.ended)
        for number, (answer, request) in enumerate(zip(passed, requests, strict=True), 1):
            self.assertEqual(answer.body, b"" if request.method == b"HEAD" else b"%04d" % number)
        if statuses is not None:
            shown = "2" * len(passed) + "".join(f" {each.method.decode()}" for each in refused)
            shown += "." if client.ended and not refused else ""
            self.assertEqual(shown.strip(), statuses)
