"""Connecting to one address, over the poller and over the reactor."""

from __future__ import annotations

import errno
import socket

from twisted.internet import error
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smartproxy.errors import DialFailed
from smartproxy.flow.deadline import Deadlines
from smartproxy.model.address import Endpoint
from smartproxy.model.outcome import RejectReason
from smartproxy.net import dial as dial_module
from smartproxy.net.dial import PollerDialer, ReactorDialer, failure_of
from smartproxy.net.interfaces import IConnecting, IDialer
from smartproxy.net.stream import Stream
from smartproxy.testing import connection
from tests.builds import only_pure
from tests.ports import free_ports
from tests.pumps import Pump, open_descriptors

#: Documentation addresses (RFC 5737): nobody is there.
NOWHERE = Endpoint("192.0.2.1", 9)


class Wanted(ClientFactory):
    """Records the result of an attempt."""

    noisy = False

    def __init__(self, protocol=Protocol):
        self.protocol = protocol
        self.built = []
        self.reasons = []

    def buildProtocol(self, address):
        self.built.append(self.protocol())
        return self.built[-1]

    def clientConnectionFailed(self, connector, reason):
        self.reasons.append(failure_of(reason, NOWHERE).reason)


class DialerTests:
    """The behaviour of both dialers; a subclass makes the network answer."""

    def test_it_provides_the_dialer_interface(self):
        verifyObject(IDialer, self.dialer)

    def test_an_established_connection_has_its_protocol(self):
        factory = Wanted()
        self.dialer.dial(self.listening(), factory, 30)
        self.answer(factory)
        self.assertTrue(factory.built[0].connected)
        self.assertEqual(factory.reasons, [])

    def test_refused(self):
        factory = Wanted()
        self.dialer.dial(self.refusing(), factory, 30)
        self.refuse(factory)
        self.assertEqual((factory.reasons, factory.built), ([RejectReason.UPSTREAM_REFUSED], []))

    def test_no_answer_in_time_is_a_timeout(self):
        factory = Wanted()
        self.dialer.dial(self.silent(), factory, 30)
        self.pass_time(factory, 29.0)
        self.assertEqual(factory.reasons, [])
        self.pass_time(factory, 1.2)
        self.assertEqual((factory.reasons, factory.built), ([RejectReason.UPSTREAM_TIMEOUT], []))

    def test_a_cancelled_attempt_fails(self):
        factory = Wanted()
        connecting = self.dialer.dial(self.silent(), factory, 30)
        connecting.stopConnecting()
        self.assert_given_up(factory)
        self.pass_time(factory, 40)
        self.assertEqual(factory.built, [])


