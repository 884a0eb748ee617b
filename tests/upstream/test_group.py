"""Groups: tiers, ejection and probes, limits and the queue, slow start, reloads."""

from __future__ import annotations

from collections import Counter

from twisted.internet.defer import CancelledError

from smartproxy.errors import Refused
from smartproxy.model.outcome import RejectReason
from smartproxy.model.plan import Algorithm, GroupPlan, PassiveHealthPlan, QueuePlan
from smartproxy.upstream.candidate import Candidate
from smartproxy.upstream.member import HandState
from smartproxy.upstream.tiers import Tier
from tests.upstream.grouping import CLIENT, GroupCase, target


class EjectionTests(GroupCase):
    def test_a_failed_target_is_left_out_until_its_time_is_over(self):
        self.configure("ab")
        self.fail_dial("a")
        self.assertEqual((self.member("a").state, self.use(20)), ("ejected", "b" * 20))
        self.clock.advance(9.9)
        self.assertEqual(self.use(5), "bbbbb")

    def test_one_connection_probes_it_then(self):
        self.configure("ab")
        self.fail_dial("a")
        self.clock.advance(10)
        probe = self.group.take(CLIENT)
        self.assertEqual((probe.name, self.use(5)), ("a", "bbbbb"))
        self.group.succeeded(probe)
        self.assertEqual((self.member("a").state, set(self.use(10))), ("up", set("ab")))

    def test_a_failed_probe_ejects_it_again(self):
        self.configure("ab")
        self.fail_dial("a")
        self.clock.advance(10)
        self.group.failed(self.group.take(CLIENT), "timeout", "no answer")
        self.assertEqual((self.member("a").ejections, self.use(5)), (2, "bbbbb"))
        self.clock.advance(10)
        self.assertEqual(self.group.take(CLIENT).name, "a")

    def test_a_probe_whose_client_leaves_is_followed_by_another(self):
        self.configure("ab")
        self.fail_dial("a")
        self.clock.advance(10)
        self.group.withdrawn(self.group.take(CLIENT))
        self.assertEqual([self.group.take(CLIENT).name, self.use(3)], ["a", "bbb"])

    def test_as_many_failures_as_configured_eject_within_the_window(self):
        self.configure("ab", passive=PassiveHealthPlan(failures=3, window=5.0))
        for _ in range(2):
            self.fail_dial("a")
            self.clock.advance(3)
        self.fail_dial("a")
        self.assertEqual(self.member("a").state, "up")  # the first one is too long ago
        self.fail_dial("a")
        self.assertEqual(self.member("a").state, "ejected")

    def test_a_success_in_between_starts_the_count_again(self):
        self.configure("a", passive=PassiveHealthPlan(failures=2))
        self.fail_dial("a")
        self.use(1)
        self.fail_dial("a")
        self.assertEqual(self.member("a").state, "up")

    def test_all_are_tried_when_all_are_ejected(self):
        self.configure("ab")
        self.fail_dial("a")
        self.fail_dial("b")
        tried = [self.group.take(CLIENT).name for _ in range(4)]
        self.assertEqual((self.group.tier, set(tried)), (Tier.LAST_RESORT, set("ab")))

    def test_failures_of_dials_begun_before_the_ejection_count_once(self):
        self.configure("ab")
        held = [self.group.take(CLIENT) for _ in range(6)]
        for candidate in held:
            if candidate.name == "a":
                self.group.failed(candidate, "timeout", "no answer")
        self.assertEqual((self.member("a").ejections, self.member("a").results["timeout"]), (1, 3))

    def test_a_late_success_ends_an_ejection(self):
        self.configure("ab")
        early = self.group.take(CLIENT)
        self.fail_dial("a")
        self.group.succeeded(early)
        self.assertEqual(self.member("a").state, "up")

    def test_turned_off_by_a_reload_readmits(self):
        self.configure("ab")
        self.fail_dial("a")
        self.configure("ab", passive=None)
        self.fail_dial("a")
        self.assertEqual(Counter(self.use(10))["a"], 5)

    def test_state_outlives_a_reload(self):
        self.configure("ab")
        self.fail_dial("a")
        for _ in range(10):
            self.configure("ab")
        self.assertEqual(self.use(5), "bbbbb")
        self.clock.advance(10)
        self.assertEqual(self.group.take(CLIENT).name, "a")


