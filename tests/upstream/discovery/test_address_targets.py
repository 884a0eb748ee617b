"""Groups whose targets are the addresses of names: from the answer to the connection."""

from __future__ import annotations

from twisted.logger import capturedLogs, formatEvent
from zope.interface.verify import verifyObject

from smartproxy.errors import Refused
from smartproxy.model.outcome import RejectReason
from smartproxy.model.plan import BalancingPlan, OriginationPlan, QueuePlan
from smartproxy.model.plan.check import CheckKind, CheckPlan
from smartproxy.upstream.discovery.group_sources import MOST_TARGETS
from smartproxy.upstream.discovery.interfaces import ITargetSource
from smartproxy.upstream.member import LAST_SCRAPE, HandState
from tests.upstream.discovery.discovering import CLIENT, ServiceCase, by_name, by_service, fixed


class AddressTests(ServiceCase):
    def test_each_address_is_a_target(self):
        self.has("app.test", "192.0.2.1", "192.0.2.2", "2001:db8::1")
        self.find(by_name("app.test", max_connections=3))
        self.assertEqual(self.targets(), ["192.0.2.1:80", "192.0.2.2:80", "[2001:db8::1]:80"])
        self.assertEqual({one.limit for one in self.group.candidates}, {3})
        self.assertEqual(len({self.connect().name for _ in range(3)}), 3)
        verifyObject(ITargetSource, self.discovery._source_of(by_name("app.test")))

    def test_port_of_the_client(self):
        self.has("app.test", "192.0.2.1")
        self.find(by_name("app.test", port=None))
        self.assertEqual(self.targets(), ["192.0.2.1:preserve"])

    def test_first_client_waits_for_the_answer(self):
        self.records.zone["app.test"] = None
        self.use(by_name("app.test"))
        self.assertIsNone(self.group.take(CLIENT))
        waiting = [self.group.wait_for_room(CLIENT, 5), self.group.wait_for_room(CLIENT, 5)]
        self.pass_time(1)
        self.has("app.test", "192.0.2.1")
        self.records.waiting["app.test"].callback(self.records.zone["app.test"])
        self.pass_time()
        self.assertEqual([self.successResultOf(one).name for one in waiting], ["192.0.2.1:80"] * 2)

    def test_client_waits_no_longer_than_it_may(self):
        self.records.zone["app.test"] = None
        self.use(by_name("app.test"))
        waiting = self.group.wait_for_room(CLIENT, 2)
        self.pass_time(2.5)
        refused = self.failureResultOf(waiting, Refused).value
        self.assertEqual(refused.reason, RejectReason.NO_TARGET)
        self.assertEqual(refused.detail, "no target of group app was found in 2 s")

    def test_client_without_limit_waits(self):
        self.records.zone["app.test"] = None
        self.use(by_name("app.test"))
        waiting = self.group.wait_for_room(CLIENT, 0)
        self.pass_time(9)
        self.assertNoResult(waiting)
        self.pass_time(3)
        self.failureResultOf(waiting, Refused)

    def test_client_is_refused_when_nothing_was_found(self):
        self.use(by_name("app.test"))
        waiting = self.group.wait_for_room(CLIENT, 5)
        self.pass_time(0.5)
        self.assertEqual(self.failureResultOf(waiting, Refused).value.reason, RejectReason.NO_TARGET)
        self.assertEqual(self.no_target().detail, "no target of group app was found")
        self.has("app.test", "192.0.2.1")
        self.pass_time(3)
        self.assertEqual(self.connect().name, "192.0.2.1:80")

    def test_client_is_not_kept_waiting_where_another_target_is_known(self):
        self.records.zone["app.test"] = None
        self.use(by_name("app.test"), fixed("192.0.2.9"))
        self.assertEqual(self.connect().name, "192.0.2.9:80")

    def test_target_that_leaves_drains(self):
        """It gets no connection, is shown as long as it has one, and its series end behind that."""
        self.has("app.test", "192.0.2.1", ttl=1)
        self.find(by_name("app.test"))
        session = self.connect()
        self.has("app.test", "192.0.2.2", ttl=1)
        self.pass_time(2)
        self.assertEqual({self.connect().name for _ in range(4)}, {"192.0.2.2:80"})
        self.assertEqual(self.shown(), {"192.0.2.2:80": "up", "192.0.2.1:80": "drain"})
        shown = self.steering.targets("app")[-1]
        self.assertEqual((shown.connections, shown.effective_weight), (1, 0))
        up = {one.name: one.up for one in self.steering.target_counts()}
        self.assertEqual(up, {"192.0.2.1:80": False, "192.0.2.2:80": True})
        self.groups.members.prune(self.clock.seconds())
        self.group.release(session)
        self.assertEqual(self.shown(), {"192.0.2.2:80": "up"})
        self.clock.advance(LAST_SCRAPE)
        self.groups.members.prune(self.clock.seconds())
        self.assertEqual([member.name for member in self.groups.members], ["192.0.2.2:80"])

    def test_target_that_drains_is_shown_with_the_reason_for_that(self):
        """Not with what had taken it out before: that does not keep it out now."""
        self.has("app.test", "192.0.2.1", "192.0.2.2", ttl=1)
        self.find(by_name("app.test"))
        for _ in range(2):
            self.connect()
        self.group.failed(self.connect(), "refused", "it is closed")
        self.steering.set_state("app", "192.0.2.2:80", "down")
        self.has("app.test", "192.0.2.3", ttl=1)
        self.pass_time(2)
        shown = {one.name: (one.state, one.why, one.set_by_hand) for one in self.steering.targets("app")}
        removed = ("drain", "removed from the group", False)
        self.assertEqual(
            shown,
            {"192.0.2.3:80": ("up", None, False), "192.0.2.1:80": removed, "192.0.2.2:80": removed},
        )

    def test_target_that_comes_back_while_it_drains_is_the_same(self):
        self.has("app.test", "192.0.2.1", ttl=1)
        self.find(by_name("app.test"))
        member = self.connect().member
        self.has("app.test", "192.0.2.2", ttl=1)
        self.pass_time(2)
        self.has("app.test", "192.0.2.1", ttl=1)
        self.pass_time(2)
        self.assertIs(self.group.candidates[0].member, member)
        self.assertEqual(self.shown(), {"192.0.2.1:80": "up"})

    def test_state_turn_and_what_was_set_by_hand_outlive_a_change(self):
        self.has("app.test", "192.0.2.1", "192.0.2.2", ttl=1)
        self.find(by_name("app.test"))
        first = self.connect().name
        self.groups.members.find("app", "192.0.2.2:80").set_by_hand(HandState.DRAIN, None, 0)
        self.has("app.test", "192.0.2.1", "192.0.2.2", "192.0.2.3", ttl=1)
        self.pass_time(2)
        self.assertEqual(first, "192.0.2.1:80")
        self.assertEqual([self.connect().name for _ in range(2)], ["192.0.2.3:80", "192.0.2.1:80"])
        self.assertEqual(self.shown()["192.0.2.2:80"], "drain")

    def test_what_was_set_by_hand_outlives_an_absence(self):
        """A machine in maintenance may be out of the DNS for hours: it must not serve as soon as it is back."""
        self.has("app.test", "192.0.2.1", "192.0.2.2", ttl=1)
        self.find(by_name("app.test"))
        self.steering.set_state("app", "192.0.2.2:80", "drain")
        self.steering.set_weight("app", "192.0.2.2:80", 7)
        self.return_after_absence()
        self.assertEqual({self.connect().name for _ in range(4)}, {"192.0.2.1:80"})
        shown = self.steering.targets("app")[1]
        self.assertEqual((shown.state, shown.set_by_hand, shown.weight), ("drain", True, 7))
        self.steering.set_state("app", "192.0.2.2:80", "up")
        self.steering.set_weight("app", "192.0.2.2:80", None)
        self.return_after_absence()
        self.assertEqual({self.connect().name for _ in range(4)}, {"192.0.2.1:80", "192.0.2.2:80"})
        self.assertFalse(self.steering.targets("app")[1].set_by_hand)

    def return_after_absence(self):
        self.has("app.test", "192.0.2.1", ttl=1)
        self.pass_time(LAST_SCRAPE + 5)
        self.groups.members.prune(self.clock.seconds())
        self.assertIsNone(self.groups.members.find("app", "192.0.2.2:80"))
        self.has("app.test", "192.0.2.1", "192.0.2.2", ttl=1)
        self.pass_time(2)

    def test_target_that_joins_begins_slowly(self):
        self.has("app.test", "192.0.2.1", ttl=1)
        self.find(by_name("app.test"), balancing=BalancingPlan(slow_start=100))
        self.assertFalse(self.group.candidates[0].is_ramping)
        self.has("app.test", "192.0.2.1", "192.0.2.2", ttl=1)
        self.pass_time(2)
        self.assertEqual([one.is_ramping for one in self.group.candidates], [False, True])

    def shares(self):
        return [candidate.share() for candidate in self.group.candidates]

    def test_start_of_the_proxy_is_not_slow(self):
        """Else a target that needs no answer gets nearly every connection for the time of ``slowStart``."""
        self.has("app.test", "192.0.2.2", "192.0.2.3")
        self.find(fixed("192.0.2.1"), by_name("app.test"), balancing=BalancingPlan(slow_start=100.0))
        self.assertEqual(self.shares(), [1.0, 1.0, 1.0])

    def test_start_is_not_slow_for_the_last_name_that_is_answered(self):
        self.has("one.test", "192.0.2.1")
        self.records.zone["two.test"] = None
        self.find(by_name("one.test", "two.test"), balancing=BalancingPlan(slow_start=100.0))
        self.pass_time(2)
        self.assertEqual(self.targets(), ["192.0.2.1:80"])
        self.has("two.test", "192.0.2.2")
        self.records.waiting["two.test"].callback(self.records.zone["two.test"])
        self.pass_time(0.5)
        self.assertEqual((self.targets(), self.shares()), (["192.0.2.1:80", "192.0.2.2:80"], [1.0, 1.0]))

    def test_targets_of_a_name_that_a_reload_adds_begin_slowly(self):
        """They join a group that is in use, though its names are asked for as at a start."""
        slow = BalancingPlan(slow_start=100.0)
        self.has("one.test", "192.0.2.1")
        self.find(by_name("one.test"), balancing=slow)
        self.has("two.test", "192.0.2.2")
        self.find(by_name("one.test"), by_name("two.test"), balancing=slow)
        self.assertEqual([one.is_ramping for one in self.group.candidates], [False, True])

    def test_target_that_is_found_after_a_failed_start_begins_slowly(self):
        self.find(fixed("192.0.2.1"), by_name("app.test"), balancing=BalancingPlan(slow_start=100.0))
        self.has("app.test", "192.0.2.2")
        self.pass_time(3)
        self.assertEqual([one.is_ramping for one in self.group.candidates], [False, True])

    def test_queued_client_is_served_by_a_new_target(self):
        self.has("app.test", "192.0.2.1", ttl=1)
        self.find(by_name("app.test", max_connections=1), queue=QueuePlan(10, 60.0))
        self.connect()
        self.assertIsNone(self.connect())
        waiting = self.group.wait_for_room(CLIENT, 5)
        self.has("app.test", "192.0.2.1", "192.0.2.2", ttl=1)
        self.pass_time(2)
        self.assertEqual(self.successResultOf(waiting).name, "192.0.2.2:80")

    def test_same_address_of_two_names_is_one_target(self):
        self.has("a.test", "192.0.2.1")
        self.has("b.test", "192.0.2.1", "192.0.2.2")
        self.find(by_name("a.test"), by_name("b.test"), by_name("a.test", port=81))
        self.assertEqual(self.targets(), ["192.0.2.1:80", "192.0.2.2:80", "192.0.2.1:81"])
        self.find(by_name("a.test", "b.test"), fixed("192.0.2.2"))
        self.assertEqual(self.targets(), ["192.0.2.1:80", "192.0.2.2:80"])

    def test_reload_keeps_what_was_found(self):
        self.has("app.test", "192.0.2.1", ttl=100)
        self.find(by_name("app.test"))
        asked = len(self.records.asked)
        with capturedLogs() as events:
            self.use(by_name("app.test", weight=7), fixed("192.0.2.9", weight=0))
        self.assertEqual(self.targets(), ["192.0.2.1:80", "192.0.2.9:80"])
        self.assertEqual(self.group.candidates[0].weight, 7)
        self.pass_time(5)
        self.assertEqual(len(self.records.asked), asked)
        self.assertEqual(
            [formatEvent(event) for event in events],
            ["group app has other targets: 192.0.2.9:80 joined; weight of 192.0.2.1:80 1 to 7"],
        )

    def test_name_that_is_not_configured_any_more_is_not_asked_for(self):
        self.has("app.test", "192.0.2.1", ttl=1)
        self.find(by_name("app.test"))
        self.find(fixed("192.0.2.9"))
        asked = len(self.records.asked)
        self.pass_time(5)
        self.assertEqual((len(self.records.asked), len(self.names)), (asked, 0))

    def test_stop_ends_everything(self):
        self.has("app.test", "192.0.2.1", ttl=1)
        self.find(by_name("app.test"), by_service("_x._tcp.test"))
        self.has("app.test", "192.0.2.2", ttl=1)
        self.discovery.stop()
        before = self.configured
        self.pass_time(20)
        self.assertEqual((len(self.names), self.configured, len(self.deadlines)), (0, before, 0))

    def test_a_thousand_targets_at_most(self):
        many = [f"10.{number >> 8}.{number & 255}.1" for number in range(MOST_TARGETS + 5)]
        self.has("app.test", *many, ttl=1)
        with capturedLogs() as events:
            self.find(by_name("app.test"), fixed("192.0.2.9"))
            self.assertEqual(len(self.targets()), MOST_TARGETS + 1)
            self.has("app.test", *many, "10.9.9.9", ttl=1)
            self.pass_time(2)
        lines = [formatEvent(event) for event in events if "too many" in event["log_format"]]
        self.assertEqual(lines, ["group app has too many discovered targets: 5 are left out"])

    def test_changes_are_logged_once(self):
        self.has("app.test", *(f"192.0.2.{number}" for number in range(1, 13)), ttl=1)
        with capturedLogs() as events:
            self.find(by_name("app.test"))
            self.has("app.test", "192.0.2.1", "192.0.2.99", ttl=1)
            self.pass_time(3)
        lines = [formatEvent(event) for event in events]
        self.assertTrue(lines[0].endswith("192.0.2.10:80 and 2 more joined"), lines)
        self.assertEqual(len(lines), 2)
        self.assertIn("192.0.2.99:80 joined; 192.0.2.2:80, ", lines[1])

    def test_tls_and_http_checks_ask_for_the_name(self):
        """A certificate is for the name, and not for the address that it has now."""
        self.has("App.test.", "192.0.2.1")
        check = CheckPlan(CheckKind.HTTP, tls=OriginationPlan())
        self.find(by_name("App.test.", tls=OriginationPlan(), check=check))
        target = self.group.candidates[0].target
        self.assertEqual(target.tls.name_for("192.0.2.1", None), "app.test")
        self.assertEqual((target.check.tls.server_name, target.check.http.host), ("app.test", "app.test:80"))

    def test_name_of_the_configuration_is_kept(self):
        self.has("app.test", "192.0.2.1")
        self.find(by_name("app.test", tls=OriginationPlan(server_name="other.test")))
        self.assertEqual(self.group.candidates[0].target.tls.server_name, "other.test")

    def test_address_has_no_name(self):
        self.has("192.0.2.1", "192.0.2.1", ttl=float("inf"))
        self.find(by_name("192.0.2.1", tls=OriginationPlan(), check=CheckPlan(CheckKind.HTTP)))
        target = self.group.candidates[0].target
        self.assertEqual((self.targets(), target.tls.server_name), (["192.0.2.1:80"], None))
        self.assertIsNone(target.check.http.host)

    def test_unchanged_targets_stay_the_same_objects(self):
        """Contexts and checks are kept by them."""
        self.has("app.test", "192.0.2.1", ttl=1)
        self.find(by_name("app.test", tls=OriginationPlan()))
        before = self.group.candidates[0].target
        self.has("app.test", "192.0.2.1", "192.0.2.2", ttl=1)
        self.pass_time(2)
        self.assertIs(self.group.candidates[0].target, before)
