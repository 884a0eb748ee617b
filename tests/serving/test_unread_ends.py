"""A handler closes behind bytes that its client does not read: ``halfCloseTimeout`` ends that, not hours of inactivity."""

from __future__ import annotations

from twisted.internet.protocol import Factory, Protocol

from smartproxy.model.outcome import CloseReason
from tests.on_network import NetworkTestCase, served

LARGE = bytes(500_000)


class UnreadTests(NetworkTestCase):
    def connect_unread(self):
        """A client that reads nothing."""
        client = self.network.connect(7)
        client.reading = False
        self.network.settle()
        return client

    def assert_ended_in_time(self):
        self.network.run(50)
        self.assertEqual(len(self.proxy.connections), 1)
        self.network.run(20)
        self.assertEqual(self.closed("served"), {CloseReason.HALF_CLOSE_TIMEOUT: 1})

    def test_handler_that_closes_behind_its_answer(self):
        class Answers(Protocol):
            def connectionMade(self):
                self.transport.write(LARGE)
                self.transport.loseConnection()

        self.start(served(Factory.forProtocol(Answers)))
        self.connect_unread()
        self.assert_ended_in_time()

    def test_client_that_ends_its_direction_at_a_handler_that_cannot_half_close(self):
        class Answers(Protocol):
            def connectionMade(self):
                self.transport.write(LARGE)

        self.start(served(Factory.forProtocol(Answers)))
        self.connect_unread().fin()
        self.network.settle()
        self.assert_ended_in_time()
