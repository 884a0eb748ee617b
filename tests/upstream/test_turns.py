"""The state of balancing that outlives a reload."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.upstream.turns import LOG_INTERVAL, RouteTurn, Turns


class RouteTurnTests(SynchronousTestCase):
    def test_a_repeated_failure_is_logged_once_per_interval(self):
        turn = RouteTurn()
        logged = [turn.may_log("a:80", now) for now in (0.0, LOG_INTERVAL - 0.1, LOG_INTERVAL)]
        self.assertEqual(logged, [True, False, True])

    def test_targets_do_not_share_an_interval(self):
        turn = RouteTurn()
        self.assertTrue(turn.may_log("a:80", 0.0))
        self.assertTrue(turn.may_log("b:80", 0.0))

    def test_a_target_that_the_route_no_longer_has_is_forgotten(self):
        turn = RouteTurn()
        turn.may_log("a:80", 0.0)
        turn.keep({"b:80"})
        self.assertEqual(turn._logged_at, {})


class TurnsTests(SynchronousTestCase):
    def test_a_route_keeps_its_state_while_it_is_configured(self):
        turns = Turns()
        turns.of("web").taken = 7
        turns.keep({"web", "other"})
        self.assertEqual(turns.of("web").taken, 7)

    def test_a_removed_route_is_forgotten(self):
        turns = Turns()
        turns.of("web").taken = 7
        turns.keep({"other"})
        self.assertEqual(turns.of("web").taken, 0)
