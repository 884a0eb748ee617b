"""Refused connections whose clients read why: how many, for how long, and whose are closed first."""

from __future__ import annotations

import resource

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.connections import lingering
from smartproxy.connections.lingering import Lingering, most_lingering
from smartproxy.flow.deadline import TICK, Deadlines
from smartproxy.flow.side import Side
from smartproxy.net.half_close import LINGER
from smartproxy.testing import FarEnd, connection


class LingeringTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.deadlines.start()
        self.addCleanup(self.deadlines.stop)
        self.lingering = Lingering(self.deadlines, most=3)

    def linger(self, address: str) -> FarEnd:
        transport, far = connection(self.clock)
        side = Side()
        transport.carry(side)
        self.lingering.attach(side, address)
        self.clock.advance(0)
        return far

    def test_an_ipv6_network_is_one_client_where_configured(self) -> None:
        self.lingering.ipv6_prefix = 64
        honest = self.linger("2001:db8:0:1::1")
        flood = [self.linger(f"2001:db8::{number}") for number in range(1, 5)]
        self.assertEqual([far.was_reset for far in flood], [True, True, False, False])
        self.assertFalse(honest.was_reset)

    def test_number_is_bounded_at_the_cost_of_the_address_with_most(self) -> None:
        honest = self.linger("192.0.2.1")
        flood = [self.linger("192.0.2.66") for _ in range(10)]
        self.assertEqual(len(self.lingering), 3)
        self.assertEqual([far.was_reset for far in flood], [True] * 8 + [False] * 2)
        self.assertFalse(honest.was_reset)

    def test_closed_connections_do_not_count(self) -> None:
        for _ in range(5):
            far = self.linger("192.0.2.1")
            far.fin()
            self.clock.advance(0)
            self.assertFalse(far.was_reset)
        self.assertEqual((len(self.lingering), len(self.deadlines)), (0, 0))

    def test_reset_ones_do_not_count(self) -> None:
        self.linger("192.0.2.1").rst()
        self.clock.advance(0)
        self.assertEqual((len(self.lingering), len(self.deadlines)), (0, 0))

    def test_each_is_reset_after_its_time(self) -> None:
        far = self.linger("192.0.2.1")
        for _ in range(round(LINGER / TICK) + 1):
            self.clock.advance(TICK)
        self.assertTrue(far.was_reset)
        self.assertEqual(len(self.lingering), 0)

    def test_close_resets_all(self) -> None:
        """A proxy that has stopped holds no socket."""
        ends = [self.linger(f"192.0.2.{number}") for number in range(3)]
        self.lingering.close()
        self.clock.advance(0)
        self.assertEqual([far.was_reset for far in ends], [True] * 3)
        self.assertEqual((len(self.lingering), len(self.deadlines)), (0, 0))

    def test_most_is_a_share_of_the_descriptors(self) -> None:
        for limit, most in ((1024, 128), (64, 8), (1, 1), (1 << 20, 1024), (resource.RLIM_INFINITY, 1024)):
            self.patch(lingering.resource, "getrlimit", lambda _, limit=limit: (limit, limit))
            self.assertEqual(most_lingering(), most, limit)
