"""Who does not read pauses who writes, also where a connection to the target has just been made, or is used again."""

from __future__ import annotations

from smartproxy.http.upstream1 import HttpUpstream
from smartproxy.testing import FarEnd, Nature
from tests.http.case import GET, OK, POST, AnswerCase, http_route

SLOW = "10.0.0.6"
LENGTH = 90_000_000
#: Bytes that may wait to be sent: what pauses a writer, and the reads of one event.
GATHERED = 1_500_000
#: What is sent by such a connection is received at once.
WIDE = Nature(window=1_000_000)


class BackPressureTests(AnswerCase):
    def setUp(self):
        super().setUp()
        self.targets = []
        self.network.backend(SLOW, 9000).buildProtocol = self.slow
        self.network.stop(self.proxy)
        self.start(
            http_route(), http_route("up", path="/up", action={"targets": [{"host": SLOW, "port": 9000}]})
        )

    def slow(self, _):
        """A target that does not read from the beginning."""
        end = FarEnd()
        self.targets.append(end)

        def connected(transport):
            end.transport, end.reading = transport, False

        end.makeConnection = connected
        return end

    def gathered(self, end):
        """The most bytes that the proxy has kept for this end."""
        return end.transport.peer.most

    def test_upload_by_a_new_connection(self):
        """What was received while it was dialed pauses the client already."""
        client = self.connect(said=GET)
        client.write(POST.replace(b"/", b"/up", 1) + b"Content-Length: %d\r\n\r\n" % LENGTH + b"x" * 126_000)
        self.network.settle()
        self.answer()
        client.write(b"x" * 8_000_000)
        self.network.settle()
        self.assertLess(self.gathered(self.targets[0]), GATHERED)

    def test_upload_behind_one_that_was_answered_before_it_was_read(self):
        """A connection on which a request still waits to be sent is not used for another one."""
        post = POST.replace(b"/", b"/up", 1) + b"Content-Length: %d\r\n\r\n"
        self.network.nature = WIDE
        first = self.connect()
        self.network.nature = Nature()
        first.write(post % 500_000 + b"x" * 500_000)
        self.network.settle()
        self.assertEqual(first.waiting, 0)
        self.targets[0].write(OK)
        self.network.settle()
        self.assertEqual(first.received, OK)
        self.connect(said=post % LENGTH + b"x" * 8_000_000)
        for target in self.targets:
            self.assertLess(self.gathered(target), GATHERED)

    def test_answer_that_has_begun_before_its_request(self):
        """Such bytes may be received with the last ones of a handshake."""
        early = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LENGTH + b"x" * 140_000
        read = HttpUpstream.read

        def read_early(upstream):
            upstream._connected.side.buffered = early
            read(upstream)

        self.patch(HttpUpstream, "read", read_early)
        client = self.connect()
        client.reading = False
        client.write(GET.replace(b"/", b"/up", 1))
        self.network.settle()
        self.targets[0].write(b"x" * 8_000_000)
        self.network.settle()
        self.assertLess(self.gathered(client), GATHERED)
