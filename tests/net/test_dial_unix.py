"""Connecting to unix sockets, over the poller and over the reactor."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

from twisted.internet.interfaces import IReactorSocket
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from smartproxy.flow.deadline import Deadlines
from smartproxy.model.address import UnixEndpoint
from smartproxy.model.outcome import RejectReason
from smartproxy.net import dial as dial_module
from smartproxy.net.dial import PollerDialer, ReactorDialer, failure_of
from smartproxy.net.dial_unix import AGAIN
from smartproxy.net.interfaces import IConnecting
from smartproxy.net.stream import Stream
from tests.builds import only_pure
from tests.pumps import Pump, open_descriptors


class Wanted:
    """A client factory that records the result of an attempt."""

    def __init__(self, protocol=Protocol):
        self.protocol = protocol
        self.built = []
        self.failures = []

    def buildProtocol(self, _address):
        self.built.append(self.protocol())
        return self.built[-1]

    def clientConnectionFailed(self, _connecting, reason):
        self.failures.append(failure_of(reason, UnixEndpoint("unknown")))


class UnixDialerTests:
    """The behaviour of both dialers with sockets of the kernel; a subclass says what time is."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="smartproxy-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def at(self, name="app.sock"):
        return UnixEndpoint(str(self.directory / name))

    def server(self, to, backlog=8):
        server = socket.socket(socket.AF_UNIX)
        self.addCleanup(server.close)
        server.bind(to.sockaddr)
        server.listen(backlog)
        return server

    def dial(self, to, timeout=30.0, protocol=Protocol):
        factory = Wanted(protocol)
        connecting = self.dialer.dial(to, factory, timeout)
        return factory, connecting

    def full(self):
        """A server whose backlog is full."""
        server = self.server(self.at(), 0)
        filler = socket.socket(socket.AF_UNIX)
        self.addCleanup(filler.close)
        filler.connect(self.at().path)
        return server

    def test_connection_has_its_protocol_at_once(self):
        server = self.server(self.at())
        factory, _ = self.dial(self.at())
        self.assertTrue(factory.built[0].connected)
        accepted, _ = server.accept()
        self.addCleanup(accepted.close)
        factory.built[0].transport.write(b"words")
        self.assertEqual(accepted.recv(9), b"words")

    def test_abstract_socket_is_connected(self):
        to = UnixEndpoint(f"@smartproxy-{os.getpid()}-{self.id()}"[:90])
        self.server(to)
        factory, _ = self.dial(to)
        self.assertTrue(factory.built[0].connected)

    def test_failures_have_reason_and_path(self):
        socket_without_listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(socket_without_listener.close)
        socket_without_listener.bind(self.at("dead").path)
        datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(datagrams.close)
        datagrams.bind(self.at("datagrams").path)
        for name, reason, why in (
            ("missing", RejectReason.UPSTREAM_UNREACHABLE, "No such file or directory"),
            ("dead", RejectReason.UPSTREAM_REFUSED, "Connection refused"),
            ("datagrams", RejectReason.UPSTREAM_UNREACHABLE, "Protocol wrong type for socket"),
        ):
            factory, _ = self.dial(self.at(name))
            ((failed,), built) = factory.failures, factory.built
            self.assertEqual(
                (failed.reason, failed.detail, built), (reason, f"unix:{self.at(name).path}: {why}", [])
            )

    def test_failed_attempt_leaves_no_descriptor(self):
        before = open_descriptors()
        self.dial(self.at("missing"))
        self.assertEqual(open_descriptors(), before)

    def test_full_backlog_is_tried_again(self):
        """The kernel answers EAGAIN, and reports nothing when there is room."""
        server = self.full()
        factory, connecting = self.dial(self.at())
        verifyObject(IConnecting, connecting)
        self.wait(AGAIN + 0.1)
        self.assertEqual((factory.built, factory.failures), ([], []))
        server.accept()[0].close()
        self.wait(AGAIN + 0.1)
        self.assertTrue(factory.built[0].connected)
        self.wait(60)
        self.assertEqual(factory.failures, [])

    def test_backlog_that_stays_full_is_a_timeout(self):
        self.full()
        before = open_descriptors()
        factory, _ = self.dial(self.at(), 2.0)
        self.wait(1.8)
        self.assertEqual(factory.failures, [])
        self.wait(0.5)
        (failed,) = factory.failures
        self.assertEqual(failed.reason, RejectReason.UPSTREAM_TIMEOUT)
        self.assertEqual(failed.detail, f"unix:{self.at().path}: its backlog is full")
        self.assertEqual((open_descriptors(), self.due()), (before, 0))

    def test_attempt_can_be_cancelled(self):
        self.full()
        before = open_descriptors()
        factory, connecting = self.dial(self.at())
        connecting.stopConnecting()
        connecting.stopConnecting()
        self.assertEqual((len(factory.failures), factory.built), (1, []))
        self.assertEqual((open_descriptors(), self.due()), (before, 0))


