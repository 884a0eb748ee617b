"""Limits: exact in any window, bounded in memory, and each checked as soon as its facts are known."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.outcome import RejectReason
from smartproxy.model.plan import MatchPlan, ProxyPlan, RoutePlan
from smartproxy.security.address_set import AddressSet
from smartproxy.security.client_key import client_key
from smartproxy.security.limits import WINDOW, Admission, RateWindows


@dataclass
class Live:
    """Counts like those of the registry of connections."""

    active: int = 0
    by_ip: dict[str, int] = field(default_factory=dict)
    by_route: dict[str, int] = field(default_factory=dict)

    def may_open(self, limit: int) -> bool:
        return self.active < limit

    def may_add_client(self, ip: str, limit: int) -> bool:
        return self.by_ip.get(ip, 0) < limit

    def may_assign(self, route: str, limit: int) -> bool:
        return self.by_route.get(route, 0) < limit


class Lingering(list):
    """Sockets that linger; one of them is closed where room is needed."""

    def make_room(self) -> None:
        self.pop()


def a_route(**given) -> RoutePlan:
    return RoutePlan("web", 0, MatchPlan((range(80, 81),)), **given)


class RateWindowsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def test_connections_over_the_limit_are_refused(self) -> None:
        rate = RateWindows(self.clock.seconds)
        self.assertEqual([rate.allow("192.0.2.1", 3) for _ in range(5)], [True, True, True, False, False])

    def test_each_client_has_its_own_limit(self) -> None:
        rate = RateWindows(self.clock.seconds)
        self.assertTrue(rate.allow("192.0.2.1", 1))
        self.assertTrue(rate.allow("192.0.2.2", 1))
        self.assertFalse(rate.allow("192.0.2.1", 1))

    def test_the_window_slides(self) -> None:
        """Counters that restart each minute would admit twice the limit around the restart."""
        rate = RateWindows(self.clock.seconds)
        self.clock.advance(59)
        self.assertTrue(rate.allow("192.0.2.1", 2))
        self.clock.advance(2)
        self.assertTrue(rate.allow("192.0.2.1", 2))
        self.clock.advance(57)
        self.assertFalse(rate.allow("192.0.2.1", 2), "two stand in the last 60 seconds")
        self.clock.advance(1)
        self.assertTrue(rate.allow("192.0.2.1", 2), "the first is exactly 60 seconds old")

    def test_refused_attempts_do_not_count(self) -> None:
        """A client that keeps trying is admitted at its limit, and not locked out."""
        rate = RateWindows(self.clock.seconds)
        allowed = 0
        for _ in range(300):
            allowed += rate.allow("192.0.2.1", 1)
            self.clock.advance(1)
        self.assertEqual(allowed, 5)

    def test_a_changed_limit_applies_to_recorded_connections(self) -> None:
        """A reload that changes the limit resets no client."""
        rate = RateWindows(self.clock.seconds)
        self.assertEqual([rate.allow("192.0.2.1", 2) for _ in range(3)], [True, True, False])
        self.assertEqual([rate.allow("192.0.2.1", 3) for _ in range(2)], [True, False])
        self.assertFalse(rate.allow("192.0.2.1", 1))

    def test_an_ipv6_network_is_one_client_where_configured(self) -> None:
        """One client has at least a /64, and could use another address for each connection."""
        rate = RateWindows(self.clock.seconds)
        rate.regroup(64)
        self.assertEqual([rate.allow(f"2001:db8::{n}", 3) for n in range(1, 6)], [True] * 3 + [False] * 2)
        self.assertTrue(rate.allow("2001:db8:0:1::1", 3), "another /64")
        self.assertTrue(all(rate.allow(f"192.0.2.{n}", 1) for n in range(9)), "IPv4 is not grouped")

    def test_a_changed_prefix_forgives_and_invents_no_connection(self) -> None:
        rate = RateWindows(self.clock.seconds)
        one, other, far = "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"
        for ip in (one, other, other, far, "192.0.2.1"):
            rate.allow(ip, 9)
        for prefix, counts in (
            (64, (3, 3, 1)),
            (48, (4, 4, 4)),
            (128, (1, 2, 1)),
            (56, (4, 4, 4)),
            (128, (1, 2, 1)),
        ):
            rate.regroup(prefix)
            for ip, count in zip((one, other, far), counts, strict=True):
                self.assertFalse(rate.allow(ip, count), (prefix, ip))
            self.assertFalse(rate.allow("192.0.2.1", 1), prefix)
        self.assertTrue(rate.allow(other, 3), "it has two")

    @given(
        st.integers(1, 4),
        st.lists(
            st.tuples(
                st.sampled_from(["2001:db8::1", "2001:db8::2", "2001:db8:1::1", "192.0.2.1"]),
                st.sampled_from([0, 1, 29, 59, 60, 61, 130]),
                st.sampled_from([None, 32, 48, 64, 128]),
            ),
            max_size=60,
        ),
    )
    def test_changed_prefixes_decide_as_a_full_record_would(self, limit, attempts) -> None:
        clock = Clock()
        rate = RateWindows(clock.seconds)
        prefix = 128
        admitted: list[tuple[str, float]] = []
        for ip, wait, changed in attempts:
            clock.advance(wait)
            if changed is not None:
                prefix = changed
                rate.regroup(prefix)
            now = clock.seconds()
            own = client_key(ip, prefix)
            expected = (
                sum(client_key(who, prefix) == own and at > now - WINDOW for who, at in admitted) < limit
            )
            self.assertEqual(rate.allow(ip, limit), expected)
            if expected:
                admitted.append((ip, now))

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["record", "record", "record", "withdraw", "regroup"]),
                st.sampled_from(["2001:db8::1", "2001:db8::2", "2001:db8:1::1", "192.0.2.1"]),
                st.sampled_from([0, 0, 1, 29, 59, 61, 130]),
                st.sampled_from([0, 0, 1, 30, 70]),
                st.sampled_from([32, 64, 128]),
            ),
            max_size=60,
        ),
    )
    def test_connections_admitted_elsewhere_are_recorded_in_any_order(self, steps) -> None:
        """Other processes tell of theirs a moment later, and take some of them back."""
        clock = Clock()
        rate = RateWindows(clock.seconds)
        prefix = 128
        admitted: list[tuple[str, float]] = []
        for what, ip, wait, ago, changed in steps:
            clock.advance(wait)
            now = clock.seconds()
            if what == "regroup":
                prefix = changed
                rate.regroup(prefix)
            elif what == "record":
                rate.record(ip, now - ago)
                admitted.append((ip, now - ago))
            elif admitted:
                withdrawn = admitted.pop(len(admitted) // 2)
                rate.withdraw(*withdrawn)
            own = client_key(ip, prefix)
            count = sum(client_key(who, prefix) == own and at > now - WINDOW for who, at in admitted)
            self.assertTrue(rate.has_room(ip, count + 1, now))
            self.assertFalse(count and rate.has_room(ip, count, now))

    def test_memory_is_bounded_for_connections_admitted_elsewhere(self) -> None:
        """No limit says how many of a client are kept."""
        rate = RateWindows(self.clock.seconds)
        rate.regroup(64)
        for number in range(20_000):
            rate.record(f"2001:db8::{number:x}", self.clock.seconds())
            rate.record("192.0.2.1", self.clock.seconds())
            self.clock.advance(0.1)
        for times in rate._recent.values():
            self.assertLessEqual(len(times), 2 * 600 + 1)
            self.assertEqual(len(getattr(times, "addresses", times)), len(times))

    @given(
        st.integers(1, 4),
        st.lists(
            st.tuples(st.sampled_from("abc"), st.sampled_from([0, 1, 7, 29, 30, 59, 60, 61, 130])),
            max_size=60,
        ),
    )
    def test_it_decides_as_a_full_record_of_connections_would(self, limit, attempts) -> None:
        clock = Clock()
        rate = RateWindows(clock.seconds)
        admitted: list[tuple[str, float]] = []
        for client, wait in attempts:
            clock.advance(wait)
            now = clock.seconds()
            expected = sum(who == client and at > now - WINDOW for who, at in admitted) < limit
            self.assertEqual(rate.allow(client, limit), expected)
            if expected:
                admitted.append((client, now))

    def test_memory_is_bounded_by_two_minutes_of_connections(self) -> None:
        """Otherwise a flood from many addresses would fill the memory."""
        rate = RateWindows(self.clock.seconds)
        most = 0
        for number in range(20_000):
            rate.allow(f"2001:db8::{number:x}", 5)
            self.clock.advance(0.1)
            most = max(most, len(rate))
        self.assertLessEqual(most, 2 * 600 + 2)

    def test_memory_is_bounded_for_networks_too(self) -> None:
        """Each address of a network is kept as long as the time at which it connected."""
        rate = RateWindows(self.clock.seconds)
        rate.regroup(64)
        for number in range(20_000):
            rate.allow(f"2001:db8::{number:x}", 700)
            self.clock.advance(0.1)
        (times,) = rate._recent.values()
        self.assertLessEqual(len(times.addresses), 700)
        self.assertEqual(len(times.addresses), len(times))

    def test_prune_discards_clients_after_two_windows(self) -> None:
        rate = RateWindows(self.clock.seconds)
        rate.allow("192.0.2.1", 5)
        rate.prune()
        self.assertEqual(len(rate), 1)
        self.clock.advance(WINDOW)
        rate.prune()
        self.assertEqual(len(rate), 1, "it could still have come a second ago")
        self.clock.advance(WINDOW)
        rate.prune()
        self.assertEqual(len(rate), 0)

    def test_prune_after_two_idle_windows_discards_all(self) -> None:
        rate = RateWindows(self.clock.seconds)
        rate.allow("192.0.2.1", 5)
        self.clock.advance(3 * WINDOW)
        rate.prune()
        self.assertEqual(len(rate), 0)


class AdmissionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.live = Live()
        self.lingering = Lingering()

    def admission(self, **limits) -> Admission:
        return Admission(ProxyPlan((), **limits), self.live, RateWindows(self.clock.seconds), self.lingering)

    def test_without_limits_every_connection_is_admitted(self) -> None:
        self.live.active = 10**6
        self.live.by_ip["192.0.2.1"] = 10**6
        self.live.by_route["web"] = 10**6
        admission = self.admission()
        self.assertIsNone(admission.accept())
        self.assertIsNone(admission.client("192.0.2.1"))
        self.assertIsNone(admission.route(a_route(), "192.0.2.1"))

    def test_the_global_limit_counts_live_connections(self) -> None:
        admission = self.admission(max_connections=2)
        self.live.active = 1
        self.assertIsNone(admission.accept())
        self.live.active = 2
        self.assertIs(admission.accept(), RejectReason.GLOBAL_LIMIT)

    def test_a_live_connection_takes_the_place_of_one_that_lingers(self) -> None:
        """Sockets of both do not exceed the limit, and refused clients do not shut out others."""
        admission = self.admission(max_connections=3)
        self.live.active = 1
        self.lingering.append("a")
        self.assertIsNone(admission.accept())
        self.assertEqual(self.lingering, ["a"])
        self.lingering.append("b")
        self.assertIsNone(admission.accept())
        self.assertEqual(self.lingering, ["a"])

    def test_what_lingers_is_not_closed_for_one_that_is_refused(self) -> None:
        admission = self.admission(max_connections=2)
        self.live.active = 2
        self.lingering.append("a")
        self.assertIs(admission.accept(), RejectReason.GLOBAL_LIMIT)
        self.assertEqual(self.lingering, ["a"])

    def test_the_limit_per_ip_counts_that_client_only(self) -> None:
        admission = self.admission(max_connections_per_ip=1)
        self.live.by_ip["192.0.2.1"] = 1
        self.assertIs(admission.client("192.0.2.1"), RejectReason.IP_LIMIT)
        self.assertIsNone(admission.client("192.0.2.2"))

    def test_the_rate_is_checked_before_the_limit_per_ip(self) -> None:
        """A client at its limit per IP still uses up its rate."""
        admission = self.admission(max_connections_per_ip=1, connection_rate_per_minute=1)
        self.live.by_ip["192.0.2.1"] = 1
        self.assertIs(admission.client("192.0.2.1"), RejectReason.IP_LIMIT)
        self.assertIs(admission.client("192.0.2.1"), RejectReason.RATE_LIMIT)

    def test_a_route_limit_counts_that_route_only(self) -> None:
        admission = self.admission()
        self.live.by_route = {"web": 3, "mail": 9}
        self.assertIs(admission.route(a_route(max_connections=3), "192.0.2.1"), RejectReason.ROUTE_LIMIT)
        self.assertIsNone(admission.route(a_route(max_connections=4), "192.0.2.1"))

    def test_the_block_list_wins_over_the_allow_list(self) -> None:
        route = a_route(block=AddressSet(["10.0.0.1"]), allow=AddressSet(["10.0.0.0/8"]))
        admission = self.admission()
        self.assertIs(admission.route(route, "10.0.0.1"), RejectReason.IP_BLOCKED)
        self.assertIsNone(admission.route(route, "10.0.0.2"))
        self.assertIs(admission.route(route, "11.0.0.1"), RejectReason.IP_NOT_ALLOWED)

    def test_lists_are_checked_before_the_route_limit(self) -> None:
        route = a_route(block=AddressSet(["10.0.0.1"]), max_connections=1)
        self.live.by_route["web"] = 1
        self.assertIs(self.admission().route(route, "10.0.0.1"), RejectReason.IP_BLOCKED)

    def test_an_empty_allow_list_admits_everyone(self) -> None:
        self.assertIsNone(self.admission().route(a_route(allow=AddressSet([])), "192.0.2.1"))
