"""The relay between Twisted's own transports, which it has where there is no poller, on each of Twisted's reactors."""

from __future__ import annotations

import asyncio
import select
from functools import cache

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.pollreactor import PollReactor
from twisted.internet.selectreactor import SelectReactor
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.outcome import CloseReason
from tests.relays.relaying import noise
from tests.relays.test_over_sockets import OverSockets
from tests.relays.worlds import TwistedWorld


@cache
def reactor(kind):
    """One of each kind for all tests: it is never installed, and only turned by hand."""
    if kind is AsyncioSelectorReactor:
        return kind(asyncio.new_event_loop())
    return kind()


class OverTwisted(OverSockets):
    kind = EPollReactor

    def world(self, **nature):
        return TwistedWorld(self, reactor(self.kind), **nature)

    def phases(self):
        """Without those in which Twisted watches one of the sockets for nothing, and does not notice its reset."""
        return (each for each in super().phases() if not each[0].endswith("has ended"))

    def write_before_the_event(self, world) -> None:
        world.near[0].transport.doRead()
        world.near[1].transport.doWrite()


class EPollReactorTests(OverTwisted, SynchronousTestCase):
    def hang_up(self, world, far):
        """Report a hang-up without readable data, as epoll_wait() does on another CPU in the midst of tcp_done()."""
        transport = world.near[(world.client, world.upstream).index(far)].transport
        events = select.EPOLLHUP | select.EPOLLERR
        world.pump.reactor._doReadOrWrite(transport, transport.fileno(), events)

    def test_a_reset_reported_as_a_hang_up_is_no_clean_end(self):
        """Twisted takes it for a FIN; relayed as one, a truncated answer would look complete."""
        for index, reason in enumerate((CloseReason.CLIENT_RESET, CloseReason.UPSTREAM_RESET)):
            world = self.linked()
            ends = world.client, world.upstream
            ends[index].write(b"half of it")
            world.settle()
            ends[index].rst()
            self.hang_up(world, ends[index])
            self.assert_over(world, reason)
            receiver = ends[1 - index]
            self.assertEqual(
                (receiver.received, receiver.ended, receiver.was_reset), (b"half of it", False, True)
            )
            world.assert_nothing_is_left(self)

    def test_an_answer_is_read_although_a_write_met_the_reset_first(self):
        """A server refuses a long upload and closes: Twisted would lose the connection without reading the answer."""
        world = self.linked()
        world.upstream.reading = False
        world.client.write(b"unread")
        world.settle()
        world.upstream.write(noise(60_000))
        world.upstream.close()
        transport = world.near[1].transport
        transport.write(b"more of the upload")
        world.pump.reactor._doReadOrWrite(transport, transport.fileno(), select.EPOLLOUT)
        self.assert_over(world, CloseReason.UPSTREAM_RESET)
        self.assert_same(world.client.received, noise(60_000))
        self.assertEqual((world.client.ended, world.client.was_reset), (False, True))
        world.assert_nothing_is_left(self)

    def test_events_of_a_turn_in_which_the_other_side_was_lost(self):
        """One epoll_wait() reports both: the second is handled although the first has stopped its reading."""
        for index, reason in enumerate((CloseReason.CLIENT_RESET, CloseReason.UPSTREAM_RESET)):
            for last in ("fin", "bytes", "bytes and fin"):
                with self.subTest(first=reason, last=last):
                    self.second_event(index, reason, last)

    def second_event(self, index, reason, last):
        world = self.linked()
        ends = world.client, world.upstream
        ends[index].rst()
        other = ends[1 - index]
        if "bytes" in last:
            other.write(b"to nobody")
        if "fin" in last:
            other.fin()
        first, second = (world.near[which].transport for which in (index, 1 - index))
        descriptor = second.fileno()
        world.pump.reactor._doReadOrWrite(first, first.fileno(), select.EPOLLIN | select.EPOLLERR)
        self.assertFalse(first.connected)
        for _ in range(2):
            world.pump.reactor._doReadOrWrite(second, descriptor, select.EPOLLIN)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assert_over(world, reason)
        self.assertEqual((world.record.bytes_received, world.record.bytes_sent), (0, 0))
        self.assertTrue(other.was_reset)
        world.assert_nothing_is_left(self)

    def test_a_reset_reported_as_a_hang_up_before_the_link_is_no_clean_end(self):
        world = self.world()
        world.client.write(b"ask")
        world.settle()
        world.client.rst()
        self.hang_up(world, world.client)
        world.link()
        self.assert_over(world, CloseReason.CLIENT_RESET)
        self.assertEqual((world.upstream.received, world.upstream.ended), (b"ask", False))


def resets_only(case):
    """Only the tests of how a connection ends: turning a reactor by hand takes time."""
    for name in dir(case):
        if name.startswith("test_") and not ("reset" in name or "answer" in name):
            setattr(case, name, _tested_on_epoll)
    return case


def _tested_on_epoll(_case):
    """Left out."""


_tested_on_epoll.skip = "how bytes move does not depend on the reactor: tested on epoll"


@resets_only
class PollReactorTests(OverTwisted, SynchronousTestCase):
    kind = PollReactor


@resets_only
class SelectReactorTests(OverTwisted, SynchronousTestCase):
    kind = SelectReactor


@resets_only
class AsyncioReactorTests(OverTwisted, SynchronousTestCase):
    kind = AsyncioSelectorReactor
