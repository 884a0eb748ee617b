"""Factory and protocol of a client's connection."""

from __future__ import annotations

from twisted.internet.address import IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.downstream.connection import SILENT_FIN, DownstreamFactory
from smartproxy.flow.deadline import TICK, Deadlines
from smartproxy.model.address import Endpoint
from smartproxy.model.facts import Accepted
from smartproxy.model.outcome import CloseReason, RejectReason
from smartproxy.model.plan import KeepAlive
from smartproxy.testing import connection


class DownstreamTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.deadlines.start()
        self.carried = []
        self.ends = []
        self.refusal = None

    async def carry(self, client, accepted):
        self.carried.append(accepted)
        try:
            await Deferred()
        except CancelledError:
            self.ends.append(client.why)

    def factory(self, **more):
        options = {"keep_alive": KeepAlive(), "hold": 1000} | more
        return DownstreamFactory(
            ":443", 443, self.carry, self.refuse, self.deadlines, lambda: 12.5, **options
        )

    def refuse(self, ip, listener):
        self.asked = ip
        return self.refusal

    def connect(self, factory=None):
        factory = factory or self.factory()
        self.transport, self.far = connection(self.clock)
        client = factory.buildProtocol(Endpoint("192.0.2.1", 4000))
        self.transport.carry(client)
        return client

    def pass_time(self, seconds):
        for _ in range(round(seconds / TICK)):
            self.clock.advance(TICK)

    def test_connection_starts_the_control_path_with_its_facts(self):
        self.connect()
        self.assertEqual(self.carried, [Accepted(":443", 443, Endpoint("192.0.2.1", 4000), 12.5)])

    def test_ipv4_mapped_address_is_normalised(self):
        client = self.factory().buildProtocol(IPv6Address("TCP", "::ffff:192.0.2.1", 4000))
        self.assertEqual(client.accepted.peer, Endpoint("192.0.2.1", 4000))
        self.assertEqual(self.asked, "192.0.2.1")

    def test_refused_connection_builds_no_protocol(self):
        self.refusal = RejectReason.GLOBAL_LIMIT
        self.assertIsNone(self.factory().buildProtocol(Endpoint("192.0.2.1", 4000)))
        self.assertEqual(self.carried, [])

    def test_socket_options_are_set_unless_the_port_inherits_them(self):
        for keep_alive in (True, False):
            self.connect(self.factory(keep_alive=KeepAlive(enabled=keep_alive)))
            self.assertTrue(self.transport.getTcpNoDelay())
            self.assertEqual(self.transport.getTcpKeepAlive(), keep_alive)
        factory = self.factory()
        factory.inherits = True
        self.connect(factory)
        self.assertEqual(self.transport.options, {})

    def test_buffer_is_bounded_by_the_limit_of_the_listener(self):
        client = self.connect()
        self.far.write(bytes(200_000))
        self.clock.advance(0)
        self.assertFalse(self.transport.reading)
        self.assertLess(len(client.buffered), 200_000)

    def test_disconnect_cancels_the_control_path(self):
        for end, reason in (("rst", CloseReason.CLIENT_RESET), ("close", CloseReason.NORMAL)):
            self.ends.clear()
            client = self.connect()
            client.buffered = b"x"  # otherwise a FIN alone starts the grace period of a silent client
            getattr(self.far, end)()
            self.clock.advance(0)
            if end == "close":
                self.transport.loseConnection()
                self.clock.advance(0)
            self.assertEqual(self.ends, [reason])

    def test_abort_cancels_the_control_path_with_its_reason(self):
        self.connect().abort(CloseReason.ADMIN)
        self.assertEqual(self.ends, [CloseReason.ADMIN])

    def test_closed_socket_is_reported_as_gone(self):
        client = self.connect()
        self.assertEqual(client.gone(), (False, False))
        client.transport.connected = False
        self.assertEqual(client.gone(), (True, False))

    def test_fin_without_data_closes_after_a_grace_period(self):
        """The client may only want to receive, or it is a scanner that has disconnected."""
        self.connect()
        self.far.fin()
        self.pass_time(SILENT_FIN - 0.1)
        self.assertEqual(self.ends, [])
        self.pass_time(0.3)
        self.assertEqual(self.ends, [CloseReason.NORMAL])

    def test_fin_after_data_does_not_close(self):
        self.connect()
        self.far.write(b"ask")
        self.far.fin()
        self.pass_time(SILENT_FIN * 3)
        self.assertEqual(self.ends, [])

    def test_fin_without_data_does_not_close_an_attached_connection(self):
        client = self.connect()
        self.far.fin()
        self.clock.advance(0)
        client.attach(object())
        self.pass_time(SILENT_FIN * 3)
        self.assertEqual(self.ends, [])

    def test_fin_without_data_does_not_close_a_spliced_connection(self):
        """``nc host 13 </dev/null``, where the answer takes longer than the grace period."""
        client = self.connect()
        self.far.fin()
        self.clock.advance(0)
        client.detach()  # as the splice relay does: it owns the socket
        self.pass_time(SILENT_FIN * 3)
        self.assertEqual(self.ends, [])