class TierTests(GroupCase):
    def backups(self):
        self.configure([target("a"), target("b"), target("x", backup=True), target("y", backup=True)])

    def test_backups_serve_together_while_no_other_is_up(self):
        self.backups()
        self.assertEqual(set(self.use(10)), set("ab"))
        self.fail_dial("a")
        self.assertEqual(set(self.use(10)), set("b"))
        self.fail_dial("b")
        self.assertEqual((self.group.tier, set(self.use(10))), (Tier.BACKUP, set("xy")))
        self.clock.advance(10)
        self.assertEqual(self.use(3)[:2], "ab")

    def test_full_targets_are_up_so_backups_stay_unused(self):
        self.configure([target("a", max_connections=1), target("x", backup=True)])
        self.hold()
        self.assertIsNone(self.group.take(CLIENT))

    def test_an_ejected_backup_is_not_probed_while_a_primary_is_up(self):
        self.backups()
        self.fail_dial("x")
        self.clock.advance(60)
        self.assertEqual(set(self.use(10)), set("ab"))

    def test_down_and_drain_by_hand_get_no_connection_at_all(self):
        self.configure("ab")
        self.member("a").set_by_hand(HandState.DRAIN, None, 0.0)
        self.assertEqual(self.use(3), "bbb")
        self.member("b").set_by_hand(HandState.DOWN, None, 0.0)
        refused = self.assertRaises(Refused, self.group.take, CLIENT)
        self.assertIs(refused.reason, RejectReason.NO_TARGET)
        self.member("a").set_by_hand(None, None, 0.0)
        self.assertEqual(self.use(2), "aa")

    def test_a_target_found_down_by_its_check_is_left_out_and_not_probed(self):
        self.configure("ab")
        self.fail_dial("a")
        self.member("a").check(passed=False, now=0.0)
        self.clock.advance(60)
        self.assertEqual((self.member("a").state, self.use(4)), ("down", "bbbb"))

    def test_an_empty_group_refuses(self):
        self.configure("")
        self.assertIs(self.assertRaises(Refused, self.group.take, CLIENT).reason, RejectReason.NO_TARGET)


class LimitTests(GroupCase):
    def queue(self, size=2, timeout=5.0, **more):
        self.configure([target("a", max_connections=1)], queue=QueuePlan(size, timeout), **more)

    def test_a_full_target_is_passed_over(self):
        self.configure([target("a", max_connections=1), target("b")])
        self.assertEqual("".join(one.name for one in self.hold(3)), "abb")

    def test_without_a_queue_a_client_is_refused(self):
        self.configure([target("a", max_connections=1)])
        self.hold()
        self.assertIsNone(self.group.take(CLIENT))
        refused = self.assertRaises(Refused, self.group.wait_for_room, CLIENT)
        self.assertIs(refused.reason, RejectReason.TARGET_LIMIT)

    def test_clients_are_served_first_in_first_out(self):
        self.queue()
        (held,) = self.hold()
        first, second = self.group.wait_for_room("x"), self.group.wait_for_room("y")
        self.assertEqual(self.group.waiting, 2)
        self.group.release(held)
        served = self.successResultOf(first)
        self.assertNoResult(second)
        self.assertEqual((served.name, self.member("a").active, self.group.waiting), ("a", 1, 1))
        self.group.release(served)
        self.successResultOf(second)

    def test_a_client_does_not_overtake_those_that_wait(self):
        self.queue(size=5)
        held = self.hold()[0]
        waiting = self.group.wait_for_room("x")
        self.assertIsNone(self.group.take("y"))
        self.group.release(held)
        self.successResultOf(waiting)
        self.assertIsNone(self.group.take("y"))

    def test_a_full_queue_refuses(self):
        self.queue(size=1)
        self.hold()
        self.group.wait_for_room("x").addErrback(lambda _: None)
        refused = self.assertRaises(Refused, self.group.wait_for_room, "y")
        self.assertIs(refused.reason, RejectReason.QUEUE_FULL)

    def test_a_client_that_has_waited_too_long_is_refused(self):
        self.queue()
        self.hold()
        first = self.group.wait_for_room("x")
        self.clock.advance(3)
        second = self.group.wait_for_room("y")
        self.clock.advance(2)
        self.assertIs(self.failureResultOf(first, Refused).value.reason, RejectReason.QUEUE_TIMEOUT)
        self.assertNoResult(second)
        self.clock.advance(3)
        self.failureResultOf(second, Refused)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_client_that_leaves_is_removed(self):
        self.queue()
        (held,) = self.hold()
        first, second = self.group.wait_for_room("x"), self.group.wait_for_room("y")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.group.release(held)
        self.successResultOf(second)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_long_queue_whose_dials_fail_at_once_is_served_one_by_one(self):
        """As with a name that has no address: each failure makes room for the next client, without recursion."""
        self.configure([target("a", max_connections=1)], queue=QueuePlan(5000))
        (held,) = self.hold()
        failed = []

        def fails(candidate):
            self.group.failed(candidate, "unreachable", "it has no address")
            failed.append(candidate.name)

        for _ in range(3000):
            self.group.wait_for_room(CLIENT).addCallback(fails)
        self.group.release(held)
        self.assertEqual((len(failed), self.group.waiting, self.member("a").active), (3000, 0, 0))

    def test_room_made_by_a_reload_serves_at_once(self):
        self.queue()
        self.hold()
        waiting = self.group.wait_for_room("x")
        self.configure([target("a", max_connections=2)], queue=QueuePlan(2))
        self.successResultOf(waiting)

    def test_a_shorter_timeout_after_a_reload_holds_for_new_clients(self):
        self.queue(timeout=60.0)
        self.hold()
        first = self.group.wait_for_room("x")
        self.queue(timeout=1.0)
        second = self.group.wait_for_room("y")
        self.clock.advance(1)
        self.failureResultOf(second, Refused)
        self.assertNoResult(first)
        first.cancel()
        self.failureResultOf(first, CancelledError)

    def test_a_removed_group_refuses_those_that_wait(self):
        self.queue()
        self.hold()
        waiting = self.group.wait_for_room("x")
        self.groups.apply({"other": GroupPlan("other", (target("b"),))})
        self.assertIs(self.failureResultOf(waiting, Refused).value.reason, RejectReason.NO_TARGET)