class PollerUnixDialerTests(UnixDialerTests, SynchronousTestCase):
    def setUp(self):
        super().setUp()
        self.pump = Pump(self)
        self.deadlines = Deadlines(self.pump.reactor)
        self.dialer = PollerDialer(self.pump.poller, self.deadlines)

    def wait(self, seconds):
        for _ in range(round(seconds / 0.1)):
            self.pump.reactor.advance(0.1)
            self.deadlines.sweep()

    def due(self):
        return len(self.deadlines)

    def test_bytes_and_end_of_a_server_that_closes_are_read(self):
        """EPOLLHUP is reported together with bytes that are still unread."""
        heard = []

        class Hears(Protocol):
            def connectionMade(self):
                heard.append(type(self.transport))

            def dataReceived(self, data):
                heard.append(data)

            def connectionLost(self, _reason):
                heard.append("lost")

        server = self.server(self.at())
        self.dial(self.at(), protocol=Hears)
        accepted, _ = server.accept()
        accepted.sendall(b"220")
        accepted.close()
        self.pump.settle()
        self.assertEqual(heard, [Stream, b"220", "lost"])

    def test_transport_has_addresses(self):
        self.server(self.at())
        factory, _ = self.dial(self.at())
        transport = factory.built[0].transport
        self.assertEqual(transport.getPeer().name, self.at().path.encode())
        self.assertIsNone(transport.getHost().name)

    def test_without_descriptors_the_attempt_fails(self):
        self.dialer._highest = 0
        factory, connecting = self.dial(self.at())
        self.assertIsNone(connecting)
        self.assertEqual(factory.failures[0].detail, f"unix:{self.at().path}: Too many open files")


@implementer(IReactorSocket)
class AdoptingReactor(Clock):
    """Adopts descriptors, and keeps them open as a reactor does."""

    def __init__(self, case):
        super().__init__()
        self._case = case

    def adoptStreamConnection(self, descriptor, family, factory):
        sock = socket.fromfd(descriptor, family, socket.SOCK_STREAM)
        self._case.addCleanup(sock.close)
        protocol = factory.buildProtocol(None)
        protocol.makeConnection(_Adopted(sock))


class _Adopted:
    def __init__(self, sock):
        self.write = sock.sendall


class ReactorUnixDialerTests(UnixDialerTests, SynchronousTestCase):
    def setUp(self):
        super().setUp()
        self.reactor = AdoptingReactor(self)
        self.dialer = ReactorDialer(self.reactor)

    def wait(self, seconds):
        for _ in range(round(seconds / 0.1)):
            self.reactor.advance(0.1)

    def due(self):
        return len(self.reactor.getDelayedCalls())

    @only_pure
    def test_without_descriptors_the_attempt_fails(self):
        def refuse(*_):
            raise OSError(24, "Too many open files")

        self.patch(dial_module, "new_stream_socket", refuse)
        factory, connecting = self.dial(self.at())
        self.assertIsNone(connecting)
        self.assertEqual(factory.failures[0].detail, f"unix:{self.at().path}: Too many open files")
