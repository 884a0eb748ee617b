"""Replies to clients that do not read, or not at once: memory is bounded, and others are answered."""

from __future__ import annotations

from functools import partial

from twisted.internet.error import ConnectionLost
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.admin import api, outbox
from smartproxy.admin.outbox import PIECE, STALLED
from smartproxy.flow.slices import Slices
from tests.admin.doubles import FakeControl, HalfClosable, Listener, parsed


class SlowClient(HalfClosable):
    """A transport whose client reads when the test says so. It pauses its producer as Twisted's do.

    :ivar buffered: bytes that have been written and not read.
    :ivar most: the largest number of them so far.
    """

    buffered = most = 0

    def write(self, data):
        super().write(data)
        self.buffered += len(data)
        self.most = max(self.most, self.buffered)
        if self.buffered > PIECE:
            self.producer.pauseProducing()

    def read(self):
        """Read everything that is buffered."""
        self.buffered = 0
        if self.producer is not None:
            self.producer.resumeProducing()


class SlowListener(Listener):
    """A listener of slow clients, with so many routes; each adds a few hundred bytes to the page."""

    def __init__(self, routes=2000):
        super().__init__(FakeControl())
        for number in range(routes):
            self.control.counters.route(f"route-{number}")

    def connect(self):
        transport = SlowClient()
        self.channel = self.site.buildProtocol(None)
        self.channel.makeConnection(transport)
        return transport

    def scrape(self, path="/metrics", count=1):
        transport = self.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * count)
        self.clock.pump([0] * 20)
        return transport


class SlowClientTests(SynchronousTestCase):
    def test_reply_is_written_as_its_client_reads(self):
        """A whole page in the buffer of every slow client would be hundreds of megabytes."""
        listener = SlowListener()
        client = listener.scrape()
        while client.buffered:
            client.read()
        answer = parsed(client.value())
        self.assertGreater(len(answer.body), 4 * PIECE)
        self.assertEqual(len(answer.body), int(answer.headers["Content-Length"]))
        self.assertLessEqual(client.most, 2 * PIECE)

    def test_connection_goes_on_after_a_slow_reply(self):
        listener = SlowListener()
        client = listener.scrape()
        while client.buffered:
            client.read()
        client.clear()
        listener.channel.dataReceived(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertEqual(parsed(client.value()).json(), {"status": "ok"})

    def test_json_reply_is_written_as_its_client_reads(self):
        listener = SlowListener(0)
        for _ in range(1000):
            listener.control.connect()
        client = listener.scrape("/api/v1/connections")
        self.assertLessEqual(client.buffered, 2 * PIECE)
        while client.buffered:
            client.read()
        self.assertEqual(parsed(client.value()).json()["total"], 1000)

    def test_pipelined_requests_of_a_client_that_does_not_read_wait(self):
        """Each small reply would fit into the buffer, and all of them together would not."""
        listener = SlowListener(0)
        client = listener.scrape("/api/v1/metrics", count=500)
        self.assertLessEqual(client.buffered, 2 * PIECE)
        while client.buffered:
            client.read()
        self.assertEqual(client.value().count(b"200 OK"), 500)

    def test_client_that_reads_nothing_is_disconnected(self):
        listener = SlowListener()
        with capturedLogs() as logged:
            client = listener.scrape()
            listener.clock.advance(STALLED - 1)
            self.assertFalse(client.aborted)
            listener.clock.advance(1)
        self.assertTrue(client.aborted)
        self.assertIn("its client does not read", formatEvent(logged[-1]))
        listener.channel.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(listener.clock.getDelayedCalls(), [])

    def test_client_that_goes_on_reading_is_not_disconnected(self):
        listener = SlowListener()
        client = listener.scrape()
        for _ in range(3):
            listener.clock.advance(STALLED - 1)
            client.read()
        self.assertFalse(client.aborted)

    def test_disconnected_client_leaves_nothing(self):
        listener = SlowListener()
        client = listener.scrape()
        client.producer.stopProducing()
        listener.channel.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(listener.clock.getDelayedCalls(), [])
        client.read()


class ManySlowClientsTests(SynchronousTestCase):
    def test_oldest_stalled_reply_makes_room_in_bytes(self):
        """150 clients that ask one after the other, each for a page of another moment, must not hold 150 pages."""
        listener = SlowListener()
        first = listener.scrape()
        page = int(parsed(first.value()).headers["Content-Length"])
        self.patch(outbox, "MAX_HELD", 3 * page + page // 2)
        clients = [first, *(listener.scrape() for _ in range(5))]
        self.assertEqual([client.aborted for client in clients], [True] * 3 + [False] * 3)

    def test_page_that_many_clients_share_counts_once(self):
        self.patch(api, "Slices", partial(Slices, seconds=0.0))  # so that it is not ready at once
        listener = SlowListener()
        first = listener.scrape()
        page = int(parsed(first.value()).headers["Content-Length"])
        self.patch(outbox, "MAX_HELD", 3 * page)
        clients = [listener.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n") for _ in range(20)]
        listener.clock.pump([0] * 40)
        self.assertEqual([client.aborted for client in clients], [False] * 20)

    def test_oldest_stalled_reply_makes_room_in_number(self):
        self.patch(outbox, "MAX_STALLED", 3)
        listener = SlowListener()
        clients = [listener.scrape() for _ in range(5)]
        clients[2].read()
        clients.append(listener.scrape())
        self.assertEqual([client.aborted for client in clients], [True, True, False, True, False, False])

    def test_others_are_answered(self):
        listener = SlowListener()
        for _ in range(150):
            listener.scrape()
        self.assertEqual(listener.get("/healthz").status, 200)
