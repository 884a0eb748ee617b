"""One question to one name server, over sockets of the loopback interface and in memory."""

from __future__ import annotations

import socket

from twisted.internet import error
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smartproxy.errors import LookupFailed
from smartproxy.upstream.discovery.exchange import NetworkExchange
from smartproxy.upstream.discovery.resolv_conf import Server

QUESTION, ANSWER = b"question", b"answer"


class FakeReactor:
    """Keeps what is to be watched and connected."""

    def __init__(self):
        self.readers = []
        self.factories = []
        self.disconnected = 0

    def addReader(self, reader):
        self.readers.append(reader)

    def removeReader(self, reader):
        if reader in self.readers:
            self.readers.remove(reader)

    def connectTCP(self, host, port, factory):
        self.factories.append((host, port, factory))
        return self

    def disconnect(self):
        self.disconnected += 1


def read(data):
    return data if data == ANSWER else None


class ExchangeCase(SynchronousTestCase):
    def setUp(self):
        self.reactor, self.clock = FakeReactor(), Clock()
        self.exchange = NetworkExchange(self.reactor, self.clock)

    def assert_fails(self, asking, why):
        self.assertEqual(str(self.failureResultOf(asking, LookupFailed).value), why)
        self.assertEqual((self.reactor.readers, self.clock.getDelayedCalls()), ([], []))


class UdpTests(ExchangeCase):
    def setUp(self):
        super().setUp()
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.server.bind(("127.0.0.1", 0))
        self.server.settimeout(10)
        self.addCleanup(self.server.close)
        self.address = Server(*self.server.getsockname())

    def ask(self):
        return self.exchange(self.address, QUESTION, read, 2.0, by_tcp=False)

    def test_answer_to_the_question_ends_it(self):
        asking = self.ask()
        (reader,) = self.reactor.readers
        verifyObject(IReadDescriptor, reader)
        data, client = self.server.recvfrom(100)
        self.assertEqual(data, QUESTION)
        for datagram in (b"something else", ANSWER):
            self.assertNoResult(asking)
            self.server.sendto(datagram, client)
            reader.doRead()
        self.assertEqual(self.successResultOf(asking), ANSWER)
        self.assertEqual((reader.fileno(), self.reactor.readers, self.clock.getDelayedCalls()), (-1, [], []))

    def test_answer_of_another_server_does_not_arrive(self):
        asking = self.ask()
        (reader,) = self.reactor.readers
        _, client = self.server.recvfrom(100)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.sendto(ANSWER, client)
        reader.doRead()
        self.assertNoResult(asking)
        asking.cancel()
        self.failureResultOf(asking)
        self.assertEqual(reader.fileno(), -1)

    def test_server_that_does_not_answer(self):
        asking = self.ask()
        self.clock.advance(2)
        self.assert_fails(asking, f"name server 127.0.0.1:{self.address.port} does not answer in 2 s")

    def test_port_that_nobody_listens_on(self):
        """The kernel reports it by a read, or to the reactor as an error of the socket."""
        self.server.close()
        for report in ("doRead", "connectionLost"):
            asking = self.ask()
            (reader,) = self.reactor.readers
            getattr(reader, report)(*([connectionDone] if report == "connectionLost" else []))
            self.assert_fails(asking, f"name server 127.0.0.1:{self.address.port}: Connection refused")

    def test_server_without_a_route(self):
        asking = self.exchange(Server("255.255.255.255"), QUESTION, read, 2.0, by_tcp=False)
        self.assert_fails(asking, "name server 255.255.255.255:53: Permission denied")


class TcpTests(ExchangeCase):
    def ask(self):
        asking = self.exchange(Server("::1", 54), QUESTION, read, 2.0, by_tcp=True)
        ((self.host, self.port, self.factory),) = self.reactor.factories
        return asking

    def connected(self):
        protocol = self.factory.buildProtocol(None)
        self.transport = StringTransport()
        protocol.makeConnection(self.transport)
        return protocol

    def test_answer_may_come_in_parts(self):
        asking = self.ask()
        protocol = self.connected()
        self.assertEqual((self.host, self.port, self.transport.value()), ("::1", 54, b"\x00\x08question"))
        for byte in b"\x00\x06answer more":
            protocol.dataReceived(bytes([byte]))
        self.assertEqual(self.successResultOf(asking), ANSWER)
        protocol.connectionLost(Failure(connectionDone.value))
        self.assertEqual(self.reactor.disconnected, 1)

    def test_connection_that_ends_without_an_answer(self):
        asking = self.ask()
        self.connected().connectionLost()
        self.assert_fails(asking, "name server [::1]:54: closed the connection without an answer")

    def test_answer_to_another_question(self):
        asking = self.ask()
        self.connected().dataReceived(b"\x00\x05other")
        self.assert_fails(asking, "name server [::1]:54: its answer by TCP is not one to the question")

    def test_connection_that_is_refused(self):
        asking = self.ask()
        self.factory.clientConnectionFailed(None, Failure(error.ConnectionRefusedError()))
        self.assert_fails(asking, "name server [::1]:54: Connection was refused by other side.")

    def test_server_that_does_not_answer(self):
        asking = self.ask()
        self.connected()
        self.clock.advance(2)
        self.assert_fails(asking, "name server [::1]:54 does not answer in 2 s")
        self.assertEqual(self.reactor.disconnected, 1)
