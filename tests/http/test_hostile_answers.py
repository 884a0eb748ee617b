"""Hostile answers of a target: a client gets one well-formed answer, a 502 or a cut, and the next client nothing of it.

Every answer is sent whole and byte by byte. Afterwards another client asks, and must get its own answer, over a new connection
to the target wherever the end of the former answer is in doubt.
"""

from __future__ import annotations

import h11

from tests.http.case import HttpCase
from tests.http.hostile_answers import ANSWERS
from tests.http.readers import answers

_PIECES = 800
_NEXT = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext"


def _read_by_h11(hostile):
    """The body that h11 reads as a client."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=hostile.method, target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(hostile.data)
    if hostile.ends:
        connection.receive_data(b"")
    body = b""
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        body += bytes(event.data) if isinstance(event, h11.Data) else b""
    return body


class HostileAnswerTests(HttpCase):
    def test_sent_whole(self):
        self.check_all()

    def test_sent_byte_by_byte(self):
        self.check_all(in_pieces=True)

    def test_names_are_unique(self):
        self.assertEqual(len({each.name for each in ANSWERS}), len(ANSWERS))

    def check_all(self, *, in_pieces=False):
        failed = []
        for hostile in ANSWERS:
            try:
                self.check(hostile, in_pieces=in_pieces)
            except (AssertionError, ValueError, h11.RemoteProtocolError) as error:
                failed.append(f"{hostile.name}: {error}")
        self.assertEqual(failed, [])

    def check(self, hostile, *, in_pieces):
        self.pool.close()
        self.network.settle()
        client = self.connect(80, hostile.method + b" / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        target = self.backend.connections[-1]
        self.send(target, hostile, in_pieces=in_pieces)
        self.assert_got(client, hostile)
        self.assertEqual(len(self.pool), int(hostile.kept))
        count = len(self.backend.connections)
        self.assertEqual(self.exchange(self.connect(), answer=_NEXT), _NEXT)
        self.assertEqual(len(self.backend.connections), count + (not hostile.kept))
        client.rst()
        self.network.settle()

    @property
    def pool(self):
        return self.proxy._runtime.targets.pool

    def send(self, target, hostile, *, in_pieces):
        size = max(len(hostile.data) // _PIECES, 1) if in_pieces else len(hostile.data) or 1
        for at in range(0, len(hostile.data), size):
            if not target.gone:
                target.write(hostile.data[at : at + size])
                self.network.settle()
        if hostile.ends and not target.gone:
            getattr(target, hostile.ends)()
            self.network.settle()

    def assert_got(self, client, hostile):
        received = bytes(client.received)
        if hostile.outcome == "cut":
            self.assertTrue(client.was_reset, received)
            return
        self.assertFalse(client.was_reset)
        if not hostile.outcome:
            self.assertFalse(client.ended)
            return
        (answer,) = answers(received, [hostile.method], ended=client.ended)
        self.assertEqual(answer.method.decode(), hostile.outcome)
        if hostile.outcome == "502":
            self.assertFalse(client.ended)
            self.assertNotIn(b"evil", received)
        else:
            self.assertEqual(answer.body, _read_by_h11(hostile))
