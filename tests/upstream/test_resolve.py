"""Resolving names to addresses, with a cache that bridges slow or failing name servers."""

from __future__ import annotations

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IResolutionReceiver
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smartproxy.errors import DialFailed
from smartproxy.model.outcome import RejectReason
from smartproxy.upstream import resolve
from smartproxy.upstream.interfaces import IResolver
from smartproxy.upstream.resolve import FRESH, LOST, NEGATIVE, PATIENCE, Resolver, interleaved


class FakeNames:
    """A reactor's name resolver that answers when the test calls ``answer``."""

    def __init__(self):
        self.asked = []
        self.receivers = []

    def resolveHostName(self, receiver, name, *_, **__):
        self.asked.append(name)
        self.receivers.append(receiver)
        receiver.resolutionBegan(None)

    def answer(self, *hosts, index=-1):
        receiver = self.receivers[index]
        for host in hosts:
            kind = IPv6Address if ":" in host else IPv4Address
            receiver.addressResolved(kind("TCP", host, 0))
        receiver.resolutionComplete()


class Reactor:
    def __init__(self):
        self.nameResolver = FakeNames()


class ResolverTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.reactor = Reactor()
        self.names = self.reactor.nameResolver
        self.resolver = Resolver(self.reactor, self.clock)

    def resolve_and_answer(self, *hosts):
        waiting = self.resolver.resolve("a.example")
        self.names.answer(*hosts)
        return self.successResultOf(waiting)

    def test_provides_its_interfaces(self):
        verifyObject(IResolver, self.resolver)
        self.resolver.resolve("a.example")
        verifyObject(IResolutionReceiver, self.names.receivers[0])

    def test_addresses_of_both_families_alternate(self):
        self.assertEqual(
            self.resolve_and_answer("2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1"),
            ["2001:db8::1", "192.0.2.1", "2001:db8::2", "2001:db8::3"],
        )

    def test_first_address_of_the_resolver_stays_first(self):
        self.assertEqual(interleaved(["192.0.2.1", "192.0.2.2", "::1"]), ["192.0.2.1", "::1", "192.0.2.2"])
        self.assertEqual(interleaved(["::1"]), ["::1"])

    def test_duplicate_and_mapped_addresses_are_merged(self):
        self.assertEqual(self.resolve_and_answer("192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1"), ["192.0.2.1"])

    def test_name_with_ipv6_addresses_only(self):
        self.assertEqual(self.resolve_and_answer("2001:db8::1"), ["2001:db8::1"])

    def test_concurrent_lookups_share_one_query(self):
        first, second = self.resolver.resolve("a.example"), self.resolver.resolve("a.example")
        self.names.answer("192.0.2.1")
        self.assertEqual(self.successResultOf(first), ["192.0.2.1"])
        self.assertEqual(self.successResultOf(second), ["192.0.2.1"])
        self.assertEqual(self.names.asked, ["a.example"])

    def test_different_names_are_different_queries(self):
        self.resolver.resolve("a.example")
        self.resolver.resolve("b.example")
        self.assertEqual(self.names.asked, ["a.example", "b.example"])

    def test_fresh_answer_is_reused(self):
        self.resolve_and_answer("192.0.2.1")
        self.clock.advance(FRESH - 0.1)
        self.assertEqual(self.successResultOf(self.resolver.resolve("a.example")), ["192.0.2.1"])
        self.assertEqual(len(self.names.asked), 1)

    def test_stale_answer_is_returned_while_it_is_refreshed(self):
        self.resolve_and_answer("192.0.2.1")
        self.clock.advance(FRESH)
        self.assertEqual(self.successResultOf(self.resolver.resolve("a.example")), ["192.0.2.1"])
        self.assertEqual(len(self.names.asked), 2)
        self.resolver.resolve("a.example")
        self.assertEqual(len(self.names.asked), 2)
        self.names.answer("192.0.2.2")
        self.assertEqual(self.successResultOf(self.resolver.resolve("a.example")), ["192.0.2.2"])

    def test_last_good_answer_is_kept_while_refreshes_fail(self):
        self.resolve_and_answer("192.0.2.1")
        for asked in range(2, 6):
            self.clock.advance(FRESH)
            self.assertEqual(self.successResultOf(self.resolver.resolve("a.example")), ["192.0.2.1"])
            self.assertEqual(len(self.names.asked), asked)
            self.names.answer()
        self.clock.advance(FRESH)
        self.resolver.resolve("a.example")
        self.names.answer("192.0.2.9")
        self.assertEqual(self.successResultOf(self.resolver.resolve("a.example")), ["192.0.2.9"])

    def test_name_without_address_is_not_queried_for_a_moment(self):
        """Else a route with 600 clients a second makes 600 queries a second for a name that does not exist."""
        waiting = self.resolver.resolve("a.example")
        self.names.answer()
        self.assertIn("a.example", self.failureResultOf(waiting, DialFailed).value.detail)
        self.clock.advance(NEGATIVE / 2)
        self.failureResultOf(self.resolver.resolve("a.example"), DialFailed)
        self.assertEqual(len(self.names.asked), 1)
        self.clock.advance(NEGATIVE / 2)
        again = self.resolver.resolve("a.example")
        self.names.answer("192.0.2.1")
        self.assertEqual(self.successResultOf(again), ["192.0.2.1"])

    def test_missing_answer_fails_every_waiting_lookup(self):
        waiting = [self.resolver.resolve("a.example") for _ in range(2)]
        self.clock.advance(PATIENCE)
        reasons = [self.failureResultOf(one, DialFailed).value.reason for one in waiting]
        self.assertEqual(reasons, [RejectReason.UPSTREAM_TIMEOUT] * 2)

    def test_silent_name_fails_at_once_and_has_one_query(self):
        """``getaddrinfo`` cannot be cancelled: a second query would occupy a second thread."""
        self.be_silent("a.example")
        for _ in range(5):
            self.clock.advance(PATIENCE)
            self.failureResultOf(self.resolver.resolve("a.example"), DialFailed)
        self.assertEqual(self.names.asked, ["a.example"])

    def test_late_answer_is_used(self):
        self.be_silent("a.example")
        self.names.answer("192.0.2.1")
        self.assertEqual(self.successResultOf(self.resolver.resolve("a.example")), ["192.0.2.1"])

    def test_lost_query_is_repeated(self):
        """A resolver that an embedding program installed may forget a query."""
        self.be_silent("a.example")
        self.clock.advance(LOST - PATIENCE)
        again = self.resolver.resolve("a.example")
        self.names.answer("192.0.2.9", index=0)
        self.assertNoResult(again)
        self.names.answer("192.0.2.1")
        self.assertEqual(self.successResultOf(again), ["192.0.2.1"])

    def test_silent_name_keeps_its_known_addresses(self):
        self.resolve_and_answer("192.0.2.1")
        self.clock.advance(FRESH)
        for _ in range(4):
            self.assertEqual(self.successResultOf(self.resolver.resolve("a.example")), ["192.0.2.1"])
            self.clock.advance(PATIENCE)
        self.assertEqual(len(self.names.asked), 2)

    def test_one_log_line_per_name_and_interval(self):
        """Ten queries of a name fail in ten seconds; of twenty clients, none adds a line."""
        with capturedLogs() as logged:
            for _ in range(20):
                for name in ("a.example", "b.example"):
                    self.resolver.resolve(name).addErrback(lambda _: None)
                    self.names.answer()
                self.clock.advance(NEGATIVE / 2)
        lines = [event["name"] for event in logged if event["log_level"] is LogLevel.warn]
        self.assertEqual(sorted(lines), ["a.example"] * 2 + ["b.example"] * 2)

    def test_silent_name_is_logged(self):
        with capturedLogs() as logged:
            self.be_silent("a.example")
            self.names.answer()
        (line,) = [formatEvent(event) for event in logged if event["log_level"] is LogLevel.warn]
        self.assertEqual(line, "a.example has no address now: none is known")

    def test_stopped_resolver_has_no_timer(self):
        self.resolver.resolve("a.example")
        self.resolver.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_silent_names_have_threads_apart(self):
        """A callable may return any number of names; those known to be silent have threads apart."""
        silent = FakeNames()
        self.patch(self.resolver, "_silent_names", silent)
        self.be_silent("a.example")
        self.names.answer()
        self.clock.advance(NEGATIVE)
        self.resolver.resolve("a.example").addErrback(lambda _: None)
        self.assertEqual((self.names.asked, silent.asked), (["a.example"], ["a.example"]))
        silent.answer()
        self.clock.advance(NEGATIVE)
        self.resolver.resolve("a.example").addErrback(lambda _: None)
        self.assertEqual(len(self.names.asked), 2)

    def be_silent(self, name):
        waiting = self.resolver.resolve(name)
        self.clock.advance(PATIENCE)
        self.failureResultOf(waiting, DialFailed)

    def test_resolver_may_answer_synchronously(self):
        def at_once(receiver, name, *_, **__):
            self.names.receivers.append(receiver)
            self.names.answer(*hosts)

        self.names.resolveHostName = at_once
        for hosts in ((), ("192.0.2.1",)):
            answer = self.resolver.resolve("a.example")
            if hosts:
                self.assertEqual(self.successResultOf(answer), ["192.0.2.1"])
            else:
                self.failureResultOf(answer, DialFailed)
                self.clock.advance(NEGATIVE)

    def test_resolver_that_raises_fails_only_that_lookup(self):
        """A name returned by a callable may not be a valid one (IDNA)."""

        def refuse(receiver, name, *_, **__):
            raise UnicodeError("label too long")

        answer, self.names.resolveHostName = self.names.resolveHostName, refuse
        self.failureResultOf(self.resolver.resolve("a.example"), DialFailed)
        self.names.resolveHostName = answer
        self.clock.advance(NEGATIVE)
        waiting = self.resolver.resolve("a.example")
        self.names.answer("192.0.2.1")
        self.assertEqual(self.successResultOf(waiting), ["192.0.2.1"])

    def test_cancelling_one_lookup_keeps_the_others(self):
        cancelled, kept = self.resolver.resolve("a.example"), self.resolver.resolve("a.example")
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        self.names.answer("192.0.2.1")
        self.assertEqual(self.successResultOf(kept), ["192.0.2.1"])

    def test_cache_of_names_is_bounded(self):
        self.patch(resolve, "_MOST", 3)
        for number in range(10):
            self.resolver.resolve(f"{number}.example")
            self.names.answer("192.0.2.1")
        self.assertEqual(len(self.resolver._known), 3)

    def test_number_of_silent_names_is_bounded(self):
        self.patch(resolve, "_MOST", 3)
        waiting = [self.resolver.resolve(f"{number}.example") for number in range(4)]
        self.assertIn("3.example", self.failureResultOf(waiting.pop(), DialFailed).value.detail)
        self.assertEqual((len(self.resolver._known), len(self.names.asked)), (3, 3))

    def test_callers_get_separate_lists(self):
        self.resolve_and_answer("192.0.2.1", "192.0.2.2").clear()
        self.assertEqual(len(self.successResultOf(self.resolver.resolve("a.example"))), 2)