class SlowStartTests(GroupCase):
    def share(self):
        return Counter(self.use(400))["b"] / 400

    def check_ramp(self, algorithm):
        self.configure("ab", algorithm, slow_start=30.0)
        self.fail_dial("b")
        self.clock.advance(10)
        self.member("b").readmit(self.clock.seconds())
        shares = [self.share()]
        for _ in range(3):
            self.clock.advance(10)
            shares.append(self.share())
        self.assertLess(shares[0], 0.05)
        self.assertEqual(shares, sorted(shares))
        self.assertLess(abs(shares[1] - 0.25), 0.15)

    def test_round_robin_grows_to_its_weight(self):
        self.check_ramp(Algorithm.ROUND_ROBIN)
        self.assertLess(abs(self.share() - 0.5), 0.01)

    def test_random_grows_to_its_weight(self):
        self.check_ramp(Algorithm.RANDOM)

    def test_a_target_that_joins_starts_slowly(self):
        self.configure("a", slow_start=30.0)
        self.configure("ab", slow_start=30.0)
        self.assertLess(self.share(), 0.05)

    def test_the_start_of_the_proxy_is_not_slow(self):
        self.configure("ab", slow_start=30.0)
        self.assertEqual(self.share(), 0.5)

    def test_the_only_target_gets_all_while_it_starts(self):
        for algorithm in Algorithm:
            self.setUp()
            self.configure("b", algorithm, slow_start=30.0)
            self.member("b").check(passed=False, now=0.0)
            self.member("b").check(passed=True, now=0.0)
            self.assertEqual(self.use(10), "b" * 10)

    def test_choosing_among_many_that_start_slowly_is_bounded(self):
        """After an outage of them all, a connection must not wait until a thousand targets have passed on a hundred turns each."""
        names = [f"t{number}" for number in range(300)]
        asked, share = [], Candidate.share
        self.patch(Candidate, "share", lambda one: asked.append(one) or share(one))
        for algorithm in Algorithm:
            self.setUp()
            self.configure([target(name) for name in names], algorithm, slow_start=30.0)
            for passed in (False, True):
                for name in names:
                    self.member(name).check(passed=passed, now=0.0)
            asked.clear()
            used = {self.hold(1, f"192.0.2.{number}")[0].name for number in range(5)}
            self.assertLess(len(asked), 5 * (100 if algorithm is Algorithm.SOURCE else 1500), algorithm)
            if algorithm is not Algorithm.FIRST:
                self.assertGreater(len(used), 1, algorithm)
