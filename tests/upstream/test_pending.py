"""Targets that do not answer: one client waits for them, the others go on."""

from __future__ import annotations

from twisted.internet import error
from twisted.python.failure import Failure

from smartproxy.errors import DialFailed
from smartproxy.model.plan import TargetPlan, Timeouts
from tests.upstream.connecting import ConnectCase, to

SILENT, ANSWERING = "192.0.2.1", "192.0.2.2"


class SilentTargetTests(ConnectCase):
    def setUp(self):
        super().setUp()
        self.dialer.accepting = {ANSWERING}

    def begin(self, times, targets=None):
        targets = targets or to(SILENT, ANSWERING)
        return [self.connecting(targets, timeouts=Timeouts(connection=30.0)) for _ in range(times)]

    def pass_seconds(self, seconds):
        for _ in range(seconds):
            self.clock.advance(1)
            self.groups.pending.sweep()

    def waiting(self, connecting):
        return [number for number, one in enumerate(connecting) if not one.called]

    def test_one_of_thirty_clients_at_once_pays(self):
        connecting = self.begin(1)
        self.silent = self.dialer.pending[SILENT]
        connecting += self.begin(29)
        self.assertEqual(len(self.waiting(connecting)), 15)
        self.pass_seconds(2)
        self.assertEqual(self.waiting(connecting), [0])
        self.pass_seconds(20)
        self.assertEqual(self.waiting(connecting), [0])
        self.silent.clientConnectionFailed(None, Failure(error.TimeoutError()))
        self.assertEqual(self.waiting(connecting), [])
        for one in connecting:
            self.assertEqual(self.successResultOf(one).address.host, ANSWERING)
        (silent, _) = self.groups.members
        self.assertEqual((silent.state, silent.active, silent.ejections), ("ejected", 0, 1))
        self.assertEqual(silent.results["timeout"], 15)

    def test_clients_after_a_second_do_not_choose_it(self):
        self.begin(2)
        self.pass_seconds(1)
        self.assertEqual(self.waiting(self.begin(20)), [])

    def test_an_answer_makes_it_used_again(self):
        connecting = self.begin(2)
        self.pass_seconds(3)
        self.dialer.accept(SILENT)
        self.successResultOf(connecting[0])
        self.assertEqual(len(self.waiting(self.begin(10))), 5)

    def test_a_client_that_leaves_lets_the_next_one_try(self):
        connecting = self.begin(2)
        self.pass_seconds(2)
        connecting[0].cancel()
        self.failureResultOf(connecting[0])
        self.assertEqual(len(self.waiting(self.begin(2))), 1)

    def test_the_only_target_is_waited_for_by_all(self):
        connecting = self.begin(5, to(SILENT))
        self.pass_seconds(10)
        self.assertEqual(len(self.waiting(connecting)), 5)

    def test_nobody_goes_on_when_all_are_silent(self):
        connecting = self.begin(6, to(SILENT, "192.0.2.3"))
        self.pass_seconds(5)
        self.assertEqual(len(self.waiting(connecting)), 6)

    def test_the_addresses_of_a_name_are_dialed_for_one_client(self):
        """Its second address must not be given up because the first one is slow."""
        self.create(slow=[SILENT, "192.0.2.9"])
        targets = (TargetPlan(("slow.test",), 80), *to(ANSWERING))
        connecting = self.begin(1, targets)
        self.clock.advance(0.3)
        self.pass_seconds(3)
        self.assertEqual(len(self.dialer.pending), 2)
        self.dialer.accept("192.0.2.9")
        self.successResultOf(connecting[0])

    def test_a_failure_of_the_last_one_is_reported(self):
        connecting = self.begin(1, to(SILENT))
        self.dialer.fail(SILENT, error.TimeoutError())
        self.failureResultOf(connecting[0], DialFailed)
        self.assertEqual(len(self.groups.pending), 0)
