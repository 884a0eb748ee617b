"""A result that many ask for is made once for all of them, and not before they asked."""

from __future__ import annotations

from functools import partial

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.admin import api
from smartproxy.admin.shared import SharedResult
from smartproxy.flow.slices import Slices
from tests.admin.doubles import FakeControl, Listener, parsed


class SharedTests(SynchronousTestCase):
    def setUp(self):
        self.making = []
        self.shared = SharedResult(self.make)

    async def make(self):
        made = Deferred()
        self.making.append(made)
        return await made

    def test_those_who_ask_while_one_is_made_share_the_next(self):
        first, *others = [self.shared.get() for _ in range(4)]
        self.assertEqual(len(self.making), 1)
        self.making[0].callback("a")
        self.assertEqual(self.successResultOf(first), "a")
        for other in others:
            self.assertNoResult(other)
        self.making[1].callback("b")
        self.assertEqual([self.successResultOf(other) for other in others], ["b"] * 3)
        self.assertEqual(len(self.making), 2)

    def test_nothing_is_kept(self):
        self.shared.get()
        self.making[0].callback("a")
        self.assertNoResult(self.shared.get())
        self.assertEqual(len(self.making), 2)

    def test_failure_is_that_of_all_who_asked_and_the_next_is_made(self):
        first, second = self.shared.get(), self.shared.get()
        self.making[0].errback(ValueError())
        self.failureResultOf(first, ValueError)
        self.making[1].callback("b")
        self.assertEqual(self.successResultOf(second), "b")


class ScrapeTests(SynchronousTestCase):
    def test_concurrent_scrapes_share_a_page_begun_after_them(self):
        self.patch(api, "Slices", partial(Slices, seconds=0.0))  # an iteration for each piece
        control = FakeControl()
        for number in range(5000):
            control.counters.route(f"route-{number}")
        listener = Listener(control)
        raw = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
        first = listener.send(raw)
        self.assertEqual(first.value(), b"")
        control.counters.zombie("half")
        later = [listener.send(raw) for _ in range(3)]
        listener.clock.pump([0] * 40)
        self.assertEqual(parsed(first.value()).status, 200)
        for scrape in later:
            self.assertIn(b'smartproxy_zombies_total{kind="half"} 1\n', scrape.value())
