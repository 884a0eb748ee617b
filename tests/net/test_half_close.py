"""Ending one direction, for transports that can half-close and for those that cannot."""

from __future__ import annotations

from twisted.internet.interfaces import IHalfCloseableDescriptor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from smartproxy.flow.side import Side
from smartproxy.net.half_close import can_half_close, end_output
from smartproxy.testing import Nature, connection


@implementer(IHalfCloseableDescriptor)
class Descriptor:
    """Neither TCP nor TLS, but able to half-close."""


class HalfCloseTests(SynchronousTestCase):
    def transport(self, **nature):
        clock = Clock()
        transport, far = connection(clock, Nature(**nature))
        transport.carry(Side())
        return clock, transport, far

    def test_tcp_can_half_close_and_twisteds_tls_cannot(self):
        self.assertTrue(can_half_close(self.transport()[1]))
        self.assertFalse(can_half_close(self.transport(half_closes=False)[1]))
        self.assertTrue(can_half_close(Descriptor()))
        self.assertFalse(can_half_close(object()))

    def test_with_half_close_the_other_direction_stays_open(self):
        clock, transport, far = self.transport()
        transport.write(b"all")
        end_output(transport)
        clock.advance(0)
        self.assertEqual((far.received, far.ended, transport.connected), (b"all", True, True))

    def test_without_half_close_both_directions_end(self):
        clock, transport, far = self.transport(half_closes=False)
        transport.write(b"all")
        end_output(transport)
        clock.advance(0)
        self.assertEqual((far.received, far.gone, transport.connected), (b"all", True, False))

    def test_a_paused_producer_does_not_keep_the_connection_open(self):
        """twisted#6461: a paused producer that stays registered keeps a connection open."""
        for half_closes in (True, False):
            clock, transport, far = self.transport(half_closes=half_closes)
            producer, _ = connection(clock)
            transport.registerProducer(producer, True)
            end_output(transport)
            clock.advance(0)
            self.assertTrue(far.ended)
