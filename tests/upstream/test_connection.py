"""Factory and protocol of one connection to a target."""

from __future__ import annotations

import socket

from twisted.internet import error
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import DialFailed
from smartproxy.flow.deadline import Deadlines
from smartproxy.model.address import Endpoint
from smartproxy.model.outcome import RejectReason
from smartproxy.model.plan import KeepAlive, Probes
from smartproxy.net.dial import PollerDialer
from smartproxy.net.keep_alive import options
from smartproxy.testing import connection
from smartproxy.upstream.connection import UpstreamFactory
from tests.pumps import Pump

TO = Endpoint("192.0.2.1", 80)


class FakeDialer:
    def __init__(self, at_once=None):
        self.cancelled = 0
        self.at_once = at_once

    def dial(self, to, factory, timeout, source=""):
        self.asked = (to, timeout)
        self.factory = factory
        if self.at_once is not None:
            self.at_once(factory)
        return self

    def stopConnecting(self):
        self.cancelled += 1
        self.factory.clientConnectionFailed(self, Failure(error.UserError()))


def connect(factory):
    clock = Clock()
    transport, far = connection(clock)
    transport.carry(factory.buildProtocol(None))
    return transport, far, clock


class SocketTests(SynchronousTestCase):
    def test_keep_alive_settings_reach_the_socket(self):
        """Read back from the kernel over loopback: an option that is only stored here has no effect."""
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        pump = Pump(self)
        dialer = PollerDialer(pump.poller, Deadlines(pump.reactor))
        keep_alive = options(KeepAlive(probes=Probes(61, 7, 4)))
        factory = UpstreamFactory(Endpoint(*listening.getsockname()), keep_alive=keep_alive)
        linked = factory.dial(dialer, 0).deferred()
        pump.until(lambda: linked.called)
        sock = self.successResultOf(linked).transport.getHandle()
        names = socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT
        probes = tuple(sock.getsockopt(socket.IPPROTO_TCP, name) for name in names)
        self.assertEqual((sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), *probes), (1, 61, 7, 4))


class UpstreamFactoryTests(SynchronousTestCase):
    def test_connection_starts_paused_with_its_options(self):
        for keep_alive in (True, False):
            factory, dialer = (
                UpstreamFactory(TO, keep_alive=options(KeepAlive(enabled=keep_alive))),
                FakeDialer(),
            )
            linked = factory.dial(dialer, 30).deferred()
            self.assertEqual(dialer.asked, (TO, 30))
            transport, _, _ = connect(factory)
            upstream = self.successResultOf(linked)
            self.assertEqual((upstream.address, upstream.transport), (TO, transport))
            self.assertFalse(transport.reading)
            self.assertEqual((transport.getTcpNoDelay(), transport.getTcpKeepAlive()), (True, keep_alive))

    def test_failure_has_its_reject_reason(self):
        factory = UpstreamFactory(TO, keep_alive=())
        linked = factory.dial(FakeDialer(), 30).deferred()
        factory.clientConnectionFailed(None, Failure(error.ConnectionRefusedError()))
        self.assertIs(self.failureResultOf(linked, DialFailed).value.reason, RejectReason.UPSTREAM_REFUSED)

    def test_dialer_may_fail_or_connect_synchronously(self):
        def refuse(factory):
            factory.clientConnectionFailed(None, Failure(error.ConnectionRefusedError()))

        self.failureResultOf(
            UpstreamFactory(TO, keep_alive=()).dial(FakeDialer(refuse), 30).deferred(), DialFailed
        )
        self.successResultOf(UpstreamFactory(TO, keep_alive=()).dial(FakeDialer(connect), 30).deferred())

    def test_cancelling_stops_the_attempt(self):
        factory, dialer = UpstreamFactory(TO, keep_alive=()), FakeDialer()
        linked = factory.dial(dialer, 30).deferred()
        linked.cancel()
        self.failureResultOf(linked, CancelledError)
        self.assertEqual(dialer.cancelled, 1)

    def test_connection_made_after_cancelling_is_reset(self):
        factory = UpstreamFactory(TO, keep_alive=())
        linked = factory.dial(FakeDialer(), 30).deferred()
        linked.cancel()
        self.failureResultOf(linked, CancelledError)
        _, far, clock = connect(factory)
        clock.advance(0)
        self.assertTrue(far.was_reset)
