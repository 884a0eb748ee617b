"""A turn of the poller takes a limited time, and what is left goes on fairly."""

from __future__ import annotations

from smartproxy.net import poller as poller_module
from smartproxy.net.poller import READABLE
from tests.net.pollers import Owner, PollerCase


class TurnTests(PollerCase):
    def slow(self, count, seconds):
        """Sockets whose events take ``seconds`` each; their numbers are told in order."""
        self.patch(poller_module, "_FEW", 1)
        self.told = []

        def handle(number):
            self.told.append(number)
            self.reactor.rightNow += seconds

        return [self.pair(Owner(lambda _, number=number: handle(number))) for number in range(count)]

    def test_a_turn_ends_when_its_time_is_used_up(self):
        """However many are ready, the rest of the reactor is served after 10 ms; what is left goes on, in order."""
        self.slow(30, 0.003)
        self.poller.doRead()
        self.assertEqual(self.told, [0, 1, 2, 3])
        while self.reactor.calls:
            self.turn()
            self.assertLessEqual(len(self.told) % 4, 4)
        self.assertEqual(self.told, list(range(30)))

    def test_a_postponed_event_of_a_closed_socket_is_dropped(self):
        """Its number may belong to another socket by the next turn."""
        pairs = self.slow(8, 0.006)
        self.poller.doRead()
        owner = self.poller._watched[pairs[5][0].fileno()]
        self.poller.close(pairs[5][0], owner)
        fresh = Owner()
        self.pair(fresh)
        while self.reactor.calls:
            self.turn()
        self.assertEqual(self.told, [0, 1, 2, 3, 4, 6, 7])

    def test_postponed_events_come_before_newer_ones(self):
        pairs = self.slow(4, 0.006)
        self.poller.doRead()
        self.assertEqual(self.told, [0, 1])
        pairs[0][1].send(b"x")
        while self.reactor.calls:
            self.turn()
        self.poller.doRead()
        self.assertEqual(self.told, [0, 1, 2, 3, 0])

    def test_in_a_crowd_each_event_has_its_share_of_the_time(self):
        """A bulk transfer beside many others moves less at once than one alone."""
        over = []

        def handle(_):
            over.append(self.poller.is_over())
            self.reactor.rightNow += 0.0015
            over.append(self.poller.is_over())

        self.pair(Owner(handle))
        self.poller.doRead()
        self.assertEqual(over, [False, False])
        over.clear()
        for _ in range(10):
            self.pair(Owner(handle))
        self.poller.doRead()
        self.assertEqual(over[:2], [False, True])

    def test_an_event_asked_for_again_and_again_does_not_starve_others(self):
        busy = Owner(lambda _: self.poller.again(one.fileno()))
        other = Owner()
        one, _ = self.pair(busy)
        _, far = self.pair(other)
        self.quietened(busy, other)
        for count in range(1, 4):
            far.send(b"x")
            self.turn()
            self.assertEqual((len(busy.events), len(other.events)), (count, count))

    def test_ends_are_dispatched_although_time_is_short(self):
        """Under constant load, lost connections would otherwise be kept for as long as it lasts."""
        self.crowd(35)
        for _ in range(12):
            self.pair(Owner(lambda _: setattr(self.reactor, "rightNow", self.reactor.rightNow + 1)))
        self.poller.doRead()
        before = len(self.told)
        self.assertLess(before, 35)
        while len(self.told) < 36:
            self.turn()
        self.assertEqual(sorted(map(str, self.told)), sorted(["living", *map(str, range(35))]))

    def test_what_was_asked_for_again_is_dispatched_in_the_next_turn(self):
        owner = Owner()
        near, _ = self.pair(owner)
        self.quietened(owner)
        self.poller.again(near.fileno())
        self.assertEqual(owner.events, [])
        self.turn()
        self.assertEqual(owner.events, [READABLE])