class PollerDialerTests(DialerTests, SynchronousTestCase):
    def setUp(self):
        free_ports(1)  # the first call in a process opens the socket that reserves its block of ports
        self.before = open_descriptors()
        self.pump = Pump(self)
        self.deadlines = Deadlines(self.pump.reactor)
        self.dialer = PollerDialer(self.pump.poller, self.deadlines)
        self.servers = []

    def server(self):
        server = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(server.close)
        self.servers.append(server)
        return server

    def listening(self):
        return Endpoint(*self.server().getsockname())

    def refusing(self):
        return Endpoint("127.0.0.1", *free_ports(1))

    def silent(self):
        """A server whose accept queue is full, so that the kernel does not answer a SYN."""
        server = self.server()
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
            self.addCleanup(filler.close)
        return Endpoint(*server.getsockname())

    def answer(self, factory):
        self.pump.until(lambda: factory.built)

    def refuse(self, factory):
        self.pump.until(lambda: factory.reasons)

    def pass_time(self, factory, seconds):
        self.pump.reactor.advance(seconds)
        self.deadlines.sweep()
        self.pump.turn()

    def assert_given_up(self, factory):
        self.assertEqual((len(self.deadlines), len(self.pump.poller)), (0, 0))
        self.assertEqual(len(factory.reasons), 1)

    def test_an_attempt_can_be_cancelled(self):
        verifyObject(IConnecting, self.dialer.dial(self.silent(), Wanted(), 0))

    def test_an_established_connection_has_no_deadline(self):
        factory = Wanted()
        self.dialer.dial(self.listening(), factory, 30)
        self.assertEqual(len(self.deadlines), 1)
        self.answer(factory)
        self.assertIsInstance(factory.built[0].transport, Stream)
        self.assertEqual(len(self.deadlines), 0)

    def test_a_failed_attempt_leaves_no_deadline_and_no_socket(self):
        factory = Wanted()
        self.dialer.dial(self.refusing(), factory, 30)
        self.refuse(factory)
        self.assertEqual((len(self.deadlines), len(self.pump.poller)), (0, 0))
        self.pump.close()
        self.assertEqual(open_descriptors(), self.before)

    def test_without_a_timeout_there_is_no_deadline(self):
        self.dialer.dial(self.silent(), Wanted(), 0)
        self.assertEqual(len(self.deadlines), 0)

    def test_bytes_and_fin_of_a_server_that_sends_first_are_read(self):
        """All of it may be in the one event that reports the established connection."""
        heard = []

        class Hears(Protocol):
            def dataReceived(self, data):
                heard.append(data)

            def connectionLost(self, reason):
                heard.append(reason.type)

        factory = Wanted(Hears)
        self.dialer.dial(self.listening(), factory, 30)
        server, _ = self.servers[0].accept()
        server.send(b"220")
        server.close()
        self.pump.settle()
        self.assertEqual(heard, [b"220", error.ConnectionDone])

    def test_accepted_and_reset_at_once_is_refused(self):
        """Nothing was sent yet, so that the next target can be tried."""
        factory = Wanted()
        self.dialer.dial(self.listening(), factory, 30)
        server, _ = self.servers[0].accept()
        self.pump.keep(server).rst()
        self.pump.until(lambda: factory.reasons or factory.built)
        self.assertEqual(factory.reasons, [RejectReason.UPSTREAM_REFUSED])

    @only_pure
    def test_a_connect_that_fails_at_once_is_reported(self):
        """Without a route, connect(2) fails at once instead of being in progress."""

        class Unreachable(socket.SocketType):
            def connect_ex(self, _address):
                return errno.ENETUNREACH

        factory = Wanted()
        self.patch(dial_module, "new_stream_socket", Unreachable)
        self.dialer.dial(NOWHERE, factory, 30)
        self.assertEqual(factory.reasons, [RejectReason.UPSTREAM_UNREACHABLE])
        self.assertEqual((len(self.deadlines), len(self.pump.poller)), (0, 0))

    def test_attempt_begins_at_its_source_address(self):
        factory = Wanted()
        self.dialer.dial(self.listening(), factory, 30, "127.0.0.9")
        self.answer(factory)
        accepted, peer = self.servers[0].accept()
        accepted.close()
        self.assertEqual(peer[0], "127.0.0.9")

    @only_pure
    def test_source_address_leaves_the_port_to_the_connect(self):
        """Chosen before, each local port would serve one connection, whatever its target."""
        bound = []
        begin = dial_module._Attempt.begin
        self.patch(
            dial_module._Attempt,
            "begin",
            lambda attempt, *args: (bound.append(attempt._sock.getsockname()), begin(attempt, *args)),
        )
        self.dialer.dial(self.listening(), Wanted(), 30, "127.0.0.9")
        self.assertEqual(bound, [("127.0.0.9", 0)])

    def test_source_address_of_another_machine_fails_the_attempt(self):
        factory = Wanted()
        self.assertIsNone(self.dialer.dial(self.listening(), factory, 30, "192.0.2.1"))
        self.assertEqual(factory.reasons, [RejectReason.UPSTREAM_UNREACHABLE])

    @only_pure
    def test_without_descriptors_the_attempt_fails(self):
        def refuse(*_):
            raise OSError(errno.EMFILE, "Too many open files")

        factory = Wanted()
        self.patch(dial_module, "new_stream_socket", refuse)
        self.assertIsNone(self.dialer.dial(NOWHERE, factory, 30))
        self.assertEqual(factory.reasons, [RejectReason.UPSTREAM_UNREACHABLE])

    def test_a_protocol_that_raises_loses_its_connection(self):
        class Fails(Protocol):
            lost = 0

            def connectionMade(self):
                raise ZeroDivisionError

            def connectionLost(self, reason):
                self.lost += 1

        factory = Wanted(Fails)
        self.dialer.dial(self.listening(), factory, 30)
        self.answer(factory)
        self.assertEqual((factory.built[0].lost, len(self.pump.poller)), (1, 0))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_ipv6(self):
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
        self.addCleanup(server.close)
        factory = Wanted()
        self.dialer.dial(Endpoint(*server.getsockname()[:2]), factory, 30)
        self.answer(factory)
        self.assertEqual(factory.built[0].transport.getPeer().host, "::1")


