"""Twisted's pair of factory and protocol for the client's side."""

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


class ListenTests(SynchronousTestCase):
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

    def refuse(self, ip):
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

    def test_a_client_is_carried_with_what_is_known_of_it(self):
        self.connect()
        self.assertEqual(self.carried, [Accepted(":443", 443, Endpoint("192.0.2.1", 4000), 12.5)])

    def test_twisteds_addresses_do_and_mapped_ones_are_ipv4(self):
        client = self.factory().buildProtocol(IPv6Address("TCP", "::ffff:192.0.2.1", 4000))
        self.assertEqual(client.accepted.peer, Endpoint("192.0.2.1", 4000))
        self.assertEqual(self.asked, "192.0.2.1")

    def test_who_is_not_wanted_is_not_begun(self):
        self.refusal = RejectReason.GLOBAL_LIMIT
        self.assertIsNone(self.factory().buildProtocol(Endpoint("192.0.2.1", 4000)))
        self.assertEqual(self.carried, [])

    def test_options_are_set_where_the_port_does_not_give_them(self):
        for keep_alive in (True, False):
            self.connect(self.factory(keep_alive=KeepAlive(enabled=keep_alive)))
            self.assertTrue(self.transport.getTcpNoDelay())
            self.assertEqual(self.transport.getTcpKeepAlive(), keep_alive)
        factory = self.factory()
        factory.inherits = True
        self.connect(factory)
        self.assertEqual(self.transport.options, {})

    def test_it_holds_as_much_as_its_listener_says(self):
        client = self.connect()
        self.far.write(bytes(200_000))
        self.clock.advance(0)
        self.assertFalse(self.transport.reading)
        self.assertLess(len(client.buffered), 200_000)

    def test_a_client_that_goes_stops_what_is_under_way(self):
        for end, reason in (("rst", CloseReason.CLIENT_RESET), ("close", CloseReason.NORMAL)):
            self.ends.clear()
            client = self.connect()
            client.buffered = b"x"  # else its FIN alone would be waited for
            getattr(self.far, end)()
            self.clock.advance(0)
            if end == "close":
                self.transport.loseConnection()
                self.clock.advance(0)
            self.assertEqual(self.ends, [reason])

    def test_ended_from_outside(self):
        self.connect().abort(CloseReason.ADMIN)
        self.assertEqual(self.ends, [CloseReason.ADMIN])

    def test_it_has_one_socket_that_may_be_gone(self):
        client = self.connect()
        self.assertEqual(client.gone(), (False, False))
        client.transport.connected = False
        self.assertEqual(client.gone(), (True, False))

    def test_a_silent_end_is_waited_for_a_little(self):
        """Somebody may only want to listen; a scanner has gone."""
        self.connect()
        self.far.fin()
        self.pass_time(SILENT_FIN - 0.1)
        self.assertEqual(self.ends, [])
        self.pass_time(0.3)
        self.assertEqual(self.ends, [CloseReason.NORMAL])

    def test_an_end_behind_a_word_is_no_reason_to_give_up(self):
        self.connect()
        self.far.write(b"ask")
        self.far.fin()
        self.pass_time(SILENT_FIN * 3)
        self.assertEqual(self.ends, [])

    def test_a_silent_end_does_not_end_what_has_been_linked_meanwhile(self):
        client = self.connect()
        self.far.fin()
        self.clock.advance(0)
        client.attach(object())
        self.pass_time(SILENT_FIN * 3)
        self.assertEqual(self.ends, [])

    def test_a_silent_end_does_not_end_what_has_been_given_to_a_splice_relay(self):
        """``nc host 13 </dev/null`` with an answer that takes longer than the patience."""
        client = self.connect()
        self.far.fin()
        self.clock.advance(0)
        client.detach()  # as the relay does
        self.pass_time(SILENT_FIN * 3)
        self.assertEqual(self.ends, [])