class ReactorDialerTests(DialerTests, SynchronousTestCase):
    def setUp(self):
        self.reactor = MemoryReactorClock()
        self.dialer = ReactorDialer(self.reactor)
        self.due = None

    def listening(self):
        return NOWHERE

    refusing = silent = listening

    def answer(self, factory):
        transport, _ = connection(self.reactor)
        transport.carry(factory.buildProtocol(transport.getPeer()))

    def refuse(self, factory):
        factory.clientConnectionFailed(None, Failure(error.ConnectionRefusedError()))

    def pass_time(self, factory, seconds):
        """The reactor's connector keeps the timeout that it was given."""
        _, _, _, timeout, _ = self.reactor.tcpClients[-1]
        self.reactor.advance(seconds)
        if self.reactor.seconds() >= timeout and not self.reactor.connectors[-1].stoppedConnecting:
            factory.clientConnectionFailed(None, Failure(error.TimeoutError()))

    def assert_given_up(self, factory):
        self.assertTrue(self.reactor.connectors[-1].stoppedConnecting)

    def test_source_address_is_given_to_the_reactor(self):
        self.dialer.dial(NOWHERE, Wanted(), 0)
        self.dialer.dial(NOWHERE, Wanted(), 0, "192.0.2.7")
        self.assertEqual([client[4] for client in self.reactor.tcpClients], [None, ("192.0.2.7", 0)])

    def test_no_timeout_is_not_the_timeout_0_of_the_reactor(self):
        self.dialer.dial(NOWHERE, Wanted(), 0)
        self.assertGreater(self.reactor.tcpClients[0][3], 3600)


class FailureTests(SynchronousTestCase):
    def test_every_failure_is_mapped_to_a_reason(self):
        for exception, reason in (
            (error.ConnectionRefusedError(), RejectReason.UPSTREAM_REFUSED),
            (error.TimeoutError(), RejectReason.UPSTREAM_TIMEOUT),
            (error.TCPTimedOutError(), RejectReason.UPSTREAM_TIMEOUT),
            (error.NoRouteError(osError=errno.EHOSTUNREACH), RejectReason.UPSTREAM_UNREACHABLE),
            (error.ConnectError(osError=errno.ECONNRESET), RejectReason.UPSTREAM_REFUSED),
            (error.UserError(), RejectReason.UPSTREAM_UNREACHABLE),
            (ValueError("never heard of"), RejectReason.UPSTREAM_UNREACHABLE),
        ):
            failed = failure_of(Failure(exception), NOWHERE)
            self.assertEqual((type(failed), failed.reason), (DialFailed, reason), exception)
            self.assertIn("192.0.2.1:9", failed.detail)

    def test_failure_names_the_source_address(self):
        cannot = error.ConnectBindError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        failed = failure_of(Failure(cannot), NOWHERE, "192.0.2.7")
        self.assertIs(failed.reason, RejectReason.UPSTREAM_UNREACHABLE)
        self.assertEqual(failed.detail, "192.0.2.1:9 from 192.0.2.7: Cannot assign requested address")

    def test_a_failure_that_has_a_reason_keeps_it(self):
        known = DialFailed(RejectReason.UPSTREAM_TIMEOUT, "known")
        self.assertIs(failure_of(Failure(known), NOWHERE), known)
